"""``next``: what is accepted leads to this site in every browser, and never back to the login or into the API."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

from flask import Flask

from flask_api_layer import ApiLayer
from flask_api_layer.app_state import EXTENSION, AppState
from flask_api_layer.sansio.paths import local_target

from ..browsers import Place, follow
from ..feed import Feed

HERE = Place("https", "shop.example", "443", "/account/login")
_URL = "https://shop.example/account/login"


def _state() -> AppState:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="not a secret, only long enough",
        API_LAYER_BACKEND_URL="https://api.example/v1",
        API_LAYER_LOGIN_URL="/sign-in",
        API_LAYER_STORE_URL="memory://",
    )
    app.register_blueprint(ApiLayer(app).blueprint)
    state: AppState = app.extensions[EXTENSION]
    return state


STATE = _state()


def check(data: bytes) -> None:
    feed = Feed(data)
    root, value = feed.choose(("", "/shop", "/sh%C3%B6p")), feed.text()
    target = local_target(value)
    chosen = STATE.safe_next(value, root=root)
    if target is None:
        assert chosen is None
        return
    assert target == value, "it is carried as it came"
    _check_is_local(target)
    if chosen is not None:
        _check_is_harmless(follow(chosen, HERE).path, unquote(root))


def _check_is_local(target: str) -> None:
    place = urlsplit(urljoin(_URL, target))
    assert (place.scheme, place.netloc) == ("https", "shop.example"), "elsewhere by urllib"
    browsed = follow(target, HERE)
    assert browsed.origin == HERE.origin, "elsewhere in a browser"
    assert browsed.path == target.partition("#")[0].partition("?")[0], "a browser repairs it"
    # As a Location header it is one line of visible characters.
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


def _check_is_harmless(path: str, root: str) -> None:
    """Decoded once, as the router sees it."""
    inner = unquote(path).removeprefix(root)
    assert inner.rstrip("/") != "/sign-in", "back to the login"
    assert inner != "/api"
    assert not inner.startswith("/api/"), "into the API"
    assert inner.rstrip("/").rpartition("/")[2] not in ("login", "logout", "register"), "NEXT_DENY"
