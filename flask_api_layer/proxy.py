"""The proxy view: forwards what the hooks have let through, and streams both ways."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from flask import Response
from werkzeug.datastructures import Headers

from .callbacks import ProxyAnswer, ProxyCall
from .errors import BackendTimeout, BadGateway, denial
from .sansio.headers import (
    Header,
    from_upstream,
    map_location,
    protective_headers,
    revised_answer,
    revised_request,
    to_upstream,
)
from .sansio.proxying import Forward
from .state import RequestState, request_state
from .transport import ClientLeft, StreamedReply, TimedOut, Transport, TransportError
from .uploads import BodyBroken, Upload, client_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_CHUNK = 65_536
_REQUEST_LINE = "".join(map(chr, range(0x21, 0x7F)))


class ProxiedResponse(Response):
    """The backend's answer; nothing is added that it did not say."""

    default_mimetype = None

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers as they are; Werkzeug's repairs are for those of its own making."""
        if self.status_code in (204, 304) or "Content-Length" not in self.headers:
            return super().get_wsgi_headers(environ)
        return self.headers


class _Outbound(NamedTuple):
    """A request as it goes upstream; its bearer is added when it is sent."""

    method: str
    decision: Forward
    transport: Transport
    target: str
    headers: list[Header]
    upload: Upload | None

    def send(self, body: bytes | Upload | None, token: str | None) -> StreamedReply:
        headers = [*self.headers, ("Authorization", f"Bearer {token}")] if token else self.headers
        route = self.decision.route
        return self.transport.stream(
            self.method,
            self.target,
            headers=headers,
            body=body,
            timeout=route.timeout,
            pauses=route.stream,
        )

    def described(self) -> ProxyCall:
        """The same for a callback."""
        path = "/".join(self.decision.path.segments)
        return ProxyCall(self.method, path, self.decision.route.upstream, Headers(self.headers))


def forward(**_: Any) -> Response:
    """Send the request to the backend with the right bearer, and its answer back."""
    state = request_state()
    decision = state.forward
    if decision is None:
        # Only reached when somebody calls the view past the hooks.
        raise denial("no_route")
    try:
        body = _upload(state)
        token = _bearer(state, decision)
        outbound = _outbound(state, decision, body, has_bearer=token is not None)
        upstream, added = _exchange(state, outbound, token)
        try:
            return _response(state, outbound, upstream, added)
        except BaseException:
            upstream.close()
            raise
    except BodyBroken as error:
        raise denial(error.code) from error
    except TimedOut as error:
        raise BackendTimeout() from error
    except TransportError as error:
        raise BadGateway() from error


def _exchange(
    state: RequestState, outbound: _Outbound, token: str | None
) -> tuple[StreamedReply, list[Header]]:
    """The backend's answer, after one more try where a 401 could be cured, and headers to add to it."""
    body = outbound.upload
    upstream = outbound.send(body, token)
    if upstream.status != 401 or token is None:
        return upstream, []
    try:
        renewed = state.renew(token)
    except BaseException:
        upstream.close()
        raise
    if renewed is None:
        return upstream, []
    if body is not None and body.copy is None:
        # The body is gone; the caller may send it again.
        return upstream, [("X-Auth-Refreshed", "1")]
    upstream.close()
    return outbound.send(body.copy if body else None, renewed), []


def _bearer(state: RequestState, decision: Forward) -> str | None:
    route = decision.route
    is_public = route.auth != "user" and decision.path.segments in state.host.proxy_public
    if route.auth == "none" or is_public:
        return None
    token = state.bearer()
    if token is None:
        raise state.nobody()
    return token


def _upload(state: RequestState) -> Upload | None:
    config, req = state.host.config, state.request
    return client_body(req.environ, req.method, limit=config.proxy_max_body, keep=config.proxy_replay_body)


def _outbound(state: RequestState, decision: Forward, body: Upload | None, *, has_bearer: bool) -> _Outbound:
    transport, req = state.host.upstreams.transport(decision.route.upstream), state.request
    query = req.environ.get("QUERY_STRING", "")
    target = f"{transport.base_path}/{decision.target}" + (f"?{_sendable(query)}" if query else "")
    assert target.startswith(transport.base_path + "/")
    headers = _request_headers(state, decision, has_body=body is not None)
    outbound = _Outbound(req.method, decision, transport, target, headers, body)
    if not state.host.callbacks.before_proxy:
        return outbound
    call = outbound.described()
    for callback in state.host.callbacks.before_proxy:
        callback(call)
    headers = revised_request(headers, call.headers.items(), has_bearer=has_bearer)
    return _Outbound(req.method, decision, transport, target, headers, body)


def _sendable(query: str) -> str:
    """The query byte for byte, but for bytes that cannot stand in a request line."""
    return quote(query.encode("latin-1"), safe=_REQUEST_LINE)


def _request_headers(state: RequestState, decision: Forward, *, has_body: bool) -> list[Header]:
    extra = state.host.config.proxy_request_headers | decision.route.request_headers
    req = state.request
    return [
        *to_upstream(req.environ, extra=extra, has_body=has_body),
        ("X-Request-ID", state.request_id),
        ("X-Forwarded-For", req.remote_addr or "unknown"),
        ("X-Forwarded-Proto", req.scheme),
        ("X-Forwarded-Host", req.host),
    ]


def _response(
    state: RequestState, outbound: _Outbound, upstream: StreamedReply, added: list[Header]
) -> Response:
    headers = Headers()
    # At once: one by one, Werkzeug takes twice as long.
    headers[:] = _response_headers(state, outbound, upstream) + added
    small = upstream.read_small(_CHUNK)
    if small is None:
        if upstream.is_event_stream:
            state.host.deployment.note_stream(state.request.environ)
        return _streamed(state, upstream, headers)
    if outbound.method == "HEAD" or upstream.status in (204, 304):
        # An empty list would become "Content-Length: 0", over what the backend said.
        return ProxiedResponse(iter(()), status=upstream.status, headers=headers)
    # As a list: given bytes, Werkzeug would write the Content-Length anew.
    return ProxiedResponse([small], status=upstream.status, headers=headers)


def _streamed(state: RequestState, upstream: StreamedReply, headers: Headers) -> Response:
    """The body as it comes.

    Servers hold the head back until the first bytes are there, so waiting for them costs nothing, and a body that breaks at once is
    still a 502.
    """
    client = state.request.environ.get("gunicorn.socket")
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


def _response_headers(state: RequestState, outbound: _Outbound, upstream: StreamedReply) -> list[Header]:
    extra = state.host.config.proxy_response_headers | outbound.decision.route.response_headers
    headers = []
    for name, value in from_upstream(upstream.headers, extra=extra):
        known = name.lower()
        place = _placed(state, outbound, value) if known == "location" else value
        if place is not None and not (known == "content-length" and upstream.status in (204, 304)):
            headers.append((name, place))
    headers += protective_headers(headers)
    if not state.host.callbacks.after_proxy:
        return headers
    answer = ProxyAnswer(outbound.described(), upstream.status, Headers(headers))
    for callback in state.host.callbacks.after_proxy:
        callback(answer)
    return revised_answer(headers, answer.headers.items())


def _placed(state: RequestState, outbound: _Outbound, location: str) -> str | None:
    """A Location mapped to our own paths; None for a place elsewhere."""
    mount, base_url = state.host.mount, outbound.transport.base_url
    return map_location(
        location,
        request_url=f"{base_url}/{outbound.decision.target}",
        base_url=base_url,
        prefix=state.root + (mount.prefix if mount else ""),
        public=outbound.decision.route.public,
    )
