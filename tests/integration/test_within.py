"""Questions from within a question: subscribers and filters that want to know who is asking while that is being found out."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Blueprint, Flask, copy_current_request_context, stream_with_context

from flask_api_layer import api, current_user, guest_allowed, login_required, signals
from flask_api_layer.state import request_state
from tests.processes import ShopBackend

from .visitors import GUEST, Browser, MakeApp, StartBackend, assert_problem, heard, layered


@contextmanager
def curious(app: Flask, signal: NamedSignal) -> Iterator[list[str]]:
    """What ``current_user`` is to a subscriber of this signal."""
    kinds: list[str] = []

    def ask(_: object, **__: object) -> None:
        kinds.append(current_user.kind)

    with signal.connected_to(ask, app):
        yield kinds


def add_pages(app: Flask) -> Flask:
    app.add_url_rule("/account", "account", login_required(lambda: str(current_user.kind)))
    app.add_url_rule("/cart", "cart", guest_allowed(lambda: str(current_user.kind)))
    app.add_url_rule("/", "home", lambda: str(current_user.kind))
    return app


def answered(browser: Browser, path: str) -> str:
    """The page, which must come at all: a thread that waits for itself waits for ever."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(browser.visit(path).text), daemon=True)
    thread.start()
    thread.join(20)
    assert answers, "no answer"
    return answers[0]


# B14: audit and metrics subscribe, and may ask who it is
def test_a_subscriber_may_ask_while_the_backend_is_down(backend: ShopBackend, make_app: MakeApp) -> None:
    app = add_pages(make_app(backend, validate_ttl=0, stale_ttl=0))
    browser = Browser(app)
    browser.log_in()
    backend.fault("auth/me", mode="status", status=503)
    with curious(app, signals.backend_unavailable) as kinds:
        assert answered(browser, "/") == "anonymous"
    assert kinds == ["anonymous"]


# B6.1
@pytest.mark.parametrize("signal", [signals.token_refreshed, signals.refresh_failed])
def test_a_subscriber_may_ask_during_a_refresh(
    signal: NamedSignal, start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6)
    app = add_pages(make_app(backend))
    browser = Browser(app)
    browser.log_in()
    if signal is signals.refresh_failed:
        backend.fault("auth/refresh", mode="status", status=503)
    with curious(app, signal) as kinds:
        answered(browser, "/")
    assert kinds
    assert backend.calls("POST auth/refresh") == 1


# B5.1: one guest for one visitor
def test_a_subscriber_that_asks_who_the_new_guest_is_makes_no_other(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = add_pages(make_app(backend, guest_enabled=True))
    with curious(app, signals.guest_minted) as kinds:
        assert answered(Browser(app), "/cart") == "guest"
    assert (len(kinds), backend.calls("POST auth/guest")) == (1, 1)


class Asking(logging.Filter):
    """Puts the user into every log line, as many apps do."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.user = current_user.id
        return True


def test_a_logging_filter_may_ask(backend: ShopBackend, make_app: MakeApp) -> None:
    app = add_pages(make_app(backend, guest_enabled=True))
    backend.fault("auth/guest", mode="status", status=500)
    handler = logging.NullHandler()
    handler.addFilter(Asking())
    handler.handle = handler.filter  # type: ignore[method-assign]
    logger = logging.getLogger("flask_api_layer")
    logger.addHandler(handler)
    try:
        assert answered(Browser(app), "/cart") == "anonymous"
    finally:
        logger.removeHandler(handler)
    assert backend.calls("POST auth/guest") == 1


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


# B4.9
@pytest.mark.usefixtures("eager_threads")
def test_threads_with_a_copied_context_make_one_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)

    @app.get("/many")
    def many() -> str:
        start = threading.Barrier(6)

        def ask() -> None:
            start.wait()
            api.get("whoami")

        threads = [threading.Thread(target=copy_current_request_context(ask)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return str(current_user.kind)

    for guests in range(1, 11):
        browser = Browser(app)
        assert browser.visit("/many").text == "guest"
        assert backend.calls("POST auth/guest") == guests
        assert set(browser.cookies) == {GUEST}


class Meeting(dict[str, Any]):
    """An environ in which two threads meet when they look for the cookies."""

    def get(self, key: str, default: Any = None) -> Any:
        if key == "HTTP_COOKIE":
            self["meeting"].wait(10)
        return super().get(key, default)


# B4.9, B8: a form's token and the cookie that it is checked against come from one place
@pytest.mark.parametrize("part", ["csrf", "resolver"])
def test_threads_that_come_at_once_share_the_parts_of_a_request(
    part: str, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)
    parts: list[object] = []
    with app.test_request_context() as context:
        state = request_state()
        context.request.environ = Meeting(context.request.environ, meeting=threading.Barrier(2))
        threads = [threading.Thread(target=lambda: parts.append(getattr(state, part))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(parts) == 2
    assert parts[0] is parts[1]


def test_a_generator_that_outlives_its_request_is_told_what_to_do(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)
    said: list[str] = []

    @app.get("/late")
    def late() -> Iterator[str]:
        client = api._get_current_object()  # type: ignore[attr-defined]

        def lines() -> Iterator[str]:
            try:
                client.get("whoami")
            except RuntimeError as error:
                said.append(str(error))
            yield "done"

        return lines()

    @app.get("/kept")
    def kept() -> Iterator[str]:
        return stream_with_context(str(current_user.kind) for _ in range(1))

    # The test client would keep the request alive.
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/late", "SERVER_NAME": "x", "SERVER_PORT": "80"}
    environ |= {"wsgi.url_scheme": "https", "REMOTE_ADDR": "192.0.2.1"}
    body = app.wsgi_app(dict(environ), lambda *_: lambda _: None)
    assert b"".join(body) == b"done"
    assert "stream_with_context" in said[0]
    assert Browser(app).visit("/kept").text == "anonymous"


# B6.4, B8.4: the id of a session that was logged out is nobody's, whoever brings it along
def test_a_new_guest_does_not_take_over_a_buried_id(backend: ShopBackend, make_app: MakeApp) -> None:
    app = add_pages(make_app(backend, guest_enabled=True))
    browser = Browser(app)
    browser.visit("/cart")
    browser.fetch("/api/auth/csrf")
    kept = browser.client.get_cookie("__Host-api-csrf")
    assert kept is not None
    assert browser.post("/api/auth/logout").status_code == 204
    browser.client.set_cookie("__Host-api-csrf", kept.value, domain="localhost", secure=True)
    assert browser.visit("/cart").text == "guest"
    assert browser.fetch("/api/auth/me").get_json()["data"]["kind"] == "guest"


# DESIGN: a blueprint may be protected at any time
def test_a_blueprint_that_is_protected_late_is_protected(backend: ShopBackend) -> None:
    blueprint = Blueprint("shop", __name__)
    blueprint.add_url_rule("/stock", "stock", lambda: "stock")
    with layered(backend) as (app, layer):
        app.register_blueprint(blueprint)
        assert Browser(app).fetch("/stock").status_code == 200
        layer.protect(blueprint)
        assert_problem(Browser(app).fetch("/stock"), 401, "login_required")


def test_no_subscriber_is_told_of_an_identity_that_is_not_known_yet(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = add_pages(make_app(backend, guest_enabled=True))
    with heard(signals.identity_resolved, app) as told, curious(app, signals.guest_minted):
        Browser(app).visit("/cart")
    assert [values["identity"].kind for values in told] == ["guest"]
