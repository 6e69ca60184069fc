"""The backend breaks in every way, again and again, under load."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import urllib3

from .backends import Backends, start_backends
from .conftest import Arrive, StartFleet, Visitor
from .gate import Gate
from .lines import AUTH_COOKIES, USER, Answer, Line, until

SECONDS = 60 if os.environ.get("API_LAYER_TESTS_LONG") else 8
PHASE = 0.3  # seconds that a fault lasts, and the pause after it
PATHS = ("/account", "/api/whoami", "/cart")
ENDPOINTS = ("auth/me", "auth/refresh", "whoami")

# None of them lets a refresh happen without an answer: a credential lost like that is lost, whatever the layer does.
FAULTS: Mapping[str, Mapping[str, object]] = {
    "refuse": {},
    "500": {"status": 500},
    "429": {"status": 429, "retry_after": 1},
    "slow": {"delay": 0.2},
    "html": {"mode": "html"},
    "empty": {"mode": "empty"},
    "truncated": {"mode": "truncated"},
    "garbage": {"mode": "garbage"},
}


@pytest.fixture(scope="module")
def _shared_backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """Tokens that live for a second: each phase meets some that have just expired."""
    backends = start_backends(tmp_path_factory.mktemp("backends"), ACCESS_TTL=1)
    yield backends
    backends.close()


class Browser:
    """A browser that goes on and on until it is told to stop."""

    def __init__(self, line: Line, visitor: Visitor, stop: threading.Event) -> None:
        self._line = line
        self._stop = stop
        self.visitor = visitor
        self.cookies = visitor.cookies
        self.answers: list[Answer] = []

    def browse(self) -> None:
        for path in itertools.cycle(PATHS):
            if self._stop.is_set():
                return
            # A truncated answer is passed on as far as it came.
            with suppress(urllib3.exceptions.ProtocolError):
                self.ask(path)

    def ask(self, path: str) -> Answer:
        answer = self._line.get(path, self.cookies)
        self.cookies = answer.kept_by(self.cookies)
        self.answers.append(answer)
        return answer

    def is_served(self, path: str) -> bool:
        return self.ask(path).mark == self.visitor.id


def _break_again_and_again(backends: Backends, gate: Gate) -> None:
    end = time.monotonic() + SECONDS
    for name, fault in itertools.cycle(FAULTS.items()):
        if time.monotonic() > end:
            return
        if name == "refuse":
            gate.shut()
        else:
            for endpoint in ENDPOINTS:
                backends.living.fault(endpoint, **fault)
        time.sleep(PHASE)
        if name == "refuse":
            gate.open()
        backends.living.reset()
        time.sleep(PHASE)


# B6.6, B4.7, DESIGN promise 2
def test_a_flapping_backend_logs_nobody_out(
    start_fleet: StartFleet, backends: Backends, arrive: Arrive, tmp_path: Path
) -> None:
    visitors, guests, stop = [arrive() for _ in range(20)], backends.guests(), threading.Event()
    with Gate(backends.living.base_url) as gate, ExitStack() as stack:
        fleet = start_fleet(
            gate.url,
            f"sqlite:///{tmp_path / 'store.sqlite3'}",
            refresh_leeway=0,
            validate_ttl=0.2,
            connect_timeout=1,
            read_timeout=5,
        )
        browsers = [Browser(stack.enter_context(Line(fleet.url)), visitor, stop) for visitor in visitors]
        with ThreadPoolExecutor(20) as pool:
            browsing = [pool.submit(browser.browse) for browser in browsers]
            try:
                _break_again_and_again(backends, gate)
            finally:
                stop.set()
            for future in browsing:
                future.result()
        for browser in browsers:
            _assert_unharmed(browser)
            for path in PATHS:
                until(partial(browser.is_served, path))
            _assert_unharmed(browser)
    assert backends.guests() == guests
    assert [backends.living_families(visitor.id) for visitor in visitors] == [1] * 20
    assert backends.living.reuse_events() == 0


def _assert_unharmed(browser: Browser) -> None:
    changed = [name for answer in browser.answers for name in answer.cookies]
    assert set(changed) <= {USER} <= AUTH_COOKIES
    assert all(cookie.is_kept for answer in browser.answers for cookie in answer.cookies.values())
    assert {answer.mark for answer in browser.answers} <= {browser.visitor.id, None}
    assert {answer.status for answer in browser.answers} <= {200, 429, 500, 502, 503, 504}
