"""Backends and stores that answer oddly: no one is logged in or out by it, and no token leaks."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import Backend, StoreDown, current_user, guest_allowed, login_required
from flask_api_layer.signals import registered, token_refreshed
from flask_api_layer.stores import MemoryStore
from tests.raw_server import Peer, RawServer, Script

from .visitors import (
    CREDENTIALS,
    GUEST,
    USER,
    Answer,
    Answers,
    MakeApp,
    StubBackend,
    assert_problem,
    grant,
    heard,
    layered,
    plain,
    record,
    set_cookies,
)

LOGIN = "/api/auth/login"
REGISTER = "/api/auth/register"
GUEST_RECORD = {"id": "g1", "type": "guest"}


def _shop(app: Flask) -> Flask:
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user.id)), endpoint="account")
    app.add_url_rule("/admin", view_func=login_required("admin")(lambda: "admins"), endpoint="admin")
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    return app


def _receive(peer: Peer) -> bytes:
    """The head of the next request, its body read as well."""
    received = peer.request()
    if length := re.search(rb"(?i)content-length: (\d+)", received):
        peer.read(int(length[1]))
    return received


def _saying(status: bytes, body: bytes, *headers: bytes) -> Script:
    def play(peer: Peer) -> None:
        while _receive(peer):
            peer.answer(body, *headers, status=status)

    return play


def _trickling(peer: Peer) -> None:
    """Logs in at once, and refreshes piece by piece, for 1.5 seconds."""
    expired = json.dumps(grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7})[1]).encode()
    renewed = json.dumps(grant("t2", refreshToken="r2", expiresIn=900, user={"id": 7})[1]).encode()
    while received := _receive(peer):
        if b"auth/refresh" not in received:
            peer.answer(expired, b"Content-Type: application/json")
            continue
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        peer.send(b"Content-Length: %d\r\n\r\n" % len(renewed))
        for start in range(0, len(renewed), len(renewed) // 14):
            peer.send(renewed[start : start + len(renewed) // 14])
            time.sleep(0.1)


# B6.1
def test_a_refresh_that_trickles_ends_with_its_lease(make_app: MakeApp) -> None:
    timeouts = {"connect_timeout": 0.3, "read_timeout": 0.3, "total_timeout": 30}
    with RawServer(_trickling) as server:
        browser = plain(_shop(make_app(f"{server.url}/v1", **timeouts)))
        browser.log_in()
        response = browser.fetch("/account")
        assert_problem(response, 503, "backend_unavailable")
        assert (set_cookies(response), list(browser.cookies)) == ({}, [USER])
        assert sum(b"auth/refresh" in head for head in server.heads) == 1


# B2.1: the time is linear in the text. A process of its own, for a regular expression cannot be interrupted.
def test_a_long_text_that_looks_like_the_start_of_tokens_is_read_in_one_go() -> None:
    code = "from flask_api_layer.sansio.redact import without_tokens as f; text = 'eyJ' * 50_000; assert f(text) == text"
    assert subprocess.run([sys.executable, "-c", code], timeout=5).returncode == 0


# B2.1
def test_a_long_text_that_looks_like_the_start_of_tokens_comes_through(make_app: MakeApp) -> None:
    text = "eyJ" * 50_000
    with StubBackend({"POST auth/login": grant(user={"id": 7, "about": text})}) as stub:
        response = plain(make_app(stub.url)).post(LOGIN, json=CREDENTIALS)
    assert response.status_code == 200
    assert response.get_json()["data"]["user"]["about"] == text


# B6.6
@pytest.mark.parametrize("body", [{}, {"error": "x"}, {"status": "maintenance"}])
def test_a_me_that_names_nobody_is_an_outage(make_app: MakeApp, body: dict[str, str]) -> None:
    with StubBackend({"POST auth/login": grant(), "GET auth/me": (200, body)}) as stub:
        browser = plain(_shop(make_app(stub.url)))
        response = browser.post(LOGIN, json=CREDENTIALS)
        assert (response.status_code, response.get_json()["data"]["user"]) == (200, None)
        refused = browser.fetch("/account")
        assert_problem(refused, 503, "backend_unavailable")
        assert (set_cookies(refused), list(browser.cookies)) == ({}, [USER])
        assert browser.visit("/open").text == "anonymous"


# B4.1
def test_a_guest_token_in_a_login_answer_is_no_user(make_app: MakeApp) -> None:
    parts = [{"alg": "HS256"}, {"sub": "7", "type": "guest"}, {"signature": 1}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    login = grant(".".join(encoded), expiresIn=900, user={"id": 7})
    with StubBackend({"POST auth/login": login, "GET auth/me": record(id=7, type="guest")}) as stub:
        browser = plain(_shop(make_app(stub.url)))
        browser.post(LOGIN, json=CREDENTIALS)
        assert browser.fetch("/account").status_code == 401
        assert browser.visit("/open").text != "user"


# B4.3: in the worker that knows the login, and in one that never saw it
@pytest.mark.parametrize("worker", ["same", "other"])
def test_a_refresh_that_is_silent_about_roles_takes_none_away(make_app: MakeApp, worker: str) -> None:
    admin = {"id": 7, "type": "user", "roles": ["admin"]}
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user=admin),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user={"id": 7, "type": "user"}),
        "GET auth/me": record(roles=["admin"]),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url)))
        browser.log_in()
        if worker == "other":
            browser = browser.on(_shop(make_app(stub.url)))
        assert [browser.visit("/admin").text for _ in range(2)] == ["admins", "admins"]
        assert stub.endpoints.count("POST auth/refresh") == 1


# B2.2
def test_a_registration_that_failed_with_200_is_no_success(make_app: MakeApp) -> None:
    refusal = {"success": False, "message": "taken"}
    with StubBackend({"POST auth/register": (200, refusal)}) as stub:
        app = make_app(stub.url)
        with heard(registered, app) as events:
            response = plain(app).post(REGISTER, json=CREDENTIALS)
    assert 400 <= response.status_code < 500
    assert response.get_json(force=True)["message"] == "taken"
    assert (set_cookies(response), events) == ({}, [])


# B2.2
def test_a_page_in_place_of_a_registration_is_a_bad_gateway(make_app: MakeApp) -> None:
    with RawServer(_saying(b"200 OK", b"<h1>Welcome</h1>", b"Content-Type: text/html")) as server:
        app = make_app(f"{server.url}/v1")
        with heard(registered, app) as events:
            response = plain(app).post(REGISTER, json=CREDENTIALS)
    assert_problem(response, 502, "bad_gateway")
    assert (set_cookies(response), events) == ({}, [])


# B2.2
def test_a_retry_after_that_is_no_number_of_seconds_is_no_500(make_app: MakeApp) -> None:
    answer = _saying(b"429 Too Many Requests", b"{}", b"Retry-After: " + b"9" * 5_000)
    with RawServer(answer) as server:
        response = plain(make_app(f"{server.url}/v1")).post(LOGIN, json=CREDENTIALS)
    assert_problem(response, 429, "rate_limited")
    assert len(response.headers.get("Retry-After", "")) < 20


# B2.2
@pytest.mark.parametrize("path", [LOGIN, REGISTER])
@pytest.mark.parametrize("is_form", [False, True])
def test_a_message_with_half_a_character_is_no_500(make_app: MakeApp, path: str, is_form: bool) -> None:
    answer: Answer = (422, {"message": "no \ud800", "errors": {"\udfff": ["\ud800"]}})
    with StubBackend({f"POST {path.removeprefix('/api/')}": answer}) as stub:
        browser = plain(make_app(stub.url))
        response = browser.submit(path, CREDENTIALS) if is_form else browser.post(path, json=CREDENTIALS)
    assert response.status_code == (303 if is_form else 422)


# B2.1
def test_a_token_among_the_roles_is_not_in_the_answer(make_app: MakeApp) -> None:
    user = {"id": 7, "roles": ["admin", "opaque-access-token"]}
    with StubBackend({"POST auth/login": grant(user=user)}) as stub:
        browser = plain(make_app(stub.url))
        texts = [browser.post(LOGIN, json=CREDENTIALS).text, browser.fetch("/api/auth/me").text]
    for text in texts:
        assert "opaque-access-token" not in text
        assert '"admin"' in text


# B2.1
@pytest.mark.parametrize("path", [LOGIN, REGISTER])
def test_a_guest_token_that_is_echoed_goes_no_further(make_app: MakeApp, path: str) -> None:
    endpoint = f"POST {path.removeprefix('/api/')}"
    echo: dict[str, Any] = {"message": "who is guest-token-of-7?", "errors": {"cart": ["guest-token-of-7"]}}
    answers: Answers = {
        "POST auth/guest": grant("guest-token-of-7", user=GUEST_RECORD),
        endpoint: (422, echo),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, guest_enabled=True)))
        assert browser.visit("/cart").text == "guest"
        response = browser.post(path, json=CREDENTIALS)
        assert stub.call(endpoint).headers["X-Guest-Token"] == "guest-token-of-7"
    assert response.status_code == 422
    assert "guest-token-of-7" not in response.text
    assert list(browser.cookies) == [GUEST]


# B3.4
def test_a_guest_token_that_fits_in_no_cookie_makes_no_guest(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/guest": grant("g" * 5_000, user=GUEST_RECORD)}) as stub:
        browser = plain(_shop(make_app(stub.url, guest_enabled=True)))
        page = browser.visit("/cart")
        assert (page.status_code, page.text, set_cookies(page)) == (200, "anonymous", {})
        refused = browser.post("/api/auth/guest")
        assert (refused.status_code, set_cookies(refused)) == (503, {})
        assert browser.visit("/cart").text == "anonymous"
        assert stub.endpoints == ["POST auth/guest"]


class _Forgetful:
    """A store whose next write fails when a test says so.

    :param lasts: and everything after it, until :attr:`is_down` is taken back.
    """

    def __init__(self, *, lasts: bool) -> None:
        self._store = MemoryStore()
        self._lasts = lasts
        self.is_down = False

    def get(self, key: str) -> bytes | None:
        if self._lasts:
            self._check()
        return self._store.get(key)

    def put(self, key: str, value: bytes, ttl: float) -> None:
        self._check()
        self._store.put(key, value, ttl)

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        self._check()
        return self._store.put_if_absent(key, value, ttl)

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        if self._lasts:
            self._check()
        return self._store.delete_if_equal(key, value)

    def _check(self) -> None:
        if self.is_down:
            self.is_down = self._lasts
            raise StoreDown("the store is away")


# B6.7
@pytest.mark.parametrize("lasts", [False, True])
def test_a_successor_that_could_not_be_written_down_is_not_lost(lasts: bool) -> None:
    store = _Forgetful(lasts=lasts)

    def fail(sender: object, **_: object) -> None:
        store.is_down = True

    user = {"id": 7, "type": "user"}
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user=user),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user=user),
    }
    with StubBackend(answers) as stub, layered(stub.url, store=store) as (app, layer):
        app.register_blueprint(layer.blueprint)
        browser = plain(_shop(app))
        browser.log_in()
        late = browser.on(app)
        with token_refreshed.connected_to(fail, sender=app):
            response = browser.visit("/account")
        assert (response.text, list(set_cookies(response))) == ("7", [USER])
        store.is_down = False
        found = late.visit("/account")
        assert (found.text, list(set_cookies(found))) == ("7", [USER])
        assert stub.endpoints.count("POST auth/refresh") == 1


# B4.1: whoever writes a mapper of their own builds upon this one
@pytest.mark.parametrize(
    ("type_", "kind"), [("guest", "guest"), ("user", "user"), ("Guest", "user"), (None, "user")]
)
def test_a_record_of_type_guest_is_a_guest(type_: object, kind: str) -> None:
    assert Backend().identity_from({"id": 7, "type": type_}).kind == kind
