"""gunicorn, waitress and granian as processes, each on a free loopback port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import requests

from tests.processes import ROOT, until_ready

from .apps import MAX_BODY

APP: Final = "tests.servers.apps:create_app"
_THREADS: Final = "16"
_DEADLINE: Final = 15.0

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "gunicorn": (
        *(
            "gunicorn",
            "--worker-class",
            "gthread",
            "--workers",
            "1",
            "--threads",
            _THREADS,
            "--keep-alive",
            "60",
        ),
        *("--no-control-socket", "--graceful-timeout", "1", "--log-level", "critical"),
        *("--bind", "127.0.0.1:{port}", f"{APP}()"),
    ),
    "waitress": (
        *("waitress", "--listen", "127.0.0.1:{port}", "--threads", _THREADS, "--channel-timeout", "60"),
        # It reads a body to its end before the app is asked, so the limit must be its own.
        *("--max-request-body-size", str(MAX_BODY + 1), "--call", APP),
    ),
    "granian": (
        *("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
        *(
            "--blocking-threads",
            _THREADS,
            "--no-ws",
            "--workers-kill-timeout",
            "2",
            "--no-log",
            "--factory",
            APP,
        ),
    ),
}


class ServerProcess:
    """One server with the app; it serves once :meth:`wait` returned.

    :param kind: one of ``COMMANDS``.
    :param environ: what the app reads, see :func:`tests.servers.apps.environ_for`.
    """

    def __init__(self, kind: str, environ: Mapping[str, str]) -> None:
        self.kind = kind
        self.port = _free_port()
        command = [sys.executable, "-m", *(part.format(port=self.port) for part in COMMANDS[kind])]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Return when it answers."""
        with requests.Session() as http:
            http.trust_env = False
            until_ready(http, f"http://127.0.0.1:{self.port}/nothing")

    @property
    def worker_id(self) -> int:
        """The process that runs the app, for a server that has a process beside it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(_DEADLINE)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
