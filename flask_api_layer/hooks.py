"""What runs before and after every request: gather facts, let the rules decide, carry it out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from flask import Request, Response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import SecurityError

from .app_state import AppState, Mount, app_state
from .csrf import check_csrf, own_field, view_field
from .errors import Denial, denial
from .policies import STATIC, Ruling
from .sansio.access import OPEN, prefers_html
from .sansio.csrf import SAFE_METHODS
from .sansio.paths import is_under, request_target, same_page
from .sansio.proxying import ENTRY_ENDPOINTS, Decision, Describe, Forward, Own, Refuse, decide
from .state import RequestState, begin_request, request_state, state_of
from .throttle import limit_request

T = TypeVar("T")

_log = logging.getLogger(__name__)


def before_request(host: AppState) -> ResponseReturnValue | None:
    """Decide what the request needs; whoever may not enter is turned away here."""
    # Once, and not through the proxy: each touch of it costs a microsecond, and most requests need nothing else of ours.
    req = request._get_current_object()  # type: ignore[attr-defined]
    host.deployment.look(req.environ)
    # Somebody may have asked before us (a url_value_preprocessor, say); what they learned must reach the answer.
    state = state_of(req) or begin_request(host, req)
    if isinstance(req.routing_exception, SecurityError):
        # TRUSTED_HOSTS: nothing about this request can be believed.
        raise denial("bad_request", detail="This host name is not served here.")
    mount = host.mount
    is_api = mount is not None and is_under(req.path, mount.prefix)
    if is_api and mount is not None and not _has_view_of_app(req, mount):
        return _admit_api_call(state, mount)
    state.ruling = _ruling(host, req)
    if state.ruling.excluded:
        return _admit(state)
    endpoint = req.url_rule.endpoint if req.url_rule is not None else None
    if state.ruling is not STATIC:
        limit_request(state, endpoint)
    needs_check = is_api or req.method not in SAFE_METHODS
    if needs_check and not host.policies.is_csrf_exempt(endpoint, req.method):
        check_csrf(state, form_field=view_field, is_api=is_api)
    answer = _call_before_auth(state)
    # An empty answer is one too.
    return _admit(state) if answer is None else answer


def after_request(response: Response) -> Response:
    request_state().finish(response.headers)
    return response


def _has_view_of_app(req: Request, mount: Mount) -> bool:
    """Whether the app itself has a view at this place under the prefix."""
    rule = req.url_rule
    return rule is not None and not rule.endpoint.startswith(f"{mount.endpoint}.")


def tell_of_error(_: object, *, exception: BaseException, **__: object) -> None:
    """Pass on an exception that ended a request."""
    for callback in app_state().callbacks.on_error:
        try:
            callback(exception)
        except Exception:
            _log.exception("an on_error callback failed")


def _call_before_auth(state: RequestState) -> ResponseReturnValue | None:
    callbacks = state.host.callbacks.before_auth
    return _first_answer(callbacks, state.request) if callbacks else None


def _call_after_auth(state: RequestState) -> ResponseReturnValue | None:
    callbacks = state.host.callbacks.after_auth
    return _first_answer(callbacks, state.identity) if callbacks else None


def _first_answer(
    callbacks: Iterable[Callable[[T], ResponseReturnValue | None]], value: T
) -> ResponseReturnValue | None:
    answers = (callback(value) for callback in callbacks)
    return next((answer for answer in answers if answer is not None), None)


def _admit_api_call(state: RequestState, mount: Mount) -> ResponseReturnValue | None:
    decision = _decide(state, mount)
    is_excluded = state.host.policies.is_excluded(state.request.path)
    if is_excluded:
        state.ruling = Ruling((OPEN,), excluded=True)
    else:
        limit_request(state, None)
        if state.host.config.block_browser_api and _is_navigation():
            return redirect(f"{state.root}/")
    match decision:
        case Refuse():
            raise denial(decision.code, allow=decision.allow, detail=_hint(decision, state.host))
        case Describe(allow):
            return Response(status=204, headers={"Allow": allow})
    if not is_excluded:
        name = decision.name if isinstance(decision, Own) else None
        field = own_field if name else None
        check_csrf(state, form_field=field, is_entry=name in ENTRY_ENDPOINTS, is_api=True)
        if (answer := _call_before_auth(state)) is not None:
            return answer
    return _admit_forward(state, decision) if isinstance(decision, Forward) else None


def _admit_forward(state: RequestState, decision: Forward) -> ResponseReturnValue | None:
    route = state.forward_to(decision)
    if not route.roles:
        # The backend itself judges the bearer.
        return None
    state.gate(state.ruling.policies)
    return _call_after_auth(state)


def _is_navigation() -> bool:
    """Somebody opens the address itself, in a browser."""
    mode = request.environ.get("HTTP_SEC_FETCH_MODE")
    is_page = mode == "navigate" if mode else prefers_html(request.environ.get("HTTP_ACCEPT"))
    return is_page and request.method in ("GET", "HEAD")


def _decide(state: RequestState, mount: Mount) -> Decision:
    """From the environ: Flask's router would redirect ``//`` to a host that the client chose, and knows no raw paths."""
    environ = state.request.environ
    return decide(
        environ["REQUEST_METHOD"],
        request_target(
            environ.get("RAW_URI") or environ.get("REQUEST_URI"),
            environ.get("SCRIPT_NAME", ""),
            environ.get("PATH_INFO", ""),
        ),
        prefix=mount.prefix,
        upgrade=environ.get("HTTP_UPGRADE", ""),
        routes=state.host.upstreams.routes,
    )


def _hint(refusal: Refuse, host: AppState) -> str | None:
    """In debug mode, the line that would let the request through."""
    if refusal.code != "no_route" or not host.app.debug or refusal.path is None:
        return None
    path = "/".join(refusal.path.segments)
    return f"No route. To forward it: API_LAYER_PROXY_ROUTES = {{{path!r}: [{request.method!r}]}}"


def _ruling(host: AppState, req: Request) -> Ruling:
    rule = req.url_rule
    if rule is None:
        return host.policies.without_view(req.path)
    return host.policies.of_view(rule.endpoint, req.path, req.method)


def _admit(state: RequestState) -> ResponseReturnValue | None:
    if state.ruling.gates:
        return _gate(state)
    if state.ruling.is_login_page and state.request.method in ("GET", "HEAD"):
        return _send_away(state)
    if state.host.config.guest_mode == "eager" and state.may_mint and _is_page_view():
        state.resolve(mint=True)
    return None


def _gate(state: RequestState) -> ResponseReturnValue | None:
    rule = state.request.url_rule
    if state.request.method != "OPTIONS" or rule is None:
        state.gate(state.ruling.policies)
        return _call_after_auth(state)
    if getattr(rule, "provide_automatic_options", False):
        return None
    try:
        state.gate(state.ruling.policies)
    except Denial:
        # A preflight must not fail for want of a login, and the view must not run.
        return Response(status=204, headers={"Allow": ", ".join(sorted(rule.methods or ()))})
    return _call_after_auth(state)


def _send_away(state: RequestState) -> ResponseReturnValue | None:
    """A login page is nothing for somebody who is logged in."""
    target = state.host.config.after_login_url
    if same_page(target, request.path) or not state.identity.is_authenticated:
        return None
    return redirect(state.root + target)


def _is_page_view() -> bool:
    environ = request.environ
    wants_page = environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
    is_view = request.url_rule is not None and request.method == "GET"
    return is_view and wants_page and prefers_html(environ.get("HTTP_ACCEPT"))
