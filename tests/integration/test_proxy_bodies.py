"""Bodies through the proxy, over real sockets: every byte, at once, in constant memory, and never cut without notice."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_api_layer.transport import TransportError
from flask_api_layer.uploads import BodyBroken, client_body
from tests.processes import Server, ShopBackend
from tests.raw_server import Peer, RawServer

from .apps import serve
from .visitors import Browser
from .wire import SILENCE, Answer, call, connect, exchange, head, journal

MakeApp = Callable[..., Flask]
EVERYTHING: dict[str, Any] = {"proxy_routes": {"**": "*"}, "proxy_public": ["**"]}
MEBI = 2**20
LIMIT = 100_000
SPACIOUS = 20 * MEBI  # of memory, where 50 MiB pass


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The proxy without a limit; other views of the app accept 1,000 bytes."""
    backend = request.getfixturevalue("_backends")()
    with serve(backend.base_url, max_content_length=1000, **EVERYTHING) as server:
        yield server


class Recorder:
    """An upstream that plays ROUTES, and keeps what was uploaded: ``whole`` bodies, which it answers, and ``cut`` ones."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.cut: list[bytes] = []
        self._changed = threading.Condition()

    def __call__(self, peer: Peer) -> None:
        while start := peer.request():
            if start.startswith(b"GET"):
                return ROUTES[start.split(b" ")[1].partition(b"?")[0]](peer)
            is_chunked = b"chunked" in start.lower()
            body = _read_chunks(peer) if is_chunked else peer.read(_length(start))
            is_whole = body.endswith(b"\r\n0\r\n\r\n") if is_chunked else len(body) == _length(start)
            self._keep(self.whole if is_whole else self.cut, body)
            if not is_whole:
                return None
            peer.answer()
        return None

    def clear(self) -> None:
        self.whole.clear()
        self.cut.clear()

    def wait_for_cut(self) -> None:
        """Return when an upload was broken off."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.cut, timeout=SILENCE)

    def _keep(self, kind: list[bytes], body: bytes) -> None:
        with self._changed:
            kind.append(body)
            self._changed.notify_all()


def _length(start: bytes) -> int:
    return int(start.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)


def _read_chunks(peer: Peer) -> bytes:
    """The chunks as they are framed, up to the last one or the end of the connection."""
    body = b"\r\n"
    while not body.endswith(b"\r\n0\r\n\r\n") and (piece := peer.read(1)):
        body += piece
    return body


def _cut_length(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 150_000)


def _cut_chunks(peer: Peer) -> None:
    peer.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    )


def _cut_within_chunk(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + b"x" * 0x8000)


def _garble_chunks(peer: Peer) -> None:
    peer.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n" + b"x" * 0x8000 + b"\r\nzz\r\n"
    )


def _stream_once(peer: Peer) -> None:
    """One event, then silence until the other side leaves."""
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.send(b"9\r\ndata: 1\n\n\r\n")
    peer.read_to_end()
    LEFT.set()


def _answer_until_closed(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")


def _answer_chunks(peer: Peer) -> None:
    peer.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"
    )


def _answer_part(peer: Peer) -> None:
    peer.answer(b"bc", b"Content-Range: bytes 1-2/5", b"Accept-Ranges: bytes", status=b"206 Partial Content")


LEFT = threading.Event()
ROUTES: dict[bytes, Callable[[Peer], None]] = {
    b"/v1/cut-length": _cut_length,
    b"/v1/cut-chunks": _cut_chunks,
    b"/v1/cut-within-chunk": _cut_within_chunk,
    b"/v1/garbled-chunks": _garble_chunks,
    b"/v1/stream": _stream_once,
    b"/v1/until-closed": _answer_until_closed,
    b"/v1/chunks": _answer_chunks,
    b"/v1/part": _answer_part,
}


@pytest.fixture(scope="module")
def _recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def recorder(_recorder: Recorder) -> Recorder:
    _recorder.clear()
    return _recorder


@pytest.fixture(scope="module")
def limited(_recorder: Recorder) -> Iterator[Server]:
    """The proxy with PROXY_MAX_BODY, in front of an upstream that misbehaves."""
    with (
        RawServer(_recorder) as upstream,
        serve(f"{upstream.url}/v1", proxy_max_body=LIMIT, read_timeout=5, **EVERYTHING) as server,
    ):
        yield server


@pytest.fixture
def http(server: Server, backend: ShopBackend) -> Iterator[HTTPConnection]:
    """A connection to the proxy, behind which the backend has no faults."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=SILENCE)
    yield connection
    connection.close()


def ask(http: HTTPConnection, method: str, path: str, **options: Any) -> HTTPResponse:
    http.request(method, f"/api/{path}", **options)
    return http.getresponse()


def pattern(size: int) -> bytes:
    """What the backend's ``bytes`` endpoint sends."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def sent(answer: HTTPResponse) -> tuple[int, str]:
    """Length and checksum of the body that arrived at the backend."""
    body = answer_json(answer)["body"]
    return body["length"], body["sha256"]


def answer_json(answer: HTTPResponse) -> Any:
    assert answer.status == 200
    return json.loads(answer.read())


def checksum(body: bytes) -> tuple[int, str]:
    return len(body), hashlib.sha256(body).hexdigest()


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + (b"0\r\n\r\n" if end else b"")


# B7.5
@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 65_535, 65_536, 65_537, 1_000_003])
def test_a_download_is_byte_exact(size: int, http: HTTPConnection) -> None:
    answer = ask(http, "GET", f"bytes/{size}")
    assert answer.headers["Content-Length"] == str(size)
    assert answer.read() == pattern(size)


# B7.5; ancestor P2
@pytest.mark.parametrize("size", [0, 1, 8192, 65_536, 65_537, 1_000_003])
def test_an_upload_is_byte_exact(size: int, http: HTTPConnection) -> None:
    body = noise(size)
    assert sent(ask(http, "POST", "echo", body=body)) == checksum(body)


# B7.5; ancestor P3
def test_a_chunked_upload_is_byte_exact(http: HTTPConnection) -> None:
    parts = [noise(size) for size in (1, 70_000, 8192, 3)]
    answer = ask(
        http, "PUT", "echo", body=iter(parts), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert sent(answer) == checksum(b"".join(parts))


# B7.5
def test_an_empty_chunked_upload_arrives_empty(server: Server) -> None:
    data = head("POST", "/api/echo", "Transfer-Encoding: chunked") + chunked()
    assert exchange(server.port, data, method="POST").json()["body"]["length"] == 0


# B7.5; ancestor P2
def test_multipart_is_forwarded_and_not_parsed(http: HTTPConnection) -> None:
    boundary = "x" * 70
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="f"; filename="\xff.bin"\r\n\r\n%b\r\n'
        % (boundary.encode(), noise(n))
        for n in range(1100)
    )
    content_type = f"multipart/form-data; boundary={boundary}"
    answer = answer_json(ask(http, "POST", "echo", body=body, headers={"Content-Type": content_type}))
    assert (answer["body"]["length"], answer["body"]["sha256"]) == checksum(body)
    assert ["Content-Type", content_type] in answer["headers"]


# Corpus 6
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json; charset=utf-16", '{"a": "ü"}'.encode("utf-16")),
        ("application/json", b"\xef\xbb\xbf{}"),
        ("application/json", b'{"a": NaN, "a": 1e999, "\xff": '),
        ("application/x-www-form-urlencoded", b"a=%zz&a=b&&=c"),
        ("text/plain", b"\x00\x01\xff"),
    ],
)
def test_a_body_is_neither_parsed_nor_judged(content_type: str, body: bytes, http: HTTPConnection) -> None:
    assert sent(ask(http, "POST", "echo", body=body, headers={"Content-Type": content_type})) == checksum(
        body
    )


# Corpus 6
def test_a_compressed_upload_stays_compressed(http: HTTPConnection) -> None:
    body = gzip.compress(b"\x00" * MEBI)
    answer = answer_json(ask(http, "POST", "echo", body=body, headers={"Content-Encoding": "gzip"}))
    assert (answer["body"]["length"], answer["body"]["sha256"]) == checksum(body)


# B7.5; ancestor P9
@pytest.mark.parametrize("accepted", ["gzip", "identity", None])
def test_gzip_stays_gzip(accepted: str | None, http: HTTPConnection, backend: ShopBackend) -> None:
    http.putrequest("GET", "/api/gzip", skip_accept_encoding=True)
    if accepted:
        http.putheader("Accept-Encoding", accepted)
    http.endheaders()
    answer = http.getresponse()
    body = answer.read()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(len(body))
    assert b"compress me" in gzip.decompress(body)


# Corpus 6: a body where none is expected
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_of_get_is_not_forwarded_and_breaks_no_connection(
    method: str, http: HTTPConnection, backend: ShopBackend
) -> None:
    answer = ask(http, method, "echo", body=b"abc")
    body = answer.read()
    assert answer.status in (200, 400)
    if answer.status == 200 and method == "GET":
        assert b'"length":0' in body
    assert sent(ask(http, "POST", "echo", body=b"next")) == checksum(b"next")


# B7.5
def test_delete_may_have_a_body(http: HTTPConnection) -> None:
    assert sent(ask(http, "DELETE", "echo", body=b"why")) == checksum(b"why")


# B7.5
def test_head_has_the_length_and_no_body(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(head("HEAD", "/api/bytes/1000"))
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert b"\r\ncontent-length: 1000\r\n" in received.lower()
    assert received.endswith(b"\r\n\r\n")
    assert received.count(b"\r\n\r\n") == 1


# B7.5; ancestor P1
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(status: int, server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(head("GET", f"/api/status/{status}"))
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert received.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in received.lower()
    if status == 204:
        assert b"content-length" not in received.lower()


# B7.5
def test_the_connection_lives_on_after_answers_without_a_body(http: HTTPConnection) -> None:
    for path in ("status/204", "status/304", "bytes/0", "status/204"):
        assert ask(http, "GET", path).read() == b""
    assert ask(http, "HEAD", "bytes/10").read() == b""
    assert ask(http, "GET", "bytes/10").read() == pattern(10)


# Ancestor P1
def test_a_deletion_of_the_real_backend_is_204(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, proxy_routes={"cart/**": ["DELETE"]}))
    browser.log_in()
    answer = browser.fetch("/api/cart/items/1", method="DELETE")
    assert (answer.status_code, answer.data) == (204, b"")


# B7.4, B7.5
@pytest.mark.parametrize(
    "status", [200, 201, 202, 203, 400, 404, 409, 410, 418, 422, 429, 500, 502, 503, 599]
)
def test_the_status_of_the_backend_passes(status: int, http: HTTPConnection) -> None:
    answer = ask(http, "GET", f"status/{status}")
    assert answer.status == status
    assert f"You asked for {status}.".encode() in answer.read()


# B7.5
def test_a_conditional_request_is_304(http: HTTPConnection) -> None:
    etag = ask(http, "GET", "headers")
    etag.read()
    answer = ask(http, "GET", "headers", headers={"If-None-Match": etag.headers["ETag"]})
    assert (answer.status, answer.read()) == (304, b"")
    assert answer.headers["ETag"] == etag.headers["ETag"]


# B7.5
def test_a_part_passes(limited: Server) -> None:
    answer = exchange(limited.port, head("GET", "/api/part", "Range: bytes=1-2"))
    assert (answer.status, answer.body) == (206, b"bc")
    assert answer.headers["Content-Range"] == "bytes 1-2/5"
    assert answer.headers["Content-Length"] == "2"


# B7.5
@pytest.mark.parametrize(("path", "body"), [("until-closed", b"until the end"), ("chunks", b"abcde")])
def test_a_body_without_a_length_arrives_whole(path: str, body: bytes, limited: Server) -> None:
    answer = exchange(limited.port, head("GET", f"/api/{path}"))
    assert (answer.status, answer.body) == (200, body)
    assert "X-Sum" not in answer.headers


# B7.5, corpus 7
@pytest.mark.parametrize("path", ["cut-length", "cut-chunks", "cut-within-chunk", "garbled-chunks"])
def test_a_cut_answer_never_ends_as_if_whole(path: str, limited: Server) -> None:
    try:
        answer = exchange(limited.port, head("GET", f"/api/{path}"))
    except (HTTPException, ConnectionError):
        return
    assert answer.status == 502
    assert b"xxx" not in answer.body


# B7.5: the same to a server that sees no socket
@pytest.mark.parametrize("path", ["cut-length", "cut-chunks", "cut-within-chunk", "garbled-chunks"])
def test_a_cut_answer_raises_within_wsgi(path: str, recorder: Recorder, make_app: MakeApp) -> None:
    with RawServer(recorder) as upstream:
        app = make_app(f"{upstream.url}/v1", **EVERYTHING)
        try:
            answer = call(app, f"/api/{path}")
        except TransportError:  # the server aborts the connection for it
            return
    assert answer.status == 502


# B7.5, corpus 7
def test_a_cut_answer_of_the_real_backend_never_ends_as_if_whole(
    server: Server, backend: ShopBackend
) -> None:
    backend.fault("echo", mode="truncated", times=1)
    try:
        answer = exchange(server.port, head("GET", "/api/echo"))
    except (HTTPException, ConnectionError):
        return
    assert answer.status == 502


# B7.5, corpus 6
@pytest.mark.parametrize("size", [LIMIT + 1, 100 * MEBI, 2**63, 10**100])
def test_too_large_a_length_is_refused_before_anything_is_sent(
    size: int, limited: Server, recorder: Recorder
) -> None:
    answer = exchange(limited.port, head("POST", "/api/upload", f"Content-Length: {size}"), method="POST")
    assert_too_large(answer)
    assert recorder.whole + recorder.cut == []


# B7.5: with Expect the client waits for the verdict
def test_too_large_a_body_is_refused_instead_of_awaited(limited: Server, recorder: Recorder) -> None:
    data = head("POST", "/api/upload", f"Content-Length: {LIMIT + 1}", "Expect: 100-continue")
    assert_too_large(exchange(limited.port, data, method="POST"))
    assert recorder.whole + recorder.cut == []


# Corpus 2: a length that no server should hand over
@pytest.mark.parametrize("length", ["9" * 5000, "-1", "+3", "0_3", " 3", "3,3", "\xb2", "x"])
def test_an_odd_length_is_a_bad_request(length: str, backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, **EVERYTHING)
    answer = call(app, "/api/echo", method="POST", environ={"CONTENT_LENGTH": length})
    assert answer.status in (400, 413)
    assert backend.calls() == {}


# B7.5: as soon as the limit is passed, not when the body ends
@pytest.mark.parametrize("has_end", [True, False])
def test_too_many_chunks_are_refused_and_never_complete_upstream(
    has_end: bool, limited: Server, recorder: Recorder
) -> None:
    parts = [b"y" * 10_000] * 11
    data = head("POST", "/api/upload", "Transfer-Encoding: chunked") + chunked(*parts, end=has_end)
    assert_too_large(exchange(limited.port, data, method="POST"))
    recorder.wait_for_cut()
    assert recorder.whole == []


def assert_too_large(answer: Answer) -> None:
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "payload_too_large"


# B7.5
@pytest.mark.parametrize("frame", ["length", "chunks"])
def test_a_body_of_the_largest_size_passes(frame: str, limited: Server, recorder: Recorder) -> None:
    body = b"z" * LIMIT
    if frame == "length":
        data = head("POST", "/api/upload", f"Content-Length: {LIMIT}") + body
    else:
        data = head("POST", "/api/upload", "Transfer-Encoding: chunked") + chunked(body)
    assert exchange(limited.port, data, method="POST").status == 200
    assert [body.count(b"z") for body in recorder.whole] == [LIMIT]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SILENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


# B7.5, DESIGN 5
def test_the_limit_of_the_app_does_not_count_for_proxied_paths(http: HTTPConnection) -> None:
    body = noise(2000)
    assert sent(ask(http, "POST", "echo", body=body)) == checksum(body)
    http.request("POST", "/upload", body=body, headers={"Content-Type": "application/octet-stream"})
    answer = http.getresponse()
    answer.read()
    assert answer.status == 413


# B7.5
@pytest.mark.parametrize("length", [5000, 99_999])
def test_a_body_shorter_than_its_length_is_never_forwarded_as_complete(
    length: int, limited: Server, recorder: Recorder
) -> None:
    received = send_and_leave(
        limited, head("POST", "/api/upload", f"Content-Length: {length}") + b"x" * (length - 1)
    )
    assert b" 200 " not in received.split(b"\r\n")[0]
    assert recorder.whole == []


# B7.5: above PROXY_REPLAY_BODY it is streamed
def test_a_large_short_body_is_never_forwarded_as_complete(server: Server, backend: ShopBackend) -> None:
    data = head("POST", "/api/echo", f"Content-Length: {2 * MEBI}") + b"x" * (2 * MEBI - 1)
    assert not send_and_leave(server, data).startswith(b"HTTP/1.1 200")


# B7.5
@pytest.mark.parametrize("part", [b"x", b"x" * 65_536, b"x" * 90_000])
def test_a_cut_chunked_upload_is_never_forwarded_as_complete(
    part: bytes, limited: Server, recorder: Recorder
) -> None:
    data = head("POST", "/api/upload", "Transfer-Encoding: chunked") + chunked(part, end=False)
    received = send_and_leave(limited, data)
    assert b" 200 " not in received.split(b"\r\n")[0]
    assert recorder.whole == []


def send_and_leave(server: Server, data: bytes) -> bytes:
    """What comes back when the client ends its side too early."""
    with connect(server.port) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


# B7.5; ancestor P4
def test_the_first_event_arrives_while_the_stream_is_open(server: Server, backend: ShopBackend) -> None:
    with connect(server.port) as sock, HTTPResponse(sock) as answer:
        sock.sendall(head("GET", "/api/events?n=1000&gap=0.05"))
        answer.begin()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.readline() == b"id: 1\n"
        assert journal(backend)["open_streams"] == 1
        lines = [answer.readline() for _ in range(7)]
        assert b"id: 2\n" in lines
    wait_until(lambda: journal(backend)["open_streams"] == 0)


# B7.5: at once where the server gives the socket, though the upstream says nothing more
def test_the_upstream_is_left_when_the_client_leaves(limited: Server) -> None:
    LEFT.clear()
    with connect(limited.port) as sock, HTTPResponse(sock) as answer:
        sock.sendall(head("GET", "/api/stream"))
        answer.begin()
        assert answer.readline() == b"data: 1\n"
        assert not LEFT.is_set()
    assert LEFT.wait(4)  # below the read timeout


# B7.5
def test_a_large_download_needs_little_memory(server: Server, http: HTTPConnection) -> None:
    size, digest = 50 * MEBI, hashlib.sha256()
    ask(http, "GET", "bytes/1000000").read()
    before = peak_memory(server)
    answer = ask(http, "GET", f"bytes/{size}")
    while part := answer.read(MEBI):
        digest.update(part)
    assert digest.hexdigest() == checksum(pattern(size))[1]
    assert peak_memory(server) - before < SPACIOUS


# B7.5; ancestor P4
@pytest.mark.parametrize("frame", ["length", "chunks"])
def test_a_large_upload_needs_little_memory(frame: str, server: Server, http: HTTPConnection) -> None:
    part = noise(MEBI)
    ask(http, "POST", "echo", body=part).read()
    before = peak_memory(server)
    headers = {"Content-Length": str(50 * MEBI)} if frame == "length" else {"Transfer-Encoding": "chunked"}
    body = (part for _ in range(50))
    answer = ask(http, "POST", "echo", body=body, headers=headers, encode_chunked=frame == "chunks")
    assert sent(answer) == checksum(part * 50)
    assert peak_memory(server) - before < SPACIOUS


def peak_memory(server: Server) -> int:
    """The most memory that the worker has ever used, in bytes."""
    (worker,) = server.worker_ids
    for line in Path(f"/proc/{worker}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


# B6.8, corpus 7
@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
        b"",
    ],
)
def test_an_interim_answer_is_not_the_answer(before: bytes, make_app: MakeApp) -> None:
    def script(peer: Peer) -> None:
        while start := peer.request():
            path = start.split(b" ")[1]
            peer.send(before + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    with RawServer(script) as upstream:
        app = make_app(f"{upstream.url}/v1", **EVERYTHING)
        answers = [call(app, f"/api/user/{n}") for n in range(50)]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, f"/v1/user/{n}".encode()) for n in range(50)
    ]


# B6.8, corpus 7
@pytest.mark.parametrize(
    "odd",
    [
        b"HTTP/1.1 204 No Content\r\n\r\nbytes of somebody",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 17\r\n\r\nbytes of somebody",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 17\r\n\r\nbytes of somebody",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokbytes of somebody",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nbytes of somebody",
    ],
)
def test_left_over_bytes_never_reach_the_next_user(odd: bytes, make_app: MakeApp) -> None:
    def script(peer: Peer) -> None:
        while start := peer.request():
            path = start.split(b" ")[1]
            peer.send(odd) if path == b"/v1/odd" else peer.answer(path)

    with RawServer(script) as upstream:
        app = make_app(f"{upstream.url}/v1", **EVERYTHING)
        for n in range(20):
            assert b"somebody" not in call(app, "/api/odd").body
            answer = call(app, f"/api/user/{n}")
            assert (answer.status, answer.body) == (200, f"/v1/user/{n}".encode())


# B6.8
def test_a_head_answer_with_a_body_never_reaches_the_next_user(make_app: MakeApp) -> None:
    def script(peer: Peer) -> None:
        while start := peer.request():
            peer.answer(b"bytes of somebody" if start.startswith(b"HEAD") else start.split(b" ")[1])

    with RawServer(script) as upstream:
        app = make_app(f"{upstream.url}/v1", **EVERYTHING)
        for n in range(20):
            assert call(app, "/api/user", method="HEAD").body == b""
            assert call(app, f"/api/user/{n}").body == f"/v1/user/{n}".encode()


# B6.8
def test_every_body_carries_its_own_users_mark(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_routes={"whoami": ["GET"]}, guest_enabled=True, guest_mint_limit=None)
    browsers = [Browser(app) for _ in range(40)]
    marks = [browser.fetch("/api/whoami").get_json()["data"]["mark"] for browser in browsers]
    assert len(set(marks)) == len(browsers)
    for mode in ("status", "truncated", "garbage", "empty", "html") * 4:
        backend.fault("whoami", mode=mode, times=1, status=503 if mode == "status" else None)
    failures: list[object] = []

    def visit(browser: Browser, mark: str) -> None:
        for _ in range(6):
            try:
                answer = browser.fetch("/api/whoami")
            except Exception:  # a truncated answer
                continue
            found = answer.get_json(silent=True)
            if answer.status_code == 200 and found and found["data"]["mark"] != mark:
                failures.append((mark, found))

    threads = [threading.Thread(target=visit, args=pair) for pair in zip(browsers, marks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert backend.calls("GET whoami") >= 200


# B7.5: the body itself, since the transport would not send a short one as complete either
@pytest.mark.parametrize("body", [b"", b"abcd"])
def test_a_body_that_ends_early_is_broken(body: bytes) -> None:
    environ = {"CONTENT_LENGTH": "5", "wsgi.input": io.BytesIO(body)}
    upload = client_body(environ, "POST", limit=None, keep=100)
    assert upload is not None
    with pytest.raises(BodyBroken) as broken:
        list(upload)
    assert broken.value.code == "bad_request"
    assert upload.copy is None
