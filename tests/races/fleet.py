"""gunicorn with several workers, and ways to meet one of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..processes import Server
from .lines import Line, until

SECRET_KEY = "a key for tests, long enough"  # the one of `make_app`


class Fleet:
    """:func:`.apps.create_app` in worker processes that share a port, a store and nothing else.

    :param preload: fork the workers from a process that has made the app already.
    :param settings: API_LAYER_ keys in lower case.
    """

    def __init__(
        self, backend_url: str, store_url: str, *, workers: int = 4, preload: bool = False, **settings: object
    ) -> None:
        chosen = {
            "backend_url": backend_url,
            "store_url": store_url,
            "guest_enabled": True,
            "proxy_routes": {"**": "*"},
            # Everybody here comes from one address.
            "login_rate_limit": None,
            **settings,
        }
        environ = {f"FLASK_API_LAYER_{key.upper()}": json.dumps(value) for key, value in chosen.items()}
        self._server = Server(
            "tests.races.apps:create_app()",
            environ={
                **environ,
                "FLASK_SECRET_KEY": SECRET_KEY,
                "GUNICORN_CMD_ARGS": "--keep-alive 60 --preload" if preload else "--keep-alive 60",
            },
            workers=workers,
        )
        self.url = self._server.url
        self._size = workers
        self._server.start()

    def close(self) -> None:
        self._server.close()

    @property
    def workers(self) -> list[int]:
        """The process ids, as soon as all workers are there."""
        until(lambda: len(self._server.worker_ids) == self._size)
        return self._server.worker_ids

    @contextmanager
    def line(self, worker: int) -> Iterator[Line]:
        """A connection to this worker."""
        with Line(self.url) as line:
            with self._only(worker):
                assert line.get("/worker").worker == worker
            yield line

    @contextmanager
    def lines(self, count: int) -> Iterator[list[Line]]:
        """So many connections, spread evenly over the workers."""
        workers = self.workers
        with ExitStack() as stack:
            lines = [stack.enter_context(Line(self.url)) for _ in range(count)]
            for position, worker in enumerate(workers):
                with self._only(worker):
                    for line in lines[position :: len(workers)]:
                        assert line.get("/worker").worker == worker
            yield lines

    @contextmanager
    def _only(self, worker: int) -> Iterator[None]:
        """While the block runs, nobody else accepts a connection."""
        with ExitStack() as stack:
            for other in self.workers:
                if other != worker:
                    stack.enter_context(frozen(other))
            yield


@contextmanager
def frozen(process_id: int) -> Iterator[None]:
    """The process stands still while the block runs."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        until(lambda: _state(process_id) == "T")
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def _state(process_id: int) -> str:
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
