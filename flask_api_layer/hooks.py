"""What runs before and after every request: gather facts, let the rules decide, carry it out."""

from __future__ import annotations

from flask import Request, Response, redirect, request
from flask.typing import ResponseReturnValue

from .api_calls import admit_api_call
from .app_state import AppState, app_state
from .csrf import check_csrf, view_field
from .errors import Denial
from .policies import Ruling
from .sansio.access import prefers_html
from .sansio.csrf import SAFE_METHODS
from .sansio.paths import same_page
from .state import RequestState, begin_request, request_state, state_of
from .throttle import limit_request


def before_request(host: AppState) -> ResponseReturnValue | None:
    """Decide what the request needs; whoever may not enter is turned away here."""
    # Once, and not through the proxy: each touch of it costs a microsecond, and most requests need nothing else of ours.
    req = request._get_current_object()  # type: ignore[attr-defined]
    host.deployment.look(req.environ)
    # Somebody may have asked before us (a url_value_preprocessor, say); what they learned must reach the answer.
    state = state_of(req) or begin_request(host, req)
    if req.routing_exception is not None:
        state.check_host()
    mount = host.mount_of(req.path)
    if mount is not None and not mount.leaves_to_app(req.url_rule):
        return admit_api_call(state, mount)
    ruling = state.ruling = _ruling(host, req)
    if not ruling.excluded:
        answer = _check(state, req, is_api=mount is not None)
        if answer is not None:
            return answer
    if ruling.gates:
        return _gate(state, req)
    return _admit(state, req)


def after_request(response: Response) -> Response:
    request_state().finish(response.headers)
    return response


def tell_of_error(_: object, *, exception: BaseException, **__: object) -> None:
    """Pass on an exception that ended a request."""
    app_state().callbacks.tell_of_error(exception)


def _ruling(host: AppState, req: Request) -> Ruling:
    rule = req.url_rule
    if rule is None:
        return host.policies.without_view(req.path)
    return host.policies.of_view(rule.endpoint, req.path, req.method)


def _check(state: RequestState, req: Request, *, is_api: bool) -> ResponseReturnValue | None:
    """What comes before anybody asks who it is: limits, CSRF, the app's own ``before_auth``."""
    limit_request(state)
    if (is_api or req.method not in SAFE_METHODS) and not state.ruling.is_csrf_exempt:
        check_csrf(state, form_field=view_field, is_api=is_api)
    return state.host.callbacks.answer_before_auth(req)


def _admit(state: RequestState, req: Request) -> ResponseReturnValue | None:
    """Nobody has to be anybody here."""
    if state.ruling.is_login_page and req.method in ("GET", "HEAD"):
        return _send_away(state)
    if state.host.config.guest_mode == "eager" and state.may_mint and _is_page_view(req):
        state.resolve(mint=True)
    return None


def _gate(state: RequestState, req: Request) -> ResponseReturnValue | None:
    callbacks = state.host.callbacks
    rule = req.url_rule
    if req.method != "OPTIONS" or rule is None:
        state.gate(state.ruling.policies)
        return callbacks.answer_after_auth(state.identity) if callbacks.after_auth else None
    if getattr(rule, "provide_automatic_options", False):
        return None
    try:
        state.gate(state.ruling.policies)
    except Denial:
        # A preflight must not fail for want of a login, and the view must not run.
        return Response(status=204, headers={"Allow": ", ".join(sorted(rule.methods or ()))})
    return callbacks.answer_after_auth(state.identity)


def _send_away(state: RequestState) -> ResponseReturnValue | None:
    """A login page is nothing for somebody who is logged in."""
    target = state.host.config.after_login_url
    if same_page(target, state.request.path) or not state.identity.is_authenticated:
        return None
    return redirect(state.root + target)


def _is_page_view(req: Request) -> bool:
    wants_page = req.environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
    is_view = req.url_rule is not None and req.method == "GET"
    return is_view and wants_page and prefers_html(req.environ.get("HTTP_ACCEPT"))
