"""Routes that lead elsewhere, ask for more, or belong to another upstream; and the callbacks around every call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ApiLayer, ConfigError, ProxyAnswer, ProxyCall
from tests.processes import ShopBackend
from tests.raw_server import Peer, RawServer, Script

from .visitors import ADMIN, USER, Browser, MakeApp, StubBackend, assert_problem, grant, layered

GET = ["GET"]
Routes = dict[str, Any]


def browser_of(make_app: MakeApp, backend: ShopBackend | str, routes: Routes, **settings: Any) -> Browser:
    return Browser(make_app(backend, proxy_routes=routes, **settings))


def echo(browser: Browser, path: str, **headers: str) -> dict[str, Any]:
    """What the backend saw."""
    response = browser.fetch(path, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def arrived(seen: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in seen["headers"]}


# B7.1
def test_a_rewritten_route_calls_its_target(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = browser_of(make_app, backend, {"mirror/**": {"methods": GET, "to": "echo/**", "auth": "none"}})
    seen = echo(browser, "/api/mirror/a%20b/c?x=%2F&x=1")
    assert seen["raw_target"] == "/v1/echo/a%20b/c?x=%2F&x=1"


# B7.1
@pytest.mark.parametrize("path", ["enter", "open/auth/login", "open/auth/refresh"])
def test_no_rewrite_opens_a_token_endpoint(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    routes = {"enter": {"methods": ["POST"], "to": "auth/login"}, "open/**": {"methods": "*", "to": "**"}}
    browser = browser_of(make_app, backend, routes)
    assert_problem(browser.post(f"/api/{path}", json={}), 404, "no_route")
    assert backend.calls() == {}


# B7.1, B4.3
def test_a_route_with_roles_is_for_those_who_have_one(backend: ShopBackend, make_app: MakeApp) -> None:
    routes = {"echo/**": {"methods": GET, "roles": ["admin"]}}
    app = make_app(backend, proxy_routes=routes, guest_enabled=True)
    visitor, user, admin = Browser(app), Browser(app), Browser(app)
    user.log_in()
    admin.log_in(ADMIN)
    assert_problem(visitor.fetch("/api/echo"), 401, "login_required")
    assert_problem(user.fetch("/api/echo"), 403, "access_denied")
    assert admin.fetch("/api/echo").status_code == 200
    assert (backend.calls("GET echo"), backend.calls("POST auth/guest")) == (1, 0)


# B7.6
def test_a_route_for_users_takes_no_guest_and_asks_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    routes = {"echo/**": {"methods": GET, "auth": "user"}, "whoami": GET}
    app = make_app(backend, proxy_routes=routes, guest_enabled=True)
    guest, user = Browser(app), Browser(app)
    guest.fetch("/api/whoami")
    user.log_in()
    backend.reset()
    assert_problem(guest.fetch("/api/echo"), 401, "login_required")
    assert user.fetch("/api/echo").status_code == 200
    assert backend.calls() == {"GET echo": 1}


# B4.1
def test_a_guest_token_in_the_user_cookie_is_no_user_for_a_route(make_app: MakeApp) -> None:
    answers: Any = {"POST auth/login": grant(user={"id": 1, "type": "guest"}), "GET thing": (200, {})}
    with StubBackend(answers) as stub:
        browser = browser_of(make_app, stub.url, {"thing": {"methods": GET, "auth": "user"}})
        browser.post("/api/auth/login", json={"email": "x", "password": "y"})
        assert USER in browser.cookies
        assert_problem(browser.fetch("/api/thing"), 401, "login_required")
        assert "GET thing" not in stub.endpoints


# B7.6
def test_a_route_without_auth_carries_no_bearer(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = browser_of(make_app, backend, {"echo/**": {"methods": GET, "auth": "none"}})
    browser.log_in()
    assert arrived(echo(browser, "/api/echo"))["authorization"] == "absent"


# B7.3
def test_a_route_may_let_more_headers_cross(backend: ShopBackend, make_app: MakeApp) -> None:
    options = {"methods": GET, "auth": "none", "request_headers": ["X-Tenant"]}
    browser = browser_of(make_app, backend, {"echo/a": options, "echo/b": {"methods": GET, "auth": "none"}})
    assert arrived(echo(browser, "/api/echo/a", **{"X-Tenant": "7"}))["x-tenant"] == "7"
    assert "x-tenant" not in arrived(echo(browser, "/api/echo/b", **{"X-Tenant": "7"}))


def answering(*lines: bytes, status: bytes = b"200 OK") -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"ok", *lines, status=status)

    return script


# B7.4
def test_a_route_may_let_more_headers_come_back(make_app: MakeApp) -> None:
    with RawServer(answering(b"X-Pages: 3", b"X-Other: 1")) as upstream:
        options = {"methods": GET, "auth": "none", "response_headers": ["X-Pages"]}
        response = browser_of(make_app, f"{upstream.url}/v1", {"list": options}).fetch("/api/list")
    assert (response.headers.get("X-Pages"), response.headers.get("X-Other")) == ("3", None)


# B7.4
@pytest.mark.parametrize(
    ("location", "seen"),
    [
        (b"/v1/v2/things/2", "/api/things/2"),
        (b"3?x=1#y", "/api/things/3?x=1#y"),
        (b"/v1/other", "/api/other"),
        (b"/elsewhere", None),
    ],
)
def test_a_location_leads_back_through_the_rewrite(
    location: bytes, seen: str | None, make_app: MakeApp
) -> None:
    with RawServer(answering(b"Location: " + location, status=b"201 Created")) as upstream:
        options = {"methods": GET, "auth": "none", "to": "v2/things/**"}
        browser = browser_of(make_app, f"{upstream.url}/v1", {"things/**": options})
        assert browser.fetch("/api/things/1").headers.get("Location") == seen


# B7.8
def test_a_route_may_have_a_patience_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    backend.fault("echo/<rest>", delay=0.8)
    routes = {
        "echo/short": {"methods": GET, "auth": "none", "timeout": 0.2},
        "echo/long": {"methods": GET, "auth": "none", "timeout": 20},
    }
    browser = browser_of(make_app, backend, routes, read_timeout=0.4, total_timeout=0.4)
    assert_problem(browser.fetch("/api/echo/short"), 504, "backend_timeout")
    assert browser.fetch("/api/echo/long").status_code == 200


def pausing(peer: Peer) -> None:
    """An endless answer of any type that pauses for longer than READ_TIMEOUT."""
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.send(b"3\r\n{}\n\r\n")
    time.sleep(0.8)
    peer.send(b"3\r\n[]\n\r\n0\r\n\r\n")


# B7.5
def test_a_stream_may_pause(make_app: MakeApp) -> None:
    with RawServer(pausing) as upstream:
        options = {"methods": GET, "auth": "none", "stream": True}
        browser = browser_of(make_app, f"{upstream.url}/v1", {"log": options}, read_timeout=0.5)
        assert browser.fetch("/api/log").data == b"{}\n[]\n"


@pytest.fixture
def shop(backend: ShopBackend) -> Iterator[tuple[Flask, ApiLayer]]:
    with layered(backend) as (app, layer):
        app.register_blueprint(layer.blueprint)
        yield app, layer


# B7.1
def test_routes_can_be_added_one_by_one(shop: tuple[Flask, ApiLayer]) -> None:
    app, layer = shop
    layer.proxy_route("mirror/**", to="echo/**", auth="none")
    assert echo(Browser(app), "/api/mirror/x")["raw_target"] == "/v1/echo/x"
    assert_problem(Browser(app).fetch("/api/mirror/x", method="PUT"), 405, "method_not_allowed")


def test_routes_given_before_the_app_count_as_well(backend: ShopBackend) -> None:
    layer = ApiLayer(backend_url=backend.base_url, store_url="memory://")
    layer.proxy_route("echo/**", "*", auth="none")
    app = Flask("shop")
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    layer.init_app(app)
    app.register_blueprint(layer.blueprint)
    assert echo(Browser(app), "/api/echo/x")["raw_target"] == "/v1/echo/x"
    app.extensions["api_layer"].close()


@pytest.mark.parametrize(
    ("pattern", "options", "said"),
    [
        ("a/../b", {}, "has a dot segment"),
        ("things", {"auth": "admin"}, "auth: the string 'admin' is not one of"),
        ("things", {"methods": []}, "lets nothing through"),
        ("things", {"colour": "red"}, "is no option of a route"),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    pattern: str, options: dict[str, Any], said: str, shop: tuple[Flask, ApiLayer]
) -> None:
    with pytest.raises(ConfigError, match="proxy_route") as error:
        shop[1].proxy_route(pattern, **options)
    assert said in str(error.value)


def test_a_pattern_is_declared_once(shop: tuple[Flask, ApiLayer]) -> None:
    shop[1].proxy_route("things")
    with pytest.raises(ConfigError, match="declared twice"):
        shop[1].proxy_route("/things/")


# Several upstreams: one more table entry under the same prefix, the same session
def test_an_upstream_shares_the_session(
    shop: tuple[Flask, ApiLayer], backend: ShopBackend, start_backend: Any
) -> None:
    app, layer = shop
    billing = start_backend(ACCESS_TTL=901)
    layer.add_upstream("billing", billing.base_url, {"echo/**": GET})
    browser = Browser(app)
    browser.log_in()
    seen = echo(browser, "/api/billing/echo/invoices/1?x=1")
    assert seen["raw_target"] == "/v1/echo/invoices/1?x=1"
    assert arrived(seen)["authorization"] == "present"
    assert (billing.calls(), backend.calls("GET echo/<rest>")) == ({"GET echo/<rest>": 1}, 0)
    assert_problem(browser.fetch("/api/billing/whoami"), 404, "no_route")


# B7.1: an upstream whose base overlaps the backend's opens no token endpoint either
def test_no_upstream_opens_the_backends_token_endpoints(
    shop: tuple[Flask, ApiLayer], backend: ShopBackend
) -> None:
    app, layer = shop
    origin = backend.base_url.removesuffix("/v1")
    layer.add_upstream("root", origin, {"**": "*"})
    layer.add_upstream("deep", f"{origin}/v1/auth", {"**": "*"})
    browser = Browser(app)
    for path in ("root/v1/auth/login", "root/V1/auth/refresh/", "deep/login", "deep/guest;x"):
        assert_problem(browser.post(f"/api/{path}", json={}), 404, "no_route")
    assert backend.calls() == {}


# B7.4
def test_a_location_of_an_upstream_stays_with_it(backend: ShopBackend) -> None:
    with (
        RawServer(answering(b"Location: /base/made/2", status=b"201 Created")) as upstream,
        layered(backend) as (app, layer),
    ):
        layer.add_upstream("billing", f"{upstream.url}/base", {"made": {"methods": GET, "auth": "none"}})
        app.register_blueprint(layer.blueprint, url_prefix="/shop/api")
        response = Browser(app).fetch("/shop/api/billing/made")
    assert response.headers["Location"] == "/shop/api/billing/made/2"


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("auth", "http://localhost:9", "not 'auth'"),
        ("a/b", "http://localhost:9", "one path segment"),
        ("billing", "localhost:9", "has no scheme"),
        ("billing", "http://user:secret@localhost:9", "has a user name"),
    ],
)
def test_an_upstream_that_cannot_be_is_refused(
    name: str, url: str, said: str, shop: tuple[Flask, ApiLayer]
) -> None:
    with pytest.raises(ConfigError) as error:
        shop[1].add_upstream(name, url, {"**": "*"})
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_an_upstream_is_declared_once(shop: tuple[Flask, ApiLayer]) -> None:
    shop[1].add_upstream("billing", "http://localhost:9", {"**": "*"})
    with pytest.raises(ConfigError, match="'billing' is declared twice"):
        shop[1].add_upstream("billing", "http://localhost:9", {"**": "*"})


# Callbacks
def test_a_callback_may_change_the_request_headers(shop: tuple[Flask, ApiLayer]) -> None:
    app, layer = shop
    calls: list[ProxyCall] = []
    layer.proxy_route("echo/**", "*")

    @layer.before_proxy
    def add_tenant(call: ProxyCall) -> None:
        calls.append(call)
        call.headers["X-Tenant"] = "7"
        call.headers["Content-Length"] = "1"
        call.headers.pop("User-Agent", None)

    browser = Browser(app)
    browser.log_in()
    response = browser.post("/api/echo/x", json={"some": "body"})
    seen = arrived(response.get_json())
    assert (seen["x-tenant"], "user-agent" in seen) == ("7", False)
    assert seen["content-length"] == "16"
    assert [(call.method, call.path, call.upstream) for call in calls] == [("POST", "echo/x", "")]
    assert "Bearer" not in repr(calls)


@pytest.mark.parametrize(("auth", "status"), [("user", 200), ("none", 401)])
def test_a_callback_speaks_for_itself_only_where_nobody_else_does(
    auth: str, status: int, shop: tuple[Flask, ApiLayer]
) -> None:
    app, layer = shop
    layer.proxy_route("whoami", auth=auth)

    @layer.before_proxy
    def claim(call: ProxyCall) -> None:
        call.headers["Authorization"] = "Bearer of-the-callback"

    browser = Browser(app)
    browser.log_in()
    assert browser.fetch("/api/whoami").status_code == status


def test_a_callback_may_change_the_answer_headers_but_not_what_is_barred(backend: ShopBackend) -> None:
    statuses: list[int] = []
    with RawServer(answering(b"ETag: 1")) as upstream, layered(f"{upstream.url}/v1") as (app, layer):
        layer.proxy_route("thing", auth="none")
        app.register_blueprint(layer.blueprint)

        @layer.after_proxy
        def note(answer: ProxyAnswer) -> None:
            statuses.append(answer.status)
            answer.headers["X-Seen"] = answer.call.path
            answer.headers.pop("ETag")
            answer.headers["Set-Cookie"] = "a=b"
            answer.headers["Content-Length"] = "1"

        response = Browser(app).fetch("/api/thing")
    assert (response.headers["X-Seen"], response.data, statuses) == ("thing", b"ok", [200])
    assert not {"ETag", "Set-Cookie"} & set(response.headers.keys())
    assert response.headers["Content-Length"] == "2"


def test_a_callback_that_fails_is_an_error_like_any_other(shop: tuple[Flask, ApiLayer]) -> None:
    app, layer = shop
    layer.proxy_route("echo/**", auth="none")

    @layer.after_proxy
    def fail(_: ProxyAnswer) -> None:
        raise RuntimeError("of the app")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert Browser(app).fetch("/api/echo").status_code == 500


# B7.6: PROXY_PUBLIC says whose bearer goes along, a route for users who may come
def test_a_route_for_users_is_not_freed_by_a_public_path(backend: ShopBackend, make_app: MakeApp) -> None:
    routes = {"echo/**": {"methods": GET, "auth": "user"}}
    browser = browser_of(make_app, backend, routes, proxy_public=["echo/**"])
    assert_problem(browser.fetch("/api/echo"), 401, "login_required")
    browser.log_in()
    assert arrived(echo(browser, "/api/echo"))["authorization"] == "present"


# B7.1
def test_an_upstream_whose_base_differs_in_case_opens_no_token_endpoint(
    shop: tuple[Flask, ApiLayer], backend: ShopBackend
) -> None:
    app, layer = shop
    layer.add_upstream("other", backend.base_url.replace("/v1", "/V1"), {"**": "*"})
    assert_problem(Browser(app).post("/api/other/auth/login", json={}), 404, "no_route")


def test_a_refused_declaration_leaves_nothing_behind(backend: ShopBackend) -> None:
    layer = ApiLayer(backend_url=backend.base_url, store_url="memory://")
    layer.proxy_route("things")
    layer.add_upstream("billing", "http://localhost:9/v1", {"a": GET})
    with pytest.raises(ConfigError, match="declared twice"):
        layer.proxy_route("things", "*")
    with pytest.raises(ConfigError, match="declared twice"):
        layer.add_upstream("billing", "http://localhost:9/v2", {"b": GET})
    app = Flask("shop")
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    layer.init_app(app)
    host = app.extensions["api_layer"]
    assert host.upstreams.transport("billing").base_url == "http://localhost:9/v1"
    host.close()
