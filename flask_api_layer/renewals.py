"""Refreshes: over all workers, a credential is spent at most once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from . import signals
from .calls import BackendCalls, decoded
from .errors import StoreDown
from .identities import Identities
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
from .sansio.session import Session
from .sessions import Ledger
from .signals import emit
from .transport import Reply, TransportError

_log = logging.getLogger(__name__)

_POLL_SECONDS = (0.02, 0.05, 0.1)


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
            self._calls.logout(answer.session)
        return replace(progress, entry=entry, logged_out=buried)

    def _ask_refresh(self, session: Session) -> Outcome:
        headers = {"Idempotency-Key": self._ledger.idempotency_key(session)}
        try:
            reply = self._calls.call("refresh", self._calls.backend.refresh_request(session), headers=headers)
        except TransportError:
            return self._refresh_failed(session, "network")
        tokens = self._calls.backend.parse_token(decoded(reply)) if 200 <= reply.status < 300 else None
        if tokens is None:
            return self._refused(session, reply)
        renewed = session.renew(tokens, self._clock())
        self._identities.follow(session, renewed, tokens)
        emit(signals.token_refreshed, self._sender, session_id=session.id, kind=session.kind)
        return Successor(renewed)

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
