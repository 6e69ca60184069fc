"""Who tokens belong to, as the backend says, or as the tokens themselves prove."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from .backends import Request
from .calls import BackendCalls, decoded
from .jwt import KeysUnavailable, Verifier
from .sansio.identity import Answer, Forbidden, Identity, Rejected, Unreachable
from .sansio.redact import without_tokens
from .sansio.session import Session, TokenSet, timestamp, unverified_claims
from .transport import TransportError
from .validations import Validations


class Checked(NamedTuple):
    """What is known about a session's token.

    :param session: the session with what was learned about its times; the very same one when nothing was.
    """

    answer: Answer
    session: Session


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """VALIDATE "local": tokens are verified on the spot, and the backend is asked every so often all the same.

    :param every: REVALIDATE_EVERY, seconds; 0 for never.
    """

    verifier: Verifier
    every: float

    def is_due(self, session: Session, now: float) -> bool:
        """Whether the backend has to be asked again."""
        return self.every > 0 and now - session.checked_at >= self.every


class Identities:
    """Finds out who a token belongs to, and remembers it.

    :param new_cache: gives an empty cache for answers.
    :param allowed_types: ALLOWED_TOKEN_TYPES, None for all.
    :param local: how tokens are verified without the backend; None: the backend is asked.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        calls: BackendCalls,
        new_cache: Callable[[], Validations],
        *,
        allowed_types: tuple[str, ...] | None,
        local: LocalCheck | None,
        clock: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._validations = new_cache()
        self._revalidations = new_cache()
        self._allowed_types = allowed_types
        self._local = local
        self._clock = clock

    @property
    def admits_all_types(self) -> bool:
        return self._allowed_types is None

    def check(self, session: Session) -> Checked:
        """Who this session's token belongs to; found out at most once per VALIDATE_TTL and process."""
        return self.known(session) or self._admitted(self._find_out(session))

    def known(self, session: Session) -> Checked | None:
        """The same, if nobody needs to be asked."""
        identity = self._validations.fresh(session.access_token)
        if identity is None or (self._local is not None and self._local.is_due(session, self._clock())):
            return None
        return self._admitted(Checked(identity, _with_expiry(session, identity)))

    def _find_out(self, session: Session) -> Checked:
        if self._local is not None:
            return self._check_locally(session, self._local)
        token = session.access_token
        answer = self._validations.ask(token, lambda: self._ask_me(token))
        return Checked(answer, _with_expiry(session, answer))

    def welcome(self, session: Session, tokens: TokenSet) -> Checked:
        """Who came in with fresh tokens; a record that came along counts as a check."""
        if self._local is not None or tokens.user is None:
            return self.check(session)
        identity = self._learn(session, tokens, tokens.user)
        return self._admitted(Checked(identity, _with_expiry(session, identity)))

    def follow(self, old: Session, new: Session, tokens: TokenSet) -> None:
        """After a refresh: it counts as a check when it says who the user is; else what is known keeps its age.

        A record without roles must not take away those that somebody has: what is known completes it, else ``me`` is asked.
        """
        if self._local is not None:
            return
        self._validations.carry(old.access_token, new.access_token)
        if tokens.user is None:
            return
        if not {"roles", "role"}.isdisjoint(tokens.user):
            self._learn(new, tokens, tokens.user)
        elif known := self._validations.fresh(new.access_token):
            self._learn(new, tokens, {**known.data, **tokens.user})

    def forget(self, session: Session) -> None:
        """The token was refused somewhere: whatever was known about it counts no more."""
        self._validations.forget(session.access_token)
        self._revalidations.forget(session.access_token)

    def may_be_user(self, session: Session) -> bool:
        """False when the session's token is known to be a guest's; nobody is asked."""
        if known := self._validations.fresh(session.access_token):
            return known.is_authenticated
        return unverified_claims(session.access_token).get("type") != "guest"

    def known_guest(self, session: Session) -> Identity:
        """Who a guest is, as far as it is known without asking."""
        known = self._validations.fresh(session.access_token)
        subject = unverified_claims(session.access_token).get("sub")
        identity = known or self._calls.backend.identity_from({"sub": subject})
        return replace(identity, kind="guest")

    def _learn(self, session: Session, tokens: TokenSet, record: Mapping[str, Any]) -> Identity:
        identity = self._describe(self._calls.backend.identity_from(record), tokens.secrets)
        self._validations.learn(session.access_token, identity)
        return identity

    def _ask_me(self, token: str) -> Answer:
        try:
            reply = self._calls.call("me", Request(bearer=token), method="GET")
        except TransportError:
            return Unreachable()
        if reply.status == 401:
            return Rejected()
        if reply.status == 403:
            return Forbidden()
        identity = self._calls.backend.parse_identity(decoded(reply)) if reply.status == 200 else None
        if identity is not None:
            return self._describe(identity, (token,))
        if reply.status < 500:
            self._calls.report("me")
        # A page of HTML or an empty body says nothing about the token.
        return Unreachable()

    def _check_locally(self, session: Session, local: LocalCheck) -> Checked:
        token = session.access_token
        answer = self._validations.ask(token, lambda: self._verify(token, local.verifier))
        if not isinstance(answer, Identity) or not local.is_due(session, self._clock()):
            return Checked(answer, session)
        match self._revalidations.ask(token, lambda: self._ask_me(token)):
            case Identity(degraded=False):
                return Checked(answer, replace(session, checked_at=self._clock()))
            case Rejected() | Forbidden() as refusal:
                return Checked(refusal, session)
            case _:
                return Checked(replace(answer, degraded=True), session)

    def _verify(self, token: str, verifier: Verifier) -> Answer:
        try:
            claims = verifier.verify(token)
        except KeysUnavailable:
            return Unreachable()
        if claims is None:
            return Rejected()
        return self._describe(self._calls.backend.identity_from(claims), (token,))

    def _describe(self, identity: Identity, tokens: tuple[str, ...]) -> Identity:
        """The identity without tokens in its record, its token type filled in from the token."""
        claimed = unverified_claims(tokens[0]).get("type") if identity.token_type is None else None
        token_type = without_tokens(claimed if isinstance(claimed, str) else identity.token_type, tokens)
        return replace(
            identity,
            kind="guest" if token_type == "guest" else identity.kind,  # noqa: S105 - a type, not a secret
            id=without_tokens(identity.id),
            roles=tuple(without_tokens(list(identity.roles), tokens)),
            token_type=token_type,
            data=MappingProxyType(without_tokens(dict(identity.data), tokens)),
        )

    def _admitted(self, checked: Checked) -> Checked:
        """ALLOWED_TOKEN_TYPES, on every request and not only at login; guests are ours to admit."""
        answer = checked.answer
        if self._allowed_types is None or checked.session.kind == "guest" or not isinstance(answer, Identity):
            return checked
        if answer.token_type in self._allowed_types:
            return checked
        return checked._replace(answer=Forbidden("token_type_refused"))


def _with_expiry(session: Session, answer: Answer) -> Session:
    """The session with the expiry out of the backend's record, when nothing else told it."""
    if session.expires_at is not None or not isinstance(answer, Identity):
        return session
    expires_at = timestamp(answer.data.get("exp"))
    return session if expires_at is None else replace(session, expires_at=expires_at)
