"""What an upstream may answer, byte for byte."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import cycle

from tests.raw_server import Peer

from .upstream import Reply

ODD_SIZES = (1, 7, 4096, 65_537, 20, 300)


def whole(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> Reply:
    """An answer with its length."""
    return lambda peer: peer.answer(body, *lines, status=status)


def bare(*lines: bytes, status: bytes) -> Reply:
    """An answer that has no body and says nothing of its length."""
    return lambda peer: peer.send(_head(status, lines))


def chunked(pieces: Iterable[bytes], *lines: bytes) -> Reply:
    def reply(peer: Peer) -> None:
        peer.send(_head(b"200 OK", (*lines, b"Transfer-Encoding: chunked")))
        for piece in pieces:
            peer.send(chunk(piece))
        peer.send(LAST_CHUNK)

    return reply


def until_closed(body: bytes, *lines: bytes) -> Reply:
    """An answer that ends with its connection; with a ``Content-Length`` that says more, a truncated one."""

    def reply(peer: Peer) -> None:
        peer.send(_head(b"200 OK", (*lines, b"Connection: close")) + body)
        peer.sock.shutdown(socket.SHUT_WR)

    return reply


def repeated(block: bytes, times: int) -> Reply:
    """A block many times over, with its length."""

    def reply(peer: Peer) -> None:
        peer.send(_head(b"200 OK", (b"Content-Length: %d" % (len(block) * times),)))
        for _ in range(times):
            peer.send(block)

    return reply


LAST_CHUNK = b"0\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def odd_pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces of uneven sizes."""
    sizes, start = cycle(ODD_SIZES), 0
    while start < len(body):
        size = next(sizes)
        yield body[start : start + size]
        start += size


def _head(status: bytes, lines: Iterable[bytes]) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines)) + b"\r\n\r\n"
