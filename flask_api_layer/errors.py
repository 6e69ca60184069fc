"""Every error of the package.

::

    ApiLayerError
    ├── ConfigError              the configuration cannot work
    ├── StoreDown                the store did not answer in time
    │   └── StoreBusy            ... because this process kept it busy
    └── ApiError                 a call of the ``api`` client failed
        ├── HttpError            ... with an HTTP status
        ├── RequestTimeout       ... because the backend was too slow
        └── NetworkError         ... because the backend could not be reached

    werkzeug.exceptions.HTTPException
    └── Denial                   an answer of the layer's own: redirect, page or problem body
        ├── LoginRequired        401
        ├── AccessDenied         403
        ├── RateLimited          429
        ├── BackendUnavailable   503
        ├── BackendTimeout       504
        └── BadGateway           502
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from flask import current_app
from markupsafe import escape
from werkzeug import exceptions
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from .sansio.access import Client, Manner, login_target, negotiate
from .sansio.paths import same_page
from .sansio.problems import PROBLEMS, problem, status_of

RETRY_AFTER_SECONDS = 5


class ApiLayerError(Exception):
    """Base of the errors that are not HTTP answers."""


class ConfigError(ApiLayerError, ValueError):
    """The configuration cannot work; the message lists every problem at once, and what to write instead."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(["flask-api-layer cannot start:", *(f"- {problem}" for problem in problems)])
        )


class StoreDown(ApiLayerError):
    """The store did not answer in time."""


class StoreBusy(StoreDown):
    """Other threads of this process kept the store for too long, which says nothing about the store."""


class ApiError(ApiLayerError):
    """A call of the ``api`` client failed; base of the reasons."""


class HttpError(ApiError):
    """The backend answered with an error status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status < 500

    @property
    def is_server_error(self) -> bool:
        return self.status >= 500


class RequestTimeout(ApiError):
    """The backend did not answer in time.

    :param timeout: the seconds that it had.
    """

    def __init__(self, message: str, *, endpoint: str, timeout: float) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.timeout = timeout


class NetworkError(ApiError):
    """The backend could not be reached, or broke off."""

    def __init__(self, message: str, *, endpoint: str, cause: Exception | None = None) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Audience:
    """To whom a denial is said, and where they could log in.

    :param path: the decoded path being served, as the browser knows it.
    :param target: the same, quoted and with its query: where a login should lead back to; None for the layer's own API.
    :param login_url: LOGIN_URL as the browser knows it.
    :param hx_target: where a login should lead back to when htmx asks, which is the page around the request.
    """

    client: Client
    path: str
    target: str | None
    login_url: str
    request_id: str
    realm: str
    hx_target: str | None = None


class Host(Protocol):
    """What an app with the layer can tell; it stands in ``app.extensions["api_layer"]``."""

    def audience(self) -> Audience:
        """To whom the current request's answer goes."""
        ...

    def answer_to(self, error: Denial) -> Response | None:
        """What the app says itself to a refusal; None to leave it to the layer."""
        ...


class Denial(HTTPException):
    """An answer of the layer's own, said in the way that this client understands.

    Raise one in a view, with a text for people if you like: ``raise AccessDenied("Only the owner may do this.")``. They are
    Werkzeug's exceptions of their status codes, so ``@app.errorhandler(403)`` or ``@app.errorhandler(AccessDenied)`` takes over.
    """

    code = 400
    description: Any = None
    error_code = "bad_request"
    retry_after: int | None = None
    allow: str | None = None
    errors: Mapping[str, Sequence[str]] | None = None

    def __init__(self, description: str | None = None, response: Any = None) -> None:
        # Past the classes of the status codes, whose own arguments differ from one to the next.
        HTTPException.__init__(self, description, response)

    @property
    def detail(self) -> str:
        """What went wrong, for people."""
        return self.description or PROBLEMS[self.error_code][2]

    @property
    def asks_for_login(self) -> bool:
        return isinstance(self, LoginRequired)

    def get_response(self, environ: Any = None, scope: Any = None) -> Response:
        """A redirect, a page or a problem body, as the current request asks for."""
        if isinstance(self.response, Response):
            return self.response
        host: Host = current_app.extensions["api_layer"]
        if (answer := host.answer_to(self)) is not None:
            return answer
        audience = host.audience()
        response = self._said_to(audience)
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = f'Bearer realm="{audience.realm}"'
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        if self.allow is not None:
            response.headers["Allow"] = self.allow
        return response

    def _said_to(self, audience: Audience) -> Response:
        manner = negotiate(audience.client, asks_for_login=self.asks_for_login)
        if manner is Manner.HTMX:
            headers = {"HX-Redirect": login_target(audience.login_url, audience.hx_target)}
            return self._problem(audience, headers)
        # A login page that is itself denied must not redirect to itself.
        if manner is Manner.REDIRECT and not same_page(audience.login_url, audience.path):
            return _redirect(login_target(audience.login_url, audience.target))
        if manner is Manner.PROBLEM:
            return self._problem(audience)
        return Response(self.get_body(), status=self.code, mimetype="text/html")

    def get_description(self, environ: Any = None, scope: Any = None) -> str:
        return f"<p>{escape(self.detail)}</p>"

    def _problem(self, audience: Audience, headers: Mapping[str, str] | None = None) -> Response:
        body = problem(
            self.error_code,
            request_id=audience.request_id,
            status=self.code,
            detail=self.detail,
            errors=self.errors,
            login_url=audience.login_url if self.code == 401 else None,
        )
        text = json.dumps(body)
        return Response(text, status=self.code, headers=headers, content_type="application/problem+json")


class LoginRequired(Denial, exceptions.Unauthorized):
    """Nobody, or only a guest, is logged in."""

    code = 401
    error_code = "login_required"


class AccessDenied(Denial, exceptions.Forbidden):
    """Somebody is logged in, and may not do this."""

    code = 403
    error_code = "access_denied"


class RateLimited(Denial, exceptions.TooManyRequests):
    """Too much was asked in too short a time."""

    code = 429
    error_code = "rate_limited"
    retry_after = RETRY_AFTER_SECONDS


class BackendUnavailable(Denial, exceptions.ServiceUnavailable):
    """The backend could not be asked; nobody is logged out by this."""

    code = 503
    error_code = "backend_unavailable"
    retry_after = RETRY_AFTER_SECONDS


class BackendTimeout(Denial, exceptions.GatewayTimeout):
    """The backend took too long."""

    code = 504
    error_code = "backend_timeout"


class BadGateway(Denial, exceptions.BadGateway):
    """The backend refused the connection, or answered nonsense."""

    code = 502
    error_code = "bad_gateway"


_CLASSES: Mapping[str, type[Denial]] = {
    "login_required": LoginRequired,
    "session_expired": LoginRequired,
    "access_denied": AccessDenied,
    "token_type_refused": AccessDenied,
    "rate_limited": RateLimited,
    "backend_unavailable": BackendUnavailable,
    "backend_timeout": BackendTimeout,
    "bad_gateway": BadGateway,
}


@lru_cache
def _class_for(base: type[Denial], status: int) -> type[Denial]:
    """``base`` for another status, so that ``@app.errorhandler(404)`` finds it: Flask looks for Werkzeug's class of that code."""
    if base is not Denial and base.code == status:
        return base
    known = exceptions.default_exceptions.get(status)
    return type(base.__name__, (base, known) if known else (base,), {"code": status})


def denial(
    code: str,
    *,
    detail: str | None = None,
    status: int | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
    retry_after: int | None = None,
    allow: str | None = None,
) -> Denial:
    """The denial for a problem code.

    :param status: where the backend's own 4xx is passed on; else the status of the code.
    """
    base: Any = _CLASSES.get(code, Denial)
    error: Denial = _class_for(base, status or status_of(code))(detail)
    error.error_code = code
    error.errors = errors
    error.allow = allow
    if retry_after is not None:
        error.retry_after = retry_after
    return error


def _redirect(location: str) -> Response:
    return Response("", status=302, headers={"Location": location}, mimetype="text/html")
