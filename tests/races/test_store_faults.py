"""The store goes away under load, and comes back."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ..stores.servers import RedisServer
from .backends import Backends
from .conftest import PASSWORD, Arrive, Visitor
from .fleet import Fleet
from .lines import USER, Answer, Line, until

REFRESH = "POST auth/refresh"
PATHS = ("/account", "/api/whoami", "/cart")

# So many requests in all, one after another: a store that is asked in vain by each of them costs more than that.
REQUESTS = 48
BOUND = 10.0  # seconds

Fault = Callable[[], AbstractContextManager[None]]


@contextmanager
def _stopped(server: RedisServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _paused(server: RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def _full(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        with server.client() as client:
            client.config_set("maxmemory", 0)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture
def faults(request: pytest.FixtureRequest, store: str) -> list[Fault]:
    """A way to take the store away for each of four workers: what one of them saw does not spare the next."""
    if store == "sqlite":
        return [partial(_locked, request.getfixturevalue("sqlite_file"))] * 4
    server: RedisServer = request.getfixturevalue("redis_server")
    return [partial(fault, server) for fault in (_stopped, _paused, _full, _stopped)]


@contextmanager
def _load(fleet: Fleet, visitors: list[Visitor]) -> Iterator[list[Answer]]:
    """What visitors are answered while the block runs; they go on and on."""
    answers: list[Answer] = []
    stop = threading.Event()

    def browse(visitor: Visitor) -> None:
        with Line(fleet.url) as line:
            while not stop.wait(0.02):
                for path in PATHS:
                    answers.append(line.get(path, visitor.cookies))
                    assert answers[-1].mark == visitor.id

    with ThreadPoolExecutor(len(visitors)) as pool:
        browsing: list[Future[None]] = [pool.submit(browse, visitor) for visitor in visitors]
        try:
            yield answers
        finally:
            stop.set()
        for future in browsing:
            future.result()


# B6.7
def test_without_a_store_nobody_is_logged_out_and_nothing_is_refreshed(
    fleet: Fleet, faults: list[Fault], backends: Backends, arrive: Arrive
) -> None:
    living, expired = [arrive(expired=False) for _ in range(4)], [arrive() for _ in range(4)]
    guests, took = backends.guests(), 0.0
    with fleet.lines(4) as lines:
        with _load(fleet, living) as served:
            for line, fault in zip(lines, faults, strict=True):
                leaving = arrive(expired=False)
                with fault():
                    began = time.monotonic()
                    refused = [
                        line.get(PATHS[i % 3], expired[i % 4].cookies) for i in range(REQUESTS // len(lines))
                    ]
                    took += time.monotonic() - began
                    _assert_login_and_logout_work(line, living[0], leaving)
                assert {(answer.status, tuple(answer.cookies)) for answer in refused} == {(503, ())}
                assert {answer.json()["code"] for answer in refused} == {"backend_unavailable"}
            assert backends.living.calls(REFRESH) == 0
            for line in lines:
                until(partial(_is_served, line, expired[0]))
        late = [line.get("/account", visitor.cookies) for line in lines for visitor in expired]
    assert took < BOUND
    assert {(answer.status, tuple(answer.cookies)) for answer in served} == {(200, ())}
    assert [answer.mark for answer in late] == [visitor.id for visitor in expired] * 4
    assert all(answer.cookies[USER].is_kept and len(answer.cookies) == 1 for answer in late)
    assert backends.living.calls(REFRESH) == 4
    assert backends.living.reuse_events() == 0
    assert backends.guests() == guests


def _is_served(line: Line, visitor: Visitor) -> bool:
    return line.get("/account", visitor.cookies).status == 200


def _assert_login_and_logout_work(line: Line, known: Visitor, leaving: Visitor) -> None:
    login = line.post("/api/auth/login", body={"email": known.email, "password": PASSWORD})
    assert (login.status, tuple(login.cookies), login.cookies[USER].is_kept) == (200, (USER,), True)
    assert line.get("/account", login.kept_by({})).mark == known.id
    logout = line.post("/api/auth/logout", leaving.cookies)
    assert (logout.status, tuple(logout.cookies), logout.cookies[USER].is_deletion) == (204, (USER,), True)


# B6.4, B6.7
def test_a_logout_without_a_store_is_remembered_when_the_store_is_back(
    sqlite_fleet: Fleet, sqlite_file: Path, backends: Backends, arrive: Arrive
) -> None:
    leaving, witnesses = arrive(), [arrive(), arrive()]
    # The backend misses it too, so that only the tombstone can end the session.
    backends.living.fault("auth/logout", status=500, times=1)
    with sqlite_fleet.lines(4) as lines:
        with _locked(sqlite_file):
            assert lines[0].post("/api/auth/logout", leaving.cookies).status == 204
        for witness in witnesses:
            for line in lines:
                until(partial(_is_served, line, witness))
        assert backends.living.calls(REFRESH) == 2
        copies = [line.get(path, leaving.cookies) for line in lines for path in PATHS]
    assert {(answer.status, tuple(answer.cookies)) for answer in copies} == {(401, ())}
    assert backends.living.calls(REFRESH) == 2
