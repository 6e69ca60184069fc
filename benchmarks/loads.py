"""Many requests at once over connections that are kept alive: by wrk where it is installed, else by a loop of our own."""

from __future__ import annotations

import http.client
import re
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from tests.races.fleet import frozen

from .servers import HOST

CONNECTIONS = 32
TIMEOUT = 10.0  # seconds for one answer
_ACCEPTING = 0.1  # seconds: ample for a worker to accept its share
_RATE = re.compile(r"Requests/sec:\s*([\d.]+)")
_FAULTS = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """A GET request, the same every time.

    :param rivals: workers of which each is to get as many of the connections.
    """

    port: int
    path: str
    headers: Mapping[str, str] = field(repr=False)
    rivals: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it.

    :param rate: good answers in a second.
    :param faults: what else there was, in words; empty when all is well.
    """

    rate: float
    faults: str = ""


def answer_to(ask: Ask) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = http.client.HTTPConnection(HOST, ask.port, timeout=TIMEOUT)
    try:
        connection.request("GET", ask.path, headers=dict(ask.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def refuses_strangers(ask: Ask) -> bool:
    """Whether the same request without cookies is sent away."""
    headers = {name: value for name, value in ask.headers.items() if name != "Cookie"}
    status, _ = answer_to(replace(ask, headers=headers))
    return status in (302, 401)


def load(ask: Ask, seconds: int) -> Load:
    """Ask for so long, over 32 connections."""
    return _with_wrk(ask, seconds) if shutil.which("wrk") else _with_loop(ask, seconds)


def warm_up(ask: Ask) -> Load:
    """A moment of the same, so that every worker has its connections and caches."""
    return _with_loop(ask, 0.3)


def _with_wrk(ask: Ask, seconds: int) -> Load:
    headers = [text for name, value in ask.headers.items() for text in ("-H", f"{name}: {value}")]
    with ExitStack() as stack:
        running = [
            stack.enter_context(_wrk(count, seconds, *headers, f"http://{HOST}:{ask.port}{ask.path}"))
            for count in shares(ask)
        ]
        texts = [process.communicate()[0] for process in running]
    rates = [found for text in texts if (found := _RATE.search(text))]
    assert len(rates) == len(texts), texts
    faults = [match[0] for text in texts for match in _FAULTS.finditer(text)]
    return _told(sum(float(rate[1]) for rate in rates), "; ".join(faults))


def _wrk(connections: int, seconds: int, *arguments: str) -> subprocess.Popen[str]:
    threads = 2 if connections == CONNECTIONS else 1
    size = (f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT:.0f}s")
    return subprocess.Popen(["wrk", *size, *arguments], stdout=subprocess.PIPE, text=True)  # noqa: S603, S607


def shares(ask: Ask) -> Iterator[int]:
    """How many connections to open next; of several workers, one at a time accepts while the others stand still."""
    for worker in ask.rivals or (None,):
        with ExitStack() as stack:
            others = [other for other in ask.rivals if other != worker]
            for other in others:
                stack.enter_context(frozen(other))
            yield CONNECTIONS // max(1, len(ask.rivals))
            if others:
                time.sleep(_ACCEPTING)


class _Line:
    """One connection of the loop."""

    def __init__(self, ask: Ask) -> None:
        lines = [f"GET {ask.path} HTTP/1.1", f"Host: {HOST}:{ask.port}"]
        lines += [f"{name}: {value}" for name, value in ask.headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode("ascii")
        self._received = bytearray()
        self.sock = socket.create_connection((HOST, ask.port), timeout=TIMEOUT)

    def ask(self) -> None:
        self.sock.sendall(self._request)

    def hear(self) -> bool | None:
        """Whether a whole answer is good; None as long as it is not whole."""
        try:
            received = self.sock.recv(1 << 18)
        except ConnectionError:
            return False
        if not received:
            return False
        self._received += received
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return None
        is_good = length is not None and head.startswith(b"HTTP/1.1 200 ")
        self._received.clear()
        return is_good


def _with_loop(ask: Ask, seconds: float) -> Load:
    good = bad = 0
    with _lines(ask) as selector:
        begin = time.monotonic()
        while time.monotonic() - begin < seconds and not bad:
            for key, _ in selector.select(TIMEOUT):
                match key.data.hear():
                    case True:
                        good += 1
                        key.data.ask()
                    case False:
                        bad += 1
        elapsed = time.monotonic() - begin
    return _told(good / elapsed, f"{bad} bad answers" if bad else "")


def _told(rate: float, faults: str) -> Load:
    return Load(rate, faults if rate else faults or "no answer at all")


@contextmanager
def _lines(ask: Ask) -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        try:
            for count in shares(ask):
                for _ in range(count):
                    line = _Line(ask)
                    selector.register(line.sock, selectors.EVENT_READ, line)
                    line.ask()
            yield selector
        finally:
            for key in list(selector.get_map().values()):
                key.data.sock.close()
