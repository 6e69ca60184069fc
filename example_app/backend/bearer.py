"""Who is calling: the bearer token of this request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import request

from .accounts import Account
from .answers import Failure
from .state import request_connection, state
from .tokens import Claims, living_account

# Seconds for which an expired guest token still proves whose cart it was.
GUEST_GRACE = 86_400


@dataclass(frozen=True, slots=True)
class Caller:
    """An account with a living access token, and when that token ends."""

    account: Account
    expires_at: float


def bearer_token() -> str | None:
    """The token in ``Authorization: Bearer ...``, unchecked."""
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer":
        return None
    return authorization.token or None


def require_caller() -> Caller:
    """The user or guest that calls.

    :raises Failure: 401.
    """
    claims = _living_claims()
    account = living_account(request_connection(), claims)
    if account is None:
        raise Failure(401, "token_revoked", "The session has ended.")
    if account.disabled:
        raise Failure(401, "account_disabled", "The account is disabled.")
    return Caller(account, claims.expires_at)


def require_user(*roles: str) -> Account:
    """The user that calls; when roles are given, one who has any of them.

    :raises Failure: 401, or 403 for guests and for the wrong roles.
    """
    account = require_caller().account
    if account.is_guest:
        raise Failure(403, "user_required", "Please log in first.")
    if roles and not set(roles) & set(account.roles):
        raise Failure(403, "forbidden", "You may not see this.")
    return account


def recent_guest() -> Account | None:
    """The guest in ``X-Guest-Token``, even if the token expired within GUEST_GRACE; None for anything else."""
    claims = state().issuer.read(request.headers.get("X-Guest-Token", ""))
    if claims is None or claims.expires_at + GUEST_GRACE <= time.time():
        return None
    account = living_account(request_connection(), claims)
    return account if account is not None and account.is_guest else None


def _living_claims() -> Claims:
    token = bearer_token()
    if token is None:
        raise Failure(401, "unauthenticated", "A bearer token is required.")
    claims = state().issuer.read(token)
    if claims is None:
        raise Failure(401, "token_invalid", "The token is not valid.")
    if claims.expires_at <= time.time():
        raise Failure(401, "token_expired", "The token has expired.")
    return claims
