"""Which headers cross the proxy, each way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.processes import Server, ShopBackend
from tests.raw_server import Peer, RawServer, Script

from .apps import serve
from .visitors import GUEST, USER, Browser
from .wire import Answer, call, connect, exchange, head, read_answer

MakeApp = Callable[..., Flask]
Pairs = list[tuple[str, str]]
EVERYTHING: dict[str, Any] = {"proxy_routes": {"**": "*"}, "proxy_public": ["**"]}


@pytest.fixture
def app(backend: ShopBackend, make_app: MakeApp) -> Flask:
    return make_app(backend, **EVERYTHING)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    backend = request.getfixturevalue("_backends")()
    with serve(backend.base_url, **EVERYTHING) as server:
        yield server


def arrived(answer: Answer) -> dict[str, str]:
    """The headers that the backend saw, by lower-case name."""
    assert answer.status == 200, answer.body
    return {name.lower(): value for name, value in answer.json()["headers"]}


def answering(*lines: bytes, body: bytes = b"ok", status: bytes = b"200 OK") -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(body, *lines, status=status)

    return script


def answer_with(make_app: MakeApp, *lines: str, body: bytes = b"ok") -> Answer:
    """What the browser gets of an upstream answer with these header lines."""
    with RawServer(answering(*(line.encode() for line in lines), body=body)) as upstream:
        return call(make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/thing")


# B7.3
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "application/json;q=0.9, */*"),
        ("Accept-Language", "tr, en;q=0.5"),
        ("Accept-Encoding", "gzip"),
        ("Content-Type", "application/x.thing; charset=utf-16"),
        ("Content-Encoding", "gzip"),
        ("If-Match", '"a", "b"'),
        ("If-None-Match", 'W/"a"'),
        ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("If-Unmodified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("If-Range", '"a"'),
        ("Range", "bytes=0-99,200-"),
        ("Idempotency-Key", "k-1"),
        ("User-Agent", "shop/1 (test; äöü)"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1,b=2"),
    ],
)
def test_a_harmless_header_is_forwarded(name: str, value: str, app: Flask) -> None:
    answer = call(app, "/api/echo", method="POST", headers=[(name, value)], body=b"x")
    assert arrived(answer)[name.lower()] == value


# B7.3
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cookie", "a=b"),
        ("Authorization", "Bearer forged"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy", "http://evil.test"),
        ("Proxy-Connection", "keep-alive"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Expect", "100-continue"),
        ("Forwarded", "for=9.9.9.9;host=evil.test"),
        ("Via", "1.1 evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-User", "admin"),
        ("X-Real-IP", "9.9.9.9"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Skip-Auth", "true"),
        ("X-Auth-User", "admin"),
        ("X-User-Id", "usr_admin"),
        ("X_User_Id", "usr_admin"),
        ("X-User-Roles", "admin"),
        ("X-Guest-Token", "forged"),
        ("X-Refreshed-Token", "forged"),
        ("X-Locale", "tr"),
        ("X-Middleware-Subrequest", "middleware"),
        ("X-CSRF-Token", "abc"),
        ("Origin", "https://evil.test"),
        ("Referer", "https://shop.test/cart?token=1"),
        ("Sec-Fetch-Site", "same-origin"),
    ],
)
def test_any_other_header_is_not_forwarded(name: str, value: str, app: Flask) -> None:
    seen = arrived(call(app, "/api/echo", headers=[(name, value)]))
    assert seen.get(name.lower().replace("_", "-"), "absent") == "absent"
    assert value not in seen.values() or value in ("true", "keep-alive")


# B7.3
def test_no_accept_encoding_is_made_up(app: Flask) -> None:
    assert "accept-encoding" not in arrived(call(app, "/api/echo"))


# Ancestor P6
@pytest.mark.parametrize("cookie", [True, False])
def test_the_bearer_of_the_client_never_arrives(
    cookie: bool, backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(
        make_app(backend, proxy_routes={"whoami": ["GET"], "echo": ["GET"]}, guest_enabled=True)
    )
    if cookie:
        browser.log_in()
    answer = browser.fetch("/api/whoami", headers={"Authorization": "Bearer x", "X-Skip-Auth": "true"})
    assert answer.status_code == 200
    assert answer.get_json()["data"]["type"] == ("user" if cookie else "guest")


# Corpus 2
@pytest.mark.parametrize("name", ["X-Auth-User", "X-User-Id", "X-User-Roles", "X-Skip-Auth", "Authorization"])
def test_a_forged_identity_changes_nobody(name: str, backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, proxy_routes={"whoami": ["GET"]}))
    assert browser.fetch("/api/whoami", headers={name: "usr_admin"}).status_code == 401
    browser.log_in()
    answer = browser.fetch("/api/whoami", headers={name: "usr_admin"})
    assert answer.get_json()["data"]["mark"] == "usr_ada"


# B7.3, RFC 9110 7.6.1
def test_a_header_that_connection_names_is_not_forwarded(app: Flask) -> None:
    headers = [
        ("Connection", "close, X-Requested-With , tracestate"),
        ("X-Requested-With", "a"),
        ("tracestate", "b=1"),
    ]
    seen = arrived(call(app, "/api/echo", headers=[*headers, ("Accept-Language", "tr")]))
    assert {"x-requested-with", "tracestate"}.isdisjoint(seen)
    assert seen["accept-language"] == "tr"


# B7.3: the layer's own headers cannot be named away
def test_connection_cannot_remove_the_bearer(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, proxy_routes={"whoami": ["GET"]}))
    browser.log_in()
    headers = {"Connection": "close, Authorization, X-Forwarded-For, Content-Length, Host"}
    assert browser.fetch("/api/whoami", headers=headers).status_code == 200


# B7.3
def test_the_cookies_of_the_layer_stay_here(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, proxy_routes={"echo": ["GET"]}))
    browser.log_in()
    answer = browser.fetch("/api/echo")
    assert "cookie" not in [name.lower() for name, _ in answer.get_json()["headers"]]
    assert browser.cookies[USER] not in answer.text
    assert GUEST not in answer.text


# B7.3
def test_the_forwarded_headers_name_the_peer(app: Flask) -> None:
    claims = [
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
    ]
    seen = arrived(call(app, "/api/echo", headers=claims, environ={"REMOTE_ADDR": "192.0.2.7"}))
    assert seen["x-forwarded-for"] == "192.0.2.7"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == "localhost"


# Corpus 2
@pytest.mark.parametrize(
    "claim",
    [
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Host: evil.test",
        "Forwarded: host=evil.test",
        "X-Real-IP: 9.9.9.9",
    ],
)
def test_a_claim_over_the_wire_is_not_forwarded(claim: str, server: Server) -> None:
    answer = exchange(server.port, head("GET", "/api/echo", claim))
    seen = arrived(answer)
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert b"evil.test" not in answer.body
    assert b"9.9.9.9" not in answer.body


# B1.7
@pytest.mark.parametrize("request_id", ["a", "A-b_c.9", "x" * 64])
def test_a_plain_request_id_is_kept(request_id: str, app: Flask) -> None:
    answer = call(app, "/api/echo", headers=[("X-Request-ID", request_id)])
    assert arrived(answer)["x-request-id"] == request_id


# B1.7
@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a\tb", "é", "a,b", 'a"b', "{}", None])
def test_any_other_request_id_is_replaced(request_id: str | None, app: Flask) -> None:
    headers = [] if request_id is None else [("X-Request-ID", request_id)]
    first = arrived(call(app, "/api/echo", headers=headers))["x-request-id"]
    second = arrived(call(app, "/api/echo", headers=headers))["x-request-id"]
    assert first != request_id
    assert first != second
    assert first.isascii()
    assert first.replace("-", "").isalnum()
    assert len(first) <= 64


# B1.7
def test_a_refusal_names_the_request(app: Flask) -> None:
    answer = call(app, "/api/../x", headers=[("X-Request-ID", "my-request")])
    assert answer.json()["request_id"] == "my-request"


# B7.3
def test_the_configuration_adds_request_headers(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_request_headers=["X-Tenant"], **EVERYTHING)
    seen = arrived(call(app, "/api/echo", headers=[("x-tenant", "blue"), ("X-Tenants", "red")]))
    assert seen["x-tenant"] == "blue"
    assert "x-tenants" not in seen


# Corpus 2
@pytest.mark.parametrize(
    "line", ["User-Agent: \xff\xfe", "X-Request-ID: \xff", "Referer: \xff", "Accept: \xff"]
)
def test_bytes_outside_ascii_break_nothing(line: str, server: Server) -> None:
    assert exchange(server.port, head("GET", "/api/echo", line)).status in (200, 400)


# Corpus 2
@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 3", "Content-Length: 4"],
        ["Content-Length: +3"],
        ["Content-Length: 0_3"],
        ["Content-Length: -1"],
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked", "Content-Length: 3"],
        ["Transfer-Encoding: identity, chunked, identity"],
        ["X-A: a\nX-Forwarded-For: 9.9.9.9"],
        ["X-A: a\rX-Forwarded-For: 9.9.9.9"],
        ["X-A: a", " X-Forwarded-For: 9.9.9.9"],
        ["X-A : a"],
        ["X-A: a\x00b"],
    ],
)
def test_an_ambiguous_request_is_read_in_one_way_or_refused(
    lines: list[str], server: Server, backend: ShopBackend
) -> None:
    data = head("POST", "/api/echo", *lines) + b"abc"
    answer = exchange(server.port, data, method="POST", half_close=True)
    assert answer.status == 200 or 400 <= answer.status < 600
    if answer.status == 200:
        assert arrived(answer)["x-forwarded-for"] == "127.0.0.1"
    assert backend.calls().get("POST echo", 0) <= 1


# Corpus 2: whoever stands between reads the other one of the two lengths
def test_a_length_beside_chunks_is_refused(server: Server, backend: ShopBackend) -> None:
    lines = ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Type: text/plain"]
    data = head("POST", "/api/echo", *lines) + b"0\r\n\r\n"
    assert exchange(server.port, data, method="POST").status == 400
    assert backend.calls() == {}


# Corpus 2: a server that does not refuse it leaves it to us
def test_a_length_beside_chunks_is_refused_by_the_app(app: Flask, backend: ShopBackend) -> None:
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    answer = call(app, "/api/echo", method="POST", body=b"abc", environ=environ)
    assert answer.status == 400
    assert backend.calls() == {}


# Corpus 2
def test_an_expectation_is_met(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(head("POST", "/api/echo", "Expect: 100-continue", "Content-Length: 3"))
        assert sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        answer = read_answer(sock, method="POST")
    assert "expect" not in arrived(answer)
    assert answer.json()["body"]["length"] == 3


# Corpus 2
@pytest.mark.parametrize(
    "line", ["X-Long: " + "y" * 9000, "Cookie: " + "; ".join(f"c{n}=v" for n in range(700))]
)
def test_large_headers_are_no_server_error(line: str, server: Server) -> None:
    assert exchange(server.port, head("GET", "/api/echo", line)).status in (200, 400, 431)


# B7.4
@pytest.mark.parametrize(
    "line",
    [
        "Content-Type: application/vnd.thing+json",
        "Content-Language: tr",
        'Content-Disposition: attachment; filename="a.pdf"',
        "Content-Range: bytes 0-1/10",
        "Content-Encoding: br",
        "Accept-Ranges: bytes",
        'ETag: W/"a-1"',
        "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
        "Expires: Thu, 01 Jan 2026 00:00:00 GMT",
        "Cache-Control: public, max-age=60",
        "Vary: Accept-Language",
        "Retry-After: 3",
        "Allow: GET, PUT",
        'Warning: 110 - "Response is Stale"',
        "Deprecation: @1688169599",
        "Sunset: Thu, 01 Jan 2026 00:00:00 GMT",
        "RateLimit: limit=10",
        "RateLimit-Policy: 10;w=60",
        "X-RateLimit-Limit: 10",
        "X-RateLimit-Something-New: 10",
        "X-Total-Count: 12",
        "X-Request-ID: abc",
    ],
)
def test_a_harmless_answer_header_passes(line: str, make_app: MakeApp) -> None:
    name, _, value = line.partition(": ")
    answer = answer_with(make_app, line)
    assert answer.status == 200
    assert answer.headers[name] == value
    assert answer.body == b"ok"


# B7.4, corpus 7
@pytest.mark.parametrize(
    "line",
    [
        "Set-Cookie: session=of-the-backend",
        'Clear-Site-Data: "*"',
        "Access-Control-Allow-Origin: *",
        "Access-Control-Expose-Headers: X",
        "Strict-Transport-Security: max-age=1",
        "Service-Worker-Allowed: /",
        "Refresh: 0;url=https://evil.test",
        "Link: </x>; rel=preload",
        'Alt-Svc: h3=":443"',
        "Server: backend/1",
        "X-Powered-By: backend",
        "X-Accel-Redirect: /protected",
        "X-Accel-Buffering: no",
        "X-Sendfile: /etc/passwd",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Trailer: X",
        "Upgrade: h2c",
        "WWW-Authenticate: Bearer",
        "X-Auth-Refreshed: 1",
        "Public-Key-Pins: x",
        "Report-To: {}",
        "NEL: {}",
        "SourceMap: /x.map",
        "Authorization: Bearer leaked",
    ],
)
def test_any_other_answer_header_is_dropped(line: str, make_app: MakeApp) -> None:
    name, _, value = line.partition(": ")
    answer = answer_with(make_app, line)
    assert answer.status == 200
    assert value not in answer.headers.getlist(name)


# B7.4, RFC 9110 7.6.1
def test_an_answer_header_that_connection_names_is_dropped(make_app: MakeApp) -> None:
    answer = answer_with(make_app, "Connection: close, X-Total-Count", "X-Total-Count: 12", "ETag: x")
    assert "X-Total-Count" not in answer.headers
    assert answer.headers["ETag"] == "x"


# B7.4
def test_the_risky_headers_of_a_real_backend(client: FlaskClient) -> None:
    answer = client.get("/api/headers")
    assert answer.headers["X-Total-Count"] == "12"
    assert answer.headers["ETag"] == '"shop-1"'
    assert answer.headers["Last-Modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    gone = (
        "Set-Cookie",
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Clear-Site-Data",
    )
    for name in (*gone, "Strict-Transport-Security", "X-Accel-Redirect", "X-Powered-By", "Link"):
        assert name not in answer.headers


# B7.4
def test_several_headers_of_one_name_survive(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend, proxy_response_headers=["Link"], **EVERYTHING).test_client()
    links = ['</v1/products?page=2>; rel="next"', '</v1/products?page=9>; rel="last"']
    assert client.get("/api/headers").headers.getlist("Link") == links


# B1.5; ancestor A17
def test_a_public_answer_may_be_cached_as_the_backend_says(client: FlaskClient) -> None:
    answer = client.get("/api/headers")
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert "Cookie" not in answer.headers.get("Vary", "")


# B1.5, corpus 7; ancestor A17
def test_a_personal_answer_is_private_whatever_the_backend_says(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(make_app(backend, proxy_routes={"headers": ["GET"]}))
    browser.log_in()
    answer = browser.fetch("/api/headers")
    assert answer.headers.getlist("Cache-Control") == ["private, no-store"]
    assert "Cookie" in answer.headers["Vary"]


# B1.5
def test_vary_of_the_backend_stays_beside_ours(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, proxy_routes={"gzip": ["GET"]}))
    browser.log_in()
    vary = ",".join(browser.fetch("/api/gzip").headers.getlist("Vary"))
    assert {name.strip() for name in vary.split(",")} == {"Accept-Encoding", "Cookie"}


# B7.4
def test_nosniff_is_always_added(client: FlaskClient) -> None:
    for path in ("/api/headers", "/api/status/500", "/api/status/204", "/api/bytes/3", "/api/nothing/here"):
        assert client.get(path).headers["X-Content-Type-Options"] == "nosniff"


# B7.4, corpus 7
@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "text/html; charset=utf-8",
        "text/html;charset=utf-7",
        "TEXT/HTML",
        " text/html ",
        "application/json, text/html",
        "text/html, application/json",
        "image/svg+xml",
        "image/svg+xml; charset=utf-8",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "application/mathml+xml",
        "application/atom+xml",
    ],
)
def test_a_document_of_the_backend_is_sandboxed(content_type: str, make_app: MakeApp) -> None:
    answer = answer_with(make_app, f"Content-Type: {content_type}", body=b"<script>alert(1)</script>")
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "allow-" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Corpus 7: browsers take the last one
def test_a_second_content_type_hides_no_document(make_app: MakeApp) -> None:
    answer = answer_with(make_app, "Content-Type: application/json", "Content-Type: text/html")
    assert answer.status == 502 or "sandbox" in answer.headers["Content-Security-Policy"]


# B7.4, corpus 7
def test_the_backends_own_policy_does_not_replace_ours(make_app: MakeApp) -> None:
    lines = (
        "Content-Type: text/html",
        "Content-Security-Policy: script-src *",
        "X-Content-Type-Options: sniff",
    )
    answer = answer_with(make_app, *lines)
    assert len(answer.headers.getlist("Content-Security-Policy")) == 1
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"]


# Corpus 7: Werkzeug would call it text/html
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_no_content_type_is_made_up(status: str, make_app: MakeApp) -> None:
    with RawServer(answering(body=b"<b>", status=status.encode())) as upstream:
        answer = call(make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/thing")
    assert "Content-Type" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def location_of(make_app: MakeApp, place: str) -> str | None:
    """What becomes of a Location; {base} is the backend's address, {host} its host and port."""

    def redirect(peer: Peer) -> None:
        peer.request()
        host = peer.server.url.removeprefix("http://")
        location = place.format(base=f"http://{host}/v1", host=host)
        peer.answer(b"", b"Location: " + location.encode(), status=b"302 Found")

    with RawServer(redirect) as upstream:
        answer = call(make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/here/redirect")
        assert upstream.connections == 1
    assert answer.status == 302
    return answer.headers.get("Location")


# B7.4
@pytest.mark.parametrize(
    ("place", "mapped"),
    [
        ("{base}/echo", "/api/echo"),
        ("{base}/echo/a%20b/?q=%2F&r#frag", "/api/echo/a%20b/?q=%2F&r#frag"),
        ("{base}/echo?next=//evil.test", "/api/echo?next=//evil.test"),
        ("/v1/echo?x=1", "/api/echo?x=1"),
        ("//{host}/v1/echo", "/api/echo"),
        ("HTTP://{host}/v1/echo", "/api/echo"),
        ("{base}/", "/api/"),
        ("there", "/api/here/there"),
        ("../there", "/api/there"),
        ("?page=2", "/api/here/redirect?page=2"),
    ],
)
def test_a_location_of_the_backend_becomes_ours(place: str, mapped: str, make_app: MakeApp) -> None:
    location = location_of(make_app, place)
    assert location is not None
    assert urljoin("/api/here/redirect", location) == mapped


# B7.4
@pytest.mark.parametrize(
    "place",
    [
        "https://evil.test/v1/x",
        "//evil.test/v1/x",
        "http://evil.test:80",
        "{base}.evil.test/x",
        "http://{host}0/v1/echo",
        "http://127.0.0.1:1/v1/x",
        "http://127.0.0.1/v1/x",
        "https://{host}/v1/echo",
        "http://user@{host}/v1/echo",
        "http://{host}@evil.test/v1/echo",
        "http://{host}.evil.test/v1/echo",
        "http://{host}/admin",
        "http://{host}/v10/x",
        "http://{host}/V1/x",
        "http://{host}",
        "/admin",
        "/",
        "../../admin",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/.%2E/admin",
        "{base}//evil.test/x",
        "/v1//evil.test",
        "/v1/\\evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/v1\\..\\admin",
        "///evil.test",
        "https:evil.test",
        "http:evil.test",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "http://[",
        "http://{host}:x/v1/",
        "http://{host}:99999/v1/",
    ],
)
def test_any_other_location_is_dropped(place: str, make_app: MakeApp) -> None:
    assert location_of(make_app, place) is None


# B7.4, corpus 7
@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_redirects_are_never_followed(status: str, make_app: MakeApp) -> None:
    with RawServer(answering()) as canary:
        line = f"Location: {canary.url}/v1/x".encode()
        with RawServer(answering(line, status=status.encode())) as upstream:
            answer = call(
                make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/thing", method="POST", body=b"x"
            )
            assert len(upstream.heads) == 1
        assert canary.connections == 0
    assert answer.status == int(status[:3])
    assert "Location" not in answer.headers


# B1.6, B7.4
def test_a_mounted_app_maps_locations_below_its_mount(app: Flask, backend: ShopBackend) -> None:
    answer = call(app, f"/shop/api/redirect?to={backend.base_url}/echo", script_name="/shop")
    assert answer.headers["Location"] == "/shop/api/echo"


# B7.4: 201 has one too
def test_the_location_of_a_new_thing_is_mapped(make_app: MakeApp) -> None:
    with RawServer(answering(b"Location: /v1/things/7", status=b"201 Created")) as upstream:
        answer = call(make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/things", method="POST")
    assert (answer.status, answer.headers["Location"]) == (201, "/api/things/7")


# Corpus 7: gunicorn answers 500 for what WSGI does not allow, and a line break would add a header
@pytest.mark.parametrize(
    "line",
    [b"ETag: a\x01b", b"ETag: a\x00b", b"ETag: a\nSet-Cookie: x=1", b"ETag: a\r\n folded", b"ETag: a\rb"],
)
def test_a_broken_answer_header_is_dropped_or_502(line: bytes, make_app: MakeApp) -> None:
    with RawServer(answering(line)) as upstream:
        answer = call(make_app(f"{upstream.url}/v1", **EVERYTHING), "/api/thing")
    assert answer.status in (200, 502)
    assert "Set-Cookie" not in answer.headers
    assert not any(ord(letter) < 32 for value in answer.headers.values() for letter in value)
