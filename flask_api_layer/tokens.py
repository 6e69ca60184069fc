"""Asks the backend about tokens: check, refresh, mint, login, logout."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from . import signals
from .backends import Backend, Request
from .errors import BackendTimeout, BackendUnavailable, BadGateway, StoreDown, denial
from .sansio.identity import Answer, Forbidden, Identity, Rejected, Unreachable
from .sansio.redact import without_tokens
from .sansio.refresh import (
    Move,
    Outcome,
    Progress,
    Successor,
    Undecided,
    lease_seconds,
    next_move,
    settle,
)
from .sansio.session import Session, TokenSet, start_session, timestamp, unverified_claims
from .sessions import Ledger
from .signals import emit
from .transport import Reply, TimedOut, Transport, TransportError
from .validations import Validations

_log = logging.getLogger(__name__)

_GUESTS_REST_SECONDS = 30.0
_LOGOUT_SECONDS = 2.0
_POLL_SECONDS = (0.02, 0.05, 0.1)
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Grant:
    """Somebody was let in.

    :param session: None after a registration that asks for a login.
    :param identity: None when the backend could not say who it is.
    """

    session: Session | None
    identity: Identity | None


class Tokens:
    """Everything that the backend is asked about tokens.

    :param sender: of the signals; the Flask app.
    :param allowed_types: ALLOWED_TOKEN_TYPES, None for all.
    :param clock: seconds since the epoch.
    :param sleep: waits that many seconds.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        transport: Transport,
        ledger: Ledger,
        validations: Validations,
        sender: object,
        connect_timeout: float,
        read_timeout: float,
        allowed_types: tuple[str, ...] | None = None,
        guest_credentials: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._transport = transport
        self._ledger = ledger
        self._validations = validations
        self._sender = sender
        self._lease_seconds = lease_seconds(connect_timeout, read_timeout)
        self._allowed_types = allowed_types
        self._guest_credentials = guest_credentials
        self._clock = clock
        self._sleep = sleep
        self._guests_rest_until = 0.0
        self._hinted: set[int] = set()

    @property
    def can_refresh(self) -> bool:
        return self._backend.endpoints["refresh"] is not None

    # Checking

    def check(self, session: Session) -> Answer:
        """Who the backend says this token belongs to; asked at most once per VALIDATE_TTL and process."""
        answer = self._validations.ask(session.access_token, lambda: self._ask_me(session.access_token))
        return self._admit(answer) if session.kind == "user" else answer

    def forget(self, session: Session) -> None:
        """The token was refused somewhere: whatever was known about it counts no more."""
        self._validations.forget(session.access_token)

    def known_guest(self, session: Session) -> Identity:
        """Who a guest is, as far as it is known without asking."""
        known = self._validations.fresh(session.access_token)
        subject = unverified_claims(session.access_token).get("sub")
        identity = known or self._backend.identity_from({"sub": subject})
        return replace(identity, kind="guest")

    def with_expiry(self, session: Session, answer: Answer) -> Session:
        """The session with the expiry out of the backend's record, when nothing else told it; else the very same session."""
        if session.expires_at is not None or not isinstance(answer, Identity):
            return session
        expires_at = timestamp(answer.data.get("exp"))
        return session if expires_at is None else replace(session, expires_at=expires_at)

    def _ask_me(self, token: str) -> Answer:
        try:
            reply = self._call("me", "GET", Request(bearer=token))
        except TransportError:
            return Unreachable()
        if reply.status == 401:
            return Rejected()
        if reply.status == 403:
            return Forbidden()
        identity = self._backend.parse_identity(_json(reply)) if reply.status == 200 else None
        # A page of HTML or an empty body says nothing about the token.
        return self._describe(identity, (token,)) if identity else Unreachable()

    def _describe(self, identity: Identity, tokens: tuple[str, ...]) -> Identity:
        """The identity without tokens in its record, its token type filled in from the token."""
        claimed = unverified_claims(tokens[0]).get("type") if identity.token_type is None else None
        return replace(
            identity,
            token_type=claimed if isinstance(claimed, str) else identity.token_type,
            data=MappingProxyType(without_tokens(dict(identity.data), tokens)),
        )

    def _admit(self, answer: Answer) -> Answer:
        """ALLOWED_TOKEN_TYPES, on every request and not only at login."""
        refused = isinstance(answer, Identity) and not self._is_allowed(answer)
        return Forbidden("token_type_refused") if refused else answer

    def _is_allowed(self, identity: Identity) -> bool:
        return self._allowed_types is None or identity.token_type in self._allowed_types

    # Refreshing

    def refresh(self, session: Session) -> Outcome:
        """What became of the session's credential; over all workers it is spent at most once.

        :returns: ``Successor``, ``Ended``, or ``Undecided`` when nobody can say now (the backend or the store is down, or another
            worker holds the lease for too long).
        """
        progress, mark, waits = Progress(), None, 0
        deadline = time.monotonic() + self._lease_seconds
        try:
            while isinstance(move := next_move(progress), Move):
                match move:
                    case Move.LOOK:
                        progress = self._look(session, progress)
                    case Move.LEASE:
                        mark = self._ledger.lease(session, self._lease_seconds)
                        progress = replace(progress, lease="mine" if mark else "taken", looked=mark is None)
                    case Move.WAIT:
                        self._sleep(_POLL_SECONDS[min(waits, len(_POLL_SECONDS) - 1)])
                        waits += 1
                        patient = time.monotonic() < deadline
                        progress = replace(progress, lease="free", looked=False, patient=patient)
                    case Move.CALL:
                        progress = self._spend(session, progress)
            return move
        except StoreDown:
            # Without the store nobody knows who else is spending it: an uncoordinated refresh trips the reuse detection.
            return Undecided()
        finally:
            if mark:
                self._ledger.release(session, mark)

    def _look(self, session: Session, progress: Progress) -> Progress:
        entry = self._ledger.find(session)
        buried = entry is None and self._ledger.is_buried(session)
        return replace(progress, looked=True, entry=entry, logged_out=buried)

    def _spend(self, session: Session, progress: Progress) -> Progress:
        answer = self._ask_refresh(session)
        if isinstance(answer, Undecided):
            return replace(progress, answer=answer)
        try:
            entry = self._ledger.record(session, answer)
            buried = self._ledger.is_buried(session)
        except StoreDown:
            # The others cannot learn of it, but this browser must not lose what was just handed out.
            entry, buried = answer, False
        if buried and isinstance(answer, Successor):
            self.logout(answer.session)
        return replace(progress, entry=entry, logged_out=buried)

    def _ask_refresh(self, session: Session) -> Outcome:
        headers = {"Idempotency-Key": self._ledger.idempotency_key(session)}
        try:
            reply = self._call("refresh", "POST", self._backend.refresh_request(session), headers=headers)
        except TransportError:
            return self._refresh_failed(session, "network")
        tokens = self._backend.parse_token(_json(reply)) if 200 <= reply.status < 300 else None
        if tokens is None:
            return self._refused(session, reply)
        renewed = session.renew(tokens, self._clock())
        self._carry_identity(session, renewed, tokens)
        emit(signals.token_refreshed, self._sender, session_id=session.id, kind=session.kind)
        return Successor(renewed)

    def _refused(self, session: Session, reply: Reply) -> Outcome:
        if 200 <= reply.status < 300:
            return self._refresh_failed(session, "network")
        failure = self._backend.classify_refresh_failure(reply.status, _json(reply))
        if failure == "unknown":
            self._hint(reply.status)
        if failure == "reuse":
            emit(signals.token_reuse, self._sender, session_id=session.id, kind=session.kind)
            return settle(failure)
        self._refresh_failed(session, failure)
        return settle(failure)

    def _refresh_failed(self, session: Session, reason: str) -> Undecided:
        emit(signals.refresh_failed, self._sender, session_id=session.id, kind=session.kind, reason=reason)
        return Undecided()

    def _hint(self, status: int) -> None:
        if status not in self._hinted:
            self._hinted.add(status)
            _log.warning(
                "the refresh endpoint %r answered %d, which says nothing about the token; check API_LAYER_ENDPOINTS['refresh'], "
                "or set it to None when the backend cannot refresh",
                self._backend.endpoints["refresh"],
                status,
            )

    def _carry_identity(self, old: Session, new: Session, tokens: TokenSet) -> None:
        """A refresh counts as a validation when it says who the user is; else what is known keeps its age."""
        if tokens.user is not None:
            self._learn(new, tokens)
        else:
            self._validations.carry(old.access_token, new.access_token)

    def _learn(self, session: Session, tokens: TokenSet) -> Identity:
        identity = self._describe(self._backend.identity_from(tokens.user or {}), tokens.secrets)
        self._validations.learn(session.access_token, identity)
        return identity

    # Letting in and out

    def mint(self) -> Grant | None:
        """A new guest; None when the backend gives none, and then it is left alone for 30 s."""
        if self._clock() < self._guests_rest_until:
            return None
        try:
            reply = self._call("guest", "POST", Request(json=dict(self._guest_credentials or {})))
        except TransportError:
            reply = None
        tokens = self._backend.parse_token(_json(reply)) if reply and 200 <= reply.status < 300 else None
        if tokens is None:
            self._guests_rest_until = self._clock() + _GUESTS_REST_SECONDS
            _log.warning(
                "the guest endpoint gave no token; it is not asked again for %d s", _GUESTS_REST_SECONDS
            )
            return None
        session = self._start("guest", tokens)
        # A fresh token counts as validated; without a record its own claims say which guest it is.
        record = tokens.user or {"sub": unverified_claims(tokens.access_token).get("sub"), "type": "guest"}
        return Grant(session, self._learn(session, replace(tokens, user=record)))

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
        reply = self._ask(endpoint, Request(json=self._backend.login_body(fields)), headers)
        tokens = self._backend.parse_token(_json(reply))
        if tokens is None and endpoint == "register":
            return Grant(None, None)
        if tokens is None:
            _log.error("the %s endpoint answered %d without a usable token", endpoint, reply.status)
            raise BadGateway()
        return self._grant(tokens)

    def _grant(self, tokens: TokenSet) -> Grant:
        session = self._start("user", tokens)
        answer = self._learn(session, tokens) if tokens.user is not None else self.check(session)
        match answer:
            case Identity() as identity if self._is_allowed(identity):
                return Grant(self.with_expiry(session, identity), identity)
            case Identity() | Forbidden("token_type_refused"):
                self.logout(session)
                raise denial("token_type_refused")
            case Rejected():
                _log.error("the backend rejects the token that its login just handed out")
                raise BadGateway()
            case _ if self._allowed_types is not None:
                # Whether this type of token may come in cannot be known now.
                self.logout(session)
                raise BackendUnavailable()
            case _:
                return Grant(session, None)

    def logout(self, session: Session) -> None:
        """Tell the backend that the session is over; it has 2 s, and its answer changes nothing."""
        if self._backend.endpoints["logout"] is None:
            return
        try:
            self._call("logout", "POST", self._backend.logout_request(session), timeout=_LOGOUT_SECONDS)
        except TransportError:
            _log.warning("the backend could not be told about a logout")

    def _start(self, kind: Literal["user", "guest"], tokens: TokenSet) -> Session:
        return start_session(kind, tokens, session_id=secrets.token_urlsafe(12), now=self._clock())

    # Talking

    def _ask(self, endpoint: str, request: Request, headers: Mapping[str, str] | None) -> Reply:
        """The backend's good answer; everything else is raised as the denial that passes it on."""
        try:
            reply = self._call(endpoint, "POST", request, headers=headers)
        except TimedOut as error:
            raise BackendTimeout() from error
        except TransportError as error:
            raise BadGateway() from error
        if 200 <= reply.status < 300:
            return reply
        if 400 <= reply.status < 500:
            raise _refusal(endpoint, reply)
        raise {503: BackendUnavailable, 504: BackendTimeout}.get(reply.status, BadGateway)()

    def _call(
        self,
        endpoint: str,
        method: str,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        path = self._backend.endpoints[endpoint]
        if path is None:
            raise denial("no_route")
        try:
            return self._transport.call(
                method, path, json=request.json, headers=headers, bearer=request.bearer, timeout=timeout
            )
        except TransportError:
            emit(signals.backend_unavailable, self._sender, endpoint=endpoint)
            raise


def _json(reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _refusal(endpoint: str, reply: Reply) -> Exception:
    """The backend's own 4xx: status, message and errors come through, tokens and anything odd do not."""
    decoded = without_tokens(_json(reply))
    body = decoded if isinstance(decoded, dict) else {}
    errors = _field_errors(body.get("errors"))
    invalid = bool(errors) or reply.status == 422 or endpoint == "register"
    message = body.get("message")
    retry_after = reply.header("Retry-After") or ""
    return denial(
        "rate_limited" if reply.status == 429 else "validation_failed" if invalid else "login_failed",
        detail=message[:_LONGEST_MESSAGE] if isinstance(message, str) else None,
        status=reply.status,
        errors=errors,
        retry_after=int(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
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
