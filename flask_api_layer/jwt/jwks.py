"""The keys behind JWKS_URL: fetched when they are needed, kept, and never fetched on a stranger's command."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.jwk import Key

from ..transport import Transport, TransportError
from .keys import ALGORITHMS, KeysUnavailable, choose, has_kid, is_symmetric, read_keys

_log = logging.getLogger(__name__)

MAX_SET: Final = 2**20
"""Bytes of the largest key set."""

KEPT_SECONDS: Final = 600.0
UNKNOWN_KID_REST_SECONDS: Final = 60.0
FAILURE_REST_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: tuple[Key, ...]
    at: float


class RemoteKeys:
    """The public keys of a JWK Set on the web, for all threads of a process.

    They are kept for 10 minutes, whatever the server says about caching, and longer while it cannot be asked. A ``kid`` that is not
    among them has them fetched again, once a minute at most: tokens are written by strangers. After a failure the server is left
    alone for 5 seconds. Shared secrets in the set are passed over.

    :param url: ``http`` or ``https``; may have a query. Redirects are not followed.
    :param timeout: seconds for a fetch in all.
    :param clock: seconds that never step back.
    :raises ValueError: for a URL that cannot be called.
    """

    def __init__(self, url: str, *, timeout: float = 5, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        # One call in ten minutes: no connection is worth keeping.
        self._transport = Transport(
            f"{parts.scheme}://{parts.netloc}",
            connect_timeout=min(timeout, 2),
            read_timeout=timeout,
            total_timeout=timeout,
            pool_size=0,
        )
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._clock = clock
        self._fetched: _Fetched | None = None
        self._is_failing = False
        self._failure_rests_until = self._unknown_kid_rests_until = clock()
        self._flight = Lock()

    def key_for(self, header: Mapping[str, Any]) -> Key | None:
        known = self._current()
        key, kid = choose(known.keys, header), header.get("kid")
        if key is not None or kid is None or has_kid(known.keys, kid):
            return key
        key = choose(self._after_unknown_kid(known).keys, header)
        if key is None and self._is_failing:
            raise KeysUnavailable("the key set cannot be fetched, and the one at hand lacks the key")
        return key

    def fits(self, algorithm: str) -> bool:
        return algorithm in ALGORITHMS and not is_symmetric(algorithm)

    def _current(self) -> _Fetched:
        known = self._fetched
        if known is not None and self._clock() - known.at < KEPT_SECONDS:
            return known
        # While one thread fetches, the others wait only if they have nothing to go on with.
        if self._flight.acquire(blocking=known is None):
            try:
                self._fetch_after(known)
            finally:
                self._flight.release()
        if self._fetched is None:
            raise KeysUnavailable("the key set cannot be fetched")
        return self._fetched

    def _after_unknown_kid(self, known: _Fetched) -> _Fetched:
        """The newest keys; whoever comes while they are being fetched waits for them."""
        with self._flight:
            if self._clock() >= self._unknown_kid_rests_until and self._fetch_after(known):
                self._unknown_kid_rests_until = self._clock() + UNKNOWN_KID_REST_SECONDS
            return self._fetched or known

    def _fetch_after(self, known: _Fetched | None) -> bool:
        """Fetch, unless another thread has just done so or a failure is too recent; whether the server was asked."""
        if self._fetched is not known or self._clock() < self._failure_rests_until:
            return False
        try:
            keys = self._fetch()
        except (TransportError, ValueError) as error:
            self._is_failing = True
            self._failure_rests_until = self._clock() + FAILURE_REST_SECONDS
            _log.warning("JWKS_URL gave no keys: %s", error)
        else:
            self._is_failing = False
            self._fetched = _Fetched(keys, self._clock())
        return True

    def _fetch(self) -> tuple[Key, ...]:
        reply = self._transport.call("GET", self._target)
        if reply.status != 200:
            raise ValueError(f"it answered {reply.status}")
        if len(reply.body) > MAX_SET:
            raise ValueError(f"its answer has more than {MAX_SET} bytes")
        document = reply.json()
        if not isinstance(document, dict) or "keys" not in document:
            raise ValueError("its answer is not a JWK Set")
        keys = tuple(key for key in read_keys(document) if key.key_type != "oct")
        if not keys:
            raise ValueError("its answer has no public key")
        return keys
