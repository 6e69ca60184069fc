"""``POST /auth/register``."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask, get_flashed_messages

from flask_api_layer import current_user, login_required
from flask_api_layer.signals import logged_in, registered
from tests.processes import ShopBackend

from .visitors import (
    ADA,
    GUEST,
    PASSWORD,
    SECURE,
    USER,
    WEEK,
    MakeApp,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    heard,
    plain,
    set_cookies,
    where_to,
)

REGISTER = "/api/auth/register"


def _somebody() -> dict[str, str]:
    return {"name": "Grace Hopper", "email": f"{uuid4().hex}@example.com", "password": PASSWORD}


def _pages(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/flashes")
    def flashes() -> list[list[str]]:
        return [list(item) for item in get_flashed_messages(with_categories=True)]

    return app


# B2 register
def test_who_registers_is_logged_in(backend: ShopBackend, make_app: MakeApp) -> None:
    browser, somebody = plain(_pages(make_app(backend))), _somebody()
    response = browser.post(REGISTER, json=somebody)
    assert response.status_code == 201
    data = response.get_json()["data"]
    assert set(data) == {"kind", "user", "roles", "token_type"}
    assert (data["kind"], data["roles"], data["user"]["email"]) == ("user", ["user"], somebody["email"])
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
        USER: SECURE | {"Max-Age": WEEK}
    }
    assert_private(response)
    assert browser.visit("/account").text == somebody["email"]
    assert backend.calls() == {"POST auth/register": 1}


# B2.1
def test_no_token_is_in_the_body(backend: ShopBackend, make_app: MakeApp) -> None:
    text = plain(make_app(backend)).post(REGISTER, json=_somebody()).text
    assert [word for word in ("eyJ", 'Token"', "expiresIn", PASSWORD) if word in text] == []


# B2.2
def test_validation_errors_come_through(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend)).post(REGISTER, json=_somebody() | {"email": ADA})
    body = assert_problem(response, 422, "validation_failed")
    assert body["errors"] == {"email": ["The email has already been taken."]}
    assert set_cookies(response) == {}


# B2.2
def test_a_broken_backend_is_a_5xx_of_ours(backend: ShopBackend, make_app: MakeApp) -> None:
    backend.fault("auth/register", status=500)
    response = plain(make_app(backend)).post(REGISTER, json=_somebody())
    assert response.status_code in (502, 503)
    assert response.mimetype == "application/problem+json"
    assert set_cookies(response) == {}


# B2 register
@pytest.mark.parametrize(("wanted", "target"), [({}, "/"), ({"next": "/cart"}, "/cart")])
def test_a_form_is_sent_on(
    backend: ShopBackend, make_app: MakeApp, wanted: dict[str, str], target: str
) -> None:
    browser = plain(_pages(make_app(backend)))
    somebody = _somebody()
    response = browser.submit(REGISTER, somebody | wanted)
    assert (response.status_code, response.headers["Location"]) == (303, target)
    assert browser.visit("/account").text == somebody["email"]


# B2.7
def test_a_form_that_fails_comes_back_with_a_flash(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    response = browser.submit(REGISTER, _somebody() | {"email": ADA, "next": "/cart"})
    assert response.status_code == 303
    assert where_to(response) == ("/login", {"next": ["/cart"]})
    assert set_cookies(response) == {}
    [[category, message]] = browser.visit("/flashes").get_json()
    assert category == "error"
    assert message


# B2 register
def test_without_a_token_in_the_answer_a_login_is_still_needed(make_app: MakeApp) -> None:
    answer = (201, {"success": True, "data": {"user": {"id": 7}}})
    with StubBackend({"POST auth/register": answer}) as stub:
        app = _pages(make_app(stub.url))
        browser = plain(app)
        with heard(registered, app) as registrations, heard(logged_in, app) as logins:
            response = browser.post(REGISTER, json=_somebody())
        assert response.status_code == 201
        assert set_cookies(response) == {}
        assert [event["identity"] for event in registrations] == [None]
        assert logins == []
        assert_problem(browser.fetch("/account"), 401, "login_required")


# B2 register
def test_a_registration_is_told(backend: ShopBackend, make_app: MakeApp) -> None:
    app, somebody = make_app(backend), _somebody()
    with heard(registered, app) as registrations:
        plain(app).post(REGISTER, json=somebody)
    assert [event["identity"]["email"] for event in registrations] == [somebody["email"]]


# B2 register, REGISTER_FIELDS
def test_register_fields_narrow_what_is_sent(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/register": grant(user={"id": 7})}) as stub:
        browser = plain(make_app(stub.url, register_fields=("email",), login_fields=("other",)))
        browser.post(REGISTER, json={"email": "x@y.z", "roles": ["admin"]})
        assert stub.call("POST auth/register").json == {"email": "x@y.z"}


# B2.6
@pytest.mark.parametrize("data", [b"{", b"[]", b'{"email": NaN}'])
def test_a_malformed_body_reaches_no_backend(backend: ShopBackend, make_app: MakeApp, data: bytes) -> None:
    client = make_app(backend).test_client()
    response = client.post(REGISTER, data=data, content_type="application/json", base_url="https://localhost")
    assert_problem(response, 400, "bad_request")
    assert backend.calls() == {}


# B2 register, B2.3
def test_a_guest_who_registers_takes_the_cart_along(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, proxy_routes={"**": "*"})
    browser = plain(app)
    browser.post("/api/cart/items", json={"product_id": 1, "quantity": 2})
    assert list(browser.cookies) == [GUEST]
    response = browser.post(REGISTER, json=_somebody())
    assert set_cookies(response)[GUEST].is_deletion
    assert list(browser.cookies) == [USER]
    assert browser.fetch("/api/cart").get_json()["data"]["count"] == 2


# B2.3
def test_a_registration_replaces_the_session(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    browser = plain(app)
    browser.log_in()
    old, somebody = browser.on(app), _somebody()
    browser.post(REGISTER, json=somebody)
    assert browser.visit("/account").text == somebody["email"]
    assert old.fetch("/api/auth/me").status_code == 401


# B2.3
def test_a_token_type_that_is_not_allowed_is_refused(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend, allowed_token_types=("admin",))).post(REGISTER, json=_somebody())
    assert_problem(response, 403, "token_type_refused")
    assert set_cookies(response) == {}
    assert backend.calls("POST auth/logout") == 1
