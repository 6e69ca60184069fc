"""HTTP/1.1 messages as bytes: request heads and bodies out, answer heads and bodies in (RFC 9112). No sockets here.

Stricter than :mod:`http.client`, which guesses where this refuses: an answer read differently by two parties is how one user gets
another's (response smuggling, RFC 9112 section 11.2).

    TransportError
    ├── Unreachable    no complete answer: refused, DNS, TLS, reset, closed too early
    ├── TimedOut       no answer in time: connecting, silence, or the total
    └── Garbled        an answer that is not acceptable HTTP, or too large
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from ..sansio.headers import FIELD_VALUE, TOKEN, connection_options

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
_MAX_CHUNK_LINE = 4096

Headers = tuple[tuple[str, str], ...]

_TARGET = re.compile(r"/[\x21-\x7e\x80-\xff]*")
_DIGITS = re.compile(r"[0-9]{1,18}")
_STATUS_LINE = re.compile(rf"HTTP/1\.([0-9]) ([0-9]{{3}})(?: {FIELD_VALUE.pattern})?\r\n")
_FIELD = re.compile(rf"^({TOKEN.pattern}):({FIELD_VALUE.pattern})\r\n", re.MULTILINE)
_SIZE_LINE = rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n"
_FIRST_SIZE = re.compile(_SIZE_LINE)
_NEXT_SIZE = re.compile(rb"\r\n" + _SIZE_LINE)
_TRAILER = re.compile(rb"([\t\x20-\x7e\x80-\xff]*)\r\n")

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


class TransportError(Exception):
    """No usable answer from the backend. The message holds no token, no URL and nothing that the backend said."""


class Unreachable(TransportError):
    """No complete answer: connection refused or reset, no such host, TLS failure, closed too early."""


class ClientLeft(Unreachable):
    """Nobody waits for the answer any more, so it was given up."""


class TimedOut(TransportError):
    """Connecting, a silence or the whole call took longer than allowed."""


class Garbled(TransportError):
    """The answer is not acceptable HTTP/1.1, or larger than what is kept in memory."""


# This and Head are made for every call, and a frozen dataclass takes thrice as long as a tuple.
class Request(NamedTuple):
    """What goes out: the head as bytes, and a body that may still be coming."""

    method: str
    head: bytes
    body: bytes | Iterable[bytes] | None
    length: int | None

    @property
    def is_repeatable(self) -> bool:
        """Sending it twice does no harm: an idempotent method (RFC 9110 section 9.2.2), and no body spent."""
        return self.body is None and self.method in _REPEATABLE


def build_request(
    method: str,
    target: str,
    host: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | Iterable[bytes] | None,
) -> Request:
    """A request with ``headers`` as given plus Host and, where missing, the framing; ``target`` is not touched.

    :raises ValueError: for what would end a line early or frame the body twice.
    """
    if not TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("method must be a token, target a path that starts with '/' and is already quoted")
    lengths = [value for name, value in headers if _frames_body(name)]
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    # All values as one: each by itself takes five times as long.
    if not FIELD_VALUE.fullmatch("".join([value for _, value in headers])):
        for name, value in headers:
            check_header(name, value)
    length = _declared_length(lengths, body)
    framing = "" if lengths else _framing_line(method, length, body)
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{framing}\r\n"
    return Request(method, head.encode("latin-1"), body, length)


def check_header(name: str, value: str) -> None:
    """Refuse a header line that could not be sent as one line; the message never quotes the value."""
    _check_name(name)
    if not FIELD_VALUE.fullmatch(value):
        raise ValueError(f"the value of header {name!r} holds characters that cannot be sent")


def _check_name(name: str) -> None:
    if not TOKEN.fullmatch(name):
        raise ValueError(f"header name {name!r} is not a token")


# The same few names come with every request.
@lru_cache(maxsize=256)
def _frames_body(name: str) -> bool:
    """Whether the header tells the length of the body; others that say something about framing are refused, and what is no name."""
    _check_name(name)
    if name.lower() in ("host", "transfer-encoding"):
        raise ValueError(f"header {name!r} is set by the transport")
    return name.lower() == "content-length"


def _declared_length(lengths: list[str], body: bytes | Iterable[bytes] | None) -> int | None:
    known = len(body) if isinstance(body, bytes) else 0 if body is None else None
    if not lengths:
        return known
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise ValueError("Content-Length must be one number")
    declared = int(lengths[0])
    if known is not None and known != declared:
        raise ValueError(f"Content-Length says {declared}, the body has {known} bytes")
    return declared


def _framing_line(method: str, length: int | None, body: bytes | Iterable[bytes] | None) -> str:
    if length is None:
        return "Transfer-Encoding: chunked\r\n"
    return f"Content-Length: {length}\r\n" if body is not None or method in _WITH_CONTENT else ""


def framed(body: Iterable[bytes], length: int | None) -> Iterator[bytes]:
    """``body`` as it goes on the wire: chunked, or as is when it declared its ``length``.

    :raises ValueError: when the body is longer (nothing past the length is handed out) or shorter than declared.
    """
    if length is None:
        yield from (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body if piece)
        yield b"0\r\n\r\n"
        return
    for piece in body:
        length -= len(piece)
        if length < 0:
            raise ValueError("the body is longer than its Content-Length")
        yield piece
    if length:
        raise ValueError("the body is shorter than its Content-Length")


class Body(Protocol):
    """Takes the framing off an answer's body, piece by piece."""

    extra: bytes
    """What came after the end of the body: the connection is out of step and must be closed."""

    @property
    def done(self) -> bool:
        """The body has ended."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The content in ``data``, maybe none."""
        ...

    def end(self) -> None:
        """The peer closed the connection before the body was done."""
        ...


class Sized:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.extra = b""

    @property
    def done(self) -> bool:
        return self.left == 0

    def feed(self, data: bytes) -> bytes:
        content = data[: self.left]
        self.extra = data[self.left :]
        self.left -= len(content)
        return content

    def end(self) -> None:
        raise Unreachable("The backend's answer was cut short")


class UntilClose:
    """A body that ends with the connection."""

    def __init__(self) -> None:
        self.done = False
        self.extra = b""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.done = True


class Chunked:
    """A chunked body (RFC 9112 section 7.1). Extensions and trailers are read and dropped; sizes are bare hex digits."""

    def __init__(self) -> None:
        self.done = False
        self.extra = b""
        self._left = 0
        self._pending = b""
        self._line = _FIRST_SIZE
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        data, at = self._pending + data, 0
        content = []
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                content.append(piece)
                self._left -= len(piece)
                at += len(piece)
            elif line := self._line.match(data, at):
                self._take(line)
                at = line.end()
            else:
                self._check_incomplete(data, at)
                break
        self._pending, self.extra = (b"", data[at:]) if self.done else (data[at:], b"")
        return b"".join(content)

    def _take(self, line: re.Match[bytes]) -> None:
        if self._line is _TRAILER:
            self._trailers += 1
            self.done = not line[1]
            if self._trailers > MAX_HEADERS:
                raise Garbled("The backend's answer has too many trailers")
            return
        self._left = int(line[1], 16)
        self._line = _NEXT_SIZE if self._left else _TRAILER

    def _check_incomplete(self, data: bytes, at: int) -> None:
        # Between two chunks the first line end belongs to the chunk before.
        skip = 2 if self._line is _NEXT_SIZE else 0
        if data.find(b"\n", at + skip) >= 0 or len(data) - at > _MAX_CHUNK_LINE:
            raise Garbled("The backend's answer is chunked wrongly")

    def end(self) -> None:
        raise Unreachable("The backend's answer was cut short")


class Head(NamedTuple):
    """The head of an answer, and how its body will be read."""

    status: int
    headers: Headers
    body: Body
    is_reusable: bool
    """The connection may serve another request after this answer."""


def check_beginning(data: bytes) -> None:
    """Refuse early what cannot become an acceptable head, instead of waiting for more of it."""
    if not b"HTTP/1.".startswith(data[:7]):
        raise Garbled("The backend's answer is not HTTP/1.1")
    if len(data) > MAX_HEAD or b"\n\n" in data:
        raise Garbled("The head of the backend's answer is too large or malformed")


def parse_head(data: bytes, method: str) -> Head:
    """The head in ``data``, which ends with its first empty line; ``method`` is that of the request.

    Folded lines and control characters make the whole answer garbled: dropping a line could drop the one that frames the body.
    """
    text = data.decode("latin-1")
    line = _STATUS_LINE.match(text)
    status = int(line[2]) if line else 0
    if line is None or not 100 <= status <= 599 or status == 101:
        raise Garbled("The backend's answer has no acceptable status line")
    headers = _parse_fields(text, line.end())
    return Head(status, headers, *_framing(method, status, line[1], headers))


def _parse_fields(text: str, at: int) -> Headers:
    end = len(text) - 2
    fields = _FIELD.findall(text, at, end)
    # Each match is one line from its beginning to its end, so with as many of them as there are ends, every line is good.
    if len(fields) != text.count("\n", at, end) or len(fields) > MAX_HEADERS:
        raise Garbled("The backend's answer has malformed or too many headers")
    return tuple([(name, value.strip(" \t")) for name, value in fields])


def _framing(method: str, status: int, minor: str, headers: Headers) -> tuple[Body, bool]:
    named = [(known, value) for name, value in headers if (known := name.lower()) in _FRAMING]
    lengths = [value for name, value in named if name == "content-length"]
    codings = [value for name, value in named if name == "transfer-encoding"]
    _check_framing(lengths, codings, minor)
    options = connection_options(",".join([value for name, value in named if name == "connection"]))
    persistent = "close" not in options and (minor != "0" or "keep-alive" in options)
    if method == "HEAD" or status < 200 or status in {204, 304}:
        return Sized(0), persistent and _is_surely_empty(method, status, lengths, codings)
    if codings:
        return Chunked(), persistent
    return (Sized(int(lengths[0])), persistent) if lengths else (UntilClose(), False)


def _is_surely_empty(method: str, status: int, lengths: list[str], codings: list[str]) -> bool:
    """A server that sends a body where none belongs leaves it to the connection's next user, and it may come late.

    So after HEAD and 204 no connection is kept. 304 is spared unless it announces a body: it is frequent, and meant to be cheap.
    """
    return method != "HEAD" and status == 304 and not codings and lengths in ([], ["0"])


def _check_framing(lengths: list[str], codings: list[str], minor: str) -> None:
    if lengths and (codings or len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0])):
        raise Garbled("The backend's answer has an ambiguous length")
    if codings and (minor == "0" or [coding.lower() for coding in codings] != ["chunked"]):
        raise Garbled("The backend's answer has an unknown transfer coding")
