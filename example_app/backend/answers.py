"""The envelope of every answer, and how bodies are read."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.wrappers import Response as BaseResponse

MAX_JSON_BODY = 64 * 1024  # bytes
MAX_DRAINED_BODY = 4 * 1024 * 1024

_CHUNK = 65_536

REALM = "example-shop"

# JSON can escape what no UTF-8 text may hold.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Failure(HTTPException):
    """A refusal in the envelope ``{"success": false, "message": ..., "code": ..., "errors"?: {...}}``.

    :param errors: for validation failures: field -> list of messages.
    """

    def __init__(
        self, status: int, error_code: str, message: str, *, errors: dict[str, list[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = status
        self.error_code = error_code
        self.errors = errors


def invalid(**errors: str) -> Failure:
    """A 422 with one message for each field named."""
    lists = {field: [message] for field, message in errors.items()}
    return Failure(422, "validation_failed", "The given data was invalid.", errors=lists)


def success(data: object, *, status: int = 200) -> Response:
    """``{"success": true, "data": ...}``."""
    response = jsonify(success=True, data=data)
    response.status_code = status
    return response


def no_content() -> Response:
    """204, with neither body nor Content-Type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def json_body() -> dict[str, Any]:
    """The JSON object that was sent.

    :raises HTTPException: 400 when it is not a JSON object, 413 when it is too large, 415 when it is not JSON at all.
    """
    request.max_content_length = MAX_JSON_BODY
    body = request.get_json()
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body


def text_fields(body: dict[str, Any], *names: str) -> list[str]:
    """The non-empty texts under these names, in order.

    :raises Failure: 422 that lists every field which is missing or not a text.
    """
    missing = {name: f"The {name} field is required." for name in names if not _is_filled(body.get(name))}
    if missing:
        raise invalid(**missing)
    return [body[name] for name in names]


def drain_body(response: Response) -> Response:
    """The same answer, after what is left of a body that the view did not want was read and thrown away.

    gunicorn drains 64 KiB of it, then closes the connection without having said so: the caller's next request, or
    the rest of this one, would run into that. Only where the server promises that its input ends by itself.
    """
    body, left = request.environ["wsgi.input"], MAX_DRAINED_BODY
    if request.environ.get("wsgi.input_terminated"):
        with suppress(OSError):
            while left > 0 and (chunk := body.read(min(_CHUNK, left))):
                left -= len(chunk)
    return response


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _LONE_SURROGATE.search(value)


def register_error_answers(app: Flask) -> None:
    """Answer every error of this app in the envelope, crashes included."""
    app.register_error_handler(HTTPException, _answer_error)


def _answer_error(error: HTTPException) -> BaseResponse:
    response = error.get_response()
    if response.status_code < 400:
        return response
    answer = jsonify(_envelope(error))
    answer.status_code = response.status_code
    if "Allow" in response.headers:
        answer.headers["Allow"] = response.headers["Allow"]
    if answer.status_code == 401:
        answer.headers["WWW-Authenticate"] = _challenge(error)
    return answer


def _envelope(error: HTTPException) -> dict[str, object]:
    if not isinstance(error, Failure):
        return {"success": False, "message": error.description, "code": error.name.lower().replace(" ", "_")}
    envelope: dict[str, object] = {"success": False, "message": error.description, "code": error.error_code}
    return envelope if error.errors is None else envelope | {"errors": error.errors}


def _challenge(error: HTTPException) -> str:
    """RFC 6750, section 3.1: name the error only when a token was presented and is at fault."""
    is_about_token = isinstance(error, Failure) and error.error_code.startswith("token_")
    return f'Bearer realm="{REALM}"' + (', error="invalid_token"' if is_about_token else "")
