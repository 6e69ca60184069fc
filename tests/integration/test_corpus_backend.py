"""The rows of tests/corpus/backend.json: backends that answer nonsense log nobody in or out, and say nothing through us."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_api_layer import current_user, guest_allowed, login_required
from tests.corpus import Case, cases
from tests.raw_server import Peer, RawServer, Script

from .visitors import (
    CREDENTIALS,
    USER,
    Answer,
    Browser,
    assert_private,
    assert_problem,
    grant,
    layered,
    record,
    set_cookies,
)

SECRET = "secret-of-the-backend"
ENDPOINTS = {name: f"/v1/auth/{name}".encode() for name in ("login", "me", "refresh", "guest")}
ENDPOINTS["proxy"] = b"/v1/thing"
EXPIRED = grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7, "type": "user"})
LIVING = grant("t1", refreshToken="r1", expiresIn=900, user={"id": 7, "type": "user"})
USUAL = {ENDPOINTS["me"]: record(), ENDPOINTS["guest"]: grant("g1", user={"id": "g", "type": "guest"})}


def _said(case: Case) -> bytes:
    size = case.given.get("bomb")
    if size is None:
        return case.bytes("answer")
    body = gzip.compress(b"[" + b" " * size + b"]", 9)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _script(case: Case) -> Script:
    """Answers as usual until the call that the row is about, and hangs up after that one."""
    login = EXPIRED if case.given["at"] == "refresh" else LIVING
    usual = USUAL | {ENDPOINTS["login"]: login}
    odd = ENDPOINTS[case.given["at"]]

    def play(peer: Peer) -> None:
        while path := _received(peer):
            if path == odd:
                return peer.send(_said(case))
            _answer(peer, usual.get(path, (404, {})))
        return None

    return play


def _received(peer: Peer) -> bytes:
    """The path of the next request, its body read as well."""
    head = peer.request()
    if length := re.search(rb"(?i)content-length: (\d+)", head):
        peer.read(int(length[1]))
    return head.split(b" ")[1] if head else b""


def _answer(peer: Peer, answer: Answer) -> None:
    status, content = answer
    peer.answer(json.dumps(content).encode(), b"Content-Type: application/json", status=b"%d X" % status)


def _shop(app: Flask) -> Flask:
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user.id)), endpoint="account")
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    return app


@contextmanager
def _site(case: Case) -> Iterator[Browser]:
    settings: dict[str, Any] = {"validate_ttl": 0, "stale_ttl": 0, "proxy_routes": {"thing": ["GET"]}}
    settings["guest_enabled"] = case.given["at"] == "guest"
    with RawServer(_script(case)) as server, layered(f"{server.url}/v1", **settings) as (app, layer):
        app.register_blueprint(layer.blueprint)
        yield Browser(_shop(app))


ASK: dict[str, Callable[[Browser], TestResponse]] = {
    "me": lambda browser: browser.fetch("/account"),
    "refresh": lambda browser: browser.fetch("/account"),
    "login": lambda browser: browser.post("/api/auth/login", json=CREDENTIALS),
    "guest": lambda browser: browser.fetch("/cart"),
    "proxy": lambda browser: browser.fetch("/api/thing"),
}

# What must come of it


def _unavailable(answer: TestResponse, case: Case) -> None:
    assert_problem(answer, 503, "backend_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def _denied(answer: TestResponse, case: Case) -> None:
    assert_problem(answer, 403, "access_denied")


def _ended(answer: TestResponse, case: Case) -> None:
    assert_problem(answer, 401, "session_expired")


def _let_in(answer: TestResponse, case: Case) -> None:
    assert (answer.status_code, answer.text) == (200, "7")


def _bad_gateway(answer: TestResponse, case: Case) -> None:
    assert_problem(answer, 502, "bad_gateway")


def _bad_gateway_or_refused(answer: TestResponse, case: Case) -> None:
    assert answer.status_code in (400, 401, 502, 503), answer.text
    assert answer.mimetype == "application/problem+json"


def _nobody(answer: TestResponse, case: Case) -> None:
    assert (answer.status_code, answer.text) == (200, "anonymous")


def _no_500(answer: TestResponse, case: Case) -> None:
    assert answer.status_code in (200, 503)


def _passed(answer: TestResponse, case: Case) -> None:
    given = case.given
    assert answer.status_code == given.get("status", 200)
    assert answer.data == given["text"].encode("latin-1") if "text" in given else answer.data
    assert given.get("absent", "Set-Cookie") not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if "sandbox" in given:
        assert ("sandbox" in answer.headers.get("Content-Security-Policy", "")) is given["sandbox"]
    assert_private(answer)


def _passed_or_bad_gateway(answer: TestResponse, case: Case) -> None:
    assert answer.status_code in (200, 502)
    assert case.given["absent"] not in answer.headers


OUTCOMES: dict[str, Callable[[TestResponse, Case], None]] = {
    "unavailable": _unavailable,
    "denied": _denied,
    "ended": _ended,
    "user": _let_in,
    "bad gateway": _bad_gateway,
    "bad gateway or refused": _bad_gateway_or_refused,
    "nobody": _nobody,
    "no 500": _no_500,
    "passed": _passed,
    "passed or bad gateway": _passed_or_bad_gateway,
}


# B2.2, B4, B5.2, B6.6, B7.4, B7.5, B7.8
@pytest.mark.parametrize("case", cases("backend"), ids=lambda case: case.id)
def test_a_backend_that_answers_oddly_harms_nobody(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    expected = case.given["expect"]
    with _site(case) as browser:
        if case.given["at"] not in ("login", "guest"):
            browser.log_in()
        kept = browser.cookies
        answer = ASK[case.given["at"]](browser)
        answer.get_data()
        OUTCOMES[expected](answer, case)
        if not expected.startswith("passed"):
            assert SECRET not in answer.text + str(answer.headers)
        assert SECRET not in caplog.text
        if expected == "ended":
            assert set_cookies(answer)[USER].is_deletion
        else:
            assert (set_cookies(answer), browser.cookies) == ({}, kept)
