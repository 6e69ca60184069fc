"""``GET /auth/me``: who am I, without side effects."""

from __future__ import annotations

import pytest

from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    USER,
    Answers,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    plain,
    record,
    set_cookies,
)

ME = "/api/auth/me"


# B2 me
def test_a_user_is_told_who_they_are(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    response = browser.fetch(ME)
    data = response.get_json()["data"]
    assert response.get_json()["success"] is True
    assert set(data) == {"kind", "user", "roles", "token_type", "expires_in"}
    assert (data["kind"], data["roles"], data["token_type"]) == ("user", ["user"], "user")
    assert data["user"]["email"] == ADA
    assert 890 <= data["expires_in"] <= 900
    assert set_cookies(response) == {}
    assert_private(response)


# B2 me
def test_another_worker_asks_the_backend_once(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in(ADMIN)
    other = browser.on(make_app(backend))
    bodies = [other.fetch(ME).get_json()["data"] for _ in range(3)]
    assert {body["user"]["email"] for body in bodies} == {ADMIN}
    assert {tuple(body["roles"]) for body in bodies} == {("admin",)}
    assert backend.calls() == {"POST auth/login": 1, "GET auth/me": 1}


# B2 me
def test_a_guest_is_told_so(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    browser.post("/api/auth/guest")
    response = browser.fetch(ME)
    data = response.get_json()["data"]
    assert (data["kind"], data["roles"], data["token_type"]) == ("guest", [], "guest")
    assert set_cookies(response) == {}


# B2 me, B1.2
def test_nobody_is_a_401_that_says_where_to_log_in(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend, login_url="/signin")).fetch(ME)
    body = assert_problem(response, 401, "login_required")
    assert body["login_url"] == "/signin"
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="')
    assert_private(response)
    assert set_cookies(response) == {}
    assert backend.calls() == {}


# B5.1
@pytest.mark.parametrize("mode", ["lazy", "eager"])
def test_asking_makes_no_guest(backend: ShopBackend, make_app: MakeApp, mode: str) -> None:
    browser = plain(make_app(backend, guest_enabled=True, guest_mode=mode))
    script, page = browser.fetch(ME), browser.visit(ME)
    assert (script.status_code, page.status_code) == (401, 302)
    assert set_cookies(script) == set_cookies(page) == {}
    assert backend.calls() == {}


# B1.4
def test_a_navigation_is_sent_to_a_login_that_does_not_lead_back_here(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    response = plain(make_app(backend)).visit(f"{ME}?a=1")
    assert (response.status_code, response.headers["Location"]) == (302, "/login")


# B2 me
def test_a_backend_that_cannot_say_is_503(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    with DeadPort() as url:
        response = browser.on(make_app(url)).fetch(ME)
    assert_problem(response, 503, "backend_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert set_cookies(response) == {}
    assert_private(response)


# B6.6
def test_a_forbidden_account_is_denied_and_stays_logged_in(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, validate_ttl=0))
    browser.log_in()
    backend.change_user(ADA, forbidden=True)
    try:
        response = browser.fetch(ME)
    finally:
        backend.change_user(ADA, forbidden=False)
    assert response.status_code in (401, 403)
    assert set_cookies(response) == {}
    assert browser.fetch(ME).get_json()["data"]["user"]["email"] == ADA
    assert backend.calls("POST auth/refresh") == 0


# B1.2, B6.6
def test_a_session_that_the_backend_ended_is_expired(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, validate_ttl=0))
    browser.log_in()
    backend.change_user(ADA, disabled=True)
    try:
        response = browser.fetch(ME)
    finally:
        backend.change_user(ADA, disabled=False)
    body = assert_problem(response, 401, "session_expired")
    assert body["login_url"] == "/login"
    assert set_cookies(response)[USER].is_deletion
    assert backend.calls("POST auth/refresh") == 1
    assert_problem(browser.fetch(ME), 401, "login_required")


# B2 me
def test_a_refresh_that_was_due_is_done(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(ACCESS_TTL=20)
    browser = plain(make_app(backend))
    browser.log_in()
    before = browser.cookies[USER]
    response = browser.fetch(ME)
    assert response.status_code == 200
    assert list(set_cookies(response)) == [USER]
    assert browser.cookies[USER] != before
    assert backend.calls("POST auth/refresh") == 1


# B2.8
def test_an_expiry_that_nobody_knows_is_null(make_app: MakeApp) -> None:
    answers: Answers = {"POST auth/login": grant(user={"id": 7, "type": "user"}), "GET auth/me": record()}
    with StubBackend(answers) as stub:
        browser = plain(make_app(stub.url))
        browser.log_in()
        assert browser.fetch(ME).get_json()["data"]["expires_in"] is None


# B2 me
def test_head_tells_the_status_alone(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend)).fetch(ME, method="HEAD")
    assert (response.status_code, response.data) == (401, b"")


# B1.7
@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [("abc.DEF_1-2", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("<b>", False), ("", False)],
)
def test_a_request_id_is_kept_only_when_it_is_harmless(
    backend: ShopBackend, make_app: MakeApp, sent: str, is_kept: bool
) -> None:
    response = plain(make_app(backend)).fetch(ME, headers={"X-Request-ID": sent})
    body = assert_problem(response, 401, "login_required")
    assert (body["request_id"] == sent) is is_kept
