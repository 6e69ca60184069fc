"""Who tokens belong to, as the backend says."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from .backends import Request
from .calls import BackendCalls, decoded
from .sansio.identity import Answer, Forbidden, Identity, Rejected, Unreachable
from .sansio.redact import without_tokens
from .sansio.session import Session, TokenSet, timestamp, unverified_claims
from .transport import TransportError
from .validations import Validations


class Identities:
    """Asks the backend who a token belongs to, and remembers what it said.

    :param allowed_types: ALLOWED_TOKEN_TYPES, None for all.
    """

    def __init__(
        self, calls: BackendCalls, validations: Validations, *, allowed_types: tuple[str, ...] | None
    ) -> None:
        self._calls = calls
        self._validations = validations
        self._allowed_types = allowed_types

    @property
    def admits_all_types(self) -> bool:
        return self._allowed_types is None

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
        identity = known or self._calls.backend.identity_from({"sub": subject})
        return replace(identity, kind="guest")

    def with_expiry(self, session: Session, answer: Answer) -> Session:
        """The session with the expiry out of the backend's record, when nothing else told it; else the very same session."""
        if session.expires_at is not None or not isinstance(answer, Identity):
            return session
        expires_at = timestamp(answer.data.get("exp"))
        return session if expires_at is None else replace(session, expires_at=expires_at)

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
        refused = isinstance(answer, Identity) and not self.is_allowed(answer)
        return Forbidden("token_type_refused") if refused else answer

    def is_allowed(self, identity: Identity) -> bool:
        return self._allowed_types is None or identity.token_type in self._allowed_types

    def learn(self, session: Session, tokens: TokenSet) -> Identity:
        """The identity in the record that came with fresh tokens, which count as validated."""
        identity = self._describe(self._calls.backend.identity_from(tokens.user or {}), tokens.secrets)
        self._validations.learn(session.access_token, identity)
        return identity

    def follow(self, old: Session, new: Session, tokens: TokenSet) -> None:
        """After a refresh: it counts as a validation when it says who the user is; else what is known keeps its age."""
        if tokens.user is not None:
            self.learn(new, tokens)
        else:
            self._validations.carry(old.access_token, new.access_token)
