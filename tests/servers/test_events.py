"""Streams of events through every server: each event at once, and an end when nobody listens."""

from __future__ import annotations

import socket
from threading import Event

from tests.integration.wire import SILENCE
from tests.raw_server import Peer

from .replies import LAST_CHUNK, chunk
from .sites import Site, request_head

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PAUSE = 0.02  # seconds between two events of a stream that nobody may be listening to


class Stream:
    """An upstream that sends its second event when it is told to."""

    def __init__(self) -> None:
        self.told = Event()
        self.left = Event()

    def two_events(self, peer: Peer) -> None:
        peer.send(HEAD + chunk(b"data: 1\n\n"))
        assert self.told.wait(SILENCE)
        peer.send(chunk(b"data: 2\n\n") + LAST_CHUNK)

    def silence(self, peer: Peer) -> None:
        """One event, and no other until the listener leaves."""
        peer.send(HEAD + chunk(b"data: 1\n\n"))
        peer.read_to_end()
        self.left.set()

    def chatter(self, peer: Peer) -> None:
        """Events until the listener leaves."""
        peer.send(HEAD)
        try:
            while not self.left.wait(PAUSE):
                peer.send(chunk(b"data: 1\n\n"))
        except OSError:
            self.left.set()


# B7.5
def test_an_event_is_out_before_the_next_one_is_made(server: Site) -> None:
    stream = Stream()
    server.upstream.reply = stream.two_events
    with listening(server) as sock:
        assert b"data: 2" not in read_until(sock, b"data: 1\n\n")
        stream.told.set()
        read_until(sock, b"data: 2\n\n")
    server.assert_alive()


# B7.5: gunicorn hands us the socket, so that we see at once who leaves
def test_a_silent_stream_ends_when_the_listener_leaves(served: dict[str, Site]) -> None:
    server = served["gunicorn"]
    server.upstream.clear()
    stream = Stream()
    server.upstream.reply = stream.silence
    with listening(server) as sock:
        read_until(sock, b"data: 1\n\n")
    assert stream.left.wait(SILENCE)
    server.assert_alive()


# B7.5: elsewhere the next events show it
def test_a_stream_of_events_ends_when_the_listener_leaves(server: Site) -> None:
    stream = Stream()
    server.upstream.reply = stream.chatter
    with listening(server) as sock:
        read_until(sock, b"data: 1\n\n")
    try:
        assert stream.left.wait(SILENCE)
    finally:
        stream.left.set()
    server.assert_alive()


def listening(server: Site) -> socket.socket:
    sock = server.connect()
    sock.sendall(request_head("GET", "/api/events", server.user, "Accept: text/event-stream"))
    return sock


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received
