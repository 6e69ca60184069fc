"""What paths cross the proxy, in process and over raw sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from flask import Flask

from tests.processes import Server, ShopBackend

from .apps import serve
from .wire import Answer, call, connect, exchange, head, read_answer

EVERYTHING: dict[str, Any] = {"proxy_routes": {"**": "*"}, "proxy_public": ["**"]}
Fetch = Callable[[str], Answer]

REFUSED = (
    # dot segments, raw
    *("/api/../admin", "/api/..", "/api/.", "/api/./x", "/api/x/.", "/api/a/../../admin", "/api/echo/.."),
    *("/api/echo/../echo", "/api/echo/../"),
    # dot segments, encoded once, twice, three times
    *("/api/%2e%2e/admin", "/api/.%2e/x", "/api/%2E./x", "/api/%2e/x", "/api/echo/%2e%2e"),
    *("/api/%252e%252e/x", "/api/echo/%252e", "/api/%25252e%25252e/x", "/api/.%252e/x"),
    *("/api/..%2fadmin", "/api/a%2f..%2f..%2fadmin", "/api/echo/..%2F..%2Fadmin", "/api/..%252fadmin"),
    # dot segments that end in parameters, which some backends cut off
    *("/api/..;/admin", "/api/echo/..;x=1/admin", "/api/%2e%2e;/admin"),
    # backslashes
    *("/api/a%5c..%5cb", "/api/..\\admin", "/api/a\\b", "/api/echo/%5c", "/api/a%255cb"),
    # controls
    *("/api/a%00b", "/api/x%01y", "/api/x%7f", "/api/%00", "/api/a%09b", "/api/a%0ab", "/api/a%0d%0aX:%20y"),
    *("/api/a%1fb", "/api/a%2500b", "/api/a%C2%85b"),
    # empty segments
    *("/api//b", "/api/a//b", "/api/echo//", "/api/%2f%2fevil.com/", "/api//evil.com/", "/api///"),
    # no UTF-8
    *("/api/%c0%ae%c0%ae/x", "/api/%ff", "/api/%ed%a0%80", "/api/echo/%c3", "/api/%c0%af"),
    # compatibility characters that become dots or slashes
    *("/api/%EF%BC%8E%EF%BC%8E/x", "/api/%E2%80%A4%E2%80%A4/x", "/api/%E2%80%A5/x", "/api/a%EF%BC%8Fb"),
    *("/api/%E2%84%80", "/api/%EF%B9%92%EF%B9%92/x"),
)
# Only a server that gives the raw target shows these.
REFUSED_RAW = (
    *("/api/a%2fb", "/api/echo/a%2Fb", "/api/echo%2fx", "/api/http:%2f%2fevil.com"),
    *("/api/%", "/api/%zz", "/api/%u002e", "/api/echo/a%2", "/api/echo/%%32e"),
)
PASSED = (
    *("caf%C3%A9", "100%25", "a%20b", "a+b", "a%2Bb", "a%23frag", "a%3Fb", "a%26b=c", "a;b=c", "a:b", "a@b"),
    *(
        "v1..2",
        "...",
        "....",
        "..a",
        "a..",
        ".well-known",
        "a.b",
        "~ada",
        "a/b/c",
        "a/",
        "%E2%82%AC",
        "a%3Bb",
    ),
    *("!$&'()*,=", "%F0%9F%98%80", "(a", "a%22b", "a%3Cb%3E", "a%7Cb"),
)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    backend = request.getfixturevalue("_backends")()
    with serve(backend.base_url, **EVERYTHING) as server:
        yield server


@pytest.fixture
def app(backend: ShopBackend, make_app: Callable[..., Flask]) -> Flask:
    return make_app(backend, **EVERYTHING)


@pytest.fixture(params=["in process", "gunicorn"])
def fetch(request: pytest.FixtureRequest, app: Flask) -> Fetch:
    if request.param == "in process":
        return lambda target: call(app, target)
    port = request.getfixturevalue("server").port
    return lambda target: exchange(port, head("GET", target))


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers


# B7.2, corpus 1
@pytest.mark.parametrize("target", REFUSED + REFUSED_RAW)
def test_a_hostile_path_is_refused_and_nothing_is_sent(
    target: str, fetch: Fetch, backend: ShopBackend
) -> None:
    assert_refused(fetch(target), 400, "bad_path")
    assert backend.calls() == {}


# B7.2
@pytest.mark.parametrize("target", REFUSED)
def test_a_hostile_path_is_refused_without_a_raw_target(
    target: str, app: Flask, backend: ShopBackend
) -> None:
    assert_refused(call(app, target, has_raw_target=False), 400, "bad_path")
    assert backend.calls() == {}


# B7.2
def test_an_encoded_slash_that_no_server_shows_separates_segments(app: Flask) -> None:
    answer = call(app, "/api/echo/a%2fb", has_raw_target=False)
    assert answer.json()["raw_target"] == "/v1/echo/a/b"


# B7.2
@pytest.mark.parametrize("path", PASSED)
def test_an_odd_but_harmless_path_arrives_as_it_is(path: str, fetch: Fetch, backend: ShopBackend) -> None:
    answer = fetch(f"/api/echo/{path}")
    assert answer.status == 200
    sent = answer.json()["raw_target"]
    assert unquote_to_bytes(sent) == unquote_to_bytes(f"/v1/echo/{path}")
    assert urlsplit(sent).path == sent
    assert backend.calls() == {"GET echo/<rest>": 1}


# B7.2
@pytest.mark.parametrize("path", [path for path in PASSED if "%" not in path])
def test_an_odd_path_arrives_without_a_raw_target_too(path: str, app: Flask) -> None:
    answer = call(app, f"/api/echo/{path}", has_raw_target=False)
    assert unquote_to_bytes(answer.json()["raw_target"]).decode() == f"/v1/echo/{path}"


# B7.2
def test_the_query_is_forwarded_byte_for_byte(fetch: Fetch) -> None:
    query = "a=%00&b=..%2f&c=%zz&c=2&d=a+b&e=%26&f=%2e%2E&g=%c3%A9&&h=//x/../y&="
    assert fetch(f"/api/echo?{query}").json()["query"] == query


# B7.2
def test_a_question_mark_in_the_query_belongs_to_it(fetch: Fetch) -> None:
    assert fetch("/api/echo?a=b?c=d").json()["raw_target"] == "/v1/echo?a=b?c=d"


# B7.2
@pytest.mark.parametrize(
    "path", ["x" * 5000, "x" * 9000, "x/" * 2000, "x/" * 128 + "x", "%41" * 1400, "x" * 4097]
)
def test_a_path_that_is_too_long_is_414(path: str, app: Flask, backend: ShopBackend) -> None:
    assert_refused(call(app, f"/api/{path}"), 414, "uri_too_long")
    assert backend.calls() == {}


# Corpus 1: a server without a limit of its own hands over anything, and looking at it must not take long
@pytest.mark.parametrize("target", ["/api/" + "x" * 100_000, "/api/%2e%2e/x?" + "x" * 100_000])
def test_a_huge_target_is_refused(target: str, app: Flask, backend: ShopBackend) -> None:
    assert call(app, target).status in (400, 414)
    assert backend.calls() == {}


# B7.2
def test_a_long_path_within_the_limits_is_forwarded(app: Flask) -> None:
    path = "echo/" + "a/" * 120 + "b" * 3000
    assert call(app, f"/api/{path}").json()["raw_target"] == f"/v1/{path}"


# B7.2
@pytest.mark.parametrize("size", [5000, 9000])
def test_no_server_forwards_a_path_that_is_too_long(size: int, server: Server, backend: ShopBackend) -> None:
    assert exchange(server.port, head("GET", "/api/" + "x" * size)).status in (400, 404, 414)
    assert backend.calls() == {}


# B7.2: a middleware may have rewritten the path
@pytest.mark.parametrize("raw", ["/api/echo/other", "/x/../api/echo/real", "*", "", "http://[", "/api/%zz"])
def test_a_raw_target_that_says_something_else_is_not_believed(raw: str, app: Flask) -> None:
    answer = call(app, "/api/echo/real", environ={"RAW_URI": raw})
    assert answer.json()["raw_target"] == "/v1/echo/real"


# B7.2
@pytest.mark.parametrize("raw", ["/shop/api/echo/a%20b?q=1", "/api/echo/a%20b?q=1"])
def test_the_raw_target_of_a_mounted_app_may_or_may_not_name_the_mount(raw: str, app: Flask) -> None:
    answer = call(app, "/shop/api/echo/a%20b?q=1", script_name="/shop", environ={"RAW_URI": raw})
    assert answer.json()["raw_target"] == "/v1/echo/a%20b?q=1"


# B7.2
def test_a_mounted_app_sees_the_encoded_slash_too(app: Flask, backend: ShopBackend) -> None:
    assert_refused(call(app, "/shop/api/echo/a%2fb", script_name="/shop"), 400, "bad_path")
    assert backend.calls() == {}


# B7.2: waitress calls it REQUEST_URI
def test_the_raw_target_has_two_names(app: Flask, backend: ShopBackend) -> None:
    environ = {"REQUEST_URI": "/api/echo/a%2fb"}
    assert_refused(call(app, "/api/echo/a%2fb", has_raw_target=False, environ=environ), 400, "bad_path")
    assert backend.calls() == {}


# Corpus 1
def test_an_absolute_target_never_reaches_its_host(server: Server, backend: ShopBackend) -> None:
    answer = exchange(server.port, head("GET", "http://evil.test/api/echo/x"))
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert answer.json()["raw_target"] == "/v1/echo/x"
        assert b"evil.test" not in answer.body
        assert backend.calls() == {"GET echo/<rest>": 1}


# Corpus 1
@pytest.mark.parametrize("target", ["api/echo", "x:/api/echo", "*", "echo", "//evil.test/api/echo", "?x"])
def test_a_target_that_is_no_path_reaches_nobody(target: str, server: Server, backend: ShopBackend) -> None:
    answer = exchange(server.port, head("GET", target))
    assert 300 <= answer.status < 500
    assert b"evil.test" not in answer.body
    assert urlsplit(answer.headers.get("Location", "/")).netloc in ("", "localhost")
    assert backend.calls() == {}


# Corpus 1
def test_an_url_in_the_path_stays_in_the_path(fetch: Fetch, backend: ShopBackend) -> None:
    assert_refused(fetch("/api/http://evil.test/x"), 400, "bad_path")
    assert backend.calls() == {}


# Corpus 1
def test_a_fragment_is_not_forwarded(server: Server) -> None:
    answer = exchange(server.port, head("GET", "/api/echo/a#frag"))
    assert answer.status == 400 or answer.json()["raw_target"] == "/v1/echo/a"


# Corpus 1
def test_bytes_outside_ascii_arrive_encoded_or_not_at_all(server: Server) -> None:
    answer = exchange(server.port, head("GET", "/api/echo/caf\xc3\xa9"))
    assert answer.status == 400 or answer.json()["raw_target"] == "/v1/echo/caf%C3%A9"


# Corpus 1
def test_the_prefix_is_case_sensitive(fetch: Fetch, backend: ShopBackend) -> None:
    assert fetch("/API/echo").status == 404
    assert backend.calls() == {}


# Corpus 1
@pytest.mark.parametrize("target", ["/%61pi/echo", "/ap%69/echo", "/api/%65cho", "//api/echo", "///api/echo"])
def test_another_spelling_of_the_prefix_passes_the_same_gate(
    target: str, backend: ShopBackend, make_app: Callable[..., Flask]
) -> None:
    app = make_app(backend, proxy_routes={"echo": ["GET"]})
    assert_refused(call(app, target), 401, "login_required")
    assert backend.calls() == {}


# Corpus 1
@pytest.mark.parametrize(
    "target", ["/./api/echo", "/x/../api/echo", "///api/../x", "//evil.test/../api/echo"]
)
def test_a_detour_to_the_prefix_opens_nothing(target: str, fetch: Fetch, backend: ShopBackend) -> None:
    answer = fetch(target)
    assert answer.status in (400, 404)
    assert backend.calls() == {}


# Corpus 1
@pytest.mark.parametrize(
    "target", ["//evil.test", "//evil.test/", "//evil.test//api/echo", "/api//evil.test"]
)
def test_no_redirect_goes_to_a_host_from_the_path(target: str, fetch: Fetch, backend: ShopBackend) -> None:
    assert urlsplit(fetch(target).headers.get("Location", "/")).netloc in ("", "localhost")
    assert backend.calls() == {}


# Corpus 1
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get", "post", "Get", "PROPFIND"])
def test_no_server_forwards_an_odd_method(method: str, server: Server, backend: ShopBackend) -> None:
    answer = exchange(server.port, head(method, "/api/echo"), method=method)
    assert answer.status in (400, 405, 501)
    assert backend.calls() == {}


# Corpus: the next good request works
def test_a_good_request_works_after_a_hostile_one_on_the_same_connection(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(b"GET /api/%2e%2e/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(sock).status == 400
        sock.sendall(head("GET", "/api/echo"))
        assert read_answer(sock).status == 200
