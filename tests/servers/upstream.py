"""A backend in the standard shape that notes each request as it came over the wire."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from tests.integration.wire import SILENCE
from tests.raw_server import Peer, RawServer

BASE = "/v1/"
USER_TOKEN, GUEST_TOKEN = "bearer-of-the-user", "bearer-of-the-guest"
_USER = {"id": 7, "type": "user", "roles": ["editor"], "exp": 4_000_000_000}
_JSON = b"Content-Type: application/json"

Reply = Callable[[Peer], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; ``digest`` is the SHA-256 of its body, transfer coding undone."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    size: int
    digest: str
    chunked: bool

    def values(self, name: str) -> list[str]:
        """What the header lines of this name say, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Upstream:
    """Answers ``auth/guest``, ``auth/login`` and ``auth/me``; what else is asked gets :attr:`reply`.

    :ivar seen: all requests since :meth:`clear`, but for those that are neither whole nor well-formed: these are
        counted as ``broken``.
    """

    def __init__(self) -> None:
        self._server = RawServer(self._serve)
        self._changed = threading.Condition()
        self.url = f"{self._server.url}{BASE.rstrip('/')}"
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def clear(self) -> None:
        """Forget what was seen and what to reply."""
        self.seen: list[Seen] = []
        self.broken = 0
        self.reply: Reply = Peer.answer

    def only(self) -> Seen:
        """The one request that came."""
        [seen] = self.seen
        return seen

    def wait_for_broken(self) -> None:
        """Return when a request came that is not whole."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.broken, timeout=SILENCE)

    def _serve(self, peer: Peer) -> None:
        # The proxy keeps connections as long as it likes.
        peer.sock.settimeout(None)
        while head := peer.request():
            if not self._note(head, peer):
                return
            self._answer(self.seen[-1], peer)

    def _note(self, head: bytes, peer: Peer) -> bool:
        try:
            seen = _received(head, peer)
        except ValueError:
            with self._changed:
                self.broken += 1
                self._changed.notify_all()
            return False
        self.seen.append(seen)
        return True

    def _answer(self, seen: Seen, peer: Peer) -> None:
        own = _OWN.get((seen.method, seen.target))
        if own is None:
            self.reply(peer)
        else:
            peer.answer(own, _JSON)


def _envelope(data: object) -> bytes:
    return json.dumps({"success": True, "data": data}).encode()


_OWN = {
    ("POST", f"{BASE}auth/guest"): _envelope({"accessToken": GUEST_TOKEN, "expiresIn": 3600}),
    ("POST", f"{BASE}auth/login"): _envelope({"accessToken": USER_TOKEN, "expiresIn": 3600, "user": _USER}),
    ("GET", f"{BASE}auth/me"): _envelope(_USER),
}


def _received(head: bytes, peer: Peer) -> Seen:
    """The whole request.

    :raises ValueError: when it breaks off or is not well-formed.
    """
    line, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (item.partition(":") for item in rest))
    framing = {name.lower(): value for name, value in headers}
    is_chunked = "chunked" in framing.get("transfer-encoding", "")
    pieces = _chunks(peer) if is_chunked else _counted(peer, int(framing.get("content-length", "0")))
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return Seen(method, target, headers, size, digest.hexdigest(), is_chunked)


def _counted(peer: Peer, length: int) -> Iterator[bytes]:
    while length:
        piece = peer.read(min(length, 65536))
        if not piece:
            raise ValueError("the body broke off")
        length -= len(piece)
        yield piece


def _chunks(peer: Peer) -> Iterator[bytes]:
    while length := int(_line(peer), 16):
        yield from _counted(peer, length)
        _line(peer)
    _line(peer)


def _line(peer: Peer) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        piece = peer.read(1)
        if not piece:
            raise ValueError("the chunks broke off")
        line += piece
    return line
