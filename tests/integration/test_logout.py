"""``POST /auth/logout``."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_api_layer import current_user, login_required
from flask_api_layer.signals import logged_out, token_refreshed
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    GUEST,
    SECURE,
    USER,
    Answers,
    MakeApp,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    heard,
    plain,
    record,
    set_cookies,
)

LOGOUT = "/api/auth/logout"
DELETED = SECURE | {"Max-Age": "0"}


def _pages(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/open")
    def open_page() -> str:
        return current_user.kind

    return app


# B2 logout, B3.1
def test_a_logout_deletes_the_cookie_and_tells_the_backend(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    browser.log_in()
    response = browser.post(LOGOUT)
    assert (response.status_code, response.data) == (204, b"")
    cookies = set_cookies(response)
    assert {name: cookie.attributes for name, cookie in cookies.items()} == {USER: DELETED}
    assert cookies[USER].is_deletion
    assert_private(response)
    assert backend.calls() == {"POST auth/login": 1, "POST auth/logout": 1}
    assert browser.visit("/open").text == "anonymous"
    assert_problem(browser.fetch("/account"), 401, "login_required")


# B2 logout
def test_the_backend_ends_the_session_too(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    # Another worker, which saw neither the login nor the logout.
    other = browser.on(_pages(make_app(backend)))
    browser.post(LOGOUT)
    assert other.fetch("/account").status_code == 401


# B2 logout
def test_a_copy_of_the_cookie_is_nobody_after_the_logout(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    browser = plain(app)
    browser.log_in()
    copy = browser.on(app)
    browser.post(LOGOUT)
    assert copy.fetch("/api/auth/me").status_code == 401
    assert copy.post("/api/auth/refresh").status_code == 401


# B2 logout, B3.2
def test_a_logout_without_a_session_does_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend)).post(LOGOUT)
    assert (response.status_code, set_cookies(response)) == (204, {})
    assert backend.calls() == {}


# B2 logout
def test_a_second_logout_is_like_the_first(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    browser.post(LOGOUT)
    response = browser.post(LOGOUT)
    assert (response.status_code, set_cookies(response)) == (204, {})
    assert backend.calls("POST auth/logout") == 1


# B2 logout
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401}, {"mode": "garbage"}], ids=str)
def test_what_the_backend_answers_does_not_matter(
    backend: ShopBackend, make_app: MakeApp, fault: dict[str, object]
) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    backend.fault("auth/logout", **fault)
    response = browser.post(LOGOUT)
    assert response.status_code == 204
    assert set_cookies(response)[USER].is_deletion


# B2 logout
def test_a_dead_backend_does_not_keep_anyone_logged_in(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    with DeadPort() as url:
        response = browser.on(make_app(url)).post(LOGOUT)
    assert response.status_code == 204
    assert set_cookies(response)[USER].is_deletion


# B2 logout, B2.7
@pytest.mark.parametrize("settings", [{}, {"after_logout_url": "/bye"}], ids=str)
def test_a_form_is_sent_to_after_logout_url(
    backend: ShopBackend, make_app: MakeApp, settings: dict[str, str]
) -> None:
    browser = plain(make_app(backend, **settings))
    browser.log_in()
    response = browser.submit(LOGOUT)
    assert response.status_code == 303
    assert response.headers["Location"] == settings.get("after_logout_url", "/")
    assert set_cookies(response)[USER].is_deletion
    assert browser.cookies == {}


# B2 logout
def test_a_guest_can_leave_too(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    browser.post("/api/auth/guest")
    response = browser.post(LOGOUT)
    assert response.status_code == 204
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {GUEST: DELETED}
    assert browser.cookies == {}


# B2 logout
def test_a_logout_is_told_with_the_session_that_it_ended(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    browser = plain(app)
    browser.log_in()
    with heard(token_refreshed, app) as refreshes, heard(logged_out, app) as logouts:
        browser.post("/api/auth/refresh")
        browser.post(LOGOUT)
    assert [event["session_id"] for event in logouts] == [refreshes[0]["session_id"]]


# B2 logout
def test_after_a_logout_another_login_works(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    for _ in range(2):
        browser.log_in()
        assert browser.visit("/account").status_code == 200
        browser.post(LOGOUT)
        assert browser.fetch("/account").status_code == 401


# B2 logout
def test_an_expired_session_is_ended_without_a_refresh(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, refresh_leeway=10_000))
    browser.log_in()
    backend.reset()
    browser.post(LOGOUT)
    assert backend.calls() == {"POST auth/logout": 1}


# B6.4: the backend never heard of the logout, and its tokens are as good as before
@pytest.mark.parametrize(("expires_in", "path"), [(900, "/api/auth/me"), (1e-6, "/account")])
def test_a_copy_of_the_cookie_is_nobody_though_the_backend_missed_the_logout(
    make_app: MakeApp, expires_in: float, path: str
) -> None:
    user = {"id": 7, "type": "user", "email": "ada@example.com"}
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=expires_in, user=user),
        "POST auth/logout": (500, {}),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user=user),
        "GET auth/me": record(),
    }
    with StubBackend(answers) as stub:
        browser = plain(_pages(make_app(stub.url)))
        browser.log_in()
        copy = browser.on(browser.client.application)
        browser.post(LOGOUT)
        stub.calls.clear()
        assert copy.fetch(path).status_code == 401
        assert stub.endpoints == []
