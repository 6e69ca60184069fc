"""A refresh whose answer comes after the session ended touches no cookie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from .backends import Backends
from .conftest import PASSWORD, Arrive, Visitor
from .fleet import Fleet
from .lines import USER, Answer, Line, until

REFRESH = "POST auth/refresh"
LOGOUT = "POST auth/logout"
PATHS = ("/account", "/cart", "/api/whoami")
LATE: Mapping[str, Mapping[str, object]] = {
    "refused": {"status": 401, "code": "invalid_grant"},
    "reused": {"status": 409, "code": "token_reuse"},
    "granted": {},
}


@contextmanager
def _under_way(
    lines: list[Line], visitor: Visitor, backends: Backends, fault: Mapping[str, object]
) -> Iterator[list[Future[Answer]]]:
    """Requests of a visitor that wait for a slow refresh."""
    backends.living.fault("auth/refresh", delay=0.8, times=1, **fault)
    with ThreadPoolExecutor(len(lines)) as pool:
        waiting = [
            pool.submit(line.get, path, visitor.cookies) for line, path in zip(lines, PATHS, strict=True)
        ]
        until(lambda: backends.living.calls(REFRESH) == 1)
        yield waiting


# B6.4, B6.5
@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
def test_a_late_answer_for_a_replaced_session_touches_no_cookie(
    fleet: Fleet, backends: Backends, arrive: Arrive, fault: Mapping[str, object]
) -> None:
    ada, bob, guests = arrive(), arrive(expired=False), backends.guests()
    credentials = {"email": bob.email, "password": PASSWORD}
    with fleet.lines(4) as lines:
        with _under_way(lines[1:], ada, backends, fault) as waiting:
            login = lines[0].post("/api/auth/login", ada.cookies, body=credentials)
            assert not all(future.done() for future in waiting)
            late = [future.result() for future in waiting]
        assert (login.status, tuple(login.cookies), login.cookies[USER].is_kept) == (200, (USER,), True)
        assert [(answer.status, dict(answer.cookies)) for answer in late] == [(401, {})] * 3
        now = [line.get(path, login.kept_by(ada.cookies)) for line in lines for path in PATHS]
    assert [(answer.status, answer.mark, dict(answer.cookies)) for answer in now] == [(200, bob.id, {})] * 12
    assert backends.living.calls(REFRESH) == 1
    assert backends.living.reuse_events() == 0
    assert backends.guests() == guests
    if not fault:
        until(lambda: backends.living_families(ada.id) == 0)
        assert backends.living.calls(LOGOUT) >= 1


# B6.4
def test_a_logout_during_a_slow_refresh_stays_a_logout(
    fleet: Fleet, backends: Backends, arrive: Arrive
) -> None:
    visitor, guests = arrive(), backends.guests()
    # The backend misses the first logout, so that the refresh is granted all the same.
    backends.living.fault("auth/logout", status=500, times=1)
    with fleet.lines(4) as lines:
        with _under_way(lines[1:], visitor, backends, {}) as waiting:
            logout = lines[0].post("/api/auth/logout", visitor.cookies)
            assert not all(future.done() for future in waiting)
            late = [future.result() for future in waiting]
        assert (logout.status, tuple(logout.cookies), logout.cookies[USER].is_deletion) == (
            204,
            (USER,),
            True,
        )
        assert [(answer.status, dict(answer.cookies)) for answer in late] == [(401, {})] * 3
        until(lambda: backends.living_families(visitor.id) == 0)
        assert backends.living.calls(LOGOUT) == 2
        copies = [line.get(path, visitor.cookies) for line in lines for path in ("/api/auth/me", *PATHS)]
    assert [(answer.status, dict(answer.cookies)) for answer in copies] == [(401, {})] * 16
    assert backends.living.calls(REFRESH) == 1
    assert backends.living.reuse_events() == 0
    assert backends.guests() == guests
