"""What the backend looks like: its endpoints, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .sansio.identity import Identity
from .sansio.refresh import Failure, classify_refusal
from .sansio.session import Session, TokenSet, timestamp

ENDPOINTS: Mapping[str, str | None] = MappingProxyType(
    {
        "login": "auth/login",
        "register": "auth/register",
        "logout": "auth/logout",
        "me": "auth/me",
        "refresh": "auth/refresh",
        "guest": "auth/guest",
    }
)
_LONGEST_LIFE = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Request:
    """A call to the backend: who asks, and what is said."""

    bearer: str | None = field(default=None, repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)


def parse_token(body: Any) -> TokenSet | None:
    """The tokens in ``{"data": {"accessToken": "...", "refreshToken"?, "expiresIn"?, "user"?}}``; None when there is none."""
    data = _record(body)
    access = _token(data.get("accessToken")) if data is not None else None
    if data is None or access is None:
        return None
    user = data.get("user")
    return TokenSet(
        access_token=access,
        refresh_token=_token(data.get("refreshToken")),
        expires_in=_lifetime(data.get("expiresIn")),
        refresh_expires_in=_lifetime(data.get("refreshExpiresIn")),
        user=user if isinstance(user, dict) else None,
    )


def parse_identity(body: Any) -> Identity | None:
    """Who ``{"data": {"id", "type"?, "roles"?, ...}}`` describes; None for anything else."""
    record = _record(body)
    # Without the envelope, any JSON object could pass for a record; one that names nobody is none.
    if record is None or (record is body and _identifier(record) is None):
        return None
    return identity_from(record)


def identity_from(record: Mapping[str, Any]) -> Identity:
    """An identity out of the backend's record: a "guest" by its ``type``, else a user."""
    token_type = record.get("type")
    return Identity(
        kind="guest" if token_type == "guest" else "user",  # noqa: S105 - a type, not a secret
        id=_identifier(record),
        roles=_roles(record),
        token_type=token_type if isinstance(token_type, str) else None,
        data=MappingProxyType(dict(record)),
    )


def refresh_request(session: Session) -> Request:
    """With a refresh token it is sent as JSON; single-token backends take the old token as bearer."""
    if session.refresh_token is None:
        return Request(bearer=session.access_token)
    return Request(json={"refreshToken": session.refresh_token})


def logout_request(session: Session) -> Request:
    tokens = {"refreshToken": session.refresh_token} if session.refresh_token else None
    return Request(bearer=session.access_token, json=tokens)


def classify_refresh_failure(status: int, body: Any) -> Failure:
    """Why a refresh brought no token, out of the status and the body's ``error`` or ``code``."""
    codes = [body.get("error"), body.get("code")] if isinstance(body, dict) else []
    code = next((code for code in codes if isinstance(code, str)), None)
    return classify_refusal(status, "token_reuse" if "token_reuse" in codes else code)


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of backend: endpoints relative to BACKEND_URL, and mappers between its JSON and our values.

    ``replace`` one field to adapt it; ``ApiLayer(app, backend=Backend(parse_identity=...))`` plugs it in. A
    mapper answers None for a
    body that it cannot read.

    :param endpoints: login, register, logout, me, refresh, guest; None where the backend has no such endpoint.
    :param login_body: what is sent for a login or a registration, out of the fields of the form.
    """

    endpoints: Mapping[str, str | None] = field(default_factory=lambda: ENDPOINTS)
    parse_token: Callable[[Any], TokenSet | None] = parse_token
    parse_identity: Callable[[Any], Identity | None] = parse_identity
    identity_from: Callable[[Mapping[str, Any]], Identity] = identity_from
    login_body: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    refresh_request: Callable[[Session], Request] = refresh_request
    logout_request: Callable[[Session], Request] = logout_request
    classify_refresh_failure: Callable[[int, Any], Failure] = classify_refresh_failure

    def with_endpoints(self, overrides: Mapping[str, str | None]) -> Backend:
        return replace(self, endpoints=MappingProxyType({**self.endpoints, **overrides}))


PRESETS: Mapping[str, Backend] = MappingProxyType({"standard": Backend()})


def _record(body: Any) -> dict[str, Any] | None:
    """The ``data`` member of a successful envelope, else the body itself when it is a bare record."""
    if not isinstance(body, dict) or body.get("success") is False:
        return None
    if "data" in body or "success" in body:
        record = body.get("data")
        return record if isinstance(record, dict) else None
    return body


def _token(value: Any) -> str | None:
    """A usable token: visible ASCII only, since it goes into an Authorization header (RFC 6750 2.1)."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return None
    return value or None


def _lifetime(value: Any) -> float | None:
    seconds = timestamp(value)
    return min(seconds, _LONGEST_LIFE) if seconds else None


def _identifier(record: Mapping[str, Any]) -> str | int | None:
    for key in ("id", "sub", "uuid", "user_id"):
        value = record.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            return value
    return None


def _roles(record: Mapping[str, Any]) -> tuple[str, ...]:
    """``roles`` (a list, or one string), else ``role``; whatever is not a string is no role."""
    roles = record.get("roles", record.get("role"))
    if isinstance(roles, str):
        return (roles,)
    return tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else ()
