"""What a visitor of the shop does, and what their browser is told."""

from __future__ import annotations

from typing import Any, Protocol

from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

USER_COOKIE = "__Host-Http-api-user"
GUEST_COOKIE = "__Host-Http-api-guest"
PASSWORD = "demo-password"
WEEK = 7 * 24 * 3600

# A browser says this of a page's own scripts.
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


class Answered(Protocol):
    @property
    def headers(self) -> Headers: ...


class Refused(Answered, Protocol):
    @property
    def status_code(self) -> int: ...
    @property
    def json(self) -> Any | None: ...


def log_in(client: FlaskClient, email: str = "ada@example.com") -> None:
    answer = client.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text


def cookie_changes(answer: Answered) -> dict[str, frozenset[str]]:
    """The attributes of each cookie that the answer sets or deletes."""
    changes = {}
    for line in answer.headers.getlist("Set-Cookie"):
        pair, *attributes = line.split("; ")
        changes[pair.split("=")[0]] = frozenset(attributes)
    return changes


def kept(max_age: int = WEEK) -> frozenset[str]:
    """The attributes of an auth cookie that is set."""
    return frozenset({"Secure", "HttpOnly", "Path=/", "SameSite=Lax", f"Max-Age={max_age}"})


def is_deleted(attributes: frozenset[str]) -> bool:
    """Whether a cookie goes, with the attributes that it came with."""
    return {name for name in attributes if not name.startswith("Expires=")} == kept(0)


def assert_private(answer: Answered) -> None:
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in [name.strip() for name in ",".join(answer.headers.getlist("Vary")).split(",")]


def assert_problem(answer: Refused, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, whose every member is as the contract says."""
    assert answer.status_code == status, answer.json
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert isinstance(answer.json, dict)
    body = dict(answer.json)
    assert (body["code"], body["status"], body["success"]) == (code, status, False)
    assert body["message"] == body["detail"]
    assert body["request_id"]
    assert body["title"]
    assert body["type"]
    return body
