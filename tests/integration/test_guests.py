"""Guests: when they are made, when not, and what becomes of them at a login."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, render_template_string

from flask_api_layer import ConfigError, api, current_user, guest_allowed, login_required, public
from flask_api_layer.signals import guest_minted, guest_upgraded
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    CREDENTIALS,
    GUEST,
    NAVIGATION,
    PASSWORD,
    SCRIPT,
    SECURE,
    USER,
    WEEK,
    Answers,
    Browser,
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

MINT = {"POST auth/guest": 1}


def _shop(app: Flask) -> Flask:
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    app.add_url_rule("/plain", view_func=lambda: "page", endpoint="plain", methods=["GET", "POST"])
    app.add_url_rule("/public", view_func=public(lambda: "page"), endpoint="public")
    app.add_url_rule("/users", view_func=login_required(lambda: "in"), endpoint="users")
    app.add_url_rule("/login", view_func=lambda: "form", endpoint="login")
    app.add_url_rule("/hooks/in", view_func=lambda: "hook", endpoint="hook")
    app.static_folder = __file__.rpartition("/")[0]
    return app


# B5.1, B3.1
def test_a_guest_view_makes_a_guest_once(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend, guest_enabled=True)))
    response = browser.visit("/cart")
    assert response.text == "guest"
    assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
        GUEST: SECURE | {"Max-Age": WEEK}
    }
    assert_private(response)
    assert [browser.visit("/cart").text for _ in range(3)] == ["guest"] * 3
    assert backend.calls() == MINT


# B5.1
def test_a_call_makes_a_guest_when_it_needs_one(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)

    @app.get("/page")
    def page() -> dict[str, Any]:
        products = api.get("products", auth=False)
        marks = [api.get("whoami").data["mark"] for _ in range(3)]
        return {"ok": products.ok, "marks": marks, "id": current_user.id, "kind": current_user.kind}

    response = plain(app).visit("/page")
    body = response.get_json()
    assert set(body["marks"]) == {body["id"]}
    assert (body["ok"], body["kind"]) == (True, "guest")
    assert list(set_cookies(response)) == [GUEST]
    assert backend.calls() == MINT | {"GET products": 1, "GET whoami": 3}


# B5.1
def test_a_call_that_needs_no_token_makes_no_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    app.add_url_rule("/page", view_func=lambda: api.get("products", auth=False), endpoint="page")
    response = plain(app).visit("/page")
    assert response.status_code == 200
    assert set_cookies(response) == {}
    assert backend.calls() == {"GET products": 1}


# B5.1, A4, A17
def test_a_proxied_call_uses_the_guest_that_it_made(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True, proxy_routes={"**": "*"}))
    response = browser.fetch("/api/headers")
    assert response.status_code == 200
    assert list(set_cookies(response)) == [GUEST]
    assert_private(response)
    marks = {browser.fetch("/api/whoami").get_json()["data"]["mark"] for _ in range(2)}
    assert len(marks) == 1
    assert backend.calls() == MINT | {"GET headers": 1, "GET whoami": 2}


_HARMLESS = {
    "a page that asks": ("GET", "/open", NAVIGATION),
    "a page": ("GET", "/plain", NAVIGATION),
    "me": ("GET", "/api/auth/me", SCRIPT),
    "a user's page": ("GET", "/users", SCRIPT),
    "a user's page visited": ("GET", "/users", NAVIGATION),
    "the login page": ("GET", "/login", NAVIGATION),
    "HEAD": ("HEAD", "/cart", NAVIGATION),
    "OPTIONS": ("OPTIONS", "/cart", NAVIGATION),
    "Sec-Purpose": ("GET", "/cart", NAVIGATION | {"Sec-Purpose": "prefetch"}),
    "Sec-Purpose prerender": ("GET", "/cart", NAVIGATION | {"Sec-Purpose": "prefetch;prerender"}),
    "Purpose": ("GET", "/cart", NAVIGATION | {"Purpose": "prefetch"}),
    "static": ("GET", "/static/__init__.py", NAVIGATION),
    "public": ("GET", "/public", NAVIGATION),
    "excluded": ("GET", "/hooks/in", NAVIGATION),
    "missing": ("GET", "/favicon.ico", SCRIPT | {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}),
    "robots.txt": ("GET", "/robots.txt", {}),
}


# B5.1, A13
@pytest.mark.parametrize("case", _HARMLESS)
def test_lazily_none_of_these_makes_a_guest(backend: ShopBackend, make_app: MakeApp, case: str) -> None:
    app = _shop(make_app(backend, guest_enabled=True, auth_routes=("/login",), excluded_routes=("/hooks",)))
    method, path, headers = _HARMLESS[case]
    with app.test_client().open(
        path, method=method, headers=headers, base_url="https://localhost"
    ) as response:
        assert response.status_code < 500
        assert set_cookies(response) == {}
    assert backend.calls() == {}


# B5.1, A13
@pytest.mark.parametrize("case", [case for case in _HARMLESS if case not in ("a page that asks", "a page")])
def test_eagerly_none_of_these_makes_a_guest_either(
    backend: ShopBackend, make_app: MakeApp, case: str
) -> None:
    settings = {"guest_mode": "eager", "auth_routes": ("/login",), "excluded_routes": ("/hooks",)}
    app = _shop(make_app(backend, guest_enabled=True, **settings))
    method, path, headers = _HARMLESS[case]
    with app.test_client().open(
        path, method=method, headers=headers, base_url="https://localhost"
    ) as response:
        assert set_cookies(response) == {}
    assert backend.calls() == {}


# B5.1
@pytest.mark.parametrize(
    ("method", "headers", "is_minted"),
    [
        ("GET", NAVIGATION, True),
        ("GET", {"Accept": "text/html"}, True),
        ("GET", {"Accept": "application/json"}, False),
        ("GET", {"Accept": "*/*"}, False),
        ("GET", {}, False),
        ("GET", SCRIPT, False),
        ("GET", NAVIGATION | {"Sec-Fetch-Dest": "iframe"}, False),
        ("GET", NAVIGATION | {"Sec-Fetch-Dest": "image"}, False),
        ("POST", NAVIGATION, False),
        ("HEAD", NAVIGATION, False),
        ("GET", NAVIGATION | {"Sec-Purpose": "prefetch"}, False),
    ],
    ids=str,
)
def test_eagerly_a_page_view_makes_a_guest(
    backend: ShopBackend, make_app: MakeApp, method: str, headers: dict[str, str], is_minted: bool
) -> None:
    app = _shop(make_app(backend, guest_enabled=True, guest_mode="eager"))
    response = app.test_client().open("/plain", method=method, headers=headers, base_url="https://localhost")
    assert response.status_code == 200
    assert (GUEST in set_cookies(response)) is is_minted
    assert backend.calls() == (MINT if is_minted else {})


# B5.1
def test_eagerly_who_is_somebody_already_gets_no_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend, guest_enabled=True, guest_mode="eager")))
    browser.log_in()
    for path in ("/plain", "/open", "/users"):
        assert set_cookies(browser.visit(path)) == {}
    assert backend.calls("POST auth/guest") == 0


# B5.1
def test_a_prefetched_guest_view_runs_as_anonymous(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend, guest_enabled=True)))
    response = browser.visit("/cart", headers={"Sec-Purpose": "prefetch"})
    assert (response.status_code, response.text) == (200, "anonymous")
    assert browser.visit("/cart").text == "guest"


# B5.1
def test_guests_are_off_by_default(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_shop(make_app(backend, proxy_routes={"**": "*"})))
    assert browser.visit("/open").text == "anonymous"
    assert_problem(browser.fetch("/api/cart"), 401, "login_required")
    assert backend.calls() == {}


# B5.2
def test_beyond_the_limit_a_visitor_still_gets_the_page(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, guest_enabled=True, guest_mint_limit="2/minute", proxy_routes={"**": "*"}))
    responses = [plain(app).visit("/cart") for _ in range(4)]
    assert [response.text for response in responses] == ["guest", "guest", "anonymous", "anonymous"]
    assert [len(set_cookies(response)) for response in responses] == [1, 1, 0, 0]
    refused = plain(app).fetch("/api/cart")
    assert_problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    assert backend.calls() == {"POST auth/guest": 2}


# B5.2
def test_each_address_has_a_limit_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, guest_enabled=True, guest_mint_limit="1/minute"))

    def kind(address: str, **headers: str) -> str:
        environ = {"REMOTE_ADDR": address}
        client = app.test_client()
        return client.get(
            "/cart", environ_overrides=environ, headers=headers, base_url="https://localhost"
        ).text

    assert [kind("192.0.2.1"), kind("192.0.2.1"), kind("192.0.2.2")] == ["guest", "anonymous", "guest"]
    assert (
        kind("192.0.2.1", **{"X-Forwarded-For": "198.51.100.7", "X-Real-IP": "198.51.100.8"}) == "anonymous"
    )


# B5.2
@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 403}, {"mode": "html"}, {"mode": "empty"}, {"mode": "garbage"}],
    ids=str,
)
def test_a_failing_guest_endpoint_costs_a_visitor_nothing_and_is_not_asked_again(
    backend: ShopBackend, make_app: MakeApp, fault: dict[str, Any]
) -> None:
    backend.fault("auth/guest", **fault)
    app = _shop(make_app(backend, guest_enabled=True, proxy_routes={"**": "*"}))
    responses = [plain(app).visit("/cart") for _ in range(3)]
    assert [(response.status_code, response.text) for response in responses] == [(200, "anonymous")] * 3
    assert [set_cookies(response) for response in responses] == [{}] * 3
    assert_problem(plain(app).fetch("/api/cart"), 503, "backend_unavailable")
    assert backend.calls() == MINT


# B5.2
def test_a_dead_backend_leaves_guest_pages_standing(make_app: MakeApp) -> None:
    with DeadPort() as url:
        app = _shop(make_app(url, guest_enabled=True, guest_mode="eager"))
        for path in ("/cart", "/plain"):
            response = plain(app).visit(path)
            assert response.status_code == 200
            assert set_cookies(response) == {}


# B5.2
def test_nothing_is_minted_over_a_credential_that_cannot_be_judged(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(backend, guest_enabled=True, guest_mode="eager", validate_ttl=0, stale_ttl=0))
    user, guest = plain(app), plain(app)
    user.log_in()
    guest.visit("/cart")
    backend.reset()
    backend.fault("auth/me", status=503)
    for browser in (user, guest):
        response = browser.fetch("/cart")
        assert_problem(response, 503, "backend_unavailable")
        assert set_cookies(response) == {}
        assert browser.visit("/plain").status_code == 200
    assert backend.calls("POST auth/guest") == 0


# B5.3
def test_credentials_go_to_the_guest_endpoint_and_nowhere_else(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    credentials = {"client_id": "shop", "client_secret": "s3cr3t-of-the-shop"}
    answers: Answers = {
        "POST auth/guest": [grant(user={"id": "g1", "type": "guest"}), (500, {"message": "no"})]
    }
    with StubBackend(answers) as stub:
        app = _shop(make_app(stub.url, guest_enabled=True, guest_credentials=credentials))
        pages = [plain(app).visit("/cart").text, plain(app).visit("/cart").text]
        call = stub.calls[0]
    assert (call.endpoint, call.json) == ("POST auth/guest", credentials)
    assert call.headers["Content-Type"] == "application/json"
    assert pages == ["guest", "anonymous"]
    told = caplog.text + repr(app.extensions["api_layer"]) + repr(app.extensions["api_layer"].config)
    assert "s3cr3t" not in told


# B5.3
def test_wrong_credentials_are_not_repeated_in_the_error(make_app: MakeApp) -> None:
    with pytest.raises(ConfigError) as caught:
        make_app("http://127.0.0.1:9/v1", guest_enabled=True, guest_credentials="s3cr3t-of-the-shop")
    assert "GUEST_CREDENTIALS" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


# B5.3
def test_without_credentials_the_body_says_nothing(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/guest": grant(user={"id": "g1", "type": "guest"})}) as stub:
        plain(_shop(make_app(stub.url, guest_enabled=True))).visit("/cart")
        assert stub.call("POST auth/guest").body in (b"", b"{}")


# B5.4
def test_python_jinja_and_me_say_the_same_thing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    template = "{{ current_user.is_guest }} {{ current_user.is_authenticated }} {{ current_user.kind }}"

    @app.get("/cart")
    @guest_allowed
    def cart() -> dict[str, object]:
        python = f"{current_user.is_guest} {current_user.is_authenticated} {current_user.kind}"
        return {"python": python, "jinja": render_template_string(template)}

    guest, user = plain(app), plain(app)
    user.log_in()
    for browser, expected in ((guest, "True False guest"), (user, "False True user")):
        assert browser.visit("/cart").get_json() == {"python": expected, "jinja": expected}
        assert browser.fetch("/api/auth/me").get_json()["data"]["kind"] == expected.split()[-1]


# B2 guest
def test_the_guest_endpoint_makes_one_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    first, second = browser.post("/api/auth/guest"), browser.post("/api/auth/guest")
    assert (first.status_code, first.get_json()) == (201, {"success": True, "data": {"kind": "guest"}})
    assert list(set_cookies(first)) == [GUEST]
    assert_private(first)
    assert (second.status_code, second.get_json()["data"]) == (200, {"kind": "guest"})
    assert set_cookies(second) == {}
    assert backend.calls() == MINT


# B2 guest
def test_the_guest_endpoint_leaves_a_user_alone(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    browser.log_in()
    response = browser.post("/api/auth/guest")
    assert response.status_code == 200
    assert set_cookies(response) == {}
    assert backend.calls("POST auth/guest") == 0


# B2 guest
def test_the_guest_endpoint_is_not_there_when_guests_are_off(backend: ShopBackend, make_app: MakeApp) -> None:
    response = plain(make_app(backend)).post("/api/auth/guest")
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert backend.calls() == {}


# B2 guest, B5.2
def test_the_guest_endpoint_says_why_there_is_no_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, guest_mint_limit="1/minute")
    plain(app).post("/api/auth/guest")
    refused = plain(app).post("/api/auth/guest")
    assert_problem(refused, 429, "rate_limited")
    backend.fault("auth/guest", status=500)
    broken = plain(make_app(backend, guest_enabled=True)).post("/api/auth/guest")
    assert broken.status_code in (502, 503)
    assert set_cookies(refused) == set_cookies(broken) == {}


# B4 rows 8 to 10
def test_a_guest_that_the_backend_forgot_gets_a_new_token(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/guest": [
            grant("g1", user={"id": "g1", "type": "guest"}),
            grant("g2", user={"id": "g2", "type": "guest"}),
        ],
        "GET auth/me": (401, {"success": False}),
        "POST auth/refresh": (401, {"success": False, "code": "invalid_grant"}),
    }
    with StubBackend(answers) as stub:
        app = make_app(stub.url, guest_enabled=True, validate_ttl=0)
        app.add_url_rule("/cart", view_func=guest_allowed(lambda: str(current_user.id)), endpoint="cart")
        browser = plain(app)
        assert browser.visit("/cart").text == "g1"
        response = browser.visit("/cart")
        assert response.text == "g2"
        assert list(set_cookies(response)) == [GUEST]
        assert not set_cookies(response)[GUEST].is_deletion
        assert stub.endpoints.count("POST auth/guest") == 2


# B2.3, B2 login
def test_a_login_takes_the_guests_cart_along(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, proxy_routes={"**": "*"})
    browser = plain(app)
    browser.log_in()
    browser.fetch("/api/cart/items/2", method="DELETE")
    before = browser.fetch("/api/cart").get_json()["data"]["count"]
    browser.post("/api/auth/logout")
    browser.post("/api/cart/items", json={"product_id": 2, "quantity": 3})
    response = browser.log_in()
    assert set_cookies(response)[GUEST].is_deletion
    assert list(browser.cookies) == [USER]
    assert browser.fetch("/api/cart").get_json()["data"]["count"] == before + 3


# B2 login
def test_the_guest_token_goes_along_in_a_header(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/guest": grant("guest-token", user={"id": "g1", "type": "guest"}),
        "POST auth/login": grant("user-token", user={"id": 7, "type": "user"}),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, guest_enabled=True)))
        browser.visit("/cart")
        browser.log_in()
        call = stub.call("POST auth/login")
    assert call.headers["X-Guest-Token"] == "guest-token"
    assert call.json == CREDENTIALS


# B2.4
def test_an_upgrade_is_told_once_with_both(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, guest_enabled=True))
    browser = plain(app)
    browser.visit("/cart")
    with heard(guest_upgraded, app) as upgrades:
        browser.log_in()
        browser.log_in()
        plain(app).log_in()
    [event] = upgrades
    assert (event["guest"].kind, event["user"].kind, event["user"].id) == ("guest", "user", "usr_ada")
    assert str(event["guest"].id).startswith("gst_")


# B2.4
def test_a_failing_subscriber_loses_neither(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(backend, guest_enabled=True, proxy_routes={"**": "*"})
    browser = plain(app)
    browser.post("/api/cart/items", json={"product_id": 3})

    def fail(sender: object, **_: Any) -> None:
        raise RuntimeError("out of order")

    with guest_upgraded.connected_to(fail, sender=app), heard(guest_upgraded, app) as upgrades:
        response = browser.log_in()
    assert len(upgrades) == 1
    assert USER in set_cookies(response)
    assert set_cookies(response)[GUEST].is_deletion
    products = [item["product_id"] for item in browser.fetch("/api/cart").get_json()["data"]["items"]]
    assert 3 in products
    assert "out of order" in caplog.text


# B2.4
def test_a_login_that_fails_keeps_the_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, guest_enabled=True))
    browser = plain(app)
    browser.visit("/cart")
    kept = browser.cookies
    with heard(guest_upgraded, app) as upgrades:
        response = browser.post("/api/auth/login", json={"email": ADA, "password": f"{PASSWORD}!"})
    assert response.status_code == 401
    assert upgrades == []
    assert set_cookies(response) == {}
    assert browser.cookies == kept
    assert browser.visit("/cart").text == "guest"


# A16
def test_a_new_guest_is_told(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, guest_enabled=True))
    with heard(guest_minted, app) as minted:
        browser = plain(app)
        browser.visit("/cart")
        browser.visit("/cart")
    assert [event["identity"].kind for event in minted] == ["guest"]


# B4.1, A9
def test_a_guest_whose_record_has_no_type_is_still_a_guest(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/guest": grant(user={"id": "g1"}),
        "GET auth/me": (200, {"success": True, "data": {"id": "g1", "roles": ["admin"]}}),
    }
    with StubBackend(answers) as stub:
        app = _shop(make_app(stub.url, guest_enabled=True, validate_ttl=0))
        app.add_url_rule("/admin", view_func=login_required("admin")(lambda: "in"), endpoint="admin")
        browser = plain(app)
        assert [browser.visit("/cart").text for _ in range(2)] == ["guest", "guest"]
        for path in ("/users", "/admin"):
            assert_problem(browser.fetch(path), 401, "login_required")


# B4.1, A10
def test_a_guest_cookie_never_makes_a_user(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/guest": grant(user={"id": "g1", "type": "guest"}),
        "GET auth/me": record(roles=["admin"]),
    }
    with StubBackend(answers) as stub:
        browser = plain(_shop(make_app(stub.url, guest_enabled=True, validate_ttl=0)))
        browser.visit("/cart")
        assert_problem(browser.fetch("/users"), 401, "login_required")


# B5.1
def test_a_broken_guest_cookie_is_replaced_when_a_guest_is_needed(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(_shop(make_app(backend, guest_enabled=True)), cookies={GUEST: "garbage"})
    assert browser.visit("/open").text == "anonymous"
    response = browser.visit("/cart")
    assert response.text == "guest"
    assert list(set_cookies(response)) == [GUEST]
    assert backend.calls() == MINT
