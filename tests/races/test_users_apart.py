"""Two hundred users share a few connections to a backend that breaks the rules of HTTP."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import urllib3
from flask import Flask

from ..raw_server import Peer, RawServer
from .conftest import StartFleet, Visitor, register
from .lines import Answer, Line
from .stub import Call, backend, grant, record, refusal, response

USERS = 200
CLIENTS = 25
PATHS = ("/api/whoami", "/account", "/api/whoami", "/cart")
HEADS = 1  # of each user's requests, beside those for PATHS
READ_TIMEOUT = 0.5

Reply = Callable[[Peer, bytes], None]


def _well(peer: Peer, whole: bytes) -> None:
    peer.send(whole)


def _after_103(peer: Peer, whole: bytes) -> None:
    peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </shop.css>; rel=preload\r\n\r\n" + whole)


def _long_after_102(peer: Peer, whole: bytes) -> None:
    for _ in range(2):
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(0.01)
    peer.send(whole)


def _twice(peer: Peer, whole: bytes) -> None:
    peer.send(whole + whole)


def _again_after_the_end(peer: Peer, whole: bytes) -> None:
    peer.send(whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    time.sleep(0.01)
    peer.send(whole)
    raise ConnectionError


def _after_no_content(peer: Peer, whole: bytes) -> None:
    peer.send(b"HTTP/1.1 204 No Content\r\n\r\n" + whole)


def _after_not_modified(peer: Peer, whole: bytes) -> None:
    peer.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole)


def _as_an_error(peer: Peer, whole: bytes) -> None:
    peer.send(whole.replace(b"200 OK", b"500 Internal Server Error"))


def _truncated(peer: Peer, whole: bytes) -> None:
    peer.send(whole[:-9])
    raise ConnectionError


def _cut_in_the_head(peer: Peer, whole: bytes) -> None:
    peer.send(whole[:40])
    raise ConnectionError


def _not_at_all(peer: Peer, whole: bytes) -> None:
    raise ConnectionError


def _too_late(peer: Peer, whole: bytes) -> None:
    time.sleep(READ_TIMEOUT + 0.3)
    peer.send(whole)


REPLIES: dict[Reply, int] = {
    _well: 40,
    _after_103: 10,
    _long_after_102: 10,
    _twice: 8,
    _again_after_the_end: 8,
    _after_no_content: 8,
    _after_not_modified: 4,
    _as_an_error: 4,
    _truncated: 4,
    _cut_in_the_head: 4,
    _not_at_all: 4,
    _too_late: 1,
}


class Reckless:
    """A backend that says who is asking, in one of these ways."""

    def __init__(self) -> None:
        self.used: Counter[Reply] = Counter()
        self._random = random.Random(8)
        self._lock = threading.Lock()

    def answer(self, peer: Peer, call: Call) -> None:
        user = call.bearer.partition(".")[0]
        match call.endpoint:
            case "POST auth/register":
                user = call.body["email"].partition("@")[0]
                peer.send(
                    grant(
                        user,
                        f"{user}.access",
                        refresh_token=f"{user}.again",
                        expires_in=3600,
                        status="201 Created",
                    )
                )
            case "GET auth/me":
                self._reply()(peer, response(record(user)))
            case "GET whoami" | "HEAD whoami":
                self._reply()(peer, response({"mark": user}))
            case _:
                peer.send(refusal("404 Not Found"))

    def _reply(self) -> Reply:
        with self._lock:
            reply = self._random.choices([*REPLIES], [*REPLIES.values()])[0]
            self.used[reply] += 1
        return reply


def _run(line: Line, errands: list[tuple[str | None, Visitor]]) -> list[tuple[Visitor, Answer | None]]:
    return [(visitor, _ask(line, visitor, path)) for path, visitor in errands]


def _ask(line: Line, visitor: Visitor, path: str | None) -> Answer | None:
    """An answer; None when it was cut."""
    with suppress(urllib3.exceptions.ProtocolError):
        return line.get(path, visitor.cookies) if path else line.head("/api/whoami", visitor.cookies)
    return None


# B6.8
def test_two_hundred_users_never_see_each_other(
    start_fleet: StartFleet, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    reckless = Reckless()
    with RawServer(backend(reckless.answer)) as server, ExitStack() as stack:
        url = f"{server.url}/v1"
        site = make_app(url)
        visitors = [register(site) for _ in range(USERS)]
        store_url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
        fleet = start_fleet(
            url,
            store_url,
            workers=2,
            pool_size=1,
            connect_timeout=1,
            read_timeout=READ_TIMEOUT,
            validate_ttl=0,
        )
        lines = stack.enter_context(fleet.lines(CLIENTS))
        errands = list(itertools.product((*PATHS, *[None] * HEADS), visitors))
        random.Random(9).shuffle(errands)
        share = [errands[i::CLIENTS] for i in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            met = [pair for tour in pool.map(_run, lines, share) for pair in tour]
    assert len(met) == USERS * (len(PATHS) + HEADS)
    answered = [(visitor, answer) for visitor, answer in met if answer is not None]
    assert {answer.status for _, answer in answered} <= {200, 204, 304, 500, 502, 503, 504}
    assert all(not answer.cookies for _, answer in answered)
    good = [(visitor, answer) for visitor, answer in answered if answer.mark]
    assert len(good) > len(met) / 3
    for visitor, answer in good:
        assert {answer.mark, answer.json()["data"].get("id", answer.mark)} == {visitor.id}
    assert set(reckless.used) == set(REPLIES)
