"""Bodies and headers through every server, both ways: the same bytes, and nothing that is not theirs to see."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
from http.client import HTTPException

import pytest

from tests.integration.wire import SILENCE

from .replies import LAST_CHUNK, bare, chunk, chunked, odd_pieces, until_closed, whole
from .sites import SAME_ORIGIN, Site, request_head
from .upstream import Reply

_RANDOM = random.Random(7)
BINARY = _RANDOM.randbytes(3_000_000)
ZIPPED = gzip.compress(b"the same text again and again " * 10_000, mtime=0)
LABELLED = _RANDOM.randbytes(5_000)
MULTIPART = b"".join(
    (
        b'--edge\r\nContent-Disposition: form-data; name="title"\r\n\r\n caf\xc3\xa9 \r\n',
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n',
        b"Content-Type: application/octet-stream\r\n\r\n" + BINARY[:100_000] + b"\r\n--edge--\r\n",
    )
)
BODIES = {
    "gzip": (ZIPPED, ["Content-Type: application/json", "Content-Encoding: gzip"]),
    "brotli": (LABELLED, ["Content-Type: text/plain", "Content-Encoding: br"]),
    "multipart": (MULTIPART, ["Content-Type: multipart/form-data; boundary=edge"]),
    "binary": (BINARY, ["Content-Type: application/octet-stream"]),
    "form": (b"a=%00&b=+&a=\xff&&", ["Content-Type: application/x-www-form-urlencoded"]),
    "line breaks": (b"\r\n\r\n0\r\n\r\n", ["Content-Type: text/plain"]),
    "empty": (b"", ["Content-Type: text/plain"]),
}
BOTH_WAYS = pytest.mark.parametrize("name", BODIES)


# B7.5
@BOTH_WAYS
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_arrives_byte_for_byte(method: str, name: str, server: Site) -> None:
    body, lines = BODIES[name]
    length = f"Content-Length: {len(body)}"
    answer = server.ask("/api/x", server.user, SAME_ORIGIN, *lines, length, method=method, body=body)
    assert answer.status == 200
    assert_uploaded(server, body, lines)


# B7.5
@BOTH_WAYS
def test_a_chunked_upload_arrives_byte_for_byte(name: str, server: Site) -> None:
    body, lines = BODIES[name]
    framed = b"".join(map(chunk, odd_pieces(body))) + LAST_CHUNK
    coding = "Transfer-Encoding: chunked"
    answer = server.ask("/api/x", server.user, SAME_ORIGIN, *lines, coding, method="POST", body=framed)
    assert answer.status == 200
    assert_uploaded(server, body, lines)


def assert_uploaded(server: Site, body: bytes, lines: list[str]) -> None:
    seen = server.upstream.only()
    assert (seen.size, seen.digest) == (len(body), hashlib.sha256(body).hexdigest())
    for name, value in (line.split(": ", 1) for line in lines):
        assert seen.values(name) == [value]


# B7.5
@BOTH_WAYS
def test_a_download_arrives_byte_for_byte(name: str, server: Site) -> None:
    body, lines = BODIES[name]
    assert_downloaded(server, whole(body, *encoded(lines)), body, lines)


# B7.5
@BOTH_WAYS
def test_a_chunked_download_arrives_byte_for_byte(name: str, server: Site) -> None:
    body, lines = BODIES[name]
    assert_downloaded(server, chunked(odd_pieces(body), *encoded(lines)), body, lines)


# B7.5
@BOTH_WAYS
def test_a_download_that_ends_with_its_connection_arrives_byte_for_byte(name: str, server: Site) -> None:
    body, lines = BODIES[name]
    assert_downloaded(server, until_closed(body, *encoded(lines)), body, lines)


def assert_downloaded(server: Site, reply: Reply, body: bytes, lines: list[str]) -> None:
    server.upstream.reply = reply
    answer = server.ask("/api/x", server.user, "Accept-Encoding: gzip, br")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    for name, value in (line.split(": ", 1) for line in lines):
        assert answer.headers.getlist(name) == [value]
    assert ("Content-Encoding" in answer.headers) is any("Encoding" in line for line in lines)


def encoded(lines: list[str]) -> list[bytes]:
    return [line.encode() for line in lines]


# B7.5
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_stays_without(status: str, server: Site) -> None:
    server.upstream.reply = bare(b'ETag: "a-b"', status=status.encode())
    with server.connect() as sock:
        sock.sendall(request_head("GET", "/api/x", server.user, 'If-None-Match: "a-b"', "Connection: close"))
        received = read_to_end(sock)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split(b" ", 1)[1].startswith(status[:3].encode())
    assert b'"a-b"' in head
    assert body == b""
    assert b"transfer-encoding" not in head.lower()
    assert status.startswith("304") or b"content-length" not in head.lower()
    server.assert_alive()


# B7.5
def test_head_says_the_length_and_sends_nothing(server: Site) -> None:
    server.upstream.reply = bare(b"Content-Length: 12345", b'ETag: "a-b"', status=b"200 OK")
    with server.connect() as sock:
        sock.sendall(request_head("HEAD", "/api/x", server.user, "Connection: close"))
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")
    assert b"\r\ncontent-length: 12345" in head.lower()
    assert body == b""
    assert server.upstream.only().method == "HEAD"
    server.assert_alive()


# B7.5, B7.3, B7.4
def test_a_range_passes(server: Site) -> None:
    lines = (b"Content-Range: bytes 5-9/1000", b"Accept-Ranges: bytes", b'ETag: "a-b"')
    server.upstream.reply = whole(b"\x00\xff567", *lines, status=b"206 Partial Content")
    answer = server.ask("/api/x", server.user, "Range: bytes=5-9", 'If-Range: "a-b"')
    assert (answer.status, answer.body) == (206, b"\x00\xff567")
    assert answer.headers["Content-Range"] == "bytes 5-9/1000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == '"a-b"'
    assert server.upstream.only().values("Range") == ["bytes=5-9"]
    assert server.upstream.only().values("If-Range") == ['"a-b"']


# B7.4
def test_several_headers_of_one_name_survive(server: Site) -> None:
    warnings = ('199 - "one, with a comma"', '299 - "two"')
    policies = ('"burst";q=5;w=1', '"day";q=1000;w=86400')
    lines = [f"Warning: {value}" for value in warnings] + [f"RateLimit-Policy: {value}" for value in policies]
    server.upstream.reply = whole(b"ok", *encoded(lines))
    answer = server.ask("/api/x", server.user)
    assert answer.headers.getlist("Warning") == list(warnings)
    assert answer.headers.getlist("RateLimit-Policy") == list(policies)


# B7.4
def test_what_is_not_for_the_browser_stays_behind(server: Site) -> None:
    lines = [
        *("Set-Cookie: a=b", "Set-Cookie: __Host-Http-api-user=stolen; Path=/; Secure", "Clear-Site-Data: *"),
        *("Connection: X-Total-Count, Upgrade", "X-Total-Count: 7", "Keep-Alive: timeout=99", "Upgrade: h2c"),
        *("Proxy-Authenticate: Basic", "Proxy-Connection: close", "Trailer: X-Sum", "TE: trailers"),
        *("Access-Control-Allow-Origin: *", "X-Accel-Redirect: /secret", "X-Sendfile: /etc/passwd"),
        *(
            "Strict-Transport-Security: max-age=1",
            "Refresh: 0; url=//evil.test",
            "Alt-Svc: h3",
            "X-Powered-By: y",
        ),
    ]
    server.upstream.reply = chunked([b"ok"], *encoded(lines))
    answer = server.ask("/api/x", server.user)
    assert (answer.status, answer.body) == (200, b"ok")
    for name in {line.partition(":")[0] for line in lines} - {"Connection"}:
        assert name not in answer.headers
    assert answer.headers.get("Connection", "close").lower() == "close"


# B7.5
def test_an_answer_cut_short_never_looks_whole(server: Site) -> None:
    server.upstream.reply = until_closed(b"x" * 150_000, b"Content-Length: 200000")
    with pytest.raises(HTTPException):
        server.ask("/api/x", server.user)
    server.assert_alive()


# B7.5
@pytest.mark.parametrize("sent", [0, 1, 50_000])
def test_an_upload_cut_short_never_looks_whole(sent: int, server: Site) -> None:
    with server.connect() as sock:
        sock.sendall(request_head("POST", "/api/x", server.user, SAME_ORIGIN, "Content-Length: 100000"))
        sock.sendall(b"x" * sent)
        sock.shutdown(socket.SHUT_WR)
        read_to_end(sock)
    assert server.upstream.seen == []
    server.assert_alive()


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    sock.settimeout(SILENCE)
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received
