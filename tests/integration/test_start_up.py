"""What an app is told when it starts, about rate limits, the audit log and the rest of the guard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ApiLayer, ConfigError, login_required, public, rate_limit

from .visitors import MakeApp, layered, plain

NEVER = "http://127.0.0.1:9/v1"
WRONG: dict[str, tuple[Any, ...]] = {
    "RATE_LIMIT": (
        "often",
        "5",
        "0/minute",
        "-5/minute",
        "5/fortnight",
        "",
        5,
        True,
        ["5/minute"],
        "5/minute;x",
    ),
    "LOGIN_RATE_LIMIT": ("often", "0/minute", 10, False),
    "GUEST_MINT_LIMIT": ("often", "0/day", {}),
    "RATE_LIMIT_EXEMPT": ("/health", [5], "health", {"/health": True}),
    "BLOCK_BROWSER_API": ("False", "true", 1, None),
    "AUDIT_EVENTS": ("auth:login", ["auth:nothing"], [7], "*"),
    "AUDIT_LOGGER": (7, None),
}


# DESIGN 5
@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(make_app: MakeApp, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"API_LAYER_{key}"):
        make_app(NEVER, **{key.lower(): value})


# DESIGN 5
def test_all_that_is_wrong_is_told_at_once(make_app: MakeApp) -> None:
    with pytest.raises(ConfigError) as raised:
        make_app(NEVER, **{key.lower(): values[0] for key, values in WRONG.items()})
    assert [key for key in WRONG if f"API_LAYER_{key}" not in str(raised.value)] == []
    assert len(raised.value.problems) == len(WRONG)


# DESIGN 5
def test_the_environment_can_set_limits_and_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "RATE_LIMIT": "2/day",
        "LOGIN_RATE_LIMIT": None,
        "RATE_LIMIT_EXEMPT": ["/health"],
        "AUDIT_EVENTS": ["rateLimit:exceeded"],
        "AUDIT_LOGGER": "shop.audit",
        "BLOCK_BROWSER_API": True,
        "STORE_URL": "memory://",
        "BACKEND_URL": NEVER,
    }
    for key, value in settings.items():
        monkeypatch.setenv(f"FLASK_API_LAYER_{key}", value if isinstance(value, str) else json.dumps(value))
    monkeypatch.setenv("FLASK_SECRET_KEY", "a key for tests, long enough")
    app = Flask("shop")
    app.config.from_prefixed_env()
    layer = ApiLayer(app)
    app.register_blueprint(layer.blueprint)
    app.add_url_rule("/health", view_func=lambda: "well", endpoint="health")
    browser = plain(app)
    assert [browser.fetch("/health").status_code for _ in range(4)] == [200] * 4
    assert [browser.visit("/api/auth/me").status_code for _ in range(3)] == [302, 302, 429]
    app.extensions["api_layer"].close()


# DESIGN 5
def test_text_of_the_environment_in_place_of_a_list_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SECRET_KEY", "a key for tests, long enough")
    monkeypatch.setenv("FLASK_API_LAYER_BACKEND_URL", NEVER)
    monkeypatch.setenv("FLASK_API_LAYER_RATE_LIMIT_EXEMPT", "/health")
    app = Flask("shop")
    app.config.from_prefixed_env()
    with pytest.raises(ConfigError, match=r"\[\"/health\"\]"):
        ApiLayer(app)


# DESIGN 5, B14.1
@pytest.mark.parametrize("sink", ["stdout", 7, object()], ids=repr)
def test_a_sink_must_be_a_function(sink: Any) -> None:
    with pytest.raises(ConfigError, match="audit_sink"), layered(NEVER, audit_sink=sink):
        pass


# B10.2, B6.7
def test_an_app_starts_while_its_redis_is_down(tmp_path: Path, make_app: MakeApp) -> None:
    app = make_app(NEVER, rate_limit="2/day", store_url=f"unix://{tmp_path / 'redis.sock'}")
    browser = plain(app)
    assert [browser.fetch("/api/auth/me").status_code for _ in range(3)] == [401, 401, 429]


# DESIGN 5
@pytest.mark.parametrize("url", ["redis://localhost:port", "redis://:secret-word@localhost:99999"])
def test_a_redis_url_that_cannot_be_is_told_without_its_password(make_app: MakeApp, url: str) -> None:
    with pytest.raises((ConfigError, ValueError)) as raised:
        make_app(NEVER, rate_limit="2/day", store_url=url)
    assert "secret-word" not in str(raised.value)


# B4.2
def test_marks_that_contradict_each_other_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="public"):
        public(login_required(rate_limit("5/minute")(lambda: "page")))


# B14.1
def test_the_audit_logger_is_left_to_the_app(make_app: MakeApp) -> None:
    logger = logging.getLogger("shop.start.audit")
    logger.setLevel(logging.WARNING)
    make_app(NEVER, audit_logger=logger.name)
    assert (logger.level, logger.handlers, logger.propagate) == (logging.WARNING, [], True)
    logger.setLevel(logging.NOTSET)
