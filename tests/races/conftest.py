"""Fixtures of the races: backends, stores, fleets, and visitors who are logged in already."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from flask import Flask

from ..stores.servers import RedisServer
from .backends import Backends, start_backends
from .fleet import Fleet
from .lines import GUEST, USER
from .needs import need_program

PASSWORD = "a password for tests"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A user who is logged in, and the cookies of that."""

    id: str
    email: str
    cookies: dict[str, str] = field(repr=False)


class Arrive(Protocol):
    """A new user logs in, on another machine of the same site."""

    def __call__(self, *, expired: bool = True) -> Visitor: ...


class StartFleet(Protocol):
    """Start a fleet that ends with the test."""

    def __call__(self, backend_url: str, store_url: str, **settings: object) -> Fleet: ...


@pytest.fixture(scope="session")
def _shared_backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    backends = start_backends(tmp_path_factory.mktemp("backends"))
    yield backends
    backends.close()


@pytest.fixture
def backends(_shared_backends: Backends) -> Backends:
    """Both backends, without faults, counters at zero."""
    _shared_backends.reset()
    return _shared_backends


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    need_program("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite") / "store.sqlite3"


@pytest.fixture(scope="session", params=("sqlite", "redis"))
def store(request: pytest.FixtureRequest) -> str:
    """Each store that several processes can share, in turn."""
    return str(request.param)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, store: str) -> str:
    if store == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return f"sqlite:///{request.getfixturevalue('sqlite_file')}"


@pytest.fixture
def fleet(request: pytest.FixtureRequest, store: str) -> Fleet:
    """Four workers with the usual settings."""
    fleet: Fleet = request.getfixturevalue(f"{store}_fleet")
    return fleet


@pytest.fixture(scope="session")
def sqlite_fleet(_shared_backends: Backends, sqlite_file: Path) -> Iterator[Fleet]:
    fleet = Fleet(_shared_backends.living.base_url, f"sqlite:///{sqlite_file}")
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def redis_fleet(_shared_backends: Backends, redis_server: RedisServer) -> Iterator[Fleet]:
    fleet = Fleet(_shared_backends.living.base_url, redis_server.url)
    yield fleet
    fleet.close()


@pytest.fixture
def start_fleet() -> Iterator[StartFleet]:
    fleets: list[Fleet] = []

    def start(backend_url: str, store_url: str, **settings: object) -> Fleet:
        fleets.append(Fleet(backend_url, store_url, preload=True, **settings))  # type: ignore[arg-type]
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def arrive(backends: Backends, make_app: Callable[..., Flask]) -> Arrive:
    """Log a new user in."""
    expired_site, living_site = make_app(backends.expired), make_app(backends.living)

    def arrive(*, expired: bool = True) -> Visitor:
        return register(expired_site if expired else living_site)

    return arrive


@pytest.fixture
def guest_cookie(backends: Backends, make_app: Callable[..., Flask]) -> str:
    """The cookie of a new guest."""
    client = make_app(backends.living, guest_enabled=True).test_client()
    assert client.post("/api/auth/guest", base_url="https://localhost").status_code == 201
    cookie = client.get_cookie(GUEST)
    assert cookie is not None
    return cookie.value


def register(site: Flask) -> Visitor:
    """A new user, from an address of their own: logins are limited by address."""
    number = next(_numbers)
    email = f"user-{number}@races.example.com"
    client = site.test_client()
    answer = client.post(
        "/api/auth/register",
        json={"name": "Somebody", "email": email, "password": PASSWORD},
        base_url="https://localhost",
        environ_overrides={"REMOTE_ADDR": f"10.0.{number >> 8}.{number & 255}"},
    )
    assert answer.status_code == 201, answer.text
    cookie = client.get_cookie(USER)
    assert cookie is not None
    assert answer.json is not None
    return Visitor(answer.json["data"]["user"]["id"], email, {USER: cookie.value})
