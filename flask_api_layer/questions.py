"""The questions of one request that only the backend can answer; what comes of them goes into the wallet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any, ParamSpec, TypeVar, assert_never

from . import signals
from .authority import Authority
from .commits import TOO_LARGE
from .errors import StoreDown
from .sansio.identity import Answer, Rejected, Unreachable
from .sansio.refresh import Ended, Outcome, Successor, Undecided
from .sansio.session import Freshness, Session
from .signals import emit
from .terms import Terms
from .wallet import Kind, Wallet

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Questions:
    """Whoever asks holds the ``turn``.

    ``is_asking`` tells those who listen in that a question is under way; ``is_frozen``, that the answer has begun, so that nothing
    is refreshed or minted any more. ``guest_id`` gives the session id that a new guest takes over, if there is one; ``has_minted``
    says that a guest was made.

    :param sender: of the signals; the Flask app.
    :param address: of the client.
    """

    # On the class, because most requests never change them.
    guest_id: Callable[[], str | None] = staticmethod(lambda: None)
    has_minted = False
    is_asking = False
    is_frozen = False

    def __init__(
        self, wallet: Wallet, authority: Authority, terms: Terms, *, sender: object, address: str | None
    ) -> None:
        self._wallet = wallet
        self._authority = authority
        self._terms = terms
        self._sender = sender
        self._address = address

    @property
    def turn(self) -> AbstractContextManager[Any]:
        """Threads with a copy of the request context take turns, so whoever asks within a question is the one who put it.

        Made when it is first needed, and by one of them only (``setdefault`` is atomic): most requests ask nothing, and under gevent
        it is slow Python code.
        """
        turn: AbstractContextManager[Any] = self.__dict__.setdefault("_turn", RLock())
        return turn

    def check(self, kind: Kind) -> Answer:
        """Whose token this is."""
        session = self._wallet.session(kind)
        assert session is not None
        identities = self._authority.identities
        checked = identities.known(session) or self._within(identities.check, session)
        if checked.session is not session:
            self._wallet.put(checked.session, replaces=session)
        return checked.answer

    def refresh(self, kind: Kind) -> Session | Rejected | Unreachable:
        """The same session with new tokens, or why there is none."""
        return self._within(self._refresh, kind)

    def mint(self) -> Answer:
        """A new guest."""
        return self._within(self._mint)

    def _within(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.is_asking = True
        try:
            return question(*args, **kwargs)
        finally:
            self.is_asking = False

    def _refresh(self, kind: Kind) -> Session | Rejected | Unreachable:
        session = self._wallet.session(kind)
        assert session is not None
        outcome = self._outcome(session)
        if isinstance(outcome, Successor) and not outcome.is_new and self._has_expired(outcome.session):
            # An old cookie found a successor whose time is over as well.
            outcome = self._outcome(outcome.session)
        match outcome:
            case Successor(session=renewed):
                self._wallet.put(renewed, replaces=session)
                return renewed
            case Ended(reason):
                return Rejected(reason)
            case Undecided():
                return Unreachable()
        assert_never(outcome)

    def _outcome(self, session: Session) -> Outcome:
        renewals = self._authority.renewals
        return renewals.known(session) if self.is_frozen else renewals.refresh(session)

    def _has_expired(self, session: Session) -> bool:
        return session.freshness(self._terms.clock(), 0) is Freshness.EXPIRED

    def _mint(self) -> Answer:
        if self.is_frozen:
            return Unreachable()
        if not self._terms.admit_guest(self._address):
            return Unreachable(limited=True)
        grant = self._authority.tokens.mint(self._living_guest_id())
        if grant is None or grant.session is None or grant.identity is None:
            return Unreachable()
        if not self._wallet.has_room(grant.session):
            _log.error("%s", TOO_LARGE)
            self._authority.tokens.rest_guests()
            return Unreachable()
        self._wallet.put(grant.session)
        self.has_minted = True
        emit(signals.guest_minted, self._sender, identity=grant.identity)
        return grant.identity

    def _living_guest_id(self) -> str | None:
        """The id that a new guest takes over; not that of a session that was logged out, which would be nobody again at once."""
        session_id = self.guest_id()
        try:
            is_usable = session_id is not None and not self._authority.ledger.is_buried(session_id)
        except StoreDown:
            return None
        return session_id if is_usable else None
