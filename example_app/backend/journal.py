"""What was called how often: the evidence for tests of the caller."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Journal:
    """Counts of calls, safe to use from many threads of one process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open_streams = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything but the streams that are still open."""
        with self._lock:
            self._calls: Counter[str] = Counter()
            self._bearers: Counter[str] = Counter()
            self._reuse_events = 0
            self._idempotency_keys: list[str] = []

    def record_call(self, call: str, *, has_bearer: bool, idempotency_key: str | None) -> None:
        """Count a call such as ``GET products/<id>``."""
        with self._lock:
            self._calls[call] += 1
            self._bearers[call] += has_bearer
            if idempotency_key is not None:
                self._idempotency_keys.append(hashlib.sha256(idempotency_key.encode()).hexdigest()[:12])

    def record_reuse(self) -> None:
        """Count a spent credential that was presented again."""
        with self._lock:
            self._reuse_events += 1

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count a stream as open while the block runs."""
        self._shift_streams(1)
        try:
            yield
        finally:
            self._shift_streams(-1)

    def snapshot(self) -> dict[str, object]:
        """``calls``, and of those the ones with ``bearers``; ``reuse_events``; ``idempotency_keys`` in order of arrival,
        as prefixes of their SHA-256; ``open_streams`` now."""
        with self._lock:
            return {
                "calls": dict(self._calls),
                "bearers": {call: count for call, count in self._bearers.items() if count},
                "reuse_events": self._reuse_events,
                "idempotency_keys": list(self._idempotency_keys),
                "open_streams": self._open_streams,
            }

    def _shift_streams(self, change: int) -> None:
        with self._lock:
            self._open_streams += change
