"""The client behind ``api``: calls to the backend with the right bearer, answers that never raise unless asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from .errors import (
    ApiError,
    BackendTimeout,
    BadGateway,
    Denial,
    HttpError,
    LoginRequired,
    NetworkError,
    RequestTimeout,
)
from .sansio.headers import from_upstream, protective_headers
from .sansio.paths import BadPath, clean_path
from .sansio.routes import PathSet
from .transport import Reply, TimedOut, Transport, TransportError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_ASCII = "".join(map(chr, range(0x21, 0x7F)))
# The body says how long it is once it has been decoded.
_DECODED = frozenset(("content-encoding", "content-length"))


class ApiResponse:
    """An answer of the backend, or the reason why there is none.

    A Flask view may return it: the browser gets the backend's status, body and harmless headers.
    """

    def __init__(
        self,
        reply: Reply | None,
        *,
        status_code: int,
        error: ApiError | None = None,
        denial: Denial | None = None,
    ) -> None:
        self._reply = reply
        self._denial = denial
        self.status_code = status_code
        self.error = error

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def headers(self) -> Headers:
        return Headers(list(self._reply.headers) if self._reply else [])

    @property
    def content(self) -> bytes:
        return self._reply.body if self._reply else b""

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @cached_property
    def body(self) -> Any:
        """The decoded JSON; None when the body is not JSON."""
        try:
            return self._reply.json() if self._reply else None
        except ValueError:
            return None

    @property
    def data(self) -> Any:
        """The ``data`` member if the body follows the convention, else the body."""
        body = self.body
        return body["data"] if isinstance(body, dict) and "data" in body else body

    @property
    def message(self) -> str | None:
        return self._text_member("message")

    @property
    def errors(self) -> Mapping[str, Any]:
        """Field -> messages, as the backend sent them; empty when it sent none."""
        body = self.body
        errors = body.get("errors") if isinstance(body, dict) else None
        return errors if isinstance(errors, dict) else {}

    def raise_for_error(self) -> Self:
        """Itself when the call went well.

        :raises ApiError: else.
        """
        if self.error is not None:
            raise self.error
        return self

    def _text_member(self, name: str) -> str | None:
        body = self.body
        value = body.get(name) if isinstance(body, dict) else None
        return value if isinstance(value, str) else None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers as a WSGI app, which is what Flask does with what a view returns."""
        response = self._as_response() if self._denial is None else self._denial.get_response(environ)
        return response(environ, start_response)

    def _as_response(self) -> Response:
        headers = from_upstream(self.headers, extra=frozenset())
        kept = [(name, value) for name, value in headers if name.lower() not in _DECODED | {"location"}]
        response = Response(self.content, status=self.status_code, headers=Headers(kept))
        response.headers.extend(protective_headers(kept))
        return response

    def __repr__(self) -> str:
        return f"<ApiResponse {self.status_code}{'' if self.ok else f' {type(self.error).__name__}'}>"


class ApiClient:
    """Calls to the backend on behalf of one caller.

    :param bearer: gives the token to call with, None when there is none; may raise a :class:`~flask_api_layer.errors.Denial`.
    :param renew: gives the token to try once more after the backend refused one; None when there is none.
    :param public: paths that are called without a token.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        bearer: Callable[[], str | None],
        renew: Callable[[str], str | None],
        public: PathSet,
        total_timeout: float,
    ) -> None:
        self._transport = transport
        self._bearer = bearer
        self._renew = renew
        self._public = public
        self._total_timeout = total_timeout

    def get(self, path: str, **options: Any) -> ApiResponse:
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Any) -> ApiResponse:
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options: Any) -> ApiResponse:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> ApiResponse:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> ApiResponse:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> ApiResponse:
        return self.request("DELETE", path, **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        data: Any = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        auth: bool = True,
    ) -> ApiResponse:
        """Call ``path`` under BACKEND_URL.

        :param path: relative, may carry a query.
        :param timeout: seconds for the whole call; TOTAL_TIMEOUT by default.
        :param auth: False calls without a token, as paths in PROXY_PUBLIC are called anyway.
        :raises ValueError: for a path that could leave BACKEND_URL, before anything is sent. Never for an answer of the backend.
        """
        path, segments = checked_path(path)
        options = {
            "params": params,
            "json": json,
            "data": data,
            "files": files,
            "headers": headers,
            "timeout": timeout,
        }
        try:
            if not auth or segments in self._public:
                return _answered(self._transport.call(method, path, **options))
            return self._call_with_token(method, path, options)
        except Denial as error:
            return _denied(error)
        except TimedOut:
            return _timed_out(path, timeout or self._total_timeout)
        except TransportError as error:
            return _unreachable(path, error)

    def _call_with_token(self, method: str, path: str, options: Mapping[str, Any]) -> ApiResponse:
        token = self._bearer()
        if token is None:
            raise LoginRequired()
        reply = self._transport.call(method, path, bearer=token, **options)
        if reply.status == 401 and _repeatable(options) and (renewed := self._renew(token)):
            reply = self._transport.call(method, path, bearer=renewed, **options)
        return _answered(reply)


def checked_path(path: str) -> tuple[str, tuple[str, ...]]:
    """The path that is sent, query included, and its decoded segments.

    :raises ValueError: for an absolute URL, dot segments, ``//``, a backslash or controls.
    """
    if "\\" in path or any(ord(character) < 33 or ord(character) == 127 for character in path):
        raise ValueError(f"{path!r} holds a space, a backslash or a control character; quote it")
    parts = urlsplit(path)
    if parts.scheme or parts.netloc or path.startswith("//"):
        raise ValueError(f"{path!r} is an absolute URL; give a path relative to BACKEND_URL, such as 'cart'")
    try:
        target = quote("/" + parts.path.removeprefix("/"), safe=_ASCII)
        clean = clean_path(target, prefix="")
    except BadPath as error:
        raise ValueError(f"{path!r} is refused: {error}; give a path such as 'cart/items?page=2'") from error
    query = f"?{quote(parts.query, safe=_ASCII)}" if parts.query else ""
    return clean.quoted() + query, clean.segments


def _repeatable(options: Mapping[str, Any]) -> bool:
    """Files and iterators have been read by the first call."""
    data = options["data"]
    return options["files"] is None and (data is None or isinstance(data, (str, bytes, dict)))


def _answered(reply: Reply) -> ApiResponse:
    error = None
    if reply.status >= 400:
        error = HttpError(f"the backend answered {reply.status}", status=reply.status)
    return ApiResponse(reply, error=error, status_code=reply.status)


def _denied(denial: Denial, error: ApiError | None = None) -> ApiResponse:
    """What stands for an answer when there is none: the layer's own."""
    status = denial.code or 503
    error = error or HttpError(denial.error_code, status=status)
    return ApiResponse(None, status_code=status, error=error, denial=denial)


def _timed_out(path: str, timeout: float) -> ApiResponse:
    message = f"the backend did not answer {path!r} within {timeout:g} s"
    return _denied(BackendTimeout(), RequestTimeout(message, endpoint=path, timeout=timeout))


def _unreachable(path: str, cause: TransportError) -> ApiResponse:
    message = f"the backend could not be asked for {path!r}"
    return _denied(BadGateway(), NetworkError(message, endpoint=path, cause=cause))
