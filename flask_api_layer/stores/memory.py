"""A store inside this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

SMALLEST_SWEEP = 1024


class MemoryStore:
    """A store with nothing to install, which no other worker sees: for one process, for tests, for development.

    :param clock: seconds that only ever grow; the default does not jump when the machine's time is set.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._sweep_at = SMALLEST_SWEEP

    def get(self, key: str) -> bytes | None:
        """The living value under ``key``."""
        with self._lock:
            return self._living(key)

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds."""
        with self._lock:
            self._keep(key, value, ttl)

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` unless a living one is there."""
        with self._lock:
            if self._living(key) is not None:
                return False
            self._keep(key, value, ttl)
            return True

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        """Delete ``key`` if its living value is ``value``."""
        with self._lock:
            if self._living(key) != value:
                return False
            del self._entries[key]
            return True

    def problem(self) -> str | None:
        """None: memory is always there."""
        return None

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _living(self, key: str) -> bytes | None:
        value, expires = self._entries.get(key, (None, 0.0))
        return value if expires > self._clock() else None

    def _keep(self, key: str, value: bytes, ttl: float) -> None:
        if len(self._entries) >= self._sweep_at:
            self._sweep()
        self._entries[key] = (value, self._clock() + ttl)

    def _sweep(self) -> None:
        """Drop what has expired; the next sweep comes when the rest has doubled, so that a put costs the same on average."""
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
        self._sweep_at = max(SMALLEST_SWEEP, 2 * len(self._entries))
