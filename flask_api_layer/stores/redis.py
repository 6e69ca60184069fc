"""A store in Redis: shared by workers on many machines."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, parse_url
from redis.exceptions import ChildDeadlockedError, NoPermissionError
from redis.retry import Retry

from flask_api_layer.errors import StoreDown

P = ParamSpec("P")
R = TypeVar("R")

PREFIX = "api-layer:"
DELETE_IF_EQUAL = """
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0
"""

OURS: dict[str, Any] = {
    # redis-py would try eight times and more, longer than a visitor waits; the breaker decides when to try again.
    "retry": Retry(NoBackoff(), 0),
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
    # Bytes in, bytes out, and a handshake of nothing but AUTH and SELECT.
    "decode_responses": False,
    "encoding": "utf-8",
    "protocol": 2,
    "driver_info": None,
}

FAILURES = (redis.RedisError, ChildDeadlockedError, OSError, UnicodeError)
# The server's own words stay out: an old server repeats the arguments of a command that it does not know, also of AUTH.
ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (redis.AuthenticationError, "refuses the user or password: correct them in API_LAYER_STORE_URL"),
    (redis.BusyLoadingError, "is still loading its data: wait"),
    (redis.MaxConnectionsError, "has no free connection: raise max_connections in API_LAYER_STORE_URL"),
    (redis.TimeoutError, "did not answer in time: see whether it hangs or is far away"),
    (redis.ConnectionError, "cannot be reached: start it, or correct API_LAYER_STORE_URL"),
    (redis.OutOfMemoryError, "is full: raise its maxmemory"),
    (redis.ReadOnlyError, "is a replica that takes no writes: name the primary in API_LAYER_STORE_URL"),
    (
        NoPermissionError,
        "forbids it: allow GET, SET, DEL, EVALSHA and SCRIPT on api-layer:* (and EXISTS, INCRBY, PTTL, RENAME for rate limits)",
    ),
)


class Deadline(threading.local):
    """When the operation that this thread is in must be over."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._at = 0.0

    def start(self) -> None:
        """Begin an operation."""
        self._at = time.monotonic() + self._timeout

    def left(self) -> float:
        """Seconds; never 0, which would mean "do not wait" to a socket and fail in other ways than a timeout."""
        return max(0.001, self._at - time.monotonic())


class OnTime(AbstractConnection):
    """A connection whose steps (connect, TLS, AUTH, SELECT, the command) share one deadline: redis-py gives each its own."""

    def __init__(self, *, deadline: Deadline, **options: Any) -> None:
        self._deadline = deadline
        super().__init__(**options)

    @property
    def socket_timeout(self) -> float:
        """What is left."""
        return self._deadline.left()

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        """Stay with the deadline."""

    @property
    def socket_connect_timeout(self) -> float:
        """What is left."""
        return self._deadline.left()

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        """Stay with the deadline."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send within what is left."""
        self._limit()
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read within what is left."""
        self._limit()
        return super().read_response(*args, **options)

    def _limit(self) -> None:
        sock = self._get_socket()
        if sock is not None:
            sock.settimeout(self._deadline.left())


class TCPConnection(OnTime, redis.Connection):
    """``redis://``"""


class TLSConnection(OnTime, redis.SSLConnection):
    """``rediss://``"""


class UnixConnection(OnTime, redis.UnixDomainSocketConnection):
    """``unix://``"""


CONNECTIONS: dict[str, Callable[..., OnTime]] = {
    "redis": TCPConnection,
    "rediss": TLSConnection,
    "unix": UnixConnection,
}


class RedisStore:
    """A store in the Redis (7 or newer, or Valkey) at ``url``, under keys that begin with ``api-layer:``.

    Redis itself counts the time to live, so a worker whose clock is wrong harms nobody. Looking up a host name takes as long as
    the system's resolver takes; everything else ends with the timeout.

    :param url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, ``unix:///path.sock?db=0``, with redis-py's
        options in the query; its timeouts and retries are ours.
    :param timeout: seconds that a call may take, connecting included.
    :raises ValueError: for a URL that redis-py cannot use. The text does not quote it, for it may hold a password.
    """

    def __init__(self, url: str, *, timeout: float = 0.2) -> None:
        self._deadline = Deadline(timeout)
        self._pool = connection_pool(url, self._deadline)
        self._name = described(self._pool)
        self._client = redis.Redis(connection_pool=self._pool)
        self._delete_if_equal = self._client.register_script(DELETE_IF_EQUAL)

    def get(self, key: str) -> bytes | None:
        """The living value under ``key``."""
        return cast("bytes | None", self._call(self._client.get, PREFIX + key))

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds."""
        self._call(self._client.set, PREFIX + key, value, px=_milliseconds(ttl))

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` unless a living one is there."""
        return bool(self._call(self._client.set, PREFIX + key, value, px=_milliseconds(ttl), nx=True))

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        """Delete ``key`` if its living value is ``value``."""
        return bool(self._call(self._delete_if_equal, keys=[PREFIX + key], args=[value]))

    def problem(self) -> str | None:
        """Why Redis cannot be relied on and what to do about it, or None."""
        try:
            self.put("problem", b"", 0)
        except StoreDown as error:
            return str(error)
        try:
            policy = self._call(self._client.config_get, "maxmemory-policy").get("maxmemory-policy")
        except StoreDown:
            return None  # Hosted Redis often forbids CONFIG.
        if policy in (None, "noeviction"):
            return None
        return (
            f"{self._name} throws entries away when it is full (maxmemory-policy {policy}), "
            "which can bring back a session that was logged out: set maxmemory-policy to noeviction."
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()

    def _call(self, command: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        self._deadline.start()
        try:
            return command(*args, **options)
        except FAILURES as error:
            # What broke this connection has probably broken the idle ones: the next call starts with a new one.
            self._pool.disconnect(inuse_connections=False)
            raise StoreDown(f"{self._name} {advice(error)}.") from error


def connection_pool(url: str, deadline: Deadline) -> redis.ConnectionPool:
    try:
        named = parse_url(url)  # type: ignore[no-untyped-call]
        options: dict[str, Any] = {"max_connections": 1000} | named | OURS | {"deadline": deadline}
        options["connection_class"] = CONNECTIONS[url.partition("://")[0]]
        pool = redis.ConnectionPool(**options)
        pool.connection_class(
            **pool.connection_kwargs
        )  # Unknown options show only here; nothing is opened yet.
    except (ValueError, TypeError, KeyError, redis.RedisError):
        raise ValueError(
            "API_LAYER_STORE_URL is not a URL that redis-py understands: write "
            "redis://[user:password@]host[:port][/db], and percent-encode special characters in the password"
        ) from None
    return pool


def described(pool: redis.ConnectionPool) -> str:
    options = pool.connection_kwargs
    if "path" in options:
        return f"Redis at {options['path']}"
    return f"Redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _milliseconds(ttl: float) -> int:
    return max(1, math.ceil(ttl * 1000))


def advice(error: Exception) -> str:
    for kind, advice in ADVICE:
        if isinstance(error, kind):
            return advice
    return f"answers with an error ({type(error).__name__})"
