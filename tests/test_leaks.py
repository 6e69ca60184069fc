"""The search for leaks finds them: in bodies, headers, log records and exceptions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, Response

from . import leaks
from .integration.visitors import Browser, StubBackend, grant, layered

TOKEN = "opaque-access-token"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"
WAYS: dict[str, tuple[Callable[[], Response], str]] = {
    "body": (lambda: Response(f"your token is {TOKEN}"), "the body of an answer"),
    "header": (lambda: Response(headers={"X-Token": f"Bearer {TOKEN}"}), "the headers of an answer"),
    "JWT": (lambda: Response(f"<p>{JWT}</p>"), "the body of an answer"),
    "log": (lambda: _logged(f"received {TOKEN}"), "a log record of flask_api_layer.tokens"),
    "exception": (lambda: _raised(), "a log record of shop"),
}


def _logged(text: str) -> Response:
    logging.getLogger("flask_api_layer.tokens").debug("said %s", text)
    return Response("ok")


def _raised() -> Response:
    try:
        raise LookupError(TOKEN)
    except LookupError as error:
        raise ValueError("no such thing") from error


@pytest.fixture
def watch() -> Iterator[leaks.Watch]:
    watch = leaks.Watch()
    with leaks.watching(watch):
        yield watch


def _visit(view: Callable[[], Response]) -> None:
    """A login, and then this page."""
    with StubBackend({"POST auth/login": grant(TOKEN)}) as stub, layered(stub.url) as (app, layer):
        app.register_blueprint(layer.blueprint)
        app.add_url_rule("/page", view_func=view, endpoint="page")
        browser = Browser(app)
        browser.log_in()
        browser.visit("/page")


@pytest.mark.leaks_on_purpose
@pytest.mark.parametrize("way", WAYS)
def test_a_planted_leak_is_found(watch: leaks.Watch, way: str) -> None:
    view, where = WAYS[way]
    _visit(view)
    assert set(watch.leaks) == {f"a token is in {where}"}
    assert TOKEN not in str(watch.leaks)


@pytest.mark.leaks_on_purpose
def test_the_password_is_a_secret_too(watch: leaks.Watch) -> None:
    _visit(lambda: Response(leaks.PASSWORD))
    assert watch.leaks == ["the password is in the body of an answer"]


def test_an_ordinary_visit_is_no_leak(watch: leaks.Watch) -> None:
    _visit(lambda: Response("the cart, eyJ and a.b.c"))
    assert watch.leaks == []


def test_an_app_without_the_layer_may_say_what_it_likes(watch: leaks.Watch) -> None:
    app = Flask("backend")
    app.add_url_rule("/", view_func=lambda: JWT, endpoint="token")
    assert app.test_client().get("/").text == JWT
    assert watch.leaks == []


def test_a_session_cookie_of_flask_is_no_jwt() -> None:
    assert not leaks.has_jwt("session=eyJfZmxhc2hlcyI6W119.aSNq1A.c2lnbmF0dXJl; HttpOnly")
    assert leaks.has_jwt(f"x={JWT}")


def test_a_test_in_which_something_leaked_fails(request: pytest.FixtureRequest) -> None:
    running = leaks.pytest_runtest_call(request.node)
    next(running)
    leaks.the_watch.look("a place", leaks.PASSWORD)
    with pytest.raises(pytest.fail.Exception, match="the password is in a place"):
        next(running)
    leaks.the_watch.clear()
