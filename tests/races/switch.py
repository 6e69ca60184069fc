"""The example backend in this process, with a switch for each of its moods."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from example_app.backend import create_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Switch:
    """A WSGI app: a backend whose new tokens live or have expired already, and which can be out of order."""

    def __init__(self, folder: Path) -> None:
        common = {"DATABASE": folder / "shop.sqlite3", "PASSWORD_METHOD": "pbkdf2:sha256:1"}
        self._living = create_app(common)
        self._expired = create_app({**common, "ACCESS_TTL": 1e-6})
        self.is_broken = False
        self.grants_expired_tokens = False
        self.exchanges: Counter[str] = Counter()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.is_broken:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []
        if environ["PATH_INFO"].endswith("/auth/refresh"):
            self._count(environ)
        app = self._expired if self.grants_expired_tokens else self._living
        return app(environ, start_response)

    @property
    def reuse_events(self) -> int:
        return sum(_reuse_events(app) for app in (self._living, self._expired))

    def _count(self, environ: WSGIEnvironment) -> None:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        self.exchanges[json.loads(body)["refreshToken"]] += 1


@contextmanager
def serve(switch: Switch) -> Iterator[str]:
    """The URL of the backend while the block runs."""
    server = make_server("127.0.0.1", 0, switch, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


def _reuse_events(app: Flask) -> int:
    return int(app.test_client().get("/debug/calls").get_json()["reuse_events"])
