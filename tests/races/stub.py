"""A backend in the standard shape of which a test decides every byte. Its tokens say whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..raw_server import Peer, Script


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived: ``"GET whoami"``, the bearer, and what the JSON body holds."""

    endpoint: str
    bearer: str = field(repr=False)
    body: dict[str, Any] = field(repr=False)


def backend(answer: Callable[[Peer, Call], None]) -> Script:
    """Let ``answer`` reply to each request; it ends the connection by raising ConnectionError."""

    def script(peer: Peer) -> None:
        while head := peer.request():
            answer(peer, _call(peer, head))

    return script


def response(data: object, *, status: str = "200 OK") -> bytes:
    """A whole answer in the standard envelope."""
    body = json.dumps({"success": True, "data": data}).encode()
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(lines).encode() + body


def refusal(status: str) -> bytes:
    """A refusal without a body."""
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()


def grant(user: str, token: str, *, refresh_token: str, expires_in: float, status: str = "200 OK") -> bytes:
    """The answer of login, register and refresh."""
    tokens = {"accessToken": token, "refreshToken": refresh_token, "expiresIn": expires_in}
    return response({**tokens, "user": record(user)}, status=status)


def record(user: str) -> dict[str, object]:
    """What the backend knows of a user."""
    return {"id": user, "type": "user", "roles": ["user"]}


def _call(peer: Peer, head: bytes) -> Call:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    method, target, _ = request_line.split(" ")
    body = peer.read(int(headers.get("content-length", 0)))
    return Call(
        f"{method} {target.partition('?')[0].removeprefix('/v1/')}",
        headers.get("authorization", "").removeprefix("Bearer "),
        json.loads(body) if body else {},
    )
