"""The audit log: one line of JSON per event, or one record for a sink of the app's own. It only subscribes to the signals."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Protocol

from blinker import NamedSignal
from flask import Flask, got_request_exception, has_request_context, request

from . import signals
from .errors import ConfigError
from .sansio.events import EVENTS, NO_REQUEST, Event, RequestFacts, describe, to_line
from .state import RequestState, state_of

Record = dict[str, Any]
AuditSink = Callable[[Record], object]

# Not ``flask_api_layer.audit``: complaints must not stand between the lines of the audit log.
_log = logging.getLogger("flask_api_layer")

_SIGNALS: tuple[NamedSignal, ...] = (
    signals.identity_resolved,
    signals.guest_minted,
    signals.guest_upgraded,
    signals.logged_in,
    signals.login_failed,
    signals.registered,
    signals.logged_out,
    signals.token_refreshed,
    signals.refresh_failed,
    signals.token_reuse,
    signals.session_ended,
    signals.access_denied,
    signals.csrf_failed,
    signals.rate_limited,
    signals.backend_unavailable,
    got_request_exception,
)

_MOST_WAITING = 1000
_EXIT_SECONDS = 1.0
_REPORT_SECONDS = 60.0


class AuditLog:
    """Writes down what the signals of one app tell, for as long as somebody holds it.

    Without a sink, each event is a line at level INFO on a logger. A logger without a level of its own gets INFO, since the root's
    usual WARNING would swallow every line; set a higher level to silence it. It gets no handler: where the app's logging has none for
    it, there are no lines.

    :param events: the types to write; None for all. The others cost nothing.
    :param logger: the name of the logger.
    :param sink: takes each record instead of the logger. It is called in a thread of its own, outside of any app context, one record
        at a time. A request waits for its own record, but for 50 ms at most, and not at all while the sink is behind. Of what a slow
        sink has not taken yet 1,000 records are kept; more are dropped and counted in a warning. At the end of the process it has one
        more second. Texts may hold whatever a client sent, line breaks too: write them with ``json.dumps`` or the like.
    :raises ConfigError: when the sink is not a plain function.
    """

    def __init__(
        self,
        app: Flask,
        *,
        events: Collection[str] | None = None,
        logger: str = "flask_api_layer.audit",
        sink: AuditSink | None = None,
    ) -> None:
        self._writer: _Writer = _Lines(logger) if sink is None else Courier(_checked(sink))
        self._app = app
        # Signals know their receivers weakly.
        self._receivers = {
            signal: partial(self._note, EVENTS[signal.name])
            for signal in _SIGNALS
            if events is None or EVENTS[signal.name].type in events
        }
        for signal, receiver in self._receivers.items():
            signal.connect(receiver, sender=app)
        self.look_again()

    def look_again(self) -> None:
        """Listen to ``identity_resolved`` only while somebody reads what is written.

        It comes with every gated request, and to tell nobody would be a tenth of what that costs. Called with the first requests of a
        process, and with every other event.
        """
        receiver = self._receivers.get(signals.identity_resolved)
        if receiver is None:
            return
        if self._writer.is_heard:
            signals.identity_resolved.connect(receiver, sender=self._app)
        else:
            signals.identity_resolved.disconnect(receiver)

    def _note(self, event: Event, _app: Flask, /, **values: Any) -> None:
        try:
            self.look_again()
            if event.happened(values) and self._writer.is_heard:
                self._writer.write(describe(event, values, _facts(), datetime.now(UTC)))
        except Exception:
            # A handler of the app's may raise, and the app's error handling sends one of these signals: neither may break a request.
            _complain("an event could not be written to the audit log")


def _checked(sink: AuditSink) -> AuditSink:
    if not callable(sink) or iscoroutinefunction(sink):
        raise ConfigError(
            [f"audit_sink: {type(sink).__name__} is no plain function; write one that takes a dict"]
        )
    return sink


def _facts() -> RequestFacts:
    if not has_request_context():
        return NO_REQUEST
    req = request._get_current_object()  # type: ignore[attr-defined]
    state = state_of(req)
    return RequestFacts(
        ip=req.remote_addr,
        path=req.root_path + req.path,
        method=req.method,
        request_id=state.request_id if state else None,
        user_id=_known_id(state) if state else None,
    )


def _known_id(state: RequestState) -> str | int | None:
    """The id of whoever was resolved already: nobody is asked for the sake of a log line."""
    return state.known_identity.id if state.known_identity else None


def _complain(message: str) -> None:
    """Log the exception that is being handled, even where what is broken is the logging."""
    with suppress(Exception):
        _log.exception(message)


class _Writer(Protocol):
    """Where records go."""

    @property
    def is_heard(self) -> bool:
        """Whether a record that is written now reaches anybody."""
        ...

    def write(self, record: Record) -> None: ...


class _Lines:
    """Lines on a logger."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        if self._logger.level == logging.NOTSET:
            self._logger.setLevel(logging.INFO)

    @property
    def is_heard(self) -> bool:
        return self._logger.isEnabledFor(logging.INFO) and self._logger.hasHandlers()

    def write(self, record: Record) -> None:
        self._logger.info(to_line(record))


class Courier:
    """Hands records to a sink that can neither break nor delay a request.

    :param patience: seconds that a record is waited for.
    :param rest: seconds without records after which the thread ends.
    :param clock: seconds, for the warnings.
    """

    is_heard = True

    def __init__(
        self,
        sink: AuditSink,
        *,
        patience: float = 0.05,
        rest: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_lane = partial(_Lane, sink, patience=patience, rest=rest, clock=clock)
        self._lanes: dict[int, _Lane] = {}

    def write(self, record: Record) -> None:
        # A fork copies queue and locks, but not the thread: each process has a lane of its own.
        process = os.getpid()
        lane = self._lanes.get(process)
        if lane is None:
            lane = self._lanes.setdefault(process, self._new_lane())
        lane.put(record)


class _Lane:
    """A queue and the thread that empties it into the sink; the thread runs while there is something to do."""

    def __init__(self, sink: AuditSink, *, patience: float, rest: float, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._patience = patience
        self._rest = rest
        self._clock = clock
        self._process = os.getpid()
        self._lock = Lock()
        self._queue: SimpleQueue[tuple[Record, Flag]] = SimpleQueue()
        self._unfinished = 0
        self._is_idle = Flag()
        self._runs = False
        self._lost = 0
        self._next_report = clock()

    def put(self, record: Record) -> None:
        done = Flag()
        if self._takes(record, done):
            done.wait(self._patience)
        self._report_losses()

    def _takes(self, record: Record, done: Flag) -> bool:
        """Queue the record; whether the sink will get to it at once."""
        with self._lock:
            if self._unfinished >= _MOST_WAITING:
                self._lost += 1
                return False
            self._start()
            self._unfinished += 1
            self._is_idle.clear()
            self._queue.put((record, done))
            return self._unfinished == 1

    def _start(self) -> None:
        if not self._runs:
            Thread(target=self._run, name="flask-api-layer-audit", daemon=True).start()
            self._runs = True
            atexit.register(self._flush)

    def _run(self) -> None:
        while True:
            try:
                record, done = self._queue.get(timeout=self._rest)
            except Empty:
                if self._retires():
                    return
            else:
                self._deliver(record)
                self._settle(done)
            self._report_losses()

    def _retires(self) -> bool:
        with self._lock:
            if self._unfinished or self._lost:
                return False
            self._runs = False
            atexit.unregister(self._flush)
            return True

    def _deliver(self, record: Record) -> None:
        try:
            self._sink(record)
        except BaseException:
            # Not even a SystemExit, or gevent's Timeout, may end the thread: the next records need it.
            _complain("the audit sink failed")

    def _settle(self, done: Flag) -> None:
        with self._lock:
            self._unfinished -= 1
            if not self._unfinished:
                self._is_idle.set()
        done.set()

    def _flush(self) -> None:
        """Give the sink a moment for the last records before the process ends."""
        if os.getpid() == self._process:
            self._is_idle.wait(_EXIT_SECONDS)

    def _report_losses(self) -> None:
        with self._lock:
            now = self._clock()
            if not self._lost or now < self._next_report:
                return
            lost, self._lost = self._lost, 0
            self._next_report = now + _REPORT_SECONDS
        with suppress(Exception):
            _log.warning("the audit sink is too slow: %d records were dropped", lost)
