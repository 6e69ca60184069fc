"""CSRF: which requests are checked, and how a refusal is said. The table of requests is in ``test_csrf_corpus.py``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import TestResponse

from flask_api_layer import (
    csrf_exempt,
    current_user,
    guest_allowed,
    login_required,
)
from flask_api_layer.signals import csrf_failed
from tests.processes import ShopBackend

from .csrf_visitors import (
    CROSS_SITE,
    CSRF,
    EVIL,
    MULTIPART,
    OWN,
    URLENCODED,
    OldBrowser,
    assert_page,
    csrf_set,
    field_of,
    shop,
    with_views,
)
from .visitors import (
    CREDENTIALS,
    GUEST,
    NAVIGATION,
    SCRIPT,
    SECURE,
    USER,
    WEEK,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    heard,
    layered,
    set_cookies,
)
from .wire import Answer, call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


# Forms


# B8.4
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
@pytest.mark.parametrize("who", ["user", "guest"])
def test_the_form_of_a_view_passes_with_its_field(
    backend: ShopBackend, make_app: MakeApp, kind: str, who: str
) -> None:
    app, saved = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    browser.log_in() if who == "user" else browser.visit("/cart")
    assert set(browser.cookies) == {USER if who == "user" else GUEST}
    token = browser.open_form()
    assert browser.send(token, kind=kind).text == "saved"
    assert saved.bodies == [{"name": "Ada", "csrf_token": token}]


# B8.4
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_form_of_a_view_without_the_field_is_refused(
    backend: ShopBackend, make_app: MakeApp, kind: str
) -> None:
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    before = browser.cookies
    backend.reset()
    assert_page(browser.send(None, kind=kind), 403)
    assert_problem(browser.post("/save", json={"csrf_token": browser.token}), 403, "csrf_token_missing")
    assert (saved.bodies, browser.cookies, backend.calls()) == ([], before, {})


# B8.4
def test_the_field_is_not_looked_at_when_there_is_a_header(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.open_form()
    for header, expected in (("a.b", "csrf_token_invalid"), ("", "csrf_token_missing")):
        form = {"csrf_token": token}
        headers = {"X-Requested-With": "fetch", "X-CSRF-Token": header, "Origin": OWN}
        response = browser.client.post("/save", base_url=OWN, data=form, headers=headers)
        assert_problem(response, 403, expected)
    assert saved.bodies == []


# B8.4
@pytest.mark.parametrize("headers", [SCRIPT, {"X-CSRF-Token": ""}])
def test_a_body_that_need_not_be_read_is_left_to_the_view(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str]
) -> None:
    app, _ = shop(make_app, backend)
    seen: list[bytes] = []

    @app.post("/upload")
    def upload() -> str:
        seen.append(request.stream.read())
        return "done"

    browser = OldBrowser(app)
    browser.log_in()
    token = browser.token
    headers = {name: token if name == "X-CSRF-Token" else value for name, value in headers.items()}
    body = b"csrf_token=a&" + b"x" * 100_000
    response = browser.client.post(
        "/upload", base_url=OWN, data=body, headers=headers, content_type=URLENCODED
    )
    assert response.text == "done"
    assert seen == [body]


# B8.3, B8.4, ancestor F3: a visitor has a token too
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_login_form_passes_with_its_field(backend: ShopBackend, make_app: MakeApp, kind: str) -> None:
    app, _ = shop(make_app, backend)
    browser = OldBrowser(app)
    response = browser.send_login(browser.open_form(), kind=kind)
    assert response.status_code == 303
    assert response.headers["Location"] == "/"
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
        USER: SECURE | {"Max-Age": WEEK}
    }
    assert browser.visit("/account").text == "user"


# B8.1, B8.4
@pytest.mark.parametrize("token", [None, "a.b"])
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_login_form_with_a_bad_token_sends_nothing(
    backend: ShopBackend, make_app: MakeApp, token: str | None, kind: str
) -> None:
    app, _ = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.open_form()
    response = browser.send_login(token, kind=kind)
    assert_problem(response, 403, "csrf_token_invalid" if token else "csrf_token_missing")
    assert "Set-Cookie" not in response.headers
    assert backend.calls() == {}


# B8.4
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_registration_form_passes_with_its_field_and_the_backend_never_sees_it(
    make_app: MakeApp, kind: str
) -> None:
    with StubBackend({"POST auth/register": grant(user={"id": 7})}) as stub:
        app = make_app(stub.url)
        with_views(app)
        browser = OldBrowser(app)
        response = browser.send(browser.open_form(), path="/api/auth/register", kind=kind)
        assert response.status_code == 303
        assert stub.call("POST auth/register").json == {"name": "Ada"}


# B2.1 logout, B8.4
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_logout_form_passes_with_its_field_only(
    backend: ShopBackend, make_app: MakeApp, kind: str
) -> None:
    app, _ = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.open_form()
    backend.reset()
    refused = browser.send(None, path="/api/auth/logout", kind=kind)
    assert_problem(refused, 403, "csrf_token_missing")
    assert backend.calls() == {}
    assert set(browser.cookies) == {USER}
    response = browser.send(token, path="/api/auth/logout", kind=kind)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    assert backend.calls() == {"POST auth/logout": 1}
    assert browser.cookies == {}


# B8.4
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_the_field_counts_for_nothing_on_proxied_paths(make_app: MakeApp, kind: str) -> None:
    with StubBackend({"POST auth/login": grant(user={"id": 7})}) as stub:
        browser = OldBrowser(make_app(stub.url, proxy_routes={"**": "*"}))
        browser.log_in()
        token = browser.token
        stub.calls.clear()
        response = browser.send(token, path="/api/orders", kind=kind)
        assert_problem(response, 403, "csrf_token_missing")
        assert stub.calls == []


# B8.4, B7.5
def test_a_proxied_body_reaches_the_backend_byte_for_byte(make_app: MakeApp) -> None:
    answers = {"POST auth/login": grant(user={"id": 7}), "POST orders": (200, {"success": True})}
    with StubBackend(answers) as stub:
        browser = OldBrowser(make_app(stub.url, proxy_routes={"**": "*"}))
        browser.log_in()
        token = browser.token
        body = f"csrf_token={token}&a=%zz&&b=%00".encode()
        headers = {"X-CSRF-Token": token, "Origin": OWN}
        response = browser.client.post(
            "/api/orders", base_url=OWN, data=body, content_type=URLENCODED, headers=headers
        )
        assert response.status_code == 200
        sent = stub.call("POST orders")
    assert sent.body == body
    assert not {"x-csrf-token", "cookie"} & {name.lower() for name in sent.headers}


# Guarded apps


class Mounted:
    """A WSGI app that keeps what it read."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"mounted"]


@contextmanager
def guarded(backend: ShopBackend, **settings: Any) -> Iterator[tuple[OldBrowser, Mounted]]:
    """A browser that is logged in, and the app that is mounted under ``/reports``."""
    with layered(backend, **settings) as (app, layer):
        app.register_blueprint(layer.blueprint)
        inner = Mounted()
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/reports": layer.guard(inner)})  # type: ignore[method-assign]
        browser = OldBrowser(app)
        browser.log_in()
        backend.reset()
        yield browser, inner


# B8.4, B4.6
def test_the_field_counts_for_nothing_in_a_guarded_app(backend: ShopBackend) -> None:
    with guarded(backend) as (browser, inner):
        response = browser.send(browser.token, path="/reports/new")
        assert_page(response, 403)
        response.close()
        assert inner.bodies == []
        assert backend.calls() == {}


# B8.4, B4.6
def test_a_guarded_app_gets_every_byte(backend: ShopBackend) -> None:
    body = b"csrf_token=a&%zz" + b"x" * 100_000
    with guarded(backend) as (browser, inner):
        headers = {"X-CSRF-Token": browser.token, "Origin": OWN}
        response = browser.client.post(
            "/reports/new", base_url=OWN, data=body, content_type=URLENCODED, headers=headers, buffered=True
        )
        assert response.text == "mounted"
    assert inner.bodies == [body]


# B8.2, B4.6
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_guarded_app_is_as_closed_to_others_as_a_view(backend: ShopBackend, site: str) -> None:
    with guarded(backend) as (browser, inner):
        headers = NAVIGATION | {"Sec-Fetch-Site": site, "Origin": EVIL}
        response = browser.client.post("/reports/new", base_url=OWN, headers=headers, buffered=True)
        assert_page(response, 403)
        assert inner.bodies == []
        assert backend.calls() == {}


# Modes


# DESIGN 5: CSRF
@pytest.mark.parametrize("mode", ["fetch_metadata", "off"])
def test_without_tokens_templates_render_and_set_no_cookie(
    backend: ShopBackend, make_app: MakeApp, mode: str
) -> None:
    app, _ = shop(make_app, backend, csrf=mode)
    browser = Browser(app)
    page = browser.visit("/form")
    assert (page.status_code, page.text) == (200, "<form></form>")
    login = browser.log_in()
    logout = browser.post("/api/auth/logout")
    assert [csrf_set(response) for response in (page, login, logout)] == [None, None, None]


# DESIGN 5: CSRF
def test_fetch_metadata_alone_lets_an_old_browser_in_by_its_origin(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, saved = shop(make_app, backend, csrf="fetch_metadata")
    browser = OldBrowser(app)
    assert browser.send_login(None).status_code == 303
    assert browser.send(None).text == "saved"
    foreign = browser.fetch("/save", method="POST", headers={"Origin": EVIL, "X-Requested-With": "fetch"})
    assert_problem(foreign, 403, "csrf_cross_site")
    assert len(saved.bodies) == 1


# DESIGN 5: CSRF
def test_double_submit_alone_wants_a_token_from_every_browser(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, saved = shop(make_app, backend, csrf="double_submit")
    browser = Browser(app)
    token = field_of(browser.visit("/form"))
    assert_problem(browser.post("/api/auth/login", json=CREDENTIALS), 403, "csrf_token_missing")
    login = browser.submit("/api/auth/login", CREDENTIALS | {"csrf_token": token})
    assert login.status_code == 303
    assert_page(browser.submit("/save", {"csrf_token": token}), 403)
    assert browser.submit("/save", {"csrf_token": field_of(browser.visit("/form"))}).text == "saved"
    assert len(saved.bodies) == 1


# Exemptions


def _cross_site_post(browser: Browser, path: str) -> TestResponse:
    return browser.fetch(path, method="POST", headers=CROSS_SITE)


# B8.5
@pytest.mark.parametrize("above", [True, False])
def test_an_exempt_view_is_not_checked(backend: ShopBackend, make_app: MakeApp, above: bool) -> None:
    app, saved = shop(make_app, backend)

    def hook() -> str:
        return "hooked"

    if above:
        csrf_exempt(app.post("/hook")(hook))
    else:
        app.post("/hook")(csrf_exempt(hook))
    browser = Browser(app)
    browser.log_in()
    assert _cross_site_post(browser, "/hook").text == "hooked"
    assert_problem(_cross_site_post(browser, "/save"), 403, "csrf_cross_site")
    assert saved.bodies == []


# B8.5, B4.2
@pytest.mark.parametrize("outer", [True, False])
def test_an_exempt_view_may_be_gated(backend: ShopBackend, make_app: MakeApp, outer: bool) -> None:
    app, _ = shop(make_app, backend)

    def hook() -> str:
        return str(current_user.kind)

    gated = csrf_exempt(login_required(hook)) if outer else login_required(csrf_exempt(hook))
    app.post("/hook")(gated)
    browser = Browser(app)
    assert_problem(_cross_site_post(browser, "/hook"), 401, "login_required")
    browser.log_in()
    assert _cross_site_post(browser, "/hook").text == "user"


class Hooks(MethodView):
    """A view of which nothing is exempt by itself."""

    def post(self) -> str:
        return "posted"

    def put(self) -> str:
        return "put"


# B8.5
@pytest.mark.parametrize("decorated_class", [True, False])
def test_an_exempt_class_is_not_checked(
    backend: ShopBackend, make_app: MakeApp, decorated_class: bool
) -> None:
    app, _ = shop(make_app, backend)

    class Exempt(Hooks):
        decorators = [] if decorated_class else [csrf_exempt]

    view = csrf_exempt(Exempt) if decorated_class else Exempt
    app.add_url_rule("/exempt", view_func=view.as_view("exempt"))
    app.add_url_rule("/checked", view_func=Hooks.as_view("checked"))
    browser = Browser(app)
    browser.log_in()
    assert _cross_site_post(browser, "/exempt").text == "posted"
    assert browser.fetch("/exempt", method="PUT", headers=CROSS_SITE).text == "put"
    assert_problem(_cross_site_post(browser, "/checked"), 403, "csrf_cross_site")


# B8.5
def test_an_exempt_method_exempts_no_other(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)

    class Mixed(Hooks):
        @csrf_exempt
        def post(self) -> str:
            return "posted"

    app.add_url_rule("/mixed", view_func=Mixed.as_view("mixed"))
    browser = Browser(app)
    browser.log_in()
    assert _cross_site_post(browser, "/mixed").text == "posted"
    response = browser.fetch("/mixed", method="PUT", headers=CROSS_SITE)
    assert_problem(response, 403, "csrf_cross_site")


# B4.5, ancestor F4
def test_excluded_routes_are_not_checked(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend, excluded_routes=("/webhooks",))
    for path in ("/webhooks/paid", "/webhooks-admin"):
        app.add_url_rule(path, path.removeprefix("/"), lambda: "done", methods=["POST"])
    browser = Browser(app)
    browser.log_in()
    assert _cross_site_post(browser, "/webhooks/paid").text == "done"
    assert_problem(_cross_site_post(browser, "/webhooks-admin"), 403, "csrf_cross_site")


# B8.1, ancestor F4
def test_a_webhook_is_not_checked(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend, guest_enabled=True)
    response = app.test_client().post("/save", base_url=OWN, json={"event": "paid"})
    assert response.text == "saved"
    assert "Set-Cookie" not in response.headers
    assert len(saved.bodies) == 1


# B8.1: cookies that are not ours make no session
def test_other_cookies_ask_for_no_check(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend)
    token = OldBrowser(app).open_form()
    headers = [("Cookie", f"session=a; theme=dark; {CSRF}={token}; api-user=b"), *CROSS_SITE.items()]
    assert call(app, "/save", method="POST", headers=headers).status == 200
    assert len(saved.bodies) == 1


# Logins


# B8.1: login CSRF
@pytest.mark.parametrize("name", ["login", "register", "guest", "logout"])
@pytest.mark.parametrize("headers", [CROSS_SITE, {"Origin": EVIL}, {"Referer": f"{EVIL}/page"}])
def test_a_foreign_page_logs_nobody_in(
    backend: ShopBackend, make_app: MakeApp, name: str, headers: dict[str, str]
) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)
    response = app.test_client().post(
        f"/api/auth/{name}",
        base_url=OWN,
        data=CREDENTIALS,
        headers={"Accept": NAVIGATION["Accept"], "Sec-Fetch-Mode": "navigate"} | headers,
    )
    assert_page(response, 403)
    assert "Set-Cookie" not in response.headers
    assert backend.calls() == {}


# B8.1: SameSite keeps the guest's cookie at home; an answer with another one would take the cart away
@pytest.mark.parametrize("path", ["/change", "/api/echo"])
@pytest.mark.parametrize("headers", [CROSS_SITE, {"Origin": EVIL}, {"Referer": f"{EVIL}/page"}])
def test_a_foreign_form_makes_no_guest(
    backend: ShopBackend, make_app: MakeApp, path: str, headers: dict[str, str]
) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True, proxy_routes={"**": "*"})

    @app.post("/change")
    @guest_allowed
    def change() -> str:
        return str(current_user.kind)

    response = app.test_client().post(path, base_url=OWN, headers=headers, data={"product_id": "2"})
    assert set_cookies(response) == {}
    assert backend.calls("POST auth/guest") == 0


# B5.1, B8.1: a script of one's own, or the app's own page, gets a guest as before
@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin", "Origin": OWN}])
def test_an_own_form_makes_a_guest(backend: ShopBackend, make_app: MakeApp, headers: dict[str, str]) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True, proxy_routes={"**": "*"})
    response = app.test_client().post("/api/echo", base_url=OWN, headers=headers)
    assert response.status_code == 200
    assert set(set_cookies(response)) == {GUEST}


# B8.1, B1.6
def test_a_login_elsewhere_is_a_login(backend: ShopBackend) -> None:
    with layered(backend) as (app, layer):
        app.register_blueprint(layer.blueprint, url_prefix="/x/backend")
        response = Browser(app).fetch(
            "/x/backend/auth/login", method="POST", json=CREDENTIALS, headers=CROSS_SITE
        )
        assert_problem(response, 403, "csrf_cross_site")
    assert backend.calls() == {}


# B8.1
def test_a_script_of_ones_own_logs_in(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    response = app.test_client().post("/api/auth/login", base_url=OWN, json=CREDENTIALS)
    assert response.status_code == 200
    assert set(set_cookies(response)) == {USER}


# Disguises


# B8.1, CORPUS 5
@pytest.mark.parametrize("value", ["GET", "HEAD", "OPTIONS"])
def test_no_header_makes_a_proxied_write_a_read(backend: ShopBackend, make_app: MakeApp, value: str) -> None:
    app, _ = shop(make_app, backend, proxy_routes={"**": "*"})
    browser = Browser(app)
    browser.log_in()
    backend.reset()
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        response = browser.fetch("/api/echo", method="POST", headers=CROSS_SITE | {header: value})
        assert_problem(response, 403, "csrf_cross_site")
    assert backend.calls() == {}


# B7.3, B8.1
def test_no_header_makes_a_proxied_read_a_write(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend, proxy_routes={"**": "*"})
    browser = Browser(app)
    browser.log_in()
    response = browser.fetch(
        "/api/echo",
        headers={
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "X-HTTP-Method-Override": "PUT",
        },
    )
    assert response.get_json()["method"] == "GET"
    assert "override" not in response.text.lower()


# B7.1, CORPUS 1
@pytest.mark.parametrize("path", ["/api/echo", "/api/auth/login", "/api/auth/logout"])
def test_a_lower_case_post_under_the_prefix_is_no_way_around(
    backend: ShopBackend, make_app: MakeApp, path: str
) -> None:
    app, _ = shop(make_app, backend, proxy_routes={"**": "*"})
    browser = Browser(app)
    browser.log_in()
    backend.reset()
    cookie = f"{USER}={browser.cookies[USER]}"
    answer = call(app, path, method="post", headers=[("Cookie", cookie), *CROSS_SITE.items()])
    assert answer.status in (403, 405)
    assert "Set-Cookie" not in answer.headers
    assert backend.calls() == {}


# B8.2, B6.6: whoever is refused costs nothing and loses nothing
def test_a_refused_request_refreshes_no_session(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    app, saved = shop(make_app, backend, guest_enabled=True, proxy_routes={"**": "*"})
    browser = Browser(app)
    browser.log_in()
    before = browser.cookies
    backend.reset()
    for path in ("/save", "/api/echo", "/api/auth/refresh", "/api/auth/logout", "/api/auth/guest"):
        response = _cross_site_post(browser, path)
        assert_problem(response, 403, "csrf_cross_site")
        assert "Set-Cookie" not in response.headers
    assert (backend.calls(), browser.cookies, saved.bodies) == ({}, before, [])


# Other origins


# B8.3
def test_a_trusted_origin_may_send_forms_with_a_token_only(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend, csrf_trusted_origins=("https://pay.localhost",))
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.token
    from_trusted = {"Origin": "https://pay.localhost", "X-Requested-With": "fetch"}
    without = browser.fetch("/save", method="POST", headers=from_trusted)
    assert_problem(without, 403, "csrf_token_missing")
    assert (
        browser.fetch("/save", method="POST", headers=from_trusted | {"X-CSRF-Token": token}).text == "saved"
    )
    modern = browser.client.post(
        "/save", base_url=OWN, headers=from_trusted | {"Sec-Fetch-Site": "same-site"}
    )
    assert modern.text == "saved"
    assert len(saved.bodies) == 2


# B8.6
@pytest.mark.parametrize("path", ["/api/echo", "/api/nothing", "/api/auth/me", "/api/mine"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket"])
def test_no_foreign_page_reads_what_is_under_the_prefix(
    backend: ShopBackend, make_app: MakeApp, path: str, mode: str
) -> None:
    app, _ = shop(make_app, backend, proxy_routes={"echo": "*"})
    ran: list[str] = []

    @app.get("/api/mine")
    def mine() -> str:
        ran.append("mine")
        return "mine"

    browser = Browser(app)
    browser.log_in()
    backend.reset()
    response = browser.fetch(path, headers=CROSS_SITE | {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": "image"})
    if path == "/api/nothing":
        # B7.1 comes first; whatever it is, nothing is there to read.
        assert response.status_code in (403, 404)
    else:
        assert_problem(response, 403, "csrf_cross_site")
    assert (backend.calls(), ran) == ({}, [])
    assert "Set-Cookie" not in response.headers


# B8.6
@pytest.mark.parametrize("path", ["/plain", "/form", "/apiary"])
def test_pages_outside_the_prefix_stay_open_to_links_and_pictures(
    backend: ShopBackend, make_app: MakeApp, path: str
) -> None:
    app, _ = shop(make_app, backend)
    app.add_url_rule("/apiary", "apiary", lambda: "bees")
    for mode in ("no-cors", "navigate"):
        assert Browser(app).fetch(path, headers=CROSS_SITE | {"Sec-Fetch-Mode": mode}).status_code == 200


# How a refusal is said


# B1.1, B1.5, B8.3
def test_a_refusal_says_no_more_than_that(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    browser = Browser(app)
    browser.log_in()
    response = _cross_site_post(browser, "/save")
    assert_problem(response, 403, "csrf_cross_site")
    assert not [word for word in ("evil", "localhost", "Sec-Fetch", "ProxyFix") if word in response.text]
    assert_private(response)


# B8.3
@pytest.mark.parametrize("debug", [True, False])
def test_both_origins_are_in_the_log_and_in_debug_mode_in_the_detail(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    app, _ = shop(make_app, backend, cookie_secure=True)
    app.debug = debug
    browser = OldBrowser(app)
    browser.log_in()
    caplog.clear()
    headers = {"Origin": EVIL, "X-Requested-With": "fetch"}
    body = assert_problem(browser.fetch("/save", method="POST", headers=headers), 403, "csrf_cross_site")
    [line] = refusals(caplog)
    for text, expected in ((line, True), (body["detail"], debug)):
        assert ((EVIL in text) and (OWN in text)) is expected
        assert "ProxyFix" not in text


# B8.3
@pytest.mark.parametrize("header", ["Origin", "Referer"])
def test_proxy_fix_is_named_when_only_the_scheme_differs(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    app, _ = shop(make_app, backend, cookie_secure=True)
    app.debug = True
    sent = {header: "https://shop.example", "X-Requested-With": "fetch"}
    with app.test_client() as client:
        response = client.post("/api/auth/login", base_url="http://shop.example", json={}, headers=sent)
        body = assert_problem(response, 403, "csrf_cross_site")
    [line] = refusals(caplog)
    for text in (line, body["detail"]):
        assert all(part in text for part in ("https://shop.example", "http://shop.example", "ProxyFix"))
    assert backend.calls() == {}


# B8.4, STYLE: errors
@pytest.mark.parametrize("debug", [True, False])
def test_no_token_is_in_a_log_or_a_refusal(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    app, _ = shop(make_app, backend, cookie_secure=True)
    app.debug = debug
    browser, other = OldBrowser(app), OldBrowser(app)
    browser.log_in()
    foreign = other.token
    caplog.set_level(logging.DEBUG)
    response = browser.send(foreign)
    assert_page(response, 403)
    assert refusals(caplog)
    for text in (*caplog.messages, response.text):
        assert foreign not in text
        assert str(browser.csrf_cookie) not in text


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines about refusals, without the audit's."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and "csrf_" in record.getMessage()
    ]


# B14.1, DESIGN 3: events
def test_a_refusal_is_told_to_subscribers(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = shop(make_app, backend)
    browser = Browser(app)
    browser.log_in()
    caplog.set_level(logging.INFO, logger="flask_api_layer.audit")
    caplog.clear()
    with heard(csrf_failed, app) as events:
        body = assert_problem(_cross_site_post(browser, "/save"), 403, "csrf_cross_site")
        browser.post("/save")
    [event] = events
    assert (event["error_code"], event["request_id"]) == ("csrf_cross_site", body["request_id"])
    [line] = [line for line in caplog.messages if '"csrf:fail"' in line]
    assert '"code":"csrf_cross_site"' in line


# B1.4: a role failure, and this too, is never a redirect
@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        (NAVIGATION, True),
        ({"Accept": NAVIGATION["Accept"]}, True),
        (SCRIPT, False),
        ({"HX-Request": "true", "HX-Current-URL": "https://localhost/form"}, False),
        ({"HX-Request": "true", "Sec-Fetch-Mode": "navigate"}, False),
        ({"X-Requested-With": "XMLHttpRequest"}, False),
        ({"Accept": "application/json"}, False),
    ],
)
def test_a_refusal_is_said_as_its_reader_can_use_it(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str], is_page: bool
) -> None:
    app, saved = shop(make_app, backend)
    browser = Browser(app)
    browser.log_in()
    response = browser.client.post("/save", base_url=OWN, headers=headers | CROSS_SITE)
    if is_page:
        assert_page(response, 403)
    else:
        assert_problem(response, 403, "csrf_cross_site")
    assert not {"Location", "HX-Redirect", "WWW-Authenticate"} & set(response.headers.keys())
    assert saved.bodies == []


# DESIGN 3: denial
def test_the_apps_own_error_page_wins(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    app.register_error_handler(403, lambda error: (f"no: {error.error_code}", 403))
    browser = OldBrowser(app)
    browser.log_in()
    response = browser.send(None)
    assert (response.status_code, response.text) == (403, "no: csrf_token_missing")
    assert_private(response)


# Bodies that are broken


BROKEN: dict[str, tuple[str, bytes]] = {
    "multipart without a boundary": (MULTIPART, b"--b\r\n\r\n"),
    "multipart cut": (f"{MULTIPART}; boundary=b", b'--b\r\nContent-Disposition: form-data; name="csrf_tok'),
    "multipart without headers": (f"{MULTIPART}; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "multipart that is none": (f"{MULTIPART}; boundary=b", b"\x00\xff" * 50),
    "multipart odd boundary": (f'{MULTIPART}; boundary="\xe9\x01"', b"--b\r\n"),
    "multipart of a thousand": (
        f"{MULTIPART}; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1100 + b"--b--\r\n",
    ),
    "bad percent": (URLENCODED, b"csrf_token=%zz%"),
    "no utf-8": (URLENCODED, b"csrf_token=\xff\xfe&\xed\xa0\x80=%ff"),
    "surrogate": (URLENCODED, b"csrf_token=%ed%a0%80"),
    "odd charset": (f"{URLENCODED}; charset=utf-16", b"csrf_token=a"),
    "NUL": (URLENCODED, b"csrf_token=\x00&\x00=%00"),
    "many fields": (URLENCODED, b"&".join(b"a%d=1" % number for number in range(20_000))),
    "600 KB field": (URLENCODED, b"csrf_token=" + b"x" * 600_000),
    "two tokens": (URLENCODED, b"csrf_token=a&csrf_token=b"),
    "empty": (URLENCODED, b""),
}


# B8.4, CORPUS 6
@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("path", ["/save", "/api/auth/login", "/api/auth/logout", "/api/echo"])
def test_a_broken_body_is_refused_and_never_a_5xx(
    backend: ShopBackend, make_app: MakeApp, case: str, path: str
) -> None:
    app, saved = shop(make_app, backend, proxy_routes={"**": "*"})
    answer = _send_broken(app, backend, path, *BROKEN[case])
    assert answer.status in (400, 403, 413)
    assert "Set-Cookie" not in answer.headers
    assert (saved.bodies, backend.calls()) == ([], {})


# B8.4, CORPUS 6
@pytest.mark.parametrize("path", ["/save", "/api/auth/login", "/api/auth/logout"])
@pytest.mark.parametrize("length", ["4096", "-1", "x", "99999999999999999999", "1_0"])
def test_a_body_shorter_than_its_length_is_refused_and_never_a_5xx(
    backend: ShopBackend, make_app: MakeApp, path: str, length: str
) -> None:
    app, saved = shop(make_app, backend)
    answer = _send_broken(app, backend, path, URLENCODED, b"csrf_token=a", CONTENT_LENGTH=length)
    assert answer.status in (400, 403, 413)
    assert (saved.bodies, backend.calls()) == ([], {})


def _send_broken(
    app: Flask, backend: ShopBackend, path: str, kind: str, body: bytes, **environ: str
) -> Answer:
    """Send it in a session, so that a token is needed and looked for."""
    browser = Browser(app)
    browser.log_in()
    backend.reset()
    headers = [
        ("Cookie", f"{USER}={browser.cookies[USER]}"),
        ("Origin", "http://localhost"),
        ("Content-Type", kind),
    ]
    return call(app, path, method="POST", headers=headers, body=body, environ=environ)


class _Broken:
    """A body that breaks off, in the words of no server that Flask knows."""

    def read(self, *_: object) -> bytes:
        raise OSError("the client left")

    readline = readlines = __iter__ = read


# B8.4: every server has errors of its own for a broken body
@pytest.mark.parametrize("path", ["/change", "/api/auth/logout"])
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_form_that_breaks_off_is_no_error_of_ours(
    backend: ShopBackend, make_app: MakeApp, path: str, content_type: str
) -> None:
    app, _ = shop(make_app, backend)
    app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
    broken = {"wsgi.input": _Broken(), "wsgi.input_terminated": True}
    headers = [("Cookie", f"{USER}=garbage"), ("Content-Type", content_type)]
    answer = call(app, path, method="POST", headers=headers, environ=broken)
    assert answer.status == 403
