"""Identity within a body that is already on its way: it may be read, and nothing may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, stream_with_context

from flask_api_layer import api, current_user, guest_allowed, login_required
from tests.processes import ShopBackend

from .visitors import (
    USER,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    grant,
    record,
    set_cookies,
)

EXPIRED = {"ACCESS_TTL": 1e-6}
RECORD = {"id": "usr_ada", "type": "user", "roles": ["user"]}


def who() -> str:
    return f"{current_user.kind} {current_user.degraded}"


def streamed(app: Flask, piece: Callable[[], str], *, gate: Any = None, rule: str = "/stream") -> None:
    """A page that has begun before the piece is made."""

    def view() -> Response:
        def pieces() -> Iterator[str]:
            yield "begun "
            yield piece()

        return Response(stream_with_context(pieces()), mimetype="text/plain")

    app.add_url_rule(rule, endpoint=rule, view_func=gate(view) if gate else view)


def visitor(app: Flask, backend: ShopBackend) -> Browser:
    browser = Browser(app)
    browser.log_in()
    backend.reset()
    return browser


# B4.8
def test_a_living_token_is_known_in_a_stream(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    streamed(app, who)
    answer = visitor(app, backend).fetch("/stream")
    assert answer.text == "begun user False"
    assert set_cookies(answer) == {}
    assert set(backend.calls()) <= {"GET auth/me"}


# B4.8
def test_an_expired_token_is_nobody_in_a_stream(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend(**EXPIRED)
    app = make_app(backend)
    streamed(app, who)
    answer = visitor(app, backend).fetch("/stream")
    assert answer.text == "begun anonymous True"
    assert set_cookies(answer) == {}
    assert backend.calls("POST auth/refresh") == 0


# B4.8
def test_an_expired_guest_is_nobody_in_a_stream_and_is_not_replaced(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(GUEST_TTL=1e-6)
    app = make_app(backend, guest_enabled=True)
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: "cart"), endpoint="cart")
    streamed(app, who)
    browser = Browser(app)
    browser.fetch("/cart")
    backend.reset()
    answer = browser.fetch("/stream")
    assert answer.text == "begun anonymous True"
    assert set_cookies(answer) == {}
    assert backend.calls("POST auth/refresh") == backend.calls("POST auth/guest") == 0


# B4.8
def test_a_stream_mints_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    streamed(app, lambda: f"{who()} {api.get('whoami').status_code}")
    answer = Browser(app).fetch("/stream")
    assert answer.text == "begun anonymous False 401"
    assert set_cookies(answer) == {}
    assert backend.calls() == {}


# B4.8
def test_a_401_in_a_stream_refreshes_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    streamed(app, lambda: str(api.get("whoami").status_code))
    browser = visitor(app, backend)
    backend.fault("whoami", status=401)
    answer = browser.fetch("/stream")
    assert answer.text == "begun 401"
    assert set_cookies(answer) == {}
    assert backend.calls("POST auth/refresh") == 0
    assert backend.calls("GET whoami") == 1


# B4.8: whoever was let in before the answer began stays in
def test_an_identity_that_was_resolved_before_stays_in_the_stream(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(**EXPIRED)
    app = make_app(backend)
    streamed(app, lambda: f"{who()} {current_user.id}", gate=login_required)
    answer = visitor(app, backend).fetch("/stream")
    assert answer.text == "begun user False usr_ada"
    assert set(set_cookies(answer)) == {USER}
    assert_private(answer)
    assert backend.calls("POST auth/refresh") == 1


# B4.8, B6.2: a successor whose cookie never arrived is found, and costs no call
def test_the_successor_of_a_lost_cookie_is_found_in_a_stream(make_app: MakeApp) -> None:
    answers: Any = {
        "POST auth/login": grant("old", refreshToken="r1", expiresIn=1e-6, user=RECORD),
        "POST auth/refresh": grant("new", refreshToken="r2", expiresIn=3600),
        "GET auth/me": record(**RECORD),
    }
    with StubBackend(answers) as stub:
        app = make_app(stub.url)
        app.add_url_rule("/plain", endpoint="plain", view_func=who)
        streamed(app, who)
        browser = Browser(app)
        browser.log_in()
        old = browser.cookies
        assert browser.fetch("/plain").text == "user False"
        late = Browser(app, cookies=old).fetch("/stream")
        assert stub.endpoints.count("POST auth/refresh") == 1
    assert late.text == "begun user False"
    assert set_cookies(late) == {}


# B4.8, B6.2
def test_the_successor_of_a_lost_cookie_is_delivered_with_the_next_page(make_app: MakeApp) -> None:
    answers: Any = {
        "POST auth/login": grant("old", refreshToken="r1", expiresIn=1e-6, user=RECORD),
        "POST auth/refresh": grant("new", refreshToken="r2", expiresIn=3600),
        "GET auth/me": record(**RECORD),
    }
    with StubBackend(answers) as stub:
        app = make_app(stub.url)
        app.add_url_rule("/plain", endpoint="plain", view_func=who)
        browser = Browser(app)
        browser.log_in()
        old = browser.cookies
        browser.fetch("/plain")
        late = Browser(app, cookies=old).fetch("/plain")
        assert stub.endpoints.count("POST auth/refresh") == 1
    assert late.text == "user False"
    assert USER in set_cookies(late)


# B4.8, B4.7
@pytest.mark.parametrize("fault", [{"status": 503}, {"mode": "truncated"}])
def test_an_outage_in_a_stream_breaks_no_stream(
    fault: dict[str, Any], backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, validate_ttl=0, stale_ttl=0)
    streamed(app, who)
    browser = visitor(app, backend)
    backend.fault("auth/me", **fault)
    answer = browser.fetch("/stream")
    assert (answer.status_code, answer.text) == (200, "begun anonymous True")
    assert set_cookies(answer) == {}


# B1.5: what is said of caching is out before the identity is read
def test_a_stream_that_asks_nobody_stays_public(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    streamed(app, lambda: "nobody")
    answer = visitor(app, backend).fetch("/stream")
    assert "Cache-Control" not in answer.headers
    assert backend.calls() == {}
