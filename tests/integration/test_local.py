"""VALIDATE "local": tokens are verified on the spot, the backend is asked only every so often."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import RSAKey

from flask_api_layer import current_user, guest_allowed, login_required
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    GUEST,
    USER,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_problem,
    grant,
    set_cookies,
)

SECRET = "a secret that the backend signs with"
LOCAL = {"validate": "local", "jwt_key": SECRET, "jwt_algorithms": ["HS256"], "jwt_issuer": "example-shop"}


@pytest.fixture
def signing(start_backend: StartBackend) -> ShopBackend:
    """A backend that signs with SECRET."""
    return start_backend(JWT_SECRET=SECRET)


def _shop(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return f"{current_user.id} {current_user.degraded}"

    @app.get("/admin")
    @login_required("admin")
    def admin() -> str:
        return "report"

    @app.get("/cart")
    @guest_allowed
    def cart() -> str:
        return current_user.kind

    return app


def _user(app: Flask, email: str = ADA) -> Browser:
    browser = Browser(app)
    assert browser.log_in(email).status_code == 200
    return browser


def test_the_backend_is_not_asked_who_somebody_is(signing: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(signing, validate_ttl=0, **LOCAL))
    browser = _user(app)
    assert [browser.fetch("/account").text for _ in range(3)] == ["usr_ada False"] * 3
    assert signing.calls() == {"POST auth/login": 1}


def test_roles_come_from_the_token(signing: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(signing, **LOCAL))
    assert _user(app, ADMIN).fetch("/admin").text == "report"
    assert_problem(_user(app).fetch("/admin"), 403, "access_denied")


def test_a_guest_is_verified_like_a_user(signing: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(signing, guest_enabled=True, **LOCAL))
    browser = Browser(app)
    assert [browser.fetch("/cart").text for _ in range(2)] == ["guest", "guest"]
    assert GUEST in browser.cookies
    assert signing.calls() == {"POST auth/guest": 1}


def test_an_outage_changes_nothing_for_a_living_token(signing: ShopBackend, make_app: MakeApp) -> None:
    browser = _user(_shop(make_app(signing, validate_ttl=0, **LOCAL)))
    signing.stop()
    assert browser.fetch("/account").text == "usr_ada False"


def test_an_expired_token_is_refreshed(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(JWT_SECRET=SECRET, ACCESS_TTL=1e-6)
    browser = _user(_shop(make_app(backend, jwt_leeway=60, **LOCAL)))
    answer = browser.fetch("/account")
    assert answer.text == "usr_ada False"
    assert list(set_cookies(answer)) == [USER]
    assert backend.calls("POST auth/refresh") == 1


def test_the_backend_is_asked_every_so_often(signing: ShopBackend, make_app: MakeApp) -> None:
    """The time of the last check is in the sealed cookie: every worker knows it, and no browser can change it."""
    settings: dict[str, Any] = {"validate_ttl": 0, "revalidate_every": 1e-6, **LOCAL}
    browser = _user(_shop(make_app(signing, **settings)))
    signing.reset()
    assert list(set_cookies(browser.fetch("/account"))) == [USER]
    assert signing.calls("GET auth/me") == 1
    lazy = browser.on(_shop(make_app(signing, validate_ttl=0, revalidate_every=3600, **LOCAL)))
    assert set_cookies(lazy.fetch("/account")) == {}
    assert signing.calls("GET auth/me") == 1


def test_a_user_whom_the_backend_disabled_is_out_at_the_next_check(
    signing: ShopBackend, make_app: MakeApp
) -> None:
    browser = _user(_shop(make_app(signing, validate_ttl=0, revalidate_every=1e-6, **LOCAL)))
    signing.change_user(ADA, disabled=True)
    try:
        assert_problem(browser.fetch("/account"), 401, "session_expired")
        assert USER not in browser.cookies
    finally:
        signing.change_user(ADA, disabled=False)


def test_an_outage_at_the_check_is_degraded_and_logs_nobody_out(
    signing: ShopBackend, make_app: MakeApp
) -> None:
    browser = _user(_shop(make_app(signing, validate_ttl=0, revalidate_every=1e-6, **LOCAL)))
    signing.fault("auth/me", status=500)
    answer = browser.fetch("/account")
    assert answer.text == "usr_ada True"
    assert set_cookies(answer) == {}


def test_a_login_whose_token_does_not_verify_is_a_bad_gateway(
    signing: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(signing, **{**LOCAL, "jwt_issuer": "somebody else"}))
    browser = Browser(app)
    assert_problem(browser.post("/api/auth/login", json=CREDENTIALS), 502, "bad_gateway")
    assert browser.cookies == {}


def test_keys_that_cannot_be_fetched_are_an_outage(make_app: MakeApp) -> None:
    """A key set that is down says nothing about a token: 503, cookies kept."""
    claims = {"sub": "usr_ada", "exp": int(time.time()) + 60}
    token = jwt.encode({"alg": "RS256"}, claims, RSAKey.generate_key(2048), algorithms=["RS256"])
    with StubBackend({"POST auth/login": grant(token, user={"id": "usr_ada"})}) as stub, DeadPort() as dead:
        browser = _user(_shop(make_app(stub.url)))
        cookies = dict(browser.cookies)
        keys = {"jwks_url": f"{dead}/jwks", "jwt_algorithms": ["RS256"]}
        local = browser.on(_shop(make_app(stub.url, validate="local", **keys)))
        assert_problem(local.fetch("/account"), 503, "backend_unavailable")
        assert dict(local.cookies) == cookies
        assert stub.endpoints == ["POST auth/login"]
