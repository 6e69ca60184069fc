"""Tokens that end: refreshed silently, once, and without losing anybody."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_api_layer import api, current_user, guest_allowed, login_required
from flask_api_layer.signals import refresh_failed, session_ended, token_refreshed, token_reuse
from flask_api_layer.stores import MemoryStore
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    GUEST,
    SECURE,
    USER,
    WEEK,
    Answers,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    heard,
    layered,
    plain,
    record,
    set_cookies,
)

THREADS = 20


@pytest.fixture
def dead(start_backend: StartBackend, tmp_path_factory: pytest.TempPathFactory) -> ShopBackend:
    """A backend whose access tokens are expired at once; its refresh tokens live."""
    return start_backend(
        DATABASE=tmp_path_factory.getbasetemp() / "shared.sqlite3", ACCESS_TTL=1e-6, GUEST_TTL=1e-6
    )


@pytest.fixture
def living(start_backend: StartBackend, tmp_path_factory: pytest.TempPathFactory) -> ShopBackend:
    """The same backend, another process, whose tokens live as long as usual."""
    return start_backend(DATABASE=tmp_path_factory.getbasetemp() / "shared.sqlite3")


def _shop(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/cart")
    @guest_allowed
    def cart() -> str:
        return f"{current_user.kind} {current_user.id}"

    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    app.add_url_rule("/plain", view_func=lambda: "page", endpoint="plain")
    app.add_url_rule("/orders", view_func=lambda: api.get("orders"), endpoint="orders")
    return app


def _expired(dead: ShopBackend, make_app: MakeApp, app: Flask, email: str = ADA) -> Browser:
    """A browser in front of this app whose access token has expired."""
    browser = plain(make_app(dead))
    browser.log_in(email)
    dead.reset()
    return browser.on(app)


# B4 row 2, B3.1
@pytest.mark.parametrize("path", ["/account", "/cart", "/open", "/api/auth/me", "/orders"])
def test_an_expired_token_is_refreshed_once_and_silently(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp, path: str
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living)))
    response = browser.fetch(path)
    assert response.status_code == 200
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
        USER: SECURE | {"Max-Age": WEEK}
    }
    assert_private(response)
    again = browser.fetch(path)
    assert (again.status_code, set_cookies(again)) == (200, {})
    assert living.calls("POST auth/refresh") == 1
    assert living.reuse_events() == 0


# B4 row 2
def test_a_page_that_does_not_ask_refreshes_nothing(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living)))
    response = browser.visit("/plain")
    assert (response.text, set_cookies(response)) == ("page", {})
    assert living.calls() == {}


# B4 row 2
def test_who_the_user_is_comes_with_the_refresh(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    assert _expired(dead, make_app, _shop(make_app(living))).visit("/account").text == ADA
    assert living.calls() == {"POST auth/refresh": 1}


# B2.8, B4 row 2
def test_without_a_record_in_the_answer_me_is_asked_with_the_new_token(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7}),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900),
        "GET auth/me": record(email="x@y.z"),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, validate_ttl=0)))
        browser.log_in()
        assert browser.visit("/account").text == "x@y.z"
        assert stub.endpoints == ["POST auth/login", "POST auth/refresh", "GET auth/me"]
        assert stub.call("GET auth/me").headers["Authorization"] == "Bearer t2"


# A2
def test_a_new_token_is_kept_though_nobody_can_say_whose_it_is(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7}),
        "POST auth/refresh": [
            grant("t2", refreshToken="r2", expiresIn=900),
            (409, {"success": False, "code": "token_reuse"}),
        ],
        "GET auth/me": [(503, {}), record(email="x@y.z")],
    }
    with StubBackend(answers) as stub:
        login = plain(make_app(stub.url))
        login.log_in()
        browser = login.on(_shop(make_app(stub.url)))
        response = browser.fetch("/account")
        assert_problem(response, 503, "backend_unavailable")
        assert not set_cookies(response)[USER].is_deletion
        assert browser.visit("/account").text == "x@y.z"
        assert stub.endpoints.count("POST auth/refresh") == 1


# B15.1
def test_a_refresh_token_is_sent_as_json(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7, "email": ADA}),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user={"id": 7, "email": ADA}),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url)))
        browser.log_in()
        assert browser.visit("/account").text == ADA
        call = stub.call("POST auth/refresh")
    assert call.json == {"refreshToken": "r1"}


# B15.1
def test_without_a_refresh_token_the_old_token_is_the_bearer(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant("t1", expiresIn=1e-6, user={"id": 7, "email": ADA}),
        "POST auth/refresh": grant("t2", expiresIn=900, user={"id": 7, "email": ADA}),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url)))
        browser.log_in()
        assert browser.visit("/account").text == ADA
        call = stub.call("POST auth/refresh")
    assert call.headers["Authorization"] == "Bearer t1"


# B15.1
def test_a_backend_without_refresh_tokens_works_as_well(
    start_backend: StartBackend, make_app: MakeApp, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = tmp_path_factory.getbasetemp() / "single.sqlite3"
    dead = start_backend(DATABASE=database, TOKENS="single", ACCESS_TTL=1e-6)
    living = start_backend(DATABASE=database, TOKENS="single")
    browser = _expired(dead, make_app, _shop(make_app(living)))
    response = browser.visit("/account")
    assert response.text == ADA
    assert list(set_cookies(response)) == [USER]
    assert browser.visit("/account").text == ADA
    assert living.calls("POST auth/refresh") == 1
    assert living.reuse_events() == 0


# B2.8
def test_a_token_whose_end_nobody_knows_is_used_until_a_401(make_app: MakeApp) -> None:
    user = {"id": 7, "type": "user", "email": ADA}
    answers: Answers = {
        "POST auth/login": grant("opaque-1", refreshToken="r1", user=user),
        "GET auth/me": [record(email=ADA), (401, {"success": False}), record(email=ADA)],
        "POST auth/refresh": grant("opaque-2", refreshToken="r2", user=user),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, validate_ttl=0)))
        browser.log_in()
        pages = [browser.visit("/account") for _ in range(3)]
        assert [page.text for page in pages] == [ADA] * 3
        assert stub.endpoints.count("POST auth/refresh") == 1
        assert sorted(len(set_cookies(page)) for page in pages) == [0, 0, 1]


# REFRESH_LEEWAY
@pytest.mark.parametrize(("leeway", "refreshes"), [(10, 0), (30, 1), (0, 0)])
def test_a_token_is_refreshed_shortly_before_its_end(
    start_backend: StartBackend, make_app: MakeApp, leeway: int, refreshes: int
) -> None:
    backend = start_backend(ACCESS_TTL=20)
    browser = plain(_shop(make_app(backend, refresh_leeway=leeway)))
    browser.log_in()
    response = browser.visit("/account")
    assert response.text == ADA
    assert len(set_cookies(response)) == refreshes
    assert backend.calls("POST auth/refresh") == refreshes
    assert backend.reuse_events() == 0


def _assert_session_ended(response: TestResponse) -> None:
    assert_problem(response, 401, "session_expired")
    assert {name for name, cookie in set_cookies(response).items() if cookie.is_deletion} == {USER}
    assert list(set_cookies(response)) == [USER]


# B4 row 3, B6.6
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 401},
        {"status": 403},
        {"status": 400, "code": "invalid_grant"},
        {"status": 401, "code": "x"},
    ],
    ids=str,
)
def test_a_refused_refresh_ends_the_session(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp, fault: dict[str, Any]
) -> None:
    app = _shop(make_app(living))
    browser = _expired(dead, make_app, app)
    living.fault("auth/refresh", **fault)
    with heard(session_ended, app) as endings, heard(refresh_failed, app) as failures:
        _assert_session_ended(browser.fetch("/account"))
    assert (len(endings), len(failures)) == (1, 1)
    assert browser.cookies == {}
    assert_problem(browser.fetch("/account"), 401, "login_required")
    assert living.calls() == {"POST auth/refresh": 1}


# B4 row 3
def test_a_page_that_is_open_to_all_renders_for_nobody_then(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living, guest_enabled=True)))
    living.fault("auth/refresh", status=401)
    response = browser.visit("/open")
    assert response.text == "anonymous"
    assert set_cookies(response)[USER].is_deletion
    assert living.calls("POST auth/guest") == 0


# B4 row 3
def test_a_page_is_redirected_to_the_login_then(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living)))
    living.fault("auth/refresh", status=401)
    response = browser.visit("/account")
    assert (response.status_code, response.headers["Location"]) == (302, "/login?next=/account")
    assert set_cookies(response)[USER].is_deletion


# B4 row 3, GUEST_FALLBACK
def test_a_guest_view_makes_a_guest_of_whose_session_ended(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living, guest_enabled=True)))
    living.fault("auth/refresh", status=401)
    response = browser.visit("/cart")
    assert response.text.startswith("guest gst_")
    assert set_cookies(response)[USER].is_deletion
    assert not set_cookies(response)[GUEST].is_deletion
    assert list(browser.cookies) == [GUEST]


# B4 row 3, GUEST_FALLBACK
def test_without_the_fallback_a_login_is_asked_for(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living, guest_enabled=True, guest_fallback=False)))
    living.fault("auth/refresh", status=401)
    _assert_session_ended(browser.fetch("/cart"))
    assert living.calls("POST auth/guest") == 0


# B4 row 3
def test_a_user_who_was_disabled_is_out(dead: ShopBackend, living: ShopBackend, make_app: MakeApp) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living)), ADMIN)
    living.change_user(ADMIN, disabled=True)
    try:
        _assert_session_ended(browser.fetch("/account"))
    finally:
        living.change_user(ADMIN, disabled=False)


# B4 row 4
@pytest.mark.parametrize(
    "fault",
    [{"status": 409}, {"status": 400, "code": "token_reuse"}, {"status": 401, "code": "token_reuse"}],
    ids=str,
)
@pytest.mark.parametrize("path", ["/account", "/cart"])
def test_reuse_clears_everything_and_never_makes_a_guest(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp, fault: dict[str, Any], path: str
) -> None:
    app = _shop(make_app(living, guest_enabled=True))
    guest = plain(app)
    guest.visit("/cart")
    browser = Browser(app, cookies=guest.cookies | _expired(dead, make_app, app).cookies)
    living.reset()
    living.fault("auth/refresh", **fault)
    with heard(token_reuse, app) as reuses:
        response = browser.fetch(path)
    assert_problem(response, 401, "session_expired")
    assert {name: cookie.is_deletion for name, cookie in set_cookies(response).items()} == {
        USER: True,
        GUEST: True,
    }
    assert [event["kind"] for event in reuses] == ["user"]
    assert living.calls() == {"POST auth/refresh": 1}
    assert browser.cookies == {}


# B4 row 4
def test_a_credential_that_somebody_else_spent_is_reuse(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(living))
    thief = _expired(dead, make_app, app)
    # A store of its own: another machine.
    owner = thief.on(_shop(make_app(living)))
    assert thief.visit("/account").text == ADA
    response = owner.fetch("/account")
    assert_problem(response, 401, "session_expired")
    assert set_cookies(response)[USER].is_deletion
    assert living.reuse_events() == 1


# A3, B6.2
def test_a_late_request_with_the_old_cookie_finds_the_successor(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(living))
    browser = _expired(dead, make_app, app)
    late = [browser.on(app) for _ in range(3)]
    assert browser.visit("/account").text == ADA
    for tab in late:
        response = tab.visit("/account")
        assert response.text == ADA
        assert list(set_cookies(response)) == [USER]
    assert living.calls("POST auth/refresh") == 1
    assert living.reuse_events() == 0


# B6.1, A3
@pytest.mark.parametrize("path", ["/account", "/api/whoami", "/orders"])
def test_many_threads_with_one_expired_token_refresh_it_once(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp, path: str
) -> None:
    app = _shop(make_app(living, proxy_routes={"**": "*"}))
    browser = _expired(dead, make_app, app)
    living.fault("auth/refresh", delay=0.1)
    tabs = [browser.on(app) for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        responses = list(pool.map(lambda tab: tab.fetch(path), tabs))
    assert [response.status_code for response in responses] == [200] * THREADS
    assert len({response.text for response in responses}) == 1
    assert [list(set_cookies(response)) for response in responses] == [[USER]] * THREADS
    assert living.calls("POST auth/refresh") == 1
    assert living.reuse_events() == 0
    assert {tab.fetch(path).status_code for tab in tabs} == {200}
    assert living.calls("POST auth/refresh") == 1


# A4
def test_a_proxied_call_goes_out_with_the_new_token(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, make_app(living, proxy_routes={"**": "*"}))
    response = browser.fetch("/api/whoami")
    assert response.get_json()["data"]["mark"] == "usr_ada"
    assert list(set_cookies(response)) == [USER]
    assert living.calls() == {"POST auth/refresh": 1, "GET whoami": 1}


# B7.7
def test_a_proxied_call_with_a_refused_refresh_ends_the_session(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, make_app(living, proxy_routes={"**": "*"}))
    living.fault("auth/refresh", status=401)
    _assert_session_ended(browser.fetch("/api/whoami"))
    assert living.calls() == {"POST auth/refresh": 1}


# B6.6
def test_a_backend_that_cannot_refresh_ends_the_session(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    browser = _expired(dead, make_app, _shop(make_app(living, endpoints={"refresh": None})))
    _assert_session_ended(browser.fetch("/account"))
    assert living.calls() == {}


# B6.6
def test_a_rejected_token_of_a_backend_that_cannot_refresh_ends_the_session(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant(expiresIn=900, user={"id": 7}),
        "GET auth/me": (401, {"success": False}),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, endpoints={"refresh": None}, validate_ttl=0)))
        browser.log_in()
        _assert_session_ended(browser.fetch("/account"))
        assert "POST auth/refresh" not in stub.endpoints


# B4 row 9
def test_a_guest_is_refreshed_and_stays_who_they_are(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    visitor = plain(_shop(make_app(dead, guest_enabled=True)))
    who = visitor.visit("/cart").text
    browser = visitor.on(_shop(make_app(living, guest_enabled=True)))
    response = browser.visit("/cart")
    assert who.startswith("guest gst_")
    assert response.text == who
    assert list(set_cookies(response)) == [GUEST]
    assert not set_cookies(response)[GUEST].is_deletion
    assert living.calls() == {"POST auth/refresh": 1}


# B4 row 9
def test_a_refreshed_guest_keeps_the_cart(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True, proxy_routes={"**": "*"}))
    browser.post("/api/cart/items", json={"product_id": 4, "quantity": 2})
    before = browser.cookies[GUEST]
    response = browser.post("/api/auth/refresh")
    assert response.status_code == 200
    assert browser.cookies[GUEST] != before
    assert browser.fetch("/api/cart").get_json()["data"]["count"] == 2
    assert backend.calls("POST auth/guest") == 1


# B4 row 9
def test_a_guest_whose_refresh_is_refused_becomes_a_new_one(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    visitor = plain(_shop(make_app(dead, guest_enabled=True)))
    who = visitor.visit("/cart").text
    browser = visitor.on(_shop(make_app(living, guest_enabled=True)))
    living.fault("auth/refresh", status=401)
    response = browser.visit("/cart")
    assert response.text.startswith("guest gst_")
    assert response.text != who
    assert living.calls() == {"POST auth/refresh": 1, "POST auth/guest": 1}


# B2 refresh
def test_a_refresh_can_be_forced(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend)))
    browser.log_in()
    response = browser.post("/api/auth/refresh")
    body = response.get_json()
    assert (response.status_code, body["success"], set(body["data"])) == (200, True, {"expires_in"})
    assert 890 <= body["data"]["expires_in"] <= 900
    assert list(set_cookies(response)) == [USER]
    assert_private(response)
    assert browser.visit("/account").text == ADA
    assert backend.calls("POST auth/refresh") == 1


# B2 refresh
def test_nobody_cannot_be_refreshed(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend, guest_enabled=True)).post("/api/auth/refresh")
    assert_problem(response, 401, "login_required")
    assert set_cookies(response) == {}
    assert backend.calls() == {}


# B2 refresh
def test_a_forced_refresh_that_is_refused_ends_the_session(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    backend.fault("auth/refresh", status=401)
    _assert_session_ended(browser.post("/api/auth/refresh"))


# B2 refresh
def test_a_forced_refresh_in_an_outage_keeps_the_cookie(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend)))
    browser.log_in()
    with DeadPort() as url:
        response = browser.on(make_app(url)).post("/api/auth/refresh")
    assert_problem(response, 503, "backend_unavailable")
    assert set_cookies(response) == {}
    assert browser.visit("/account").text == ADA


# A16
def test_a_refresh_is_told(dead: ShopBackend, living: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(living))
    browser = _expired(dead, make_app, app)
    with heard(token_refreshed, app) as refreshes, heard(refresh_failed, app) as failures:
        browser.visit("/account")
        browser.visit("/account")
    assert [event["kind"] for event in refreshes] == ["user"]
    assert failures == []


# B2.8
def test_a_token_may_carry_its_end_itself(make_app: MakeApp) -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": %d}' % (time.time() - 5)).decode().rstrip("=")
    token = f"eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl"
    user = {"id": 7, "email": ADA}
    answers: Answers = {
        "POST auth/login": grant(token, refreshToken="r1", user=user),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user=user),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url)))
        assert browser.post("/api/auth/login", json=CREDENTIALS).status_code == 200
        assert browser.visit("/account").text == ADA
        assert stub.endpoints == ["POST auth/login", "POST auth/refresh"]


# A10, B4 row 1
def test_a_refreshed_user_loses_the_guest_cookie(
    dead: ShopBackend, living: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(living, guest_enabled=True))
    guest = plain(app)
    guest.visit("/cart")
    browser = Browser(app, cookies=guest.cookies | _expired(dead, make_app, app).cookies)
    response = browser.visit("/account")
    assert response.text == ADA
    assert {name: cookie.is_deletion for name, cookie in set_cookies(response).items()} == {
        USER: False,
        GUEST: True,
    }


class _Overtaken(MemoryStore):
    """A store that lets something happen just before the lease is taken, or just after the look that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.before_lease: Callable[[], object] | None = None
        self.after_look: Callable[[], object] | None = None
        self._is_leased = False

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        if key.startswith("lease:"):
            happening, self.before_lease = self.before_lease, None
            if happening is not None:
                happening()
            self._is_leased = True
        return super().put_if_absent(key, value, ttl)

    def get(self, key: str) -> bytes | None:
        value = super().get(key)
        if key.startswith("ledger:") and self._is_leased:
            happening, self.after_look = self.after_look, None
            if happening is not None:
                happening()
        return value


# B6.1, B6.3
@pytest.mark.parametrize("moment", ["before_lease", "after_look"])
def test_a_worker_that_was_overtaken_looks_again(moment: str) -> None:
    user, store = {"id": 7, "type": "user", "email": ADA}, _Overtaken()
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user=user),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user=user),
        "GET auth/me": record(email=ADA),
    }
    settings: dict[str, Any] = {"store": store, "connect_timeout": 0.5, "read_timeout": 0.5}
    with (
        StubBackend(answers) as stub,
        layered(stub.url, **settings) as (app, layer),
        layered(stub.url, **settings) as (other, other_layer),
    ):
        app.register_blueprint(layer.blueprint)
        other.register_blueprint(other_layer.blueprint)
        browser = plain(_shop(app))
        browser.log_in()
        elsewhere = browser.on(_shop(other))

        def overtake() -> None:
            # Frozen until its lease has run out: both timeouts and two seconds.
            time.sleep(3.1 if moment == "after_look" else 0)
            assert elsewhere.visit("/account").text == ADA

        setattr(store, moment, overtake)
        assert browser.visit("/account").text == ADA
        assert (store.before_lease, store.after_look) == (None, None)
        assert stub.endpoints.count("POST auth/refresh") == 1
