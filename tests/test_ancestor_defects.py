"""Defects of the library that this one descends from, each as the behaviour that takes its place.

Most of them have tests elsewhere; tests/corpus/README.md lists which. Here are those that had none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, jsonify, redirect
from werkzeug.test import TestResponse

from flask_api_layer import (
    ConfigError,
    api,
    csrf_exempt,
    current_user,
    guest_allowed,
    login_required,
)
from tests.raw_server import Peer, RawServer

from .integration.visitors import (
    ADMIN,
    CREDENTIALS,
    GUEST,
    NAVIGATION,
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
    plain,
    record,
    set_cookies,
)
from .processes import ShopBackend

USER_SEVEN = {"id": 7, "type": "user"}
EXPIRING: Answers = {
    "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user=USER_SEVEN),
    "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user=USER_SEVEN),
    "GET auth/me": record(),
}
KEPT = SECURE | {"Max-Age": WEEK}


def _account(app: Flask) -> Flask:
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user.id)), endpoint="account")
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    return app


# A3: 20 ms after the refresh, an hour of clicking on the old cookie
def test_an_old_cookie_is_good_for_many_requests_after_the_refresh(make_app: MakeApp) -> None:
    with StubBackend(EXPIRING) as stub:
        app = _account(make_app(stub.url))
        browser = plain(app)
        browser.log_in()
        old = [browser.on(app) for _ in range(5)]
        assert [tab.fetch("/account").text for tab in [browser, *old]] == ["7"] * 6
        assert stub.endpoints.count("POST auth/refresh") == 1


REPLACEMENTS: dict[str, Callable[[Response], Any]] = {
    "fresh": lambda response: Response("fresh"),
    "redirected": lambda response: redirect("/tr/account"),
    "without headers": lambda response: Response(response.get_data(), headers={}),
}


# A7
@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_response_that_the_app_replaces_keeps_the_cookie_whole(make_app: MakeApp, how: str) -> None:
    with StubBackend(EXPIRING) as stub:
        app = _account(make_app(stub.url))
        app.after_request(REPLACEMENTS[how])
        browser = plain(app)
        browser.client.set_cookie(USER, _login(stub, make_app), domain="localhost")
        response = browser.visit("/account")
        cookies = set_cookies(response)
        assert {name: cookie.attributes for name, cookie in cookies.items()} == {USER: KEPT}
        assert_private(response)


def _login(stub: StubBackend, make_app: MakeApp) -> str:
    browser = plain(make_app(stub.url))
    browser.log_in()
    return browser.cookies[USER]


# A7: and so does a deletion
def test_a_deletion_survives_a_response_that_the_app_replaces(make_app: MakeApp) -> None:
    answers: Answers = {**EXPIRING, "POST auth/refresh": (401, {"success": False})}
    with StubBackend(answers) as stub:
        app = _account(make_app(stub.url))
        app.after_request(lambda response: Response("fresh"))
        browser = plain(app)
        browser.client.set_cookie(USER, _login(stub, make_app), domain="localhost")
        deleted = set_cookies(browser.visit("/account"))[USER]
        assert (deleted.is_deletion, deleted.attributes) == (True, SECURE | {"Max-Age": "0"})


# A13
def test_two_hundred_visitors_who_need_no_token_cost_the_backend_nothing(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = _account(make_app(backend, guest_enabled=True, protected_routes=["/account"]))
    visits = [
        ("GET", "/robots.txt"),
        ("GET", "/open"),
        ("HEAD", "/cart"),
        ("OPTIONS", "/cart"),
        ("GET", "/account"),
    ]
    for method, path in visits * 40:
        app.test_client().open(path, method=method, base_url="https://localhost").close()
    assert backend.calls() == {}


# A13: a guest's cookie lives as long as the guest, not for an hour
@pytest.mark.parametrize(("life", "expected"), [(300, range(290, 301)), (None, range(604800, 604801))])
def test_a_guest_cookie_lives_as_long_as_its_token(
    make_app: MakeApp, life: float | None, expected: range
) -> None:
    guest = grant("guest-token", user={"id": "g", "type": "guest"}, expiresIn=life)
    with StubBackend({"POST auth/guest": guest}) as stub:
        app = _account(make_app(stub.url, guest_enabled=True, endpoints={"refresh": None}))
        cookie = set_cookies(plain(app).visit("/cart"))[GUEST]
    assert int(cookie.attributes["Max-Age"]) in expected


def _silent_at(endpoint: str) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        while head := peer.request():
            if endpoint.encode() in head.split(b"\r\n")[0]:
                peer.read_to_end()
                return
            peer.answer(b"{}")

    return play


# A14: login, refresh and guest; for `me` see test_outages.py
@pytest.mark.parametrize("endpoint", ["auth/login", "auth/guest"])
def test_no_endpoint_may_hang_for_long(make_app: MakeApp, endpoint: str) -> None:
    with RawServer(_silent_at(endpoint)) as server:
        app = _account(make_app(f"{server.url}/v1", read_timeout=0.2, guest_enabled=True))
        if endpoint == "auth/guest":
            page = plain(app).visit("/cart")
            assert (page.status_code, page.text) == (200, "anonymous")
        else:
            answer = plain(app).post("/api/auth/login", json=CREDENTIALS)
            assert_problem(answer, 504, "backend_timeout")


# A14
def test_a_refresh_may_not_hang_for_long(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    browser = plain(_account(make_app(backend, read_timeout=0.2)))
    browser.log_in()
    backend.fault("auth/refresh", mode="hang")
    answer = browser.fetch("/account")
    assert_problem(answer, 503, "backend_unavailable")
    assert set_cookies(answer) == {}


# A15: everything is proxied, but not what hands out tokens
@pytest.mark.parametrize("name", ["login", "register", "refresh", "guest", "logout"])
@pytest.mark.parametrize(
    "spelling", ["auth/{0}/", "auth/{0};a=1", "AUTH/{0}", "auth/%{1:x}{2}", "auth/{0}?x"]
)
def test_no_script_reads_a_token_through_the_proxy(
    backend: ShopBackend, make_app: MakeApp, name: str, spelling: str
) -> None:
    path = spelling.format(name, ord(name[0]), name[1:])
    browser = plain(make_app(backend, proxy_routes={"**": "*"}, guest_enabled=True))
    answer = browser.post(f"/api/{path}", json=CREDENTIALS)
    assert "accessToken" not in answer.text
    assert "eyJ" not in answer.text


# A17: what sets a guest cookie is for one visitor
@pytest.mark.parametrize("path", ["/cart", "/api/headers", "/page"])
def test_no_shared_cache_keeps_an_answer_that_sets_a_guest_cookie(
    backend: ShopBackend, make_app: MakeApp, path: str
) -> None:
    app = _account(make_app(backend, guest_enabled=True, proxy_routes={"headers": ["GET"]}))

    @app.get("/page")
    def page() -> Response:
        response: Response = jsonify(api.get("whoami").data)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response

    answer = plain(app).fetch(path)
    assert answer.status_code == 200
    assert list(set_cookies(answer)) == [GUEST]
    assert_private(answer)


# P5, P6: one header of the client neither takes the bearer away nor replaces it
@pytest.mark.parametrize("name", ["X-Skip-Auth", "X-Auth-Skip", "X-No-Auth", "Proxy-Authorization"])
def test_no_header_of_the_client_takes_the_token_away(
    backend: ShopBackend, make_app: MakeApp, name: str
) -> None:
    browser = plain(make_app(backend, proxy_routes={"whoami": ["GET"]}))
    browser.log_in()
    answer = browser.fetch("/api/whoami", headers={name: "true"})
    assert answer.get_json()["data"]["mark"] == "usr_ada"


# P7
@pytest.mark.parametrize(
    ("pattern", "path", "is_open"),
    [
        ("echo/v1.0/*", "echo/v1.0/x", True),
        ("echo/v1.0/*", "echo/v1x0/x", False),
        ("echo/a(b", "echo/a(b", True),
        ("echo/a(b", "echo/x", False),
        ("echo/[a]+", "echo/aa", False),
        ("echo/$", "echo/", False),
        ("echo/public/**", "echo/public", True),
        ("echo/news/*", "echo/news/..%2fadmin", False),
    ],
)
def test_a_pattern_is_no_regular_expression(
    backend: ShopBackend, make_app: MakeApp, pattern: str, path: str, is_open: bool
) -> None:
    app = make_app(backend, proxy_routes={pattern: ["GET"]}, proxy_public=["**"])
    answer = plain(app).fetch(f"/api/{path}")
    assert answer.status_code in ((200,) if is_open else (400, 404))
    assert bool(backend.calls()) is is_open


# P7
def test_half_a_wildcard_is_refused_at_the_start(backend: ShopBackend, make_app: MakeApp) -> None:
    with pytest.raises(ConfigError, match=r"new\*"):
        make_app(backend, proxy_routes={"echo/new*": ["GET"]})


# P9: the body that is passed on is the one that its headers speak of
def test_a_compressed_answer_matches_its_headers(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, proxy_routes={"gzip": ["GET"]}, proxy_public=["**"]))
    answer = browser.fetch("/api/gzip", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.data) == int(answer.headers["Content-Length"])


# C1: the same call of two users at the same moment is two calls
def test_two_users_who_call_the_same_get_their_own(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/mark", view_func=login_required(_mark), endpoint="mark")
    ada, admin = plain(app), plain(app)
    ada.log_in()
    admin.log_in(ADMIN)
    marks = [browser.fetch("/mark").text for browser in (ada, admin) * 3]
    assert marks[:2] * 3 == marks
    assert marks[0] != marks[1]
    assert backend.calls("GET whoami") == 6


def _mark() -> str:
    return str(api.get("whoami").data["mark"])


def _token(browser: Browser) -> str:
    cookie = browser.client.get_cookie("__Host-api-csrf")
    assert cookie is not None
    return cookie.value


@pytest.fixture
def desk(backend: ShopBackend, make_app: MakeApp) -> Flask:
    """Takes orders; a webhook is exempt."""
    app = make_app(backend, guest_enabled=True, excluded_routes=["/hooks"])
    app.add_url_rule("/order", methods=["POST"], view_func=lambda: "ordered", endpoint="order")
    app.add_url_rule("/hooks/in", methods=["POST"], view_func=lambda: "heard", endpoint="hook")
    app.add_url_rule("/paid", methods=["POST"], view_func=csrf_exempt(lambda: "thanks"), endpoint="paid")
    return app


def _old_browser(browser: Browser, path: str, **headers: str) -> TestResponse:
    """A post of a browser that knows nothing of Fetch Metadata."""
    return browser.client.post(path, headers=headers, base_url="https://localhost")


# F1, B6.5: also of two users in one browser, one after the other
def test_a_token_of_one_session_is_none_of_another(desk: Flask) -> None:
    browser = plain(desk)
    browser.log_in()
    before = _token(browser)
    assert _old_browser(browser, "/order", **{"X-CSRF-Token": before}).text == "ordered"
    browser.log_in(ADMIN)
    assert_problem(_old_browser(browser, "/order", **{"X-CSRF-Token": before}), 403, "csrf_token_invalid")
    # The cookie tossed by a subdomain beside the same value in the header.
    browser.client.set_cookie("__Host-api-csrf", before, domain="localhost", secure=True)
    assert_problem(_old_browser(browser, "/order", **{"X-CSRF-Token": before}), 403, "csrf_token_invalid")


# F2
def test_a_token_stays_while_pages_are_opened_in_other_tabs(desk: Flask) -> None:
    browser = plain(desk)
    browser.log_in()
    token = _token(browser)
    for _ in range(3):
        browser.visit("/api/auth/me")
    assert _token(browser) == token
    assert _old_browser(browser, "/order", **{"X-CSRF-Token": token}).text == "ordered"


# F3
def test_a_visitor_can_log_in_with_a_browser_without_fetch_metadata(desk: Flask) -> None:
    browser = plain(desk)
    handed_out = browser.client.get("/api/auth/csrf", base_url="https://localhost")
    token = handed_out.get_json()["data"]["csrf_token"]
    form = {**CREDENTIALS, "csrf_token": token}
    origin = {"Origin": "https://localhost", "Accept": NAVIGATION["Accept"]}
    answer = browser.client.post("/api/auth/login", data=form, headers=origin, base_url="https://localhost")
    assert answer.status_code == 303
    assert list(set_cookies(answer)) == [USER]


# F4
@pytest.mark.parametrize(("path", "said"), [("/hooks/in", "heard"), ("/paid", "thanks")])
def test_a_webhook_is_not_asked_for_a_token(desk: Flask, path: str, said: str) -> None:
    browser = plain(desk)
    browser.log_in()
    assert _old_browser(browser, path, Origin="https://payments.example").text == said


# J2, and 8 of the corpus: what counts is the whole token
def test_two_tokens_that_begin_alike_are_two_people(make_app: MakeApp) -> None:
    beginning = "opaque-" + "x" * 1500
    tokens = [f"{beginning}a", f"{beginning}A", f"{beginning}ab"]
    logins: list[Any] = [grant(token, user={"id": place}) for place, token in enumerate(tokens)]
    with StubBackend({"POST auth/login": logins}) as stub:
        app = _account(make_app(stub.url))
        browsers = [plain(app) for _ in tokens]
        for browser in browsers:
            browser.log_in()
        assert [browser.fetch("/account").text for browser in browsers] == ["0", "1", "2"]
