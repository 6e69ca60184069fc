"""``POST /auth/login``."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, get_flashed_messages

from flask_api_layer import current_user, login_required
from flask_api_layer.signals import logged_in, login_failed, token_refreshed
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    GUEST,
    NAVIGATION,
    PASSWORD,
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
    plain,
    record,
    set_cookies,
    where_to,
)

LOGIN = "/api/auth/login"
ADA_RECORD = {
    "id": "usr_ada",
    "name": "Ada Lovelace",
    "email": ADA,
    "roles": ["user"],
    "type": "user",
}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJlc2lnbmF0dXJl"


def _gate(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/flashes")
    def flashes() -> list[Any]:
        return [list(item) for item in get_flashed_messages(with_categories=True)]

    return app


# B2 login, B15.1
def test_a_login_answers_who_it_is_and_sets_one_cookie(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_gate(make_app(backend)))
    response = browser.post("/api/auth/login", json=CREDENTIALS)
    assert response.get_json() == {
        "success": True,
        "data": {"kind": "user", "user": ADA_RECORD, "roles": ["user"], "token_type": "user"},
    }
    assert response.status_code == 200
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
        USER: SECURE | {"Max-Age": WEEK}
    }
    assert_private(response)
    assert browser.visit("/account").text == ADA
    assert backend.calls() == {"POST auth/login": 1}


# B2 login
def test_a_form_logs_in_as_json_does(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_gate(make_app(backend)))
    response = browser.client.post(
        LOGIN, data=CREDENTIALS, base_url="https://localhost", headers={"Accept": "application/json"}
    )
    assert response.status_code == 200
    assert response.get_json()["data"]["user"] == ADA_RECORD
    assert list(set_cookies(response)) == [USER]


# B2 login
def test_the_fields_are_sent_as_given_but_for_next_and_the_csrf_token(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/login": grant(user={"id": 7})}) as stub:
        browser = plain(make_app(stub.url))
        fields = {"email": "x@y.z", "password": "  spaces kept \t", "remember": True}
        response = browser.post(LOGIN, json=fields | {"next": "/cart", "csrf_token": "abc"})
        assert response.status_code == 200
        assert stub.call("POST auth/login").json == fields
        assert "X-Guest-Token" not in stub.call("POST auth/login").headers


# B2 login, LOGIN_FIELDS
def test_login_fields_narrow_what_is_sent(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/login": grant(user={"id": 7})}) as stub:
        browser = plain(make_app(stub.url, login_fields=("email", "password")))
        browser.post(LOGIN, json={"email": "x@y.z", "password": "p", "is_admin": True})
        assert stub.call("POST auth/login").json == {"email": "x@y.z", "password": "p"}


# B2.1
def test_no_token_of_any_kind_is_in_the_body(make_app: MakeApp) -> None:
    user = {
        "id": 7,
        "name": "Ada",
        "note": "your key is access-token-of-ada, keep it",
        "sessions": [{"jwt": JWT, "device": "phone"}],
        "profile": {"refresh_token": "second", "apiToken": "third", "copy": "refresh-token-of-ada"},
        "accessToken": "fourth",
        "token": "fifth",
    }
    tokens = grant("access-token-of-ada", refreshToken="refresh-token-of-ada", user=user)
    with StubBackend({"POST auth/login": tokens, "GET auth/me": record(**user)}) as stub:
        browser = plain(make_app(stub.url))
        login, me = browser.post(LOGIN, json=CREDENTIALS), browser.fetch("/api/auth/me")
    for response in (login, me):
        assert response.status_code == 200
        seen = response.text + str(response.headers)
        hidden = ("of-ada", "eyJ", "second", "third", "fourth", "fifth")
        assert [word for word in hidden if word in seen] == []
        assert '"name":"Ada"' in response.text.replace(" ", "")
        assert '"device":"phone"' in response.text.replace(" ", "")


# B2.2
def test_the_backends_refusal_comes_through(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    response = browser.post(LOGIN, json={"email": ADA, "password": "wrong"})
    body = assert_problem(response, 401, "login_failed")
    assert body["message"] == "These credentials do not match our records."
    assert "errors" not in body
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="')
    assert set_cookies(response) == {}


# B2.2
def test_validation_errors_come_through(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend)).post(LOGIN, json={"email": ADA})
    body = assert_problem(response, 422, "validation_failed")
    assert body["errors"] == {"password": ["The password field is required."]}
    assert body["message"] == "The given data was invalid."


# B2.2
@pytest.mark.parametrize("status", [403, 404, 409, 423, 429])
def test_another_4xx_keeps_its_status(backend: ShopBackend, make_app: MakeApp, status: int) -> None:
    backend.fault("auth/login", status=status)
    response = plain(make_app(backend)).post(LOGIN, json=CREDENTIALS)
    assert response.status_code == status
    assert response.get_json(force=True)["message"] == "This endpoint is out of order."
    assert set_cookies(response) == {}


# B2.2
@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 503}, {"mode": "html"}, {"mode": "empty"}, {"mode": "garbage"}],
    ids=str,
)
def test_a_broken_backend_is_a_5xx_of_ours(
    backend: ShopBackend, make_app: MakeApp, fault: dict[str, Any]
) -> None:
    backend.fault("auth/login", **fault)
    response = plain(make_app(backend)).post(LOGIN, json=CREDENTIALS)
    assert response.status_code in (502, 503, 504)
    body = assert_problem(response, response.status_code, response.get_json(force=True)["code"])
    assert body["code"] in ("bad_gateway", "backend_unavailable", "backend_timeout")
    assert "out of order" not in response.text
    assert "Maintenance" not in response.text
    assert set_cookies(response) == {}
    assert backend.calls() == {"POST auth/login": 1}


# B2.2
def test_a_silent_backend_is_a_timeout(backend: ShopBackend, make_app: MakeApp) -> None:
    backend.fault("auth/login", mode="hang")
    response = plain(make_app(backend, read_timeout=0.2)).post(LOGIN, json=CREDENTIALS)
    assert_problem(response, 504, "backend_timeout")
    assert set_cookies(response) == {}


# B2.2, B1.1
def test_a_refused_connection_names_no_host(make_app: MakeApp) -> None:
    with DeadPort() as url:
        response = plain(make_app(url)).post(LOGIN, json=CREDENTIALS)
    assert response.status_code in (502, 503)
    assert "127.0.0.1" not in response.text
    assert "Errno" not in response.text
    assert PASSWORD not in response.text


# B2 login
def test_a_failed_login_leaves_the_session_alone(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_gate(make_app(backend)))
    browser.log_in()
    response = browser.post(LOGIN, json={"email": ADMIN, "password": "wrong"})
    assert set_cookies(response) == {}
    assert browser.visit("/account").text == ADA


# B2.3
def test_a_login_replaces_the_session_and_ends_the_old_one(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _gate(make_app(backend))
    browser = plain(app)
    browser.log_in()
    old = browser.on(app)
    browser.log_in(ADMIN)
    assert browser.visit("/account").text == ADMIN
    assert browser.cookies[USER] != old.cookies[USER]
    assert old.fetch("/api/auth/me").status_code == 401


# B2.3
def test_a_login_gets_a_session_id_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    browser = plain(app)
    with heard(token_refreshed, app) as refreshes:
        for _ in range(2):
            browser.log_in()
            browser.post("/api/auth/refresh")
    first, second = refreshes
    assert first["session_id"] != second["session_id"]


# B2.3
def test_a_token_type_that_is_not_allowed_is_refused(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, allowed_token_types=("admin",)))
    response = browser.post(LOGIN, json=CREDENTIALS)
    assert_problem(response, 403, "token_type_refused")
    assert set_cookies(response) == {}
    assert backend.calls("POST auth/logout") == 1


# B2.3
def test_an_allowed_token_type_logs_in(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, allowed_token_types=("admin", "user")))
    assert browser.post(LOGIN, json=CREDENTIALS).status_code == 200
    assert backend.calls() == {"POST auth/login": 1}


# B2.5, B2.7
@pytest.mark.parametrize(
    ("query", "form", "expected"),
    [
        ("", {}, "/"),
        ("", {"next": "/cart?page=2#end"}, "/cart?page=2#end"),
        ("?next=/orders", {}, "/orders"),
        ("?next=/orders", {"next": "/cart"}, "/cart"),
        ("?next=/orders", {"next": "//evil.example"}, "/"),
        ("", {"next": "https://evil.example/"}, "/"),
    ],
)
def test_a_form_that_navigates_goes_where_it_wanted_to(
    backend: ShopBackend, make_app: MakeApp, query: str, form: dict[str, str], expected: str
) -> None:
    browser = plain(_gate(make_app(backend)))
    response = browser.submit(LOGIN + query, CREDENTIALS | form)
    assert (response.status_code, response.headers["Location"]) == (303, expected)
    assert list(set_cookies(response)) == [USER]
    assert_private(response)
    assert browser.visit("/account").text == ADA


# B9.1, corpus 4
@pytest.mark.parametrize(
    "wanted", [["/a"], {"a": "/b"}, None, 7, "/" + "x" * 100_000, "\ud800", "/a\x00"], ids=repr
)
def test_a_strange_next_in_json_is_no_reason_to_fail(
    backend: ShopBackend, make_app: MakeApp, wanted: object
) -> None:
    response = plain(make_app(backend)).post(LOGIN, json=CREDENTIALS | {"next": wanted})
    assert response.status_code in (200, 400)
    assert (list(set_cookies(response)) == [USER]) is (response.status_code == 200)


# B9.1, corpus 4
def test_a_form_with_two_targets_stays_here(backend: ShopBackend, make_app: MakeApp) -> None:
    form = {**CREDENTIALS, "next": ["/a", "//evil.example"]}
    client = make_app(backend).test_client()
    response = client.post(LOGIN, data=form, headers=NAVIGATION, base_url="https://localhost")
    assert response.status_code == 303
    assert response.headers["Location"] in ("/", "/a", "/login")


# B2 login
def test_without_next_a_form_goes_to_after_login_url(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, after_login_url="/welcome"))
    assert browser.submit(LOGIN, CREDENTIALS).headers["Location"] == "/welcome"


# B2.7
def test_a_form_that_fails_goes_back_with_a_flash(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_gate(make_app(backend, login_url="/signin")))
    response = browser.submit(LOGIN, {"email": ADA, "password": "wrong", "next": "/cart?a=1&b=2"})
    assert response.status_code == 303
    assert where_to(response) == ("/signin", {"next": ["/cart?a=1&b=2"]})
    assert set_cookies(response) == {}
    flashes = browser.visit("/flashes").get_json()
    assert flashes == [["error", "These credentials do not match our records."]]


# B2.7
def test_a_form_that_fails_keeps_no_next_that_is_unsafe(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    response = browser.submit(LOGIN, {"email": ADA, "password": "wrong", "next": "//evil.example"})
    assert (response.status_code, response.headers["Location"]) == (303, "/login")


# B2.7
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, 303),
        ({"Accept": "text/html"}, 303),
        ({"Accept": "application/json;q=0.5, text/html"}, 303),
        ({"Accept": "application/json"}, 200),
        ({"Accept": "text/html;q=0.5, application/json"}, 200),
        ({"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, 200),
    ],
)
def test_a_form_is_answered_as_its_sender_can_use_it(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str], status: int
) -> None:
    client = make_app(backend).test_client()
    response = client.post(LOGIN, data=CREDENTIALS, headers=headers, base_url="https://localhost")
    assert response.status_code == status
    assert list(set_cookies(response)) == [USER]


# B2.7
def test_json_is_never_answered_by_a_redirect(backend: ShopBackend, make_app: MakeApp) -> None:
    client = make_app(backend).test_client()
    headers = {"Sec-Fetch-Site": "same-origin", "Accept": NAVIGATION["Accept"]}
    response = client.post(LOGIN, json=CREDENTIALS, headers=headers, base_url="https://localhost")
    assert response.status_code == 200


_MALFORMED: dict[str, tuple[bytes, str]] = {
    "not json": (b"{", "application/json"),
    "nothing": (b"", "application/json"),
    "null": (b"null", "application/json"),
    "a list": (b"[]", "application/json"),
    "a text": (b'"x"', "application/json"),
    "NaN": (b'{"email": NaN, "password": "x"}', "application/json"),
    "Infinity": (b'{"email": "x", "password": -Infinity}', "application/json"),
    "an endless number": (b'{"email": "x", "password": 1e999}', "application/json"),
    "5000 digits": (b'{"email": "x", "password": ' + b"9" * 5000 + b"}", "application/json"),
    "5000 lists": (b'{"email": ' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json"),
    "5000 objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json"),
    "keys that disagree": (b'{"email": "a@b.c", "email": "d@e.f", "password": "x"}', "application/json"),
    "a lone surrogate": (b'{"email": "\\ud800", "password": "x"}', "application/json"),
    "a NUL": (b'{"email": "a\\u0000b", "password": "x"}', "application/json"),
    "invalid UTF-8": (b'{"email": "\xff", "password": "x"}', "application/json"),
    "UTF-16": ('{"email": "x", "password": "x"}'.encode("utf-16"), "application/json"),
    "wrong types": (b'{"username": {"$ne": null}, "password": []}', "application/json"),
    "JSON as text": (b'{"email": "ada@example.com", "password": "demo-password"}', "text/plain"),
}


# B2.6
@pytest.mark.parametrize("case", _MALFORMED)
def test_a_malformed_body_reaches_no_backend(backend: ShopBackend, make_app: MakeApp, case: str) -> None:
    data, content_type = _MALFORMED[case]
    client = make_app(backend).test_client()
    response = client.post(LOGIN, data=data, content_type=content_type, base_url="https://localhost")
    assert_problem(response, 400, "bad_request")
    assert set_cookies(response) == {}
    assert backend.calls() == {}


# B2.6
def test_a_key_given_twice_with_one_value_is_fine(backend: ShopBackend, make_app: MakeApp) -> None:
    data = b'{"email": "ada@example.com", "email": "ada@example.com", "password": "demo-password"}'
    client = make_app(backend).test_client()
    response = client.post(LOGIN, data=data, content_type="application/json", base_url="https://localhost")
    assert response.status_code == 200


# B2.7, A15
@pytest.mark.parametrize(
    ("endpoint", "methods", "allowed"),
    [
        ("login", ("GET", "PUT", "DELETE", "PATCH"), "POST"),
        ("register", ("GET", "PUT"), "POST"),
        ("logout", ("GET", "DELETE"), "POST"),
        ("refresh", ("GET", "PUT"), "POST"),
        ("guest", ("GET", "PUT"), "POST"),
        ("me", ("POST", "PUT", "DELETE"), "GET"),
    ],
)
def test_a_wrong_method_is_405_and_never_proxied(
    backend: ShopBackend, make_app: MakeApp, endpoint: str, methods: tuple[str, ...], allowed: str
) -> None:
    browser = plain(make_app(backend, proxy_routes={"**": "*"}, proxy_public=("**",), guest_enabled=True))
    for method in methods:
        response = browser.fetch(f"/api/auth/{endpoint}", method=method)
        assert_problem(response, 405, "method_not_allowed")
        assert allowed in response.headers["Allow"].split(", ")
        assert method not in response.headers["Allow"].split(", ")
    assert backend.calls() == {}


# B2.8
def test_without_a_record_in_the_answer_me_is_asked(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(LOGIN_USER="false")
    response = plain(make_app(backend)).post(LOGIN, json=CREDENTIALS)
    data = response.get_json()["data"]
    assert {name: data["user"][name] for name in ADA_RECORD} == ADA_RECORD
    assert (data["kind"], data["roles"]) == ("user", ["user"])
    assert backend.calls() == {"POST auth/login": 1, "GET auth/me": 1}


# B2.8
def test_without_a_record_and_without_me_the_login_still_works(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(LOGIN_USER="false")
    backend.fault("auth/me", status=503)
    browser = plain(_gate(make_app(backend)))
    response = browser.post(LOGIN, json=CREDENTIALS)
    assert response.status_code == 200
    assert response.get_json()["data"]["user"] is None
    assert list(set_cookies(response)) == [USER]
    backend.reset()
    assert browser.visit("/account").text == ADA


# A16
def test_a_login_tells_its_subscribers(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    with heard(logged_in, app) as logins, heard(login_failed, app) as failures:
        plain(app).log_in()
        plain(app).post(LOGIN, json={"email": ADA, "password": "wrong"})
    assert [(event["identity"].kind, event["identity"].id) for event in logins] == [("user", "usr_ada")]
    assert [(event["status"], event["error_code"]) for event in failures] == [(401, "login_failed")]
    assert PASSWORD not in repr((logins, failures))


# A9
def test_a_guest_that_comes_out_of_a_login_is_no_user(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant(user={"id": 1, "type": "guest"}),
        "GET auth/me": record(type="guest"),
    }
    with StubBackend(answers) as stub:
        browser = plain(_gate(make_app(stub.url)))
        browser.post(LOGIN, json=CREDENTIALS)
        response = browser.fetch("/account")
        assert_problem(response, 401, "login_required")


# B4.1
def test_a_login_as_a_user_leaves_no_guest_cookie_behind(backend: ShopBackend, make_app: MakeApp) -> None:
    browser: Browser = plain(make_app(backend, guest_enabled=True))
    browser.post("/api/auth/guest")
    assert list(browser.cookies) == [GUEST]
    browser.log_in()
    assert list(browser.cookies) == [USER]
