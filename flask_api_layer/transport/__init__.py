"""Calls to the backend: whole answers for the layer itself, streamed ones for the proxy.

No cookie is kept, no redirect followed, nothing taken from the environment (a ``.netrc`` entry would replace the bearer), and every
wait has a limit.
"""

from __future__ import annotations

import http.client
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from .connections import Limits, Origin, Pool
from .framing import ClientLeft, Garbled, TimedOut, TransportError, Unreachable, build_request, check_header
from .http_sessions import ACCEPT_ENCODING, Bearer, Timeout, borrow, make_session, named, read_response
from .replies import MAX_BODY, Reply, StreamedReply

__all__ = [
    "MAX_BODY",
    "ClientLeft",
    "Garbled",
    "Reply",
    "StreamedReply",
    "TimedOut",
    "Transport",
    "TransportError",
    "Unreachable",
]

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


class Transport:
    """HTTP to one backend: ``call`` for whole answers, ``stream`` for those that are passed on.

    One object serves all threads and greenlets, and every process that is forked from the one that made it.

    :param base_url: ``http`` or ``https``, without user name, query or fragment; in ASCII (host names as punycode).
    :param connect_timeout: seconds for connecting, TLS included, per address of the host; looking up its name is not limited.
    :param read_timeout: seconds of silence, while sending too.
    :param total_timeout: seconds for a call from connecting to the last byte; for a stream up to the end of the answer's head, not
        counting a body that is still coming in.
    :param pool_size: how many idle connections are kept.
    :param session: a session of your own for ``call``, used with its adapters, headers, authentication, hooks and TLS settings. Its
        cookies, ``.netrc``, environment and redirects stay out of it, and the object itself is not changed. With its adapters the
        total is checked between reads only, so a backend that trickles its headers is cut off later. ``stream`` does not use it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout: float = 2,
        read_timeout: float = 10,
        total_timeout: float = 30,
        pool_size: int = 32,
        session: requests.Session | None = None,
    ) -> None:
        for seconds in (connect_timeout, read_timeout, total_timeout):
            _check_seconds(seconds)
        self.origin, self.base_path = _parse_base(base_url)
        self.base_url = f"{self.origin.scheme}://{self.origin.netloc}{self.base_path}"
        self._limits = Limits(connect_timeout, read_timeout, total_timeout)
        self._pool = Pool(self.origin, size=pool_size)
        self._session = make_session(self._pool) if session is None else borrow(session)
        self._is_borrowed = session is not None

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        json: Any = None,
        data: Any = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """The backend's whole answer, whatever its status.

        :param path: relative to the base URL, with or without a query.
        :param timeout: seconds for this call; replaces both the total and the read timeout.
        :raises TransportError: when there is no usable answer.
        :raises ValueError: for a request that cannot be sent.
        """
        limits = self._limits_for(timeout)
        prepared = self._prepare(
            requests.Request(
                method,
                self._url(path),
                params=params,
                json=json,
                data=data,
                files=files,
                headers=self._call_headers(headers),
                auth=Bearer(bearer) if bearer is not None else None,
            )
        )
        return self._send(prepared, limits)

    def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]],
        body: bytes | Iterable[bytes] | None = None,
        timeout: float | None = None,
        pauses: bool = False,
    ) -> StreamedReply:
        """The backend's answer as soon as its head is there; the caller reads or closes it.

        :param target: the whole path and query on the backend's origin, quoted; sent byte for byte.
        :param headers: sent as they are; Host and the framing are added. With a Content-Length, an iterable body must have that
            length, without one it goes out chunked.
        :param body: what it raises comes out of here unchanged, and the backend never sees a complete body.
        :param timeout: seconds, in place of both the total and the read timeout.
        :param pauses: the body may be silent for as long as it likes, as that of an event stream may.
        """
        request = build_request(method, target, self.origin.netloc, headers, body)
        limits = self._limits_for(timeout)
        wire, head = self._pool.exchange(request, limits)
        return StreamedReply(wire, head, self._pool, read_timeout=None if pauses else limits.read)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their answer ends. A borrowed session stays open."""
        self._pool.close()
        if not self._is_borrowed:
            self._session.close()

    def _limits_for(self, timeout: float | None) -> Limits:
        if timeout is None:
            return self._limits
        _check_seconds(timeout)
        return Limits(self._limits.connect, timeout, timeout)

    def _url(self, path: str) -> str:
        segments = re.split(r"[/\\]", path.partition("?")[0])
        if any(unquote(segment) in {".", ".."} for segment in segments):
            raise ValueError("path must not hold dot segments")
        return f"{self.base_url}/{path.removeprefix('/')}"

    def _call_headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        # A session of requests also accepts the codings of packages that happen to be installed.
        named = {"Accept-Encoding": ACCEPT_ENCODING, **(headers or {})}
        for name, value in named.items():
            check_header(name, value)
        return named

    def _prepare(self, request: requests.Request) -> requests.PreparedRequest:
        try:
            return self._session.prepare_request(request)
        except requests.RequestException as error:
            # Its text and its cause may quote what was to be sent.
            raise ValueError(f"the request cannot be sent ({type(error).__name__})") from None

    def _send(self, prepared: requests.PreparedRequest, limits: Limits) -> Reply:
        deadline = monotonic() + limits.total
        replies: list[Reply] = []

        # As a hook, the body is read under our limits before requests itself looks at it, which it does for every redirect.
        def read(response: requests.Response, **_: Any) -> None:
            replies.append(read_response(response, deadline))
            # Left there, requests would work out where it leads, and fail on what it cannot parse.
            response.headers.pop("Location", None)

        prepared.register_hook("response", read)  # type: ignore[no-untyped-call]
        timeout: Any = Timeout(limits)
        try:
            response = self._session.send(prepared, stream=True, allow_redirects=False, timeout=timeout)
            return replies[-1] if replies else read_response(response, deadline)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
        ) as error:
            # Texts and causes quote the URL with its query, and what the backend said.
            raise named(error) from None


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ValueError(f"a timeout must be a positive number of seconds, not {seconds!r}")


def _parse_base(base_url: str) -> tuple[Origin, str]:
    try:
        parts = urlsplit(base_url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        # Its text quotes what stands where the port should be, which may be a password.
        raise ValueError("base_url has no usable host and port") from None
    if scheme not in _PORTS or not host or not _PRINTABLE.fullmatch(base_url):
        raise ValueError("base_url must be an ASCII URL with http or https and a host")
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        raise ValueError("base_url must not hold a user name, a query or a fragment")
    name = f"[{host}]" if ":" in host else host
    netloc = name if port in {None, _PORTS[scheme]} else f"{name}:{port}"
    return Origin(scheme, host, port or _PORTS[scheme], netloc), parts.path.rstrip("/")
