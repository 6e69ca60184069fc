"""What runs before and after every request: gather facts, let the rules decide, carry it out."""

from __future__ import annotations

from flask import Request, Response, redirect, request
from flask.typing import ResponseReturnValue

from .app_state import AppState, Mount
from .errors import Denial, denial
from .policies import Ruling
from .sansio.access import AUTH, Policy, prefers_html
from .sansio.paths import is_under, request_target, same_page
from .sansio.proxying import Describe, Forward, Own, Refuse, decide
from .state import RequestState, begin_request, request_state, state_of


def before_request(host: AppState) -> ResponseReturnValue | None:
    """Decide what the request needs; whoever may not enter is turned away here."""
    # Once, and not through the proxy: each touch of it costs a microsecond, and most requests need nothing else of ours.
    req = request._get_current_object()  # type: ignore[attr-defined]
    host.deployment.look(req.environ)
    # Somebody may have asked before us (a url_value_preprocessor, say); what they learned must reach the answer.
    state = state_of(req) or begin_request(host, req)
    mount = host.mount
    if mount is not None and is_under(req.path, mount.prefix) and not _has_view_of_app(req, mount):
        return _admit_api_call(state, mount)
    state.ruling = _ruling(host, req)
    return _admit(state)


def after_request(response: Response) -> Response:
    request_state().finish(response.headers)
    return response


def _has_view_of_app(req: Request, mount: Mount) -> bool:
    """Whether the app itself has a view at this place under the prefix."""
    rule = req.url_rule
    return rule is not None and not rule.endpoint.startswith(f"{mount.endpoint}.")


def _admit_api_call(state: RequestState, mount: Mount) -> ResponseReturnValue | None:
    """Decided from the environ: Flask's router would redirect ``//`` to a host that the client chose, and knows no raw paths."""
    environ = request.environ
    decision = decide(
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
    match decision:
        case Forward(route):
            state.forward = decision
            if route.auth == "user":
                state.ruling = Ruling((Policy("user", route.roles),))
            if route.roles:
                state.gate(state.ruling.policies)
        case Describe(allow):
            return Response(status=204, headers={"Allow": allow})
        case Refuse():
            raise denial(decision.code, allow=decision.allow, detail=_hint(decision, state.host))
        case Own():
            pass
    return None


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
    if AUTH in state.ruling.policies and state.request.method in ("GET", "HEAD"):
        return _send_away(state)
    if state.host.config.guest_mode == "eager" and state.may_mint and _is_page_view():
        state.resolve(mint=True)
    return None


def _gate(state: RequestState) -> ResponseReturnValue | None:
    rule = request.url_rule
    if request.method != "OPTIONS" or rule is None:
        state.gate(state.ruling.policies)
        return None
    if getattr(rule, "provide_automatic_options", False):
        return None
    try:
        state.gate(state.ruling.policies)
    except Denial:
        # A preflight must not fail for want of a login, and the view must not run.
        return Response(status=204, headers={"Allow": ", ".join(sorted(rule.methods or ()))})
    return None


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
