"""What an app is told when it starts with settings that work and are unsafe."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ApiLayer


def said(caplog: pytest.LogCaptureFixture, *, debug: bool = False, **settings: Any) -> str:
    """The warnings of an app with these settings."""
    app = Flask("shop")
    app.debug = debug
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    chosen: dict[str, Any] = {
        "backend_url": "https://api.example.com/v1",
        "store_url": "memory://",
    } | settings
    with caplog.at_level(logging.WARNING, "flask_api_layer"):
        ApiLayer(app, **chosen)
        app.extensions["api_layer"].close()
    return caplog.text


UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"cookie_secure": False}, "API_LAYER_COOKIE_SECURE"),
    ({"csrf": "off"}, "API_LAYER_CSRF"),
    ({"login_rate_limit": None}, "API_LAYER_LOGIN_RATE_LIMIT"),
    ({"backend_url": "http://api.example.com"}, "API_LAYER_BACKEND_URL"),
    ({"backend_url": "http://8.8.8.8:8000"}, "API_LAYER_BACKEND_URL"),
    (
        {"validate": "local", "jwt_algorithms": ["HS256"], "jwt_key": "a secret for tests, long enough"},
        "API_LAYER_JWT_AUDIENCE",
    ),
]


@pytest.mark.parametrize(("settings", "key"), UNSAFE)
def test_an_unsafe_setting_is_named(
    settings: dict[str, Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert key in said(caplog, **settings)


@pytest.mark.parametrize(("settings", "key"), UNSAFE)
def test_debug_mode_may_be_unsafe(
    settings: dict[str, Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(caplog, debug=True, **settings) == ""


@pytest.mark.parametrize(
    "url", ["http://backend:8000", "http://127.0.0.1:5000", "http://10.1.2.3", "http://api.shop.internal"]
)
def test_plain_http_on_a_network_of_ones_own_is_fine(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, backend_url=url) == ""


def test_the_defaults_are_safe(caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog) == ""


def test_a_memory_store_under_several_workers_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert "API_LAYER_STORE_URL" in said(caplog, debug=True)
