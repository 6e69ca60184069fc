"""Starts the whole shop on this machine: ``python -m example_app.demo``. Ctrl-C stops it."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DATA = CHECKOUT / "instance" / "demo"
HOST = "127.0.0.1"
# Without HTTP_PROXY, which may be set and knows nothing of this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MADE_HERE = ("*.sqlite3*", "*.log", "secret-key")
PATIENCE = 5.0  # seconds between asking a child to stop and killing it
ACCESS_TTL = "60"  # seconds: short, so that a visitor to the demo lives through a refresh

WELCOME = """
The shop is open: {url}

Accounts (password: demo-password)
  admin@example.com   editor@example.com   ada@example.com

Try this:
  1. Put something into the cart without logging in, then log in as ada: the cart comes along.
  2. Look for a token in the browser (cookies, storage, network): there is none to read.
  3. Wait a minute and reload: the access token ran out, was refreshed once, and nobody noticed.
  4. Open {url}/admin as ada, then as admin or editor.
  5. Break the refresh for two minutes: polite pages, and nobody is logged out.
     curl {backend}/debug/faults --json '{{"path": "auth/refresh", "status": 503}}'
     curl {backend}/debug/reset -X POST

Backend: {backend} (process {process}). Logs and data: {data}
Stop with Ctrl-C.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment ask for."""

    port: int
    backend_port: int
    data: Path
    reset: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A server process, where it listens and where it logs.

    :param probe: a path that answers as soon as it serves.
    """

    name: str
    url: str
    probe: str
    log: Path
    process: subprocess.Popen[bytes]

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def answers(self) -> bool:
        """Whether it answers HTTP at all; a 4xx is an answer."""
        try:
            DIRECT.open(self.url + self.probe, timeout=1).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, HTTPException):
            return False
        return True

    def stop(self) -> None:
        """Terminate, wait, then kill: the whole process group, for a killed gunicorn leaves its workers behind."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a frozen process hears nothing else
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-lines:])


class StopSignal:
    """Remembers that a signal came; a second one must not interrupt the clean-up of the first."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.came = True


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when stopped on request, 1 when a server could not start or died."""
    options = parse(arguments)
    stop = StopSignal()
    prepare(options)
    services: list[Service] = []
    try:
        start(options, services)
        if not wait_until_ready(services, stop):
            return 0 if stop.came else 1
        welcome(services, options.data)
        return watch(services, stop)
    finally:
        for service in reversed(services):
            service.stop()
        say("Stopped.")


def parse(arguments: Sequence[str] | None) -> Options:
    """The command line over ``PORT`` and ``BACKEND_PORT`` over the defaults; port 0 means any free one."""
    parser = argparse.ArgumentParser(prog="python -m example_app.demo", description="Run the example shop.")
    parser.add_argument("--port", type=port_number, default=os.environ.get("PORT") or "8000")
    parser.add_argument("--backend-port", type=port_number, default=os.environ.get("BACKEND_PORT") or "8001")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder for databases, logs and the secret key"
    )
    parser.add_argument("--reset", action="store_true", help="delete the demo's data first")
    found = parser.parse_args(arguments)
    return Options(found.port, found.backend_port, found.data.resolve(), found.reset)


def prepare(options: Options) -> None:
    """Make the data folder, emptied of what earlier runs made if that was asked for."""
    options.data.mkdir(parents=True, exist_ok=True)
    if options.reset:
        for file in (file for pattern in MADE_HERE for file in options.data.glob(pattern)):
            file.unlink()


def start(options: Options, services: list[Service]) -> None:
    """Start backend and storefront, each added to ``services`` as soon as it runs."""
    backend_port = choose_port(options.backend_port, "backend")
    port = choose_port(options.port, "storefront", besides=backend_port)
    environ = dict(os.environ)
    backend = backend_environ(options.data, environ)
    # Its counters and faults live in the process.
    services.append(serve("backend", backend_port, "/v1/categories", options.data, backend, workers=1))
    storefront = storefront_environ(options.data, backend_port, environ)
    services.append(serve("storefront", port, "/healthz", options.data, storefront, workers=2))


def backend_environ(data: Path, environ: dict[str, str]) -> dict[str, str]:
    """What the backend is told; what the caller's ``environ`` says wins, except for the demo's own place."""
    own = {"SHOP_BACKEND_DATABASE": str(data / "backend.sqlite3")}
    return {"SHOP_BACKEND_ACCESS_TTL": ACCESS_TTL} | environ | own


def storefront_environ(data: Path, backend_port: int, environ: dict[str, str]) -> dict[str, str]:
    """What the storefront is told; what the caller's ``environ`` says wins, except for where the backend is."""
    defaults = {
        "FLASK_SECRET_KEY": secret_key(data / "secret-key"),
        "FLASK_API_LAYER_STORE_URL": f"sqlite:///{data / 'api-layer.sqlite3'}",
    }
    return defaults | environ | {"FLASK_API_LAYER_BACKEND_URL": f"http://{HOST}:{backend_port}/v1"}


def secret_key(file: Path) -> str:
    """The key in ``file``, made at the first run and readable by its owner only: logins survive a restart."""
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as opened:
            # The prefix keeps Flask from reading a key of digits as a number.
            opened.write(f"demo-{secrets.token_hex(32)}")
    return file.read_text("ascii")


def choose_port(wanted: int, name: str, *, besides: int = 0) -> int:
    """``wanted`` unless somebody listens there or it is ``besides``; else any free one, which is said."""
    if wanted and wanted != besides and usable(wanted):
        return wanted
    chosen = usable(0)
    if wanted:
        say(f"Port {wanted} is taken; the {name} uses {chosen} instead.")
    return chosen


def usable(port: int) -> int:
    """The port that a server could have (any free one for 0), or 0 if ``port`` is taken."""
    with socket.socket() as probe:
        # As gunicorn does: connections of an earlier run that are still closing take nothing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
        return int(probe.getsockname()[1])


def port_number(text: str) -> int:
    """The port that ``text`` names.

    :raises ValueError: when it names none.
    """
    number = int(text)
    if not 0 <= number < 2**16:
        raise ValueError(text)
    return number


def serve(
    name: str, port: int, probe: str, data: Path, environ: Mapping[str, str], *, workers: int
) -> Service:
    """A running gunicorn with eight threads for each worker, on the loopback interface only."""
    log = data / f"{name}.log"
    command = [sys.executable, "-m", "gunicorn", f"example_app.{name}:create_app()"]
    command += ["--bind", f"{HOST}:{port}", "--worker-class", "gthread", "--workers", str(workers)]
    command += ["--threads", "8", "--graceful-timeout", "2", "--no-control-socket"]
    with log.open("wb") as output:
        # A group of its own: Ctrl-C reaches the launcher alone, which then stops the servers in order.
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environ, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
    return Service(name, f"http://{HOST}:{port}", probe, log, process)


def wait_until_ready(services: Sequence[Service], stop: StopSignal) -> bool:
    """True when all answer; False when one died, which is reported, or when a signal came."""
    waiting = list(services)
    while waiting and not stop.came:
        if report_dead(services):
            return False
        waiting = [service for service in waiting if not service.answers()]
        time.sleep(0.1)
    return not waiting


def watch(services: Sequence[Service], stop: StopSignal) -> int:
    """Wait for a signal (0) or for the death of a server (1)."""
    while not stop.came:
        if report_dead(services):
            return 1
        time.sleep(0.2)
    return 0


def report_dead(services: Sequence[Service]) -> bool:
    """Whether a server died; prints the end of its log if so."""
    dead = [service for service in services if not service.is_alive()]
    for service in dead:
        say(f"The {service.name} died (exit code {service.process.returncode}). The end of {service.log}:")
        say(service.log_tail())
    return bool(dead)


def welcome(services: Sequence[Service], data: Path) -> None:
    """Print where the shop is and what to try there."""
    backend, storefront = services
    urls = {"url": storefront.url, "backend": backend.url}
    say(WELCOME.format(**urls, process=backend.process.pid, data=data))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
