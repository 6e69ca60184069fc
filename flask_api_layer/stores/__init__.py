"""Where workers agree on who refreshes and what was decided: one Protocol, three places to keep it."""

from __future__ import annotations

import time
from collections.abc import Callable

from .breaker import Breaker, CheckedStore
from .memory import MemoryStore
from .sqlite import SQLiteStore

__all__ = ["Breaker", "CheckedStore", "MemoryStore", "SQLiteStore", "store_from_url"]

EXAMPLES = "memory://, sqlite:///instance/api-layer.sqlite3 or redis://localhost:6379/0"


def store_from_url(url: str, *, clock: Callable[[], float] | None = None) -> CheckedStore:
    """The store that ``API_LAYER_STORE_URL`` names; nothing is opened yet.

    - ``memory://``: this process alone.
    - ``sqlite:///relative/path`` (to where the process was started), ``sqlite:////absolute/path``, ``sqlite:///C:/path``: the
      path is taken as it stands, nothing in it is decoded.
    - ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, ``unix:///path.sock?db=0``: see
      :class:`~flask_api_layer.stores.redis.RedisStore`.

    SQLite and Redis come behind a :class:`Breaker`.

    :param clock: for tests. Left out, memory counts seconds that never jump, and SQLite takes the machine's time; Redis always
        has its own clock.
    :raises ValueError: for anything else. The text does not quote the URL, for it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    match scheme if separator else None:
        case "memory":
            return MemoryStore(clock=clock or time.monotonic)
        case "sqlite":
            return Breaker(SQLiteStore(_sqlite_path(rest), clock=clock or time.time))
        case "redis" | "rediss" | "unix":
            return Breaker(_redis_store(url))
        case None:
            raise ValueError(f"API_LAYER_STORE_URL has no scheme: write {EXAMPLES}")
        case _:
            raise ValueError(f"API_LAYER_STORE_URL has the unknown scheme {scheme!r}: write {EXAMPLES}")


def _sqlite_path(rest: str) -> str:
    slash, path = rest[:1], rest[1:]
    if slash != "/" or path in ("", ":memory:"):
        raise ValueError(
            "API_LAYER_STORE_URL names no file: write sqlite:///relative/path or sqlite:////absolute/path "
            "(memory:// keeps everything in the process)"
        )
    if "?" in path:
        raise ValueError(
            "API_LAYER_STORE_URL has a query, and sqlite:/// takes none: leave out the part from '?' on"
        )
    return path


def _redis_store(url: str) -> CheckedStore:
    try:
        from .redis import RedisStore
    except ImportError as error:
        raise ValueError(
            "API_LAYER_STORE_URL names Redis, and the package redis is not installed: "
            "pip install flask-api-layer[redis]"
        ) from error
    return RedisStore(url)
