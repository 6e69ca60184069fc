"""Drives the cascade for one request: asks what must be asked, and collects what the cookies must become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_never

from . import signals
from .authority import Authority
from .commits import set_cookies
from .errors import BackendUnavailable
from .questions import Questions
from .sansio.cascade import Ask, Facts, Guests, Resolution, first_step_of_trust, next_step
from .sansio.identity import ANONYMOUS_DEGRADED, Answer, Reason, Rejected, Trusted, Unreachable
from .sansio.session import Freshness, Session
from .signals import emit
from .terms import Terms
from .wallet import Kind, Wallet

_REFRESH: Mapping[Kind, Ask] = {"user": Ask.REFRESH_USER, "guest": Ask.REFRESH_GUEST}


class Resolver:
    """Who is asking, resolved when somebody wants to know; no flask import, no request.

    ``resolution`` is who is asking as far as it is known, ``ended`` why the user's session ended in this request, ``mint_failure``
    why a guest that was wanted could not be made; ``asked`` says that somebody wanted to know who is asking, or used their token.

    :param sender: of the signals; the Flask app.
    :param address: of the client.
    """

    # On the class, because most requests never change them.
    asked = False
    resolution: Resolution | None = None
    ended: Reason | None = None
    mint_failure: Literal["failed", "limited"] | None = None
    _facts: Facts | None = None
    _lost: frozenset[str] = frozenset()

    def __init__(
        self, wallet: Wallet, authority: Authority, terms: Terms, *, sender: object, address: str | None
    ) -> None:
        self.wallet = wallet
        self._authority = authority
        self._terms = terms
        self._sender = sender
        self.questions = Questions(wallet, authority, terms, sender=sender, address=address)

    def resolve(self, *, mint: bool = False) -> Resolution:
        """Who is asking.

        :param mint: a visitor without any credential becomes a guest.
        """
        # What is known needs no turn.
        if not mint and (known := self.resolution) is not None:
            return known
        with self.questions.turn:
            if self.questions.is_asking:
                # A subscriber or a logging filter wants to know it from within the question: asking again would never end.
                return self.resolution or Resolution(ANONYMOUS_DEGRADED)
            wanted = self._want(mint=mint)
            if self.resolution is None or wanted:
                self.resolution = self._advance(trusting=False)
            return self.resolution

    def bearer(self, *, mint: bool = False) -> str | None:
        """The token to call the backend with, which nobody has checked: the backend will. None when there is none.

        :raises BackendUnavailable: when there is a session whose token needs a refresh that cannot be had now.
        """
        session = self._unasked_session(mint=mint)
        if session is not None:
            return session.access_token
        with self.questions.turn:
            if self.questions.is_asking:
                return None
            self._want(mint=mint)
            resolution = self._advance(trusting=True)
        if resolution.bearer is None:
            if resolution.identity.degraded:
                raise BackendUnavailable()
            return None
        session = self.wallet.session(resolution.bearer)
        return session.access_token if session else None

    def _unasked_session(self, *, mint: bool) -> Session | None:
        """The session of a token that can be used as it is, as nearly all can; where nothing is asked, nobody takes turns."""
        if self._facts is not None:
            return None
        self.asked = True
        step = first_step_of_trust(self._first_facts(self._guests(mint=mint)))
        if isinstance(step, Ask) or step.bearer is None or step.ended is not None:
            return None
        return self.wallet.session(step.bearer)

    def renew(self, token: str) -> str | None:
        """The token to try once more after the backend answered 401 to this one; None when there is no better one.

        :raises BackendUnavailable: when the refresh met an outage.
        """
        kind = self._owner(token)
        if kind is None or not self._terms.refreshable or self.questions.is_frozen:
            return None
        with self.questions.turn:
            self._want(mint=False)
            answer = self._refresh(kind)
        if isinstance(answer, Unreachable):
            raise BackendUnavailable()
        if isinstance(answer, Rejected):
            self._facts = self._known.learn(_REFRESH[kind], answer)
            self.resolution = None
            self._lost |= {token}
            self._drop(kind, reason=answer.reason)
            return None
        return answer.access_token

    def has_lost(self, token: str) -> bool:
        """Whether the session of this token ended in this request, because the backend refused it for good."""
        return token in self._lost

    def is_users(self, token: str) -> bool:
        """Whether a bearer is the user's, as far as it is known without asking."""
        session = self.wallet.session("user")
        if session is None or session.access_token != token:
            return False
        return self._authority.identities.may_be_user(session)

    def force_refresh(self) -> Session | None:
        """The session that this browser has, refreshed; None when there is none, or none any more.

        :raises BackendUnavailable: when the refresh met an outage.
        """
        with self.questions.turn:
            self._want(mint=False)
            resolution = self._advance(trusting=True)
        if resolution.identity.degraded:
            raise BackendUnavailable()
        session = self.wallet.session(resolution.bearer) if resolution.bearer else None
        if session is None or self._was_renewed(session) or not self._terms.refreshable:
            return session
        return self.wallet.session(session.kind) if self.renew(session.access_token) else None

    def _was_renewed(self, session: Session) -> bool:
        """It was due anyway, so that it has been refreshed in this very request."""
        return any(change.session is session for change in self.wallet.changes)

    def guest_token(self) -> str | None:
        """The guest's token for a login that takes over the cart, refreshed if it is due; None when there is no guest."""
        if not self._terms.guests_enabled or self.wallet.session("guest") is None:
            return None
        if self._freshness("guest") is not Freshness.LIVE and self._terms.refreshable:
            with self.questions.turn:
                self._refresh("guest")
        session = self.wallet.session("guest")
        return session.access_token if session else None

    def enter(self, session: Session) -> None:
        """Put a new user session in place of whatever this browser had; the old one can never come back."""
        old = self.wallet.session("user")
        if old is not None:
            self._authority.bury(old)
        self.wallet.drop("guest")
        self.wallet.put(session)
        self._facts = self.resolution = None

    def leave(self) -> Session | None:
        """End every session of this browser; the user's, whom the backend has to hear of."""
        user = self.wallet.session("user")
        for session in (user, self.wallet.session("guest")):
            if session is not None:
                self._authority.bury(session)
        self.wallet.drop("user")
        self.wallet.drop("guest")
        self._facts = self.resolution = None
        return user

    def current_session(self) -> Session | None:
        """The session of whoever was resolved."""
        bearer = self.resolution.bearer if self.resolution else None
        return self.wallet.session(bearer) if bearer else None

    def freeze(self) -> None:
        """The answer has begun: nothing more can be set, so nothing more is refreshed or minted."""
        self.questions.is_frozen = True

    def set_cookies(self) -> list[str]:
        """The ``Set-Cookie`` values of all changes so far; each is given out once."""
        if not self.wallet.has_changes:
            return []
        return set_cookies(self.wallet, self._authority, now=self._terms.clock(), sender=self._sender)

    # The cascade

    def _want(self, *, mint: bool) -> bool:
        """Take note of what is wanted; whether that is more than before."""
        guests = self._guests(mint=mint)
        self.asked = True
        if self._facts is None:
            self._facts = self._first_facts(guests)
            return True
        if guests is Guests.MINT and self._facts.guests is not Guests.MINT:
            self._facts = self._facts._replace(guests=guests)
            return True
        return False

    def _guests(self, *, mint: bool) -> Guests:
        if not self._terms.guests_enabled:
            return Guests.IGNORE
        return Guests.MINT if mint else Guests.KNOWN

    def _first_facts(self, guests: Guests) -> Facts:
        return Facts(
            user=self._freshness("user"),
            guest=self._freshness("guest") if guests is not Guests.IGNORE else Freshness.ABSENT,
            guests=guests,
            refreshable=self._terms.refreshable,
            fallback=self._terms.fallback,
        )

    def _freshness(self, kind: Kind) -> Freshness:
        session = self.wallet.session(kind)
        if session is None:
            return Freshness.ABSENT
        return session.freshness(self._terms.clock(), self._terms.leeway)

    def _advance(self, *, trusting: bool) -> Resolution:
        """Ask until the cascade is settled.

        :param trusting: only a bearer is wanted; a token that is not known to be bad is taken without a question.
        """
        facts = self._known.forget_checks() if trusting else self._known
        step = first_step_of_trust(facts) if trusting and not facts.answers else next_step(facts)
        while isinstance(step, Ask):
            before = facts
            answer = self._answer(step, trusting=trusting)
            facts = facts.learn(step, answer)
            if not isinstance(answer, Trusted):
                # A refresh has put more into what is known than its answer.
                self._facts = facts if self._facts is before else self._known.learn(step, answer)
                # Whoever asks again may be somebody else by now: a new guest, or nobody any more.
                self.resolution = None
            step = next_step(facts)
        self._carry_out(step)
        self.mint_failure = step.mint
        return step if step.ended == self.ended else step._replace(ended=self.ended)

    @property
    def _known(self) -> Facts:
        assert self._facts is not None
        return self._facts

    def _answer(self, ask: Ask, *, trusting: bool) -> Answer:
        match ask:
            case Ask.CHECK_USER | Ask.CHECK_GUEST:
                return Trusted() if trusting else self.questions.check(_kind_of(ask))
            case Ask.REFRESH_USER | Ask.REFRESH_GUEST:
                renewed = self._refresh(_kind_of(ask))
                if not isinstance(renewed, Session):
                    return renewed
                return Trusted() if trusting else self.questions.check(renewed.kind)
            case Ask.MINT_GUEST:
                return self.questions.mint()
        assert_never(ask)

    def _refresh(self, kind: Kind) -> Session | Rejected | Unreachable:
        answer = self.questions.refresh(kind)
        if isinstance(answer, Session) and self._facts is not None:
            live = Freshness.LIVE
            self._facts = (
                self._facts._replace(user=live) if kind == "user" else self._facts._replace(guest=live)
            )
        return answer

    # Cookies

    def _carry_out(self, resolution: Resolution) -> None:
        if resolution.clear_user and self.wallet.session("user") is not None:
            self._drop("user", reason=resolution.ended or "expired")
        if (
            resolution.clear_guest
            and resolution.bearer != "guest"
            and (session := self.wallet.session("guest"))
        ):
            self.wallet.drop("guest", replaces=session)

    def _drop(self, kind: Kind, *, reason: Reason) -> None:
        session = self.wallet.session(kind)
        self.wallet.drop(kind, replaces=session)
        if kind == "user" and session is not None:
            self.ended = reason
            emit(signals.session_ended, self._sender, session_id=session.id, reason=reason)

    def _owner(self, token: str) -> Kind | None:
        kinds: tuple[Kind, Kind] = ("user", "guest")
        for kind in kinds:
            session = self.wallet.session(kind)
            if session is not None and session.access_token == token:
                self._authority.identities.forget(session)
                return kind
        return None


def _kind_of(ask: Ask) -> Kind:
    return "user" if ask in (Ask.CHECK_USER, Ask.REFRESH_USER) else "guest"
