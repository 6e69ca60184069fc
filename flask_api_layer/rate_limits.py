"""Counts of requests: in the Redis that all workers share, else in this process."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import floor
from threading import Lock
from typing import Protocol

from limits import RateLimitItem
from limits.storage import RedisStorage

from .errors import StoreDown
from .sansio.rates import Quota, budget
from .stores.breaker import Fuse

_log = logging.getLogger(__name__)

SHARED_SCHEMES = frozenset(("redis", "rediss", "unix"))
KEY_PREFIX = "api-layer:limit"
MOST_CLIENTS = 100_000
# What is over goes at twice the pace at which new ones come.
_FORGET_AT_ONCE = 2

Clock = Callable[[], float]
Keyed = Sequence[tuple[RateLimitItem, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One limit after a request.

    :param remaining: requests that are left; 0 when exceeded.
    :param reset_in: whole seconds, 1 or more, until there is one more.
    :param exceeded: this limit refuses the request.
    """

    item: RateLimitItem
    remaining: int
    reset_in: int
    exceeded: bool

    def quota(self, name: str) -> Quota:
        """The reading for response headers.

        :param name: what is limited; the window is added, since a name may have several.
        """
        window = self.item.get_expiry()
        return Quota(
            f"{name}-{window}", self.item.amount, window, self.remaining, self.reset_in, self.exceeded
        )


class Windows(Protocol):
    """Sliding windows; this part of limits' storages is all that is used of them."""

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` unless that makes more than ``limit`` in ``expiry`` seconds; whether it did."""
        ...

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Previous window: its count and the seconds until it weighs nothing; current window: the same."""
        ...


class RateLimits:
    """Limits on requests, counted where ``STORE_URL`` points.

    ``redis://``, ``rediss://`` and ``unix://``: in that Redis, by all workers together. Everything else: in this process, so that
    N workers let N times as much through. A Redis that does not answer costs one request ``timeout`` seconds; then it is
    left alone for ``rest`` seconds, and this process counts by itself: never an error, never without a limit.

    The windows slide (limits' sliding window counter), so a burst at their border gets no second limit, and a refused request is
    not counted: who waits ``reset_in`` seconds may go on, whatever was tried meanwhile.

    :param timeout: seconds. With the 0.2 that the store itself may take it stays below the 0.3 that a dead Redis may cost.
    :param rest: seconds.
    :param clock: seconds that only ever grow; Redis has its own.
    :raises ValueError: for a Redis URL that redis-py cannot use. The text does not quote it.
    """

    def __init__(
        self, store_url: str, *, timeout: float = 0.1, rest: float = 2.0, clock: Clock = time.monotonic
    ) -> None:
        self._local = LocalWindows(clock=clock)
        self._fuse = Fuse(clock=clock, rest=rest)
        is_shared = store_url.partition("://")[0] in SHARED_SCHEMES
        self._shared = RedisCounts(store_url, timeout=timeout) if is_shared else None

    def hit(self, items: Sequence[RateLimitItem], scope: str, key: str) -> list[Reading]:
        """Count one request against every item, and read them, the shortest window first; never raises.

        When one refuses, the request does not count against the longer ones: a burst does not use up the day.

        :param scope: what is limited, such as "app" or "view:shop.index"; the app's own words.
        :param key: whom it is limited for; stored as a hash.
        """
        by_length = sorted(set(items), key=lambda item: (item.get_expiry(), item.amount))
        client = _hashed(key)
        keyed = [(item, item.key_for(scope, client)) for item in by_length]
        shared = self._count_shared(keyed)
        return _count(self._local, keyed) if shared is None else shared

    def close(self) -> None:
        """Close the connections to Redis; the next request opens them again."""
        if self._shared is not None:
            self._shared.close()

    def _count_shared(self, keyed: Keyed) -> list[Reading] | None:
        if self._shared is None or not self._fuse.admits():
            return None
        try:
            readings = self._shared.count(keyed)
        except StoreDown as error:
            self._fuse.blow()
            _log.warning("each worker counts requests for rate limits by itself for a while: %s", error)
            return None
        self._fuse.mend()
        return readings


class RedisCounts:
    """Counts in Redis, under keys that begin with ``api-layer:limit:``; nothing is opened before the first.

    :param timeout: seconds for one request with all its limits, connecting included.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        # The package redis is an extra.
        from .stores.redis import FAILURES, Deadline, advice, connection_pool, described

        self._deadline = Deadline(timeout)
        self._pool = connection_pool(url, self._deadline)
        self._storage = RedisStorage(url, connection_pool=self._pool, key_prefix=KEY_PREFIX)
        # The latter three: an answer that does not look like one.
        self._failures = (*FAILURES, ValueError, TypeError, LookupError)
        self._say: Callable[[Exception], str] = lambda error: f"{described(self._pool)} {advice(error)}"

    def count(self, keyed: Keyed) -> list[Reading]:
        """What :meth:`RateLimits.hit` returns.

        :raises StoreDown: when Redis did not answer, or answered nonsense.
        """
        self._deadline.start()
        try:
            return _count(self._storage, keyed)
        except self._failures as error:
            # What broke this connection has probably broken the idle ones.
            self._pool.disconnect(inuse_connections=False)
            raise StoreDown(self._say(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()


@dataclass(slots=True)
class _Count:
    """Requests of one client in the window with this number and in the one before."""

    window: float
    previous: int = 0
    current: int = 0

    def move_to(self, window: float) -> None:
        """Let time pass; a clock that was set back stands still."""
        if window > self.window:
            self.previous = self.current if window == self.window + 1 else 0
            self.current = 0
            self.window = window


class LocalWindows:
    """Sliding windows in this process, of a bounded number of clients.

    Not limits' MemoryStorage (5.8): that one lets twice the limit through when threads race for a new key, starts up to a hundred
    timer threads a second that look through all keys, keeps any number of them, and begins anew when the machine's time is set.

    :param most: clients for each length of window; beyond it the one who was away for longest is forgotten.
    """

    def __init__(self, *, clock: Clock = time.monotonic, most: int = MOST_CLIENTS) -> None:
        self._clock = clock
        self._most = most
        self._lock = Lock()
        # By the length of the window: then the first is always the one who was away for longest.
        self._counts: dict[int, OrderedDict[str, _Count]] = {}

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` unless that makes more than ``limit`` in ``expiry`` seconds; whether it did."""
        with self._lock:
            count, left = self._now(key, expiry)
            admitted = floor(count.previous * left / expiry) + count.current + amount <= limit
            if admitted:
                count.current += amount
            return admitted

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Previous window: its count and the seconds until it weighs nothing; current window: the same."""
        with self._lock:
            count, left = self._now(key, expiry)
            return count.previous, left, count.current, left + expiry

    def __len__(self) -> int:
        """The number of counts that are kept."""
        with self._lock:
            return sum(map(len, self._counts.values()))

    def _now(self, key: str, expiry: int) -> tuple[_Count, float]:
        """The client's count, and the seconds until the current window ends."""
        window, passed = divmod(self._clock(), expiry)
        counts = self._counts.setdefault(expiry, OrderedDict())
        count = counts.setdefault(key, _Count(window))
        counts.move_to_end(key)
        count.move_to(window)
        self._forget(counts, window)
        return count, expiry - passed

    def _forget(self, counts: OrderedDict[str, _Count], window: float) -> None:
        for _ in range(_FORGET_AT_ONCE):
            oldest = next(iter(counts.values()))
            if oldest.window + 1 >= window and len(counts) <= self._most:
                return
            counts.popitem(last=False)


def _hashed(key: str) -> str:
    """A key that shows no address or name, and breaks no line; surrogates come from JSON."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _count(windows: Windows, keyed: Keyed) -> list[Reading]:
    readings: list[Reading] = []
    refused = False
    for item, key in keyed:
        limit, window = item.amount, item.get_expiry()
        exceeded = not refused and not windows.acquire_sliding_window_entry(key, limit, window)
        refused = refused or exceeded
        remaining, reset_in = budget(limit, window, windows.get_sliding_window(key, window))
        readings.append(Reading(item, 0 if exceeded else remaining, reset_in, exceeded))
    return readings
