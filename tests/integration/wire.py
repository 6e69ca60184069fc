"""Requests as exact bytes: to a real server over a socket, or to an app as a server would hand them over."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import requests
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import create_environ, run_wsgi_app

from tests.processes import ShopBackend

SILENCE = 10.0  # seconds until a test gives up on a peer


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, as it came."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SILENCE)


def head(method: str, target: str, *headers: str) -> bytes:
    """A request's head; the connection ends after its answer."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def exchange(port: int, data: bytes, *, method: str = "GET", half_close: bool = False) -> Answer:
    """The answer to these bytes.

    :param half_close: send no more afterwards, as a client that broke off.
    :raises http.client.HTTPException: when no whole answer came.
    """
    with connect(port) as sock:
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return read_answer(sock, method=method)


def read_answer(sock: socket.socket, *, method: str = "GET") -> Answer:
    with HTTPResponse(sock, method=method) as response:
        response.begin()
        return Answer(response.status, Headers(response.getheaders()), response.read())


def call(
    app: Flask,
    target: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    has_raw_target: bool = True,
    script_name: str = "",
    environ: Mapping[str, Any] | None = None,
) -> Answer:
    """The app's answer to a target that it gets as gunicorn gives it, or without the raw form as granian does."""
    path, _, query = target.partition("?")
    built = create_environ(method=method, headers=Headers(list(headers)), input_stream=BytesIO(body))
    built["REQUEST_METHOD"] = method
    built["SCRIPT_NAME"] = script_name
    built["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1").removeprefix(script_name)
    built["QUERY_STRING"] = query
    built["REMOTE_ADDR"] = "127.0.0.1"
    if body:
        built["CONTENT_LENGTH"] = str(len(body))
    for name in ("RAW_URI", "REQUEST_URI"):
        built.pop(name, None)
    if has_raw_target:
        built["RAW_URI"] = target
    chunks, status, answered = run_wsgi_app(app, built | dict(environ or {}), buffered=True)
    return Answer(int(status.split()[0]), answered, b"".join(chunks))


def journal(backend: ShopBackend) -> dict[str, Any]:
    """What the backend counted: calls, bearers, streams that are open."""
    answer = requests.get(backend.base_url.removesuffix("/v1") + "/debug/calls", timeout=SILENCE)
    return dict(answer.json())
