"""Which paths and methods are proxied at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask

from flask_api_layer import ApiLayer
from tests.processes import DeadPort, ShopBackend

from .visitors import NAVIGATION, Browser, assert_problem
from .wire import call

MakeApp = Callable[..., Flask]
EVERYTHING: dict[str, Any] = {"proxy_routes": {"**": "*"}, "proxy_public": ["**"]}


def allowed(headers: Any) -> set[str]:
    return {method.strip() for method in headers["Allow"].split(",")}


# B7.1
@pytest.mark.parametrize("path", ["/api", "/api/", "/api/products", "/api/auth", "/api/auth/other"])
def test_nothing_is_proxied_by_default(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    answer = make_app(backend).test_client().get(path)
    assert_problem(answer, 404, "no_route")
    assert backend.calls() == {}


# B7.1
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_no_method_passes_where_no_route_is_listed(
    method: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, proxy_routes={"products": ["GET"]}).test_client()
    assert client.open("/api/echo", method=method).status_code == 404
    assert backend.calls() == {}


# B7.1
def test_debug_mode_tells_the_line_to_add(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.debug = True
    body = assert_problem(app.test_client().get("/api/products/3"), 404, "no_route")
    assert "PROXY_ROUTES" in body["detail"]
    assert "products/3" in body["detail"]
    assert "GET" in body["detail"]


# B7.1, B1.1
def test_outside_debug_mode_the_configuration_is_not_talked_about(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    answer = make_app(backend).test_client().get("/api/products/3")
    assert "PROXY_ROUTES" not in answer.text
    assert "127.0.0.1" not in answer.text


# B7.1, B4.4
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("echo", "echo"),
        ("echo/1", "echo/1/"),
        ("echo/*", "echo/1"),
        ("echo/*", "echo/1/"),
        ("echo/**", "echo"),
        ("echo/**", "echo/1"),
        ("echo/**", "echo/1/2/3"),
        ("**", "echo/1/2"),
        ("echo/*/items", "echo/1/items"),
        ("echo/**/items", "echo/items"),
        ("echo/**/items", "echo/1/2/items"),
        ("echo/v1.0", "echo/v1.0"),
        ("echo/(a", "echo/(a"),
    ],
)
def test_a_pattern_matches_whole_segments(
    pattern: str, path: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, proxy_routes={pattern: ["GET"]}, proxy_public=["**"])
    answer = call(app, f"/api/{path}")
    assert answer.status == 200
    assert answer.json()["raw_target"] == f"/v1/{path}"


# B7.1, B4.4; ancestor P7
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("echo", "echo/1"),
        ("echo", "echoes"),
        ("echo", "Echo"),
        ("echo/*", "echo"),
        ("echo/*", "echo/"),
        ("echo/*", "echo/1/2"),
        ("echo/*/items", "echo/items"),
        ("echo/**/items", "echo/1"),
        ("echo/v1.0", "echo/v1x0"),
        ("echo/**", "echo-private"),
        ("news/**", "echo/news/1"),
    ],
)
def test_a_pattern_does_not_match_its_neighbours(
    pattern: str, path: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, proxy_routes={pattern: "*"}, proxy_public=["**"])
    answer = call(app, f"/api/{path}")
    assert (answer.status, answer.json()["code"]) == (404, "no_route")
    assert backend.calls() == {}


# B7.1
@pytest.mark.parametrize(
    ("routes", "path"),
    [
        ({"**": "*", "echo": ["GET"]}, "echo"),
        ({"echo/**": "*", "echo/secret": ["GET"]}, "echo/secret"),
        ({"echo/secret": ["GET"], "echo/**": "*"}, "echo/secret/"),
        ({"echo/**": "*", "echo/*": ["GET"]}, "echo/1"),
        ({"echo/*": ["GET"], "echo/**": "*"}, "echo/1"),
        ({"echo/*/b": "*", "echo/a/**": ["GET"]}, "echo/a/b"),
        ({"echo/*/*": "*", "echo/*/b": ["GET"]}, "echo/a/b"),
        ({"*/a": "*", "echo/*": ["GET"]}, "echo/a"),
        ({"**/b": "*", "*/**": ["GET"]}, "echo/b"),
    ],
)
def test_the_most_specific_pattern_alone_decides(
    routes: dict[str, Any], path: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, proxy_routes=routes, proxy_public=["**"]).test_client()
    refused = client.post(f"/api/{path}")
    assert_problem(refused, 405, "method_not_allowed")
    assert allowed(refused.headers) - {"OPTIONS"} == {"GET", "HEAD"}
    assert backend.calls() == {}
    assert client.get(f"/api/{path}").status_code == 200


# B7.1
def test_a_trailing_slash_is_forwarded(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_routes={"echo/a": ["GET"]}, proxy_public=["**"])
    assert call(app, "/api/echo/a/").json()["raw_target"] == "/v1/echo/a/"


# B7.1
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get", "post", "Get", "", "GET "])
def test_an_odd_method_is_405_whatever_the_routes_say(
    method: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    answer = call(make_app(backend, **EVERYTHING), "/api/echo", method=method)
    assert answer.status == 405
    assert backend.calls() == {}


# B7.1
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_star_allows_every_usual_method(method: str, backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, **EVERYTHING).test_client()
    answer = client.open("/api/echo", method=method)
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["method"] == method


# B7.1: the order of the checks
def test_the_method_is_judged_before_the_path(backend: ShopBackend, make_app: MakeApp) -> None:
    assert call(make_app(backend), "/api/../x", method="get").status == 405


# B7.1
def test_the_path_is_judged_before_the_websocket(backend: ShopBackend, make_app: MakeApp) -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    assert call(make_app(backend), "/api/../x", headers=headers).status == 400


# B7.1
def test_the_path_is_judged_before_the_route(backend: ShopBackend, make_app: MakeApp) -> None:
    assert call(make_app(backend), "/api/../x").json()["code"] == "bad_path"


# B7.1
@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "https://evil.test", "Access-Control-Request-Method": "PUT"}]
)
def test_options_on_a_listed_path_is_answered_here(
    headers: dict[str, str], backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, proxy_routes={"echo": ["GET", "POST"]}).test_client()
    answer = client.options("/api/echo", headers=headers)
    assert answer.status_code == 204
    assert answer.data == b""
    assert allowed(answer.headers) - {"OPTIONS"} == {"GET", "HEAD", "POST"}
    assert not [name for name in answer.headers.keys() if name.lower().startswith("access-control")]  # noqa: SIM118
    assert backend.calls() == {}


# B7.1
def test_get_implies_head(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, proxy_routes={"bytes/*": ["GET"]}, proxy_public=["**"]).test_client()
    answer = client.head("/api/bytes/100")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", "100")
    assert backend.calls() == {"HEAD bytes/<size>": 1}


# B7.1
def test_head_is_not_allowed_where_get_is_not(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, proxy_routes={"echo": ["POST"]}).test_client()
    answer = client.head("/api/echo")
    assert answer.status_code == 405
    assert allowed(answer.headers) - {"OPTIONS"} == {"POST"}
    assert backend.calls() == {}


# B2.7, B7.1; ancestor A15
@pytest.mark.parametrize(
    ("name", "method", "allow"),
    [
        ("login", "GET", "POST"),
        ("login", "PUT", "POST"),
        ("register", "GET", "POST"),
        ("logout", "GET", "POST"),
        ("logout", "DELETE", "POST"),
        ("refresh", "GET", "POST"),
        ("refresh", "HEAD", "POST"),
        ("guest", "GET", "POST"),
        ("me", "POST", "GET"),
        ("me", "DELETE", "GET"),
    ],
)
def test_a_wrong_method_on_our_own_endpoint_is_405(
    name: str, method: str, allow: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, **EVERYTHING).test_client()
    answer = client.open(f"/api/auth/{name}", method=method)
    assert answer.status_code == 405
    assert allow in allowed(answer.headers)
    assert method not in allowed(answer.headers)
    assert backend.calls() == {}


# B2.7
@pytest.mark.parametrize(
    "name", ["login", "logout", "register", "refresh", "guest", "me", "csrf", "client.js"]
)
def test_our_own_endpoints_are_ours_for_every_method(
    name: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, **EVERYTHING).test_client()
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        client.open(f"/api/auth/{name}", method=method)
    assert backend.calls() == {}


# B7.1; ancestor A15
@pytest.mark.parametrize("name", ["login", "register", "refresh", "guest", "logout"])
def test_the_token_endpoints_of_the_backend_are_sealed(
    name: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, **EVERYTHING)
    for spelling in (
        "auth/{}/",
        "AUTH/{}",
        "auth/{};x=1",
        "Auth/{}/",
        "auth;v=2/{}",
        "auth/{};",
        "%61uth/{}/",
    ):
        answer = call(app, f"/api/{spelling.format(name)}", method="POST", body=b"{}")
        assert answer.status in (404, 405)
        assert b"accessToken" not in answer.body
    assert backend.calls() == {}


# B7.1
@pytest.mark.parametrize("path", ["token/renew", "token/renew/", "TOKEN/Renew", "token/renew;a=b"])
def test_a_renamed_token_endpoint_is_sealed_too(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, endpoints={"refresh": "token/renew"}, **EVERYTHING)
    answer = call(app, f"/api/{path}", method="POST")
    assert (answer.status, answer.json()["code"]) == (404, "no_route")
    assert backend.calls() == {}


# B7.1: an encoded letter is the same letter
def test_an_encoded_letter_opens_no_sealed_endpoint(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, endpoints={"refresh": "token/renew"}, **EVERYTHING)
    assert call(app, "/api/token/re%6eew", method="POST").status == 404
    assert backend.calls() == {}


# B7.1
def test_a_neighbour_of_a_token_endpoint_is_proxied(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, endpoints={"refresh": "echo/renew"}, **EVERYTHING)
    assert call(app, "/api/echo/renewal", method="POST").status == 200
    assert call(app, "/api/echo/renew/1", method="POST").status == 200


# B7.1
def test_a_view_of_the_app_under_the_prefix_is_served(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, **EVERYTHING)
    app.add_url_rule("/api/health", view_func=lambda: "fine", endpoint="health")
    app.add_url_rule(
        "/api/things/<int:n>", view_func=lambda n: f"thing {n}", endpoint="thing", methods=["POST"]
    )
    client = app.test_client()
    assert client.get("/api/health").text == "fine"
    assert client.post("/api/things/3").text == "thing 3"
    assert backend.calls() == {}


# B7.1
def test_a_view_of_the_app_needs_no_proxy_route(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/api/health", view_func=lambda: "fine", endpoint="health")
    assert app.test_client().get("/api/health").text == "fine"


# Ancestor A11
def test_protected_routes_hold_under_the_prefix(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, protected_routes=["/api/health"], guest_enabled=True)
    app.add_url_rule("/api/health", view_func=lambda: "fine", endpoint="health")
    browser = Browser(app)
    assert_problem(browser.fetch("/api/health"), 401, "login_required")
    browser.log_in()
    assert browser.fetch("/api/health").text == "fine"


# Ancestor A11: the prefix ends at a segment
def test_a_path_that_only_begins_like_the_prefix_is_the_apps(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, **EVERYTHING)
    app.add_url_rule("/apidocs", view_func=lambda: "docs", endpoint="docs")
    client = app.test_client()
    assert client.get("/apidocs").text == "docs"
    assert client.get("/apiary").mimetype == "text/html"
    assert backend.calls() == {}


@pytest.fixture
def placed(backend: ShopBackend) -> Iterator[Callable[[str], Flask]]:
    """An app whose blueprint stands under another prefix."""
    apps: list[Flask] = []

    def place(prefix: str) -> Flask:
        app = Flask("shop")
        app.config["SECRET_KEY"] = "a key for tests, long enough"
        layer = ApiLayer(app, backend_url=backend.base_url, store_url="memory://", **EVERYTHING)
        app.register_blueprint(layer.blueprint, url_prefix=prefix)
        apps.append(app)
        return app

    yield place
    for app in apps:
        app.extensions["api_layer"].transport.close()


# B1.6
def test_the_prefix_is_where_the_blueprint_stands(
    placed: Callable[[str], Flask], backend: ShopBackend
) -> None:
    app = placed("/backend/v2")
    assert call(app, "/backend/v2/echo/a").json()["raw_target"] == "/v1/echo/a"
    assert call(app, "/backend/v2/auth/login").status == 405
    assert call(app, "/backend/v2/../x").json()["code"] == "bad_path"
    assert call(app, "/api/echo").status == 404
    assert backend.calls() == {"GET echo/<rest>": 1}


# B1.4
def test_a_script_that_may_not_call_gets_a_problem(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, proxy_routes={"whoami": ["GET"]}).test_client()
    answer = client.get("/api/whoami", headers={"Accept": "text/html"})
    body = assert_problem(answer, 401, "login_required")
    assert body["login_url"] == "/login"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")
    assert backend.calls() == {}


# B1.4
def test_a_navigation_to_a_proxied_path_goes_to_the_login_without_a_way_back(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    client = make_app(backend, proxy_routes={"whoami": ["GET"]}).test_client()
    answer = client.get("/api/whoami", headers=NAVIGATION)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    assert backend.calls() == {}


# B1.4
def test_htmx_is_told_where_to_log_in(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, proxy_routes={"whoami": ["GET"]}).test_client()
    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/cart?x=1"}
    answer = client.get("/api/whoami", headers=headers)
    assert_problem(answer, 401, "login_required")
    path, _, query = answer.headers["HX-Redirect"].partition("?")
    assert (path, parse_qs(query)) == ("/login", {"next": ["/cart?x=1"]})


# B1.4
def test_a_navigation_to_an_unlisted_path_is_no_redirect(backend: ShopBackend, make_app: MakeApp) -> None:
    answer = make_app(backend).test_client().get("/api/nothing", headers=NAVIGATION)
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "Location" not in answer.headers


# B1.4
def test_an_outage_is_never_a_redirect(make_app: MakeApp) -> None:
    with DeadPort() as url:
        client = make_app(url, **EVERYTHING).test_client()
        answer = client.get("/api/echo", headers=NAVIGATION)
    assert answer.status_code == 502
    assert answer.mimetype == "text/html"
    assert "Location" not in answer.headers


# B7.8, B7.1
@pytest.mark.parametrize("path", ["/api/echo", "/api/nothing", "/api", "/api/"])
def test_a_websocket_is_refused_with_a_hint(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
    answer = call(make_app(backend, proxy_routes={"echo": ["GET"]}), path, headers=headers)
    assert (answer.status, answer.json()["code"]) == (501, "websocket_unsupported")
    assert backend.calls() == {}


# B7.8: Werkzeug's router speaks of websockets in its own way
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_websocket_scheme_is_refused_too(scheme: str, backend: ShopBackend, make_app: MakeApp) -> None:
    headers = [("Upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade")]
    answer = call(
        make_app(backend, **EVERYTHING), "/api/echo", headers=headers, environ={"wsgi.url_scheme": scheme}
    )
    assert answer.status == 501
    assert backend.calls() == {}


# Corpus 2: another upgrade is no websocket, and is not forwarded
def test_another_upgrade_is_ignored(backend: ShopBackend, make_app: MakeApp) -> None:
    headers = [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABk")]
    answer = call(make_app(backend, **EVERYTHING), "/api/echo", headers=headers)
    assert answer.status == 200
    assert {name.lower() for name, _ in answer.json()["headers"]}.isdisjoint({"upgrade", "http2-settings"})
