"""To whom the answer to a request goes, as far as a denial wants to know it."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from .errors import Audience
from .sansio.access import Client
from .sansio.paths import wsgi_decoded
from .state import RequestState


def audience_of(state: RequestState) -> Audience:
    path = _wsgi_path(state)
    quoted = quote(path.encode("latin-1"), safe="/:@!$&'()*+,;=-._~")
    query = state.request.environ.get("QUERY_STRING", "")
    under_prefix = not state.guards_mount and state.host.is_api_path(state.request.path)
    return Audience(
        client=_client(state, under_prefix),
        path=wsgi_decoded(path),
        target=None if under_prefix else f"{quoted}?{query}" if query else quoted,
        login_url=state.root + state.host.config.login_url,
        request_id=state.request_id,
        realm=state.host.app.name,
        hx_target=_hx_target(state),
    )


def _wsgi_path(state: RequestState) -> str:
    environ = state.request.environ
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return "/" + path.lstrip("/")


def _hx_target(state: RequestState) -> str | None:
    """The page that htmx is on; the header is the client's word, so it is checked like any ``next``."""
    try:
        url = urlsplit(state.request.environ.get("HTTP_HX_CURRENT_URL", ""))
    except ValueError:
        return None
    path = url.path or ("/" if url.netloc else "")
    return state.host.safe_next(f"{path}?{url.query}" if url.query else path, root=state.root)


def _client(state: RequestState, under_prefix: bool) -> Client:
    environ = state.request.environ
    return Client(
        under_prefix=under_prefix,
        sends_json=state.request.is_json,
        accept=environ.get("HTTP_ACCEPT"),
        fetch_mode=environ.get("HTTP_SEC_FETCH_MODE"),
        requested_with=environ.get("HTTP_X_REQUESTED_WITH"),
        hx_request=environ.get("HTTP_HX_REQUEST"),
    )
