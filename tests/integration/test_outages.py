"""A backend that is down, slow or out of its mind logs nobody out."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_api_layer import current_user, guest_allowed, login_required
from flask_api_layer.sansio.identity import Answer, Identity, Rejected, Unreachable
from flask_api_layer.signals import backend_unavailable, session_ended
from flask_api_layer.validations import Validations
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    CREDENTIALS,
    USER,
    Browser,
    MakeApp,
    StartBackend,
    assert_problem,
    heard,
    plain,
    set_cookies,
)

# Nothing is remembered: every request must ask.
FORGETFUL = {"validate_ttl": 0, "stale_ttl": 0}


def _shop(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> dict[str, object]:
        return {"email": current_user["email"], "degraded": current_user.degraded}

    @app.get("/cart")
    @guest_allowed
    def cart() -> str:
        return current_user.kind

    @app.get("/open")
    def open_page() -> dict[str, object]:
        return {"kind": current_user.kind, "degraded": current_user.degraded}

    app.add_url_rule("/plain", view_func=lambda: "page", endpoint="plain")
    return app


def _user(app: Flask) -> Browser:
    browser = plain(app)
    browser.log_in()
    return browser


def _assert_unavailable(browser: Browser, path: str) -> None:
    kept = browser.cookies
    response = browser.fetch(path)
    assert_problem(response, 503, "backend_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert set_cookies(response) == {}
    assert browser.cookies == kept


# B4 row 6, B6.6, A1
def test_a_stopped_backend_logs_nobody_out(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, guest_enabled=True, read_timeout=1, **FORGETFUL)))
    backend.stop()
    _assert_unavailable(browser, "/account")
    _assert_unavailable(browser, "/cart")
    _assert_unavailable(browser, "/api/auth/me")
    assert browser.visit("/account").status_code == 503
    assert browser.visit("/plain").text == "page"
    assert browser.visit("/open").get_json() == {"kind": "anonymous", "degraded": True}
    backend.start()
    assert browser.visit("/account").get_json() == {"email": ADA, "degraded": False}
    assert browser.visit("/open").get_json() == {"kind": "user", "degraded": False}
    assert backend.calls("POST auth/guest") == 0
    assert backend.calls("POST auth/refresh") == 0


# B4 row 5
def test_who_was_known_a_moment_ago_may_go_on(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, validate_ttl=0))
    browser = _user(app)
    assert browser.visit("/account").get_json() == {"email": ADA, "degraded": False}
    backend.fault("auth/me", status=503)
    response = browser.visit("/account")
    assert response.get_json() == {"email": ADA, "degraded": True}
    assert set_cookies(response) == {}
    backend.reset()
    assert browser.visit("/account").get_json() == {"email": ADA, "degraded": False}


# B4 row 6
def test_another_worker_knows_nothing_of_them(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, validate_ttl=0)))
    with DeadPort() as url:
        _assert_unavailable(browser.on(_shop(make_app(url, validate_ttl=0))), "/account")


# B6.6, A1, A2
@pytest.mark.parametrize(
    "fault",
    [
        *({"status": status} for status in (500, 502, 503, 504, 429, 408, 425, 404, 400, 409, 418, 302, 204)),
        *({"mode": mode} for mode in ("html", "empty", "truncated", "garbage")),
    ],
    ids=str,
)
def test_a_check_that_fails_is_no_rejection(
    backend: ShopBackend, make_app: MakeApp, fault: dict[str, Any]
) -> None:
    browser = _user(_shop(make_app(backend, guest_enabled=True, **FORGETFUL)))
    backend.reset()
    backend.fault("auth/me", **fault)
    _assert_unavailable(browser, "/account")
    assert browser.visit("/open").get_json() == {"kind": "anonymous", "degraded": True}
    assert set(backend.calls()) == {"GET auth/me"}
    backend.reset()
    assert browser.visit("/account").get_json()["email"] == ADA


# B4.7, A14
def test_a_backend_that_hangs_is_given_up(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, read_timeout=1, **FORGETFUL)))
    backend.fault("auth/me", mode="hang")
    _assert_unavailable(browser, "/account")
    assert backend.calls("POST auth/refresh") == 0


# Corpus 7
def test_a_failure_is_not_remembered(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, **FORGETFUL)))
    backend.fault("auth/me", status=503, times=1)
    statuses = [browser.fetch("/account").status_code for _ in range(3)]
    assert statuses == [503, 200, 200]


# B4 row 7, B6.6
def test_a_forbidden_account_is_denied_and_not_logged_out(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, guest_enabled=True, **FORGETFUL)))
    backend.reset()
    backend.fault("auth/me", status=403)
    for path in ("/account", "/cart"):
        response = browser.fetch(path)
        assert_problem(response, 403, "access_denied")
        assert set_cookies(response) == {}
    response = browser.visit("/open")
    assert response.get_json() == {"kind": "anonymous", "degraded": False}
    assert set_cookies(response) == {}
    assert set(backend.calls()) == {"GET auth/me"}
    backend.reset()
    assert browser.visit("/account").get_json()["email"] == ADA


@pytest.fixture
def dead_tokens(start_backend: StartBackend, tmp_path_factory: pytest.TempPathFactory) -> ShopBackend:
    """A backend whose access tokens are expired at once; its refresh tokens live."""
    return start_backend(
        DATABASE=tmp_path_factory.getbasetemp() / "shared.sqlite3", ACCESS_TTL=1e-6, GUEST_TTL=1e-6
    )


# B6.6
@pytest.mark.parametrize(
    "fault",
    [
        *({"status": status} for status in (500, 502, 503, 429, 408, 425, 404, 400, 418, 422, 302)),
        *({"mode": mode} for mode in ("html", "empty", "truncated", "garbage")),
        {"status": 400, "code": "invalid_request"},
    ],
    ids=str,
)
def test_a_refresh_that_fails_is_no_refusal(
    dead_tokens: ShopBackend, make_app: MakeApp, fault: dict[str, Any]
) -> None:
    app = _shop(make_app(dead_tokens, guest_enabled=True))
    browser = _user(app)
    dead_tokens.reset()
    dead_tokens.fault("auth/refresh", **fault)
    with heard(session_ended, app) as endings:
        _assert_unavailable(browser, "/account")
        _assert_unavailable(browser, "/cart")
        response = browser.visit("/open")
    assert response.get_json() == {"kind": "anonymous", "degraded": True}
    assert set_cookies(response) == {}
    assert endings == []
    assert dead_tokens.calls("POST auth/guest") == 0
    assert dead_tokens.reuse_events() == 0


# B4 row 6
def test_an_expired_token_outlives_the_outage(
    dead_tokens: ShopBackend,
    start_backend: StartBackend,
    make_app: MakeApp,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    living = start_backend(DATABASE=tmp_path_factory.getbasetemp() / "shared.sqlite3")
    browser = _user(make_app(dead_tokens))
    with DeadPort() as url:
        _assert_unavailable(browser.on(_shop(make_app(url))), "/account")
    after = browser.on(_shop(make_app(living)))
    assert after.visit("/account").get_json() == {"email": ADA, "degraded": False}
    assert living.calls("POST auth/refresh") == 1
    assert living.reuse_events() == 0


# DESIGN 3, refresh
def test_a_token_that_still_lives_is_used_when_the_refresh_fails(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = _user(_shop(make_app(backend, refresh_leeway=10_000)))
    backend.fault("auth/refresh", status=503)
    response = browser.visit("/account")
    assert response.status_code == 200
    assert response.get_json()["email"] == ADA
    assert set_cookies(response) == {}


# B5.2, B4 row 9
def test_an_expired_guest_waits_for_the_backend(dead_tokens: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(dead_tokens, guest_enabled=True)))
    browser.visit("/cart")
    dead_tokens.reset()
    dead_tokens.fault("auth/refresh", status=503)
    _assert_unavailable(browser, "/cart")
    assert dead_tokens.calls("POST auth/guest") == 0


# B2.2
def test_a_login_during_an_outage_fails_and_works_afterwards(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(backend, **FORGETFUL)))
    kept = browser.cookies
    backend.fault("auth/login", status=503)
    response = browser.post("/api/auth/login", json=CREDENTIALS)
    assert response.status_code in (502, 503)
    assert set_cookies(response) == {}
    assert browser.cookies == kept
    backend.reset()
    browser.log_in()
    assert browser.visit("/account").status_code == 200


# B6.6
def test_a_login_works_whatever_the_old_cookie(dead_tokens: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(dead_tokens))
    dead_tokens.fault("auth/me", status=503)
    dead_tokens.fault("auth/refresh", status=503)
    dead_tokens.fault("auth/logout", status=503)
    expired = _user(app)
    for browser in (expired, Browser(app, cookies={USER: "garbage"})):
        assert list(set_cookies(browser.log_in())) == [USER]


# B7.8
def test_a_proxied_call_in_an_outage_keeps_the_cookies(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(make_app(backend))
    with DeadPort() as url:
        response = browser.on(make_app(url, proxy_routes={"cart": ["GET"]})).fetch("/api/cart")
    assert_problem(response, 502, "bad_gateway")
    assert set_cookies(response) == {}


# B6.6
def test_nobody_needs_the_backend_to_be_anonymous(make_app: MakeApp) -> None:
    with DeadPort() as url:
        browser = plain(_shop(make_app(url)))
        assert browser.visit("/open").get_json() == {"kind": "anonymous", "degraded": False}
        assert_problem(browser.fetch("/account"), 401, "login_required")


# DESIGN 3, events
@pytest.mark.parametrize("fault", [{"status": 503}, {"mode": "hang"}, {"mode": "garbage"}], ids=str)
def test_an_outage_is_told(backend: ShopBackend, make_app: MakeApp, fault: dict[str, Any]) -> None:
    app = _shop(make_app(backend, read_timeout=1, **FORGETFUL))
    browser = _user(app)
    backend.fault("auth/me", **fault)
    with heard(backend_unavailable, app) as events:
        browser.fetch("/account")
    assert [event["endpoint"] for event in events] == ["me"]


def _asked(known: Validations, answer: Answer) -> Answer:
    return known.ask("a token", lambda: answer)


# B4, the table: "in the last STALE_TTL"
def test_what_is_known_stands_in_for_a_while_only() -> None:
    now, ada = [0.0], Identity("user", 7)
    known = Validations(ttl=15, stale_ttl=300, clock=lambda: now[0])
    assert _asked(known, ada) == ada
    now[0] = 299
    assert _asked(known, Unreachable()) == Identity("user", 7, degraded=True)
    now[0] = 300
    assert _asked(known, Unreachable()) == Unreachable()


# B4, the table: "validated by this worker"
def test_what_was_refused_does_not_stand_in() -> None:
    now, ada = [0.0], Identity("user", 7)
    known = Validations(ttl=15, stale_ttl=300, clock=lambda: now[0])
    assert _asked(known, ada) == ada
    now[0] = 20
    assert _asked(known, Rejected()) == Rejected()
    assert _asked(known, Unreachable()) == Unreachable()
