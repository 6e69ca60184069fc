"""Calls to the backend's auth endpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from . import signals
from .backends import Backend, Request
from .errors import BackendTimeout, BackendUnavailable, BadGateway, denial
from .sansio.redact import without_tokens
from .sansio.session import Session
from .signals import emit
from .transport import Reply, TimedOut, Transport, TransportError

_log = logging.getLogger(__name__)

_LOGOUT_SECONDS = 2.0
_LONGEST_MESSAGE = 500
_SECONDS = re.compile(r"[0-9]{1,9}")


class BackendCalls:
    """The backend's auth endpoints, as functions.

    :param sender: of the signals; the Flask app.
    """

    def __init__(self, backend: Backend, transport: Transport, *, sender: object) -> None:
        self.backend = backend
        self._transport = transport
        self._sender = sender

    def has(self, endpoint: str) -> bool:
        return self.backend.endpoints[endpoint] is not None

    def call(
        self,
        endpoint: str,
        request: Request,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """The backend's answer, whatever its status.

        :raises TransportError: when there is none.
        :raises Denial: ``no_route`` when this backend has no such endpoint.
        """
        path = self.backend.endpoints[endpoint]
        if path is None:
            raise denial("no_route")
        try:
            reply = self._transport.call(
                method, path, json=request.json, headers=headers, bearer=request.bearer, timeout=timeout
            )
        except TransportError:
            self.report(endpoint)
            raise
        if reply.status >= 500:
            self.report(endpoint)
        return reply

    def report(self, endpoint: str) -> None:
        """Tell that the backend gave no usable answer."""
        emit(signals.backend_unavailable, self._sender, endpoint=endpoint)

    def demand(self, endpoint: str, request: Request, *, headers: Mapping[str, str] | None = None) -> Reply:
        """The backend's good answer; everything else is raised as the denial that passes it on."""
        try:
            reply = self.call(endpoint, request, headers=headers)
        except TimedOut as error:
            raise BackendTimeout() from error
        except TransportError as error:
            raise BadGateway() from error
        if 200 <= reply.status < 300 and not _says_no(reply):
            return reply
        if reply.status < 300 or 400 <= reply.status < 500:
            raise _refusal(endpoint, reply, tuple((headers or {}).values()))
        raise {503: BackendUnavailable, 504: BackendTimeout}.get(reply.status, BadGateway)()

    def logout(self, session: Session) -> None:
        """Tell the backend that the session is over; it has 2 s, and its answer changes nothing."""
        if not self.has("logout"):
            return
        try:
            self.call("logout", self.backend.logout_request(session), timeout=_LOGOUT_SECONDS)
        except TransportError:
            _log.warning("the backend could not be told about a logout")


def decoded(reply: Reply) -> Any:
    """The JSON of an answer, None when it is not JSON."""
    try:
        return reply.json()
    except ValueError:
        return None


def _says_no(reply: Reply) -> bool:
    """Some backends refuse with a 200 and ``"success": false``."""
    body = decoded(reply)
    return isinstance(body, dict) and body.get("success") is False


def _refusal(endpoint: str, reply: Reply, secrets: tuple[str, ...]) -> Exception:
    """The backend's own 4xx: status, message and errors come through, tokens and anything odd do not.

    :param secrets: what was sent along and must not come back.
    """
    answer = without_tokens(decoded(reply), secrets)
    body = answer if isinstance(answer, dict) else {}
    errors = _field_errors(body.get("errors"))
    invalid = bool(errors) or reply.status == 422 or endpoint == "register"
    message = body.get("message")
    retry_after = reply.header("Retry-After") or ""
    return denial(
        "rate_limited" if reply.status == 429 else "validation_failed" if invalid else "login_failed",
        detail=message[:_LONGEST_MESSAGE] if isinstance(message, str) else None,
        status=reply.status if reply.status >= 400 else None,
        errors=errors,
        retry_after=int(retry_after) if _SECONDS.fullmatch(retry_after) else None,
    )


def _field_errors(errors: Any) -> dict[str, list[str]]:
    if not isinstance(errors, dict):
        return {}
    lists = {field: [texts] if isinstance(texts, str) else texts for field, texts in errors.items()}
    return {
        field: [text for text in texts if isinstance(text, str)]
        for field, texts in lists.items()
        if isinstance(texts, list)
    }
