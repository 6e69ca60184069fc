"""Whose token a proxied call carries, what a 401 leads to, and what happens when nobody answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask

from tests.processes import DeadPort, ShopBackend
from tests.raw_server import Peer, RawServer

from .visitors import (
    GUEST,
    NAVIGATION,
    SECURE,
    USER,
    WEEK,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    set_cookies,
)
from .wire import call, journal

ROUTES: dict[str, Any] = {
    "proxy_routes": {"whoami": ["GET"], "echo/**": "*", "cart": ["GET"], "status/*": ["GET"]}
}
SMALL = 10  # bytes
USER_RECORD = {"id": "usr_ada", "type": "user", "roles": ["user"]}
KEPT = {**SECURE, "Max-Age": WEEK}
DELETED = {**SECURE, "Max-Age": "0"}


@pytest.fixture
def ada(backend: ShopBackend, make_app: MakeApp) -> Browser:
    """A user without guests around; the login is not counted."""
    return logged_in(make_app(backend, proxy_replay_body=SMALL, **ROUTES), backend)


def logged_in(app: Flask, backend: ShopBackend) -> Browser:
    browser = Browser(app)
    browser.log_in()
    backend.reset()
    return browser


def send(browser: Browser, body: bytes, path: str = "/api/echo") -> Any:
    return browser.client.post(
        path, data=body, base_url="https://localhost", headers={"Sec-Fetch-Site": "same-origin"}
    )


# B7.6: DESIGN "never on the proxy path, where the backend itself judges the bearer"
def test_a_users_call_carries_their_token_and_nothing_else_is_asked(
    ada: Browser, backend: ShopBackend
) -> None:
    answer = ada.fetch("/api/whoami")
    assert answer.get_json()["data"] == {"mark": "usr_ada", "type": "user"}
    assert backend.calls() == {"GET whoami": 1}
    assert set_cookies(answer) == {}
    assert_private(answer)


# B7.6, B5.1; ancestor A4
def test_a_visitor_gets_a_guest_token_that_is_used_in_the_same_request(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(make_app(backend, guest_enabled=True, **ROUTES))
    answer = browser.fetch("/api/whoami")
    assert answer.get_json()["data"]["type"] == "guest"
    assert backend.calls() == {"POST auth/guest": 1, "GET whoami": 1}
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {GUEST: KEPT}
    assert_private(answer)


# B7.6, B3.2
def test_a_guest_is_minted_once(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, guest_enabled=True, **ROUTES))
    first, second = browser.fetch("/api/whoami"), browser.fetch("/api/whoami")
    assert first.get_json() == second.get_json()
    assert set_cookies(second) == {}
    assert backend.calls() == {"POST auth/guest": 1, "GET whoami": 2}


# B7.6, B4.1
def test_the_user_token_wins_over_the_guest_token(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, **ROUTES)
    guest, user = Browser(app), Browser(app)
    guest.fetch("/api/whoami")
    user.log_in()
    both = Browser(app, cookies=guest.cookies | user.cookies)
    assert both.fetch("/api/whoami").get_json()["data"]["type"] == "user"


# B7.6
def test_nobody_is_told_to_log_in_without_a_call(backend: ShopBackend, make_app: MakeApp) -> None:
    answer = Browser(make_app(backend, **ROUTES)).fetch("/api/whoami")
    body = assert_problem(answer, 401, "login_required")
    assert body["login_url"] == "/login"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")
    assert set_cookies(answer) == {}
    assert_private(answer)
    assert backend.calls() == {}


# B7.6
def test_a_public_path_carries_no_bearer(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, proxy_public=["echo/**"], **ROUTES)
    for browser in (Browser(app), logged_in(app, backend)):
        answer = browser.fetch("/api/echo/a")
        assert ["Authorization", "absent"] in answer.get_json()["headers"]
        assert set_cookies(answer) == {}
    assert backend.calls() == {"GET echo/<rest>": 2}
    assert journal(backend)["bearers"] == {}


# B1.5
def test_a_public_path_touches_no_identity(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_public=["echo/**"], **ROUTES)
    answer = logged_in(app, backend).fetch("/api/echo")
    assert "Cookie" not in answer.headers.get("Vary", "")
    assert "private" not in answer.headers.get("Cache-Control", "")


# B7.6: a 401 of a public path was not for our bearer
def test_a_401_of_a_public_path_passes_and_refreshes_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_public=["whoami"], **ROUTES)
    answer = logged_in(app, backend).fetch("/api/whoami")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"GET whoami": 1}


# B4.4: whole paths
def test_a_public_pattern_frees_no_neighbour(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, proxy_public=["echo"], **ROUTES)
    assert Browser(app).fetch("/api/echo").status_code == 200
    assert Browser(app).fetch("/api/echo/").status_code in (200, 404)
    assert_problem(Browser(app).fetch("/api/echo/a"), 401, "login_required")


# B5.1
@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("OPTIONS", {}),
        ("GET", {"Sec-Purpose": "prefetch"}),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", {"Purpose": "prefetch"}),
    ],
)
def test_nothing_is_minted_for_a_look_ahead(
    method: str, headers: dict[str, str], backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(make_app(backend, guest_enabled=True, **ROUTES))
    answer = browser.fetch("/api/whoami", method=method, headers=headers)
    assert answer.status_code == (204 if method == "OPTIONS" else 401)
    assert set_cookies(answer) == {}
    assert backend.calls() == {}


# B7.1, B5.1: what is refused anyway costs no guest
@pytest.mark.parametrize("path", ["/api/nothing", "/api/%2e%2e/x", "/api", "/api/auth/login"])
def test_nothing_is_minted_for_what_is_refused(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    answer = Browser(make_app(backend, guest_enabled=True, **ROUTES)).fetch(path)
    assert answer.status_code in (400, 404, 405)
    assert set_cookies(answer) == {}
    assert backend.calls() == {}


# B5.2
def test_a_call_beyond_the_mint_limit_is_429(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, guest_mint_limit="1/minute", **ROUTES)
    assert Browser(app).fetch("/api/whoami").status_code == 200
    answer = Browser(app).fetch("/api/whoami")
    assert_problem(answer, 429, "rate_limited")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"POST auth/guest": 1, "GET whoami": 1}


# B5.2
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"mode": "html"}, {"mode": "truncated"}])
def test_a_call_that_gets_no_guest_is_503(
    fault: dict[str, Any], backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = Browser(make_app(backend, guest_enabled=True, **ROUTES))
    backend.fault("auth/guest", **fault)
    for _ in range(2):
        answer = browser.fetch("/api/whoami")
        assert_problem(answer, 503, "backend_unavailable")
        assert "Retry-After" in answer.headers
        assert set_cookies(answer) == {}
    assert backend.calls() == {"POST auth/guest": 1}


# Ancestor A4: the call that refreshes goes out with the new token
def test_a_due_refresh_comes_first_and_its_token_is_sent(make_app: MakeApp) -> None:
    answers: Any = {
        "POST auth/login": grant("old-token", refreshToken="r1", expiresIn=5, user=USER_RECORD),
        "POST auth/refresh": grant("new-token", refreshToken="r2", expiresIn=3600),
        "GET echo": (200, {}),
    }
    with StubBackend(answers) as stub:
        browser = Browser(make_app(stub.url, **ROUTES))
        browser.log_in()
        answer = browser.fetch("/api/echo")
        assert answer.status_code == 200
        assert stub.endpoints == ["POST auth/login", "POST auth/refresh", "GET echo"]
        assert stub.call("GET echo").headers["Authorization"] == "Bearer new-token"
        assert set_cookies(answer)[USER].attributes == KEPT
        assert set_cookies(browser.fetch("/api/echo")) == {}


# B7.7
@pytest.mark.parametrize("body", [b"", b"x", b"x" * SMALL])
def test_a_401_leads_to_one_refresh_and_one_replay(body: bytes, ada: Browser, backend: ShopBackend) -> None:
    backend.fault("echo", status=401, times=1)
    answer = send(ada, body)
    assert answer.status_code == 200
    assert answer.get_json()["body"]["length"] == len(body)
    assert answer.get_json()["method"] == "POST"
    assert backend.calls() == {"POST echo": 2, "POST auth/refresh": 1}
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {USER: KEPT}
    assert "X-Auth-Refreshed" not in answer.headers
    assert_private(answer)


# B7.7
def test_the_replay_is_the_same_request_with_the_new_token(make_app: MakeApp) -> None:
    answers: Any = {
        "POST auth/login": grant("first", refreshToken="r1", expiresIn=3600, user=USER_RECORD),
        "POST auth/refresh": grant("second", refreshToken="r2", expiresIn=3600),
        "POST echo/a%20b?x=%zz": [(401, {}), (200, {})],
    }
    with StubBackend(answers) as stub:
        browser = Browser(make_app(stub.url, **ROUTES))
        browser.log_in()
        answer = call(
            browser.client.application,
            "/api/echo/a%20b?x=%zz",
            method="POST",
            body=b"\x00\xffbody",
            headers=[
                ("Cookie", f"{USER}={browser.cookies[USER]}"),
                ("Content-Type", "x/y"),
                ("Idempotency-Key", "k"),
                ("Sec-Fetch-Site", "same-origin"),
            ],
        )
    assert answer.status == 200
    tries = [seen for seen in stub.calls if seen.endpoint.startswith("POST echo")]
    assert [seen.headers["Authorization"] for seen in tries] == ["Bearer first", "Bearer second"]
    assert tries[0].body == tries[1].body == b"\x00\xffbody"
    same = [{k: v for k, v in seen.headers.items() if k != "Authorization"} for seen in tries]
    assert same[0] == same[1]


# B7.7
def test_the_next_call_uses_the_new_token_at_once(ada: Browser, backend: ShopBackend) -> None:
    backend.fault("whoami", status=401, times=1)
    assert ada.fetch("/api/whoami").status_code == 200
    answer = ada.fetch("/api/whoami")
    assert answer.status_code == 200
    assert set_cookies(answer) == {}
    assert backend.calls() == {"GET whoami": 3, "POST auth/refresh": 1}


# B7.7
def test_a_guests_401_refreshes_the_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = Browser(make_app(backend, guest_enabled=True, **ROUTES))
    mark = browser.fetch("/api/whoami").get_json()["data"]["mark"]
    backend.fault("whoami", status=401, times=1)
    answer = browser.fetch("/api/whoami")
    assert answer.get_json()["data"]["mark"] == mark
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {GUEST: KEPT}
    assert backend.calls() == {"POST auth/guest": 1, "GET whoami": 3, "POST auth/refresh": 1}


# B7.7
def test_a_401_to_a_large_body_passes_and_tells_that_another_try_is_worth_it(
    ada: Browser, backend: ShopBackend
) -> None:
    backend.fault("echo", status=401, times=1)
    answer = send(ada, b"x" * (SMALL + 1))
    assert (answer.status_code, answer.get_json()["code"]) == (401, "fault")
    assert answer.headers["X-Auth-Refreshed"] == "1"
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {USER: KEPT}
    assert backend.calls() == {"POST echo": 1, "POST auth/refresh": 1}
    assert send(ada, b"x" * (SMALL + 1)).status_code == 200
    assert backend.calls() == {"POST echo": 2, "POST auth/refresh": 1}


# B7.7: how it is framed does not matter
@pytest.mark.parametrize(("size", "status", "calls"), [(SMALL, 200, 2), (SMALL + 1, 401, 1)])
def test_a_chunked_body_is_replayed_when_it_is_small(
    size: int, status: int, calls: int, ada: Browser, backend: ShopBackend
) -> None:
    backend.fault("echo", status=401, times=1)
    answer = call(
        ada.client.application,
        "/api/echo",
        method="POST",
        body=b"x" * size,
        headers=[("Cookie", f"{USER}={ada.cookies[USER]}"), ("Sec-Fetch-Site", "same-origin")],
        environ={"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    assert answer.status == status
    assert backend.calls() == {"POST echo": calls, "POST auth/refresh": 1}
    assert answer.headers.get("X-Auth-Refreshed") == (None if status == 200 else "1")


# B7.7
def test_a_second_401_passes_as_it_is(ada: Browser, backend: ShopBackend) -> None:
    backend.fault("whoami", status=401, code="not_today")
    answer = ada.fetch("/api/whoami")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "not_today")
    assert "X-Auth-Refreshed" not in answer.headers
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {USER: KEPT}
    assert backend.calls() == {"GET whoami": 2, "POST auth/refresh": 1}


# B7.7: the 401 of an endpoint that always says so does not cost a refresh each time for nothing else
def test_a_second_401_ends_no_session(ada: Browser, backend: ShopBackend) -> None:
    backend.fault("whoami", status=401, times=2)
    assert ada.fetch("/api/whoami").status_code == 401
    assert ada.fetch("/api/whoami").status_code == 200


# B7.7
@pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 419, 429, 440, 498, 500, 503])
def test_nothing_but_a_401_refreshes(status: int, ada: Browser, backend: ShopBackend) -> None:
    answer = ada.fetch(f"/api/status/{status}")
    assert (answer.status_code, answer.get_json()["code"]) == (status, f"status_{status}")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"GET status/<code>": 1}


# B7.7, B6.6, B4.7
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429},
        {"status": 408},
        {"status": 404},
        {"status": 418},
        {"status": 302},
        {"mode": "html"},
        {"mode": "garbage"},
        {"mode": "empty"},
        {"mode": "truncated"},
        {"mode": "hang"},
    ],
)
def test_an_outage_at_the_refresh_is_503_and_keeps_the_cookies(
    fault: dict[str, Any], backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = logged_in(make_app(backend, read_timeout=0.5, total_timeout=0.5, **ROUTES), backend)
    backend.fault("whoami", status=401, times=1)
    backend.fault("auth/refresh", **fault)
    answer = browser.fetch("/api/whoami")
    assert_problem(answer, 503, "backend_unavailable")
    assert answer.headers["Retry-After"].isdigit()
    assert set_cookies(answer) == {}
    assert backend.calls() == {"GET whoami": 1, "POST auth/refresh": 1}
    backend.reset()
    assert browser.fetch("/api/whoami").status_code == 200


# B6.6, B1.2, B3.1
@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 401},
        {"status": 403},
        {"status": 400, "code": "invalid_grant"},
        {"status": 409},
        {"status": 400, "code": "token_reuse"},
    ],
)
def test_a_definitive_refusal_ends_the_session(
    refusal: dict[str, Any], ada: Browser, backend: ShopBackend
) -> None:
    backend.fault("whoami", status=401, times=1)
    backend.fault("auth/refresh", **refusal)
    answer = ada.fetch("/api/whoami")
    body = assert_problem(answer, 401, "session_expired")
    assert body["login_url"] == "/login"
    [(name, cookie)] = set_cookies(answer).items()
    assert (name, cookie.value, cookie.attributes) == (USER, "", DELETED)
    assert backend.calls() == {"GET whoami": 1, "POST auth/refresh": 1}


# B4: the cascade; the layer knows by itself that the token has expired
@pytest.mark.parametrize("guests", [True, False])
def test_an_expired_session_that_cannot_be_renewed_is_over(
    guests: bool, start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    browser = logged_in(make_app(backend, guest_enabled=guests, **ROUTES), backend)
    backend.fault("auth/refresh", status=401)
    answer = browser.fetch("/api/whoami")
    assert set_cookies(answer)[USER].attributes == DELETED
    assert_private(answer)
    if guests:
        assert answer.get_json()["data"]["type"] == "guest"
        assert backend.calls() == {"POST auth/refresh": 1, "POST auth/guest": 1, "GET whoami": 1}
    else:
        assert_problem(answer, 401, "session_expired")
        assert backend.calls() == {"POST auth/refresh": 1}


# B4: the cascade; the guest was there all along
def test_a_guest_goes_on_where_a_session_is_over(
    backend: ShopBackend, start_backend: StartBackend, make_app: MakeApp
) -> None:
    settings: dict[str, Any] = {"guest_enabled": True, "endpoints": {"refresh": None}, **ROUTES}
    app = make_app(backend, **settings)
    guest = Browser(app)
    assert guest.fetch("/api/cart").status_code == 200
    user = logged_in(make_app(start_backend(ACCESS_TTL=1e-6), **settings), backend)
    browser = Browser(app, cookies=guest.cookies | user.cookies)
    answer = browser.fetch("/api/whoami")
    assert answer.get_json()["data"]["type"] == "guest"
    assert {name: cookie.is_deletion for name, cookie in set_cookies(answer).items()} == {USER: True}
    assert backend.calls() == {"GET whoami": 1}


# B7.7: the layer knows by itself that the token has expired
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"mode": "html"}, {"mode": "truncated"}])
def test_an_expired_token_in_an_outage_is_503(
    fault: dict[str, Any], start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    browser = logged_in(make_app(backend, guest_enabled=True, **ROUTES), backend)
    backend.fault("auth/refresh", **fault)
    answer = browser.fetch("/api/whoami")
    assert_problem(answer, 503, "backend_unavailable")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"POST auth/refresh": 1}


# Corpus 7: a script gets JSON, a navigation the login page
def test_a_navigation_whose_session_ended_goes_to_the_login(ada: Browser, backend: ShopBackend) -> None:
    backend.fault("whoami", status=401, times=1)
    backend.fault("auth/refresh", status=401)
    answer = ada.visit("/api/whoami")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    assert set_cookies(answer)[USER].is_deletion


# B4: the cascade; a guest may make a proxied call
def test_a_guest_takes_over_where_a_session_ended(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = logged_in(make_app(backend, guest_enabled=True, **ROUTES), backend)
    backend.fault("whoami", status=401, times=1)
    backend.fault("auth/refresh", status=401)
    answer = browser.fetch("/api/whoami")
    assert answer.status_code == 200
    assert answer.get_json()["data"]["type"] == "guest"
    assert set_cookies(answer)[USER].is_deletion
    assert set_cookies(answer)[GUEST].attributes == KEPT
    assert backend.calls()["POST auth/guest"] == 1


# B4: the cascade
@pytest.mark.parametrize("settings", [{"guest_fallback": False}, {}])
def test_no_guest_takes_over_after_reuse_nor_where_it_is_off(
    settings: dict[str, Any], backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = logged_in(make_app(backend, guest_enabled=True, **settings, **ROUTES), backend)
    backend.fault("whoami", status=401, times=1)
    backend.fault("auth/refresh", status=401 if settings else 409)
    answer = browser.fetch("/api/whoami")
    assert_problem(answer, 401, "session_expired")
    assert set_cookies(answer)[USER].is_deletion
    assert GUEST not in set_cookies(answer)
    assert "POST auth/guest" not in backend.calls()


# B6.1 within one process
def test_parallel_401s_share_one_refresh(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend()
    browser = logged_in(make_app(backend, refresh_leeway=3600, **ROUTES), backend)
    cookies, answers = browser.cookies, []

    def fetch() -> None:
        answers.append(Browser(browser.client.application, cookies=cookies).fetch("/api/whoami").status_code)

    threads = [threading.Thread(target=fetch) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    assert backend.calls() == {"GET whoami": 20, "POST auth/refresh": 1}
    assert backend.reuse_events() == 0


# B7.8
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_502_and_keeps_the_cookies(
    method: str, ada: Browser, make_app: MakeApp
) -> None:
    with DeadPort() as url:
        browser = ada.on(make_app(f"{url}/v1", **ROUTES))
        answer = browser.fetch("/api/echo", method=method)
    assert_problem(answer, 502, "bad_gateway")
    assert set_cookies(answer) == {}
    assert "127.0.0.1" not in answer.text
    assert url.rpartition(":")[2] not in answer.text


# B7.8: HTML for a navigation, never a redirect
def test_a_navigation_sees_a_page_when_the_upstream_is_gone(ada: Browser, make_app: MakeApp) -> None:
    with DeadPort() as url:
        answer = ada.on(make_app(f"{url}/v1", **ROUTES)).visit("/api/echo")
    assert (answer.status_code, answer.mimetype) == (502, "text/html")
    assert "Location" not in answer.headers


# B7.8
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_silent_upstream_is_504_and_is_not_asked_again(
    method: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = logged_in(make_app(backend, read_timeout=0.3, total_timeout=0.3, **ROUTES), backend)
    backend.fault("echo", mode="hang")
    answer = browser.fetch("/api/echo", method=method)
    assert_problem(answer, 504, "backend_timeout")
    assert set_cookies(answer) == {}
    assert backend.calls() == {f"{method} echo": 1}


# Corpus 7: the deadline holds over all bytes of a head
def test_a_head_that_trickles_in_is_504(make_app: MakeApp) -> None:
    def slowly(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        pause = threading.Event()
        while not pause.wait(0.05):
            peer.send(b"x")

    with RawServer(slowly) as upstream:
        app = make_app(
            f"{upstream.url}/v1", read_timeout=0.3, total_timeout=0.5, proxy_public=["**"], **ROUTES
        )
        answer = call(app, "/api/echo")
    assert (answer.status, answer.json()["code"]) == (504, "backend_timeout")


# B7.8, corpus 7
@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\x01garbage secret-of-the-backend\r\n\r\n",
        b"<html>secret-of-the-backend</html>",
        b"HTTP/1.1 999 secret-of-the-backend\r\n\r\n",
        b"HTTP/1.1 20 secret-of-the-backend\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: secret-of-the-backend\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: secret-of-the-backend\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nsecret-of-the-backend",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nsecret-of-the-backend",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nsecret-of-the-backend",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: secret-of-the-backend\r\n" * 120 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"secret-of-the-backend" * 3500 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nsecret-of-the-backend",
        b"",
    ],
)
def test_a_broken_upstream_is_502_without_its_words(noise: bytes, ada: Browser, make_app: MakeApp) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(noise)

    with RawServer(script) as upstream:
        answer = ada.on(make_app(f"{upstream.url}/v1", **ROUTES)).fetch("/api/echo")
    assert_problem(answer, 502, "bad_gateway")
    assert "secret-of-the-backend" not in answer.text + str(answer.headers)
    assert set_cookies(answer) == {}


# Corpus 7, B4.7: what the backend says of itself is passed on, and judges no session
def test_a_5xx_of_the_backend_keeps_the_cookies(ada: Browser, backend: ShopBackend) -> None:
    backend.fault("whoami", status=503, retry_after=7)
    answer = ada.fetch("/api/whoami")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"GET whoami": 1}


# B7.8
@pytest.mark.parametrize("headers", [{}, NAVIGATION, {"Sec-Fetch-Mode": "websocket"}])
def test_a_websocket_is_501_and_asks_nobody(
    headers: dict[str, str], ada: Browser, backend: ShopBackend
) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer = ada.client.get("/api/echo", headers=headers | upgrade, base_url="https://localhost")
    assert answer.status_code == 501
    if headers != NAVIGATION:
        assert assert_problem(answer, 501, "websocket_unsupported")["detail"]
    assert set_cookies(answer) == {}
    assert backend.calls() == {}


# B3.5
@pytest.mark.parametrize("value", ["", "garbage", "null", "a.b.c", "x" * 3000, '"a\\012b"'])
def test_a_broken_cookie_is_no_cookie_and_is_sent_nowhere(
    value: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, **ROUTES)
    answer = call(app, "/api/whoami", headers=[("Cookie", f"{USER}={value}; {GUEST}={value}")])
    assert (answer.status, answer.json()["code"]) == (401, "login_required")
    assert backend.calls() == {}


# B4.1: the cookies cannot change places
def test_a_guest_cookie_under_the_users_name_is_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True, **ROUTES)
    guest = Browser(app)
    guest.fetch("/api/whoami")
    moved = Browser(make_app(backend, **ROUTES), cookies={USER: guest.cookies[GUEST]})
    assert_problem(moved.fetch("/api/whoami"), 401, "login_required")
