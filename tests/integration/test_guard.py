"""``layer.guard``: any WSGI app behind the same gate as a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, g, has_request_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import TestResponse, create_environ, run_wsgi_app

from flask_api_layer import (
    ApiLayer,
    BackendUnavailable,
    ConfigError,
    Identity,
    LoginRequired,
    api,
    current_user,
    guest_allowed,
    login_required,
)
from tests.processes import ShopBackend

from .visitors import (
    GUEST,
    NAVIGATION,
    SCRIPT,
    SECURE,
    USER,
    WEEK,
    Browser,
    MakeApp,
    StartBackend,
    assert_private,
    assert_problem,
    set_cookies,
    where_to,
)
from .wire import call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

IDENTITY = "flask_api_layer.identity"
KEPT = {**SECURE, "Max-Age": WEEK}


class Reader(Browser):
    """A browser that reads every answer to its end, so that the server can close it."""

    def _open(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> TestResponse:
        return super()._open(method, path, headers, buffered=True, **content)


class Reports:
    """A plain WSGI app that remembers what it was called with, and says who is there."""

    def __init__(self, body: Callable[[], Iterable[bytes]] = lambda: [b"reports"]) -> None:
        self.environs: list[WSGIEnvironment] = []
        self.uploads: list[bytes] = []
        self._body = body

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.uploads.append(environ["wsgi.input"].read(length))
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("X-Inner", "1"), ("Cache-Control", "public")]
        )
        return self._body()

    @property
    def identities(self) -> list[Identity]:
        return [environ[IDENTITY] for environ in self.environs]


class Shop:
    """A Flask app with apps mounted beside it; ``/view/<name>`` is a view with the same gate as ``/<name>``."""

    def __init__(self, backend: ShopBackend, **settings: Any) -> None:
        self.backend = backend
        self.app = Flask("shop")
        self.app.config["SECRET_KEY"] = "a key for tests, long enough"
        self.layer = ApiLayer(self.app, backend_url=backend.base_url, store_url="memory://", **settings)
        self.app.register_blueprint(self.layer.blueprint)
        self.host = self.app.wsgi_app

    def mount(self, **mounts: WSGIApplication) -> None:
        found = {f"/{name}": app for name, app in mounts.items()}
        self.app.wsgi_app = DispatcherMiddleware(self.host, found)  # type: ignore[method-assign]

    def browser(self, email: str | None = None) -> Browser:
        browser = Reader(self.app)
        if email:
            browser.log_in(email)
        self.backend.reset()
        return browser

    def close(self) -> None:
        self.app.extensions["api_layer"].transport.close()


@pytest.fixture
def open_shop() -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def open_one(backend: ShopBackend, **settings: Any) -> Shop:
        shops.append(Shop(backend, **settings))
        return shops[-1]

    yield open_one
    for shop in shops:
        shop.close()


@pytest.fixture
def shop(backend: ShopBackend, open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(backend)


OpenShop = Callable[..., Shop]


@pytest.fixture(autouse=True)
def _no_context_is_left() -> Iterator[None]:
    yield
    assert not has_request_context()


def with_twins(shop: Shop) -> None:
    """Each gate twice: around a mounted app, and around a view."""
    shop.mount(
        users=shop.layer.guard(Reports()),
        admins=shop.layer.guard(Reports(), "admin"),
        guests=shop.layer.guard(Reports(), guests=True),
    )
    gates = {"users": login_required, "admins": login_required("admin"), "guests": guest_allowed}
    for name, gate in gates.items():
        shop.app.add_url_rule(f"/view/{name}", endpoint=name, view_func=gate(lambda: "reports"))


def told(answer: TestResponse) -> tuple[object, ...]:
    """What is the same for a view and a mounted app."""
    body = answer.get_json(silent=True)
    cookies = {name: (cookie.attributes, cookie.is_deletion) for name, cookie in set_cookies(answer).items()}
    code = body["code"] if isinstance(body, dict) else None
    passed = {name: answer.headers.get(name) for name in ("Cache-Control", "WWW-Authenticate", "Retry-After")}
    location = answer.headers.get("Location", "").partition("?")[0]
    return answer.status_code, code, location, cookies, passed, "Cookie" in answer.headers.get("Vary", "")


def same_answers(shop: Shop, name: str, email: str | None, headers: dict[str, str]) -> TestResponse:
    """The answer of a mounted app, which is the same as the one of the view."""
    answers = []
    for path in (f"/{name}", f"/view/{name}"):
        browser = Browser(shop.app)
        if email:
            browser.log_in(email)
        url = "https://localhost"
        answers.append(browser.client.get(path, headers=headers, base_url=url, buffered=True))
    assert told(answers[0]) == told(answers[1])
    return answers[0]


# B4.6
@pytest.mark.parametrize("headers", [SCRIPT, NAVIGATION, {}, {"HX-Request": "true"}, {"Accept": "text/html"}])
@pytest.mark.parametrize(
    ("name", "email", "may_enter"),
    [
        ("users", None, False),
        ("admins", None, False),
        ("guests", None, False),
        ("users", "ada@example.com", True),
        ("admins", "ada@example.com", False),
        ("guests", "ada@example.com", True),
        ("admins", "admin@example.com", True),
    ],
)
def test_a_mounted_app_is_gated_like_a_view(
    name: str, email: str | None, may_enter: bool, headers: dict[str, str], shop: Shop
) -> None:
    with_twins(shop)
    answer = same_answers(shop, name, email, headers)
    assert (answer.status_code == 200) == may_enter


# B4.6
def test_a_guest_is_minted_for_a_mounted_app(backend: ShopBackend, open_shop: OpenShop) -> None:
    shop = open_shop(backend, guest_enabled=True)
    with_twins(shop)
    answer = same_answers(shop, "guests", None, SCRIPT)
    assert answer.status_code == 200
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {GUEST: KEPT}
    assert_private(answer)
    assert backend.calls("POST auth/guest") == 2


# B4.6
def test_a_guest_is_no_user_for_a_mounted_app(backend: ShopBackend, open_shop: OpenShop) -> None:
    shop = open_shop(backend, guest_enabled=True)
    with_twins(shop)
    browser = shop.browser()
    browser.fetch("/guests")
    assert_problem(browser.fetch("/users"), 401, "login_required")


# B4.6, B4.7
@pytest.mark.parametrize("headers", [SCRIPT, NAVIGATION])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"mode": "truncated"}])
def test_an_outage_is_told_like_by_a_view(
    fault: dict[str, Any], headers: dict[str, str], backend: ShopBackend, open_shop: OpenShop
) -> None:
    shop = open_shop(backend, stale_ttl=0, validate_ttl=0)
    with_twins(shop)
    backend.fault("auth/me", **fault)
    answer = same_answers(shop, "users", "ada@example.com", headers)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"].isdigit()
    assert set_cookies(answer) == {}


# B4.6
def test_a_403_of_me_is_told_like_by_a_view(backend: ShopBackend, open_shop: OpenShop) -> None:
    shop = open_shop(backend, validate_ttl=0)
    with_twins(shop)
    backend.fault("auth/me", status=403)
    assert same_answers(shop, "users", "ada@example.com", SCRIPT).status_code == 403


# B4.6
def test_a_refresh_on_the_way_is_delivered(start_backend: StartBackend, open_shop: OpenShop) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    shop = open_shop(backend)
    with_twins(shop)
    answer = same_answers(shop, "users", "ada@example.com", SCRIPT)
    assert answer.status_code == 200
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {USER: KEPT}
    assert_private(answer)
    assert backend.calls("POST auth/refresh") == 2


# B4.6
def test_a_session_that_ended_is_cleared(start_backend: StartBackend, open_shop: OpenShop) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    shop = open_shop(backend)
    with_twins(shop)
    backend.fault("auth/refresh", status=401)
    answer = same_answers(shop, "users", "ada@example.com", SCRIPT)
    assert_problem(answer, 401, "session_expired")
    assert set_cookies(answer)[USER].is_deletion


# B4.6
def test_the_mounted_app_does_not_run_for_those_who_may_not_enter(shop: Shop) -> None:
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports, "admin"))
    assert shop.browser().fetch("/reports").status_code == 401
    assert shop.browser("ada@example.com").fetch("/reports").status_code == 403
    assert reports.environs == []


# B4.6, B4.2
def test_options_is_answered_for_those_who_may_not_enter(shop: Shop) -> None:
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports))
    answer = shop.browser().fetch("/reports", method="OPTIONS")
    assert answer.status_code == 204
    assert reports.environs == []


# B4.6
def test_the_identity_is_in_the_environ(shop: Shop) -> None:
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports, "admin", "editor"))
    answer = shop.browser("admin@example.com").fetch("/reports/2026?x=1")
    assert answer.text == "reports"
    [identity] = reports.identities
    assert (identity.kind, identity.id, identity.roles) == ("user", "usr_admin", ("admin",))
    assert (reports.environs[0]["SCRIPT_NAME"], reports.environs[0]["PATH_INFO"]) == ("/reports", "/2026")


# B4.6: identity never comes from the client
def test_a_forged_identity_is_replaced(shop: Shop) -> None:
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports))
    browser = shop.browser("ada@example.com")
    cookie = f"{USER}={browser.cookies[USER]}"
    call(shop.app, "/reports", headers=[("Cookie", cookie)], environ={IDENTITY: "admin"})
    assert reports.identities[0].id == "usr_ada"


# B4.6
def test_a_mounted_app_may_ask_who_is_there_and_call_the_backend(shop: Shop) -> None:
    def body() -> Iterable[bytes]:
        return [f"{current_user.id} {api.get('whoami').data['mark']}".encode()]

    shop.mount(reports=shop.layer.guard(Reports(body)))
    assert shop.browser("ada@example.com").fetch("/reports").text == "usr_ada usr_ada"


# B4.6
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": 1}'),
        ("application/x-www-form-urlencoded", b"csrf_token=x&next=/y"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
        ),
        ("text/plain", b"x" * 100_000),
    ],
)
def test_the_body_of_the_request_is_left_to_the_mounted_app(
    content_type: str, body: bytes, backend: ShopBackend, open_shop: OpenShop
) -> None:
    shop = open_shop(backend)
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports))
    browser = shop.browser("ada@example.com")
    shop.app.config["MAX_CONTENT_LENGTH"] = 4  # what the Flask app accepts
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": content_type}
    answer = browser.client.post(
        "/reports", data=body, headers=headers, base_url="https://localhost", buffered=True
    )
    assert answer.status_code == 200
    assert reports.uploads == [body]


# B4.6, B1.5
def test_what_the_mounted_app_says_passes_but_for_caching(shop: Shop) -> None:
    shop.mount(reports=shop.layer.guard(Reports()))
    answer = shop.browser("ada@example.com").fetch("/reports")
    assert (answer.text, answer.mimetype, answer.headers["X-Inner"]) == ("reports", "text/plain", "1")
    assert answer.headers.getlist("Cache-Control") == ["private, no-store"]
    assert_private(answer)


# B4.6
def test_the_context_lives_until_the_body_is_closed(shop: Shop) -> None:
    seen: list[str] = []
    shop.app.teardown_request(lambda _: seen.append("teardown"))

    def body() -> Iterator[bytes]:
        for n in range(3):
            seen.append(f"{n} {current_user.id}")
            yield b"%d" % n

    shop.mount(reports=shop.layer.guard(Reports(body)))
    browser = shop.browser("ada@example.com")
    seen.clear()
    answer = browser.client.get("/reports", base_url="https://localhost", buffered=False)
    pieces = iter(answer.response)
    assert next(pieces) == b"0"
    assert "teardown" not in seen
    assert list(pieces) == [b"1", b"2"]
    assert "teardown" not in seen
    answer.close()
    assert seen == ["0 usr_ada", "1 usr_ada", "2 usr_ada", "teardown"]


# B4.6: the client left, or the server stopped reading
def test_the_body_of_the_mounted_app_is_closed_early_too(shop: Shop) -> None:
    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            yield b"first"
            yield b"second"

        def close(self) -> None:
            assert has_request_context()
            Body.closed += 1

    shop.mount(reports=shop.layer.guard(Reports(Body)))
    browser = shop.browser("ada@example.com")
    answer = browser.client.get("/reports", base_url="https://localhost", buffered=False)
    assert next(iter(answer.response)) == b"first"
    answer.close()
    assert Body.closed == 1


# B4.6: an app written as a generator calls start_response with its first piece
def test_a_mounted_app_may_start_late(start_backend: StartBackend, open_shop: OpenShop) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    shop = open_shop(backend)

    def late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        assert environ[IDENTITY].id == "usr_ada"
        start_response("201 Created", [("Content-Type", "text/plain")])
        yield b"late"

    shop.mount(reports=shop.layer.guard(late))
    answer = shop.browser("ada@example.com").fetch("/reports")
    assert (answer.status_code, answer.text) == (201, "late")
    assert set_cookies(answer)[USER].attributes == KEPT


# B4.6: PEP 3333 keeps write() for old apps
def test_a_mounted_app_may_write(shop: Shop) -> None:
    def old(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"written ")
        return [b"and returned"]

    shop.mount(reports=shop.layer.guard(old))
    browser = shop.browser("ada@example.com")
    with browser.client.get("/reports", base_url="https://localhost") as answer:
        assert answer.get_data(as_text=True) == "written and returned"


# B4.6
@pytest.mark.parametrize("late", [True, False])
def test_a_mounted_app_that_fails_leaves_nothing_behind(late: bool, shop: Shop) -> None:
    class Failure(Exception):
        pass

    def early_failure(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise Failure

    def late_failure() -> Iterator[bytes]:
        yield b"first"
        raise Failure

    inner = Reports(late_failure) if late else early_failure
    shop.mount(reports=shop.layer.guard(inner))
    browser = shop.browser("ada@example.com")
    with pytest.raises(Failure):
        browser.fetch("/reports")


# B4.6
def test_a_mounted_flask_app_has_contexts_of_its_own(shop: Shop) -> None:
    inner = Flask("inner")

    @inner.get("/deep")
    def deep() -> str:
        g.mine = True
        return f"deep {len(list(g))}"

    shop.mount(reports=shop.layer.guard(inner))
    assert shop.browser("ada@example.com").fetch("/reports/deep").text == "deep 1"
    assert shop.browser().fetch("/reports/deep").status_code == 401


# B4.6
@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/reports", "/reports"),
        ("/reports/", "/reports/"),
        ("/reports/2026/may", "/reports/2026/may"),
        ("/reports/a%20b", "/reports/a%20b"),
        ("/reports/x?year=2026&m=5", "/reports/x?year=2026&m=5"),
    ],
)
def test_next_is_the_whole_path(path: str, target: str, shop: Shop) -> None:
    shop.mount(reports=shop.layer.guard(Reports()))
    answer = shop.browser().visit(path)
    assert answer.status_code == 302
    assert where_to(answer) == ("/login", {"next": [target]})


# B4.6, B1.4: under a mount nothing is under the prefix
def test_a_path_below_the_mount_that_looks_like_the_prefix_is_the_mounted_apps(shop: Shop) -> None:
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports))
    assert where_to(shop.browser().visit("/reports/api/auth/me"))[1] == {"next": ["/reports/api/auth/me"]}
    browser = shop.browser("ada@example.com")
    for path in ("/reports/api/auth/login", "/reports/api/nothing", "/reports/static/x", "/reports/login"):
        assert browser.fetch(path).text == "reports"
    assert "POST auth/login" not in shop.backend.calls()


# B4.6: its arguments alone
@pytest.mark.parametrize(
    "settings",
    [
        {"public_routes": ["/reports"]},
        {"excluded_routes": ["/reports"]},
        {"public_routes": ["/**"]},
        {"excluded_routes": ["/**"]},
        {"auth_routes": ["/reports"]},
        {"public_routes": ["/x"]},
    ],
)
def test_no_route_of_the_host_opens_a_mounted_app(
    settings: dict[str, Any], backend: ShopBackend, open_shop: OpenShop
) -> None:
    shop = open_shop(backend, **settings)
    reports = Reports()
    shop.mount(reports=shop.layer.guard(reports))
    assert shop.browser().fetch("/reports/x").status_code == 401
    assert reports.environs == []
    assert shop.browser("ada@example.com").fetch("/reports/x").text == "reports"


# B4.6: its arguments alone
@pytest.mark.parametrize(
    "settings", [{"protected_routes": ["/reports", "/x"]}, {"protected_by_default": True}]
)
def test_no_route_of_the_host_closes_a_mounted_app(
    settings: dict[str, Any], backend: ShopBackend, open_shop: OpenShop
) -> None:
    shop = open_shop(backend, guest_enabled=True, **settings)
    shop.mount(reports=shop.layer.guard(Reports(), guests=True))
    assert shop.browser().fetch("/reports/x").text == "reports"


# B4.6: not even when the inner path is one of the host's views
def test_a_view_of_the_host_with_the_same_path_decides_nothing(shop: Shop) -> None:
    shop.app.add_url_rule("/x", endpoint="x", view_func=login_required("admin")(lambda: "x"))
    shop.mount(reports=shop.layer.guard(Reports()))
    assert shop.browser("ada@example.com").fetch("/reports/x").text == "reports"


# B4.6
@pytest.mark.parametrize("handled", [LoginRequired, 401])
def test_the_apps_own_error_handler_wins(handled: Any, shop: Shop) -> None:
    shop.app.register_error_handler(handled, lambda error: (f"mine: {type(error).__name__}", 401))
    shop.mount(reports=shop.layer.guard(Reports()))
    answer = shop.browser().visit("/reports")
    assert (answer.status_code, answer.text) == (401, "mine: LoginRequired")


# B4.6
def test_the_apps_own_outage_page_is_shown(backend: ShopBackend, open_shop: OpenShop) -> None:
    shop = open_shop(backend, stale_ttl=0, validate_ttl=0)
    shop.app.register_error_handler(BackendUnavailable, lambda _: ("closed", 503))
    shop.mount(reports=shop.layer.guard(Reports()))
    browser = shop.browser("ada@example.com")
    backend.fault("auth/me", status=500)
    answer = browser.visit("/reports")
    assert (answer.status_code, answer.text) == (503, "closed")
    assert set_cookies(answer) == {}


# B4.6
def test_two_mounts_have_two_policies(shop: Shop) -> None:
    first, second = Reports(lambda: [b"first"]), Reports(lambda: [b"second"])
    shop.mount(first=shop.layer.guard(first), second=shop.layer.guard(second, "admin"))
    ada, admin = shop.browser("ada@example.com"), shop.browser("admin@example.com")
    assert [ada.fetch(path).status_code for path in ("/first", "/second")] == [200, 403]
    assert [admin.fetch(path).text for path in ("/first", "/second")] == ["first", "second"]
    assert [identity.id for identity in first.identities] == ["usr_ada", "usr_admin"]
    assert [identity.id for identity in second.identities] == ["usr_admin"]


# B4.6
def test_the_host_goes_on_beside_its_mounts(shop: Shop) -> None:
    shop.app.add_url_rule("/", endpoint="home", view_func=lambda: f"home {current_user.kind}")
    shop.mount(reports=shop.layer.guard(Reports()))
    browser = shop.browser("ada@example.com")
    assert browser.fetch("/").text == "home user"
    assert browser.fetch("/reports").text == "reports"
    assert browser.fetch("/api/auth/me").get_json()["data"]["kind"] == "user"


# B4.6
def test_a_guard_within_a_guard_asks_for_both(shop: Shop) -> None:
    inner = shop.layer.guard(Reports(), "admin")
    shop.mount(reports=shop.layer.guard(inner))
    assert shop.browser().fetch("/reports").status_code == 401
    assert shop.browser("ada@example.com").fetch("/reports").status_code == 403
    answer = shop.browser("admin@example.com").fetch("/reports")
    assert answer.text == "reports"


# B4.9
def test_two_visitors_of_a_mount_never_see_each_other(shop: Shop) -> None:
    shop.mount(reports=shop.layer.guard(Reports(lambda: [str(current_user.id).encode()])))
    ada, admin = shop.browser("ada@example.com"), shop.browser("admin@example.com")
    with shop.app.app_context():
        seen = [browser.fetch("/reports").text for browser in (ada, admin, ada)]
    assert seen == ["usr_ada", "usr_admin", "usr_ada"]


# B4.6
def test_arguments_that_contradict_each_other_are_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError):
        shop.layer.guard(Reports(), "admin", guests=True)


# B4.6
def test_a_guard_of_several_apps_must_be_told_which(backend: ShopBackend, shop: Shop) -> None:
    other = Flask("other")
    other.config["SECRET_KEY"] = "a key for tests, long enough"
    other.config.update(API_LAYER_BACKEND_URL=backend.base_url, API_LAYER_STORE_URL="memory://")
    shop.layer.init_app(other)
    with pytest.raises(ConfigError):
        shop.layer.guard(Reports())
    shop.mount(reports=shop.layer.guard(Reports(), app=shop.app))
    assert shop.browser("ada@example.com").fetch("/reports").text == "reports"
    other.extensions["api_layer"].transport.close()


# TRUSTED_HOSTS
@pytest.mark.parametrize("csrf", ["both", "off"])
def test_a_guarded_app_is_not_served_to_a_host_that_nobody_trusts(
    csrf: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, csrf=csrf)
    app.config["TRUSTED_HOSTS"] = ["shop.example"]
    layer = ApiLayer(backend_url=backend.base_url)
    guarded = layer.guard(lambda environ, start: [b"inside"], app=app)
    for method in ("GET", "POST"):
        environ = create_environ(method=method, base_url="https://evil.example")
        _, status, headers = run_wsgi_app(guarded, environ, buffered=True)
        assert status.startswith("400 ")
        assert "Set-Cookie" not in headers
