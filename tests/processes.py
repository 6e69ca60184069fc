"""Real server processes for the tests: started on a free loopback port, asked until they answer, ended by their own id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent
_DEADLINE = 30.0


class Server:
    """A gunicorn process with an app, on a port of its own.

    The port stays the same over stops and starts.
    """

    def __init__(
        self, target: str, *, environ: Mapping[str, str], workers: int = 1, threads: int = 16
    ) -> None:
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {**os.environ, **environ}
        self._command = [
            *(sys.executable, "-m", "gunicorn"),
            *("--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)),
            *("--no-control-socket", "--graceful-timeout", "1", "--log-level", "warning", target),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listener = self._listener or socket.create_server(("127.0.0.1", self.port), backlog=512)
        # Accepted connections inherit it; without it each small answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command = [*self._command, "--bind", f"fd://{listener.fileno()}"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environ, pass_fds=[listener.fileno()])
        # From here on it is the server's alone, so that it goes away with it.
        listener.close()
        self._listener = None

    def stop(self) -> None:
        """End the process; connections are refused from then on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_DEADLINE)
            self._process = None

    @property
    def worker_ids(self) -> list[int]:
        """The process ids of the workers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def close(self) -> None:
        self.stop()
        if self._listener is not None:
            self._listener.close()


class DeadPort:
    """A loopback port on which nobody listens."""

    def __enter__(self) -> str:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class ShopBackend:
    """The example backend as a process, with its counters and faults.

    :param settings: SHOP_BACKEND_ settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {
            "DATABASE": folder / "shop.sqlite3",
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            **settings,
        }
        environ = {f"SHOP_BACKEND_{key}": str(value) for key, value in chosen.items()}
        self._server = Server("example_app.backend:create_app()", environ=environ, threads=32)
        self._http = requests.Session()
        self._http.trust_env = False
        self.base_url = f"{self._server.url}/v1"
        self._is_up = False
        self.start()

    def start(self) -> None:
        if not self._is_up:
            self._is_up = True
            self._server.start()
            try:
                until_ready(self._http, f"{self._server.url}/debug/calls")
            except BaseException:
                self.close()
                raise

    def stop(self) -> None:
        self._http.close()
        self._server.stop()
        self._is_up = False

    def reset(self) -> None:
        """Running, without faults, with all counters at zero."""
        self.start()
        self._debug("POST", "reset")

    def calls(self, endpoint: str | None = None) -> Any:
        """How often an endpoint ("GET auth/me") was called since the reset; without one, all counts."""
        counted = self._debug("GET", "calls")["calls"]
        return counted if endpoint is None else counted.get(endpoint, 0)

    def reuse_events(self) -> int:
        return int(self._debug("GET", "calls")["reuse_events"])

    def fault(self, path: str, **fault: object) -> None:
        self._debug("POST", "faults", {"path": path, "times": None, **fault})

    def change_user(self, email: str, **changes: object) -> None:
        self._debug("POST", f"users/{email}", changes)

    def close(self) -> None:
        self._http.close()
        self._server.close()

    def _debug(self, method: str, path: str, json: Mapping[str, object] | None = None) -> Any:
        response = self._http.request(
            method, f"{self._server.url}/debug/{path}", json=json, timeout=_DEADLINE
        )
        response.raise_for_status()
        return response.json() if response.content else None


def until_ready(http: requests.Session, url: str) -> None:
    """Return when the server answers at all."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        with suppress(requests.ConnectionError):
            http.get(url, timeout=_DEADLINE)
            return
        time.sleep(0.05)
    raise AssertionError(f"no answer from {url}")
