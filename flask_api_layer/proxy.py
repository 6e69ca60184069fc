"""The proxy view: forwards what the hooks have let through, and streams both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from flask import Response, request

from .errors import BackendTimeout, BadGateway, LoginRequired, denial
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
from .transport import StreamedReply, TimedOut, TransportError

_CHUNK = 65_536


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
    body = _request_body(state)
    token = _bearer(state, decision)
    try:
        upstream = _send(state, decision, body, token)
        added: list[Header] = []
        if upstream.status == 401 and token is not None and (renewed := _renew(state, token, upstream)):
            if body is None or isinstance(body, bytes):
                upstream.close()
                upstream = _send(state, decision, body, renewed)
            else:
                # The body is gone; the caller may send it again.
                added.append(("X-Auth-Refreshed", "1"))
        return _response(state, upstream, added)
    except _BodyBroken as error:
        raise denial(error.code) from error
    except TimedOut as error:
        raise BackendTimeout() from error
    except TransportError as error:
        raise BadGateway() from error


def _bearer(state: RequestState, decision: Forward) -> str | None:
    if decision.path.segments in state.host.proxy_public:
        return None
    token = state.bearer()
    if token is None:
        raise LoginRequired() if not state.resolver.has_ended else denial("session_expired")
    return token


def _send(
    state: RequestState, decision: Forward, body: bytes | Iterable[bytes] | None, token: str | None
) -> StreamedReply:
    transport = state.host.transport
    query = request.environ.get("QUERY_STRING", "")
    target = f"{transport.base_path}/{decision.path.quoted()}" + (f"?{query}" if query else "")
    assert target.startswith(transport.base_path + "/")
    return transport.stream(request.method, target, headers=_request_headers(state, body, token), body=body)


def _renew(state: RequestState, token: str, refused: StreamedReply) -> str | None:
    """After a 401: the token for one more try, None when there is no better one."""
    try:
        return state.resolver.renew(token)
    except BaseException:
        refused.close()
        raise


def _request_headers(
    state: RequestState, body: bytes | Iterable[bytes] | None, token: str | None
) -> list[Header]:
    extra = frozenset(name.lower() for name in state.host.config.proxy_request_headers)
    headers = to_upstream(environ_headers(request.environ), extra=extra, has_body=body is not None)
    headers += [
        ("X-Request-ID", state.request_id),
        ("X-Forwarded-For", request.remote_addr or "unknown"),
        ("X-Forwarded-Proto", request.scheme),
        ("X-Forwarded-Host", request.host),
    ]
    return [*headers, ("Authorization", f"Bearer {token}")] if token else headers


def _request_body(state: RequestState) -> bytes | Iterable[bytes] | None:
    """The body as it came: None, bytes when it is small enough to be sent twice, else a stream."""
    environ, config = request.environ, state.host.config
    length, chunked = environ.get("CONTENT_LENGTH") or "", "HTTP_TRANSFER_ENCODING" in environ
    if chunked and length:
        # Two framings of one body are how requests are smuggled (RFC 9112 6.3).
        raise denial("bad_request")
    if request.method in ("GET", "HEAD") or not (length or chunked):
        return None
    stream: IO[bytes] = environ["wsgi.input"]
    if chunked:
        return _chunked(stream, config.proxy_max_body)
    if not (length.isascii() and length.isdigit()):
        raise denial("bad_request")
    size = int(length)
    if config.proxy_max_body is not None and size > config.proxy_max_body:
        raise denial("payload_too_large")
    if size > config.proxy_replay_body:
        return _sized(stream, size)
    try:
        return b"".join(_sized(stream, size))
    except _BodyBroken as error:
        raise denial(error.code) from error


def _sized(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes; a body that ends early is never forwarded as if it were whole."""
    while size > 0:
        chunk = _read(stream, min(size, _CHUNK))
        if not chunk:
            raise _BodyBroken("bad_request")
        size -= len(chunk)
        yield chunk


def _chunked(stream: IO[bytes], limit: int | None) -> Iterator[bytes]:
    size = 0
    while chunk := _read(stream, _CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            raise _BodyBroken("payload_too_large")
        yield chunk


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise _BodyBroken("bad_request") from error


def _response(state: RequestState, upstream: StreamedReply, added: list[Header]) -> Response:
    headers = _response_headers(state, upstream) + added
    try:
        small = upstream.read_small(_CHUNK)
    except TransportError:
        upstream.close()
        raise
    if small is None:
        response = ProxiedResponse(iter(upstream), status=upstream.status, headers=headers)
        response.call_on_close(upstream.close)
        return response
    if request.method == "HEAD" or upstream.status in (204, 304):
        # An empty list would become "Content-Length: 0", over what the backend said.
        return ProxiedResponse(iter(()), status=upstream.status, headers=headers)
    return ProxiedResponse(small, status=upstream.status, headers=headers)


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
    place = map_location(value, base_url=state.host.transport.base_url, prefix=prefix)
    return None if place is None else (name, place)
