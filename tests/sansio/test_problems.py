from __future__ import annotations

import json

import pytest

from flask_api_layer.sansio.problems import PROBLEMS, problem, status_of

STATUSES = {
    "login_required": 401,
    "session_expired": 401,
    "login_failed": 401,
    "validation_failed": 422,
    "access_denied": 403,
    "token_type_refused": 403,
    "bad_request": 400,
    "bad_path": 400,
    "uri_too_long": 414,
    "no_route": 404,
    "method_not_allowed": 405,
    "payload_too_large": 413,
    "rate_limited": 429,
    "session_too_large": 500,
    "websocket_unsupported": 501,
    "bad_gateway": 502,
    "backend_unavailable": 503,
    "backend_timeout": 504,
}


@pytest.mark.parametrize(("code", "status"), STATUSES.items())
def test_codes_have_the_status_of_the_contract(code: str, status: int) -> None:
    # B1.2
    assert status_of(code) == status
    assert problem(code, request_id="r1")["status"] == status


@pytest.mark.parametrize("code", PROBLEMS)
def test_body_is_a_problem_and_follows_the_common_convention(code: str) -> None:
    # B1.1, RFC 9457
    body = problem(code, request_id="r1")
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "success", "message"}
    assert (body["code"], body["request_id"], body["success"]) == (code, "r1", False)
    assert body["message"] == body["detail"]
    assert all(isinstance(body[name], str) and body[name] for name in ("type", "title", "detail"))
    assert json.loads(json.dumps(body)) == body


def test_detail_is_also_the_message() -> None:
    body = problem("access_denied", request_id="r1", detail="Only the owner may do this.")
    assert body["detail"] == body["message"] == "Only the owner may do this."


def test_status_of_the_backend_is_passed_on() -> None:
    # B1.2
    assert problem("login_failed", request_id="r1", status=423)["status"] == 423


def test_errors_are_lists_of_messages() -> None:
    # B1.1
    body = problem("validation_failed", request_id="r1", errors={"email": ("taken", "odd")})
    assert body["errors"] == {"email": ["taken", "odd"]}
    assert json.loads(json.dumps(body)) == body


def test_login_url_is_there_when_given() -> None:
    # B1.2
    assert problem("login_required", request_id="r1", login_url="/login")["login_url"] == "/login"
