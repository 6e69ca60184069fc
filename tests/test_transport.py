"""The transport against a server that says exactly what it is told to."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import json
import logging
import multiprocessing
import queue
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.transport import (
    MAX_BODY,
    Garbled,
    Reply,
    StreamedReply,
    TimedOut,
    Transport,
    TransportError,
    Unreachable,
    connections,
)
from flask_api_layer.transport.framing import Chunked, build_request, parse_head
from flask_api_layer.transport.replies import make_reply

from .raw_server import Peer, RawServer, Script

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GARBLED = {
    "noise": b"\x00\x01\x02garbage",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Odd\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Odd\r\n\r\n",
    "status 20": b"HTTP/1.1 20 Odd\r\n\r\n",
    "status 0": b"HTTP/1.1 0 Odd\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Odd\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "bare CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "120 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(120)) + b"\r\n",
    "70 KB header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 140_000,
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 50,
    "two different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length with underscore": b"HTTP/1.1 200 OK\r\nContent-Length: 0_2\r\n\r\nok",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    "only bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "control in a value": b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok",
    "no name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
    "chunk size negative": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "chunk size with prefix": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "chunk size with underscore": CHUNKED + b"0_2\r\nok\r\n0\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "chunk size huge": CHUNKED + b"f" * 40 + b"\r\nok\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nok!!\r\n0\r\n\r\n",
    "chunk line without end": CHUNKED + b"2;" + b"x" * 9000,
    "chunk line with bare LF": CHUNKED + b"2\nok\n0\n\n",
    "bad gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "cut gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
    + gzip.compress(b"x" * 99)[:20],
    "unknown content coding": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nnope",
    "six content codings": b"HTTP/1.1 200 OK\r\nContent-Encoding: "
    + b"gzip, " * 5
    + b"gzip\r\nContent-Length: 4\r\n\r\nnope",
}
CUT_SHORT = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head without its empty line": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789",
    "half a chunk": CHUNKED + b"64\r\n0123456789",
    "no last chunk": CHUNKED + b"2\r\nok\r\n",
    "no end of trailers": CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n",
    "only an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


_opened: list[Transport] = []


def connect(base_url: str, **options: Any) -> Transport:
    """A transport that is closed after the test."""
    _opened.append(Transport(base_url, **options))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_transports() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def says(data: bytes) -> RawServer:
    """A server that answers every first request with ``data`` and hangs up."""

    def script(peer: Peer) -> None:
        if peer.request():
            peer.send(data)

    return RawServer(script)


def get(transport: Transport, target: str = "/x") -> StreamedReply:
    return transport.stream("GET", target, headers=[])


@pytest.fixture
def echo() -> Iterator[tuple[RawServer, Transport]]:
    with RawServer(Peer.keep_answering) as server:
        transport = connect(server.url)
        yield server, transport


def test_connection_is_reused_by_calls_and_streams(echo: tuple[RawServer, Transport]) -> None:
    server, transport = echo
    assert transport.call("GET", "a").body == b"/a"
    assert get(transport, "/b").read_small(10) == b"/b"
    assert b"".join(get(transport, "/c")) == b"/c"
    assert transport.call("POST", "d", json={}).body == b"/d"
    assert server.connections == 1


def test_chunked_answers_leave_the_connection_usable() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(CHUNKED + b"2;ext=1\r\nok\r\n3\r\n!!!\r\n0\r\nTrailer: x\r\n\r\n")

    with RawServer(script) as server:
        transport = connect(server.url)
        for _ in range(3):
            assert b"".join(get(transport)) == b"ok!!!"
            assert transport.call("GET", "x").body == b"ok!!!"
        assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_connection_that_ends_is_not_kept(head: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head + b"ok")
        assert peer.read_to_end() == b""

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        assert transport.call("POST", "first").body == b"ok"
        assert transport.call("POST", "second").body == b"/second"


def test_connection_closed_by_the_server_is_noticed_before_use() -> None:
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.answer()
        peer.sock.close()
        closed.set()

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        transport.call("GET", "x")
        assert closed.wait(5)
        assert transport.call("POST", "again").body == b"/again"


def closes_after_reading(peer: Peer) -> None:
    peer.request()
    peer.answer()
    peer.request()


def test_safe_request_is_repeated_once_when_a_kept_connection_dies() -> None:
    with RawServer(closes_after_reading, Peer.keep_answering) as server:
        transport = connect(server.url)
        transport.call("GET", "x")
        assert transport.call("GET", "again").body == b"/again"
        assert [head.split(b" ")[1] for head in server.heads] == [b"/x", b"/again", b"/again"]


@pytest.mark.parametrize(
    ("method", "body"), [("POST", None), ("PATCH", None), ("PUT", b"x"), ("DELETE", b"x"), ("GET", b"x")]
)
def test_unsafe_request_is_never_repeated(method: str, body: bytes | None) -> None:
    with RawServer(closes_after_reading, Peer.keep_answering) as server:
        transport = connect(server.url)
        transport.call("GET", "x")
        with pytest.raises(Unreachable):
            transport.stream(method, "/again", headers=[], body=body)
        assert len(server.heads) == 2


def test_failure_on_a_fresh_connection_is_not_repeated() -> None:
    with says(b"") as server:
        with pytest.raises(Unreachable):
            get(connect(server.url))
        assert server.connections == 1


def test_failure_after_the_first_byte_is_not_repeated() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer()
        peer.request()
        peer.send(b"HTTP/1.1 2")

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        transport.call("GET", "x")
        with pytest.raises(Unreachable):
            transport.call("GET", "again")
        assert server.connections == 1


def test_old_connections_are_not_used(
    echo: tuple[RawServer, Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, transport = echo
    transport.call("GET", "x")
    monkeypatch.setattr(connections, "MAX_IDLE_UNREPEATABLE", 0.0)
    transport.call("GET", "x")
    assert server.connections == 1
    transport.call("POST", "x")
    assert server.connections == 2
    monkeypatch.setattr(connections, "MAX_IDLE", 0.0)
    transport.call("GET", "x")
    assert server.connections == 3


def test_pool_keeps_at_most_its_size() -> None:
    with RawServer(Peer.keep_answering) as server:
        transport = connect(server.url, pool_size=1)
        open_at_once = [transport.stream("GET", "/x", headers=[]) for _ in range(3)]
        for reply in open_at_once:
            assert reply.read_small(10) == b"/x"
        assert len(transport._pool._idle) == 1
        transport.close()
        assert len(transport._pool._idle) == 0


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_answers_are_skipped(interim: bytes) -> None:  # B6.8
    def script(peer: Peer) -> None:
        while head := peer.request():
            peer.send(b"HTTP/1.1 " + interim + b"\r\nLink: </x>\r\n\r\n")
            time.sleep(0.01)
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            peer.answer(head.split(b" ")[1])

    with RawServer(script) as server:
        transport = connect(server.url)
        for path in ("/a", "/b"):
            assert get(transport, path).read_small(10) == path.encode()
            assert transport.call("GET", path).body == path.encode()
        assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_body_where_none_belongs_reaches_nobody(method: str, answer: bytes, is_late: bool) -> None:  # B6.8
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer if is_late else answer + b"late")
        if is_late:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        reply = transport.stream(method, "/x", headers=[])
        assert reply.read_small(0) == b""
        assert list(reply) == []
        assert transport.call("GET", "own").body == b"/own"


def test_not_modified_keeps_the_connection() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')

    with RawServer(script) as server:
        transport = connect(server.url)
        for _ in range(3):
            assert get(transport).status == 304
        assert server.connections == 1


@pytest.mark.parametrize(
    ("framed", "content"),
    [
        (b"Content-Length: 2\r\n\r\nok", b"ok"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
def test_bytes_after_a_complete_answer_reach_nobody(framed: bytes, content: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n" + framed + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
        peer.request()

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        assert b"".join(get(transport)) == content
        assert transport.call("POST", "own").body == b"/own"


def test_two_threads_never_see_each_others_answers(echo: tuple[RawServer, Transport]) -> None:  # B6.8
    _, transport = echo

    def ask(mark: str) -> list[bytes]:
        bodies = []
        for n in range(100):
            path = f"/{mark}/{n}"
            bodies.append(b"".join(get(transport, path)) if n % 2 else transport.call("GET", path).body)
        return bodies

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, "abcd"))
    assert answers == [[f"/{mark}/{n}".encode() for n in range(100)] for mark in "abcd"]


def ask_in_child(transport: Transport, answers: multiprocessing.SimpleQueue[bytes]) -> None:
    answers.put(transport.call("GET", "child").body)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_uses_connections_of_its_own(echo: tuple[RawServer, Transport]) -> None:
    server, transport = echo
    transport.call("GET", "before")
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=ask_in_child, args=(transport, answers))
    child.start()
    assert answers.get() == b"/child"
    child.join()
    answers.close()
    assert transport.call("GET", "after").body == b"/after"
    assert server.connections == 2


@pytest.mark.parametrize("answer", GARBLED.values(), ids=GARBLED.keys())
def test_garbled_answer_is_refused(answer: bytes) -> None:
    with says(answer) as server, pytest.raises(Garbled) as caught:
        connect(server.url).call("GET", "x")
    assert "nope" not in str(caught.value)
    assert "garbage" not in str(caught.value)


@pytest.mark.parametrize("answer", [data for name, data in GARBLED.items() if name.startswith("chunk size")])
def test_garbled_chunks_end_a_stream(answer: bytes) -> None:
    with says(answer) as server, pytest.raises(Garbled):
        list(get(connect(server.url)))


@pytest.mark.parametrize("answer", CUT_SHORT.values(), ids=CUT_SHORT.keys())
def test_answer_that_is_cut_short_never_ends_as_if_whole(answer: bytes) -> None:  # B7.5
    with says(answer) as server:
        transport = connect(server.url)
        with pytest.raises(Unreachable):
            transport.call("GET", "x")
        with pytest.raises(Unreachable):
            list(get(transport))
        assert not transport._pool._idle


def test_answer_without_length_ends_with_the_connection() -> None:
    with says(b"HTTP/1.0 200 OK\r\n\r\nold style") as server:
        transport = connect(server.url)
        assert transport.call("GET", "x").body == b"old style"
        reply = get(transport)
        assert reply.read_small(1000) is None
        assert b"".join(reply) == b"old style"


def test_refused_connection_and_unknown_host_are_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for base in (url, "http://host.invalid", f"http://{'a' * 70}.invalid"):
        with pytest.raises(Unreachable):
            connect(base).call("GET", "x")
        with pytest.raises(Unreachable):
            get(connect(base))


def trickles(first: bytes) -> RawServer:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(first)
        while True:
            time.sleep(0.02)
            peer.send(b"a")

    return RawServer(script)


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", CHUNKED + b"fff\r\n"],
    ids=["head", "body", "chunk"],
)
def test_total_deadline_ends_a_trickling_answer(first: bytes) -> None:
    with trickles(first) as server, pytest.raises(TimedOut):
        connect(server.url, total_timeout=0.3).call("GET", "x")


def test_total_deadline_ends_trickling_heads_and_small_bodies_of_streams() -> None:
    with trickles(b"HTTP/1.1 200 OK\r\nX: ") as server, pytest.raises(TimedOut):
        get(connect(server.url, total_timeout=0.3))
    with trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n") as server, pytest.raises(TimedOut):
        get(connect(server.url, total_timeout=0.3)).read_small(65536)


def test_streamed_body_may_take_longer_than_the_total() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(CHUNKED)
        for _ in range(10):
            time.sleep(0.05)
            peer.send(b"1\r\nx\r\n")
        peer.send(b"0\r\n\r\n")

    with RawServer(script) as server:
        transport = connect(server.url, total_timeout=0.2)
        assert b"".join(get(transport)) == b"x" * 10


def test_slow_upload_may_take_longer_than_the_total() -> None:
    def slowly() -> Iterator[bytes]:
        for _ in range(10):
            time.sleep(0.05)
            yield b"x"

    received: list[bytes] = []
    with takes_upload(received) as server:
        transport = connect(server.url, total_timeout=0.2)
        assert (
            transport.stream("POST", "/x", headers=[("Content-Length", "10")], body=slowly()).read_small(9)
            == b"ok"
        )
    assert received == [b"x" * 10]


def goes_silent(answer: bytes) -> RawServer:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer)
        peer.read_to_end()

    return RawServer(script)


def test_silence_is_a_timeout() -> None:
    with goes_silent(b"") as server:
        transport = connect(server.url, read_timeout=0.1)
        with pytest.raises(TimedOut):
            transport.call("GET", "x")
        with pytest.raises(TimedOut):
            get(transport)
    with goes_silent(b"") as server:
        began = time.monotonic()
        with pytest.raises(TimedOut):
            get(connect(server.url, read_timeout=10, total_timeout=0.1))
        assert time.monotonic() - began < 5
    with goes_silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as server:
        reply = get(connect(server.url, read_timeout=0.1))
        with pytest.raises(TimedOut):
            list(reply)


def test_call_timeout_replaces_the_other_limits() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        time.sleep(0.3)
        peer.answer()

    with RawServer(script) as server:
        transport = connect(server.url, read_timeout=0.1, total_timeout=0.1)
        assert transport.call("GET", "x", timeout=5).body == b"ok"
        with pytest.raises(TimedOut):
            transport.call("GET", "x")
        with pytest.raises(TimedOut):
            connect(server.url).call("GET", "x", timeout=0.1)


def waits(stop: threading.Event) -> Script:
    def script(_: Peer) -> None:
        stop.wait(10)

    return script


def test_upload_that_nobody_reads_is_a_timeout() -> None:
    stop = threading.Event()
    with RawServer(waits(stop)) as server:
        transport = connect(server.url, read_timeout=0.2)
        with pytest.raises(TimedOut):
            transport.stream("POST", "/x", headers=[], body=(b"x" * 65536 for _ in range(1000)))
        with pytest.raises(TimedOut):
            transport.stream("POST", "/x", headers=[], body=b"x" * 60_000_000)
        stop.set()


def test_handshake_that_hangs_is_a_timeout() -> None:
    stop = threading.Event()
    with RawServer(waits(stop)) as server:
        base = server.url.replace("http:", "https:")
        with pytest.raises(TimedOut):
            get(connect(base, connect_timeout=0.2))
        stop.set()


def test_first_event_is_out_when_it_came_and_silence_is_allowed() -> None:  # B7.5
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"9\r\ndata: 1\n\n\r\n")
        assert go_on.wait(10)
        peer.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    with RawServer(script) as server:
        transport = connect(server.url, read_timeout=0.1)
        events = iter(get(transport))
        assert next(events) == b"data: 1\n\n"
        threading.Timer(0.3, go_on.set).start()
        assert list(events) == [b"data: 2\n\n"]


def test_first_byte_of_a_sized_body_is_not_held_back() -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\nx")
        assert go_on.wait(10)
        peer.send(b"x" * 199_999)

    with RawServer(script) as server:
        transport = connect(server.url)
        reply = get(transport)
        assert reply.read_small(65536) is None
        pieces = iter(reply)
        assert next(pieces) == b"x"
        go_on.set()
        rest = list(pieces)
        assert sum(map(len, rest)) == 199_999
        assert max(map(len, rest)) <= 65536


@pytest.mark.parametrize("read_first", [False, True])
def test_closing_half_way_closes_the_socket(read_first: bool) -> None:
    seen = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(CHUNKED + b"2\r\nok\r\n")
        peer.read_to_end()
        seen.set()

    with RawServer(script, Peer.keep_answering) as server:
        transport = connect(server.url)
        reply = get(transport)
        if read_first:
            assert next(iter(reply)) == b"ok"
        reply.close()
        reply.close()
        assert seen.wait(5)
        with pytest.raises(Unreachable):
            list(reply)
        assert transport.call("GET", "own").body == b"/own"


def test_close_wakes_a_thread_that_waits_for_an_event() -> None:
    with goes_silent(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n") as server:
        reply = get(connect(server.url))
        pieces = iter(reply)
        assert next(pieces) == b"data: 1\n\n"
        threading.Timer(0.1, reply.close).start()
        with pytest.raises((Unreachable, StopIteration)):
            next(pieces)


def test_closing_a_finished_reply_leaves_its_connection_alone(echo: tuple[RawServer, Transport]) -> None:
    server, transport = echo
    finished = get(transport, "/a")
    assert list(finished) == [b"/a"]
    current = get(transport, "/b")
    finished.close()
    assert list(finished) == []
    assert list(current) == [b"/b"]
    assert server.connections == 1


def test_headers_of_one_name_stay_apart_and_encodings_untouched() -> None:
    packed = gzip.compress(b"hello")
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: A\r\nvary:B \r\nX: caf\xe9\r\nContent-Length: %d\r\n\r\n"
        % len(packed)
    )
    with says(head + packed) as server:
        reply = get(connect(server.url))
        assert reply.headers[:4] == (
            ("Content-Encoding", "gzip"),
            ("Vary", "A"),
            ("vary", "B"),
            ("X", "café"),
        )
        assert b"".join(reply) == packed


@pytest.mark.parametrize(
    "target",
    ["/v1/a%2Fb/../x%zz", "/v1//x/./y/%2e%2e?a=%00&b=..%2f&c=%zz&c=2&d=a+b&e=%26", '/a?\xfc[]{}|\\^`"<>'],
)
def test_target_goes_out_byte_for_byte(echo: tuple[RawServer, Transport], target: str) -> None:
    server, transport = echo
    assert get(transport, target).read_small(1000) == target.encode("latin-1")
    assert server.heads == [f"GET {target} HTTP/1.1\r\nHost: {transport.origin.netloc}".encode("latin-1")]


def test_headers_go_out_as_given_with_nothing_added(echo: tuple[RawServer, Transport]) -> None:
    server, transport = echo
    given = [("x-ODD", "1"), ("Accept", "a"), ("accept", "b"), ("X-Latin", "caf\xe9")]
    transport.stream("DELETE", "/x", headers=given).close()
    lines = server.heads[0].decode("latin-1").split("\r\n")
    assert lines[2:] == ["x-ODD: 1", "Accept: a", "accept: b", "X-Latin: caf\xe9"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "secret\r\nY: 1"),
        ("X", "secret\n"),
        ("X", "secret\x00"),
        ("X", "secret\u0100"),
        ("X Y", "secret"),
        ("X:Y", "secret"),
        ("Host:Y", "secret"),
        ("X\r\nY", "secret"),
        ("", "secret"),
        ("Host", "secret"),
        ("transfer-encoding", "secret"),
        ("Content-Length", "secret"),
    ],
)
def test_header_that_would_break_out_is_refused_unsent(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"header|Content-Length") as caught:
        Transport("http://127.0.0.1:9").stream("GET", "/", headers=[(name, value)])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GE T", "/"),
        ("", "/"),
        ("GET", "x"),
        ("GET", "/a b"),
        ("GET", "/\r\nX: y"),
        ("GET", "//\x7f"),
        ("GET", "/\u0130"),
        ("GET", ""),
    ],
)
def test_request_line_that_would_break_out_is_refused_unsent(method: str, target: str) -> None:
    with pytest.raises(ValueError, match="quoted"):
        Transport("http://127.0.0.1:9").stream(method, target, headers=[])


def takes_upload(received: list[bytes]) -> RawServer:
    def script(peer: Peer) -> None:
        while head := peer.request().lower():
            if b"\r\ntransfer-encoding: chunked" in head:
                body = b""
                while not body.endswith(b"0\r\n\r\n") and (piece := peer.read(1)):
                    body += piece
            else:
                body = peer.read(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            received.append(body)
            peer.answer()

    return RawServer(script)


def test_uploads_with_and_without_length() -> None:
    received: list[bytes] = []
    with takes_upload(received) as server:
        transport = connect(server.url)
        uploads: list[tuple[list[tuple[str, str]], bytes | Iterator[bytes] | None]] = [
            ([("Content-Length", "6")], iter([b"abc", b"", b"def"])),
            ([], iter([b"abc", b"", b"def"])),
            ([], b"abcdef"),
            ([("Content-Length", "6")], b"abcdef"),
            ([("Content-Length", "0")], iter([])),
            ([], None),
            ([], b"z" * 300_000),
        ]
        for headers, body in uploads:
            assert transport.stream("POST", "/x", headers=headers, body=body).read_small(10) == b"ok"
    chunks = b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    assert received == [b"abcdef", chunks, b"abcdef", b"abcdef", b"", b"", b"z" * 300_000]
    assert [head.lower().count(b"content-length") for head in server.heads] == [1, 0, 1, 1, 1, 1, 1]


class ClientGoneError(Exception):
    """What a server raises when a browser stops uploading."""


@pytest.mark.parametrize("headers", [[], [("Content-Length", "100")]])
def test_upload_that_fails_is_never_complete(headers: list[tuple[str, str]]) -> None:  # B7.5
    received: queue.Queue[bytes] = queue.Queue()

    def script(peer: Peer) -> None:
        peer.request()
        received.put(peer.read_to_end())

    gone = ClientGoneError()

    def body() -> Iterator[bytes]:
        yield b"first part"
        raise gone

    with RawServer(script) as server:
        with pytest.raises(ClientGoneError) as caught:
            connect(server.url).stream("POST", "/x", headers=headers, body=body())
        assert caught.value is gone
        assert received.get(timeout=5) == (b"first part" if headers else b"a\r\nfirst part\r\n")


@pytest.mark.parametrize("pieces", [[b"short"], [b"exact", b"and more"], [b"much too long for it"]])
def test_upload_of_another_length_than_declared_is_never_complete(pieces: list[bytes]) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    def script(peer: Peer) -> None:
        peer.request()
        received.put(peer.read_to_end())

    with RawServer(script) as server:
        with pytest.raises(ValueError, match="Content-Length"):
            connect(server.url).stream("POST", "/x", headers=[("Content-Length", "10")], body=iter(pieces))
        assert len(received.get(timeout=5)) < 10


def test_bytes_of_another_length_than_declared_are_not_sent() -> None:
    for body in (b"abc", None):
        with pytest.raises(ValueError, match="Content-Length"):
            Transport("http://127.0.0.1:9").stream("POST", "/x", headers=[("Content-Length", "4")], body=body)


@pytest.mark.parametrize("is_whole", [False, True])
def test_answer_before_the_end_of_an_upload_is_delivered(is_whole: bool) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"too large", status=b"413 Content Too Large")
        peer.sock.shutdown(socket.SHUT_RD)

    def slowly() -> Iterator[bytes]:
        for _ in range(200):
            time.sleep(0.002)
            yield b"x" * 65536

    with RawServer(script) as server:
        transport = connect(server.url)
        reply = transport.stream("POST", "/x", headers=[], body=b"x" * 13_000_000 if is_whole else slowly())
        assert (reply.status, reply.read_small(100)) == (413, b"too large")
        assert not transport._pool._idle


def test_call_sends_what_requests_would_and_reads_json() -> None:
    received: list[bytes] = []
    with takes_upload(received) as server:
        transport = connect(server.url + "/v1/")
        transport.call(
            "POST",
            "/login?x=1",
            params={"y": "a b"},
            json={"user": "é"},
            bearer="t0ken",
            headers={"X-A": "b"},
        )
        transport.call("POST", "login", data={"user": "a&b"})
        transport.call("POST", "login", files={"f": ("n.txt", b"content")})
        transport.call("POST", "login", data=iter([b"abc", b"def"]))
    assert transport.base_url == server.url + "/v1"
    assert transport.base_path == "/v1"
    lines = server.heads[0].split(b"\r\n")
    assert lines[0] == b"POST /v1/login?x=1&y=a+b HTTP/1.1"
    assert {
        b"Authorization: Bearer t0ken",
        b"Accept: application/json",
        b"User-Agent: flask-api-layer",
        b"X-A: b",
    } < set(lines)
    assert b"Accept-Encoding: gzip, deflate" in lines
    assert json.loads(received[0]) == {"user": "é"}
    assert received[1] == b"user=a%26b"
    assert b"content" in received[2]
    assert received[3] == b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda data: zlib.compress(data)[2:-4]])
def test_call_decodes_and_says_so(pack: type[bytes]) -> None:
    packed = pack(b'{"a": 1}')
    coding = b"gzip" if packed[:2] == b"\x1f\x8b" else b"Deflate"
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nX: y\r\nContent-Length: %d\r\n\r\n" % (
        coding,
        len(packed),
    )
    with says(head + packed) as server:
        reply = connect(server.url).call("GET", "x")
    assert reply.json() == {"a": 1}
    assert reply.headers == (("X", "y"),)
    assert reply.header("x") == "y"
    assert reply.header("Content-Length") is None


def gzip_bomb() -> bytes:
    packed = gzip.compress(b"\0" * (MAX_BODY + 1), 9)
    return (
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        % len(packed)
        + packed
    )


@pytest.mark.parametrize("session", [None, requests.Session()])
def test_gzip_bomb_is_refused(session: requests.Session | None) -> None:
    with says(gzip_bomb()) as server, pytest.raises(Garbled):
        connect(server.url, session=session).call("GET", "x")


def test_gzip_bomb_takes_no_more_memory_than_is_kept() -> None:
    packer = zlib.compressobj(1, wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(150)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(Garbled):
        make_reply(200, (("Content-Encoding", "gzip"),), packed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_BODY


def test_endless_body_is_refused() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * 65536)

    with RawServer(script) as server, pytest.raises(Garbled):
        connect(server.url).call("GET", "x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("session", [None, requests.Session()])
def test_redirects_are_not_followed(status: int, session: requests.Session | None) -> None:  # B6.8
    with RawServer(Peer.keep_answering) as canary:
        for location in (canary.url, "//evil/", "http://[bad", "/same", "\xff\xfe:"):
            answer = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 2\r\n\r\nok".encode(
                "latin-1"
            )
            with says(answer) as server:
                reply = connect(server.url, session=session).call("POST", "x", bearer="t0ken", json={})
                assert (reply.status, reply.header("location"), reply.body) == (status, location, b"ok")
                assert server.connections == 1
        assert canary.connections == 0


@pytest.mark.parametrize("session", [None, requests.Session()])
def test_cookies_are_never_sent_again(session: requests.Session | None) -> None:  # B6.8
    if session is not None:
        session.cookies.set("preset", "1")

    def script(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"ok", b"Set-Cookie: user=a; Path=/", b"Set-Cookie: second=b")

    with RawServer(script) as server:
        transport = connect(server.url, session=session)
        reply = transport.call("GET", "x", bearer="a")
        assert [value for name, value in reply.headers if name == "Set-Cookie"] == [
            "user=a; Path=/",
            "second=b",
        ]
        transport.call("GET", "x", bearer="b")
        get(transport).close()
        assert not any(b"cookie" in head.lower() for head in server.heads)
    if session is not None:
        assert session.cookies.get_dict() == {"preset": "1"}
        assert session.trust_env
        session.close()


@pytest.mark.parametrize("session", [None, requests.Session()])
def test_netrc_and_proxies_of_the_environment_are_ignored(
    session: requests.Session | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # B6.8
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin intruder\npassword x\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer(Peer.keep_answering) as proxy, RawServer(Peer.keep_answering) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        transport = connect(server.url, session=session)
        transport.call("GET", "x", bearer="t0ken")
        transport.call("GET", "x")
        assert [b"Authorization: Bearer t0ken" in head for head in server.heads] == [True, False]
        assert not any(b"Basic" in head for head in server.heads)
        assert proxy.connections == 0
    if session is not None:
        session.close()


def test_own_session_is_used_as_it_is() -> None:
    with RawServer(Peer.keep_answering) as server, requests.Session() as session:
        session.headers["X-Tenant"] = "blue"
        session.headers["Accept"] = "application/vnd.api+json"
        session.auth = ("user", "password")
        seen: list[bytes] = []
        session.hooks["response"].append(lambda response, **_: seen.append(response.content))
        transport = connect(server.url, session=session)
        assert transport.call("GET", "x", bearer="t0ken").body == b"/x"
        transport.call("GET", "y")
        assert seen == [b"/x", b"/y"]
        assert b"X-Tenant: blue" in server.heads[0]
        assert b"Accept: application/vnd.api+json" in server.heads[0]
        assert b"Authorization: Bearer t0ken" in server.heads[0]
        assert b"Authorization: Basic" in server.heads[1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (CUT_SHORT["nothing"], Unreachable),
        (CUT_SHORT["half a body"], Unreachable),
        (CUT_SHORT["half a chunk"], Unreachable),
        (GARBLED["noise"], Garbled),
        (GARBLED["status 999"], Garbled),
        (GARBLED["120 headers"], Garbled),
        (GARBLED["bad gzip"], Garbled),
        (GARBLED["unknown content coding"], Garbled),
        (b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Garbled),
    ],
)
def test_errors_of_an_own_session_are_named_alike(answer: bytes, kind: type[TransportError]) -> None:
    with says(answer) as server, requests.Session() as session:
        with pytest.raises(kind) as caught:
            connect(server.url, session=session).call("GET", "x?token=secret")
        assert "secret" not in repr(caught.value)
        assert caught.value.__suppress_context__ or isinstance(caught.value.__cause__, zlib.error | None)


def test_timeouts_and_refusals_of_an_own_session_are_named_alike() -> None:
    with requests.Session() as session:
        with goes_silent(b"") as server, pytest.raises(TimedOut):
            connect(server.url, session=session, read_timeout=0.1).call("GET", "x")
        with trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n") as server, pytest.raises(TimedOut):
            connect(server.url, session=session, total_timeout=0.3).call("GET", "x")
        with pytest.raises(Unreachable):
            connect(server.url, session=session).call("GET", "x")


@pytest.mark.parametrize("path", ["..", "a/../b", "%2e%2e/x", "a/.%2E", ".", "a\\..\\b"])
def test_call_stays_below_the_base(path: str) -> None:
    with pytest.raises(ValueError, match="dot segments"):
        Transport("http://127.0.0.1:9/v1").call("GET", path)


@pytest.mark.parametrize("path", ["http://evil/", "//evil/x", "@evil/", "/\\evil"])
def test_call_goes_to_the_backend_whatever_the_path(echo: tuple[RawServer, Transport], path: str) -> None:
    server, transport = echo
    assert transport.call("GET", path).status == 200
    assert f"Host: {transport.origin.netloc}".encode() in server.heads[0]


@pytest.mark.parametrize("session", [None, requests.Session()])
def test_callers_mistakes_are_value_errors_without_the_secret(session: requests.Session | None) -> None:
    transport = Transport("http://127.0.0.1:9", session=session)
    with pytest.raises(ValueError, match="Authorization") as caught:
        transport.call("GET", "x", bearer="secret\r\nX: y")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="'X'") as caught:
        transport.call("GET", "x", headers={"X": "secret\n"})
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="InvalidJSONError"):
        transport.call("POST", "x", json=float("nan"))
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            transport.call("GET", "x", timeout=timeout)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "example.com",
        "ftp://x",
        "http://",
        "http://u:secret@x",
        "http://u:secret/",
        "http://x?y",
        "http://x/#y",
        "http://x y",
        "http://ä.example",
        "http://x:99999",
    ],
)
def test_unusable_base_url_is_refused_without_quoting_it(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Transport(base_url)
    assert "secret" not in str(caught.value)


def test_parts_of_the_base_url() -> None:
    transport = Transport("HTTPS://API.Example.com:443/v1/")
    assert (transport.base_url, transport.base_path) == ("https://api.example.com/v1", "/v1")
    assert transport.origin.port == 443
    assert Transport("http://[::1]:8000").origin.netloc == "[::1]:8000"


def test_nothing_is_logged_and_reprs_are_bare(
    echo: tuple[RawServer, Transport], caplog: pytest.LogCaptureFixture
) -> None:
    _, transport = echo
    with caplog.at_level(logging.DEBUG):
        reply = transport.call("GET", "secret", bearer="secret", headers={"X": "secret"})
        streamed = get(transport, "/secret")
        streamed.close()
    assert "secret" not in caplog.text
    assert "secret" not in repr(reply) + repr(streamed) + repr(transport)
    assert "secret" not in repr(Reply(200, (("Authorization", "secret"),), b"secret"))


@pytest.mark.parametrize(
    ("body", "value"),
    [(b'{"a": [1, 2.5]}', {"a": [1, 2.5]}), (b"\xef\xbb\xbfnull", None), ('"é"'.encode(), "é")],
)
def test_json_is_read(body: bytes, value: object) -> None:
    assert Reply(200, (), body).json() == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b'"\xff"',
        '"é"'.encode("utf-16"),
        b'"\xe9"',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_what_is_not_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        Reply(200, (), body).json()


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(1, 200), max_size=30),
    st.binary(max_size=10),
)
def test_chunks_come_out_the_same_however_they_are_cut(
    chunks: list[bytes], cuts: list[int], extra: bytes
) -> None:
    wire = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: x\r\n\r\n"
    body, at, content = Chunked(), 0, b""
    for cut in [*cuts, len(wire)]:
        if not body.done:
            content += body.feed((wire + extra)[at : at + cut])
            at += cut
    if not body.done:
        content += body.feed((wire + extra)[at:])
    assert body.done
    assert content == b"".join(chunks)


@given(st.binary(max_size=60))
def test_chunks_of_noise_never_crash(noise: bytes) -> None:
    body = Chunked()
    try:
        content = body.feed(noise)
    except Garbled:
        return
    assert len(content) <= len(noise)


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: "]),
)
def test_heads_of_noise_never_crash(noise: bytes, start: bytes) -> None:
    data = start + noise.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"
    try:
        head = parse_head(data, "GET")
    except Garbled:
        return
    assert not any("\r" in value or "\n" in value or "\0" in value for pair in head.headers for value in pair)


def test_long_blank_values_take_linear_time() -> None:
    blank = b"HTTP/1.1 200 OK\r\nX:" + b" " * 60_000 + b"\x01\r\n\r\n"
    with pytest.raises(Garbled):
        parse_head(blank, "GET")


def test_request_head_is_one_line_per_header() -> None:
    request = build_request("PUT", "/x", "h", [("A", "b")], None)
    assert request.head == b"PUT /x HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    assert request.is_repeatable


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def tls_server(certificate: Path, *scripts: Script) -> RawServer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def wrapped(script: Script) -> Script:
        def play(peer: Peer) -> None:
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
            with peer.sock:
                script(peer)

        return play

    return RawServer(*map(wrapped, scripts))


def test_certificates_are_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(certificate, Peer.keep_answering) as server:
        base = server.url.replace("http:", "https:")
        for call in (lambda: connect(base).call("GET", "x"), lambda: get(connect(base))):
            with pytest.raises(Unreachable):
                call()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        transport = connect(base)
        for path in ("/a", "/b"):
            assert transport.call("GET", path).body == path.encode()
            assert b"".join(get(transport, path)) == path.encode()
        assert server.connections == 3
        with pytest.raises(Unreachable):
            get(connect(base.replace("127.0.0.1", "localhost")))


def test_end_without_goodbye_is_cut_short(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhalf")

    with tls_server(certificate, script) as server, pytest.raises(Unreachable):
        connect(server.url.replace("http:", "https:")).call("GET", "x")
