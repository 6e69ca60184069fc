"""Requests under the prefix, before Flask's router has its say: the layer's own endpoints, and the proxy."""

from __future__ import annotations

from flask import Request, Response, redirect
from flask.typing import ResponseReturnValue

from .app_state import Mount
from .csrf import check_csrf, own_field
from .errors import denial
from .sansio.access import prefers_html
from .sansio.paths import request_target
from .sansio.proxying import ENTRY_ENDPOINTS, Decision, Describe, Forward, Own, Refuse, decide
from .state import RequestState
from .throttle import limit_request


def admit_api_call(state: RequestState, mount: Mount) -> ResponseReturnValue | None:
    """Decide what happens to a request under the prefix; what is not refused goes on to the view of an endpoint or of the proxy."""
    decision = _decide(state, mount)
    ruling = state.ruling = state.host.policies.of_api(state.request.path)
    if not ruling.excluded:
        limit_request(state)
        if state.host.config.block_browser_api and _is_navigation(state.request):
            return redirect(f"{state.root}/")
    match decision:
        case Refuse():
            raise denial(decision.code, allow=decision.allow, detail=_hint(decision, state))
        case Describe(allow):
            return Response(status=204, headers={"Allow": allow})
    if not ruling.excluded:
        name = decision.name if isinstance(decision, Own) else None
        field = own_field if name else None
        check_csrf(state, form_field=field, is_entry=name in ENTRY_ENDPOINTS, is_api=True)
        answer = state.host.callbacks.answer_before_auth(state.request)
        if answer is not None:
            return answer
    return _admit_forward(state, decision) if isinstance(decision, Forward) else None


def _admit_forward(state: RequestState, decision: Forward) -> ResponseReturnValue | None:
    route = state.forward_to(decision)
    if not route.roles:
        # The backend itself judges the bearer.
        return None
    state.gate(state.ruling.policies)
    return state.host.callbacks.answer_after_auth(state.identity)


def _is_navigation(req: Request) -> bool:
    """Somebody opens the address itself, in a browser."""
    mode = req.environ.get("HTTP_SEC_FETCH_MODE")
    is_page = mode == "navigate" if mode else prefers_html(req.environ.get("HTTP_ACCEPT"))
    return is_page and req.method in ("GET", "HEAD")


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


def _hint(refusal: Refuse, state: RequestState) -> str | None:
    """In debug mode, the line that would let the request through."""
    if refusal.code != "no_route" or not state.host.app.debug or refusal.path is None:
        return None
    path = "/".join(refusal.path.segments)
    return f"No route. To forward it: API_LAYER_PROXY_ROUTES = {{{path!r}: [{state.request.method!r}]}}"
