"""The proxy view: forwards what the hooks have let through, and streams both ways."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any
from urllib.parse import quote

from flask import Response, request

from .errors import BackendTimeout, BadGateway, denial
from .sansio.headers import (
    Header,
    environ_headers,
    from_upstream,
    map_location,
    protective_headers,
    to_upstream,
)
from .sansio.proxying import Forward
from .state import RequestState, request_state
from .transport import ClientLeft, StreamedReply, TimedOut, TransportError

_CHUNK = 65_536
_REQUEST_LINE = "".join(map(chr, range(0x21, 0x7F)))
_LONGEST_NUMBER = 18
_NO_LIMIT = 10**_LONGEST_NUMBER


class ProxiedResponse(Response):
    """The backend's answer; nothing is added that it did not say."""

    default_mimetype = None


class _BodyBroken(Exception):
    """The client's body ended early or grew too large; ``code`` is the problem code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def forward(**_: Any) -> Response:
    """Send the request to the backend with the right bearer, and its answer back."""
    state = request_state()
    decision = state.forward
    if decision is None:
        # Only reached when somebody calls the view past the hooks.
        raise denial("no_route")
    upload = _upload(state)
    token = _bearer(state, decision)
    try:
        upstream, added = _exchange(state, decision, upload, token)
        with _closed_on_error(upstream):
            return _response(state, upstream, added)
    except _BodyBroken as error:
        raise denial(error.code) from error
    except TimedOut as error:
        raise BackendTimeout() from error
    except TransportError as error:
        raise BadGateway() from error


def _exchange(
    state: RequestState, decision: Forward, upload: _Upload | None, token: str | None
) -> tuple[StreamedReply, list[Header]]:
    """The backend's answer, after one more try where a 401 could be cured, and headers to add to it."""
    upstream = _send(state, decision, upload, token)
    if upstream.status != 401 or token is None:
        return upstream, []
    with _closed_on_error(upstream):
        renewed = state.renew(token)
    if renewed is None:
        return upstream, []
    if upload is not None and upload.copy is None:
        # The body is gone; the caller may send it again.
        return upstream, [("X-Auth-Refreshed", "1")]
    upstream.close()
    return _send(state, decision, upload.copy if upload else None, renewed), []


@contextmanager
def _closed_on_error(upstream: StreamedReply) -> Iterator[None]:
    try:
        yield
    except BaseException:
        upstream.close()
        raise


def _bearer(state: RequestState, decision: Forward) -> str | None:
    if decision.path.segments in state.host.proxy_public:
        return None
    token = state.bearer()
    if token is None:
        raise state.nobody()
    return token


def _send(
    state: RequestState, decision: Forward, body: bytes | _Upload | None, token: str | None
) -> StreamedReply:
    transport = state.host.transport
    query = request.environ.get("QUERY_STRING", "")
    target = f"{transport.base_path}/{decision.path.quoted()}" + (f"?{_sendable(query)}" if query else "")
    assert target.startswith(transport.base_path + "/")
    return transport.stream(request.method, target, headers=_request_headers(state, body, token), body=body)


def _sendable(query: str) -> str:
    """The query byte for byte, but for bytes that cannot stand in a request line."""
    return quote(query.encode("latin-1"), safe=_REQUEST_LINE)


def _request_headers(state: RequestState, body: bytes | _Upload | None, token: str | None) -> list[Header]:
    extra = frozenset(name.lower() for name in state.host.config.proxy_request_headers)
    headers = to_upstream(environ_headers(request.environ), extra=extra, has_body=body is not None)
    headers += [
        ("X-Request-ID", state.request_id),
        ("X-Forwarded-For", request.remote_addr or "unknown"),
        ("X-Forwarded-Proto", request.scheme),
        ("X-Forwarded-Host", request.host),
    ]
    return [*headers, ("Authorization", f"Bearer {token}")] if token else headers


def _upload(state: RequestState) -> _Upload | None:
    """The client's body, None when there is none to forward."""
    environ, config = request.environ, state.host.config
    length, coding = environ.get("CONTENT_LENGTH", ""), environ.get("HTTP_TRANSFER_ENCODING", "")
    chunked = bool(coding)
    if chunked and (length or coding.strip().lower() != "chunked"):
        # Two framings of one body are how requests are smuggled (RFC 9112 6.3); other codings would be passed on undone.
        raise denial("bad_request")
    if request.method in ("GET", "HEAD") or not (length or chunked):
        return None
    stream: IO[bytes] = environ["wsgi.input"]
    if chunked:
        return _Upload(_chunked(stream, config.proxy_max_body), keep=config.proxy_replay_body)
    if not (length.isascii() and length.isdigit()):
        raise denial("bad_request")
    if len(length) > _LONGEST_NUMBER or int(length) > (config.proxy_max_body or _NO_LIMIT):
        raise denial("payload_too_large")
    return _Upload(_sized(stream, int(length)), keep=config.proxy_replay_body)


class _Upload:
    """The client's body on its way up.

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


def _sized(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes; a body that ends early is never forwarded as if it were whole."""
    while size > 0:
        chunk = _read(stream, min(size, _CHUNK))
        if not chunk:
            raise _BodyBroken("bad_request")
        size -= len(chunk)
        yield chunk


def _chunked(stream: IO[bytes], limit: int | None) -> Iterator[bytes]:
    left = limit
    # One byte more than is allowed tells that there is more; asking for a full chunk would wait for the client to send it.
    while chunk := _read(stream, _CHUNK if left is None else min(_CHUNK, left + 1)):
        if left is not None:
            left -= len(chunk)
            if left < 0:
                raise _BodyBroken("payload_too_large")
        yield chunk


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:
        # Every server has errors of its own for a broken body.
        raise _BodyBroken("bad_request") from error


def _response(state: RequestState, upstream: StreamedReply, added: list[Header]) -> Response:
    headers = _response_headers(state, upstream) + added
    small = upstream.read_small(_CHUNK)
    if small is None:
        return _streamed(upstream, headers)
    if request.method == "HEAD" or upstream.status in (204, 304):
        # An empty list would become "Content-Length: 0", over what the backend said.
        return ProxiedResponse(iter(()), status=upstream.status, headers=headers)
    return ProxiedResponse(small, status=upstream.status, headers=headers)


def _streamed(upstream: StreamedReply, headers: list[Header]) -> Response:
    """The body as it comes.

    Servers hold the head back until the first bytes are there, so waiting for them costs nothing, and a body that breaks at once is
    still a 502.
    """
    client = request.environ.get("gunicorn.socket")
    if client is not None:
        upstream.watch(client)
    chunks = _while_wanted(upstream)
    first = next(chunks, b"")
    response = ProxiedResponse(chain((first,), chunks), status=upstream.status, headers=headers)
    response.call_on_close(upstream.close)
    return response


def _while_wanted(upstream: StreamedReply) -> Iterator[bytes]:
    try:
        yield from upstream
    except ClientLeft as error:
        # In the server's own words: it closes the connection and logs nothing.
        raise ConnectionResetError(errno.ECONNRESET, "the client left") from error


def _response_headers(state: RequestState, upstream: StreamedReply) -> list[Header]:
    extra = frozenset(name.lower() for name in state.host.config.proxy_response_headers)
    kept = from_upstream(upstream.headers, extra=extra)
    headers = [header for header in (_placed(state, *header) for header in kept) if header is not None]
    if upstream.status in (204, 304):
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return headers + protective_headers(headers)


def _placed(state: RequestState, name: str, value: str) -> Header | None:
    """The header, a Location mapped to our own paths; None for a place elsewhere."""
    if name.lower() != "location":
        return name, value
    mount = state.host.mount
    prefix = state.root + (mount.prefix if mount else "")
    base_url = state.host.transport.base_url
    asked = f"{base_url}/{state.forward.path.quoted()}" if state.forward else base_url
    place = map_location(value, request_url=asked, base_url=base_url, prefix=prefix)
    return None if place is None else (name, place)
