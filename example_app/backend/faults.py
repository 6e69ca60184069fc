"""Faults on demand: a backend that is slow, broken, silent or nonsensical, endpoint by endpoint."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

from flask import Response, jsonify

MODES = ("status", "html", "empty", "truncated", "hang", "garbage")

_PROMISED = 4096  # bytes that a truncated answer announces
_POLL = 0.05  # seconds between two looks at a client that is kept waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong at one endpoint.

    ``path`` is relative to the API, a rule (``products/<id>``) or a path (``products/3``). ``times`` None means until
    reset, ``method`` None any. Without ``mode`` the fault only delays. ``status`` None is 500 for mode "status", else 200.
    """

    path: str
    method: str | None = None
    times: int | None = None
    mode: str | None = None
    status: int | None = None
    code: str = "fault"
    delay: float = 0
    retry_after: int | None = None


class Faults:
    """The faults installed, taken in the order in which they came; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._faults: list[Fault] = []
        self._reset = Event()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults and release every request that one of them keeps waiting."""
        with self._lock:
            self._faults.clear()
            self._reset.set()
            self._reset = Event()

    def take(self, method: str, paths: tuple[str, ...]) -> Fault | None:
        """The fault for this call, which is then used up once."""
        with self._lock:
            for position, fault in enumerate(self._faults):
                if fault.path in paths and fault.method in (None, method):
                    self._use_up(position, fault)
                    return fault
        return None

    def answer(self, fault: Fault, environ: Mapping[str, Any]) -> Response | None:
        """The faulty answer after the fault's delay; None when the call shall go on as usual."""
        reset = self._reset
        reset.wait(fault.delay)
        if fault.mode == "hang":
            _wait_until_left(environ, reset)
            return _cut_answer(environ, [])
        if fault.mode == "truncated":
            return _cut_answer(environ, [b'{"success": true, "data": {"acc'])
        return _whole_answer(fault)

    def _use_up(self, position: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times > 1:
            self._faults[position] = replace(fault, times=fault.times - 1)
        else:
            del self._faults[position]


def _whole_answer(fault: Fault) -> Response | None:
    match fault.mode:
        case "status":
            answer = jsonify(success=False, message="This endpoint is out of order.", code=fault.code)
        case "html":
            answer = Response(
                "<!doctype html><title>Maintenance</title><h1>We will be back</h1>", mimetype="text/html"
            )
        case "empty":
            answer = Response(b"", mimetype="application/json")
        case "garbage":
            answer = Response(b'{"success": tru\xff\x00]', mimetype="application/json")
        case _:
            return None
    answer.status_code = fault.status or (500 if fault.mode == "status" else 200)
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _cut_answer(environ: Mapping[str, Any], chunks: list[bytes]) -> Response:
    """An answer that ends before it has delivered what it promised, and takes the connection with it."""
    answer = Response(_cut(environ, chunks), mimetype="application/json")
    answer.headers["Content-Length"] = str(_PROMISED)
    return answer


def _cut(environ: Mapping[str, Any], chunks: list[bytes]) -> Iterator[bytes]:
    yield from chunks
    connection = _connection(environ)
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
    # The server must not take the short answer for a whole one and wait for the next request.
    raise ConnectionAbortedError("cut by a fault")


def _wait_until_left(environ: Mapping[str, Any], reset: Event) -> None:
    """Return when the faults are reset or the client has hung up: nobody else would free this thread."""
    connection = _connection(environ)
    while not reset.wait(_POLL):
        if connection is None or _has_left(connection):
            return


def _has_left(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def _connection(environ: Mapping[str, Any]) -> socket.socket | None:
    return environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
