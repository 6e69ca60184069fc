"""Apps for gunicorn and granian that answer ``GET /api/files/...``: this project's proxy, and what people write by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import requests
from flask import Flask, Response, request

from flask_api_layer import ApiLayer
from tests.races.fleet import SECRET_KEY

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
# What the copied view leaves out: `requests` has decoded the body, the server frames it anew.
EXCLUDED = ("content-encoding", "content-length", "transfer-encoding", "connection")


def json_of(size: int) -> bytes:
    """A JSON object of exactly so many bytes."""
    frame = b'{"text": "%s"}'
    return frame % (b"x" * (size - len(frame) + 2))


BODIES = {"1kb.json": json_of(1024), "100kb.json": json_of(100 * 1024)}


def layer() -> Flask:
    """This project's proxy."""
    app = _app("layer")
    app.config["API_LAYER_BACKEND_URL"] = app.config["UPSTREAM"]
    routes = {"files/*": ["GET"], "events": ["GET"], "sink": ["PUT"]}
    layer = ApiLayer(app, store_url="memory://", proxy_routes=routes)
    app.register_blueprint(layer.blueprint)
    app.add_url_rule("/other", view_func=other)
    return app


def hello() -> Flask:
    """The same answers from memory: no proxy can be faster on this server."""
    app = _app("hello")
    app.add_url_rule("/api/files/<name>", view_func=file_in_memory)
    return app


def snippet() -> Flask:
    """The view that people copy: ``requests.request()`` for every call, so a new connection each."""
    return _copied("snippet", requests.request)


def snippet_with_session() -> Flask:
    """The same view with one ``requests.Session`` for everybody."""
    # The one thing that changes; it mixes the cookies of all users, as it does in the wild.
    return _copied("session", requests.Session().request)


def other() -> str:
    return "here"


def file_in_memory(name: str) -> Response:
    return Response(BODIES[name], mimetype="application/json")


def _app(name: str) -> Flask:
    app = Flask(name)
    app.config.from_prefixed_env()
    app.config["SECRET_KEY"] = SECRET_KEY
    return app


def _copied(name: str, send: Callable[..., requests.Response]) -> Flask:
    app = _app(name)

    def proxy(path: str) -> Response:
        answer = send(
            method=request.method,
            url=f"{app.config['UPSTREAM']}/{path}",
            headers=_without(request.headers, ("host",)),
            data=request.get_data(),
            cookies=request.cookies,
            allow_redirects=False,
        )
        return Response(answer.content, answer.status_code, _without(answer.headers.items(), EXCLUDED))

    app.add_url_rule("/api/<path:path>", view_func=proxy, methods=METHODS)
    return app


def _without(headers: Iterable[tuple[str, str]], names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in names}
