"""What to do about a token that needs a refresh: ledger, lease and the backend's answer in, the next move out.

Rotating backends punish a refresh token that is used twice, so of all requests with one old credential, over all workers, exactly one
may spend it. The others find the successor in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .identity import Reason
from .session import Session

Failure = Literal["expired", "revoked", "reuse", "network", "unknown"]


@dataclass(frozen=True, slots=True)
class Successor:
    """The credential was spent; this session took its place.

    :param is_new: it was handed out just now, and not found in the ledger.
    """

    session: Session
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The credential is worth nothing any more."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody could find out; the session stays as it is."""


LedgerEntry = Successor | Ended
Outcome = Successor | Ended | Undecided


class Move(Enum):
    """What to do next about one credential."""

    LOOK = "look for a ledger entry and a tombstone"
    LEASE = "try to take the lease"
    WAIT = "wait a moment for whoever has the lease"
    CALL = "spend the credential at the backend"


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known about the refresh of one credential.

    :param looked: the ledger was searched since the lease was taken or lost.
    :param logged_out: a tombstone was found: the session is over, whatever the backend answers.
    :param patient: there is time left to wait for another worker.
    """

    looked: bool = False
    entry: LedgerEntry | None = None
    logged_out: bool = False
    lease: Literal["free", "mine", "taken"] = "free"
    answer: Outcome | None = None
    patient: bool = True


def next_move(progress: Progress) -> Move | Outcome:
    """The next move, or the outcome. With the lease taken, the ledger is searched *again* before the credential is spent."""
    if progress.logged_out:
        return Ended("logged_out")
    if progress.entry is not None:
        return progress.entry
    if progress.answer is not None:
        return progress.answer
    if not progress.looked:
        return Move.LOOK
    if progress.lease == "mine":
        return Move.CALL
    if not progress.patient:
        return Undecided()
    return Move.WAIT if progress.lease == "taken" else Move.LEASE


def settle(failure: Failure) -> Ended | Undecided:
    """What a refused refresh means: only a clear no of the backend ends a session."""
    if failure in ("expired", "revoked", "reuse"):
        return Ended(failure)
    return Undecided()


def classify_refusal(status: int, code: str | None) -> Failure:
    """The standard reading of a refresh answer that brought no token.

    :param code: the body's ``error`` or ``code``.
    """
    if code == "token_reuse" or status == 409:
        return "reuse"
    if status == 401 or (status == 400 and code == "invalid_grant"):
        return "expired"
    if status == 403:
        return "revoked"
    if status in (408, 425, 429) or status >= 500:
        return "network"
    return "unknown"


def lease_seconds(connect_timeout: float, read_timeout: float) -> float:
    """How long a lease lasts: longer than the call that it protects, so that it outlives everything but a dead worker."""
    return connect_timeout + read_timeout + 2.0
