"""The auth endpoints: login, register, logout, me, refresh, guest, csrf."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from flask import flash, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from . import signals
from .commits import TOO_LARGE
from .csrf import FORMS, MAX_OWN_BODY
from .errors import Denial, LoginRequired, StoreDown, denial
from .sansio.access import login_target, prefers_html
from .sansio.bodies import BadBody, check_utf8, form_fields, json_object
from .sansio.identity import Identity
from .sansio.session import Session
from .state import RequestState, request_state
from .throttle import limit_login
from .tokens import Grant

_log = logging.getLogger(__name__)

# They travel in Flask's session cookie.
_MOST_REASONS = 5
_LONGEST_REASON = 200
# What is said to us, and not to the backend.
_OWN_FIELDS = frozenset(("next", "csrf_token"))


def login() -> ResponseReturnValue:
    """Exchange credentials for a session."""
    return _enter("login", status=200)


def register() -> ResponseReturnValue:
    """Make an account; when the backend answers with a token, the visitor is logged in."""
    return _enter("register", status=201)


def _enter(endpoint: Literal["login", "register"], *, status: int) -> ResponseReturnValue:
    state = request_state()
    state.touch()
    fields: Mapping[str, Any] = {}
    try:
        fields = _fields(scalars_only=endpoint == "login")
        grant = _ask(state, endpoint, fields)
        if grant.session is not None:
            _start_session(state, grant, grant.session)
    except Denial as error:
        return _refused(state, error, fields)
    if endpoint == "register":
        state.tell(signals.registered, identity=grant.identity)
    if not _is_form_navigation():
        return jsonify(success=True, data=_described(grant.identity, grant.session)), status
    if grant.session is None:
        return redirect(_login_url(state, _next(state, fields)), 303)
    return redirect(_next(state, fields) or state.root + state.host.config.after_login_url, 303)


def _ask(state: RequestState, endpoint: Literal["login", "register"], fields: Mapping[str, Any]) -> Grant:
    config = state.host.config
    wanted = config.login_fields if endpoint == "login" else config.register_fields
    sent = {
        name: value
        for name, value in fields.items()
        if name not in _OWN_FIELDS and (wanted is None or name in wanted)
    }
    if not sent:
        raise denial("bad_request", detail="The body has no field to send to the backend.")
    if endpoint == "login":
        limit_login(state, sent)
    try:
        return state.host.authority.tokens.login(endpoint, sent, guest_token=state.resolver.guest_token())
    except Denial as error:
        if endpoint == "login":
            state.tell(signals.login_failed, status=error.code, error_code=error.error_code)
        raise


def _start_session(state: RequestState, grant: Grant, session: Session) -> None:
    """Put the new session in place of whatever this browser had."""
    resolver, authority = state.resolver, state.host.authority
    if not resolver.wallet.has_room(session, alone=True):
        _log.error("%s", TOO_LARGE)
        authority.calls.logout(session)
        raise denial("session_too_large")
    guest_session = resolver.wallet.session("guest")
    if guest_session is not None and state.host.config.guest_enabled:
        guest_identity = authority.identities.known_guest(guest_session)
        state.tell(signals.guest_upgraded, guest=guest_identity, user=grant.identity)
    resolver.enter(session)
    if state.host.uses_csrf_tokens:
        state.csrf.renew(session.id)
    state.tell(signals.logged_in, identity=grant.identity)


def logout() -> ResponseReturnValue:
    """End the session: here at once, at the backend if it listens."""
    state = request_state()
    state.touch()
    session = state.resolver.leave()
    if state.host.uses_csrf_tokens and state.csrf.is_carried:
        state.csrf.renew(None)
    if session is not None:
        state.host.authority.calls.logout(session)
    state.tell(signals.logged_out, session_id=session.id if session else None)
    if _is_form_navigation():
        return redirect(state.root + state.host.config.after_logout_url, 303)
    return "", 204


def me() -> ResponseReturnValue:
    """Who is asking; makes no guest."""
    state = request_state()
    state.touch()
    wallet = state.resolver.wallet
    session = wallet.session("user") or wallet.session("guest")
    # First of all: who logged out is nobody, whatever the backend or this process still believe.
    if session is not None and _is_buried(state, session):
        raise LoginRequired()
    who = state.resolve()
    if who.identity.is_anonymous and who.identity.degraded:
        raise denial("backend_unavailable")
    session = state.resolver.current_session()
    if who.identity.is_anonymous or session is None:
        raise state.nobody()
    described = _described(who.identity, session)
    described["expires_in"] = session.seconds_left(state.host.clock())
    return jsonify(success=True, data=described)


def _is_buried(state: RequestState, session: Session) -> bool:
    try:
        return state.host.authority.ledger.is_buried(session.id)
    except StoreDown:
        return False


def refresh() -> ResponseReturnValue:
    """Refresh the session now, whether it is due or not."""
    state = request_state()
    state.touch()
    session = state.resolver.force_refresh()
    if session is None:
        raise state.nobody()
    return jsonify(success=True, data={"expires_in": session.seconds_left(state.host.clock())})


def guest() -> ResponseReturnValue:
    """A guest session, unless there is a session already."""
    state = request_state()
    if not state.host.config.guest_enabled:
        raise denial("no_route")
    who = state.resolve(mint=True)
    if who.identity.is_anonymous:
        raise _no_guest(state, degraded=who.identity.degraded)
    status = 201 if state.resolver.questions.has_minted else 200
    return jsonify(success=True, data={"kind": who.identity.kind}), status


def csrf() -> ResponseReturnValue:
    """The CSRF token, for scripts that cannot read the cookie."""
    token = request_state().csrf_token()
    if not token:
        raise denial("no_route")
    return jsonify(success=True, data={"csrf_token": token})


def _no_guest(state: RequestState, *, degraded: bool) -> Denial:
    if state.resolver.mint_failure == "limited":
        return denial("rate_limited")
    if degraded or state.resolver.mint_failure:
        return denial("backend_unavailable")
    return denial("access_denied")


def _described(identity: Identity | None, session: Session | None) -> dict[str, Any]:
    """What a browser may know about who is logged in; never a token."""
    if identity is None or session is None:
        kind = session.kind if session else "anonymous"
        return {"kind": kind, "user": None, "roles": [], "token_type": None}
    return {
        "kind": identity.kind,
        "user": dict(identity.data),
        "roles": list(identity.roles),
        "token_type": identity.token_type,
    }


def _fields(*, scalars_only: bool) -> dict[str, Any]:
    """The fields of the body, JSON or form.

    :raises Denial: ``bad_request`` for a malformed body, ``payload_too_large``; the backend is not asked.
    """
    # Without a Content-Length as well; the app's own limit may be lower.
    request.max_content_length = min(MAX_OWN_BODY, request.max_content_length or MAX_OWN_BODY)
    if (request.content_length or 0) > request.max_content_length:
        raise denial("payload_too_large")
    try:
        body = _whole_body()
        if request.mimetype in FORMS:
            return _form(body)
        if not request.is_json or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
            raise denial("bad_request", detail="The body must be a form, or JSON in UTF-8.")
        fields = json_object(body)
    except BadBody as error:
        raise denial("bad_request", detail=f"Bad request: {error}.") from error
    except RequestEntityTooLarge as error:
        raise denial("payload_too_large") from error
    if scalars_only and any(isinstance(value, (dict, list)) for value in fields.values()):
        raise denial("bad_request", detail="The fields of a login are texts, not objects or lists.")
    return fields


def _whole_body() -> bytes:
    """The body, kept for the form parser; a form that was cut would pass for a shorter password."""
    try:
        body = request.get_data(cache=True, parse_form_data=False)
    except HTTPException:
        raise
    except Exception as error:
        # Every server has errors of its own for a broken body.
        raise BadBody("the body broke off") from error
    if request.content_length is not None and len(body) != request.content_length:
        raise BadBody("the body broke off")
    return body


def _form(body: bytes) -> dict[str, str]:
    if request.files:
        raise BadBody("files are not part of a login")
    # Werkzeug would replace what is not UTF-8, and a password would be another one.
    check_utf8(unquote_to_bytes(body) if request.mimetype == FORMS[0] else body)
    return form_fields(request.form.items(multi=True))


def _is_form_navigation() -> bool:
    """A person pressed a button: the answer is a redirect."""
    if request.mimetype not in FORMS and request.content_length:
        return False
    mode = request.headers.get("Sec-Fetch-Mode")
    return mode == "navigate" if mode else prefers_html(request.headers.get("Accept"))


def _next(state: RequestState, fields: Mapping[str, Any]) -> str | None:
    wanted = fields["next"] if "next" in fields else request.args.getlist("next")
    if isinstance(wanted, list):
        wanted = wanted[0] if len(wanted) == 1 else None
    return state.host.safe_next(wanted, root=state.root)


def _login_url(state: RequestState, target: str | None) -> str:
    return login_target(state.root + state.host.config.login_url, target)


def _refused(state: RequestState, error: Denial, fields: Mapping[str, Any]) -> ResponseReturnValue:
    """The denial itself, or for a form the way back to it with the reason on top."""
    if not _is_form_navigation():
        raise error
    for text in _reasons(error):
        flash(text, "error")
    return redirect(_login_url(state, _next(state, fields)), 303)


def _reasons(error: Denial) -> list[str]:
    """What to tell a person: the messages of the fields, else the one of the whole."""
    texts = [text for messages in (error.errors or {}).values() for text in messages]
    return [text[:_LONGEST_REASON] for text in texts[:_MOST_REASONS]] or [error.detail]
