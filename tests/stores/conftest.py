"""Stores under test, each with a way to let time pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from flask_api_layer.stores import CheckedStore, MemoryStore, SQLiteStore
from flask_api_layer.stores.redis import RedisStore

from .servers import Parrot, RedisServer


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def elapse(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Subject:
    """A store, and how time passes for it."""

    store: CheckedStore
    elapse: Callable[[float], None]


class StartRedis(Protocol):
    """Start a server that ends with the test."""

    def __call__(self, *options: str, password: str | None = None) -> RedisServer: ...


class StartParrot(Protocol):
    """Start a server that ends with the test."""

    def __call__(self, reply: bytes | None, *, delay: float = 0) -> Parrot: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the tests that leave it as it is."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    servers: list[RedisServer] = []

    def start(*options: str, password: str | None = None) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), options, password=password)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def start_parrot() -> Iterator[StartParrot]:
    parrots: list[Parrot] = []

    def start(reply: bytes | None, *, delay: float = 0) -> Parrot:
        parrots.append(Parrot(reply, delay=delay))
        return parrots[-1]

    yield start
    for parrot in parrots:
        parrot.close()


@pytest.fixture
def redis_store() -> Iterator[Callable[..., RedisStore]]:
    """Make a store that is closed after the test; patient, unless a test is about patience."""
    stores: list[RedisStore] = []

    def make(url: str, *, timeout: float = 10) -> RedisStore:
        stores.append(RedisStore(url, timeout=timeout))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "store.sqlite3"


@pytest.fixture
def sqlite_store(sqlite_path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(sqlite_path, clock=clock, timeout=10)) as store:
        yield store


@pytest.fixture(params=("memory", "sqlite", "redis"))
def subject(request: pytest.FixtureRequest, clock: Clock) -> Subject:
    """Each kind of store in turn."""
    match request.param:
        case "memory":
            return Subject(MemoryStore(clock=clock), clock.elapse)
        case "sqlite":
            return Subject(request.getfixturevalue("sqlite_store"), clock.elapse)
    server: RedisServer = request.getfixturevalue("shared_redis")
    with server.client() as client:
        client.flushall()
    return Subject(request.getfixturevalue("redis_store")(server.url), server.elapse)
