"""What an app may say at fixed points of a request, and what stays as it is whatever it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from flask import Flask, Request, Response, abort, current_app, g, jsonify
from flask.views import MethodView
from werkzeug.test import TestResponse

from flask_api_layer import (
    AccessDenied,
    ApiLayer,
    Denial,
    Identity,
    LoginRequired,
    current_user,
    guest_allowed,
    login_required,
    public,
)
from flask_api_layer.signals import identity_resolved
from tests.processes import ShopBackend
from tests.raw_server import Peer, RawServer

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    NAVIGATION,
    SCRIPT,
    USER,
    MakeApp,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    layered,
    plain,
    record,
    set_cookies,
)
from .wire import call

NEVER = "http://127.0.0.1:9/v1"
PROXIED = {"proxy_routes": {"products": ["GET"], "whoami": ["GET"], "orders": ["POST"]}}


class Shop(NamedTuple):
    app: Flask
    layer: ApiLayer
    # The endpoints of the views that ran.
    ran: list[str]


Make = Callable[..., Shop]


def _add_views(app: Flask) -> list[str]:
    ran: list[str] = []

    def view(name: str) -> Callable[[], str]:
        def run() -> str:
            ran.append(name)
            return name

        return run

    app.add_url_rule("/", view_func=view("index"), endpoint="index", methods=["GET", "POST"])
    app.add_url_rule("/public", view_func=public(view("public")), endpoint="public")
    app.add_url_rule("/cart", view_func=guest_allowed(view("cart")), endpoint="cart")
    app.add_url_rule("/account", view_func=login_required(view("account")), endpoint="account")
    app.add_url_rule("/admin", view_func=login_required("admin")(view("admin")), endpoint="admin")
    app.add_url_rule("/pattern", view_func=view("pattern"), endpoint="pattern")
    app.add_url_rule("/hooks/in", view_func=view("hook"), endpoint="hook")
    app.add_url_rule("/broken", view_func=_broken, endpoint="broken")
    app.static_folder = str(Path(__file__).parent)
    return ran


def _broken() -> str:
    raise ZeroDivisionError("broken")


@pytest.fixture
def make() -> Iterator[Make]:
    """A shop and its layer."""
    opened = []

    def start(at: ShopBackend | str = NEVER, **settings: Any) -> Shop:
        opened.append(layered(at, **PROXIED | {"excluded_routes": ("/hooks",)} | settings))
        app, layer = opened[-1].__enter__()
        app.register_blueprint(layer.blueprint)
        return Shop(app, layer, _add_views(app))

    yield start
    for shop in opened:
        shop.__exit__(None, None, None)


# Decorators


# DESIGN 2
@pytest.mark.parametrize(
    "name",
    ["before_auth", "after_auth", "on_denied", "on_error", "rate_limit_key", "before_proxy", "after_proxy"],
)
def test_a_callback_stays_the_function_that_it_was(make: Make, name: str) -> None:
    def callback(*_: Any) -> None:
        return None

    assert getattr(make().layer, name)(callback) is callback


# before_auth


# DESIGN 3
def test_before_auth_comes_before_anybody_asks_who_it_is(backend: ShopBackend, make: Make) -> None:
    shop = make(backend, validate_ttl=0)
    order: list[str] = []
    shop.layer.before_auth(lambda req: order.append(f"before {backend.calls('GET auth/me')}"))
    shop.layer.after_auth(lambda who: order.append("after"))
    browser = plain(shop.app)
    browser.log_in()
    order.clear()

    def resolved(_: object, **__: object) -> None:
        order.append("who")

    with identity_resolved.connected_to(resolved, sender=shop.app):
        assert browser.visit("/account").text == "account"
    assert order == ["before 0", "who", "after"]
    assert shop.ran == ["account"]


# DESIGN 3
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/", "HEAD"),
        ("/", "OPTIONS"),
        ("/", "POST"),
        ("/public", "GET"),
        ("/account", "GET"),
        ("/missing", "GET"),
        ("/api/auth/me", "GET"),
        ("/api/auth/login", "POST"),
        ("/api/products", "GET"),
        ("/api/orders", "POST"),
    ],
)
def test_before_auth_sees_every_request(make: Make, path: str, method: str) -> None:
    shop, seen = make(), list[tuple[type[Request], str, str]]()
    shop.layer.before_auth(lambda req: seen.append((type(req), req.method, req.path)))
    plain(shop.app).fetch(path, method=method)
    assert seen == [(shop.app.request_class, method, path)]


# B4.5
@pytest.mark.parametrize("path", ["/hooks/in", "/hooks/none", "/api/open"])
def test_before_auth_does_not_see_excluded_paths(make: Make, path: str) -> None:
    shop, seen = make(excluded_routes=("/hooks", "/api/open")), list[str]()
    shop.layer.before_auth(lambda req: seen.append(req.path))
    plain(shop.app).fetch(path)
    assert seen == []


# DESIGN 3
@pytest.mark.parametrize(
    "path", ["/", "/account", "/missing", "/api/auth/me", "/api/products", "/api/auth/csrf"]
)
@pytest.mark.parametrize(
    "answer", ["closed", ("closed", 503), Response("closed", 503), {"closed": True}, "", {}, []], ids=repr
)
def test_what_before_auth_says_ends_the_request(
    backend: ShopBackend, make: Make, path: str, answer: Any
) -> None:
    shop = make(backend, guest_enabled=True, guest_mode="eager")
    shop.layer.before_auth(lambda req: answer)
    with shop.app.test_request_context():
        expected = shop.app.make_response(answer)
    response = plain(shop.app).visit(path)
    assert (response.status_code, response.data) == (expected.status_code, expected.data)
    assert set_cookies(response) == {}
    assert (shop.ran, backend.calls()) == ([], {})


# DESIGN 3
def test_before_auth_comes_after_the_rate_limit(make: Make) -> None:
    shop, seen = make(rate_limit="1/day"), list[str]()
    shop.layer.before_auth(lambda req: seen.append(req.path))
    browser = plain(shop.app)
    statuses = [browser.fetch(path).status_code for path in ("/", "/", "/api/products", "/api/auth/me")]
    assert statuses == [200, 429, 429, 429]
    assert seen == ["/"]


# DESIGN 3
@pytest.mark.parametrize("path", ["/", "/api/auth/logout", "/api/orders"])
def test_before_auth_comes_after_csrf(backend: ShopBackend, make: Make, path: str) -> None:
    shop, seen = make(backend), list[str]()
    browser = plain(shop.app)
    browser.log_in()
    shop.layer.before_auth(lambda req: seen.append(req.path))
    response = browser.fetch(path, method="POST", headers={"Sec-Fetch-Site": "cross-site"})
    assert_problem(response, 403, "csrf_cross_site")
    assert (seen, shop.ran) == ([], [])


# DESIGN 3 (denial)
def test_before_auth_may_refuse(make: Make) -> None:
    shop = make()

    @shop.layer.before_auth
    def refuse(req: Request) -> None:
        if req.path == "/":
            raise AccessDenied("Closed on Sundays.")
        abort(418)

    browser = plain(shop.app)
    assert assert_problem(browser.fetch("/"), 403, "access_denied")["detail"] == "Closed on Sundays."
    assert [browser.fetch(path).status_code for path in ("/account", "/api/products")] == [418, 418]
    assert shop.ran == []


# DESIGN 3
def test_before_auth_that_fails_lets_nobody_in(make: Make) -> None:
    shop = make()
    shop.layer.before_auth(lambda req: _broken())
    browser = plain(shop.app)
    assert [browser.fetch(path).status_code for path in ("/", "/api/products")] == [500, 500]
    assert shop.ran == []


# DESIGN 2
def test_several_of_one_kind_go_in_order_until_one_answers(make: Make) -> None:
    shop, order = make(), list[int]()
    for number, answer in enumerate([None, None, "third", "fourth"]):

        def callback(_: Request, number: int = number, answer: str | None = answer) -> str | None:
            order.append(number)
            return answer

        shop.layer.before_auth(callback)
    assert plain(shop.app).visit("/").text == "third"
    assert order == [0, 1, 2]


# after_auth


# DESIGN 3
def test_after_auth_learns_who_passed_a_gate(backend: ShopBackend, make: Make) -> None:
    shop, seen = make(backend), list[Identity]()
    shop.layer.after_auth(seen.append)
    browser = plain(shop.app)
    browser.log_in(ADMIN)
    for path in ("/account", "/admin", "/cart"):
        assert browser.visit(path).status_code == 200
    assert [(who.kind, who["email"]) for who in seen] == [("user", ADMIN)] * 3
    assert all(type(who) is Identity for who in seen)


# DESIGN 3
def test_after_auth_learns_of_guests(backend: ShopBackend, make: Make) -> None:
    shop, seen = make(backend, guest_enabled=True), list[Identity]()
    shop.layer.after_auth(seen.append)
    assert plain(shop.app).visit("/cart").text == "cart"
    assert [who.kind for who in seen] == ["guest"]


# DESIGN 3
@pytest.mark.parametrize("settings", [{"protected_routes": ("/pattern",)}, {"protected_by_default": True}])
def test_after_auth_follows_gates_by_configuration_too(
    backend: ShopBackend, make: Make, settings: dict[str, Any]
) -> None:
    shop, seen = make(backend, **settings), list[str]()
    shop.layer.after_auth(lambda who: seen.append(who.kind))
    browser = plain(shop.app)
    browser.log_in()
    assert browser.visit("/pattern").text == "pattern"
    assert seen == ["user"]


# DESIGN 3
def test_after_auth_follows_the_gate_of_a_route(backend: ShopBackend, make: Make) -> None:
    routes = {"products": {"methods": ["GET"], "roles": ["admin"]}, "whoami": ["GET"]}
    shop, seen = make(backend, proxy_routes=routes), list[str]()
    shop.layer.after_auth(lambda who: seen.append(who.kind))
    browser = plain(shop.app)
    browser.log_in(ADMIN)
    assert [browser.fetch(f"/api/{path}").status_code for path in ("whoami", "products")] == [200, 200]
    assert seen == ["user"]


# DESIGN 3
def test_without_a_gate_after_auth_is_not_asked(backend: ShopBackend, make: Make) -> None:
    shop, seen = make(backend, auth_routes=("/pattern",), after_login_url="/pattern"), list[str]()
    shop.layer.after_auth(lambda who: seen.append(who.kind))
    browser = plain(shop.app)
    browser.log_in()
    for path in ("/", "/public", "/pattern", "/missing", "/hooks/in"):
        browser.visit(path)
    browser.fetch("/api/auth/me")
    browser.fetch("/api/products")
    browser.fetch("/account", method="OPTIONS")
    assert seen == []


# DESIGN 3
def test_whoever_is_refused_does_not_reach_after_auth(backend: ShopBackend, make: Make) -> None:
    shop, seen = make(backend), list[str]()
    shop.layer.after_auth(lambda who: seen.append(who.kind))
    browser = plain(shop.app)
    assert browser.fetch("/account").status_code == 401
    browser.log_in()
    assert browser.fetch("/admin").status_code == 403
    assert seen == []


# DESIGN 3
@pytest.mark.parametrize("answer", ["terms first", ("terms first", 403), "", {}], ids=repr)
def test_what_after_auth_says_ends_the_request(backend: ShopBackend, make: Make, answer: Any) -> None:
    shop = make(backend)
    shop.layer.after_auth(lambda who: answer)
    browser = plain(shop.app)
    browser.log_in()
    response = browser.visit("/account")
    with shop.app.test_request_context():
        expected = shop.app.make_response(answer)
    assert (response.status_code, response.data) == (expected.status_code, expected.data)
    assert_private(response)
    assert shop.ran == []


# DESIGN 3
def test_what_after_auth_says_ends_a_proxied_request(backend: ShopBackend, make: Make) -> None:
    routes = {"products": {"methods": ["GET"], "roles": ["admin"]}}
    shop = make(backend, proxy_routes=routes)
    shop.layer.after_auth(lambda who: ("terms first", 403))
    browser = plain(shop.app)
    browser.log_in(ADMIN)
    assert browser.fetch("/api/products").text == "terms first"
    assert backend.calls("GET products") == 0


# DESIGN 3, B4.2
def test_a_view_that_answers_options_itself_is_no_way_around_after_auth(
    backend: ShopBackend, make: Make
) -> None:
    shop = make(backend)
    shop.layer.after_auth(lambda who: ("terms first", 403))

    class Orders(MethodView):
        decorators: ClassVar[list[Callable[..., Any]]] = [login_required]

        def options(self) -> str:
            shop.ran.append("orders")
            return "secret"

    shop.app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    browser = plain(shop.app)
    browser.log_in()
    assert browser.fetch("/orders", method="OPTIONS").text != "secret"
    assert shop.ran == []


# on_denied


class Answered(NamedTuple):
    """A refusal: what the callback was told, and what came out."""

    errors: list[Denial]
    response: TestResponse


def _no_login(shop: Shop) -> TestResponse:
    return plain(shop.app).fetch("/account")


def _login(shop: Shop, **headers: str) -> TestResponse:
    return plain(shop.app).fetch("/api/auth/login", method="POST", json=CREDENTIALS, headers=headers)


def _expired(shop: Shop) -> TestResponse:
    browser = plain(shop.app)
    browser.log_in()
    return browser.post("/api/auth/refresh")


def _no_role(shop: Shop) -> TestResponse:
    browser = plain(shop.app)
    browser.log_in()
    return browser.fetch("/admin")


def _cross_site(shop: Shop) -> TestResponse:
    return _login(shop, **{"Sec-Fetch-Site": "cross-site"})


def _no_token(shop: Shop) -> TestResponse:
    return _login(shop, **{"Sec-Fetch-Site": "none"})


def _bad_token(shop: Shop) -> TestResponse:
    return _login(shop, **{"Sec-Fetch-Site": "none", "X-CSRF-Token": "x"})


def _fetch(path: str, method: str = "GET", **headers: str) -> Callable[[Shop], TestResponse]:
    return lambda shop: plain(shop.app).fetch(path, method=method, headers=headers)


def _large(shop: Shop) -> TestResponse:
    return shop.app.test_client().post(
        "/api/orders", data=b"x" * 100, headers=SCRIPT, base_url="https://localhost"
    )


_LOGIN = {"POST auth/login": grant(user={"id": 7, "type": "user"}), "GET auth/me": record(roles=["user"])}
_INVALID = (422, {"success": False, "message": "No.", "errors": {"email": ["No."]}})
_DENIALS: dict[str, tuple[Callable[[Shop], TestResponse], dict[str, Any]]] = {
    "login_required": (_no_login, {}),
    "session_expired": (_expired, _LOGIN | {"POST auth/refresh": (401, {})}),
    "login_failed": (_login, {"POST auth/login": (401, {"message": "No."})}),
    "validation_failed": (_login, {"POST auth/login": _INVALID}),
    "access_denied": (_no_role, _LOGIN),
    "token_type_refused": (
        _login,
        {"POST auth/login": grant(user={"id": 7, "type": "robot"}), "GET auth/me": record(type="robot")},
    ),
    "csrf_cross_site": (_cross_site, {}),
    "csrf_token_missing": (_no_token, {}),
    "csrf_token_invalid": (_bad_token, {}),
    "bad_request": (_fetch("/api/auth/login", "POST"), {}),
    "bad_path": (_fetch("/api/a//b"), {}),
    "uri_too_long": (_fetch("/api/" + "x" * 5000), {}),
    "no_route": (_fetch("/api/nothing"), {}),
    "method_not_allowed": (_fetch("/api/products", "DELETE"), {}),
    "payload_too_large": (_large, _LOGIN),
    "session_too_large": (_login, {"POST auth/login": grant("x" * 5000, user={"id": 7, "type": "user"})}),
    "websocket_unsupported": (_fetch("/api/products", Upgrade="websocket", Connection="Upgrade"), {}),
    "bad_gateway": (_login, {"POST auth/login": (200, ["nonsense"])}),
    "backend_unavailable": (_login, {"POST auth/login": (503, {})}),
}


def _noting(codes: list[str], answer: str | None) -> Callable[[Denial], str | None]:
    """A callback that notes what it is told, and says this."""

    def denied(error: Denial) -> str | None:
        codes.append(error.error_code)
        return answer

    return denied


def _denied(make: Make, code: str, answer: Any) -> Answered:
    """Run into a refusal with a callback that says ``answer``."""
    act, answers = _DENIALS[code]
    errors: list[Denial] = []
    with StubBackend(answers) as stub:
        shop = make(
            stub.url, proxy_max_body=10, proxy_public=("orders",), allowed_token_types=("user", "guest")
        )

        @shop.layer.on_denied
        def denied(error: Denial) -> Any:
            errors.append(error)
            return answer

        return Answered(errors, act(shop))


# B1.2, DESIGN 3 (denial)
@pytest.mark.parametrize("code", _DENIALS)
def test_on_denied_answers_every_refusal(make: Make, code: str) -> None:
    errors, response = _denied(make, code, ("replaced", 418))
    assert [error.error_code for error in errors] == [code]
    assert (response.status_code, response.text) == (418, "replaced")


# B1.2, DESIGN 3 (denial)
@pytest.mark.parametrize("code", _DENIALS)
def test_on_denied_that_says_nothing_leaves_the_answer_as_it_is(make: Make, code: str) -> None:
    errors, response = _denied(make, code, None)
    assert [error.error_code for error in errors] == [code]
    assert errors[0].code == response.status_code
    assert_problem(response, response.status_code, code)


# B1.2
def test_on_denied_answers_a_backend_that_is_silent(make: Make) -> None:
    def silent(peer: Peer) -> None:
        peer.request()
        peer.read_to_end()

    with RawServer(silent) as server:
        shop, codes = make(server.url, read_timeout=0.05, total_timeout=0.1), list[str]()
        shop.layer.on_denied(lambda error: codes.append(error.error_code))
        response = plain(shop.app).post("/api/auth/login", json=CREDENTIALS)
    assert_problem(response, 504, "backend_timeout")
    assert codes == ["backend_timeout"]


# B1.2, B10.2
def test_on_denied_answers_the_rate_limit(make: Make) -> None:
    shop = make(rate_limit="1/day")
    shop.layer.on_denied(lambda error: (f"{error.error_code} {error.retry_after is not None}", 429))
    browser = plain(shop.app)
    assert [browser.visit("/").text for _ in range(2)] == ["index", "rate_limited True"]


# B1.4, DESIGN 3 (denial)
def test_on_denied_may_answer_in_place_of_the_redirect(make: Make) -> None:
    shop = make()
    shop.layer.on_denied(lambda error: jsonify(login=error.asks_for_login))
    response = plain(shop.app).visit("/account")
    assert (response.status_code, response.get_json()) == (200, {"login": True})
    assert "Location" not in response.headers
    assert shop.ran == []


# DESIGN 3 (denial)
def test_on_denied_learns_of_what_the_app_raises_itself(make: Make) -> None:
    shop, details = make(), list[str]()
    shop.layer.on_denied(lambda error: details.append(error.detail))
    shop.app.add_url_rule("/owner", view_func=_only_for_owners, endpoint="owner")
    assert_problem(plain(shop.app).fetch("/owner"), 403, "access_denied")
    assert details == ["Only the owner may do this."]


def _only_for_owners() -> str:
    raise AccessDenied("Only the owner may do this.")


# DESIGN 3 (denial)
@pytest.mark.parametrize("handled", [401, LoginRequired])
def test_an_error_handler_of_the_app_wins_over_on_denied(make: Make, handled: Any) -> None:
    shop, seen = make(), list[str]()
    shop.layer.on_denied(_noting(seen, "from on_denied"))
    shop.app.register_error_handler(handled, lambda error: ("from the handler", 401))
    for path in ("/account", "/api/auth/me"):
        assert plain(shop.app).fetch(path).text == "from the handler"
    assert seen == []
    # It is only for that.
    assert plain(shop.app).fetch("/api/nothing").text == "from on_denied"


# DESIGN 3 (denial)
def test_on_denied_is_not_asked_about_other_errors(make: Make) -> None:
    shop, seen = make(), list[str]()
    shop.layer.on_denied(_noting(seen, "from on_denied"))
    browser = plain(shop.app)
    assert [browser.visit(path).status_code for path in ("/missing", "/broken")] == [404, 500]
    assert seen == []


# B2.2, B4 (cascade)
def test_cookies_go_whatever_on_denied_says(make: Make) -> None:
    with StubBackend(_LOGIN | {"POST auth/refresh": (401, {})}) as stub:
        shop = make(stub.url)
        shop.layer.on_denied(lambda error: "your session is over")
        browser = plain(shop.app)
        browser.log_in()
        response = browser.post("/api/auth/refresh")
    assert response.text == "your session is over"
    assert set_cookies(response)[USER].is_deletion
    assert_private(response)


# DESIGN 3 (denial)
def test_several_on_denied_go_in_order_until_one_answers(make: Make) -> None:
    shop, seen = make(), [list[str](), list[str](), list[str]()]
    for codes, answer in zip(seen, [None, "second", "third"], strict=True):
        shop.layer.on_denied(_noting(codes, answer))
    assert plain(shop.app).fetch("/account").text == "second"
    assert seen == [["login_required"], ["login_required"], []]


# DESIGN 3 (denial)
@pytest.mark.parametrize("path", ["/account", "/api/products"])
def test_on_denied_that_fails_lets_nobody_in(backend: ShopBackend, make: Make, path: str) -> None:
    shop = make(backend)
    shop.layer.on_denied(lambda error: _broken())
    assert plain(shop.app).fetch(path).status_code >= 400
    assert (shop.ran, backend.calls()) == ([], {})


# DESIGN 3 (denial)
def test_on_denied_may_ask_who_it_is(backend: ShopBackend, make: Make) -> None:
    shop = make(backend)
    shop.layer.on_denied(lambda error: f"{current_user['email']} may not: {error.error_code}")
    browser = plain(shop.app)
    browser.log_in()
    assert browser.fetch("/admin").text == f"{ADA} may not: access_denied"


# on_error


# DESIGN 2
def test_on_error_learns_of_an_exception_of_a_view(make: Make) -> None:
    shop, seen = make(), list[BaseException]()
    shop.layer.on_error(seen.append)
    assert plain(shop.app).visit("/broken").status_code == 500
    assert [type(error) for error in seen] == [ZeroDivisionError]


# DESIGN 2
def test_on_error_changes_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    shop, order = make(), list[int]()
    expected = plain(shop.app).visit("/broken").data

    @shop.layer.on_error
    def failing(error: BaseException) -> None:
        order.append(1)
        raise KeyError("the callback is broken too")

    @shop.layer.on_error
    def talking(error: BaseException) -> str:
        order.append(2)
        return "an answer"

    response = plain(shop.app).visit("/broken")
    assert (response.status_code, response.data) == (500, expected)
    assert order == [1, 2]
    assert "an on_error callback failed" in caplog.text


# DESIGN 2
def test_on_error_is_not_told_of_refusals_and_of_what_the_app_caught(make: Make) -> None:
    shop, seen = make(), list[BaseException]()
    shop.layer.on_error(seen.append)
    shop.app.register_error_handler(ZeroDivisionError, lambda error: "caught")
    browser = plain(shop.app)
    assert browser.visit("/broken").text == "caught"
    for path in ("/missing", "/account", "/api/nothing", "/api/auth/me"):
        assert browser.fetch(path).status_code in (401, 404)
    assert seen == []


# DESIGN 2
def test_on_error_is_told_before_the_test_client_raises(make: Make) -> None:
    shop, seen = make(), list[BaseException]()
    shop.app.testing = True
    shop.layer.on_error(seen.append)
    with pytest.raises(ZeroDivisionError) as raised:
        plain(shop.app).visit("/broken")
    assert seen == [raised.value]


# Two apps


# DESIGN 2
def test_the_callbacks_of_a_layer_hold_for_all_its_apps() -> None:
    with layered(NEVER) as (one, layer):
        two = Flask("outlet")
        two.config.from_mapping(
            {
                "SECRET_KEY": "another key for tests, long enough",
                "API_LAYER_BACKEND_URL": NEVER,
                "API_LAYER_STORE_URL": "memory://",
            }
        )
        layer.init_app(two)
        told: list[str] = []
        layer.before_auth(lambda req: told.append(f"before {current_app.name}"))
        layer.on_denied(lambda error: told.append(f"denied {current_app.name}"))
        layer.on_error(lambda error: told.append(f"error {current_app.name}"))
        for app in (one, two):
            app.register_blueprint(layer.blueprint)
            _add_views(app)
            plain(app).fetch("/account")
            plain(app).fetch("/broken")
        two.extensions["api_layer"].close()
    assert told == [
        *("before shop", "denied shop", "before shop", "error shop"),
        *("before outlet", "denied outlet", "before outlet", "error outlet"),
    ]


# DESIGN 2
def test_the_callbacks_of_two_layers_are_apart(make: Make) -> None:
    one, two = make(), make()
    one.layer.before_auth(lambda req: "closed")
    assert [plain(shop.app).visit("/").text for shop in (one, two)] == ["closed", "index"]


# DESIGN 2
def test_what_a_callback_leaves_in_g_reaches_the_view(make: Make) -> None:
    shop = make()

    @shop.layer.before_auth
    def note(req: Request) -> None:
        g.tenant = req.headers["X-Tenant"]

    shop.app.add_url_rule("/tenant", view_func=lambda: str(g.tenant), endpoint="tenant")
    assert plain(shop.app).fetch("/tenant", headers={"X-Tenant": "one"}).text == "one"


# BLOCK_BROWSER_API


_TYPED = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


# DESIGN 5
@pytest.mark.parametrize(
    "path", ["/api/products", "/api/products?a=b", "/api/auth/me", "/api/auth/csrf", "/api/nothing"]
)
@pytest.mark.parametrize("headers", [NAVIGATION, _TYPED, {"Sec-Fetch-Mode": "navigate", "Accept": "*/*"}])
def test_somebody_who_opens_the_api_in_a_browser_is_sent_home(
    backend: ShopBackend, make_app: MakeApp, path: str, headers: dict[str, str]
) -> None:
    app = make_app(backend, block_browser_api=True, guest_enabled=True, guest_mode="eager", **PROXIED)
    response = app.test_client().get(path, headers=headers, base_url="https://localhost")
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert set_cookies(response) == {}
    assert backend.calls() == {}


# DESIGN 5, B1.6
def test_home_is_within_the_mount(make_app: MakeApp) -> None:
    app = make_app(NEVER, block_browser_api=True, **PROXIED)
    for path in ("/shop/api/products", "/shop/api/auth/me"):
        answer = call(app, path, script_name="/shop", headers=list(NAVIGATION.items()))
        assert (answer.status, answer.headers["Location"]) == (302, "/shop/")


# DESIGN 5
def test_home_is_never_somebody_elses(make_app: MakeApp) -> None:
    app = make_app(NEVER, block_browser_api=True, **PROXIED)
    headers = [*NAVIGATION.items(), ("Host", "evil.test"), ("X-Forwarded-Host", "evil.test")]
    answer = call(app, "/api/products", headers=headers, environ={"HTTP_HOST": "evil.test"})
    assert answer.headers["Location"] == "/"


# DESIGN 5
@pytest.mark.parametrize(
    "headers",
    [
        SCRIPT,
        {"Accept": "application/json"},
        {},
        {"X-Requested-With": "XMLHttpRequest", "Accept": "application/json, */*"},
        SCRIPT | {"Accept": "text/html"},
        {"Sec-Fetch-Mode": "no-cors", "Accept": "image/*,*/*;q=0.8"},
    ],
    ids=str,
)
def test_scripts_still_reach_the_api(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str]
) -> None:
    app = make_app(backend, block_browser_api=True, proxy_public=("products",), **PROXIED)
    client = app.test_client()
    found = [
        client.get(path, headers=headers, base_url="https://localhost").status_code
        for path in ("/api/products", "/api/auth/me")
    ]
    assert found == [200, 401]
    assert backend.calls() == {"GET products": 1}


# DESIGN 5, B2.7
def test_forms_still_reach_the_api(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, block_browser_api=True, after_login_url="/in", after_logout_url="/out", **PROXIED)
    browser = plain(app)
    response = browser.submit("/api/auth/login", CREDENTIALS)
    assert (response.status_code, response.headers["Location"]) == (303, "/in")
    response = browser.submit("/api/auth/logout")
    assert (response.status_code, response.headers["Location"]) == (303, "/out")


# DESIGN 5
def test_views_beside_the_api_are_not_blocked(make_app: MakeApp) -> None:
    app = make_app(NEVER, block_browser_api=True)
    app.add_url_rule("/apidocs", view_func=lambda: "docs", endpoint="docs")
    assert plain(app).visit("/apidocs").text == "docs"


# DESIGN 5
def test_the_api_is_open_to_browsers_unless_it_is_blocked(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_public=("products",), **PROXIED)
    browser = plain(app)
    assert browser.visit("/api/products").status_code == 200
    # As for any other gate, without coming back.
    assert browser.visit("/api/auth/me").headers["Location"] == "/login"


# DESIGN 5, B4.5
def test_excluded_paths_are_not_blocked(make_app: MakeApp) -> None:
    app = make_app(NEVER, block_browser_api=True, excluded_routes=("/api/products",), **PROXIED)
    assert plain(app).visit("/api/products").status_code in (302, 401)
    assert plain(app).visit("/api/products").headers.get("Location") != "/"


# DESIGN 5, B10.1
def test_blocked_visits_count(make_app: MakeApp) -> None:
    browser = plain(make_app(NEVER, block_browser_api=True, rate_limit="1/day", **PROXIED))
    assert [browser.visit("/api/products").status_code for _ in range(2)] == [302, 429]
