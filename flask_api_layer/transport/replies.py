"""What the backend answered: whole in memory and decoded, or still coming and untouched."""

from __future__ import annotations

import json
import math
import socket
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .connections import Pool, Wire
from .framing import Garbled, Head, Headers, Sized

MAX_BODY = 32 * 1024 * 1024
"""The largest body, as sent and decoded, that is kept in memory."""

# zlib's window sizes (zlib.decompressobj): with gzip's header, with zlib's, without any.
_GZIP, _ZLIB, _RAW = 31, 15, -15


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; ``body`` is decoded, and then Content-Encoding and Content-Length are gone from ``headers``."""

    status: int
    # Some backends hand out tokens in headers: neither part is for a repr.
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value of header ``name``, in whatever case."""
        wanted = name.lower()
        return next((value for known, value in self.headers if known.lower() == wanted), None)

    def json(self) -> Any:
        """The body as JSON (RFC 8259): UTF-8, finite numbers.

        :raises ValueError: when it is not; without the body, which may hold a token.
        """
        try:
            # UTF-8 is forced, since json.loads would also accept UTF-16; a byte order mark may be ignored (section 8.1).
            return json.loads(self.body.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError):
            raise ValueError("the backend's answer is not JSON") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def make_reply(status: int, headers: Headers, body: bytes) -> Reply:
    """A reply from a body as it was sent.

    :raises Garbled: when the body is not what its Content-Encoding says, or larger than ``MAX_BODY`` decoded.
    """
    codings = [value for name, value in headers if name.lower() == "content-encoding"]
    if not body or not codings:
        return Reply(status, headers, body)
    return Reply(status, without_coding(headers), _decode(body, ",".join(codings).strip().lower()))


def without_coding(headers: Headers) -> Headers:
    """``headers`` for a body that was decoded."""
    return tuple(pair for pair in headers if pair[0].lower() not in {"content-encoding", "content-length"})


def _decode(body: bytes, coding: str) -> bytes:
    match coding:
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _inflate(body, _GZIP)
        case "deflate":
            # Named after zlib's format (RFC 9110 section 8.4.1.2), but some servers send the bare stream inside it.
            is_zlib = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return _inflate(body, _ZLIB if is_zlib else _RAW)
        case _:
            raise Garbled("The backend's answer has a content coding that was not asked for")


def _inflate(body: bytes, window: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        # The limit holds while inflating: 200 KB of gzip can hold 200 MB.
        content = inflater.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise Garbled("The backend's answer is compressed wrongly") from error
    if len(content) > MAX_BODY:
        raise Garbled("The backend's answer is too large")
    if not inflater.eof or inflater.unused_data:
        raise Garbled("The backend's answer is compressed wrongly")
    return content


def gather(pieces: Iterable[bytes]) -> bytes:
    """All ``pieces`` in one.

    :raises Garbled: as soon as they are more than ``MAX_BODY``.
    """
    kept, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BODY:
            raise Garbled("The backend's answer is too large")
        kept.append(piece)
    return b"".join(kept)


class StreamedReply:
    """An answer whose body is still coming; its Content-Encoding is untouched.

    Read it in one thread, to the end or until ``close``, which any thread may call. Read to its end, it gives the connection back
    to the pool; in every other case the connection is closed.
    """

    def __init__(self, wire: Wire, head: Head, pool: Pool, *, read_timeout: float | None) -> None:
        self.status = head.status
        self.headers = head.headers
        self._wire = wire
        self._head = head
        self._pool = pool
        self._read_timeout = read_timeout
        # Whoever pops it ends the answer: a connection must not be closed after it was pooled. Popping is atomic, and cheaper than
        # a lock.
        self._ending = [True]
        if head.body.done:
            self._finish()

    def read_small(self, limit: int) -> bytes | None:
        """The whole body, if it is known to have at most ``limit`` bytes (0 for none at all); else None, and nothing was read.

        It must come within the total time of the request.
        """
        body = self._head.body
        if not isinstance(body, Sized) or body.left > limit:
            return None
        return b"".join(self._pieces())

    def read_all(self) -> bytes:
        """The whole body, within the total time of the request.

        :raises Garbled: when it is larger than ``MAX_BODY``.
        """
        try:
            return gather(self._pieces())
        finally:
            self.close()

    def __iter__(self) -> Iterator[bytes]:
        """The body as it arrives: no waiting to fill a piece, at most 64 KiB each.

        :raises Unreachable: when it ends too early; never a silent end.
        :raises TimedOut: after a silence longer than the read timeout; an event stream may be silent for as long as it likes.
        """
        if not self._head.body.done:
            self._wire.deadline = None
            self._wire.idle = None if self.is_event_stream else self._read_timeout
        return self._pieces()

    def watch(self, client: socket.socket) -> None:
        """Give up as soon as this client leaves, even while the backend is silent.

        :raises ClientLeft: while the body is read.
        """
        self._wire.client = client

    def close(self) -> None:
        """Give up what has not been read."""
        if self._is_mine_to_end():
            self._wire.close()

    def _is_mine_to_end(self) -> bool:
        try:
            return self._ending.pop()
        except IndexError:
            return False

    def _pieces(self) -> Iterator[bytes]:
        body = self._head.body
        try:
            while not body.done:
                if piece := self._receive():
                    yield piece
        except BaseException:
            self.close()
            raise

    def _receive(self) -> bytes:
        body = self._head.body
        data = self._wire.receive()
        content = body.feed(data) if data else b""
        if not data:
            body.end()
        if body.done:
            self._finish()
        return content

    def _finish(self) -> None:
        if not self._is_mine_to_end():
            return
        # Bytes after the end belong to nobody who asked: the connection is out of step.
        self._wire.client = None
        if self._head.is_reusable and not self._head.body.extra and not self._wire.unread:
            self._pool.put(self._wire)
        else:
            self._wire.close()

    @property
    def is_event_stream(self) -> bool:
        """Server-sent events: pieces come when something happens, which may be never."""
        kinds = [value for name, value in self.headers if name.lower() == "content-type"]
        return any(kind.lower().startswith("text/event-stream") for kind in kinds)
