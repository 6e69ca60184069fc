"""The launcher behind ``make demo``, run as people run it: a process that starts two more."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

from example_app import demo

CHECKOUT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Launcher:
    """A running launcher and what it printed so far."""

    process: subprocess.Popen[str]
    output: str

    @property
    def url(self) -> str:
        return find(r"open: (http://127\.0\.0\.1:\d+)", self.output)

    @property
    def backend_pid(self) -> int:
        return int(find(r"\(process (\d+)\)", self.output))

    def finish(self) -> tuple[int, str]:
        """The exit code, and what was printed since."""
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest


Launch = Callable[..., Launcher]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start a launcher with these arguments and environment variables, and read until it is open or has ended."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environ: str) -> Launcher:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "SHOP_"))
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "example_app.demo", "--data", str(tmp_path), *arguments],
            cwd=CHECKOUT,
            env=clean | {"PORT": "0", "BACKEND_PORT": "0"} | environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return Launcher(process, read_until(process, "Ctrl-C."))

    yield start
    for process in processes:
        # Never kill: the launcher takes its servers with it only when it is asked to stop.
        process.terminate()
        process.communicate(timeout=30)


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    watchdog = Timer(60, process.terminate)
    watchdog.start()
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if mark in line:
            break
    watchdog.cancel()
    return "".join(lines)


def find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def fetch(url: str) -> str:
    with demo.DIRECT.open(url, timeout=10) as response:
        body: bytes = response.read()
    return body.decode()


def is_served(url: str) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_prints_an_address_that_answers_and_stops_everything_on_sigint(
    launch: Launch, tmp_path: Path
) -> None:
    launcher = launch()
    assert fetch(f"{launcher.url}/healthz") == "ok"
    assert "Enamel mug" in fetch(launcher.url)
    assert "ada@example.com" in launcher.output
    assert stat.S_IMODE((tmp_path / "secret-key").stat().st_mode) == 0o600

    launcher.process.send_signal(signal.SIGINT)
    code, rest = launcher.finish()

    assert code == 0
    assert "Stopped." in rest
    assert not is_served(launcher.url)
    assert not is_running(launcher.backend_pid)


def test_a_taken_port_is_named_and_another_one_is_used(launch: Launch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = other.getsockname()[1]
        launcher = launch("--port", str(taken))
        assert f"Port {taken} is taken; the storefront uses " in launcher.output
        assert not launcher.url.endswith(f":{taken}")
        assert fetch(f"{launcher.url}/healthz") == "ok"


def test_when_one_server_dies_the_other_is_stopped(launch: Launch) -> None:
    launcher = launch()
    os.kill(launcher.backend_pid, signal.SIGTERM)
    code, rest = launcher.finish()
    assert code == 1
    assert "The backend died" in rest
    assert not is_served(launcher.url)


def test_a_server_that_cannot_start_shows_the_end_of_its_log(launch: Launch) -> None:
    launcher = launch(FLASK_API_LAYER_NO_SUCH_KEY="1")
    assert launcher.finish()[0] == 1
    assert "The storefront died" in launcher.output
    assert "NO_SUCH_KEY" in launcher.output


def test_reset_deletes_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    made = [
        tmp_path / name for name in ("backend.sqlite3", "backend.sqlite3-wal", "backend.log", "secret-key")
    ]
    kept = tmp_path / "notes.txt"
    for file in (*made, kept):
        file.touch()
    demo.prepare(demo.Options(port=0, backend_port=0, data=tmp_path, reset=True))
    assert list(tmp_path.iterdir()) == [kept]


def test_the_secret_key_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "secret-key"
    assert demo.secret_key(file) == demo.secret_key(file)


def test_one_port_is_not_given_to_both_servers() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        free = probe.getsockname()[1]
    assert demo.choose_port(free, "backend") == free
    assert demo.choose_port(free, "storefront", besides=free) != free
