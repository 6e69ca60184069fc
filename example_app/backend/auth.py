"""``auth/...``: log in, register, be a guest, exchange tokens, log out, who am I."""

from __future__ import annotations

import re
import time
from typing import Any

from flask import Blueprint, Response
from werkzeug.exceptions import HTTPException
from werkzeug.security import generate_password_hash

from . import accounts, tokens
from .accounts import Account
from .answers import Failure, invalid, json_body, no_content, success, text_fields
from .bearer import bearer_token, recent_guest, require_caller
from .carts import move_cart
from .database import transaction
from .state import request_connection, state
from .tokens import Grant, Refusal

blueprint = Blueprint("auth", __name__)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
MIN_PASSWORD = 8
MAX_TEXT = 200


@blueprint.post("/auth/login")
def login() -> Response:
    """``{email | username, password}`` -> tokens."""
    body = json_body()
    if "email" not in body and "username" in body:
        body["email"] = body["username"]
    email, password = text_fields(body, "email", "password")
    method = state().settings.password_method
    account = accounts.authenticate(request_connection(), email, password, password_method=method)
    if account is None:
        raise Failure(401, "invalid_credentials", "These credentials do not match our records.")
    if account.disabled:
        raise Failure(401, "account_disabled", "The account is disabled.")
    return _answer_grant(_open_session(account), with_user=state().settings.login_user)


@blueprint.post("/auth/register")
def register() -> Response:
    """``{name, email, password}`` -> tokens for a new user."""
    name, email, password = _registration(json_body())
    password_hash = generate_password_hash(password, state().settings.password_method)
    account = accounts.create_user(request_connection(), name, email, password_hash, now=time.time())
    if account is None:
        raise invalid(email="The email has already been taken.")
    return _answer_grant(_open_session(account), with_user=state().settings.login_user, status=201)


@blueprint.post("/auth/guest")
def guest() -> Response:
    """Tokens for a new guest; a body, such as credentials of the caller, is not needed and not read."""
    connection, now = request_connection(), time.time()
    with transaction(connection):
        account = accounts.create_guest(connection, now=now)
        grant = state().issuer.start_family(connection, account, now=now)
    return _answer_grant(grant, with_user=True, status=201)


@blueprint.post("/auth/refresh")
def refresh() -> Response:
    """New tokens for a refresh token, or in single mode for the bearer, which may have expired."""
    outcome = state().issuer.exchange(request_connection(), _presented_credential(), now=time.time())
    match outcome:
        case Grant():
            return _answer_grant(outcome, with_user=state().settings.refresh_user)
        case Refusal.REUSED:
            # Even with the Idempotency-Key of the first exchange: a key proves no identity, and it may be stolen too.
            state().journal.record_reuse()
            raise Failure(409, "token_reuse", "This token was exchanged before; the session has ended.")
        case Refusal.INVALID:
            raise Failure(401, "invalid_grant", "The session has ended.")


@blueprint.post("/auth/logout")
def logout() -> Response:
    """End the sessions of the bearer (expired or not) and of the refresh token; 204 whatever was sent."""
    connection, now = request_connection(), time.time()
    for family_id in _presented_families():
        tokens.revoke_family(connection, family_id, now=now)
    return no_content()


@blueprint.get("/auth/me")
def me() -> Response:
    """The caller's record and ``exp``, when the token ends."""
    caller = require_caller()
    if caller.account.forbidden:
        raise Failure(403, "account_forbidden", "This account may not be used here.")
    return success(caller.account.record() | {"exp": caller.expires_at})


def _open_session(account: Account) -> Grant:
    """Tokens for a user who has just proved who they are; a visiting guest's cart becomes theirs."""
    connection, now, visitor = request_connection(), time.time(), recent_guest()
    with transaction(connection):
        if visitor is not None:
            move_cart(connection, visitor.id, account.id)
        return state().issuer.start_family(connection, account, now=now)


def _answer_grant(grant: Grant, *, with_user: bool, status: int = 200) -> Response:
    data: dict[str, object] = {"accessToken": grant.access_token}
    if grant.refresh_token is not None:
        data["refreshToken"] = grant.refresh_token
    data["expiresIn"] = grant.expires_in
    if with_user:
        data["user"] = grant.account.record()
    response = success(data, status=status)
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, section 5.1
    return response


def _registration(body: dict[str, Any]) -> tuple[str, str, str]:
    name, email, password = text_fields(body, "name", "email", "password")
    problems = {}
    if len(name) > MAX_TEXT:
        problems["name"] = f"The name may not be longer than {MAX_TEXT} characters."
    if len(email) > MAX_TEXT or not _EMAIL.fullmatch(email.strip()):
        problems["email"] = "The email must be a valid address."
    if not MIN_PASSWORD <= len(password) <= MAX_TEXT:
        problems["password"] = f"The password must have {MIN_PASSWORD} to {MAX_TEXT} characters."
    if problems:
        raise invalid(**problems)
    return name.strip(), email.strip(), password


def _presented_credential() -> str:
    if state().settings.tokens == "dual":
        return text_fields(json_body(), "refreshToken")[0]
    token = bearer_token()
    if token is None:
        raise Failure(401, "unauthenticated", "A bearer token is required.")
    return token


def _presented_families() -> set[str]:
    claims = state().issuer.read(bearer_token() or "")
    families = {claims.family_id} if claims else set()
    if found := tokens.find_family(request_connection(), _refresh_token_in_body()):
        families.add(found)
    return families


def _refresh_token_in_body() -> str:
    try:
        token = json_body().get("refreshToken")
    except HTTPException:
        return ""
    return token if isinstance(token, str) else ""
