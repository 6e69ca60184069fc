"""Any order of logins, logouts, requests, expiries, outages and restarts, in two workers, with cookies of any age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from werkzeug.test import TestResponse

from .apps import account
from .lines import USER, SetCookie, auth_cookies
from .switch import Switch, serve

EMAILS = ("ada@example.com", "editor@example.com")
PASSWORD = "demo-password"

# Nothing is remembered between runs, and no time is spent on explaining.
EXAMPLES = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)

StartWorker = Callable[[], Flask]


@dataclass(slots=True)
class Login:
    """What became of one login: whether it was ended here, and whether the backend heard of that."""

    user: str
    is_ended: bool = False
    is_ended_at_backend: bool = False


@dataclass(frozen=True, slots=True)
class Cookie:
    """A value that the browser was given at some time."""

    login: Login
    value: str = field(repr=False)


class Browsing(RuleBasedStateMachine):
    """Tabs of one browser: each holds a cookie that is as new as its last answer."""

    cookies = Bundle("cookies")

    def __init__(self, switch: Switch, start_worker: StartWorker) -> None:
        super().__init__()
        self._switch = switch
        self._start_worker = start_worker
        self._workers = [start_worker(), start_worker()]
        switch.is_broken = switch.grants_expired_tokens = False

    @initialize(target=cookies, expired=st.booleans())
    def arrive(self, expired: bool) -> MultipleResults[Cookie]:
        return self._log_in(0, EMAILS[0], None, expired=expired)

    @rule(
        target=cookies, worker=st.sampled_from((0, 1)), email=st.sampled_from(EMAILS), expired=st.booleans()
    )
    def log_in(self, worker: int, email: str, expired: bool) -> MultipleResults[Cookie]:
        return self._log_in(worker, email, None, expired=expired)

    @rule(
        target=cookies,
        worker=st.sampled_from((0, 1)),
        email=st.sampled_from(EMAILS),
        old=cookies,
        expired=st.booleans(),
    )
    def log_in_over(self, worker: int, email: str, old: Cookie, expired: bool) -> MultipleResults[Cookie]:
        return self._log_in(worker, email, old, expired=expired)

    @rule(worker=st.sampled_from((0, 1)), cookie=cookies)
    def log_out(self, worker: int, cookie: Cookie) -> None:
        answer = self._send(worker, "POST", "/api/auth/logout", cookie)
        changed = _changes(answer)
        assert (answer.status_code, tuple(changed), changed[USER].is_deletion) == (204, (USER,), True)
        cookie.login.is_ended = True
        cookie.login.is_ended_at_backend |= not self._switch.is_broken

    @rule(
        target=cookies,
        worker=st.sampled_from((0, 1)),
        cookie=cookies,
        path=st.sampled_from(("/api/whoami", "/account", "/api/auth/me")),
    )
    def ask(self, worker: int, cookie: Cookie, path: str) -> MultipleResults[Cookie]:
        answer = self._send(worker, "GET", path, cookie)
        if cookie.login.is_ended:
            return self._check_ended(answer, cookie, path)
        return self._check_living(answer, cookie, {200, 500, 503} if self._switch.is_broken else {200})

    @rule(target=cookies, worker=st.sampled_from((0, 1)), cookie=cookies)
    def expire(self, worker: int, cookie: Cookie) -> MultipleResults[Cookie]:
        """Go on with a token that has expired."""
        self._switch.grants_expired_tokens = True
        answer = self._send(worker, "POST", "/api/auth/refresh", cookie)
        self._switch.grants_expired_tokens = False
        if cookie.login.is_ended:
            return self._check_ended(answer, cookie, "/api/auth/refresh")
        # In an outage too, a spent credential finds its successor.
        return self._check_living(answer, cookie, {200, 503} if self._switch.is_broken else {200})

    @rule(is_broken=st.booleans())
    def break_or_repair(self, is_broken: bool) -> None:
        self._switch.is_broken = is_broken

    @rule(worker=st.sampled_from((0, 1)))
    def restart(self, worker: int) -> None:
        self._workers[worker] = self._start_worker()

    @rule(cookie=consumes(cookies))
    def forget(self, cookie: Cookie) -> None:
        """A tab is closed."""

    @invariant()
    def no_credential_was_spent_twice(self) -> None:
        assert set(self._switch.exchanges.values()) <= {1}
        assert self._switch.reuse_events == 0

    def _log_in(
        self, worker: int, email: str, old: Cookie | None, *, expired: bool
    ) -> MultipleResults[Cookie]:
        self._switch.grants_expired_tokens = expired
        body = {"email": email, "password": PASSWORD}
        answer = self._send(worker, "POST", "/api/auth/login", old, body=body)
        self._switch.grants_expired_tokens = False
        if self._switch.is_broken:
            assert (answer.status_code in (502, 503), _changes(answer)) == (True, {})
            return multiple()
        assert answer.status_code == 200
        assert tuple(_changes(answer)) == (USER,)
        if old is not None:
            old.login.is_ended = True
        return _kept(answer, Login(answer.get_json()["data"]["user"]["id"]))

    def _check_ended(self, answer: TestResponse, cookie: Cookie, path: str) -> MultipleResults[Cookie]:
        assert _changes(answer) == {}
        if path == "/api/auth/me":
            assert answer.status_code == 401
        elif cookie.login.is_ended_at_backend:
            assert answer.status_code in (401, 500, 502, 503)
        else:
            # Nobody told the backend: the token is good until it expires.
            assert _mark(answer) in (None, cookie.login.user)
        return multiple()

    def _check_living(
        self, answer: TestResponse, cookie: Cookie, expected: set[int]
    ) -> MultipleResults[Cookie]:
        assert answer.status_code in expected
        assert _mark(answer) in (None, cookie.login.user)
        assert answer.status_code != 200 or answer.request.method == "POST" or _mark(answer)
        return _kept(answer, cookie.login)

    def _send(
        self, worker: int, method: str, path: str, cookie: Cookie | None, *, body: object = None
    ) -> TestResponse:
        client = self._workers[worker].test_client(use_cookies=False)
        headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        if cookie is not None:
            headers["Cookie"] = f"{USER}={cookie.value}"
        return client.open(path, method=method, headers=headers, json=body, base_url="https://localhost")


def _changes(answer: TestResponse) -> dict[str, SetCookie]:
    return auth_cookies(answer.headers.getlist("Set-Cookie"))


def _kept(answer: TestResponse, login: Login) -> MultipleResults[Cookie]:
    """The cookie that the answer sets, if any; it deletes none."""
    changes = _changes(answer)
    assert set(changes) <= {USER}
    assert all(cookie.is_kept for cookie in changes.values())
    return multiple(*(Cookie(login, cookie.value) for cookie in changes.values()))


def _mark(answer: TestResponse) -> object:
    """Whose data the answer shows."""
    body = answer.get_json(silent=True) or {}
    data = body.get("data") or {}
    return data.get("mark") or (data.get("user") or {}).get("id")


@pytest.fixture
def start_worker(make_app: Callable[..., Flask], tmp_path: Path) -> Callable[[str], StartWorker]:
    store_url = f"sqlite:///{tmp_path / 'store.sqlite3'}"

    def for_backend(url: str) -> StartWorker:
        def start() -> Flask:
            app = make_app(
                url, store_url=store_url, guest_enabled=True, proxy_routes={"**": "*"}, login_rate_limit=None
            )
            app.add_url_rule("/account", view_func=account)
            return app

        return start

    return for_backend


# B4, B6.1, B6.2, B6.4, B6.5, B6.6
def test_in_any_order_of_events_nobody_is_somebody_else(
    start_worker: Callable[[str], StartWorker], tmp_path: Path
) -> None:
    switch, runs = Switch(tmp_path), []
    with serve(switch) as url:

        class Here(Browsing):
            def __init__(self) -> None:
                runs.append(self)
                super().__init__(switch, start_worker(url))

        # The rules and invariants of the model assert.
        run_state_machine_as_test(Here, settings=EXAMPLES)
    assert len(runs) >= EXAMPLES.max_examples
