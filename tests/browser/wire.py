"""A TCP relay that keeps every byte which passes it: what a browser got, and which tokens a backend handed out."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

_TOKEN = re.compile(rb'"(?:accessToken|refreshToken)":\s*"([^"]+)"')


class Wire:
    """A loopback port in front of another one.

    :param port: where the bytes go.
    """

    def __init__(self, port: int) -> None:
        self.is_cut = False
        self._target = ("127.0.0.1", port)
        self._received: list[bytearray] = []
        self._targets: list[socket.socket] = []
        self._server = _Relay(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for target in self._targets:
            # Whoever keeps a connection alive would keep its thread alive too.
            _hang_up(target)
        self._server.server_close()

    @property
    def answers(self) -> bytes:
        """Everything that came back so far, heads and bodies, connection by connection."""
        return b"\n".join(bytes(received) for received in list(self._received))

    def tokens(self) -> set[bytes]:
        """The tokens in what came back."""
        return set(_TOKEN.findall(self.answers))

    def forget(self) -> None:
        """Start over: what came back so far is no longer among the answers."""
        for received in list(self._received):
            received.clear()

    def relay(self, client: socket.socket) -> None:
        """Carry one connection; one that is cut ends without an answer."""
        if self.is_cut:
            return
        with suppress(OSError), socket.create_connection(self._target) as target:
            received = bytearray()
            self._received.append(received)
            self._targets.append(target)
            upward = threading.Thread(target=_pump, args=(client, target, None))
            upward.start()
            _pump(target, client, received)
            upward.join()


class _Relay(ThreadingTCPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(("127.0.0.1", 0), BaseRequestHandler)

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._wire.relay(request)


def _pump(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    """Carry bytes until either side has enough, then end both directions."""
    with suppress(OSError):
        while data := source.recv(65_536):
            if kept is not None:
                kept += data
            target.sendall(data)
    _hang_up(source)
    _hang_up(target)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
