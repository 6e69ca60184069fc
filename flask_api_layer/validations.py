"""What this process knows about access tokens: who they belong to, and since when."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from threading import Lock, get_ident

from .sansio.identity import Answer, Identity, Unreachable

_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class _Entry:
    identity: Identity
    since: float


@dataclass(frozen=True, slots=True)
class _Flight:
    """A question that one thread asks and others wait for; None is no answer."""

    leader: int
    answer: Future[Answer | None] = field(default_factory=Future)


class Validations:
    """Identities by token, asked for at most once per ``ttl`` seconds and token, however many threads want to know.

    :param ttl: seconds that an answer counts as fresh (VALIDATE_TTL).
    :param stale_ttl: seconds that it may stand in while the backend cannot be asked (STALE_TTL).
    :param clock: seconds that never step back.
    """

    def __init__(self, *, ttl: float, stale_ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._stale_ttl = stale_ttl
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._lock = Lock()

    def fresh(self, token: str) -> Identity | None:
        """The identity, if it was learned within ``ttl``."""
        return self._within(_key(token), self._ttl)

    def learn(self, token: str, identity: Identity) -> None:
        """Remember an identity that the backend just vouched for."""
        key = _key(token)
        with self._lock:
            self._entries[key] = _Entry(identity, self._clock())
            self._entries.move_to_end(key)
            while len(self._entries) > _MOST_ENTRIES:
                self._entries.popitem(last=False)

    def carry(self, old: str, new: str) -> None:
        """After a refresh: what is known about the old token is known, for as long, about the new one."""
        with self._lock:
            if entry := self._entries.get(_key(old)):
                self._entries[_key(new)] = entry

    def forget(self, token: str) -> None:
        with self._lock:
            self._entries.pop(_key(token), None)

    def ask(self, token: str, question: Callable[[], Answer]) -> Answer:
        """The fresh identity, else the answer to ``question``; threads that want the same one wait for it.

        When the backend cannot be asked, what was known within ``stale_ttl`` stands in, marked as degraded.
        """
        key = _key(token)
        if known := self._within(key, self._ttl):
            return known
        mine = _Flight(get_ident())
        with self._lock:
            flight = self._flights.setdefault(key, mine)
        if flight is mine:
            return self._lead(token, mine, question)
        if flight.leader == get_ident():
            # A request from within the question, by somebody who listens to it: waiting for oneself would never end.
            return Unreachable()
        # What stopped the leader (a timeout of its own, say) is no answer for others.
        return flight.answer.result() or self.ask(token, question)

    def _lead(self, token: str, flight: _Flight, question: Callable[[], Answer]) -> Answer:
        answer: Answer | None = None
        try:
            # Between the first look and here, another thread may have landed.
            answer = self.fresh(token) or self._settle(token, question())
            return answer
        finally:
            # First: whoever finds no answer asks again, and must not find this flight.
            with self._lock:
                del self._flights[_key(token)]
            flight.answer.set_result(answer)

    def _settle(self, token: str, answer: Answer) -> Answer:
        if isinstance(answer, Identity):
            self.learn(token, answer)
        elif isinstance(answer, Unreachable):
            last = self._within(_key(token), self._stale_ttl)
            return replace(last, degraded=True) if last else answer
        else:
            self.forget(token)
        return answer

    def _within(self, key: bytes, seconds: float) -> Identity | None:
        entry = self._entries.get(key)
        return entry.identity if entry is not None and self._clock() - entry.since < seconds else None


@lru_cache(maxsize=_MOST_ENTRIES)
def _key(token: str) -> bytes:
    return sha256(token.encode()).digest()
