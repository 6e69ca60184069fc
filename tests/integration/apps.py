"""Apps for real servers, configured by the environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from flask import Flask, Response, request

from flask_api_layer import ApiLayer
from tests.processes import Server, until_ready


def create_app() -> Flask:
    """A storefront with a view of its own beside the proxy."""
    app = Flask("shop")
    app.config.from_prefixed_env()
    layer = ApiLayer(app)
    app.register_blueprint(layer.blueprint)

    @app.post("/upload")
    def upload() -> Response:
        return Response(str(len(request.get_data())))

    return app


@contextmanager
def serve(backend_url: str, *, max_content_length: int | None = None, **settings: object) -> Iterator[Server]:
    """gunicorn with :func:`create_app`; keyword arguments are API_LAYER_ keys in lower case."""
    environ = {
        "FLASK_SECRET_KEY": "a key for tests, long enough",
        "FLASK_API_LAYER_BACKEND_URL": backend_url,
        "FLASK_API_LAYER_STORE_URL": "memory://",
        **{f"FLASK_API_LAYER_{key.upper()}": json.dumps(value) for key, value in settings.items()},
    }
    if max_content_length is not None:
        environ["FLASK_MAX_CONTENT_LENGTH"] = str(max_content_length)
    server = Server("tests.integration.apps:create_app()", environ=environ)
    try:
        server.start()
        with requests.Session() as http:
            http.trust_env = False
            until_ready(http, f"{server.url}/nothing")
        yield server
    finally:
        server.close()
