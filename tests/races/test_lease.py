"""The worker that refreshes dies, or stands still for too long."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import urllib3
from flask import Flask

from ..raw_server import Peer, RawServer
from .backends import Backends
from .conftest import Arrive, StartFleet, register
from .fleet import frozen
from .lines import USER, Answer, Line, until
from .stub import Call, backend, grant, record, refusal, response

REFRESH = "POST auth/refresh"


def _answers_until_one_is_good(line: Line, path: str, cookies: dict[str, str]) -> list[Answer]:
    answers: list[Answer] = []

    def is_good() -> bool:
        answers.append(line.get(path, cookies))
        return answers[-1].status == 200

    until(is_good)
    return answers


# B6.3
def test_killing_the_worker_that_refreshes_costs_nobody_the_session(
    start_fleet: StartFleet, backends: Backends, arrive: Arrive, store_url: str
) -> None:
    fleet = start_fleet(backends.living.base_url, store_url, workers=3, connect_timeout=0.2, read_timeout=1)
    visitor = arrive()
    backends.living.fault("auth/refresh", mode="hang", times=1)
    holder, *others = fleet.workers
    with ExitStack() as stack:
        doomed, *lines = [stack.enter_context(fleet.line(worker)) for worker in (holder, *others)]
        pool = stack.enter_context(ThreadPoolExecutor(3))
        cut = pool.submit(doomed.get, "/account", visitor.cookies)
        until(lambda: backends.living.calls(REFRESH) == 1)
        os.kill(holder, signal.SIGKILL)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            cut.result()
        tries = [
            pool.submit(_answers_until_one_is_good, line, path, visitor.cookies)
            for line, path in zip(lines, ("/account", "/api/whoami"), strict=True)
        ]
        for answers in (future.result() for future in tries):
            *waited, good = answers
            assert {(answer.status, tuple(answer.cookies)) for answer in waited} <= {(503, ())}
            assert (good.mark, tuple(good.cookies), good.cookies[USER].is_kept) == (visitor.id, (USER,), True)
    until(lambda: holder not in fleet.workers)
    with fleet.lines(3) as lines:
        assert [line.get("/account", visitor.cookies).mark for line in lines] == [visitor.id] * 3
    assert backends.living.calls(REFRESH) == 2
    assert backends.living.reuse_events() == 0
    assert backends.living_families(visitor.id) == 1


class Hesitant:
    """A backend that does not care for reuse: it answers the first refresh of a session late, and the next at once.

    :param late: what the late answers are, by user.
    """

    def __init__(self, late: dict[str, bytes]) -> None:
        self.late = late
        self.refreshes: Counter[str] = Counter()
        self.bearers: list[str] = []
        self.may_answer = threading.Event()

    def answer(self, peer: Peer, call: Call) -> None:
        user = call.bearer.partition(".")[0]
        match call.endpoint:
            case "POST auth/register":
                user = call.body["email"].partition("@")[0]
                peer.send(
                    grant(
                        user,
                        f"{user}.spent",
                        refresh_token=f"{user}.again",
                        expires_in=1e-6,
                        status="201 Created",
                    )
                )
            case "POST auth/refresh":
                peer.send(self._refreshed(call.body["refreshToken"].partition(".")[0]))
            case "GET auth/me":
                peer.send(response(record(user)))
            case "GET whoami":
                peer.send(response({"mark": call.bearer}))
            case _:
                peer.send(refusal("404 Not Found"))

    def _refreshed(self, user: str) -> bytes:
        self.refreshes[user] += 1
        if self.refreshes[user] > 1:
            return grant(user, f"{user}.decided", refresh_token="next", expires_in=3600)
        self.may_answer.wait(30)
        return self.late[user]


# B6.3
def test_a_frozen_worker_that_wakes_up_changes_nothing_that_was_decided_meanwhile(
    start_fleet: StartFleet, make_app: Callable[..., Flask], store_url: str
) -> None:
    hesitant = Hesitant({})
    with RawServer(backend(hesitant.answer)) as server, ExitStack() as stack:
        stack.callback(hesitant.may_answer.set)
        url = f"{server.url}/v1"
        fleet = start_fleet(url, store_url, workers=2, connect_timeout=0.2, read_timeout=0.5)
        visitors = [register(make_app(url)) for _ in range(3)]
        granted, refused, reused = (visitor.id for visitor in visitors)
        hesitant.late[granted] = grant(granted, f"{granted}.late", refresh_token="late", expires_in=3600)
        hesitant.late[refused] = refusal("401 Unauthorized")
        hesitant.late[reused] = refusal("409 Conflict")
        sleeper, witness = fleet.workers
        sleepy = [stack.enter_context(fleet.line(sleeper)) for _ in visitors]
        awake = stack.enter_context(fleet.line(witness))
        pool = stack.enter_context(ThreadPoolExecutor(3))
        held = [
            pool.submit(line.get, "/api/whoami", visitor.cookies)
            for line, visitor in zip(sleepy, visitors, strict=True)
        ]
        until(lambda: hesitant.refreshes.total() == 3)
        with frozen(sleeper):
            for visitor in visitors:
                *waited, good = _answers_until_one_is_good(awake, "/api/whoami", visitor.cookies)
                assert {(answer.status, tuple(answer.cookies)) for answer in waited} <= {(503, ())}
                assert good.mark == f"{visitor.id}.decided"
            hesitant.may_answer.set()
        for visitor, future in zip(visitors, held, strict=True):
            woken = future.result()
            assert woken.status in (200, 503)
            assert not any(cookie.is_deletion for cookie in woken.cookies.values())
            for cookies in (visitor.cookies, woken.kept_by(visitor.cookies)):
                for line in (sleepy[0], awake):
                    answer = line.get("/api/whoami", cookies)
                    assert (answer.status, answer.mark) == (200, f"{visitor.id}.decided")
                    assert all(cookie.is_kept for cookie in answer.cookies.values())
        assert set(hesitant.refreshes.values()) == {2}
