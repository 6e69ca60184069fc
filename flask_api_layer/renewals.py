"""Refreshes: over all workers, a credential is spent at most once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from . import signals
from .calls import BackendCalls, decoded
from .errors import StoreBusy, StoreDown
from .identities import Identities
from .sansio.refresh import (
    Ended,
    Move,
    Outcome,
    Progress,
    Successor,
    Undecided,
    lease_seconds,
    next_move,
    settle,
)
from .sansio.session import Session
from .sessions import Ledger
from .signals import emit
from .transport import Reply, TransportError

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_QUICK_POLLS = 50
_SLOW_POLL_SECONDS = 0.1
_LOOKS_PER_LEASE = 5
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Spent:
    """What became of a credential by spending it.

    :param logged_out: the session was logged out meanwhile.
    :param is_recorded: the other workers can learn of it.
    """

    outcome: Outcome
    logged_out: bool = False
    is_recorded: bool = True


class Renewals:
    """Drives the refresh of one session through ledger, lease and backend.

    :param sender: of the signals; the Flask app.
    :param clock: seconds since the epoch.
    :param sleep: waits that many seconds.
    """

    def __init__(
        self,
        calls: BackendCalls,
        ledger: Ledger,
        identities: Identities,
        *,
        sender: object,
        connect_timeout: float,
        read_timeout: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._calls = calls
        self._ledger = ledger
        self._identities = identities
        self._sender = sender
        self._call_seconds = connect_timeout + read_timeout
        self._lease_seconds = lease_seconds(connect_timeout, read_timeout)
        self._clock = clock
        self._sleep = sleep
        self._hinted: set[int] = set()

    @property
    def are_possible(self) -> bool:
        """The backend has a refresh endpoint."""
        return self._calls.has("refresh")

    def refresh(self, session: Session) -> Outcome:
        """What became of the session's credential; over all workers it is spent at most once.

        :returns: ``Successor``, ``Ended``, or ``Undecided`` when nobody can say now (the backend or the store is down, or another
            worker holds the lease for too long).
        """
        spend = partial(self._spend, session)
        return _Attempt(session, self._ledger, spend, self._sleep, self._lease_seconds).run()

    def known(self, session: Session) -> Outcome:
        """What is known already of the session's credential; nothing is spent."""
        try:
            if self._ledger.is_buried(session.id):
                return Ended("logged_out")
            return self._ledger.find(session) or Undecided()
        except StoreDown:
            return Undecided()

    def _spend(self, session: Session) -> _Spent:
        answer = self._ask_refresh(session)
        if isinstance(answer, Undecided):
            return _Spent(answer)
        try:
            entry = self._ledger.record(session, answer)
            buried = self._ledger.is_buried(session.id)
        except StoreDown:
            # The others cannot learn of it now, but this browser must not lose what was just handed out.
            return _Spent(answer, is_recorded=False)
        if buried and isinstance(answer, Successor):
            self._calls.logout(answer.session)
        return _Spent(entry, logged_out=buried)

    def _ask_refresh(self, session: Session) -> Outcome:
        headers = {"Idempotency-Key": self._ledger.idempotency_key(session)}
        try:
            # Shorter than the lease, whatever TOTAL_TIMEOUT says: nobody else may spend the credential while we wait.
            reply = self._calls.call(
                "refresh",
                self._calls.backend.refresh_request(session),
                headers=headers,
                timeout=self._call_seconds,
            )
        except TransportError:
            return self._refresh_failed(session, "network")
        tokens = self._calls.backend.parse_token(decoded(reply)) if 200 <= reply.status < 300 else None
        if tokens is None:
            return self._refused(session, reply)
        renewed = session.renew(tokens, self._clock())
        self._identities.follow(session, renewed, tokens)
        emit(signals.token_refreshed, self._sender, session_id=session.id, kind=session.kind)
        return Successor(renewed, is_new=True)

    def _refused(self, session: Session, reply: Reply) -> Outcome:
        if 200 <= reply.status < 300:
            return self._refresh_failed(session, "network")
        failure = self._calls.backend.classify_refresh_failure(reply.status, decoded(reply))
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
                self._calls.backend.endpoints["refresh"],
                status,
            )


class _Attempt:
    """One request's way to the outcome, move by move.

    :param spend: asks the backend.
    :param lease_seconds: how long the right to ask lasts; whoever has to wait is patient for a little longer.
    """

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        spend: Callable[[], _Spent],
        sleep: Callable[[float], None],
        lease_seconds: float,
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._spend = spend
        self._sleep = sleep
        self._lease_seconds = lease_seconds
        self._progress = Progress()
        self._mark: str | None = None
        self._waits = 0
        self._leased_at = self._started_at = time.monotonic()

    def run(self) -> Outcome:
        moves = {Move.LOOK: self._look, Move.LEASE: self._lease, Move.WAIT: self._wait, Move.CALL: self._call}
        try:
            while isinstance(move := next_move(self._progress), Move):
                try:
                    self._progress = moves[move]()
                except StoreBusy:
                    if not self._is_patient():
                        raise
                    self._sleep(_POLL_SECONDS)
            return move
        except StoreDown:
            # Without the store nobody knows who else is spending it: an uncoordinated refresh trips the reuse detection.
            return Undecided()
        finally:
            if self._mark is not None:
                self._ledger.release(self._session, self._mark)

    def _look(self) -> Progress:
        # The tombstone counts even where there is a successor: that one was logged out with its session.
        buried = self._ledger.is_buried(self._session.id)
        entry = None if buried else self._ledger.find(self._session)
        return replace(self._progress, looked=True, entry=entry, logged_out=buried)

    def _lease(self) -> Progress:
        self._leased_at = time.monotonic()
        self._mark = self._ledger.lease(self._session, self._lease_seconds)
        if self._mark is None:
            return replace(self._progress, lease="taken")
        return replace(self._progress, lease="mine", looked=False)

    def _wait(self) -> Progress:
        self._sleep(_POLL_SECONDS if self._waits < _QUICK_POLLS else _SLOW_POLL_SECONDS)
        self._waits += 1
        # Looking is a read, trying for the lease a write: a dead holder may be found out a little later.
        lease: Literal["free", "taken"] = "taken" if self._waits % _LOOKS_PER_LEASE else "free"
        return replace(self._progress, lease=lease, looked=False, patient=self._is_patient())

    def _is_patient(self) -> bool:
        return time.monotonic() - self._started_at < self._lease_seconds + _PATIENCE_SECONDS

    def _call(self) -> Progress:
        if time.monotonic() - self._leased_at > self._lease_seconds:
            # This worker was frozen: its lease has run out, and somebody else may be asking already.
            return replace(self._progress, lease="free", looked=False)
        spent = self._spend()
        if not spent.is_recorded:
            # Let the lease run out: whoever got it now would spend the credential again.
            self._mark = None
        return replace(self._progress, answer=spent.outcome, logged_out=spent.logged_out)
