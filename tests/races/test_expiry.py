"""Many requests, several workers, one expired token: one refresh."""

from __future__ import annotations

import time
from functools import partial

import pytest

from .backends import Backends
from .conftest import Arrive, StartFleet
from .fleet import Fleet
from .lines import GUEST, USER, Answer, Line, together

REFRESH = "POST auth/refresh"
PATHS = ("/api/whoami", "/account")


def _ask(line: Line, cookies: dict[str, str], paths: tuple[str, ...]) -> list[Answer]:
    return [line.get(path, cookies) for path in paths]


# B6.1
@pytest.mark.parametrize(
    ("delay", "within"),
    [(0, 0), (3, 0), (0, 0.3)],
    ids=["at once", "while the refresh takes 3 s", "over 300 ms"],
)
def test_fifty_requests_with_one_expired_token_cost_one_refresh(
    fleet: Fleet, backends: Backends, arrive: Arrive, delay: float, within: float
) -> None:
    visitor = arrive()
    if delay:
        backends.living.fault("auth/refresh", delay=delay, times=1)
    with fleet.lines(50) as lines:
        calls = [partial(line.get, PATHS[i % 2], visitor.cookies) for i, line in enumerate(lines)]
        answers = together(calls, within=within)
        assert {answer.worker for answer in answers} == set(fleet.workers)
        assert [answer.status for answer in answers] == [200] * 50
        assert {answer.mark for answer in answers} == {visitor.id}
        assert {tuple(answer.cookies) for answer in answers} == {(USER,)}
        assert all(answer.cookies[USER].is_kept for answer in answers)
        assert backends.living.calls(REFRESH) == 1
        # One refresh made one living token: a cookie that works without another refresh holds that one.
        successors = [answer.kept_by(visitor.cookies) for answer in answers]
        again = [line.get("/api/whoami", cookies) for line, cookies in zip(lines, successors, strict=True)]
    assert {(answer.status, answer.mark, tuple(answer.cookies)) for answer in again} == {
        (200, visitor.id, ())
    }
    assert backends.living.calls(REFRESH) == 1
    assert backends.living.reuse_events() == 0
    assert backends.expired.calls(REFRESH) == 0


# B6.1
def test_twenty_sessions_that_expire_together_cost_a_refresh_each(
    fleet: Fleet, backends: Backends, arrive: Arrive
) -> None:
    visitors = [arrive() for _ in range(20)]
    with fleet.lines(100) as lines:
        calls = [
            partial(_ask, line, visitors[i // 5].cookies, PATHS * 2 + PATHS[:1])
            for i, line in enumerate(lines)
        ]
        answers = together(calls)
    for position, given in enumerate(answers):
        assert [answer.status for answer in given] == [200] * 5
        assert {answer.mark for answer in given} == {visitors[position // 5].id}
        assert all(answer.cookies[USER].is_kept and len(answer.cookies) == 1 for answer in given)
    assert backends.living.calls(REFRESH) == 20
    assert backends.living.reuse_events() == 0
    assert [backends.living_families(visitor.id) for visitor in visitors] == [1] * 20


# B6.2
def test_an_old_cookie_finds_the_newest_successor_in_every_worker(
    fleet: Fleet, start_fleet: StartFleet, backends: Backends, arrive: Arrive, store_url: str
) -> None:
    visitor = arrive()
    # What this one gets from its backend has expired already, so that the chain grows.
    other_host = start_fleet(backends.expired.base_url, store_url, workers=1)
    with other_host.lines(1) as lines:
        assert lines[0].post("/api/auth/refresh", visitor.cookies).status == 200
    chain = backends.expired.calls(REFRESH)
    assert chain >= 1
    with fleet.lines(4) as lines:
        first = lines[0].get("/account", visitor.cookies)
        assert (first.status, backends.living.calls(REFRESH)) == (200, 1)
        answers = [line.get(path, visitor.cookies) for line in lines for path in PATHS]
        assert [(answer.status, answer.mark) for answer in answers] == [(200, visitor.id)] * 8
        assert all(answer.cookies[USER].is_kept and len(answer.cookies) == 1 for answer in answers)
        again = [lines[0].get("/account", answer.kept_by({})) for answer in answers]
    assert [(answer.status, answer.mark, dict(answer.cookies)) for answer in again] == [
        (200, visitor.id, {})
    ] * 8
    assert backends.living.calls(REFRESH) == 1
    assert backends.expired.calls(REFRESH) == chain
    assert backends.living.reuse_events() + backends.expired.reuse_events() == 0


# B6.2, B4
def test_after_the_grace_a_reused_credential_ends_the_session(
    start_fleet: StartFleet, backends: Backends, arrive: Arrive, guest_cookie: str, store_url: str
) -> None:
    fleet = start_fleet(backends.living.base_url, store_url, workers=2, refresh_grace=1)
    paths = ("/account", "/cart", "/api/whoami")
    visitors = [arrive() for _ in paths]
    guests = backends.guests()
    with fleet.lines(2) as lines:
        for visitor, path in zip(visitors, paths, strict=True):
            assert [line.get(path, visitor.cookies).status for line in lines] == [200, 200]
        assert backends.living.calls(REFRESH) == 3
        time.sleep(1.1)
        for visitor, path in zip(visitors, paths, strict=True):
            answer = lines[0].get(path, {**visitor.cookies, GUEST: guest_cookie})
            assert (answer.status, set(answer.cookies)) == (401, {USER, GUEST})
            assert all(cookie.is_deletion for cookie in answer.cookies.values())
    assert backends.living.calls(REFRESH) == 6
    assert backends.living.reuse_events() == 3
    assert backends.guests() == guests
