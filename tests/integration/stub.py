"""A backend of which a test decides every byte."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..raw_server import Peer, Script

Route = Mapping[str, object] | Script


def routes(table: Mapping[str, Route]) -> Script:
    """Answer ``"GET /v1/path"`` with JSON, or let a script do it; a path that is not listed gets its own request line back.

    A route's script may end the connection by raising ConnectionError.
    """

    def script(peer: Peer) -> None:
        while request := peer.request():
            peer.read(_length(request))
            line = request.split(b"\r\n")[0].decode("latin-1").removesuffix(" HTTP/1.1")
            _answer(peer, table.get(line.partition("?")[0], {"line": line}))

    return script


def bearers(heads: list[bytes], path: str) -> list[str]:
    """The Authorization of each request for this path; empty where there was none."""
    wanted = [head for head in heads if head.split(b" ")[1].split(b"?")[0] == path.encode()]
    return [header(head, "authorization") or "" for head in wanted]


def header(head: bytes, name: str) -> str | None:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return None


def grant(token: str, *, expires_in: float = 3600, refresh_token: str = "renew-me") -> Route:
    """The standard answer of login and refresh."""
    user = {"id": "usr_ada", "type": "user", "roles": ["user"]}
    data = {"accessToken": token, "refreshToken": refresh_token, "expiresIn": expires_in, "user": user}
    return {"success": True, "data": data}


def _length(head: bytes) -> int:
    return int(header(head, "content-length") or 0)


def _answer(peer: Peer, route: Route) -> None:
    if isinstance(route, Mapping):
        peer.answer(json.dumps(route).encode(), b"Content-Type: application/json")
    else:
        route(peer)
