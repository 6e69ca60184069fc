"""Flask's own session beside the layer: as ever, and not opened for visitors who have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask, Request, request, session
from flask.sessions import SecureCookieSessionInterface
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer import ApiLayer
from flask_api_layer.flask_session import SparingSessions

from .visitors import FLASK_SESSION, Browser, layered

NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture
def app() -> Any:
    with layered(NOBODY) as (app, layer):
        app.register_blueprint(layer.blueprint)
        app.add_url_rule("/count", view_func=count)
        app.add_url_rule("/parsed", view_func=parsed)
        yield app


def count() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


def parsed() -> str:
    """Whether anybody has parsed the cookies."""
    return str("cookies" in vars(request._get_current_object()))  # type: ignore[attr-defined]


def test_a_session_lasts(app: Flask) -> None:
    browser = Browser(app)
    assert [browser.visit("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_a_session_lasts_under_another_name(app: Flask) -> None:
    app.config["SESSION_COOKIE_NAME"] = "shop"
    browser = Browser(app)
    assert [browser.visit("/count").text for _ in range(2)] == ["1", "2"]
    assert browser.client.get_cookie("shop", domain="localhost") is not None


def test_a_session_of_a_former_key_lasts(app: Flask) -> None:
    browser = Browser(app)
    browser.visit("/count")
    app.config["SECRET_KEY_FALLBACKS"] = [app.config["SECRET_KEY"]]
    app.config["SECRET_KEY"] = "another key for tests, long enough"
    assert browser.visit("/count").text == "2"


@pytest.mark.parametrize(
    ("cookies", "found"), [({}, "False"), ({"cart": "1"}, "False"), ({FLASK_SESSION: "x"}, "True")]
)
def test_cookies_are_parsed_only_for_a_visitor_with_a_session(
    cookies: Mapping[str, str], found: str, app: Flask
) -> None:
    browser = Browser(app)
    for name, value in cookies.items():
        browser.client.set_cookie(name, value, domain="localhost")
    assert browser.visit("/parsed").text == found


def test_a_session_that_nobody_touches_sets_no_cookie(app: Flask) -> None:
    assert "Set-Cookie" not in Browser(app).visit("/parsed").headers


@given(
    st.lists(
        st.sampled_from(("session", " session ", "=", ";", " ", '"', "\\", "a", "\xe9", "signed")), max_size=9
    )
)
def test_every_cookie_header_opens_what_flask_opens(words: list[str]) -> None:
    app = Flask("shop")
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    flask_own = SecureCookieSessionInterface()
    signer = flask_own.get_signing_serializer(app)
    assert signer is not None
    header = "".join(words).replace("signed", signer.dumps({"visits": 1}))
    made = Request({"HTTP_COOKIE": header})
    assert SparingSessions().open_session(app, made) == flask_own.open_session(app, made)


class Own(SecureCookieSessionInterface):
    """Sessions that the app chose."""


def test_sessions_that_the_app_has_chosen_stay() -> None:
    for chosen in (Own(), SecureCookieSessionInterface()):
        app = Flask("shop")
        app.config["SECRET_KEY"] = "a key for tests, long enough"
        app.session_interface = chosen
        ApiLayer(app, store_url="memory://", backend_url=NOBODY)
        assert app.session_interface is chosen


def test_a_default_that_was_changed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(Flask.session_interface), "salt", "another")
    with layered(NOBODY) as (app, _):
        assert app.session_interface is Flask.session_interface


def test_flask_itself_is_left_alone(app: Flask) -> None:
    assert app.session_interface is not Flask.session_interface
    assert type(Flask("another").session_interface) is SecureCookieSessionInterface
