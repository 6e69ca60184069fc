from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest

from flask_api_layer.sansio.paths import CleanPath
from flask_api_layer.sansio.proxy_routes import PROXY_METHODS, TOKEN_ENDPOINTS, ProxyRoute, ProxyRoutes
from flask_api_layer.sansio.proxying import (
    OWN_ENDPOINTS,
    RESERVED,
    Decision,
    Describe,
    Forward,
    Own,
    Refuse,
    decide,
)


def table(entries: Iterable[tuple[str, Iterable[str]]], *, sealed: Iterable[str] = ()) -> ProxyRoutes:
    routes = (ProxyRoute(pattern=pattern, methods=frozenset(methods)) for pattern, methods in entries)
    return ProxyRoutes(routes, sealed={"": sealed})


SEALED = [f"auth/{name}" for name in TOKEN_ENDPOINTS]
EVERYTHING = table([("**", PROXY_METHODS)], sealed=SEALED)
SHOP = table(
    [("products/**", ["GET"]), ("cart", ["GET", "POST"]), ("cart/*", ["DELETE", "PATCH"])], sealed=SEALED
)


def path(text: str) -> CleanPath:
    return CleanPath(tuple(text.strip("/").split("/")) if text.strip("/") else (), text.endswith("/"))


def ask(
    method: str, target: str, *, routes: ProxyRoutes = SHOP, upgrade: str = "", prefix: str = "/api"
) -> Decision:
    return decide(method, target, prefix=prefix, upgrade=upgrade, routes=routes)


def refusal(method: str, target: str, *, routes: ProxyRoutes = SHOP, upgrade: str = "") -> Refuse:
    decision = ask(method, target, routes=routes, upgrade=upgrade)
    assert isinstance(decision, Refuse), decision
    return decision


def allowed(value: str | None) -> set[str]:
    assert value is not None
    return {name.strip() for name in value.split(",")}


# Which pattern decides


@pytest.mark.parametrize(
    ("target", "winner"),
    [
        ("products/featured", "products/featured"),
        ("products/1", "products/*"),
        ("products/1/reviews", "products/*/reviews"),
        ("products/1/2/3", "products/**"),
        ("products", "products/**"),
        ("special/featured", "*/featured"),
        ("special/other", "**"),
        ("a/b/c", "a/**/c"),
        ("a/b/d", "a/**"),
        ("", "**"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_most_specific_pattern_alone_decides(target: str, winner: str, backwards: bool) -> None:
    # B7.1
    patterns = ["**", "products/**", "products/*", "products/featured", "*/featured", "products/*/reviews"]
    patterns += ["a/**", "a/**/c"]
    order = reversed(patterns) if backwards else patterns
    route = table([(pattern, ["GET"]) for pattern in order]).find(path(target))
    assert route is not None
    assert route.pattern == winner


@pytest.mark.parametrize(
    ("better", "worse", "target"),
    [
        ("products/*", "*/featured", "products/featured"),
        ("products/**", "*/featured", "products/featured"),
        ("products/**", "*/*", "products/featured"),
        ("*/featured", "*/*", "products/featured"),
        ("*/*", "**", "products/featured"),
        ("*/**", "**", "products/featured"),
        ("products", "products/**", "products"),
        ("products/*", "products/**", "products/1"),
        ("*", "**", "products"),
        ("**/featured", "**", "products/featured"),
        ("a/*/c", "a/**/c", "a/b/c"),
        ("a/**/c", "a/**", "a/b/c"),
        ("a/**/c", "a/**/*", "a/b/c"),
    ],
)
def test_literals_from_the_left_beat_wildcards(better: str, worse: str, target: str) -> None:
    # B7.1
    for patterns in ([better, worse], [worse, better]):
        route = table([(pattern, ["GET"]) for pattern in patterns]).find(path(target))
        assert route is not None
        assert route.pattern == better


def test_a_tie_goes_to_the_first_declared() -> None:
    # B7.1
    routes = table([("cart", ["GET"]), ("cart", ["POST"])])
    route = routes.find(path("cart"))
    assert route is not None
    assert "GET" in route.methods


def test_losing_patterns_add_no_methods() -> None:
    # B7.1: "alone decides"
    routes = table([("**", PROXY_METHODS), ("admin/*", ["GET"])])
    assert isinstance(ask("GET", "/api/admin/1", routes=routes), Forward)
    assert refusal("POST", "/api/admin/1", routes=routes).code == "method_not_allowed"
    assert isinstance(ask("POST", "/api/admin", routes=routes), Forward)


@pytest.mark.parametrize(
    ("pattern", "target", "found"),
    [
        ("products", "products/1", False),
        ("products", "products/", True),
        ("products/*", "products/1/", True),
        ("products/*", "products/", False),
        ("products/**", "products/", True),
        ("products/*", "products/1/2", False),
        ("products", "Products", False),
        ("v1.0/*", "v1x0/secret", False),
        ("news/*", "newsroom/1", False),
    ],
)
def test_patterns_match_whole_paths_whatever_the_slash_at_the_end(
    pattern: str, target: str, found: bool
) -> None:
    # B4.4, B7.1, P7
    assert (table([(pattern, ["GET"])]).find(path(target)) is not None) is found


# What may never cross


@pytest.mark.parametrize("endpoint", SEALED)
@pytest.mark.parametrize(
    "shape",
    ["{0}", "{0}/", "{0};x=1", "{0};", "{0};a;b/", "{0};/", "{0};a=b/"],
)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
def test_token_endpoints_never_cross(endpoint: str, shape: str, case: type[str]) -> None:
    # B7.1, A15
    target = "/api/" + shape.format(case(endpoint))
    for method in (*PROXY_METHODS, "OPTIONS"):
        assert not isinstance(ask(method, target, routes=EVERYTHING), Forward), method
    assert EVERYTHING.find(path(shape.format(case(endpoint)))) is None


@pytest.mark.parametrize(
    "target",
    [
        "auth;v=1/login",
        "auth;/login;/",
        "AUTH;x/LOGIN;y",
        "%61uth/login",
        "auth/lo%67in",
        "auth/login%3bx",
        "auth/%4cOGIN",
    ],
)
def test_disguised_token_endpoints_never_cross(target: str) -> None:
    # B7.1
    assert not isinstance(ask("POST", "/api/" + target, routes=EVERYTHING), Forward)


@pytest.mark.parametrize("sealed", ["token", "token/", "/token", "/token/", "TOKEN", "token;v=1"])
@pytest.mark.parametrize("target", ["/api/token", "/api/token/", "/api/Token", "/api/token;x"])
def test_endpoints_are_sealed_however_they_are_configured(sealed: str, target: str) -> None:
    routes = table([("**", PROXY_METHODS), ("token", PROXY_METHODS)], sealed=[sealed])
    assert refusal("POST", target, routes=routes).code == "no_route"


@pytest.mark.parametrize(
    "target", ["auth", "auth/logins", "auth/login/x", "x/auth/login", "auth/me", "login"]
)
def test_neighbours_of_token_endpoints_may_cross(target: str) -> None:
    assert EVERYTHING.find(path(target)) is not None


def test_token_endpoints_are_those_of_the_contract() -> None:
    # B7.1
    assert set(TOKEN_ENDPOINTS) == {"login", "register", "refresh", "guest", "logout"}


def test_nothing_crosses_by_default() -> None:
    routes = table([])
    for target in ("/api/x", "/api/auth/x", "/api", "/api/"):
        assert refusal("GET", target, routes=routes).code == "no_route"


# The layer's own endpoints


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name, methods in OWN_ENDPOINTS.items() for method in methods]
)
def test_own_endpoints_are_ours(name: str, method: str) -> None:
    # B2
    assert ask(method, f"/api/{name}", routes=EVERYTHING) == Own(name)


def test_own_endpoints_take_the_methods_of_the_contract() -> None:
    # B2
    posts = {f"auth/{name}" for name in ("login", "register", "logout", "refresh", "guest")}
    assert {name for name, methods in OWN_ENDPOINTS.items() if set(methods) == {"POST"}} == posts
    assert set(OWN_ENDPOINTS["auth/me"]) == {"GET", "HEAD"}
    assert set(OWN_ENDPOINTS) | set(RESERVED) == posts | {"auth/me", "auth/csrf", "auth/client.js"}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name, method in product(OWN_ENDPOINTS, [*PROXY_METHODS, "TRACE", "FOO"])
        if method not in OWN_ENDPOINTS[name]
    ],
)
def test_wrong_method_on_an_own_endpoint_is_405_and_never_the_proxy(name: str, method: str) -> None:
    # B2.7
    refused = refusal(method, f"/api/{name}", routes=EVERYTHING)
    assert refused.code == "method_not_allowed"
    assert set(OWN_ENDPOINTS[name]) <= allowed(refused.allow)
    assert method not in allowed(refused.allow)


@pytest.mark.parametrize("name", [*OWN_ENDPOINTS, *RESERVED])
@pytest.mark.parametrize("method", [*PROXY_METHODS, "OPTIONS", "TRACE", "get"])
def test_own_names_are_never_proxied(name: str, method: str) -> None:
    # B2.7
    routes = table([("**", PROXY_METHODS), (name, PROXY_METHODS)])
    assert not isinstance(ask(method, f"/api/{name}", routes=routes), Forward)


@pytest.mark.parametrize("name", OWN_ENDPOINTS)
def test_options_on_an_own_endpoint_is_described(name: str) -> None:
    decision = ask("OPTIONS", f"/api/{name}")
    assert isinstance(decision, Describe)
    assert set(OWN_ENDPOINTS[name]) <= allowed(decision.allow)


def test_own_endpoints_lie_under_any_prefix() -> None:
    # B1.6
    assert ask("POST", "/shop/api/auth/login", prefix="/shop/api") == Own("auth/login")
    assert isinstance(ask("GET", "/x/products/1", prefix="/x"), Forward)


# The order of the decision


def test_listed_path_is_forwarded_as_it_was_checked() -> None:
    decision = ask("GET", "/api/products/caf%C3%A9/")
    assert isinstance(decision, Forward)
    assert decision.path == CleanPath(("products", "caf\u00e9"), trailing_slash=True)
    assert decision.route.pattern == "products/**"


@pytest.mark.parametrize("method", ["get", "Get", "post", "pOST", "", "G ET", "GET\r\n", "P\u00d6ST"])
def test_only_upper_case_is_a_method(method: str) -> None:
    # B7.1, CORPUS 1
    assert refusal(method, "/api/products/1").code == "method_not_allowed"
    assert refusal(method, "/api/../admin").code == "method_not_allowed"
    assert refusal(method, "/api/products/1", upgrade="websocket").code == "method_not_allowed"
    assert refusal(method, "/api/nothing").code == "method_not_allowed"


@pytest.mark.parametrize(
    ("target", "code"),
    [("/api/../x", "bad_path"), ("/api//", "bad_path"), ("/api/" + "x" * 5000, "uri_too_long")],
)
def test_path_comes_before_websocket_route_and_method(target: str, code: str) -> None:
    # B7.1
    assert refusal("GET", target).code == code
    assert refusal("GET", target, upgrade="websocket").code == code
    assert refusal("TRACE", target).code == code
    assert refusal("OPTIONS", target).code == code


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "WEBSOCKET"])
def test_websocket_comes_before_route_and_method(upgrade: str) -> None:
    # B7.8
    for method, target in product(["GET", "TRACE", "DELETE"], ["/api/products/1", "/api/nothing", "/api"]):
        assert refusal(method, target, upgrade=upgrade).code == "websocket_unsupported"


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "foo"])
def test_other_upgrades_are_ignored(upgrade: str) -> None:
    assert isinstance(ask("GET", "/api/products/1", upgrade=upgrade), Forward)


@pytest.mark.parametrize("target", ["/api/nothing", "/api/cart/1/2", "/api", "/api/", "/api/auth/other"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_route_comes_before_method(method: str, target: str) -> None:
    # B7.1
    assert refusal(method, target).code == "no_route"


def test_missing_route_tells_the_path_for_the_hint() -> None:
    # B7.1
    assert refusal("GET", "/api/caf%C3%A9").path == CleanPath(("caf\u00e9",))


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "PROPFIND", "DELETE", "POST"])
def test_unlisted_method_is_405_with_allow(method: str) -> None:
    # B7.1, CORPUS 1
    refused = refusal(method, "/api/products/1")
    assert refused.code == "method_not_allowed"
    assert {"GET", "HEAD"} <= allowed(refused.allow)
    assert method not in allowed(refused.allow)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO"])
def test_catch_all_does_not_catch_strange_methods(method: str) -> None:
    assert refusal(method, "/api/x", routes=EVERYTHING).code == "method_not_allowed"


def test_get_implies_head() -> None:
    # B7.1
    assert isinstance(ask("HEAD", "/api/products/1"), Forward)
    assert refusal("HEAD", "/api/cart/1").code == "method_not_allowed"


def test_head_does_not_imply_get() -> None:
    routes = table([("x", ["HEAD"])])
    assert isinstance(ask("HEAD", "/api/x", routes=routes), Forward)
    assert refusal("GET", "/api/x", routes=routes).code == "method_not_allowed"


@pytest.mark.parametrize(
    ("target", "methods"),
    [
        ("/api/products/1", {"GET", "HEAD"}),
        ("/api/cart", {"GET", "HEAD", "POST"}),
        ("/api/cart/1", {"DELETE", "PATCH"}),
    ],
)
def test_options_on_a_listed_path_is_answered_by_us(target: str, methods: set[str]) -> None:
    # B7.1
    decision = ask("OPTIONS", target)
    assert isinstance(decision, Describe)
    assert allowed(decision.allow) - {"OPTIONS"} == methods
