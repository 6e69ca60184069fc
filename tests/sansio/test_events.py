from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.events import (
    EVENT_TYPES,
    EVENTS,
    LONGEST_PATH,
    LONGEST_TEXT,
    NO_REQUEST,
    RequestFacts,
    describe,
    to_line,
)
from flask_api_layer.sansio.identity import ANONYMOUS, Identity

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"
AT = datetime(2026, 3, 1, 7, 5, 9, 123_987, tzinfo=UTC)
ADA = Identity("user", 7, roles=("admin",), data={"email": "ada@example.com"})
GUEST = Identity("guest", "g-1")
FACTS = RequestFacts("192.0.2.1", "/cart", "GET", "r-1", user_id=5)
MEMBERS = [
    *("type", "timestamp", "ip", "user_id", "path", "method", "success", "code", "request_id", "metadata"),
]


def told(signal: str, facts: RequestFacts = FACTS, **values: Any) -> dict[str, Any]:
    """The line of an event, read back."""
    line = to_line(describe(EVENTS[signal], values, facts, AT))
    assert line.isascii()
    assert line.isprintable()
    record: dict[str, Any] = json.loads(line)
    assert list(record) == MEMBERS
    return record


# B14.1
def test_there_are_fifteen_types() -> None:
    assert sorted(EVENT_TYPES) == [
        *("access:denied", "auth:fail", "auth:guest", "auth:login", "auth:logout", "auth:refresh"),
        *("auth:refresh:fail", "auth:register", "auth:reuse", "auth:success", "auth:upgrade"),
        *("backend:unavailable", "csrf:fail", "error", "rateLimit:exceeded"),
    ]


# B14.1
def test_a_record_says_what_happened_where_and_to_whom() -> None:
    assert told("login-failed", status=401, error_code="login_failed") == {
        "type": "auth:fail",
        "timestamp": "2026-03-01T07:05:09.123Z",
        "ip": "192.0.2.1",
        "user_id": 5,
        "path": "/cart",
        "method": "GET",
        "success": False,
        "code": "login_failed",
        "request_id": "r-1",
        "metadata": {"status": 401},
    }


@pytest.mark.parametrize(
    ("signal", "values", "type_", "success", "code", "metadata"),
    [
        ("identity-resolved", {"identity": ADA}, "auth:success", True, None, {"kind": "user"}),
        ("session-ended", {"session_id": "s", "reason": "reuse"}, "auth:fail", False, "session_expired", ...),
        ("logged-in", {"identity": ADA}, "auth:login", True, None, {"kind": "user"}),
        ("logged-in", {"identity": None}, "auth:login", True, None, {}),
        ("logged-out", {"session_id": "s"}, "auth:logout", True, None, ...),
        ("logged-out", {"session_id": None}, "auth:logout", True, None, {}),
        ("registered", {"identity": None}, "auth:register", True, None, {}),
        ("token-refreshed", {"session_id": "s", "kind": "user"}, "auth:refresh", True, None, ...),
        (
            "refresh-failed",
            {"session_id": "s", "kind": "user", "reason": "network"},
            *("auth:refresh:fail", False, None, ...),
        ),
        ("token-reuse", {"session_id": "s", "kind": "user"}, "auth:reuse", False, None, ...),
        ("guest-minted", {"identity": GUEST}, "auth:guest", True, None, {"kind": "guest"}),
        ("guest-upgraded", {"guest": GUEST, "user": ADA}, "auth:upgrade", True, None, {"guest_id": "g-1"}),
        ("guest-upgraded", {"guest": None, "user": None}, "auth:upgrade", True, None, {}),
        (
            "access-denied",
            {"identity": ANONYMOUS, "error_code": "login_required"},
            *("access:denied", False, "login_required", {"kind": "anonymous"}),
        ),
        (
            "csrf-failed",
            {"error_code": "csrf_failed", "why": "origin"},
            *("csrf:fail", False, "csrf_failed", {"why": "origin"}),
        ),
        (
            "rate-limited",
            {"limit": "10 per 1 minute", "scope": "login"},
            *("rateLimit:exceeded", False, "rate_limited", ...),
        ),
        (
            "backend-unavailable",
            {"endpoint": "me"},
            *("backend:unavailable", False, "backend_unavailable", ...),
        ),
        (
            "got-request-exception",
            {"exception": KeyError(JWT)},
            "error",
            False,
            None,
            {"exception": "KeyError"},
        ),
    ],
)
def test_each_signal_becomes_its_event(
    signal: str, values: dict[str, Any], type_: str, success: bool, code: str | None, metadata: Any
) -> None:
    """An ellipsis: all values that are not in another member."""
    record = told(signal, request_id="r-1", **values)
    assert (record["type"], record["success"], record["code"]) == (type_, success, code)
    assert record["metadata"] == (values if metadata is ... else metadata)


# A16
@pytest.mark.parametrize(
    ("identity", "happened"), [(ADA, True), (GUEST, True), (ANONYMOUS, False), (None, False)]
)
def test_a_visitor_who_is_nobody_is_not_a_success(identity: Identity | None, happened: bool) -> None:
    assert EVENTS["identity-resolved"].happened({"identity": identity}) is happened
    assert EVENTS["access-denied"].happened({"identity": identity})


def test_an_answer_from_memory_says_so() -> None:
    stale = Identity("user", 7, degraded=True)
    assert told("identity-resolved", identity=stale)["metadata"] == {"kind": "user", "degraded": True}


@pytest.mark.parametrize(
    ("values", "user_id"),
    [
        ({"identity": ADA}, 7),
        ({"guest": GUEST, "user": ADA}, 7),
        ({"identity": Identity("user", "u-1")}, "u-1"),
        ({"identity": Identity("user", 0)}, 0),
        ({"identity": Identity("user", None)}, 5),
        ({"identity": None}, 5),
        ({}, 5),
        ({"identity": Identity("user", 10**5000)}, None),
    ],
)
def test_the_user_is_the_one_of_the_event_before_the_one_of_the_request(
    values: dict[str, Any], user_id: str | int | None
) -> None:
    assert told("logged-in", **values)["user_id"] == user_id


def test_outside_a_request_nothing_is_known_of_one() -> None:
    record = told("backend-unavailable", NO_REQUEST, endpoint="me")
    unknown = ("ip", "user_id", "path", "method", "request_id")
    assert [record[name] for name in unknown] == [None] * 5


def everywhere(text: str) -> tuple[str, dict[str, Any]]:
    """The line of an event in which every text is this one, and the record it says."""
    facts = RequestFacts(text, text, text, text)
    values = {"identity": Identity("user", text), "error_code": text}
    values |= dict.fromkeys(("limit", "scope"), text)
    line = to_line(describe(EVENTS["rate-limited"], values, facts, AT))
    return line, json.loads(line)


# B14.1
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('a\r\n{"type":"auth:login"}', 'a\r\n{"type":"auth:login"}'),
        ("\x1b[2J\x1b]0;owned\x07", "\x1b[2J\x1b]0;owned\x07"),
        ("a\u2028b\u2029c\x85d\x00", "a\u2028b\u2029c\x85d\x00"),
        ("çay 🫖", "çay 🫖"),
        ('"quoted" \\', '"quoted" \\'),
        ("a\x7fb", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("%s %(x)s {}", "%s %(x)s {}"),
    ],
    ids=ascii,
)
def test_no_text_leaves_its_line(text: str, shown: str) -> None:
    line, record = everywhere(text)
    assert line.isascii()
    assert line.isprintable()
    assert [record["path"], record["user_id"], record["metadata"]["scope"]] == [shown] * 3


# B14.1
@pytest.mark.parametrize("character", ["a", "\n", "é", "🫖", "\ud800", '"'], ids=ascii)
def test_a_line_has_an_end(character: str) -> None:
    line, record = everywhere(character * 2**20)
    assert len(line) <= 48 * 1024
    assert {name: len(record[name]) for name in ("ip", "method", "path")} == {
        "ip": LONGEST_TEXT,
        "method": LONGEST_TEXT,
        "path": LONGEST_PATH,
    }
    assert record["path"].endswith("...")


# B14.1
@pytest.mark.parametrize("text", [JWT, f"Bearer {JWT}", "x" * LONGEST_PATH + JWT, f"{JWT}{'x' * 2000}"])
def test_no_token_is_written_down(text: str) -> None:
    line, record = everywhere(text)
    assert "eyJ" not in line
    assert record["user_id"] == record["metadata"]["scope"] == "[token]"


def test_the_path_around_a_token_stays() -> None:
    facts = RequestFacts(path=f"/verify/{JWT}/now")
    assert told("logged-in", facts)["path"] == "/verify/[token]/now"


# B14.1
@pytest.mark.parametrize("name", ["password", "token", "access_token", "refresh_token", "cookie", "email"])
def test_what_is_not_listed_is_not_written_down(name: str) -> None:
    for signal in EVENTS:
        line = to_line(describe(EVENTS[signal], {name: "s3cret"}, FACTS, AT))
        assert "s3cret" not in line
        assert name not in json.loads(line)["metadata"]


def test_the_record_of_somebody_is_not_written_down() -> None:
    assert "example.com" not in to_line(describe(EVENTS["logged-in"], {"identity": ADA}, FACTS, AT))


@pytest.mark.parametrize(
    "value", [{"password": "x"}, [1], b"x", 1.5, float("nan"), object(), 2**70], ids=repr
)
def test_a_value_that_is_no_text_or_number_is_left_out(value: object) -> None:
    assert told("refresh-failed", reason=value, error_code=value)["metadata"] == {}


@given(st.text(st.characters()), st.sampled_from(sorted(EVENTS)))
def test_every_line_is_one_line_of_json(text: str, signal: str) -> None:
    values = {"identity": Identity("user", text)} | dict.fromkeys(EVENTS[signal].details, text)
    record = told(signal, RequestFacts(text, text, text, text, text), error_code=text, **values)
    assert record["type"] == EVENTS[signal].type
