"""Fixtures for whole requests: real backend processes, and Flask apps in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ApiLayer

from .processes import ShopBackend

pytest_plugins = ["tests.leaks"]

StartBackend = Callable[..., ShopBackend]


@pytest.fixture(scope="session")
def _backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBackend]:
    running: dict[tuple[tuple[str, object], ...], ShopBackend] = {}

    def start(**settings: object) -> ShopBackend:
        key = tuple(sorted(settings.items()))
        if key not in running:
            running[key] = ShopBackend(tmp_path_factory.mktemp("backend"), settings)
        return running[key]

    yield start
    for backend in running.values():
        backend.close()


@pytest.fixture
def start_backend(_backends: StartBackend) -> StartBackend:
    """A backend process with these settings, counters at zero; processes are shared by tests that ask for the same settings."""

    def start(**settings: object) -> ShopBackend:
        backend = _backends(**settings)
        backend.reset()
        return backend

    return start


@pytest.fixture
def backend(start_backend: StartBackend) -> ShopBackend:
    """The example backend with its default settings."""
    return start_backend()


@pytest.fixture
def make_app() -> Iterator[Callable[..., Flask]]:
    """A Flask app with the layer, its blueprint registered; keyword arguments are API_LAYER_ keys in lower case."""
    layers: list[Flask] = []

    def make(backend: ShopBackend | str, **settings: Any) -> Flask:
        app = Flask("shop")
        app.config["SECRET_KEY"] = "a key for tests, long enough"
        for key, value in settings.items():
            app.config[f"API_LAYER_{key.upper()}"] = value
        app.config.setdefault("API_LAYER_STORE_URL", "memory://")
        url = backend if isinstance(backend, str) else backend.base_url
        app.config.setdefault("API_LAYER_BACKEND_URL", url)
        layer = ApiLayer(app)
        app.register_blueprint(layer.blueprint)
        layers.append(app)
        return app

    yield make
    for app in layers:
        app.extensions["api_layer"].close()
