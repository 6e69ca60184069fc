"""The gate of a view around any WSGI app that is mounted beside the Flask app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, request
from flask.ctx import RequestContext
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from .app_state import app_state
from .csrf import check_csrf
from .errors import Denial
from .policies import Ruling
from .sansio.access import Policy
from .state import RequestState, begin_request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

IDENTITY_KEY = "flask_api_layer.identity"


class Guard:
    """``wsgi_app`` behind the cascade and the gate; its policy is its arguments alone.

    The identity is in ``environ["flask_api_layer.identity"]``. LOGIN_URL is taken relative to the Flask app's APPLICATION_ROOT, since
    SCRIPT_NAME names the mount. The request context lives until the body is closed; the request's body is never read.
    """

    def __init__(self, wsgi_app: WSGIApplication, app: Flask, policy: Policy) -> None:
        self._wsgi_app = wsgi_app
        self._app = app
        self._policy = policy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        context = self._app.request_context(environ)
        context.push()
        try:
            state = begin_request(app_state(), context.request)
            state.guards_mount = True
            state.root = quote(self._app.config["APPLICATION_ROOT"].rstrip("/"))
            state.ruling = Ruling((self._policy,))
            refusal = self._refusal(state)
            if refusal is None:
                environ[IDENTITY_KEY] = state.identity
                return _Body(self._wsgi_app(environ, _finishing(state, start_response)), context)
            state.finish(refusal.headers)
            body = list(refusal(environ, start_response))
        except BaseException as error:
            context.pop(error)
            raise
        context.pop()
        return body

    def _refusal(self, state: RequestState) -> Response | None:
        """What stands in for the mounted app when they may not enter; the Flask app's error handlers have their say."""
        try:
            state.check_host()
            check_csrf(state, form_field=None)
            state.gate(state.ruling.policies)
        except Denial as error:
            if request.method == "OPTIONS":
                return Response(status=204, headers={"Allow": "OPTIONS"})
            return self._app.make_response(self._app.handle_user_exception(error))
        return None


def _finishing(state: RequestState, start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        finished = Headers(headers)
        state.finish(finished)
        return start_response(status, finished.to_wsgi_list(), exc_info)

    return start


class _Body:
    """The mounted app's body, and the request context that ends with it."""

    def __init__(self, body: Iterable[bytes], context: RequestContext) -> None:
        self._body = body
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._context.pop()
