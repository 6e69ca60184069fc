"""The backend of the benchmarks: files, a sink, events and logins, from threads on raw sockets.

``python -m benchmarks.upstream DESCRIPTOR FOLDER`` accepts on an inherited socket. It checks nothing and knows no errors: it is to
cost as little as it can.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import OctKey

from .servers import Server, inheriting

KEY = "a secret that backend and frontend share"
ISSUER, AUDIENCE = "https://id.example.com", "shop"
LIFE = 86_400  # seconds that a token lives
USER = {"id": "usr_ada", "type": "user", "roles": ["user"], "name": "Ada"}
_BLOCK = 2**20


@contextmanager
def running_upstream(folder: Path) -> Iterator[Server]:
    """The backend as a process; it serves the files in ``folder`` under ``/v1/files/``."""

    def command(descriptor: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.upstream", str(descriptor), str(folder)]

    with inheriting(command, environ={}, log=folder / "upstream.log") as server:
        yield server


class Streams:
    """How many event streams are open, when each of the others was closed, and all requests but those for this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened = 0
        self._closed: list[float] = []
        self._requests = 0

    def note_request(self) -> None:
        with self._lock:
            self._requests += 1

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self._opened += 1
        try:
            yield
        finally:
            with self._lock:
                self._closed.append(time.monotonic())

    def told(self) -> dict[str, Any]:
        with self._lock:
            return {
                "open": self._opened - len(self._closed),
                "closed": list(self._closed),
                "requests": self._requests,
            }


class Connection:
    """One connection, served until the other side closes it."""

    def __init__(self, sock: socket.socket, folder: Path, streams: Streams) -> None:
        self._sock = sock
        self._folder = folder
        self._streams = streams
        self._unread = b""

    def serve(self) -> None:
        with self._sock, suppress(ConnectionError):
            while head := self._head():
                self._answer(head)

    def _head(self) -> bytes:
        while b"\r\n\r\n" not in self._unread:
            received = self._sock.recv(65_536)
            if not received:
                return b""
            self._unread += received
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    def _answer(self, head: bytes) -> None:
        method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        path, _, query = target.partition("?")
        if path == "/v1/streams":
            self._say(self._streams.told())
            return
        self._streams.note_request()
        match method, path.removeprefix("/v1/"):
            case "GET", "auth/me":
                self._say({"success": True, "data": USER})
            case "GET", "events":
                self._send_events(float(parse_qs(query)["interval"][0]))
            case "POST", "auth/login" | "auth/refresh":
                self._say({"success": True, "data": _grant(json.loads(self._body(head) or "{}"))})
            case "PUT", "sink":
                self._say({"bytes": self._swallow(_length(head))})
            case _, name:
                self._send_file(self._folder / name.removeprefix("files/"))

    def _body(self, head: bytes) -> bytes:
        length = _length(head)
        while len(self._unread) < length:
            self._unread += self._sock.recv(65_536)
        body, self._unread = self._unread[:length], self._unread[length:]
        return body

    def _swallow(self, length: int) -> int:
        left = length - len(self._unread)
        self._unread, block = b"", bytearray(_BLOCK)
        while left > 0 and (count := self._sock.recv_into(block, min(left, _BLOCK))):
            left -= count
        return length - left

    def _say(self, content: object) -> None:
        body = json.dumps(content).encode()
        self._sock.sendall(_answer_head("application/json", len(body)) + body)

    def _send_file(self, path: Path) -> None:
        size = path.stat().st_size
        if size < 65_536:
            self._sock.sendall(_answer_head("application/json", size) + path.read_bytes())
            return
        self._sock.sendall(_answer_head("application/octet-stream", size))
        with path.open("rb") as file:
            self._sock.sendfile(file)

    def _send_events(self, interval: float) -> None:
        """Events that say when they were sent, until the other side closes the connection."""
        with self._streams.one_more():
            self._sock.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            gone = False
            while not gone:
                event = f"data: {time.monotonic():.6f}\n\n".encode()
                self._sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                gone = bool(select.select([self._sock], [], [], interval)[0])
        raise ConnectionAbortedError


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answer_head(kind: str, size: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode()


def _grant(asked: dict[str, Any]) -> dict[str, Any]:
    """Tokens; whoever logs in may say ``expires_in`` himself."""
    now = time.time()
    claims = {"sub": USER["id"], **USER, "iat": now, "exp": now + LIFE, "iss": ISSUER, "aud": AUDIENCE}
    token = jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, OctKey.import_key(KEY))
    return {"accessToken": token, "expiresIn": asked.get("expires_in", LIFE), "user": USER}


def main(descriptor: int, folder: Path) -> None:
    streams = Streams()
    with socket.socket(fileno=descriptor) as listener:
        while True:
            sock, _ = listener.accept()
            connection = Connection(sock, folder, streams)
            threading.Thread(target=connection.serve, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
