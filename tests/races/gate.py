"""A way to a server that can be shut: new connections are refused, and no further request gets through an old one."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Gate:
    """A relay in front of a server, on a port that stays the same.

    What was let in is answered to the end: the server never did anything of which its caller does not hear.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (str(target.hostname), int(target.port or 80))
        # Keeps the port for us while nobody listens on it.
        self._holder = _bound(0)
        self._port: int = self._holder.getsockname()[1]
        self.url = target._replace(netloc=f"127.0.0.1:{self._port}").geturl()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_open = threading.Event()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()
        for sock in self._sockets:
            _hang_up(sock)
        for thread in self._threads:
            thread.join()
        for sock in (*self._sockets, self._holder):
            sock.close()

    def open(self) -> None:
        self._listener = _bound(self._port)
        self._listener.listen(512)
        self._is_open.set()
        self._begin(self._accept, self._listener)

    def shut(self) -> None:
        self._is_open.clear()
        if self._listener is not None:
            _hang_up(self._listener)
            self._listener.close()
            self._listener = None

    def _begin(self, work: object, *values: socket.socket) -> None:
        thread = threading.Thread(target=work, args=values)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self._begin(self._ask, client, server)
            self._begin(self._reply, server, client)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while (data := client.recv(65536)) and self._is_open.is_set():
                server.sendall(data)
        _hang_up(client)
        _hang_up(server)

    def _reply(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
