"""An identity belongs to one request, whatever the app contexts around it do."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from flask import Flask, g, request

from flask_api_layer import api, current_user, guest_allowed, login_required
from tests.processes import ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    GUEST,
    MakeApp,
    assert_problem,
    is_private,
    plain,
    set_cookies,
)


def _pages(app: Flask) -> Flask:
    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    app.add_url_rule(
        "/account", view_func=login_required(lambda: str(current_user["email"])), endpoint="account"
    )
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: str(current_user.id)), endpoint="cart")
    app.add_url_rule("/plain", view_func=lambda: "page", endpoint="plain")
    return app


# B4.9
def test_two_requests_in_one_app_context_are_two_people(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    with app.app_context():
        g.shared = "the context is shared"
        ada, admin = plain(app), plain(app)
        ada.log_in()
        admin.log_in(ADMIN)
        assert ada.visit("/account").text == ADA
        assert_problem(plain(app).fetch("/account"), 401, "login_required")
        assert plain(app).visit("/open").text == "anonymous"
        assert admin.visit("/account").text == ADMIN
        assert ada.visit("/account").text == ADA


# B4.9
def test_cookies_of_one_request_are_not_set_by_the_next(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend, guest_enabled=True))
    with app.app_context():
        first, second = plain(app), plain(app)
        assert list(set_cookies(first.visit("/cart"))) == [GUEST]
        response = second.visit("/plain")
        assert set_cookies(response) == {}
        assert not is_private(response)
        assert first.visit("/cart").text != second.visit("/cart").text
    assert backend.calls("POST auth/guest") == 2


# B4.9
def test_a_logout_in_a_shared_app_context_counts_at_once(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    with app.app_context():
        browser = plain(app)
        browser.log_in()
        assert browser.visit("/open").text == "user"
        browser.post("/api/auth/logout")
        assert browser.visit("/open").text == "anonymous"


# B4.9
def test_an_app_context_inside_a_view_does_not_change_who_is_asking(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)

    @app.get("/nested")
    @login_required
    def nested() -> dict[str, object]:
        before = current_user["email"]
        with app.app_context():
            inside = current_user["email"]
        return {"before": before, "inside": inside, "after": current_user["email"]}

    browser = plain(app)
    browser.log_in()
    assert browser.visit("/nested").get_json() == {"before": ADA, "inside": ADA, "after": ADA}


# B4.9
@pytest.mark.parametrize("asks_before", [False, True])
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_guest_made_inside_another_app_context_is_not_lost(
    backend: ShopBackend, make_app: MakeApp, asks_before: bool, is_nested: bool
) -> None:
    app = make_app(backend, guest_enabled=True)

    @app.get("/nested")
    def nested() -> dict[str, object]:
        before = current_user.kind if asks_before else "anonymous"
        with app.app_context() if is_nested else nullcontext():
            mark = api.get("whoami").data["mark"]
        return {"before": before, "mark": mark, "id": current_user.id}

    browser = plain(app)
    response = browser.visit("/nested")
    body = response.get_json()
    assert body["before"] == "anonymous"
    assert body["mark"] == body["id"]
    assert list(set_cookies(response)) == [GUEST]
    assert browser.visit("/nested").get_json()["mark"] == body["mark"]
    assert backend.calls("POST auth/guest") == 1


# B4.9
def test_a_request_inside_a_view_is_somebody_else(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))

    @app.get("/outer")
    @login_required
    def outer() -> dict[str, object]:
        inside = plain(app).visit("/open")
        return {"inside": inside.text, "after": current_user["email"]}

    browser = plain(app)
    browser.log_in()
    assert browser.visit("/outer").get_json() == {"inside": "anonymous", "after": ADA}


# B4.9
def test_a_request_of_another_app_inside_a_view_is_somebody_else(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, other = make_app(backend), _pages(make_app(backend))

    @app.get("/outer")
    @login_required
    def outer() -> dict[str, object]:
        inside = plain(other).visit("/open")
        return {"inside": inside.text, "after": current_user["email"]}

    browser = plain(app)
    browser.log_in()
    assert browser.visit("/outer").get_json() == {"inside": "anonymous", "after": ADA}


# B4.9
def test_the_same_environ_sent_again_is_another_request(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend, guest_enabled=True))

    @app.get("/outer")
    @guest_allowed
    def outer() -> dict[str, object]:
        environ = request.environ
        environ["PATH_INFO"] = "/open"
        inside = app.wsgi_app(environ, lambda *_: lambda _: None)
        return {"inside": b"".join(inside).decode(), "after": current_user.kind}

    response = plain(app).visit("/outer")
    assert response.get_json() == {"inside": "anonymous", "after": "guest"}
    assert list(set_cookies(response)) == [GUEST]
    assert backend.calls("POST auth/guest") == 1
