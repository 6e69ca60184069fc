"""The cookies: their names, attributes and lives, and what happens to those that cannot be opened."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ApiLayer, current_user, guest_allowed, login_required
from flask_api_layer.sansio.session import TokenSet, start_session
from flask_api_layer.sessions import CookieSeal, Sealer
from flask_api_layer.signals import session_ended
from tests.processes import ShopBackend

from .visitors import (
    ADA,
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
    assert_problem,
    grant,
    heard,
    plain,
    record,
    set_cookies,
)

INSECURE = {name: value for name, value in SECURE.items() if name != "Secure"}


def _pages(app: Flask) -> Flask:
    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/cart")
    @guest_allowed
    def cart() -> str:
        return f"{current_user.kind} {current_user.id}"

    @app.get("/open")
    def open_page() -> str:
        return current_user.kind

    return app


# B3.1
@pytest.mark.parametrize(
    ("settings", "name", "attributes"),
    [
        ({}, "__Host-Http-api-{}", SECURE),
        ({"cookie_secure": False}, "api-{}", INSECURE),
        ({"cookie_samesite": "Strict"}, "__Host-Http-api-{}", SECURE | {"SameSite": "Strict"}),
        ({"user_cookie": "shop-user", "guest_cookie": "shop-guest"}, "__Host-Http-shop-{}", SECURE),
    ],
    ids=str,
)
def test_a_deletion_repeats_what_the_cookie_was_set_with(
    backend: ShopBackend, make_app: MakeApp, settings: dict[str, Any], name: str, attributes: dict[str, str]
) -> None:
    browser = plain(_pages(make_app(backend, guest_enabled=True, **settings)))
    user, guest = name.format("user"), name.format("guest")
    minted = set_cookies(browser.visit("/cart"))
    login = set_cookies(browser.post("/api/auth/login", json=CREDENTIALS))
    logout = set_cookies(browser.post("/api/auth/logout"))
    kept, deleted = attributes | {"Max-Age": WEEK}, attributes | {"Max-Age": "0"}
    assert {key: cookie.attributes for key, cookie in minted.items()} == {guest: kept}
    assert {key: cookie.attributes for key, cookie in login.items()} == {user: kept, guest: deleted}
    assert {key: cookie.attributes for key, cookie in logout.items()} == {user: deleted}
    assert login[guest].is_deletion
    assert logout[user].is_deletion


# B3.2
def test_a_cookie_is_not_set_again_while_nothing_changes(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend, guest_enabled=True, validate_ttl=0)))
    browser.visit("/cart")
    assert set_cookies(browser.visit("/cart")) == {}
    browser.log_in()
    for path in ("/account", "/cart", "/open", "/api/auth/me"):
        assert set_cookies(browser.visit(path)) == {}


# B3.2
def test_a_cookie_that_was_not_sent_is_not_deleted(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    assert list(set_cookies(browser.log_in())) == [USER]
    assert list(set_cookies(browser.post("/api/auth/logout"))) == [USER]


# B3.3
def test_a_token_that_can_be_refreshed_does_not_bound_the_cookie(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    for settings in ({"ACCESS_TTL": 20}, {"TOKENS": "single"}):
        backend = start_backend(**settings)
        browser = plain(_pages(make_app(backend, cookie_max_age=1000, guest_max_age=500, guest_enabled=True)))
        assert set_cookies(browser.visit("/cart"))[GUEST].attributes["Max-Age"] == "500"
        assert set_cookies(browser.log_in())[USER].attributes["Max-Age"] == "1000"


# B3.3
def test_a_token_that_cannot_be_refreshed_bounds_the_cookie(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, endpoints={"refresh": None}))
    assert 890 <= int(set_cookies(browser.log_in())[USER].attributes["Max-Age"]) <= 900


# B3.3
@pytest.mark.parametrize(("life", "expected"), [(1000, range(990, 1001)), (9_999_999, range(604800, 604801))])
def test_a_known_end_of_the_refresh_token_bounds_the_cookie(
    make_app: MakeApp, life: int, expected: range
) -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": %d}' % (time.time() + life)).decode().rstrip("=")
    token = f"eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl"
    with StubBackend({"POST auth/login": grant(refreshToken=token, expiresIn=5, user={"id": 7})}) as stub:
        cookie = set_cookies(plain(make_app(stub.url)).log_in())[USER]
    assert int(cookie.attributes["Max-Age"]) in expected


# B3.4
def test_a_login_that_does_not_fit_fails_loudly(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    token = "".join(f"{number:x}." for number in range(2000))
    with StubBackend({"POST auth/login": grant(token, user={"id": 7})}) as stub:
        browser = plain(_pages(make_app(stub.url)))
        response = browser.post("/api/auth/login", json=CREDENTIALS)
        assert_problem(response, 500, "session_too_large")
        assert set_cookies(response) == {}
        assert browser.visit("/open").text == "anonymous"
    assert [entry for entry in caplog.records if entry.name.startswith("flask_api_layer")]
    assert token[:40] not in caplog.text


# B3.4
def test_a_refresh_that_does_not_fit_ends_the_session(make_app: MakeApp) -> None:
    token = "".join(f"{number:x}." for number in range(2000))
    answers: Answers = {
        "POST auth/login": grant(refreshToken="r1", expiresIn=5, user={"id": 7}),
        "POST auth/refresh": grant(token, refreshToken="r2", expiresIn=900, user={"id": 7}),
        "GET auth/me": record(),
    }
    with StubBackend(answers) as stub:
        app = _pages(make_app(stub.url))
        browser = plain(app)
        browser.log_in()
        with heard(session_ended, app) as endings:
            response = browser.fetch("/account")
        assert response.status_code in (401, 500)
        assert set_cookies(response)[USER].is_deletion
        assert len(endings) == 1


# B3.4
def test_what_fits_stays_below_the_limit(make_app: MakeApp) -> None:
    token = "".join(f"{number:x}." for number in range(500))
    with StubBackend({"POST auth/login": grant(token, user={"id": 7})}) as stub:
        browser = plain(make_app(stub.url))
        browser.log_in()
        [(name, value)] = browser.cookies.items()
    assert len(name) + 1 + len(value) < 3800


def _flipped(value: str) -> str:
    middle = len(value) // 2
    return value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :]


_BROKEN: dict[str, Callable[[str], str]] = {
    "flipped": _flipped,
    "cut": lambda value: value[:-5],
    "longer": lambda value: value + "AAAA",
    "first byte": lambda value: ("A" if value[0] != "A" else "B") + value[1:],
    "empty": lambda value: "",
    "null": lambda value: "null",
    "dots": lambda value: "a.b.c.d",
    "a JWT": lambda value: "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "not base64": lambda value: "%%%",
    "quoted": lambda value: '"a\\012b"',
    "twice": lambda value: f"{value}; {USER}={_flipped(value)}",
    "twice, the good one last": lambda value: f"{_flipped(value)}; {USER}={value}",
    "10 KB": lambda value: "A" * 10_000,
}


# B3.5
@pytest.mark.parametrize("case", _BROKEN)
def test_a_cookie_that_cannot_be_opened_counts_as_absent(
    backend: ShopBackend, make_app: MakeApp, case: str
) -> None:
    app = _pages(make_app(backend))
    browser = plain(app)
    browser.log_in()
    backend.reset()
    header = {"Cookie": f"{USER}={_BROKEN[case](browser.cookies[USER])}; other=kept"}
    client = app.test_client(use_cookies=False)
    page = client.get("/open", headers=header, base_url="https://localhost")
    gated = client.get("/account", headers=header, base_url="https://localhost")
    assert (page.status_code, page.text) == (200, "anonymous")
    assert_problem(gated, 401, "login_required")
    assert set_cookies(page) == set_cookies(gated) == {}
    assert backend.calls() == {}


# B3.5
@pytest.mark.parametrize(
    "name",
    ["__host-http-api-user", "__HOST-HTTP-API-USER", "$Version=1; X", "api-user", "\xa0" + USER, "X" + USER],
)
def test_only_the_exact_name_counts(backend: ShopBackend, make_app: MakeApp, name: str) -> None:
    app = _pages(make_app(backend))
    browser = plain(app)
    browser.log_in()
    client = app.test_client(use_cookies=False)
    header = {"Cookie": f"{name}={browser.cookies[USER]}"}
    assert client.get("/open", headers=header, base_url="https://localhost").text == "anonymous"


# B3.5
def test_a_broken_user_cookie_does_not_touch_the_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend, guest_enabled=True))
    guest = plain(app)
    mark = guest.visit("/cart").text
    both = Browser(app, cookies={GUEST: guest.cookies[GUEST], USER: "garbage"})
    response = both.visit("/cart")
    assert response.text == mark
    assert set_cookies(response) == {}


# B3.5, A10
def test_a_value_moved_to_another_cookie_is_garbage(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    browser = plain(app)
    browser.log_in()
    moved = Browser(app, cookies={GUEST: browser.cookies[USER]})
    backend.reset()
    assert moved.visit("/open").text == "anonymous"
    assert_problem(moved.fetch("/account"), 401, "login_required")
    assert backend.calls() == {}


# B3.5
def test_a_cookie_of_another_key_counts_as_absent(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    other = Flask("other")
    other.config.update(SECRET_KEY="another key, also long enough", API_LAYER_STORE_URL="memory://")
    other.config["API_LAYER_BACKEND_URL"] = backend.base_url
    ApiLayer(other)
    response = browser.on(_pages(other)).fetch("/account")
    assert_problem(response, 401, "login_required")
    assert set_cookies(response) == {}
    other.extensions["api_layer"].transport.close()


# B3.6
def test_the_value_decodes_to_nothing_readable(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend))
    browser.log_in()
    value = browser.cookies[USER]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", value)
    opened = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    assert [word for word in (b"eyj", b"usr_", b"example", b"token") if word in opened.lower()] == []
    assert ADA not in value


# B3.6
def test_two_logins_give_values_that_share_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    values = []
    for _ in range(2):
        browser = plain(app)
        browser.log_in()
        values.append(browser.cookies[USER])
    assert values[0][4:20] != values[1][4:20]


# A6
def test_no_cookie_has_a_domain_or_a_path_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, guest_enabled=True))
    for response in (
        browser.post("/api/auth/guest"),
        browser.post("/api/auth/login", json=CREDENTIALS),
        browser.post("/api/auth/refresh"),
        browser.post("/api/auth/logout"),
    ):
        for cookie in set_cookies(response).values():
            assert cookie.attributes["Path"] == "/"
            assert "Domain" not in cookie.attributes


# B3.5
def test_a_seal_counts_under_its_own_name_only() -> None:
    sealer = Sealer([b"a key for tests, long enough"])
    sealed = sealer.seal(b"tokens", USER)
    assert sealer.open(sealed, USER) == b"tokens"
    for name in (GUEST, USER.lower(), "ledger", ""):
        assert sealer.open(sealed, name) is None


# B3.5
def test_a_seal_has_one_spelling() -> None:
    sealer = Sealer([b"a key for tests, long enough"])
    sealed = sealer.seal(b"t", USER)
    # 29 bytes leave two bits of the last character unused.
    spellings = {
        sealed[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    }
    assert {text for text in (*spellings, f"{sealed}=") if sealer.open(text, USER)} == {sealed}


# B4.1
def test_a_session_of_a_guest_in_the_users_cookie_is_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend, guest_enabled=True))
    seal = CookieSeal(Sealer(app.extensions["api_layer"].config.secret_keys))
    guest = start_session("guest", TokenSet("a token"), session_id="1", now=time.time())
    sealed = seal.seal(guest, USER)
    assert seal.open(sealed, USER) == guest
    assert_problem(Browser(app, cookies={USER: sealed}).fetch("/account"), 401, "login_required")
    assert backend.calls() == {}
