"""Problem bodies (RFC 9457) with stable codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# code -> status, title, detail. The detail is for people; programs read the code.
PROBLEMS: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "login_required": (401, "Login required", "Log in to continue."),
        "session_expired": (401, "Session expired", "Your session has ended. Log in again."),
        "login_failed": (401, "Login failed", "These credentials were not accepted."),
        "validation_failed": (422, "Validation failed", "Some fields were not accepted."),
        "access_denied": (403, "Access denied", "You are not allowed to do this."),
        "token_type_refused": (403, "Account type refused", "This kind of account cannot be used here."),
        "csrf_cross_site": (403, "Cross-site request", "Requests from other sites are not accepted here."),
        "csrf_token_missing": (403, "CSRF token missing", "Reload the page and try again."),
        "csrf_token_invalid": (
            403,
            "CSRF token invalid",
            "This page is out of date. Reload it and try again.",
        ),
        "bad_request": (400, "Bad request", "The request could not be understood."),
        "bad_path": (400, "Bad path", "This path cannot be forwarded."),
        "uri_too_long": (414, "URI too long", "The address of this request is too long."),
        "no_route": (404, "Not found", "There is nothing at this address."),
        "method_not_allowed": (405, "Method not allowed", "This method cannot be used here."),
        "payload_too_large": (413, "Payload too large", "The body of this request is too large."),
        "rate_limited": (429, "Too many requests", "Too many requests. Wait a moment and try again."),
        "session_too_large": (500, "Session too large", "The session could not be stored."),
        "websocket_unsupported": (
            501,
            "WebSocket not supported",
            "WebSockets are not forwarded. Connect to the backend through a proxy that speaks them.",
        ),
        "bad_gateway": (502, "Bad gateway", "The service behind this one gave no usable answer."),
        "backend_unavailable": (
            503,
            "Service unavailable",
            "The service cannot be reached right now. You stay logged in; try again in a moment.",
        ),
        "backend_timeout": (504, "Gateway timeout", "The service behind this one took too long to answer."),
    }
)


def status_of(code: str) -> int:
    return PROBLEMS[code][0]


def problem(
    code: str,
    *,
    request_id: str,
    status: int | None = None,
    detail: str | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
    login_url: str | None = None,
) -> dict[str, Any]:
    """A problem body; ``success``, ``message`` and ``errors`` serve JavaScript that follows the common API convention.

    :param status: where the backend's own 4xx is passed on; else the status of the code.
    :param errors: field -> list of messages.
    """
    usual_status, title, usual_detail = PROBLEMS[code]
    detail = detail or usual_detail
    body: dict[str, Any] = {
        "type": f"urn:flask-api-layer:problem:{code}",
        "title": title,
        "status": status or usual_status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "success": False,
        "message": detail,
    }
    if errors:
        body["errors"] = {field: list(messages) for field, messages in errors.items()}
    if login_url is not None:
        body["login_url"] = login_url
    return body
