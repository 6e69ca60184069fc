from __future__ import annotations

import re
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.headers import (
    SANDBOX,
    Header,
    from_upstream,
    kept_request_id,
    map_location,
    protective_headers,
    revised_answer,
    revised_request,
    to_upstream,
)

NOTHING: frozenset[str] = frozenset()
BASE = "http://backend.internal:5000/v1"
ASKED = BASE + "/cart/7?q=1"


GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def names(headers: list[Header]) -> list[str]:
    return [name.lower() for name, _ in headers]


def environ(*headers: Header) -> dict[str, str]:
    """As WSGI has them."""
    keys = [(name.upper().replace("-", "_"), value) for name, value in headers]
    return {
        name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}": value for name, value in keys
    }


def sent(*headers: Header, extra: frozenset[str] = NOTHING, has_body: bool = True) -> list[str]:
    return names(to_upstream(environ(*headers), extra=extra, has_body=has_body))


def mapped(value: str, *, base_url: str = BASE, request_url: str = ASKED, prefix: str = "/api") -> str | None:
    return map_location(value, request_url=request_url, base_url=base_url, prefix=prefix)


def returned(*headers: Header, extra: frozenset[str] = NOTHING) -> list[str]:
    return names(from_upstream(headers, extra=extra))


# What the client sent


def test_empty_headers_are_no_headers() -> None:
    environ = {"CONTENT_TYPE": "", "CONTENT_LENGTH": "", "HTTP_ACCEPT": ""}
    assert to_upstream(environ, extra=NOTHING, has_body=True) == []


# To the backend

CROSSING = [
    "accept",
    "accept-language",
    "accept-encoding",
    "content-type",
    "content-length",
    "content-encoding",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "idempotency-key",
    "user-agent",
    "x-requested-with",
    "traceparent",
    "tracestate",
]
STAYING = [
    "cookie",
    "authorization",
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "x-auth-user",
    "x-user-id",
    "x-user-roles",
    "x-refreshed-token",
    "x-locale",
    "x-skip-auth",
    "x-middleware-subrequest",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "forwarded",
    "x-request-id",
    "x-csrf-token",
    "x-guest-token",
    "x-http-method-override",
    "x-original-url",
    "x-rewrite-url",
    "origin",
    "referer",
    "sec-fetch-site",
    "x-anything",
]


@pytest.mark.parametrize("name", CROSSING)
def test_listed_request_headers_cross_unchanged(name: str) -> None:
    # B7.3
    assert to_upstream(environ((name, "a value")), extra=NOTHING, has_body=True) == [(name, "a value")]


@pytest.mark.parametrize("name", STAYING)
def test_other_request_headers_stay(name: str) -> None:
    # B7.3, CORPUS 2, P3, P5, P6
    assert sent((name, "true")) == []


def test_dashes_and_underscores_are_one_header_in_an_environ() -> None:
    # B7.3
    assert sent(("X_Skip_Auth", "true"), ("x-auth_user", "admin"), ("Cookie", "a=b")) == []


def test_configured_request_headers_cross() -> None:
    # B7.3
    assert sent(("x-tenant", "7"), ("x-other", "8"), extra=frozenset({"x-tenant"})) == ["x-tenant"]


@pytest.mark.parametrize(
    "connection", ["x-tenant", "close, X-Tenant", "keep-alive,x-TENANT ,foo", " X-Tenant "]
)
def test_headers_named_in_connection_stay(connection: str) -> None:
    # B7.3, CORPUS 2
    headers = [("connection", connection), ("x-tenant", "7"), ("accept", "*/*")]
    assert sent(*headers, extra=frozenset({"x-tenant"})) == ["accept"]
    assert sent(*reversed(headers), extra=frozenset({"x-tenant"})) == ["accept"]


def test_every_connection_header_counts() -> None:
    headers = [("connection", "close"), ("connection", "range"), ("range", "bytes=0-"), ("accept", "*/*")]
    assert sent(*headers) == ["accept"]


def test_headers_of_a_body_stay_without_one() -> None:
    headers = [("content-type", "a/b"), ("content-length", "3"), ("content-encoding", "gzip"), ("range", "x")]
    assert sent(*headers, has_body=False) == ["range"]
    assert len(sent(*headers, has_body=True)) == 4


def test_no_accept_encoding_is_invented() -> None:
    # B7.3
    assert "accept-encoding" not in sent(("accept", "*/*"))


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b", "\x01", "a\x7f", "a\n b", "a\x0bb"])
def test_values_with_controls_never_cross(value: str) -> None:
    # CORPUS 2
    assert sent(("user-agent", value), ("accept", "*/*")) == ["accept"]
    assert returned(("etag", value), ("vary", "Cookie")) == ["vary"]


@pytest.mark.parametrize("value", ["caf\u00e9", "\xff", "a\tb", "a b", '"quoted"'])
def test_harmless_values_cross(value: str) -> None:
    assert to_upstream(environ(("user-agent", value)), extra=NOTHING, has_body=True) == [
        ("user-agent", value)
    ]
    assert from_upstream([("etag", value)], extra=NOTHING) == [("etag", value)]


# From the backend

RETURNING = [
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Content-Language",
    "Content-Disposition",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Last-Modified",
    "Expires",
    "Cache-Control",
    "Vary",
    "Location",
    "Retry-After",
    "Allow",
    "Warning",
    "Deprecation",
    "Sunset",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "x-ratelimit-remaining",
    "X-Total-Count",
    "X-Request-ID",
]
NEVER = [
    "Set-Cookie",
    "set-cookie",
    "Set-Cookie2",
    "Clear-Site-Data",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Strict-Transport-Security",
    "X-Accel-Redirect",
    "X-Accel-Buffering",
    "X-Sendfile",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]
DROPPED = [
    "Content-Security-Policy",
    "Service-Worker-Allowed",
    "Refresh",
    "Link",
    "Alt-Svc",
    "Server",
    "X-Powered-By",
    "WWW-Authenticate",
    "Date",
    "X-Auth-Refreshed",
    "Authorization",
    "SourceMap",
]


@pytest.mark.parametrize("name", RETURNING)
def test_listed_response_headers_come_back_unchanged(name: str) -> None:
    # B7.4
    assert from_upstream([(name, "a value")], extra=NOTHING) == [(name, "a value")]


@pytest.mark.parametrize("name", [*NEVER, *DROPPED])
def test_other_response_headers_are_dropped(name: str) -> None:
    # B7.4, CORPUS 7
    assert returned((name, "a value")) == []


@pytest.mark.parametrize("name", NEVER)
def test_dangerous_response_headers_are_dropped_though_configured(name: str) -> None:
    # B7.4
    assert returned((name, "a value"), extra=frozenset({name.lower()})) == []


def test_configured_response_headers_come_back() -> None:
    # B7.4
    assert returned(("Link", "<x>"), ("X-Other", "1"), extra=frozenset({"link"})) == ["link"]


def test_several_headers_of_one_name_survive_in_order() -> None:
    # B7.4, P5
    headers = [("Vary", "Accept"), ("Warning", "1"), ("Vary", "Origin"), ("Warning", "2")]
    assert from_upstream(headers, extra=NOTHING) == headers


def test_response_headers_named_in_connection_are_dropped() -> None:
    assert returned(("Connection", "ETag, close"), ("ETag", "x"), ("Vary", "y")) == ["vary"]


# Location


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("http://backend.internal:5000/v1/products/1", "/api/products/1"),
        ("http://backend.internal:5000/v1/products/1?a=b&c=%2F#top", "/api/products/1?a=b&c=%2F#top"),
        ("HTTP://BACKEND.INTERNAL:5000/v1/x", "/api/x"),
        ("//backend.internal:5000/v1/x", "/api/x"),
        ("/v1/products/1", "/api/products/1"),
        ("/v1/products/?page=2", "/api/products/?page=2"),
        ("/v1/caf%C3%A9", "/api/caf%C3%A9"),
        ("/v1/a%20b", "/api/a%20b"),
        ("/v1/x?next=https://elsewhere.example/y", "/api/x?next=https://elsewhere.example/y"),
    ],
)
def test_places_under_the_backend_are_mapped_back(value: str, place: str) -> None:
    # B7.4
    assert mapped(value) == place


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("8", "/api/cart/8"),
        ("./8", "/api/cart/8"),
        ("../orders", "/api/orders"),
        ("7/items/", "/api/cart/7/items/"),
        ("?page=2", "/api/cart/7?page=2"),
        ("x?page=2#top", "/api/cart/x?page=2#top"),
        ("../../admin", None),
        ("../../../admin", None),
        ("x/../../../admin", None),
        ("..\\..\\admin", None),
        ("%2e%2e/%2e%2e/admin", None),
    ],
)
def test_relative_places_are_relative_to_what_was_asked(value: str, place: str | None) -> None:
    # RFC 9110 10.2.2
    assert mapped(value) == place


@pytest.mark.parametrize(
    "value",
    [
        "https://evil.com/v1/x",
        "http://evil.com/",
        "http://evil.com:5000/v1/x",
        "https://backend.internal:5000/v1/x",
        "http://backend.internal/v1/x",
        "http://backend.internal:5001/v1/x",
        "http://backend.internal:500/v1/x",
        "http://backend.internal.evil.com:5000/v1/x",
        "http://backend.internal:5000@evil.com/v1/x",
        "http://user@backend.internal:5000/v1/x",
        "http://user:password@backend.internal:5000/v1/x",
        "http://backend.internal:5000\\@evil.com/v1/x",
        "http://backend.internal:99999/v1/x",
        "http://backend.internal:port/v1/x",
        "http://[::1/v1/x",
        "ftp://backend.internal:5000/v1/x",
        "file:///v1/x",
        "file:/v1/x",
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.com/v1/x",
        "///evil.com/v1/x",
        "/\\evil.com",
        "\\\\evil.com",
        "/v1\\..\\x",
        "/admin",
        "/",
        "/v1x",
        "/v1-admin/x",
        "http://backend.internal:5000/v2/x",
        "http://backend.internal:5000/",
        "http://backend.internal:5000",
        "/v1/../admin",
        "/v1/a/../../admin",
        "/v1/%2e%2e/admin",
        "/v1/..",
        "/v1/..%2fadmin",
        "/v1/%252e%252e/admin",
        "/v1/..\\admin",
        "/v1/x\r\nSet-Cookie: a=b",
        "/v1/\x00",
        "/v1//evil.com",
        "/v1/%2fevil.com",
    ],
)
def test_other_places_are_dropped(value: str) -> None:
    # B7.4, CORPUS 7
    assert mapped(value) is None


@pytest.mark.parametrize("value", ["http://backend/v1/x", "http://backend:80/v1/x", "//backend/v1/x"])
@pytest.mark.parametrize("base_url", ["http://backend/v1", "http://backend:80/v1"])
def test_default_port_is_the_same_place(value: str, base_url: str) -> None:
    assert mapped(value, base_url=base_url, request_url=f"{base_url}/y") == "/api/x"


@pytest.mark.parametrize(
    ("value", "base_url", "place"),
    [
        ("https://backend:443/x", "https://backend", "/api/x"),
        ("https://backend/x", "https://backend:443", "/api/x"),
        ("https://backend:80/x", "https://backend", None),
        ("http://backend/x", "https://backend", None),
        ("/x/y", "https://backend", "/api/x/y"),
        ("http://[::1]:5000/v1/x", "http://[::1]:5000/v1", "/api/x"),
        ("/caf%C3%A9/x", "https://backend/caf%C3%A9", "/api/x"),
    ],
)
def test_bases_of_any_shape_are_understood(value: str, base_url: str, place: str | None) -> None:
    assert mapped(value, base_url=base_url, request_url=f"{base_url}/y") == place


def test_prefix_has_the_script_name() -> None:
    # B1.6
    assert mapped("/v1/x", prefix="/shop/api") == "/shop/api/x"


@pytest.mark.parametrize("value", ["/v1/", "http://backend.internal:5000/v1/", ".."])
def test_base_itself_is_the_prefix(value: str) -> None:
    assert mapped(value) == "/api/"


_locations = st.text(st.sampled_from("/\\.:@?#%2fe5c v1xhttp:backend.internal5000\r\n\t;"), max_size=40)
_under_base = st.builds("{}{}".format, st.sampled_from(["/v1/", BASE + "/", "/v1", "//", BASE]), _locations)


@given(st.text() | _locations | _under_base)
def test_any_location_stays_under_the_prefix_or_is_dropped(value: str) -> None:
    # B7.4
    place = mapped(value)
    if place is None:
        return
    assert not re.search(r"[\x00-\x1f\x7f\\]", place)
    for reading in (place, unquote(re.split("[?#]", place)[0])):
        seen = urlsplit(urljoin("https://app.example/api/cart/7", reading))
        assert (seen.scheme, seen.netloc) == ("https", "app.example")
        assert seen.path == "/api" or seen.path.startswith("/api/")


# What is added


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "TEXT/HTML",
        "text/html; charset=utf-7",
        "text/html;charset=utf-8",
        " text/html ",
        "image/svg+xml",
        "image/SVG+xml;charset=utf-8",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "text/html, application/json",
        "application/json, text/html",
        # Browsers take the last type of a list that they understand (Fetch, "extract a MIME type").
        "application/json;charset=utf-8, text/html",
        "application/json;a=b,text/html",
        "application/a,text/html,b+json",
    ],
)
def test_active_content_is_sandboxed(content_type: str) -> None:
    # B7.4, CORPUS 7
    added = dict(protective_headers([("Content-Type", content_type)]))
    assert added == {**GUARDED, "Content-Security-Policy": SANDBOX}
    assert "sandbox" in SANDBOX
    assert "default-src 'none'" in SANDBOX


@pytest.mark.parametrize("types", [("application/json", "text/html"), ("text/html", "application/json")])
def test_any_of_several_content_types_is_sandboxed(types: tuple[str, ...]) -> None:
    added = dict(protective_headers([("content-type", content_type) for content_type in types]))
    assert added["Content-Security-Policy"] == SANDBOX


@pytest.mark.parametrize(
    "content_type", ["application/json", "image/png", "text/plain", "application/pdf", "text/css"]
)
def test_everything_else_is_only_not_sniffed(content_type: str) -> None:
    # B7.4
    assert dict(protective_headers([("Content-Type", content_type)])) == GUARDED


@pytest.mark.parametrize("headers", [[], [("Content-Type", "")], [("Content-Type", "nonsense")]])
def test_answer_without_a_known_type_is_sandboxed(headers: list[Header]) -> None:
    # CORPUS 7
    assert dict(protective_headers(headers))["Content-Security-Policy"] == SANDBOX


@pytest.mark.parametrize("value", ["a", "A-Za-z0-9._-", "x" * 64, "018f2c1e-7b6a-7c00-8000-000000000000"])
def test_harmless_request_ids_are_kept(value: str) -> None:
    # B1.7
    assert kept_request_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "x" * 65,
        "a b",
        "a\n",
        "a\r\nb",
        '"',
        "{}",
        "\xff",
        "caf\u00e9",
        "\u0661",
        "a/b",
        "a:b",
        "a,b",
        "<x>",
        "a\x00",
    ],
    ids=ascii,
)
def test_other_request_ids_are_replaced(value: str | None) -> None:
    # B1.7, CORPUS 2
    assert kept_request_id(value) is None


# A visitor's text in a header of a callback may be anything
@pytest.mark.parametrize(
    "header", [("X-Name", "Ş"), ("X-Name", "a\x00b"), ("X Name", "a"), ("set-cookie ", "a=b"), ("", "a")]
)
def test_what_cannot_stand_in_a_header_is_left_out(header: Header) -> None:
    kept = ("X-Kept", "yes")
    assert revised_answer([], [header, kept]) == [kept]
    assert revised_request([], [header, kept], has_bearer=True) == [kept]
