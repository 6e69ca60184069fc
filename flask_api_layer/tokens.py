"""Lets visitors in and out: guests, logins, logouts."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .backends import Request
from .calls import BackendCalls, decoded
from .errors import BackendUnavailable, BadGateway, denial
from .identities import Identities
from .sansio.identity import Forbidden, Identity, Rejected
from .sansio.session import Session, TokenSet, start_session, unverified_claims
from .transport import TransportError

_log = logging.getLogger(__name__)

_GUESTS_REST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Somebody was let in.

    :param session: None after a registration that asks for a login.
    :param identity: None when the backend could not say who it is.
    """

    session: Session | None
    identity: Identity | None


class Tokens:
    """Exchanges credentials for sessions, and ends them.

    :param guest_credentials: GUEST_CREDENTIALS, sent to the guest endpoint.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        calls: BackendCalls,
        identities: Identities,
        *,
        guest_credentials: Mapping[str, Any] | None,
        clock: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._identities = identities
        self._guest_credentials = guest_credentials
        self._clock = clock
        self._guests_rest_until = 0.0

    def mint(self, session_id: str | None = None) -> Grant | None:
        """A new guest; None when the backend gives none, and then it is left alone for 30 s.

        :param session_id: for the new session, where the visitor's forms are bound to one already.
        """
        if time.monotonic() < self._guests_rest_until:
            return None
        tokens = self._ask_for_guest()
        if tokens is not None:
            session = self._start("guest", tokens, session_id or secrets.token_urlsafe(12))
            # A fresh token counts as checked; without a record its own claims say which guest it is.
            record = tokens.user or {
                "sub": unverified_claims(tokens.access_token).get("sub"),
                "type": "guest",
            }
            checked = self._identities.welcome(session, replace(tokens, user=record))
            if isinstance(checked.answer, Identity):
                return Grant(checked.session, replace(checked.answer, kind="guest"))
        self.rest_guests()
        return None

    def rest_guests(self) -> None:
        """Leave the guest endpoint alone for 30 s: what it gave was of no use, and more of it would not be either."""
        self._guests_rest_until = time.monotonic() + _GUESTS_REST_SECONDS
        _log.warning(
            "the guest endpoint gave no usable token; it is left alone for %d s", _GUESTS_REST_SECONDS
        )

    def _ask_for_guest(self) -> TokenSet | None:
        try:
            reply = self._calls.call("guest", Request(json=dict(self._guest_credentials or {})))
        except TransportError:
            return None
        return self._calls.backend.parse_token(decoded(reply)) if 200 <= reply.status < 300 else None

    def login(
        self,
        endpoint: Literal["login", "register"],
        fields: Mapping[str, Any],
        *,
        guest_token: str | None = None,
    ) -> Grant:
        """A new session for these credentials.

        :param guest_token: sent along, so that the backend can merge the guest's cart.
        :raises Denial: with the backend's 4xx, message and errors; 502, 503 or 504 when it cannot be asked; ``token_type_refused``.
        """
        headers = {"X-Guest-Token": guest_token} if guest_token else None
        reply = self._calls.demand(
            endpoint, Request(json=self._calls.backend.login_body(fields)), headers=headers
        )
        body = decoded(reply)
        tokens = self._calls.backend.parse_token(body)
        if tokens is None and endpoint == "register" and (isinstance(body, dict) or not reply.body):
            return Grant(None, None)
        if tokens is None:
            _log.error("the %s endpoint answered %d without a usable token", endpoint, reply.status)
            raise BadGateway()
        return self._grant(tokens)

    def _grant(self, tokens: TokenSet) -> Grant:
        session = self._start("user", tokens, secrets.token_urlsafe(12))
        checked = self._identities.welcome(session, tokens)
        match checked.answer:
            case Identity() as identity:
                return Grant(checked.session, identity)
            case Forbidden("token_type_refused"):
                self._calls.logout(session)
                raise denial("token_type_refused")
            case Rejected():
                _log.error(
                    "the token of a login that went well is refused; with VALIDATE 'local', check the JWT keys"
                )
                raise BadGateway()
            case _ if not self._identities.admits_all_types:
                # Whether this type of token may come in cannot be known now.
                self._calls.logout(session)
                raise BackendUnavailable()
            case _:
                return Grant(session, None)

    def _start(self, kind: Literal["user", "guest"], tokens: TokenSet, session_id: str) -> Session:
        return start_session(kind, tokens, session_id=session_id, now=self._clock())
