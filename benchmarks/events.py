"""Server-sent events through the proxy: how late they are, and what becomes of them when the browser leaves."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .loads import Ask, answer_to
from .servers import HOST, Server

PATIENCE = 10.0  # seconds for an event, or for an end
_STAMP = re.compile(rb"data: ([\d.]+)\n\n")


class EventStream:
    """A browser's end of a stream; the events say when the backend sent them, on the clock that all processes share."""

    def __init__(self, server: Server, headers: Mapping[str, str], *, interval: float) -> None:
        lines = [f"GET /api/events?interval={interval} HTTP/1.1", f"Host: {HOST}:{server.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._received = b""
        self._sock = socket.create_connection((HOST, server.port), timeout=PATIENCE)
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))

    def delay(self) -> float:
        """Milliseconds that the next event was on its way."""
        while not (stamp := _STAMP.search(self._received)):
            received = self._sock.recv(65_536)
            assert received, f"the stream ended: {self._received!r}"
            self._received += received
        now = time.monotonic()
        self._received = self._received[stamp.end() :]
        return (now - float(stamp[1])) * 1000

    def close(self) -> None:
        self._sock.close()


@dataclass(frozen=True, slots=True)
class Listener:
    """A browser that opens streams.

    :param upstream: the backend, which counts them.
    """

    server: Server
    upstream: Server
    headers: Mapping[str, str] = field(repr=False)

    def delays(self, count: int) -> list[float]:
        """Milliseconds of the events of a new stream; the first one counts from when it was sent, too."""
        with self._stream(interval=0.02) as stream:
            return [stream.delay() for _ in range(count)]

    def end(self) -> float:
        """Milliseconds from the browser's leaving to the end of the backend's connection, with no event to come."""
        self._wait(lambda told: told["open"] == 0)
        closed = len(_told(self.upstream)["closed"])
        with self._stream(interval=PATIENCE) as stream:
            stream.delay()
            left = time.monotonic()
        told = self._wait(lambda told: len(told["closed"]) > closed)
        return float(told["closed"][-1] - left) * 1000

    def answers_beside(self, streams: int, path: str) -> tuple[list[float], int]:
        """Milliseconds that another route takes while so many streams are open, and how many of them are alive."""
        with ExitStack() as stack:
            opened = [stack.enter_context(self._stream(interval=0.5)) for _ in range(streams)]
            alive = sum(_is_alive(stream) for stream in opened)
            return [self._seconds(path) * 1000 for _ in range(20)], alive

    def _seconds(self, path: str) -> float:
        begin = time.perf_counter()
        status, _ = answer_to(Ask(self.server.port, path, self.headers))
        assert status == 200
        return time.perf_counter() - begin

    def _wait(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What the backend counted as soon as this holds."""
        deadline = time.monotonic() + 2 * PATIENCE
        while not holds(told := _told(self.upstream)):
            assert time.monotonic() < deadline, "the stream of a browser that left stays open"
            time.sleep(0.01)
        return told

    @contextmanager
    def _stream(self, *, interval: float) -> Iterator[EventStream]:
        stream = EventStream(self.server, self.headers, interval=interval)
        try:
            yield stream
        finally:
            stream.close()


def backend_requests(upstream: Server) -> int:
    """How many requests the backend has answered."""
    return int(_told(upstream)["requests"])


def _told(upstream: Server) -> dict[str, Any]:
    """What the backend counted."""
    status, body = answer_to(Ask(upstream.port, "/v1/streams", {}))
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


def _is_alive(stream: EventStream) -> bool:
    try:
        stream.delay()
    except TimeoutError:
        return False
    return True
