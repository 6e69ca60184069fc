"""CSRF protection of a request: gather what it says of its origin, let the rules decide, read a token where one is needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from flask import Request
from werkzeug.exceptions import HTTPException

from . import signals
from .errors import Denial, denial
from .sansio.csrf import NeedsToken, Refused, is_harmless, token_verdict, verdict
from .state import RequestState

_log = logging.getLogger(__name__)

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
# What the layer's own endpoints read of a body at most.
MAX_OWN_BODY = 2 * 2**20


def check_csrf(
    state: RequestState,
    *,
    form_field: Callable[[Request], str | None] | None,
    is_entry: bool = False,
    is_api: bool = False,
) -> None:
    """Let the request through, or raise.

    :param form_field: reads the token out of the form; None where the body must not be touched.
    :param is_entry: login, register, guest or logout.
    :param is_api: the path is under the prefix.
    :raises Denial: ``csrf_cross_site``, ``csrf_token_missing`` or ``csrf_token_invalid``.
    """
    config = state.host.config
    environ = state.request.environ
    if config.csrf == "off" or is_harmless(environ["REQUEST_METHOD"], environ.get("HTTP_SEC_FETCH_SITE")):
        return
    decision = verdict(
        state.evidence,
        mode=config.csrf,
        trusted_origins=config.csrf_trusted_origins,
        is_entry=is_entry,
        is_api=is_api,
    )
    if isinstance(decision, Refused):
        raise _refusal(state, decision.code, decision.why)
    if isinstance(decision, NeedsToken):
        _check_token(state, form_field)


def _check_token(state: RequestState, form_field: Callable[[Request], str | None] | None) -> None:
    text = state.request.environ.get("HTTP_X_CSRF_TOKEN")
    where = f"the header {HEADER}"
    if text is None and form_field is not None:
        text, where = form_field(state.request), f"the header {HEADER} and the field {FIELD}"
    bound_to = state.resolver.wallet.session_id or state.csrf.id()
    problem = token_verdict(state.csrf.read(text), text_present=bool(text), bound_to=bound_to)
    if problem is None:
        return
    why = "is missing" if problem == "csrf_token_missing" else "is not one that was made for this session"
    raise _refusal(state, problem, f"the CSRF token in {where} {why}")


def _refusal(state: RequestState, code: str, why: str) -> Denial:
    _log.warning("%s: %s", code, why)
    state.touch()
    state.tell(signals.csrf_failed, error_code=code, why=why)
    return denial(code, detail=f"CSRF: {why}." if state.host.app.debug else None)


def view_field(request: Request) -> str | None:
    """The token in the form of a view."""
    if request.mimetype not in FORMS:
        return None
    try:
        values = request.form.getlist(FIELD)
    except HTTPException:
        raise
    except Exception:
        # Every server has errors of its own for a broken body.
        return None
    return values[0] if len(values) == 1 else None


def own_field(request: Request) -> str | None:
    """The token in the form of an endpoint of ours, which reads its body again afterwards."""
    if request.mimetype not in FORMS or (request.content_length or 0) > MAX_OWN_BODY:
        return None
    with suppress(OSError, ValueError):
        request.get_data(cache=True, parse_form_data=False)
    return view_field(request)
