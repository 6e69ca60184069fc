"""The events of the audit log: which signal is which event, and what of it is written down."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from .identity import Identity
from .redact import holds_token

LONGEST_TEXT = 256
LONGEST_PATH = 1024
_LARGEST_NUMBER = 2**63
_TOKEN = "[token]"  # noqa: S105
# JSON escapes every other character that a terminal or a reader of lines acts upon; a lone surrogate is no text at all.
_UNPRINTABLE = re.compile(r"[\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Event:
    """What one signal means to the audit log.

    :param code: the problem code of such an event, where the signal does not bring one as ``error_code``.
    :param details: the values of the signal that go into ``metadata``; whatever else it brings stays out.
    :param needs_somebody: it only happens when the signal's identity is a user or a guest.
    """

    type: str
    success: bool = True
    code: str | None = None
    details: tuple[str, ...] = ()
    needs_somebody: bool = False

    def happened(self, values: Mapping[str, Any]) -> bool:
        if not self.needs_somebody:
            return True
        identity = values.get("identity")
        return isinstance(identity, Identity) and not identity.is_anonymous


# By the name of the signal.
EVENTS: Mapping[str, Event] = MappingProxyType(
    {
        "identity-resolved": Event("auth:success", needs_somebody=True),
        "login-failed": Event("auth:fail", success=False, details=("status",)),
        "session-ended": Event(
            "auth:fail", success=False, code="session_expired", details=("session_id", "reason")
        ),
        "logged-in": Event("auth:login"),
        "logged-out": Event("auth:logout", details=("session_id",)),
        "registered": Event("auth:register"),
        "token-refreshed": Event("auth:refresh", details=("session_id", "kind")),
        "refresh-failed": Event("auth:refresh:fail", success=False, details=("session_id", "kind", "reason")),
        "token-reuse": Event("auth:reuse", success=False, details=("session_id", "kind")),
        "guest-minted": Event("auth:guest"),
        "guest-upgraded": Event("auth:upgrade"),
        "access-denied": Event("access:denied", success=False),
        "csrf-failed": Event("csrf:fail", success=False, details=("why",)),
        "rate-limited": Event(
            "rateLimit:exceeded", success=False, code="rate_limited", details=("limit", "scope")
        ),
        "backend-unavailable": Event(
            "backend:unavailable", success=False, code="backend_unavailable", details=("endpoint",)
        ),
        "got-request-exception": Event("error", success=False),
    }
)
EVENT_TYPES = tuple(dict.fromkeys(event.type for event in EVENTS.values()))


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The request in which something happened; nothing but None outside of one.

    :param path: decoded, without the query, which may hold a token.
    :param user_id: of whoever the request is known to come from.
    """

    ip: str | None = None
    path: str | None = None
    method: str | None = None
    request_id: str | None = None
    user_id: str | int | None = None


NO_REQUEST = RequestFacts()


def describe(event: Event, values: Mapping[str, Any], facts: RequestFacts, at: datetime) -> dict[str, Any]:
    """The record of an event: plain JSON values, short, without tokens.

    Its texts may hold line breaks and controls that a client sent: they are escaped when :func:`to_line` writes them.

    :param values: what the signal told.
    :param at: now, in UTC.
    """
    user = values.get("identity") or values.get("user")
    user_id = user.id if isinstance(user, Identity) else None
    return {
        "type": event.type,
        "timestamp": at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
        "ip": _plain(facts.ip),
        "user_id": _plain(facts.user_id if user_id is None else user_id),
        "path": None if facts.path is None else _short(_without_tokens(facts.path), LONGEST_PATH),
        "method": _plain(facts.method),
        "success": event.success,
        "code": _plain(values.get("error_code", event.code)),
        "request_id": _plain(facts.request_id),
        "metadata": _metadata(event, values),
    }


def to_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON in ASCII, at most 48 KiB: no value of it can end the line or steer a terminal."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


def _metadata(event: Event, values: Mapping[str, Any]) -> dict[str, str | int]:
    known = _about(values) | {name: values.get(name) for name in event.details}
    return {name: plain for name, value in known.items() if (plain := _plain(value)) is not None}


def _about(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the objects among the values say; of an exception only its class, since its text may quote anything."""
    told: dict[str, Any] = {}
    if isinstance(identity := values.get("identity"), Identity):
        told["kind"] = identity.kind
        told["degraded"] = identity.degraded or None
    if isinstance(guest := values.get("guest"), Identity):
        told["guest_id"] = guest.id
    if isinstance(error := values.get("exception"), BaseException):
        told["exception"] = type(error).__name__
    return told


def _plain(value: object) -> str | int | None:
    """The value as something that fits into a line; None for whatever is no text, number or truth."""
    if isinstance(value, str):
        return _TOKEN if holds_token(value, ()) else _short(value, LONGEST_TEXT)
    if isinstance(value, int) and abs(value) < _LARGEST_NUMBER:
        return value
    return None


def _short(text: str, longest: int) -> str:
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return _UNPRINTABLE.sub("\ufffd", text)


def _without_tokens(path: str) -> str:
    """The path with every segment hidden that holds a token, such as that of a link in an e-mail."""
    return "/".join(_TOKEN if holds_token(segment, ()) else segment for segment in path.split("/"))
