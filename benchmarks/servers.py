"""Server processes for the benchmarks, each on a loopback port of its own, ended by their own ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT

HOST = "127.0.0.1"
KINDS = ("gthread", "gevent", "granian")
LOG = "servers.log"
_PATIENCE = 30.0  # seconds for a start or an end


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; its workers are the children of ``pid``.

    :param inherits: its workers accept on one socket, which they were given.
    """

    port: int
    pid: int
    inherits: bool = False

    @property
    def worker_ids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    @property
    def rivals(self) -> list[int]:
        """Workers that take connections from one another; left alone, one of them may get them all."""
        return self.worker_ids if self.inherits else []


@contextmanager
def explaining(log: Path) -> Iterator[None]:
    """When a connection fails, tell what the servers said; mostly one of them could not start its app."""
    try:
        yield
    except OSError as error:
        said = log.read_text()[-4000:] if log.exists() else "nothing"
        raise RuntimeError(f"{error}; the servers said:\n{said}") from error


@contextmanager
def serving(
    kind: str, target: str, *, environ: Mapping[str, str], log: Path, workers: int = 2, threads: int = 8
) -> Iterator[Server]:
    """An app factory ("module:name") under gunicorn's gthread or gevent workers, or under granian.

    :param threads: per worker; gevent has none.
    """
    if kind == "granian":
        with binding(
            lambda port: _granian(target, port, workers, threads), environ=environ, log=log
        ) as server:
            yield server
        return
    with inheriting(
        lambda descriptor: _gunicorn(kind, target, descriptor, workers, threads), environ=environ, log=log
    ) as server:
        _until(lambda: len(server.worker_ids) == workers, log)
        yield server


def _gunicorn(kind: str, target: str, descriptor: int, workers: int, threads: int) -> list[str]:
    size = ["--workers", str(workers), *(["--threads", str(threads)] if kind == "gthread" else [])]
    return [
        *(sys.executable, "-m", "gunicorn", "--worker-class", kind, *size, "--keep-alive", "60"),
        # Workers that are still busy then are killed, and would outlive the master for a moment.
        *("--no-control-socket", "--graceful-timeout", "5", "--log-level", "warning"),
        *("--bind", f"fd://{descriptor}", f"{target}()"),
    ]


def _granian(target: str, port: int, workers: int, threads: int) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "--no-ws"),
        *("--workers", str(workers), "--blocking-threads", str(threads), "--log-level", "warning"),
        *("--workers-kill-timeout", "2", "--host", HOST, "--port", str(port), target),
    ]


@contextmanager
def inheriting(
    command: Callable[[int], Sequence[str]], *, environ: Mapping[str, str], log: Path
) -> Iterator[Server]:
    """A process that inherits its listening socket; ``command`` is told the file descriptor."""
    with socket.create_server((HOST, 0), backlog=512) as listener:
        # Accepted connections inherit it; without it each small answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port: int = listener.getsockname()[1]
        descriptor = listener.fileno()
        process = _start(command(descriptor), environ, log, inherited=(descriptor,))
    with _ending(process):
        yield Server(port, process.pid, inherits=True)


@contextmanager
def binding(
    command: Callable[[int], Sequence[str]], *, environ: Mapping[str, str], log: Path
) -> Iterator[Server]:
    """A process that binds its port itself; ``command`` is told which one is free."""
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
    process = _start(command(port), environ, log)
    with _ending(process):
        _until(lambda: _listens(port), log)
        yield Server(port, process.pid)


def _start(
    command: Sequence[str], environ: Mapping[str, str], log: Path, inherited: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own command line
            command,
            cwd=ROOT,
            env={**os.environ, **environ},
            pass_fds=inherited,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"a server did not start:\n{log.read_text()}"
        time.sleep(0.02)
