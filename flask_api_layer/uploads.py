"""The client's body on its way up: never read whole, never forwarded as complete when it was not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

# The servers read ahead, and some copy what they have left at every read: fewer and larger ones (1.8 times the bytes a second).
_READ = 262_144
_LONGEST_NUMBER = 18
_NO_LIMIT = 10**_LONGEST_NUMBER


class BodyBroken(Exception):
    """The client's body cannot be framed, ended early or is too large; ``code`` is the problem code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Upload:
    """The client's body, read piece by piece.

    :param keep: bytes up to which it is also kept, so that it can be sent twice.
    """

    def __init__(self, chunks: Iterator[bytes], *, keep: int) -> None:
        self._chunks = chunks
        self._keep = keep
        self._kept: list[bytes] | None = []
        self._is_complete = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._keep -= len(chunk)
            if self._keep < 0:
                self._kept = None
            if self._kept is not None:
                self._kept.append(chunk)
            yield chunk
        self._is_complete = True

    @property
    def copy(self) -> bytes | None:
        """The whole body, if it was small and has been read to its end."""
        return b"".join(self._kept) if self._is_complete and self._kept is not None else None


def client_body(environ: Mapping[str, Any], method: str, *, limit: int | None, keep: int) -> Upload | None:
    """The body of a WSGI request, None when there is none to forward.

    :param limit: PROXY_MAX_BODY, bytes.
    :param keep: PROXY_REPLAY_BODY, bytes.
    :raises BodyBroken: for a body that is framed badly, or announced as larger than the limit.
    """
    length, coding = environ.get("CONTENT_LENGTH", ""), environ.get("HTTP_TRANSFER_ENCODING", "")
    if coding and (length or coding.strip().lower() != "chunked"):
        # Two framings of one body are how requests are smuggled (RFC 9112 6.3); other codings would be passed on undone.
        raise BodyBroken("bad_request")
    if method in ("GET", "HEAD") or not (length or coding):
        return None
    stream: IO[bytes] = environ["wsgi.input"]
    if coding:
        return Upload(_chunked(stream, limit), keep=keep)
    if not (length.isascii() and length.isdigit()):
        raise BodyBroken("bad_request")
    if len(length) > _LONGEST_NUMBER or int(length) > (limit or _NO_LIMIT):
        raise BodyBroken("payload_too_large")
    return Upload(_sized(stream, int(length)), keep=keep)


def _sized(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes; a body that ends early is never forwarded as if it were whole."""
    while size > 0:
        chunk = _read(stream, min(size, _READ))
        if not chunk:
            raise BodyBroken("bad_request")
        size -= len(chunk)
        yield chunk


def _chunked(stream: IO[bytes], limit: int | None) -> Iterator[bytes]:
    left = limit
    # One byte more than is allowed tells that there is more; asking for a full chunk would wait for the client to send it.
    while chunk := _read(stream, _READ if left is None else min(_READ, left + 1)):
        if left is not None:
            left -= len(chunk)
            if left < 0:
                raise BodyBroken("payload_too_large")
        yield chunk


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:
        # Every server has errors of its own for a broken body.
        raise BodyBroken("bad_request") from error
