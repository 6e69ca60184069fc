"""The audit log as an operator reads it: the line of every type, written by real requests, and what never stands in it."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from queue import SimpleQueue
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import ConfigError, current_user, guest_allowed, login_required
from flask_api_layer.signals import logged_in
from tests.processes import DeadPort, ShopBackend

from .visitors import (
    ADA,
    CREDENTIALS,
    PASSWORD,
    SCRIPT,
    USER,
    Answer,
    Browser,
    MakeApp,
    StubBackend,
    assert_problem,
    grant,
    layered,
    plain,
    record,
)
from .wire import call

Record = dict[str, Any]
DEADLINE = 10
MEMBERS = [
    *("type", "timestamp", "ip", "user_id", "path", "method", "success", "code", "request_id", "metadata"),
]
TYPES = (
    *("auth:success", "auth:fail", "auth:login", "auth:logout", "auth:register", "auth:refresh"),
    *("auth:refresh:fail", "auth:reuse", "auth:guest", "auth:upgrade", "access:denied", "csrf:fail"),
    *("rateLimit:exceeded", "backend:unavailable", "error"),
)
TOKENS = [
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3Iiwi{name}In0.c2lnbmF0dXJlLW9mLXRlc3Rz" for name in ("bm8", "bm9")
]
SPARE = ["refresh-Zk3uQ1x9-one", "refresh-Zk3uQ1x9-two"]
GUEST_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJndWVzdCJ9.Z3Vlc3Qtc2lnbmF0dXJl"
SAID_BY_ERROR = "the customer has a secret"
GUEST_SECRET = "Zk3uQ1x9-guest-credential"
ANSWERS: dict[str, Answer | list[Answer]] = {
    "POST auth/login": grant(TOKENS[0], refreshToken=SPARE[0], expiresIn=3600, user={"id": 7}),
    "POST auth/register": (
        201,
        grant(TOKENS[0], refreshToken=SPARE[0], expiresIn=3600, user={"id": 7})[1],
    ),
    "POST auth/refresh": grant(TOKENS[1], refreshToken=SPARE[1], expiresIn=3600),
    "POST auth/guest": grant(GUEST_TOKEN, expiresIn=3600),
    "GET auth/me": record(roles=["editor"]),
    "POST auth/logout": (200, {"success": True}),
}
_REFUSED = (401, {"success": False, "message": f"{PASSWORD} is wrong"})
_REUSED = (409, {"success": False, "code": "token_reuse"})


@pytest.fixture
def trail() -> Iterator[StringIO]:
    """What a handler of the app's writes of the audit log."""
    handler = logging.StreamHandler(stream := StringIO())
    logger = logging.getLogger("flask_api_layer.audit")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def _read(trail: StringIO) -> list[Record]:
    """Every line, after its form was checked."""
    text = trail.getvalue()
    assert text.isascii()
    # splitlines() knows all breaks of Unicode, and a terminal acts on no other control.
    lines = text.splitlines()
    assert text == "".join(f"{line}\n" for line in lines)
    assert "".join(lines).isprintable() or not lines
    records: list[Record] = [json.loads(line) for line in lines]
    assert all(list(record) == MEMBERS for record in records)
    assert all(len(line) < 50_000 for line in lines)
    return records


def _types(records: list[Record]) -> list[str]:
    return [record["type"] for record in records]


def _views(app: Flask) -> Flask:
    app.add_url_rule("/who", view_func=lambda: current_user.kind, endpoint="who")
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    app.add_url_rule("/admin", view_func=login_required("admin")(lambda: "admin"), endpoint="admin")
    app.add_url_rule("/broken/<path:rest>", view_func=_broken, endpoint="broken")
    app.add_url_rule("/<path:rest>", view_func=login_required("admin")(lambda rest: rest), endpoint="rest")
    return app


def _broken(rest: str) -> str:
    raise ZeroDivisionError(SAID_BY_ERROR)


def _logged_in(browser: Browser, stub: StubBackend) -> None:
    assert browser.post("/api/auth/login", json=CREDENTIALS).status_code == 200


def _who(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    assert browser.visit("/who").text == "user"


def _wrong(browser: Browser, stub: StubBackend) -> None:
    stub.answers["POST auth/login"] = [_REFUSED]
    assert browser.post("/api/auth/login", json=CREDENTIALS).status_code == 401


def _logged_out(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    assert browser.post("/api/auth/logout").status_code == 204


def _registered(browser: Browser, stub: StubBackend) -> None:
    assert browser.post("/api/auth/register", json=CREDENTIALS).status_code == 201


def _refreshed(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    assert browser.post("/api/auth/refresh").status_code == 200


def _refresh_refused(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    stub.answers["POST auth/refresh"] = [_REFUSED]
    assert browser.post("/api/auth/refresh").status_code == 401


def _reused(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    stub.answers["POST auth/refresh"] = [_REUSED]
    assert browser.post("/api/auth/refresh").status_code == 401


def _guest(browser: Browser, stub: StubBackend) -> None:
    stub.answers["GET auth/me"] = [record(id="g-1", type="guest")]
    assert browser.visit("/cart").text == "guest"


def _upgraded(browser: Browser, stub: StubBackend) -> None:
    _guest(browser, stub)
    _logged_in(browser, stub)


def _denied(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    assert browser.fetch("/admin").status_code == 403


def _forged(browser: Browser, stub: StubBackend) -> None:
    _logged_in(browser, stub)
    response = browser.fetch("/api/auth/logout", method="POST", headers={"Sec-Fetch-Site": "cross-site"})
    assert_problem(response, 403, "csrf_cross_site")


def _limited(browser: Browser, stub: StubBackend) -> None:
    for _ in range(10):
        browser.fetch("/api/auth/me")
    assert browser.fetch("/api/auth/me").status_code == 429


def _unavailable(browser: Browser, stub: StubBackend) -> None:
    stub.answers["POST auth/login"] = [(503, {})]
    assert browser.post("/api/auth/login", json=CREDENTIALS).status_code in (502, 503)


def _failed(browser: Browser, stub: StubBackend) -> None:
    assert browser.visit("/broken/x").status_code == 500


@dataclass(frozen=True, slots=True)
class Story:
    """What somebody does, the types that it leaves behind, and some members of the last line."""

    act: Callable[[Browser, StubBackend], None]
    types: list[str]
    path: str
    success: bool = True
    code: str | None = None
    user_id: int | str | None = None
    method: str = "POST"


STORIES = {
    "auth:success": Story(_who, ["auth:login", "auth:success"], "/who", user_id=7, method="GET"),
    "auth:fail": Story(_wrong, ["auth:fail"], "/api/auth/login", False, "login_failed"),
    "auth:login": Story(_logged_in, ["auth:login"], "/api/auth/login", user_id=7),
    "auth:logout": Story(_logged_out, ["auth:login", "auth:logout"], "/api/auth/logout"),
    "auth:register": Story(_registered, ["auth:login", "auth:register"], "/api/auth/register", user_id=7),
    "auth:refresh": Story(_refreshed, ["auth:login", "auth:refresh"], "/api/auth/refresh"),
    "auth:refresh:fail": Story(
        _refresh_refused, ["auth:login", "auth:refresh:fail", "auth:fail"], "/api/auth/refresh", False
    ),
    "auth:reuse": Story(_reused, ["auth:login", "auth:reuse", "auth:fail"], "/api/auth/refresh", False),
    "auth:guest": Story(_guest, ["auth:guest", "auth:success"], "/cart", method="GET"),
    "auth:upgrade": Story(
        _upgraded, ["auth:guest", "auth:success", "auth:upgrade", "auth:login"], "/api/auth/login", user_id=7
    ),
    "access:denied": Story(
        _denied,
        ["auth:login", "auth:success", "access:denied"],
        "/admin",
        False,
        "access_denied",
        7,
        "GET",
    ),
    "csrf:fail": Story(_forged, ["auth:login", "csrf:fail"], "/api/auth/logout", False, "csrf_cross_site"),
    "rateLimit:exceeded": Story(
        _limited, ["rateLimit:exceeded"], "/api/auth/me", False, "rate_limited", method="GET"
    ),
    "backend:unavailable": Story(
        _unavailable, ["backend:unavailable", "auth:fail"], "/api/auth/login", False, "backend_unavailable"
    ),
    "error": Story(_failed, ["error"], "/broken/x", False, method="GET"),
}
SETTINGS = {
    "guest_enabled": True,
    "guest_credentials": {"secret": GUEST_SECRET},
    "rate_limit": "10/day",
    "validate_ttl": 0,
}


def _play(make_app: MakeApp, story: Story, **settings: Any) -> Browser:
    with StubBackend(ANSWERS) as stub:
        browser = plain(_views(make_app(stub.url, **SETTINGS | settings)))
        story.act(browser, stub)
    return browser


# B14.1
def test_there_is_a_story_for_every_type() -> None:
    assert set(STORIES) == set(TYPES)
    assert len(TYPES) == 15


# B14.1, A16
@pytest.mark.parametrize("type_", TYPES)
def test_a_request_leaves_its_lines(make_app: MakeApp, trail: StringIO, type_: str) -> None:
    story = STORIES[type_]
    _play(make_app, story)
    records = _read(trail)
    assert _types(records) == story.types
    [line] = [line for line in records if line["type"] == type_]
    assert (line["success"], line["ip"]) == (story.success, "127.0.0.1")
    if line is records[-1]:
        assert (line["path"], line["method"], line["code"]) == (story.path, story.method, story.code)
        assert line["user_id"] in (story.user_id, "g-1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", line["request_id"])
    assert isinstance(line["metadata"], dict)


# B14.1, DESIGN 1 (promise 1)
@pytest.mark.parametrize("type_", TYPES)
def test_no_line_holds_a_secret(make_app: MakeApp, trail: StringIO, type_: str) -> None:
    browser = _play(make_app, STORIES[type_])
    text = trail.getvalue()
    assert text
    cookies = list(browser.cookies.values())
    secrets = [PASSWORD, ADA, *TOKENS, *SPARE, GUEST_TOKEN, GUEST_SECRET, SAID_BY_ERROR, *cookies]
    assert not [secret for secret in secrets if secret in text]
    assert "eyJ" not in text


# B14.1
@pytest.mark.parametrize("type_", TYPES)
def test_a_type_can_be_chosen_alone(make_app: MakeApp, trail: StringIO, type_: str) -> None:
    _play(make_app, STORIES[type_], audit_events=[type_])
    assert set(_types(_read(trail))) == {type_}


# B14.1
def test_no_type_may_be_chosen_at_all(make_app: MakeApp, trail: StringIO) -> None:
    _play(make_app, STORIES["auth:upgrade"], audit_events=[])
    assert trail.getvalue() == ""


# B14.1
@pytest.mark.parametrize("events", [["auth:logn"], ["auth:login", "AUTH:FAIL"], "auth:login"])
def test_an_unknown_type_is_an_error_at_start(make_app: MakeApp, events: Any) -> None:
    with pytest.raises(ConfigError, match="AUDIT_EVENTS"):
        make_app("http://127.0.0.1:9/v1", audit_events=events)


# B14.1
def test_another_logger_can_be_chosen(
    make_app: MakeApp, trail: StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    _play(make_app, STORIES["auth:login"], audit_logger="shop.security")
    assert trail.getvalue() == ""
    assert [entry.name for entry in caplog.records if "auth:login" in entry.getMessage()] == ["shop.security"]


# B14.1
def test_nobody_reads_the_log_and_nothing_changes(make_app: MakeApp) -> None:
    logger = logging.getLogger("flask_api_layer.audit")
    read = [set(_play(make_app, story).cookies) for story in STORIES.values()]
    logger.propagate = False
    try:
        assert not logger.hasHandlers()
        assert [set(_play(make_app, story).cookies) for story in STORIES.values()] == read
    finally:
        logger.propagate = True


# A16
def test_a_refresh_that_was_due_is_no_failure(
    start_backend: Callable[..., ShopBackend], make_app: MakeApp, trail: StringIO
) -> None:
    browser = plain(_views(make_app(start_backend(ACCESS_TTL=1e-6))))
    browser.log_in()
    assert browser.visit("/who").text == "user"
    records = _read(trail)
    assert _types(records) == ["auth:login", "auth:refresh", "auth:success"]
    assert records[1]["success"]
    assert records[1]["metadata"]["session_id"]


# A16
def test_a_new_guest_of_the_real_backend_is_no_failure(
    backend: ShopBackend, make_app: MakeApp, trail: StringIO
) -> None:
    browser = plain(_views(make_app(backend, guest_enabled=True)))
    assert browser.visit("/cart").text == "guest"
    browser.log_in()
    records = _read(trail)
    assert _types(records) == ["auth:guest", "auth:success", "auth:upgrade", "auth:login"]
    assert records[2]["metadata"]["guest_id"] == records[0]["user_id"] is not None


# A16, B2.3
def test_a_token_type_that_is_refused_is_no_success(make_app: MakeApp, trail: StringIO) -> None:
    with StubBackend(ANSWERS) as stub:
        app = make_app(stub.url, allowed_token_types=["staff"])
        response = plain(app).post("/api/auth/login", json=CREDENTIALS)
    assert_problem(response, 403, "token_type_refused")
    records = _read(trail)
    assert records
    assert not [line for line in records if line["success"]]
    assert records[-1]["code"] == "token_type_refused"


# B14.1
def test_a_visitor_who_is_turned_away_by_hook_and_decorator_is_denied_once(
    make_app: MakeApp, trail: StringIO
) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1", protected_by_default=True))
    plain(app).visit("/admin")
    assert [(line["type"], line["code"]) for line in _read(trail)] == [("access:denied", "login_required")]


# B14.1, B4.7
def test_an_outage_is_neither_failure_nor_success_of_anybody(make_app: MakeApp, trail: StringIO) -> None:
    with DeadPort() as url:
        plain(make_app(url)).post("/api/auth/login", json=CREDENTIALS)
    assert "auth:login" not in _types(_read(trail))
    assert "backend:unavailable" in _types(_read(trail))


# B14.1, B1.7
@pytest.mark.parametrize("sent", ["trace-1", "a\u00e9", "x y", "9" * 65, "", '"}{"'])
def test_the_request_id_of_a_line_is_the_one_of_the_answer(
    make_app: MakeApp, trail: StringIO, sent: str
) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1"))
    headers = {"X-Request-ID": sent.encode().decode("latin-1")}
    response = plain(app).fetch("/admin", headers=headers)
    [line] = _read(trail)
    assert line["request_id"] == response.get_json(force=True)["request_id"]
    assert (line["request_id"] == sent) == (sent == "trace-1")


# Hostile texts

HOSTILE = {
    "line breaks": 'ada\r\n{"type":"auth:login","success":true}\n',
    "lone CR": "ada\rroot",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\x00",
    "Unicode breaks": "ada\u2028root\u2029\x85\x0b\x0c\x1c",
    "bidi": "ada\u202etoor\u2066",
    "no ASCII": "ad\u00e3 \u0627\u0644 \U0001f600",
    "quotes": '","success":true,"x":"\\',
    "1 MB": "x" * 1_000_000,
    "format": "%s %(message)s {0} ${jndi:ldap://x}",
}


# CORPUS 6
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_user_name_leaves_one_line_and_is_not_in_it(
    make_app: MakeApp, trail: StringIO, name: str
) -> None:
    with StubBackend(ANSWERS | {"POST auth/login": _REFUSED}) as stub:
        app = make_app(stub.url)
        response = plain(app).post(
            "/api/auth/login", json={"email": HOSTILE[name], "password": f" {PASSWORD}"}
        )
    # What is refused before the backend is asked is no attempt.
    assert response.status_code == (401 if stub.calls else 413 if name == "1 MB" else 400)
    assert _types(_read(trail)) == ["auth:fail"] * len(stub.calls)
    assert PASSWORD not in trail.getvalue()
    assert all(call.json["password"] == f" {PASSWORD}" for call in stub.calls)


# B14.1
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_of_the_backend_leaves_one_line(
    make_app: MakeApp, trail: StringIO, name: str
) -> None:
    text = HOSTILE[name]
    user = {"id": text, "name": text, "roles": [text], "type": "user"}
    login = grant(TOKENS[0], user=user)
    with StubBackend(ANSWERS | {"POST auth/login": login, "GET auth/me": (200, {"data": user})}) as stub:
        browser = plain(_views(make_app(stub.url, validate_ttl=0)))
        browser.post("/api/auth/login", json=CREDENTIALS)
        browser.fetch("/admin")
    records = _read(trail)
    assert _types(records)[:1] == ["auth:login"]
    assert len(str(records[0]["user_id"])) <= 256


# B14.1
def test_a_lone_surrogate_of_the_backend_leaves_one_line(make_app: MakeApp, trail: StringIO) -> None:
    user = {"id": "\ud800ada", "type": "user"}
    with StubBackend(ANSWERS | {"POST auth/login": grant(TOKENS[0], user=user)}) as stub:
        response = plain(make_app(stub.url)).post("/api/auth/login", json=CREDENTIALS)
    assert response.status_code < 500
    assert "ud800" not in trail.getvalue()
    assert len(_read(trail)) == 1


_PATHS = {
    "line breaks": "/x%0d%0a%7B%22type%22:%22auth:login%22%7D%0a",
    "terminal": "/x%1b[2J%7f%00%c2%9b",
    "Unicode breaks": "/x%e2%80%a8y%e2%80%a9%c2%85",
    "no UTF-8": "/x%ff%fe",
    "lone surrogate": "/x%ed%a0%80",
    "no ASCII": "/caf%c3%a9/%f0%9f%98%80",
    "quotes": "/%22,%22success%22:true",
    "1 MB": "/" + "x" * 1_000_000,
    "in the API": "/api/auth/me%0a",
    "in the API, broken": "/api/%0d%0a",
}


# CORPUS 2, B14.1
@pytest.mark.parametrize("name", _PATHS)
@pytest.mark.parametrize("agent", ["line breaks", "terminal", "no ASCII", "1 MB"])
def test_a_hostile_path_and_agent_leave_one_line_each(
    make_app: MakeApp, trail: StringIO, name: str, agent: str
) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1", rate_limit="1/day"))
    odd = HOSTILE[agent].encode().decode("latin-1")
    environ = {"HTTP_USER_AGENT": odd, "HTTP_REFERER": odd, "HTTP_X_FORWARDED_FOR": odd, "HTTP_COOKIE": odd}
    answers = [call(app, _PATHS[name], environ=environ) for _ in range(2)]
    assert answers[-1].status == 429
    records = _read(trail)
    assert _types(records)[-1] == "rateLimit:exceeded"
    assert len(records[-1]["path"]) <= 1024
    assert "owned" not in trail.getvalue()


# B14.1
@pytest.mark.parametrize("field", ["REMOTE_ADDR", "REQUEST_METHOD", "SCRIPT_NAME"])
@pytest.mark.parametrize("name", HOSTILE)
def test_other_odd_facts_of_a_request_leave_one_line(
    make_app: MakeApp, trail: StringIO, field: str, name: str
) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1", rate_limit="1/day"))
    odd = HOSTILE[name].encode().decode("latin-1")
    for _ in range(2):
        call(app, "/who", environ={field: f"/{odd}" if field == "SCRIPT_NAME" else odd})
    assert _types(_read(trail))[-1] == "rateLimit:exceeded"


# B14.1
@pytest.mark.parametrize("path", [f"/reset/{TOKENS[0]}", f"/{TOKENS[0]}/x", f"/broken/{TOKENS[0]}"])
def test_a_token_in_the_address_is_not_written_down(make_app: MakeApp, trail: StringIO, path: str) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1"))
    browser = plain(app)
    browser.fetch(f"{path}?access_token={TOKENS[1]}&code={SPARE[0]}", headers={"Referer": f"/{TOKENS[0]}"})
    [line] = _read(trail)
    assert "[token]" in line["path"]
    assert not [secret for secret in (*TOKENS, *SPARE) if secret in trail.getvalue()]
    assert "?" not in line["path"]


# B14.1, B3.5
def test_cookies_and_bearers_of_a_client_are_not_written_down(make_app: MakeApp, trail: StringIO) -> None:
    app = _views(make_app("http://127.0.0.1:9/v1"))
    headers = SCRIPT | {"Authorization": f"Bearer {SPARE[0]}", "X-Request-ID": TOKENS[0]}
    Browser(app, cookies={USER: SPARE[1]}).fetch("/admin", headers=headers)
    assert _types(_read(trail)) == ["access:denied"]
    assert not [secret for secret in (*TOKENS, *SPARE) if secret in trail.getvalue()]


# Sinks


def _sink_of(browser_url: str, sink: Any, **settings: Any) -> Any:
    """An app whose audit goes to ``sink``."""
    return layered(browser_url, audit_sink=sink, **SETTINGS | settings)


# B14.1
def test_a_sink_gets_the_records_in_place_of_the_logger(trail: StringIO) -> None:
    taken: SimpleQueue[Record] = SimpleQueue()
    with StubBackend(ANSWERS) as stub, _sink_of(stub.url, taken.put) as (app, layer):
        app.register_blueprint(layer.blueprint)
        _who(plain(_views(app)), stub)
    records = [taken.get(timeout=DEADLINE) for _ in range(2)]
    assert _types(records) == ["auth:login", "auth:success"]
    assert [list(line) for line in records] == [MEMBERS] * 2
    assert trail.getvalue() == ""


# B14.1
def test_a_sink_is_narrowed_too() -> None:
    taken: SimpleQueue[Record] = SimpleQueue()
    with (
        StubBackend(ANSWERS) as stub,
        _sink_of(stub.url, taken.put, audit_events=["auth:success"]) as (app, layer),
    ):
        app.register_blueprint(layer.blueprint)
        _who(plain(_views(app)), stub)
    assert taken.get(timeout=DEADLINE)["type"] == "auth:success"
    assert taken.empty()


# B14.1
@pytest.mark.parametrize(
    "error", [OSError("the collector is away"), SystemExit(3), KeyboardInterrupt()], ids=repr
)
def test_a_sink_that_raises_changes_no_answer(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    asked: SimpleQueue[Record] = SimpleQueue()

    def sink(line: Record) -> None:
        asked.put(line)
        raise error

    with StubBackend(ANSWERS) as stub, _sink_of(stub.url, sink) as (app, layer):
        app.register_blueprint(layer.blueprint)
        browser = plain(_views(app))
        _denied(browser, stub)
        assert browser.visit("/broken/x").status_code == 500
    assert _types([asked.get(timeout=DEADLINE) for _ in range(4)])[-1] == "error"
    assert [entry.message for entry in caplog.records if entry.name == "flask_api_layer"][:1] == [
        "the audit sink failed"
    ]


# B14.1
def test_a_sink_that_hangs_keeps_no_request() -> None:
    taken: SimpleQueue[Record] = SimpleQueue()
    may_go_on = threading.Event()

    def sink(line: Record) -> None:
        assert may_go_on.wait(DEADLINE)
        taken.put(line)

    with StubBackend(ANSWERS) as stub, _sink_of(stub.url, sink) as (app, layer):
        app.register_blueprint(layer.blueprint)
        _who(plain(_views(app)), stub)
        assert taken.empty()
        may_go_on.set()
        assert _types([taken.get(timeout=DEADLINE) for _ in range(2)]) == ["auth:login", "auth:success"]


# B14.1
def test_the_sinks_of_two_apps_are_apart() -> None:
    queues = [SimpleQueue[Record](), SimpleQueue[Record]()]
    with (
        StubBackend(ANSWERS) as stub,
        _sink_of(stub.url, queues[0].put) as (one, layer),
        _sink_of(stub.url, queues[1].put) as (two, other),
    ):
        one.register_blueprint(layer.blueprint)
        two.register_blueprint(other.blueprint)
        _logged_in(plain(one), stub)
        _failed(plain(_views(two)), stub)
    found = [queue.get(timeout=DEADLINE)["type"] for queue in queues]
    assert found == ["auth:login", "error"]
    assert all(queue.empty() for queue in queues)


# B14.1
def test_another_subscriber_that_fails_does_not_silence_the_log(
    make_app: MakeApp, trail: StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    def listen(_: object, **values: Any) -> None:
        raise ValueError("a subscriber failed")

    with StubBackend(ANSWERS) as stub:
        app = make_app(stub.url)
        with logged_in.connected_to(listen, sender=app):
            _logged_in(plain(app), stub)
    assert _types(_read(trail)) == ["auth:login"]
    assert "a subscriber failed" in caplog.text
