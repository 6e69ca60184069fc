"""Servers for the Redis tests: the real one, and one that says what a test wants to hear."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
    return port


class RedisServer:
    """A redis-server of our own on a Unix socket."""

    def __init__(self, folder: Path, options: Sequence[str] = (), *, password: str | None = None) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._password = password
        secret = ("--requirepass", password) if password else ()
        self._options = ("--save", "", "--dir", str(folder), *secret, *options)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("redis-server is not installed")
        command = [binary, "--port", "0", "--unixsocket", str(self.socket), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(1000):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        if "--tls-port" in self._options:
            pytest.skip("this redis-server is built without TLS")
        pytest.fail("redis-server does not start")

    def stop(self) -> None:
        """Stop it, paused or not."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it: the kernel still accepts connections, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A plain client to look and meddle with."""
        with redis.Redis(unix_socket_path=str(self.socket), password=self._password) as client:
            yield client

    def elapse(self, seconds: float) -> None:
        """Take ``seconds`` from what every key has left to live, as if they had passed."""
        with self.client() as client:
            for key in client.scan_iter("api-layer:*"):
                left = client.pttl(key) - int(seconds * 1000)
                if left > 0:
                    client.pexpire(key, left)
                else:
                    client.delete(key)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class Parrot:
    """A TCP server that answers every command with ``reply``, ``delay`` seconds late, or never when ``reply`` is None."""

    def __init__(self, reply: bytes | None, *, delay: float = 0) -> None:
        self.accepted = 0
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._reply = reply
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Hang up and end every thread."""
        self.may_answer.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):  # The client was first.
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                self.asked.release()
                self.may_answer.wait()
                time.sleep(self._delay)
                if self._reply is not None:
                    connection.sendall(self._reply)
        except OSError:
            return
