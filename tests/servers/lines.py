"""A connection that is kept open for many requests, as browsers do."""

from __future__ import annotations

import socket
from http.client import HTTPException, HTTPResponse
from types import TracebackType
from typing import Self

from werkzeug.datastructures import Headers

from tests.integration.wire import Answer

from .sites import Site, request_head


class Line:
    """A connection to a server; when the server hangs up, the next request gets a new one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sock: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()

    def ask(self, target: str, *lines: str) -> Answer | None:
        """The answer, or nothing when the server hung up without a word."""
        if self._sock is None:
            self._sock = self._site.connect()
        self._sock.sendall(request_head("GET", target, *lines))
        try:
            return self._answer(self._sock)
        except (HTTPException, ConnectionError):
            self._hang_up()
            return None

    def _answer(self, sock: socket.socket) -> Answer:
        with HTTPResponse(sock, method="GET") as response:
            response.begin()
            answer = Answer(response.status, Headers(response.getheaders()), response.read())
            if response.will_close:
                self._hang_up()
            return answer

    def _hang_up(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
