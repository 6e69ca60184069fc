"""``/debug``: look at the backend and break it, from the same machine only. Not part of the API, and never counted."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from . import accounts
from .answers import Failure, invalid, json_body, no_content, success
from .bearer import bearer_token
from .faults import MODES, Fault
from .settings import API_PREFIX
from .state import request_connection, state

blueprint = Blueprint("debug", __name__)

_API_ROOT = f"{API_PREFIX}/"

_CONVERTER = re.compile(r"<[^:<>]+:([^<>]+)>")


@blueprint.before_app_request
def watch() -> Response | None:
    """Count a call of the API, and let it run into the fault that was installed for it."""
    if not request.path.startswith(_API_ROOT):
        return None
    rule, path = _rule(), request.path.removeprefix(_API_ROOT)
    state().journal.record_call(
        f"{request.method} {rule}",
        has_bearer=bearer_token() is not None,
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    fault = state().faults.take(request.method, (rule, path))
    return state().faults.answer(fault, request.environ) if fault else None


@blueprint.before_request
def require_loopback() -> None:
    if not _is_loopback(request.remote_addr or ""):
        raise Failure(404, "not_found", "There is nothing here.")


@blueprint.get("/calls")
def calls() -> Response:
    """What :meth:`.journal.Journal.snapshot` tells."""
    return jsonify(state().journal.snapshot())


@blueprint.post("/reset")
def reset() -> Response:
    """Clear counters and faults; accounts, tokens and carts stay."""
    state().faults.clear()
    state().journal.clear()
    return no_content()


@blueprint.post("/faults")
def install_fault() -> Response:
    """Install a :class:`.faults.Fault`: ``{"path", "method"?, "times"?, "mode"?, "status"?, "code"?, "delay"?,
    "retry_after"?}``; a ``status`` without ``mode`` is mode "status"."""
    body = {"path": ""} | {name: value for name, value in json_body().items() if value is not None}
    problems = {
        name: f"The {name} is unknown, missing or has a wrong value."
        for name in body
        if not _is_valid(name, body[name])
    }
    if problems:
        raise invalid(**problems)
    if "status" in body:
        body.setdefault("mode", "status")
    state().faults.add(Fault(**body | {"path": body["path"].strip("/")}))
    return no_content()


@blueprint.post("/users/<email>")
def change_user(email: str) -> Response:
    """Set ``roles``, ``disabled`` (401 everywhere) or ``forbidden`` (403 from ``auth/me``) of a user."""
    account = accounts.change(request_connection(), email, _user_changes(json_body()))
    if account is None:
        raise Failure(404, "not_found", "There is no such user.")
    return success(account.record() | {"disabled": account.disabled, "forbidden": account.forbidden})


def _user_changes(body: dict[str, Any]) -> dict[str, object]:
    roles = body.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise invalid(roles="The roles must be a list of texts.")
    for name in body.keys() - {"roles"}:
        if name not in ("disabled", "forbidden") or not isinstance(body[name], bool):
            raise invalid(**{name: f"The {name} is unknown or not a boolean."})
    return body


def _rule() -> str:
    """The rule of this call, such as ``products/<id>``; ``<unknown>`` when there is none."""
    if request.url_rule is None:
        return "<unknown>"
    return _CONVERTER.sub(r"<\1>", request.url_rule.rule).removeprefix(_API_ROOT)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]


def _is_status(value: object) -> bool:
    return type(value) is int and 200 <= value <= 599


_FAULT_FIELDS: dict[str, Callable[[object], bool]] = {
    "path": _is_text,
    "method": _is_text,
    "times": _is_count,
    "mode": lambda value: value in MODES,
    "status": _is_status,
    "code": _is_text,
    "delay": _is_seconds,
    "retry_after": _is_count,
}


def _is_valid(name: str, value: object) -> bool:
    return name in _FAULT_FIELDS and _FAULT_FIELDS[name](value)
