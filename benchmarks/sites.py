"""The site that is measured: a gated page in gunicorn workers, and users who visit it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from flask import Flask, g

from flask_api_layer import ApiLayer, current_user, login_required
from flask_api_layer.signals import token_refreshed
from tests.processes import Server
from tests.races.fleet import SECRET_KEY, frozen
from tests.races.lines import Line, until

OPEN, GATED = "/", "/account"


def create_app() -> Flask:
    """An app for gunicorn with an open page and a gated one, configured by the environment."""
    app = Flask("benchmarks")
    app.config.from_prefixed_env()
    ApiLayer(app)
    app.add_url_rule(OPEN, view_func=home)
    app.add_url_rule(GATED, view_func=account)
    token_refreshed.connect(_note_refresh, app)
    return app


def home() -> str:
    return "here"


@login_required
def account() -> dict[str, object]:
    """Who is here, and whether this very request made the refresh."""
    return {"id": current_user.id, "refreshed": "refreshed" in g}


def _note_refresh(app: Flask, **_: object) -> None:
    g.refreshed = True


class Site:
    """:func:`create_app` in worker processes that share a port, a store and nothing else; close it."""

    def __init__(self, backend_url: str, store_url: str, *, workers: int, threads: int) -> None:
        settings = {"BACKEND_URL": backend_url, "STORE_URL": store_url}
        environ = {f"FLASK_API_LAYER_{key}": json.dumps(value) for key, value in settings.items()}
        self._size = workers
        self._server = Server(
            "benchmarks.sites:create_app()",
            environ={**environ, "FLASK_SECRET_KEY": SECRET_KEY, "GUNICORN_CMD_ARGS": "--keep-alive 60"},
            workers=workers,
            threads=threads,
        )
        self._server.start()

    def close(self) -> None:
        self._server.close()

    @contextmanager
    def lines(self, count: int) -> Iterator[list[Line]]:
        """So many connections, spread evenly over the workers."""
        until(lambda: len(self._server.worker_ids) == self._size)
        workers = self._server.worker_ids
        with ExitStack() as stack:
            lines = [stack.enter_context(Line(self._server.url)) for _ in range(count)]
            for position, worker in enumerate(workers):
                with ExitStack() as others:
                    # Left alone, one worker would accept most of them.
                    for other in set(workers) - {worker}:
                        others.enter_context(frozen(other))
                    for line in lines[position :: len(workers)]:
                        assert line.get(OPEN).status == 200
            yield lines


@contextmanager
def registry(backend_url: str) -> Iterator[Flask]:
    """An app in this process, where users of the site register."""
    app = Flask("registry")
    app.config.update(
        SECRET_KEY=SECRET_KEY, API_LAYER_BACKEND_URL=backend_url, API_LAYER_STORE_URL="memory://"
    )
    layer = ApiLayer(app)
    app.register_blueprint(layer.blueprint)
    try:
        yield app
    finally:
        app.extensions["api_layer"].transport.close()
