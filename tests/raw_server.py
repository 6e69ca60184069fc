"""A server that says exactly what a test tells it to, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        sock.settimeout(10)
        self.sock = sock
        self.server = server
        self._unread = b""

    def request(self) -> bytes:
        """The next request's head, kept in ``server.heads`` too; empty when the client hung up."""
        while b"\r\n\r\n" not in self._unread:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self._unread += data
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        self.server.heads.append(head)
        return head

    def read(self, count: int) -> bytes:
        """``count`` bytes of a body, or fewer when the client hung up."""
        while len(self._unread) < count:
            data = self.sock.recv(65536)
            if not data:
                break
            self._unread += data
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    def read_to_end(self) -> bytes:
        """Everything until the client hangs up."""
        with suppress(ConnectionError):
            while data := self.sock.recv(65536):
                self._unread += data
        return self._unread

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"ok", *headers: bytes, status: bytes = b"200 OK") -> None:
        """A well-formed answer."""
        lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
        self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def keep_answering(self) -> None:
        """Answer each further request with its path."""
        while head := self.request():
            self.answer(head.split(b" ")[1])


Script = Callable[[Peer], None]


class RawServer:
    """Plays one script per connection, in order; the last one is repeated. A connection is closed when its script ends."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            peer = Peer(sock, self)
            self._peers.append(peer)
            thread = threading.Thread(target=self._play, args=(script, peer))
            self._threads.append(thread)
            thread.start()

    def _play(self, script: Script, peer: Peer) -> None:
        with suppress(OSError):
            script(peer)
        _close(peer.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self._listener)
        self._acceptor.join()
        for peer in self._peers:
            _close(peer.sock)
        for thread in self._threads:
            thread.join()


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
