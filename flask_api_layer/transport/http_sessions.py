"""Sessions of requests that call the backend through our connections, or a user's own kept free of cookies and environment."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from .connections import CHUNK, Limits, Pool
from .framing import Garbled, TimedOut, TransportError, Unreachable, build_request, check_header
from .replies import Reply, StreamedReply, gather, make_reply, without_coding

ACCEPT_ENCODING = "gzip, deflate"
_DEFAULT_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": ACCEPT_ENCODING,
    "User-Agent": "flask-api-layer",
}
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_CUT_SHORT = (http.client.RemoteDisconnected, http.client.IncompleteRead)


class Bearer(AuthBase):
    """As authentication, so that neither a ``.netrc`` nor the session's own authentication replaces it."""

    def __init__(self, token: str) -> None:
        check_header("Authorization", token)
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Timeout(urllib3.Timeout):
    """Our limits in the form that every adapter of requests understands."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(connect=min(limits.connect, limits.total), read=limits.read, total=limits.total)
        self.limits = limits


class PoolAdapter(BaseAdapter):
    """Lets a session of requests use our connections."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def send(
        self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any
    ) -> requests.Response:
        limits: Limits = timeout.limits
        headers = [pair for pair in request.headers.items() if pair[0].lower() != "transfer-encoding"]
        body = _outgoing(request.body)
        netloc = self._pool.origin.netloc
        outgoing = build_request(request.method or "GET", request.path_url, netloc, headers, body)
        reply = StreamedReply(*self._pool.exchange(outgoing, limits), self._pool, read_timeout=limits.read)
        response = requests.Response()
        response.status_code = reply.status
        response.headers = CaseInsensitiveDict(reply.headers)
        response.raw = reply
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        self._pool.close()


def _outgoing(body: Any) -> bytes | Iterable[bytes] | None:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytearray):
        return bytes(body)
    if hasattr(body, "read"):
        return iter(lambda: body.read(CHUNK), b"")
    return body  # type: ignore[no-any-return]


def make_session(pool: Pool) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies = _no_cookies()
    session.headers.clear()
    session.headers.update(_DEFAULT_HEADERS)
    session.mount("http://", PoolAdapter(pool))
    session.mount("https://", PoolAdapter(pool))
    return session


def borrow(session: requests.Session) -> requests.Session:
    """A session that shares everything with ``session`` but the cookies and the trust in the environment."""
    borrowed = type(session).__new__(type(session))
    vars(borrowed).update(vars(session))
    borrowed.trust_env = False
    borrowed.cookies = _no_cookies()
    return borrowed


def _no_cookies() -> RequestsCookieJar:
    # One jar serves all users: a cookie that the backend set for one would be sent with the next one's call.
    return RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


def read_response(response: requests.Response, deadline: float) -> Reply:
    """The whole answer out of a response that has not been read, unless one of the session's own hooks did."""
    raw = response.raw
    if isinstance(raw, StreamedReply):
        return make_reply(raw.status, raw.headers, raw.read_all())
    headers = tuple(raw.headers.items())
    if isinstance(content := getattr(response, "_content", None), bytes):
        return Reply(response.status_code, without_coding(headers), content)
    try:
        if not 200 <= response.status_code <= 599:
            raise Garbled("The backend's answer has no acceptable status line")
        body = gather(_arriving(raw, deadline))
    except BaseException:
        raw.close()
        raise
    raw.release_conn()
    return make_reply(response.status_code, headers, body)


def _arriving(raw: urllib3.HTTPResponse, deadline: float) -> Iterator[bytes]:
    while piece := raw.read1(CHUNK, decode_content=False):
        yield piece
        if monotonic() > deadline:
            raise TimedOut("The backend did not answer in time")


def named(error: BaseException) -> TransportError:
    """The transport error that says the same; a refused connection is a kind of timeout only to urllib3."""
    causes = [
        cause for cause in _causes(error) if not isinstance(cause, urllib3.exceptions.NewConnectionError)
    ]
    if any(isinstance(cause, _TIMEOUTS) for cause in causes):
        return TimedOut("The backend did not answer in time")
    if any(
        isinstance(cause, http.client.HTTPException) and not isinstance(cause, _CUT_SHORT) for cause in causes
    ):
        return Garbled("The backend's answer is not acceptable HTTP")
    return Unreachable("The backend cannot be reached, or the connection broke")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it wraps. requests and urllib3 wrap in arguments; ``__context__`` may belong to the caller."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None)):
        if isinstance(inner, BaseException):
            yield from _causes(inner)
