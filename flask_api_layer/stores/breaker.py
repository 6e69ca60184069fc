"""A fuse, and one in front of a store: what is dead is waited for once, not by every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from threading import Lock
from typing import ParamSpec, Protocol, TypeVar

from flask_api_layer.errors import StoreBusy, StoreDown
from flask_api_layer.types import Store

_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class CheckedStore(Store, Protocol):
    """A store that can also be looked over when the app starts, and be closed."""

    def problem(self) -> str | None:
        """What is wrong with the store now and what to do about it, or None; never raises."""
        ...

    def close(self) -> None:
        """Let go of files and sockets; the next use opens them again."""
        ...


class Fuse:
    """Whether something that failed may be tried again: after ``rest`` seconds, by one caller until it works."""

    def __init__(self, *, clock: Callable[[], float], rest: float) -> None:
        self._clock = clock
        self._rest = rest
        self._lock = Lock()
        self._resting_until = -inf

    def admits(self) -> bool:
        """Whether this caller may try."""
        if self._resting_until == -inf:
            return True
        with self._lock:
            now = self._clock()
            if now < self._resting_until:
                return False
            # This caller tries, the others stay out; should it never come back, the rest ends by itself.
            self._resting_until = now + self._rest
            return True

    def blow(self) -> None:
        """It failed."""
        self._resting_until = self._clock() + self._rest

    def mend(self) -> None:
        """It works."""
        self._resting_until = -inf


class Breaker:
    """The same store, which fails at once for a while after it failed.

    After a :exc:`StoreDown` every call fails without waiting for ``rest`` seconds. Then one caller tries while the others go
    on failing at once; its success lets everybody in again.

    :param clock: seconds that only ever grow.
    :param rest: seconds.
    """

    def __init__(
        self, store: CheckedStore, *, clock: Callable[[], float] = time.monotonic, rest: float = 2.0
    ) -> None:
        self._store = store
        self._rest = rest
        self._fuse = Fuse(clock=clock, rest=rest)
        self._reason = ""

    def get(self, key: str) -> bytes | None:
        """The living value under ``key``."""
        return self._call(self._store.get, key)

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds."""
        self._call(self._store.put, key, value, ttl)

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` unless a living one is there."""
        return self._call(self._store.put_if_absent, key, value, ttl)

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        """Delete ``key`` if its living value is ``value``."""
        return self._call(self._store.delete_if_equal, key, value)

    def problem(self) -> str | None:
        """What the store itself says, asked even while it rests."""
        return self._store.problem()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _call(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if not self._fuse.admits():
            raise StoreDown(f"{self._reason} (It failed a moment ago and is left alone.)")
        try:
            answer = method(*args, **kwargs)
        except StoreBusy:
            # Waiting in our own queue is no failure of the store.
            raise
        except StoreDown as error:
            _log.warning("the store failed and is left alone for %g s: %s", self._rest, error)
            self._reason = str(error)
            self._fuse.blow()
            raise
        self._fuse.mend()
        return answer
