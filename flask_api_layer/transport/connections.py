"""Connections to one backend: every wait has a limit, and a connection is used again only when it is known to be in step."""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from time import monotonic

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util import wait_for_read

from .framing import (
    ClientLeft,
    Garbled,
    Head,
    Request,
    TimedOut,
    TransportError,
    Unreachable,
    check_beginning,
    framed,
    parse_head,
)

CHUNK = 64 * 1024
_MAX_INTERIM = 16

# Below the 5 s after which Node, uvicorn and Apache hang up; requests that cannot be repeated also stay below gunicorn's 2 s, since
# a server that closes just when they arrive leaves no way to tell whether they were carried out.
MAX_IDLE = 4.0
MAX_IDLE_UNREPEATABLE = 1.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds: for a connection, for the next bytes, and in all."""

    connect: float
    read: float
    total: float


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the backend listens."""

    scheme: str
    host: str
    port: int
    netloc: str


# What a socket raises; ValueError comes from ssl when another thread closed it, and from host names that cannot be encoded.
_BROKEN = (OSError, ValueError)


def _named(error: Exception) -> TransportError:
    if isinstance(error, TimeoutError):
        return TimedOut("The backend did not answer in time")
    return Unreachable("The backend cannot be reached, or the connection broke")


def _has_left(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        # A TLS socket lets nobody peek.
        return False


class Wire:
    """One open connection.

    ``idle`` limits each wait, ``deadline`` (on the monotonic clock) all of them together: against a peer that sends a byte now and
    then (slowloris), a socket timeout alone never ends.
    """

    __slots__ = ("_sock", "_wait", "client", "deadline", "heard", "idle", "idle_since", "unread")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._wait = sock.gettimeout()
        self.idle: float | None = None
        self.deadline: float | None = None
        self.unread = b""
        self.heard = False
        self.idle_since = 0.0
        # The socket of whoever waits for this answer: when they leave, nobody needs it any more.
        self.client: socket.socket | None = None

    def send(self, data: bytes) -> None:
        """Hand all of ``data`` to the network; each piece has its own wait, so large bodies need progress, not speed."""
        # A view, so that no piece of a large body is copied.
        view = memoryview(data) if len(data) > CHUNK else data
        for start in range(0, len(view), CHUNK):
            wait = self._patience()
            try:
                self._limit(wait)
                piece = view[start : start + CHUNK]
                # Nearly always all of it; under gevent, sendall costs a good deal more.
                if (sent := self._sock.send(piece)) < len(piece):
                    self._sock.sendall(piece[sent:])
            except _BROKEN as error:
                raise _named(error) from error

    def receive(self) -> bytes:
        """What has arrived, as soon as there is something; empty when the backend closed its side."""
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        self._stay_while_client_does()
        wait = self._patience()
        try:
            self._limit(wait)
            data = self._sock.recv(CHUNK)
        except _BROKEN as error:
            raise _named(error) from error
        self.heard = self.heard or bool(data)
        return data

    def _stay_while_client_does(self) -> None:
        """Wait for the backend, but not for longer than the client does."""
        if self.client is None or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
            return
        wait = self._patience()
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self.client, select.POLLIN)
        ready = dict(poller.poll(None if wait is None else wait * 1000))
        if self._sock.fileno() in ready or not ready:
            return
        if _has_left(self.client):
            raise ClientLeft("Nobody waits for this answer any more")
        # It is sending already what comes after this request; from here on its leaving cannot be seen.
        self.client = None

    def _limit(self, wait: float | None) -> None:
        # Each change is a system call, and the read timeout rarely changes.
        if wait != self._wait:
            self._sock.settimeout(wait)
            self._wait = wait

    def _patience(self) -> float | None:
        if self.deadline is None:
            return self.idle
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimedOut("The backend did not answer in time")
        return left if self.idle is None else min(left, self.idle)

    def read_head(self, method: str) -> Head:
        """The head of the final answer.

        Interim answers (100, 102, 103) are skipped: :mod:`http.client` takes 102 and 103 for the final one and leaves that to the
        connection's next user.
        """
        for _ in range(_MAX_INTERIM):
            head = parse_head(self._read_until_empty_line(), method)
            if head.status >= 200:
                return head
        raise Garbled("The backend sent too many interim answers")

    def _read_until_empty_line(self) -> bytes:
        data = b""
        while more := self.receive():
            data += more
            end = data.find(b"\r\n\r\n") + 4
            head = data[:end] if end >= 4 else data
            check_beginning(head)
            if end >= 4:
                self.unread = data[end:]
                return head
        raise Unreachable("The backend closed the connection before it answered")

    def is_alive(self) -> bool:
        """Nothing has arrived since the last answer: neither bytes that nobody asked for nor the end of the connection."""
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                # It lets nobody peek.
                return not wait_for_read(self._sock, 0.0)
            # Not by select or poll, which cost a turn of the hub under gevent.
            self._limit(0.0)
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except _BROKEN:
            pass
        return False

    def close(self) -> None:
        """Close, also while another thread waits for data: only a shutdown wakes it."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self.abandon()

    def abandon(self) -> None:
        """Close this process's copy; a parent that shares the connection keeps it."""
        with suppress(OSError):
            self._sock.close()


class Pool:
    """The connections to one backend: idle ones are kept, newest first, and none is shared with a forked process.

    It never makes anybody wait: under a burst more than ``size`` connections are open, and the surplus is closed afterwards.
    """

    def __init__(self, origin: Origin, *, size: int) -> None:
        self.origin = origin
        self._size = size
        self._idle_by_process: dict[int, deque[Wire]] = {}
        self._closed = False

    def exchange(self, request: Request, limits: Limits) -> tuple[Wire, Head]:
        """Send ``request`` and read the head of the answer; the caller reads the body, then calls ``put`` or closes the wire.

        A kept connection that turns out dead before any byte of an answer is replaced once, for repeatable requests only.
        """
        deadline = monotonic() + limits.total
        wire = self._take(MAX_IDLE if request.is_repeatable else MAX_IDLE_UNREPEATABLE)
        if wire is not None:
            try:
                return wire, _ask(wire, request, limits, deadline)
            except Unreachable:
                if wire.heard or not request.is_repeatable:
                    raise
        wire = self._connect(limits, deadline)
        return wire, _ask(wire, request, limits, deadline)

    def put(self, wire: Wire) -> None:
        """Keep a connection whose answer was read to its end."""
        idle = self._idle
        if self._closed or len(idle) >= self._size:
            wire.close()
            return
        wire.idle_since = monotonic()
        idle.append(wire)

    def close(self) -> None:
        """Close what is idle now, and what becomes idle later."""
        self._closed = True
        idle = self._idle
        with suppress(IndexError):
            while True:
                idle.pop().close()

    @property
    def _idle(self) -> deque[Wire]:
        pid = os.getpid()
        idle = self._idle_by_process.get(pid)
        if idle is None:
            idle = self._idle_by_process.setdefault(pid, deque())
            for parent in [other for other in list(self._idle_by_process) if other != pid]:
                for wire in self._idle_by_process.pop(parent, ()):
                    wire.abandon()
        return idle

    def _take(self, max_idle: float) -> Wire | None:
        idle = self._idle
        while True:
            try:
                wire = idle.pop()
            except IndexError:
                return None
            if monotonic() - wire.idle_since <= max_idle and wire.is_alive():
                wire.heard = False
                return wire
            wire.close()

    def _connect(self, limits: Limits, deadline: float) -> Wire:
        wait = min(limits.connect, deadline - monotonic())
        if wait <= 0:
            raise TimedOut("The backend did not answer in time")
        try:
            sock = socket.create_connection((self.origin.host, self.origin.port), wait)
            return Wire(self._prepare(sock))
        except _BROKEN as error:
            raise _named(error) from error

    def _prepare(self, sock: socket.socket) -> socket.socket:
        try:
            self._set_options(sock)
            if self.origin.scheme == "http":
                return sock
            # An end without TLS's own goodbye counts as cut short (RFC 9112 section 9.8).
            return self._tls.wrap_socket(sock, server_hostname=self.origin.host, suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise

    @staticmethod
    def _set_options(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # An event stream has no read timeout: let the kernel find out that the backend is gone.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Trusts the system's authorities (``SSL_CERT_FILE`` moves them) and, for hosts that have none, those of requests."""
        context = ssl.create_default_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        context.set_alpn_protocols(["http/1.1"])
        return context


def _ask(wire: Wire, request: Request, limits: Limits, deadline: float) -> Head:
    """The head of the answer; a body that is still coming may take its time, so the total starts anew after it."""
    wire.idle, wire.deadline = limits.read, deadline
    try:
        is_whole = _send(wire, request)
        wire.deadline = wire.deadline or monotonic() + limits.total
        head = wire.read_head(request.method)
        return head if is_whole else head._replace(is_reusable=False)
    except BaseException:
        wire.close()
        raise


def _send(wire: Wire, request: Request) -> bool:
    """False when the backend stopped listening before the end: it may have answered already (413, RFC 9112 section 9.5)."""
    body = request.body
    if body is None or (isinstance(body, bytes) and len(body) <= CHUNK):
        wire.send(request.head + (body or b""))
        return True
    wire.send(request.head)
    if isinstance(body, bytes):
        return _try_send(wire, body)
    wire.deadline = None
    return all(_try_send(wire, piece) for piece in framed(body, request.length))


def _try_send(wire: Wire, data: bytes) -> bool:
    try:
        wire.send(data)
    except Unreachable:
        return False
    return True
