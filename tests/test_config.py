from __future__ import annotations

import math
import shlex
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from flask_api_layer.config import SETTINGS, Config
from flask_api_layer.errors import ConfigError
from flask_api_layer.sansio.proxy_routes import ProxyRoute

SECRET = "0123456789abcdef0123456789abcdef"
BACKEND = "https://api.example.com/v1"
JWKS = "https://api.example.com/.well-known/jwks.json"
LOCAL: dict[str, Any] = {"VALIDATE": "local", "JWKS_URL": JWKS, "JWT_ALGORITHMS": ["RS256"]}


def config(*, debug: bool = False, defaults: dict[str, Any] | None = None, **keys: Any) -> Config:
    """The Config of an app with these keys, beside those that are required."""
    values = {"SECRET_KEY": SECRET, "API_LAYER_BACKEND_URL": BACKEND}
    values |= {key if key.startswith("SECRET_KEY") else f"API_LAYER_{key}": keys[key] for key in keys}
    return Config.from_mapping(values, defaults=defaults or {}, debug=debug, instance_path="/srv/instance")


def beside(key: str) -> dict[str, Any]:
    """The keys without which this one contradicts others."""
    return LOCAL if key.startswith(("JW", "REVALIDATE")) else {"GUEST_ENABLED": True}


def problems(**keys: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config(**keys)
    return caught.value.problems


def problem(**keys: Any) -> str:
    (one,) = problems(**keys)
    return one


def test_defaults_are_those_of_the_documentation() -> None:
    found = config()
    assert found.backend_url == BACKEND
    assert (found.backend, dict(found.endpoints)) == ("standard", {})
    assert (found.user_cookie, found.guest_cookie) == ("api-user", "api-guest")
    assert (found.cookie_secure, found.cookie_samesite) == (True, "Lax")
    assert found.cookie_max_age == found.guest_max_age == 7 * 24 * 3600
    assert (found.guest_enabled, found.guest_mode, found.guest_credentials) == (False, "lazy", None)
    assert [str(item) for item in found.guest_mint_limit] == ["30 per 1 minute"]
    assert found.guest_fallback is True
    assert found.protected_routes == found.auth_routes == found.public_routes == found.excluded_routes == ()
    assert found.protected_by_default is False
    assert (found.login_url, found.after_login_url, found.after_logout_url) == ("/login", "/", "/")
    assert found.next_deny == ("/**/login", "/**/logout", "/**/register")
    assert found.allowed_token_types is found.login_fields is found.register_fields is None
    assert (found.validate, found.validate_ttl, found.stale_ttl) == ("backend", 5, 300)
    assert found.revalidate_every == 0
    assert (found.jwt_key, found.jwks_url, found.jwt_algorithms) == (None, None, ())
    assert (found.jwt_issuer, found.jwt_audience, found.jwt_leeway) == (None, None, 30)
    assert (found.refresh_leeway, found.refresh_grace) == (30, 60)
    assert found.store_url == "sqlite:////srv/instance/api-layer.sqlite3"
    assert (found.proxy_routes, found.proxy_public) == ((), ())
    assert (found.proxy_max_body, found.proxy_replay_body) == (None, 1024 * 1024)
    assert found.proxy_request_headers == found.proxy_response_headers == frozenset()
    assert (found.connect_timeout, found.read_timeout, found.total_timeout) == (2, 10, 30)
    assert found.pool_size == 32
    assert found.secret_keys == (SECRET.encode(),)


def test_every_key_has_its_field() -> None:
    assert {field.name for field in fields(Config)} == {setting.field for setting in SETTINGS} | {
        "secret_keys"
    }


def test_config_cannot_be_changed() -> None:
    endpoints = {"login": "token"}
    credentials = {"client": {"id": "web"}}
    found = config(ENDPOINTS=endpoints, GUEST_CREDENTIALS=credentials)
    endpoints["login"] = credentials["client"]["id"] = "changed"
    assert found.endpoints == {"login": "token"}
    assert found.guest_credentials == {"client": {"id": "web"}}
    with pytest.raises(FrozenInstanceError):
        found.backend_url = "https://other.example.com"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.endpoints["login"] = "changed"  # type: ignore[index]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("BACKEND_URL", "https://api.example.com/v1/", BACKEND),
        ("BACKEND_URL", "HTTP://localhost:8000/", "http://localhost:8000"),
        ("BACKEND_URL", "http://[::1]:8000", "http://[::1]:8000"),
        ("ENDPOINTS", {"refresh": None, "guest": "token/guest/"}, {"refresh": None, "guest": "token/guest/"}),
        ("ENDPOINTS", {"me": "/user"}, {"me": "user"}),
        ("USER_COOKIE", "shop_user", "shop_user"),
        ("COOKIE_SECURE", False, False),
        ("COOKIE_SAMESITE", "strict", "Strict"),
        ("COOKIE_SAMESITE", "NONE", "None"),
        ("COOKIE_MAX_AGE", 1, 1),
        ("GUEST_CREDENTIALS", {"username": "g"}, {"username": "g"}),
        ("GUEST_MINT_LIMIT", None, ()),
        (
            "PROTECTED_ROUTES",
            ["/account", "/shop/*/edit/", "/**/admin", "/"],
            ("/account", "/shop/*/edit", "/**/admin", "/"),
        ),
        ("PUBLIC_ROUTES", ("/über uns",), ("/über uns",)),
        ("ALLOWED_TOKEN_TYPES", ["user", "staff"], ("user", "staff")),
        ("LOGIN_URL", "/account?tab=login", "/account?tab=login"),
        ("AFTER_LOGIN_URL", "/?welcome=1#top", "/?welcome=1#top"),
        ("NEXT_DENY", [], ()),
        ("LOGIN_FIELDS", ["email", "password"], ("email", "password")),
        ("VALIDATE_TTL", 0, 0),
        ("STALE_TTL", 0.5, 0.5),
        ("VALIDATE", "local", "local"),
        ("JWKS_URL", f"{JWKS}/?p=B2C_1_sign_in", f"{JWKS}/?p=B2C_1_sign_in"),
        ("JWKS_URL", "HTTP://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("JWT_ALGORITHMS", ["RS256", "PS512", "ES384"], ("RS256", "PS512", "ES384")),
        ("JWT_ALGORITHMS", ("EdDSA", "Ed25519"), ("EdDSA", "Ed25519")),
        ("JWT_ISSUER", "https://id.example.com/", "https://id.example.com/"),
        ("JWT_AUDIENCE", "the shop, and more", ("the shop, and more",)),
        ("JWT_AUDIENCE", ["shop", "https://api.example.com"], ("shop", "https://api.example.com")),
        ("JWT_LEEWAY", 0, 0),
        ("REVALIDATE_EVERY", 60, 60),
        ("STORE_URL", "memory://", "memory://"),
        ("STORE_URL", "sqlite:///relative.db", "sqlite:///relative.db"),
        ("STORE_URL", "redis://:pw@cache:6379/1", "redis://:pw@cache:6379/1"),
        ("PROXY_PUBLIC", ["/products/**"], ("products/**",)),
        ("PROXY_MAX_BODY", 1, 1),
        ("PROXY_REPLAY_BODY", 0, 0),
        ("PROXY_REQUEST_HEADERS", ["X-Tenant"], frozenset(("x-tenant",))),
        ("PROXY_RESPONSE_HEADERS", ["Content-Security-Policy"], frozenset(("content-security-policy",))),
        ("CONNECT_TIMEOUT", 0.2, 0.2),
        ("POOL_SIZE", 1, 1),
    ],
)
def test_good_values(key: str, value: Any, expected: object) -> None:
    keys = (LOCAL if key == "VALIDATE" else beside(key)) | {key: value}
    assert getattr(config(**keys), key.lower()) == expected


def test_limits_are_parsed() -> None:
    found = config(GUEST_MINT_LIMIT="5/second; 100 per day").guest_mint_limit
    assert [(item.amount, item.get_expiry()) for item in found] == [(5, 1), (100, 86_400)]


def test_proxy_routes_keep_their_order() -> None:
    found = config(PROXY_ROUTES={"products/**": ["GET", "POST"], "/orders/*/": ["DELETE"], "**": "*"})
    everything = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
    assert found.proxy_routes == (
        ProxyRoute(pattern="products/**", methods=frozenset(("GET", "POST"))),
        ProxyRoute(pattern="orders/*", methods=frozenset(("DELETE",))),
        ProxyRoute(pattern="**", methods=everything),
    )


def test_a_proxy_route_may_have_options() -> None:
    [route] = config(
        PROXY_ROUTES={
            "reports/*/**": {
                "methods": ["GET"],
                "to": "/v2/*/of/**",
                "roles": ["admin"],
                "request_headers": ["X-Tenant"],
                "response_headers": ["X-Pages"],
                "timeout": 60,
                "stream": True,
            }
        }
    ).proxy_routes
    assert route == ProxyRoute(
        pattern="reports/*/**",
        methods=frozenset(("GET",)),
        to="v2/*/of/**",
        roles=frozenset(("admin",)),
        auth="user",
        request_headers=frozenset(("x-tenant",)),
        response_headers=frozenset(("x-pages",)),
        timeout=60,
        stream=True,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "v2"}, 'has no "methods"'),
        ({"methods": ["GET"], "too": "v2"}, "did you mean 'to'?"),
        ({"methods": ["GET"], "to": "a/../b"}, "to: the string 'a/../b' has a dot segment"),
        ({"methods": ["GET"], "to": "v2/*"}, "the same order, or none"),
        ({"methods": ["GET"], "to": "v2/**/x*"}, "a wildcard inside a segment"),
        ({"methods": ["GET"], "to": "https://elsewhere.example/x"}, "relative to BACKEND_URL"),
        ({"methods": ["GET"], "roles": []}, "lets nobody through"),
        ({"methods": ["GET"], "roles": "admin"}, "roles: the string 'admin' is not a list"),
        ({"methods": ["GET"], "roles": ["admin"], "auth": "none"}, "leave auth out"),
        ({"methods": ["GET"], "auth": "admin"}, "auth: the string 'admin' is not one of"),
        ({"methods": ["GET"], "request_headers": ["Cookie"]}, "may never cross the proxy"),
        ({"methods": ["GET"], "response_headers": ["Set-Cookie"]}, "may never cross the proxy"),
        ({"methods": ["GET"], "timeout": 0}, "timeout: the number 0 is no time at all"),
        ({"methods": ["GET"], "stream": "yes"}, "stream: the string 'yes' is not a bool"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, object], said: str) -> None:
    assert said in problem(PROXY_ROUTES={"things/**": options})


def test_a_pattern_with_two_open_ends_cannot_be_rewritten() -> None:
    options = {"methods": ["GET"], "to": "v2"}
    assert "more than one **" in problem(PROXY_ROUTES={"**/things/**": options})


@pytest.mark.parametrize("debug", [True, False])
def test_cookies_are_secure_unless_debug(debug: bool) -> None:
    assert config(debug=debug).cookie_secure is not debug
    assert config(debug=debug, COOKIE_SECURE=debug).cookie_secure is debug


# What is wrong, and the value that the error tells to write instead.
BAD: list[tuple[str, Any, Any]] = [
    ("BACKEND_URL", None, "https://api.example.com"),
    ("BACKEND_URL", "api.example.com", "https://api.example.com"),
    ("BACKEND_URL", "localhost:8000/api", "http://localhost:8000/api"),
    ("BACKEND_URL", "//api.example.com", "https://api.example.com"),
    ("BACKEND_URL", "https:/api.example.com", "https://api.example.com"),
    ("BACKEND_URL", "ftp://files.example.com/x", "https://files.example.com/x"),
    ("BACKEND_URL", "https://u:p@api.example.com/v2", "https://api.example.com/v2"),
    ("BACKEND_URL", "https://api.example.com/v2/?key=1", "https://api.example.com/v2"),
    ("BACKEND_URL", "https://api.example.com/v2#top", "https://api.example.com/v2"),
    ("BACKEND_URL", "https://api.example.com/a/../b", "https://api.example.com"),
    ("BACKEND_URL", "https://api.example.com/a/%2E%2e/b", "https://api.example.com"),
    ("BACKEND_URL", "https://api.example.com\\evil", "https://api.example.com"),
    ("BACKEND_URL", "https://api.example.com\n", "https://api.example.com"),
    ("BACKEND_URL", "https://:8000", "https://api.example.com"),
    ("BACKEND_URL", "https://host:", "https://api.example.com"),
    ("BACKEND_URL", "https://host:99999", "https://api.example.com"),
    ("BACKEND_URL", "http://[::1", "https://api.example.com"),
    ("BACKEND_URL", "", "https://api.example.com"),
    ("BACKEND", "standrad", "standard"),
    ("ENDPOINTS", "auth/login", {"login": "auth/login"}),
    ("ENDPOINTS", {"Login": "token"}, {"login": "token"}),
    ("ENDPOINTS", {"me": None}, {"me": "auth/me"}),
    ("ENDPOINTS", {"me": "user", "guest": "https://u:p@other.example.com/guest"}, {"me": "user"}),
    ("ENDPOINTS", {"me": "user", "guest": "../guest"}, {"me": "user"}),
    ("USER_COOKIE", "my cookie", "api-user"),
    ("USER_COOKIE", "", "api-user"),
    ("USER_COOKIE", 123, "123"),
    ("USER_COOKIE", "__Host-shop", "shop"),
    ("GUEST_COOKIE", "__host-http-shop", "shop"),
    ("GUEST_COOKIE", "__Secure-shop", "shop"),
    ("COOKIE_SECURE", "yes", True),
    ("COOKIE_SECURE", 0, False),
    ("COOKIE_SAMESITE", "laxx", "Lax"),
    ("COOKIE_SAMESITE", None, "Lax"),
    ("COOKIE_MAX_AGE", 0, 604800),
    ("COOKIE_MAX_AGE", 1.5, 604800),
    ("COOKIE_MAX_AGE", True, 604800),
    ("GUEST_MAX_AGE", "7d", 604800),
    ("GUEST_ENABLED", "False", False),
    ("GUEST_ENABLED", "1", True),
    ("GUEST_MODE", "Eager", "eager"),
    ("GUEST_MINT_LIMIT", "many", "30/minute"),
    ("GUEST_MINT_LIMIT", "0/minute", "30/minute"),
    ("GUEST_MINT_LIMIT", 30, "30/minute"),
    ("PROTECTED_ROUTES", "/account", ["/account"]),
    ("PROTECTED_ROUTES", "/account, /orders", ["/account", "/orders"]),
    ("AUTH_ROUTES", {"/login": True}, ["/login"]),
    ("PUBLIC_ROUTES", ["about", "/news"], ["/about", "/news"]),
    ("PUBLIC_ROUTES", ["/a*", "/b/**"], ["/*", "/b/**"]),
    ("EXCLUDED_ROUTES", ["/a/***"], ["/a/*"]),
    ("EXCLUDED_ROUTES", ["/a/../b", "/c"], ["/c"]),
    ("EXCLUDED_ROUTES", ["/a?b", "/c//d", "/e\\f", "//g", 5], []),
    ("PROTECTED_ROUTES", ["/orders/<int:order_id>/pay"], ["/orders/*/pay"]),
    ("PROTECTED_ROUTES", ["/caf%C3%A9"], ["/café"]),
    ("ALLOWED_TOKEN_TYPES", "user", ["user"]),
    ("ALLOWED_TOKEN_TYPES", [], None),
    ("LOGIN_FIELDS", ["email", 5], ["email", "5"]),
    ("LOGIN_URL", "login", "/login"),
    ("LOGIN_URL", "//evil.example", "/login"),
    ("LOGIN_URL", "/\\evil.example", "/login"),
    ("LOGIN_URL", "/sign-in?from=shop#top", "/sign-in?from=shop"),
    ("AFTER_LOGIN_URL", "https://evil.example/", "/"),
    ("AFTER_LOGOUT_URL", "/\t/evil.example", "/"),
    ("VALIDATE", "remote", "backend"),
    ("JWKS_URL", "api.example.com/jwks", "https://api.example.com/jwks"),
    ("JWKS_URL", "file:///etc/jwks.json", JWKS),
    ("JWKS_URL", "https://u:p@api.example.com/jwks?p=1#top", "https://api.example.com/jwks"),
    ("JWKS_URL", "https://api.example.com/a/../jwks", "https://api.example.com"),
    ("JWKS_URL", ["https://api.example.com"], JWKS),
    ("JWT_ALGORITHMS", "RS256", ["RS256"]),
    ("JWT_ALGORITHMS", ["rs256", "ES256"], ["RS256", "ES256"]),
    ("JWT_ALGORITHMS", ["RS256", "none", "ES256K"], ["RS256", "ES256"]),
    ("JWT_ALGORITHMS", [["RS256"]], []),
    ("JWT_ISSUER", 5, "5"),
    ("JWT_ISSUER", ["https://id.example.com"], "https://api.example.com"),
    ("JWT_AUDIENCE", ["shop", 5], ["shop", "5"]),
    ("JWT_AUDIENCE", [], None),
    ("JWT_AUDIENCE", "", ["shop"]),
    ("JWT_LEEWAY", True, 30),
    ("REVALIDATE_EVERY", math.nan, 0),
    ("VALIDATE_TTL", math.nan, 5),
    ("STALE_TTL", math.inf, 300),
    ("REFRESH_LEEWAY", -1, 30),
    ("REFRESH_GRACE", False, 60),
    ("STORE_URL", "redsi://cache", "redis://localhost:6379/0"),
    ("STORE_URL", ":memory:", "memory://"),
    ("STORE_URL", "sqlite://api.db", "sqlite:////var/lib/app/api-layer.sqlite3"),
    ("STORE_URL", 5, "memory://"),
    ("PROXY_ROUTES", ["products"], {"products/**": ["GET"]}),
    ("PROXY_ROUTES", {"products": ["get"]}, {"products": ["GET"]}),
    ("PROXY_ROUTES", {"products": "get, post"}, {"products": ["GET", "POST"]}),
    ("PROXY_ROUTES", {"products": []}, {"products": ["GET"]}),
    ("PROXY_ROUTES", {"products": ["GET", "OPTIONS"]}, {"products": ["GET"]}),
    ("PROXY_ROUTES", {"a*": "*", "b/../c": "*"}, {"*": "*"}),
    ("PROXY_ROUTES", {"products": "*", "/products/": "*"}, {"products/**": ["GET"]}),
    ("PROXY_ROUTES", {"": "*", 5: "*"}, {"products/**": ["GET"]}),
    ("PROXY_PUBLIC", "products/**", ["products/**"]),
    ("PROXY_MAX_BODY", 0, 10 * 1024 * 1024),
    ("PROXY_REPLAY_BODY", -1, 1024 * 1024),
    ("PROXY_REQUEST_HEADERS", ["X-*", "X-Tenant"], ["X-Tenant"]),
    ("READ_TIMEOUT", 0, 10),
    ("TOTAL_TIMEOUT", "30s", 30),
    ("POOL_SIZE", True, 32),
    ("POOL_SIZE", 10**9, 32),
]


@pytest.mark.parametrize(("key", "value", "instead"), BAD)
def test_bad_value_names_the_key_and_what_to_write(key: str, value: object, instead: object) -> None:
    said = problem(**{key: value})
    assert said.startswith(f"API_LAYER_{key}: ")
    assert said.endswith(f" (in Python: {instead!r})")


@pytest.mark.parametrize(("key", "value", "instead"), BAD)
def test_what_the_error_tells_to_write_works_in_a_shell(
    key: str, value: object, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = problem(**{key: value}).rpartition("; write ")[2].rpartition(" (in Python: ")[0]
    (word,) = shlex.split(line)
    monkeypatch.setenv(*word.split("=", 1))
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert app.config[f"API_LAYER_{key}"] == instead
    if instead != []:
        assert isinstance(config(**(beside(key) | {key: instead})), Config)


@pytest.mark.parametrize(("key", "value", "instead"), BAD)
def test_constructor_arguments_are_named_as_arguments(key: str, value: object, instead: object) -> None:
    others = {"API_LAYER_BACKEND_URL": BACKEND} if key != "BACKEND_URL" else {}
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping(
            {"SECRET_KEY": SECRET, **others}, defaults={key.lower(): value}, debug=False, instance_path="/srv"
        )
    (said,) = caught.value.problems
    assert said.startswith(f"{key.lower()}: ")
    assert said.endswith(f"; write {key.lower()}={instead!r}")


REQUEST_HEADERS = """
Cookie authorization HOST content-length transfer-encoding connection Keep-Alive te trailer upgrade
proxy-authorization forwarded x-forwarded-for X_Forwarded_Host x-skip-auth X_Skip_Auth
"""
RESPONSE_HEADERS = """
Set-Cookie clear-site-data access-control-allow-origin x-accel-redirect X-Sendfile strict-transport-security
connection transfer-encoding upgrade
"""


@pytest.mark.parametrize("name", REQUEST_HEADERS.split())
def test_request_headers_that_never_cross(name: str) -> None:
    assert f"{name!r} may never cross the proxy" in problem(PROXY_REQUEST_HEADERS=["X-Tenant", name])


@pytest.mark.parametrize("name", RESPONSE_HEADERS.split())
def test_response_headers_that_never_cross(name: str) -> None:
    assert f"{name!r} may never cross the proxy" in problem(PROXY_RESPONSE_HEADERS=[name])


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"USER_COOKIE": "shop", "GUEST_COOKIE": "shop"},
        "API_LAYER_USER_COOKIE='shop' and API_LAYER_GUEST_COOKIE='shop'",
    ),
    ({"USER_COOKIE": "api-guest"}, "API_LAYER_GUEST_COOKIE='api-guest'"),
    ({"COOKIE_SAMESITE": "none", "COOKIE_SECURE": False}, "write FLASK_API_LAYER_COOKIE_SECURE=true"),
    ({"GUEST_MODE": "eager"}, "write FLASK_API_LAYER_GUEST_ENABLED=true"),
    ({"GUEST_ENABLED": True, "ENDPOINTS": {"guest": None}}, "API_LAYER_ENDPOINTS={'guest': None}"),
    ({"READ_TIMEOUT": 31}, "API_LAYER_READ_TIMEOUT=31 and API_LAYER_TOTAL_TIMEOUT=30"),
]


@pytest.mark.parametrize(("keys", "text"), CONTRADICTIONS)
def test_contradictions_between_keys(keys: dict[str, Any], text: str) -> None:
    assert text in problem(**keys)


RSA, P256, ED25519 = RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")
PUBLIC: dict[str, Any] = {"VALIDATE": "local", "JWT_KEY": RSA.as_pem().decode(), "JWT_ALGORITHMS": ["RS256"]}
SHARED: dict[str, Any] = {"VALIDATE": "local", "JWT_KEY": SECRET, "JWT_ALGORITHMS": ["HS256"]}

LOCAL_CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"JWT_KEY": SECRET}, "API_LAYER_VALIDATE='backend' and API_LAYER_JWT_KEY=StaticKeys(oct) contradict"),
    ({"JWKS_URL": JWKS}, f"API_LAYER_VALIDATE='backend' and API_LAYER_JWKS_URL='{JWKS}' contradict"),
    ({"JWT_ALGORITHMS": ["RS256"]}, "API_LAYER_JWT_ALGORITHMS=('RS256',) contradict"),
    ({"JWT_ISSUER": "x"}, "API_LAYER_JWT_ISSUER='x' contradict"),
    ({"JWT_AUDIENCE": "x"}, "API_LAYER_JWT_AUDIENCE=('x',) contradict"),
    ({"JWT_LEEWAY": 5}, "API_LAYER_JWT_LEEWAY=5 contradict each other; write FLASK_API_LAYER_VALIDATE=local"),
    ({"REVALIDATE_EVERY": 5}, "API_LAYER_REVALIDATE_EVERY=5 contradict"),
    ({"VALIDATE": "local", "JWT_ALGORITHMS": ["RS256"]}, f"write FLASK_API_LAYER_JWKS_URL={JWKS}"),
    ({**PUBLIC, "JWKS_URL": JWKS}, "are two sources of keys; remove one"),
    ({**LOCAL, "JWT_ALGORITHMS": []}, """write FLASK_API_LAYER_JWT_ALGORITHMS='["RS256"]'"""),
    ({**LOCAL, "JWT_ALGORITHMS": ["RS256", "HS256"]}, "remove the HS algorithms"),
    ({**PUBLIC, "JWT_ALGORITHMS": ["HS256"]}, "API_LAYER_JWT_KEY=StaticKeys(RSA) and"),
    ({**PUBLIC, "JWT_ALGORITHMS": ["RS256", "HS512"]}, "HS algorithms take a shared secret"),
    ({**PUBLIC, "JWT_ALGORITHMS": ["ES256"]}, "ES256 a P-256 key"),
    ({**PUBLIC, "JWT_KEY": P256.as_dict(private=False), "JWT_ALGORITHMS": ["HS256"]}, "StaticKeys(EC)"),
    ({**SHARED, "JWT_ALGORITHMS": ["EdDSA"]}, "API_LAYER_JWT_KEY=StaticKeys(oct) and"),
]


@pytest.mark.parametrize(("keys", "text"), LOCAL_CONTRADICTIONS)
def test_contradictions_of_local_validation(keys: dict[str, Any], text: str) -> None:
    assert text in problem(**keys)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (SECRET, "HS256"),
        (SECRET.encode(), "HS512"),
        (RSA.as_pem().decode(), "PS256"),
        (P256.as_pem(), "ES256"),
        (ED25519.as_dict(private=False), "EdDSA"),
        ({"keys": [ED25519.as_dict(private=False), P256.as_dict(private=False)]}, "Ed25519"),
    ],
)
def test_keys_that_go_with_their_algorithm(key: object, algorithm: str) -> None:
    found = config(VALIDATE="local", JWT_KEY=key, JWT_ALGORITHMS=[algorithm])
    assert found.jwt_key is not None
    assert found.jwt_key.fits(algorithm)


def test_pem_with_line_breaks_comes_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_API_LAYER_JWT_KEY", RSA.as_pem().decode())
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert config(**{**PUBLIC, "JWT_KEY": app.config["API_LAYER_JWT_KEY"]}).jwt_key


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (31337_31337_31337_31337, "was read as a number; JSON quotes keep it text"),
        (RSA.as_pem().decode().replace("\n", "\\n"), "is a PEM that cannot be read"),
        (RSA.as_pem(private=True).decode(), "is a private key; write the public one"),
        ("31337", "is too short: 128 bits are the least"),
        (["31337"], "is neither text nor a dict"),
        ({"kty": "oct", "k": 31337}, "is not a JWK that can be read as kty 'oct'"),
    ],
)
def test_bad_key_is_not_shown(key: object, text: str) -> None:
    said = problem(**{**LOCAL, "JWKS_URL": None, "JWT_KEY": key})
    assert said.startswith(f"API_LAYER_JWT_KEY: the value (not shown) {text}")
    assert r"""write FLASK_API_LAYER_JWT_KEY='"-----BEGIN PUBLIC KEY-----\n""" in said
    assert "31337" not in said
    assert "MII" not in said


@pytest.mark.parametrize(
    "keys",
    [
        {"GUEST_MODE": "eager", "GUEST_ENABLED": True},
        {"GUEST_ENABLED": False, "ENDPOINTS": {"guest": None}},
        {"READ_TIMEOUT": 30},
        {"COOKIE_SAMESITE": "None"},
    ],
)
def test_neighbours_of_contradictions_are_fine(keys: dict[str, Any]) -> None:
    found = config(**keys)
    assert {key: getattr(found, key.lower()) for key in keys} == keys


def test_all_problems_come_at_once() -> None:
    found = problems(
        BACKEND_URL="api.example.com", SECRET_KEY=None, POOL_SIZE=0, GUEST_MODE="eager", STALE_TLL=1
    )
    assert [said.split()[0].rstrip(":") for said in sorted(found)] == [
        "API_LAYER_BACKEND_URL",
        "API_LAYER_GUEST_MODE='eager'",
        "API_LAYER_POOL_SIZE",
        "SECRET_KEY",
        "there",
    ]


def test_every_bad_item_of_a_list_is_named() -> None:
    said = problem(PROTECTED_ROUTES=["a", "/ok", "/b?c"])
    assert "'a' does not start" in said
    assert "'/b?c' has a query" in said


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("STALE_TLL", "did you mean 'API_LAYER_STALE_TTL'?"),
        ("backend_url", "did you mean 'API_LAYER_BACKEND_URL'?"),
        ("ENDPOINT", "did you mean 'API_LAYER_ENDPOINTS'?"),
        ("XYZ", "remove it"),
    ],
)
def test_unknown_key(key: str, hint: str) -> None:
    assert problem(**{key: "hush"}) == f"there is no key 'API_LAYER_{key}'; {hint}"


def test_unknown_argument() -> None:
    assert (
        problem(defaults={"backend_ulr": "x"})
        == "there is no argument 'backend_ulr'; did you mean 'backend_url'?"
    )


def test_config_beats_arguments_and_arguments_beat_defaults() -> None:
    found = config(defaults={"pool_size": 3, "login_url": "/sign-in", "cookie_secure": False}, POOL_SIZE=4)
    assert (found.pool_size, found.login_url, found.cookie_secure) == (4, "/sign-in", False)


def test_other_keys_of_the_app_are_not_read() -> None:
    app = Flask(__name__)
    app.config |= {
        "SECRET_KEY": SECRET,
        "API_LAYER_BACKEND_URL": BACKEND,
        "API_LAYERS": 1,
        "SQLALCHEMY_ECHO": "x",
    }
    assert (
        Config.from_mapping(app.config, debug=False, instance_path=app.instance_path).backend_url == BACKEND
    )


@pytest.mark.parametrize("value", [None, "", b""])
def test_missing_secret_key_comes_with_the_command_to_make_one(value: object) -> None:
    assert "python -c 'import secrets; print(secrets.token_hex())'" in problem(SECRET_KEY=value, debug=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31337_31337_31337_31337, "was read as a number"),
        (31337e99, "was read as a number"),
        (["31337-31337-31337"], "neither a string nor bytes"),
        ("31337-hush", "shorter than 16 bytes"),
        ("31337-31337-31337-\ud800", "not UTF-8"),
    ],
)
def test_bad_secret_key_is_not_shown(value: object, text: str) -> None:
    for said in (problem(SECRET_KEY=value), problem(SECRET_KEY_FALLBACKS=[SECRET, value])):
        assert text in said
        assert "31337" not in said


def test_secret_keys_are_bytes_and_current_first() -> None:
    found = config(SECRET_KEY="ş" * 8, SECRET_KEY_FALLBACKS=[b"b" * 16, "c" * 16])
    assert found.secret_keys == ("ş".encode() * 8, b"b" * 16, b"c" * 16)


def test_short_secret_key_is_allowed_in_debug() -> None:
    assert config(SECRET_KEY="dev", debug=True).secret_keys == (b"dev",)


def test_fallbacks_are_a_list() -> None:
    said = problem(SECRET_KEY_FALLBACKS="31337-31337-31337")
    assert said.endswith("""write FLASK_SECRET_KEY_FALLBACKS='["<old key>"]'""")
    assert "31337-" not in said


def test_repr_shows_no_secret() -> None:
    shown = repr(
        config(
            SECRET_KEY="hush-" * 8,
            SECRET_KEY_FALLBACKS=["hush-" * 9],
            GUEST_CREDENTIALS={"password": "hush"},
            STORE_URL="redis://:hush@cache",
        )
    )
    assert shown.startswith("Config(backend_url='https://api.example.com/v1'")
    assert "hush" not in shown
    local = config(**{**SHARED, "JWT_KEY": "hush-" * 8})
    assert "hush" not in repr((local, local.jwt_key))
    assert "StaticKeys" not in repr(local)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("BACKEND_URL", "https://user:hush@api.example.com"),
        ("BACKEND_URL", "https://user:hu@sh hush@api.example.com/?hush=1"),
        ("BACKEND_URL", "user:hush@api.example.com"),
        ("BACKEND_URL", "https://api.example.com/?key=hush"),
        ("BACKEND_URL", ["https://user:hush@api.example.com"]),
        ("JWKS_URL", "https://user:hush@id.example.com/jwks?key=hush"),
        ("JWT_KEY", "hush"),
        ("JWT_KEY", {"kty": "hush", "k": "hush"}),
        ("JWT_KEY", {"keys": ["hush"]}),
        ("JWT_KEY", '{"kty": "oct", "k": "hush"'),
        ("STORE_URL", "redsi://:hush@cache/0?password=hush"),
        ("STORE_URL", {"url": "redis://:hush@cache"}),
        ("ENDPOINTS", {"login": "https://user:hush@api.example.com/login"}),
        ("LOGIN_URL", "https://user:hush@api.example.com/login"),
        ("GUEST_CREDENTIALS", "hush"),
        ("GUEST_CREDENTIALS", ["hush"]),
        ("GUEST_CREDENTIALS", {"password": "hush", "pin": math.nan}),
        ("GUEST_CREDENTIALS", {"password": {"hush"}}),
        ("GUEST_CREDENTALS", {"password": "hush"}),
    ],
)
def test_errors_show_no_secret(key: str, value: object) -> None:
    assert "hush" not in problem(**{key: value})


def test_from_prefixed_env(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "SECRET_KEY": SECRET + "x",
        "API_LAYER_BACKEND_URL": "https://api.example.com",
        "API_LAYER_GUEST_ENABLED": "true",
        "API_LAYER_GUEST_CREDENTIALS": '{"username": "guest"}',
        "API_LAYER_ENDPOINTS__refresh": "null",
        "API_LAYER_ENDPOINTS__login": "token",
        "API_LAYER_PROTECTED_ROUTES": '["/account"]',
        "API_LAYER_PROXY_ROUTES": '{"products/**": ["GET"], "**": "*"}',
        "API_LAYER_READ_TIMEOUT": "2.5",
        "API_LAYER_COOKIE_SAMESITE": "None",
    }
    for key, value in environment.items():
        monkeypatch.setenv(f"FLASK_{key}", value)
    app = Flask(__name__)
    app.config.from_prefixed_env()
    found = Config.from_mapping(app.config, debug=app.debug, instance_path=app.instance_path)
    assert found.guest_enabled is True
    assert found.guest_credentials == {"username": "guest"}
    assert found.endpoints == {"refresh": None, "login": "token"}
    assert found.protected_routes == ("/account",)
    assert [route.pattern for route in found.proxy_routes] == ["products/**", "**"]
    assert (found.read_timeout, found.cookie_samesite) == (2.5, "None")


def test_number_too_large_to_print_is_a_problem_like_any_other() -> None:
    assert "(too large to show) is not a number of seconds" in problem(REFRESH_GRACE=10**5000)


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("GUEST_ENABLED", "False", "FLASK_API_LAYER_GUEST_ENABLED=false"),
        ("PROTECTED_ROUTES", "/account", """FLASK_API_LAYER_PROTECTED_ROUTES='["/account"]'"""),
        ("STALE_TTL", "Infinity", "FLASK_API_LAYER_STALE_TTL=300"),
        ("STALE_TTL", "NaN", "FLASK_API_LAYER_STALE_TTL=300"),
        ("POOL_SIZE", "true", "FLASK_API_LAYER_POOL_SIZE=32"),
        ("PROXY_ROUTES", "products", """FLASK_API_LAYER_PROXY_ROUTES='{"products/**": ["GET"]}'"""),
        ("USER_COOKIE", "42", """FLASK_API_LAYER_USER_COOKIE='"42"'"""),
    ],
)
def test_what_from_prefixed_env_makes_of_text_is_caught(
    key: str, text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FLASK_API_LAYER_{key}", text)
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert f"; write {line} (" in problem(**{key: app.config[f"API_LAYER_{key}"]})


TEXTS = st.text("aZ09-_/*.@:;,?#%<>[]{}'\" \t\0\\é\u2028\ud800", max_size=8) | st.sampled_from(
    [
        "/a",
        "//",
        "/*",
        "a/**",
        "*",
        "GET",
        "get",
        "http://[",
        "https://h:x",
        "redis://",
        "login",
        "1/minute",
        "\ud800",
        "@",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = [setting.key for setting in SETTINGS] + ["SECRET_KEY", "SECRET_KEY_FALLBACKS"]


@given(given_values=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), debug=st.booleans())
def test_any_json_gives_a_config_or_a_config_error(given_values: dict[str, object], debug: bool) -> None:
    values = {"SECRET_KEY": SECRET, "API_LAYER_BACKEND_URL": BACKEND, **given_values}
    with suppress(ConfigError):
        found = Config.from_mapping(values, debug=debug, instance_path="/srv")
        assert found.secret_keys
