"""A served app together with its upstream and a session: what the tests talk to."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from flask import Flask

from tests.integration.visitors import GUEST, USER
from tests.integration.wire import SILENCE, Answer, call, read_answer

from .processes import ServerProcess
from .upstream import Upstream

SAME_ORIGIN = "Sec-Fetch-Site: same-origin"
JSON = "Content-Type: application/json"


@dataclass(slots=True)
class Site:
    """An app behind a server, or in this process.

    :ivar kind: the name of the server, ``in process`` or ``in process, no raw target``.
    :ivar user: the cookie of a user, as a header line; ``guest``: that of a guest.
    """

    kind: str
    upstream: Upstream
    server: ServerProcess | None = None
    app: Flask | None = None
    user: str = field(default="", repr=False)
    guest: str = field(default="", repr=False)

    @property
    def is_server(self) -> bool:
        return self.server is not None

    @property
    def shows_raw_target(self) -> bool:
        """Whether the app sees the path as it was sent; granian has it decoded only."""
        return self.kind not in ("granian", "in process, no raw target")

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection to the server, from one of the loopback addresses."""
        assert self.server is not None
        address = ("127.0.0.1", self.server.port)
        return socket.create_connection(address, timeout=SILENCE, source_address=(source, 0))

    def ask(
        self,
        target: str,
        *lines: str,
        method: str = "GET",
        body: bytes = b"",
        source: str = "127.0.0.1",
    ) -> Answer:
        """The answer to one request.

        :param target: text of Latin-1 characters, one per byte.
        :param lines: header lines; in process each must be a name and a value.
        :raises http.client.HTTPException: when there was no whole answer.
        """
        if self.app is not None:
            return self._call(self.app, target, lines, method=method, body=body, source=source)
        if body and not any(line.lower().startswith(("content-length:", "transfer-enc")) for line in lines):
            lines = (*lines, f"Content-Length: {len(body)}")
        with self.connect(source) as sock:
            sock.sendall(request_head(method, target, *lines, "Connection: close") + body)
            answer = read_answer(sock, method=method)
            # What a server took for a second request is over when it hangs up.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            return answer

    def _call(
        self, app: Flask, target: str, lines: Iterable[str], *, method: str, body: bytes, source: str
    ) -> Answer:
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return call(
            app,
            target,
            method=method,
            headers=headers,
            body=body,
            has_raw_target=self.shows_raw_target,
            environ={"REMOTE_ADDR": source},
        )

    def begin_sessions(self) -> None:
        """Log in, and become a guest."""
        credentials = json.dumps({"email": "ada@example.com", "password": "demo-password"}).encode()
        self.user = _cookie(
            self.ask("/api/auth/login", JSON, SAME_ORIGIN, method="POST", body=credentials), USER
        )
        self.guest = _cookie(self.ask("/api/auth/guest", SAME_ORIGIN, method="POST"), GUEST)

    def assert_alive(self) -> None:
        """The next good request works, and is the only one that gets through."""
        self.upstream.clear()
        assert self.ask("/api/good", self.user).status == 200
        assert self.upstream.only().target == "/v1/good"


def request_head(method: str, target: str, *lines: str) -> bytes:
    """A request's head, one byte per character."""
    return ("\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *lines]) + "\r\n\r\n").encode(
        "latin-1"
    )


def _cookie(answer: Answer, name: str) -> str:
    [value] = [
        line.partition(";")[0]
        for line in answer.headers.getlist("Set-Cookie")
        if line.startswith(f"{name}=") and not line.startswith(f"{name}=;")
    ]
    return f"Cookie: {value}"
