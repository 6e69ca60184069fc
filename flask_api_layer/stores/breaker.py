"""A fuse in front of a store: a dead one is waited for once, not by every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
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
        self._clock = clock
        self._rest = rest
        self._lock = Lock()
        self._resting_until: float | None = None
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
        self._admit()
        try:
            answer = method(*args, **kwargs)
        except StoreBusy:
            # Waiting in our own queue is no failure of the store.
            raise
        except StoreDown as error:
            self._open(str(error))
            raise
        self._resting_until = None
        return answer

    def _admit(self) -> None:
        if self._resting_until is None:
            return
        with self._lock:
            until = self._resting_until
            if until is not None and self._clock() < until:
                raise StoreDown(f"{self._reason} (It failed a moment ago and is left alone.)")
            if until is not None:
                # This caller tries. Extending the rest keeps the others out, and ends by itself should it never come back.
                self._resting_until = self._clock() + self._rest

    def _open(self, reason: str) -> None:
        _log.warning("the store failed and is left alone for %g s: %s", self._rest, reason)
        with self._lock:
            self._reason = reason
            self._resting_until = self._clock() + self._rest
