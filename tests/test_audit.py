"""The audit log over whole requests: who is told what, and that nothing it does can hurt a request."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask, got_request_exception

from flask_api_layer import ConfigError, Identity, current_user, guest_allowed, login_required, signals
from flask_api_layer.audit import AuditLog, Courier
from flask_api_layer.sansio.events import EVENT_TYPES, EVENTS
from flask_api_layer.signals import emit

from .integration.visitors import ADA, PASSWORD, MakeApp, StubBackend, grant, plain, record
from .processes import DeadPort, ShopBackend

Record = dict[str, Any]
Shop = Callable[..., Flask]
Lines = Callable[[], list[Record]]
Audit = Callable[..., None]
LOGGER = "tests.audit"
DEADLINE = 10
SIGNALS = [*(told for told in vars(signals).values() if isinstance(told, NamedSignal)), got_request_exception]


@pytest.fixture
def audit() -> Callable[..., None]:
    """Writes an audit log for an app until the test ends."""
    logs: list[AuditLog] = []

    def start(app: Flask, **choices: Any) -> None:
        logs.append(AuditLog(app, **({} if "sink" in choices else {"logger": LOGGER}) | choices))

    return start


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Record]]:
    """What stands in the audit log."""

    def read() -> list[Record]:
        return [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == LOGGER]

    return read


@pytest.fixture
def quiet() -> Iterator[logging.Logger]:
    """The logger as if nobody had set it up."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@pytest.fixture
def shop(make_app: MakeApp) -> Callable[..., Flask]:
    """A storefront with views of its own."""

    def make(backend: ShopBackend | str, **settings: Any) -> Flask:
        app = make_app(backend, **settings)
        app.add_url_rule("/who", view_func=lambda: current_user.kind, endpoint="who")
        app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
        app.add_url_rule("/admin", view_func=login_required("admin")(lambda: "admin"), endpoint="admin")
        app.add_url_rule("/broken", view_func=_broken, endpoint="broken")
        app.add_url_rule("/broken-account", view_func=_broken_account, endpoint="broken_account")
        return app

    return make


def _broken() -> str:
    raise ZeroDivisionError("the customer's secret")


def _broken_account() -> str:
    raise LookupError(current_user["email"])


def take(queue: SimpleQueue[Record], count: int) -> list[Record]:
    """The next records that a sink was given."""
    return [queue.get(timeout=DEADLINE) for _ in range(count)]


def types(records: list[Record]) -> list[str]:
    return [record["type"] for record in records]


# B14.1
def test_a_visit_from_login_to_logout(audit: Audit, backend: ShopBackend, shop: Shop, lines: Lines) -> None:
    app = shop(backend)
    audit(app)
    browser = plain(app)
    browser.log_in()
    browser.visit("/who?token=in-the-query")
    browser.post("/api/auth/refresh")
    browser.post("/api/auth/logout")
    browser.visit("/who")
    assert types(lines()) == ["auth:login", "auth:success", "auth:refresh", "auth:logout"]
    login, success, refresh, logout = lines()
    assert (login["path"], login["method"], login["ip"]) == ("/api/auth/login", "POST", "127.0.0.1")
    assert success["path"] == "/who"
    assert success["user_id"] == login["user_id"] is not None
    assert refresh["metadata"]["session_id"] == logout["metadata"]["session_id"]
    assert all(line["success"] for line in lines())


# A16
def test_a_new_guest_is_no_failure(audit: Audit, backend: ShopBackend, shop: Shop, lines: Lines) -> None:
    app = shop(backend, guest_enabled=True)
    audit(app)
    browser = plain(app)
    browser.visit("/cart")
    assert types(lines()) == ["auth:guest", "auth:success"]
    browser.log_in()
    assert types(lines())[2:] == ["auth:upgrade", "auth:login"]
    assert lines()[2]["metadata"] == {"guest_id": lines()[0]["user_id"]}


# B14.1
def test_a_wrong_password_is_not_written_down(
    audit: Audit, backend: ShopBackend, shop: Shop, caplog: pytest.LogCaptureFixture, lines: Lines
) -> None:
    app = shop(backend)
    audit(app)
    plain(app).post("/api/auth/login", json={"email": ADA, "password": "no-demo-password"})
    [line] = lines()
    assert (line["type"], line["success"], line["code"]) == ("auth:fail", False, "login_failed")
    assert "no-demo-password" not in caplog.text
    assert ADA not in caplog.text


def test_who_is_denied_is_named(audit: Audit, backend: ShopBackend, shop: Shop, lines: Lines) -> None:
    app = shop(backend)
    audit(app)
    browser = plain(app)
    browser.log_in()
    response = browser.fetch("/admin", headers={"X-Request-ID": "trace-1"})
    assert response.status_code == 403
    denied = lines()[-1]
    assert (denied["type"], denied["code"], denied["success"]) == ("access:denied", "access_denied", False)
    assert denied["request_id"] == response.get_json(force=True)["request_id"] == "trace-1"
    assert denied["user_id"] == lines()[0]["user_id"]


# A16
def test_a_visitor_who_is_sent_to_the_login_is_denied_and_no_success(
    audit: Audit, shop: Shop, lines: Lines
) -> None:
    with DeadPort() as url:
        app = shop(url)
        audit(app)
        plain(app).visit("/admin")
    assert [(line["type"], line["code"]) for line in lines()] == [("access:denied", "login_required")]


def test_an_outage_is_written_down(audit: Audit, shop: Shop, lines: Lines) -> None:
    with DeadPort() as url:
        app = shop(url)
        audit(app)
        plain(app).post("/api/auth/login", json={"email": ADA, "password": PASSWORD})
    assert lines()[0]["type"] == "backend:unavailable"
    assert lines()[0]["metadata"] == {"endpoint": "login"}


def test_an_error_says_its_class_alone(audit: Audit, backend: ShopBackend, shop: Shop, lines: Lines) -> None:
    app = shop(backend)
    audit(app)
    assert plain(app).visit("/broken").status_code == 500
    [line] = lines()
    assert (line["type"], line["success"]) == ("error", False)
    assert line["metadata"] == {"exception": "ZeroDivisionError"}
    assert line["request_id"]


def test_nobody_is_asked_for_a_log_line(audit: Audit, backend: ShopBackend, shop: Shop, lines: Lines) -> None:
    app = shop(backend, validate_ttl=0)
    audit(app, events=["error"])
    browser = plain(app)
    browser.log_in()
    browser.visit("/broken")
    assert backend.calls("GET auth/me") == 0
    browser.visit("/broken-account")
    assert backend.calls("GET auth/me") == 1
    assert [line["user_id"] is None for line in lines()] == [True, False]


def test_a_login_without_a_known_user_has_no_user(audit: Audit, shop: Shop, lines: Lines) -> None:
    with StubBackend({"POST auth/login": grant(), "GET auth/me": (500, {})}) as stub:
        app = shop(stub.url)
        audit(app, events=["auth:login", "auth:success"])
        browser = plain(app)
        browser.log_in()
        stub.answers["GET auth/me"] = [record()]
        browser.visit("/who")
    assert [(line["type"], line["user_id"]) for line in lines()] == [
        ("auth:login", None),
        ("auth:success", 7),
    ]


# Choices


def test_every_signal_is_an_event() -> None:
    assert {signal.name for signal in SIGNALS} == set(EVENTS)


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_each_type_can_be_chosen_alone(audit: Audit, type_: str, lines: Lines) -> None:
    app = Flask("shop")
    audit(app, events=(type_,))
    for signal in SIGNALS:
        emit(signal, app, identity=Identity("user", 7))
    assert set(types(lines())) == {type_}
    assert all(line["ip"] is line["path"] is line["request_id"] is None for line in lines())


def test_a_type_that_is_not_chosen_costs_nothing(audit: Audit) -> None:
    app = Flask("shop")
    audit(app, events=("auth:login",))
    connected = [signal.name for signal in SIGNALS if list(signal.receivers_for(app))]
    assert connected == ["logged-in"]


def test_two_apps_do_not_mix(audit: Audit, backend: ShopBackend, shop: Shop) -> None:
    one, two = shop(backend), shop(backend)
    of_one, of_two = SimpleQueue[Record](), SimpleQueue[Record]()
    audit(one, sink=of_one.put)
    audit(two, sink=of_two.put)
    plain(one).log_in()
    plain(two).visit("/broken")
    assert [types(take(of_one, 1)), types(take(of_two, 1))] == [["auth:login"], ["error"]]
    assert of_one.empty()
    assert of_two.empty()


def test_a_log_that_nobody_holds_is_silent() -> None:
    app, heard = Flask("shop"), list[Record]()
    log = AuditLog(app, sink=heard.append)
    del log
    gc.collect()
    emit(signals.logged_out, app, session_id=None)
    assert heard == []


# The logger


def test_the_logger_gets_a_level_but_no_handler(quiet: logging.Logger) -> None:
    AuditLog(Flask("shop"), logger=quiet.name)
    assert quiet.level == logging.INFO
    assert quiet.handlers == []


def test_a_level_of_its_own_stays(
    audit: Audit, quiet: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    quiet.setLevel(logging.ERROR)
    app = Flask("shop")
    audit(app)
    emit(signals.logged_out, app, session_id=None)
    assert quiet.level == logging.ERROR
    assert caplog.records == []


class _Unready(logging.Handler):
    """A handler that does not even use ``handleError``."""

    asked = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.asked += 1
        raise OSError("no space left on device")


def test_a_handler_that_raises_breaks_no_request(
    audit: Audit, backend: ShopBackend, shop: Shop, quiet: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    quiet.addHandler(_Unready())
    app = shop(backend)
    audit(app)
    browser = plain(app)
    browser.log_in()
    assert browser.visit("/who").text == "user"
    assert browser.visit("/broken").status_code == 500
    complaints = [entry for entry in caplog.records if entry.name == "flask_api_layer"]
    assert len(complaints) == 3


def test_even_complaining_may_fail(audit: Audit, quiet: logging.Logger) -> None:
    package = logging.getLogger("flask_api_layer")
    quiet.addHandler(broken := _Unready())
    package.addHandler(broken)
    app = Flask("shop")
    audit(app)
    try:
        _tell_error(app)
    finally:
        package.removeHandler(broken)
    assert broken.asked == 2  # for the line, and for the complaint about it


def _tell_error(app: Flask) -> None:
    """As Flask does, which lets a subscriber's exception through."""
    got_request_exception.send(app, exception=KeyError())


# The sink


def test_a_simple_sink_has_the_record_at_once() -> None:
    heard: list[Record] = []
    courier = Courier(heard.append, patience=DEADLINE)
    courier.write({"n": 1})
    assert heard == [{"n": 1}]
    courier.write({"n": 2})
    assert heard == [{"n": 1}, {"n": 2}]


def test_the_thread_ends_when_there_is_nothing_to_do() -> None:
    workers: list[threading.Thread] = []
    courier = Courier(lambda _: workers.append(threading.current_thread()), patience=DEADLINE, rest=0.01)
    courier.write({})
    workers[0].join(DEADLINE)
    assert not workers[0].is_alive()
    courier.write({})
    assert len(set(workers)) == 2


@pytest.mark.parametrize("error", [OSError("the collector is away"), SystemExit(3)], ids=repr)
def test_a_sink_that_raises_breaks_nothing(
    audit: Audit, backend: ShopBackend, shop: Shop, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    asked: SimpleQueue[Record] = SimpleQueue()

    def sink(record: Record) -> None:
        asked.put(record)
        raise error

    app = shop(backend)
    audit(app, sink=sink)
    browser = plain(app)
    browser.log_in()
    assert browser.visit("/who").text == "user"
    assert browser.visit("/broken").status_code == 500
    assert types(take(asked, 3)) == ["auth:login", "auth:success", "error"]
    # It complained of one before it took the next.
    complaints = [entry for entry in caplog.records if entry.name == "flask_api_layer"]
    assert [entry.getMessage() for entry in complaints][:2] == ["the audit sink failed"] * 2
    assert all("127.0.0.1" not in str(entry.exc_info) for entry in complaints)


def test_a_sink_that_hangs_holds_nobody_up(audit: Audit, backend: ShopBackend, shop: Shop) -> None:
    taken: SimpleQueue[Record] = SimpleQueue()
    may_go_on = threading.Event()

    def sink(record: Record) -> None:
        assert may_go_on.wait(DEADLINE)
        taken.put(record)

    app = shop(backend)
    audit(app, sink=sink)
    browser = plain(app)
    browser.log_in()
    assert browser.visit("/who").text == "user"
    assert browser.visit("/broken").status_code == 500
    assert taken.empty()
    may_go_on.set()
    assert types(take(taken, 3)) == ["auth:login", "auth:success", "error"]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_slow_sink_leaves_behind_is_counted_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    taken: SimpleQueue[Record] = SimpleQueue()
    may_go_on = threading.Event()

    def sink(record: Record) -> None:
        assert may_go_on.wait(DEADLINE)
        taken.put(record)

    clock = Clock()
    courier = Courier(sink, clock=clock)
    for n in range(1004):
        courier.write({"n": n})
    clock.now = 61
    courier.write({"n": 1004})
    may_go_on.set()
    assert take(taken, 1000) == [{"n": n} for n in range(1000)]
    courier.write({"n": 1005})
    assert take(taken, 1) == [{"n": 1005}]
    warnings = [entry.getMessage() for entry in caplog.records]
    assert warnings == [f"the audit sink is too slow: {lost} records were dropped" for lost in (1, 4)]


def test_a_sink_that_asks_the_app_itself_does_not_wait_for_itself(audit: Audit) -> None:
    app, heard = Flask("shop"), SimpleQueue[Record]()

    def sink(record: Record) -> None:
        if record["type"] == "auth:login":
            emit(signals.logged_out, app, session_id=None)
        heard.put(record)

    audit(app, sink=sink)
    emit(signals.logged_in, app, identity=None)
    assert types(take(heard, 2)) == ["auth:login", "auth:logout"]


async def _later(record: Record) -> None:
    """A coroutine would never be awaited."""


@pytest.mark.parametrize("sink", [_later, "stdout"])
def test_a_sink_must_be_a_plain_function(sink: Any) -> None:
    with pytest.raises(ConfigError, match="audit_sink"):
        AuditLog(Flask("shop"), sink=sink)


# Processes


def _run(program: str) -> str:
    """What a process of its own prints."""
    start = """
        import os, sys, threading, time
        from flask import Flask
        from flask_api_layer.audit import AuditLog
        from flask_api_layer.signals import emit, logged_out
        app = Flask("shop")
        def tell(id): emit(logged_out, app, session_id=id)
        def show(record): os.write(1, f"{os.getpid() == first} {record['metadata']['session_id']}\\n".encode())
        first = os.getpid()
    """
    source = textwrap.dedent(start) + textwrap.dedent(program)
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_a_forked_process_has_a_thread_of_its_own() -> None:
    program = """
        may_go_on = threading.Event()
        def sink(record):
            # A record that the parent still owes is not the child's.
            if os.getpid() == first: may_go_on.wait()
            show(record)
        log = AuditLog(app, sink=sink)
        tell("parent")
        child = os.fork()
        if not child:
            tell("child")
            sys.exit()
        os.waitpid(child, 0)
        may_go_on.set()
    """
    assert _run(program).splitlines() == ["False child", "True parent"]


def test_the_last_records_are_not_lost_at_exit() -> None:
    program = """
        def sink(record):
            # Longer than a request waits.
            time.sleep(0.1)
            show(record)
        log = AuditLog(app, sink=sink)
        for id in "abc": tell(id)
    """
    assert _run(program).splitlines() == ["True a", "True b", "True c"]


def test_a_sink_that_hangs_does_not_hold_the_exit_up() -> None:
    program = """
        log = AuditLog(app, sink=lambda record: threading.Event().wait())
        tell("a")
        print("end")
    """
    assert _run(program) == "end\n"
