"""Endpoints that show what arrives and send what is hard to pass on: for tests of a caller, and of any proxy."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import time
from collections.abc import Iterator

from flask import Blueprint, Response, jsonify, request

from .answers import Failure, invalid, no_content, success
from .bearer import require_caller
from .journal import Journal
from .state import state

blueprint = Blueprint("probes", __name__)

CHUNK = 65_536  # bytes
MAX_EVENTS = 10_000
MAX_GAP = 60.0  # seconds

# 251 is prime: a chunk that is lost, repeated or shifted shows, whatever power of two it is cut to.
_PATTERN = bytes(range(251)) * 261

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_TOKEN_HEADERS = ("Authorization", "X-Guest-Token")


@blueprint.get("/whoami")
def whoami() -> Response:
    """Whose bearer arrived: ``mark`` is the id of the user or guest."""
    account = require_caller().account
    return success({"mark": account.id, "type": account.type})


@blueprint.route("/echo", methods=_METHODS)
@blueprint.route("/echo/<path:rest>", methods=_METHODS)
def echo(rest: str = "") -> Response:
    """The request as it arrived; of tokens only whether they are there, of the body only its length and SHA-256."""
    digest, length = _digest_body()
    if request.content_length not in (None, length):
        # gunicorn hands over what came as if it were everything.
        raise Failure(400, "body_incomplete", "The body is shorter than its Content-Length.")
    return jsonify(
        method=request.method,
        path=request.path,
        raw_target=request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI"),
        query=request.query_string.decode("latin-1"),
        headers=_shown_headers(),
        body={"length": length, "sha256": digest},
    )


@blueprint.get("/bytes/<int(max=4294967296):size>")
def stream_bytes(size: int) -> Response:
    """So many bytes: byte ``i`` is ``i % 251``."""
    response = Response(_pattern(size), mimetype="application/octet-stream")
    response.headers["Content-Length"] = str(size)
    return response


@blueprint.get("/gzip")
def compressed() -> Response:
    """A compressed body, whatever the caller accepts."""
    body = json.dumps({"success": True, "data": {"text": "compress me, " * 100}}).encode()
    response = Response(gzip.compress(body, mtime=0), mimetype="application/json")
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response


@blueprint.get("/events")
def events() -> Response:
    """Server-sent events: ``?n=`` of them (5), ``?gap=`` seconds apart (0.2), the first at once."""
    count = request.args.get("n", 5, type=int)
    gap = request.args.get("gap", 0.2, type=float)
    if not 1 <= count <= MAX_EVENTS:
        raise invalid(n=f"The n must be from 1 to {MAX_EVENTS}.")
    if not (math.isfinite(gap) and 0 <= gap <= MAX_GAP):
        raise invalid(gap=f"The gap must be from 0 to {MAX_GAP:g} seconds.")
    response = Response(_ticks(state().journal, count, gap), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/status/<int:code>")
def status(code: int) -> Response:
    """An answer with this status."""
    if not 200 <= code <= 599:
        raise invalid(code="The code must be from 200 to 599.")
    if code in (204, 304):
        response = no_content()
    else:
        response = jsonify(success=code < 400, message=f"You asked for {code}.", code=f"status_{code}")
    response.status_code = code
    return response


@blueprint.get("/redirect")
def redirect() -> Response:
    """302 to ``?to=``, byte for byte."""
    target = request.args.get("to", "")
    if not target.isascii() or not target.isprintable() or not target:
        raise invalid(to="The to must be a URL of printable ASCII characters.")
    response = no_content()
    response.status_code = 302
    response.headers["Location"] = target
    return response


@blueprint.get("/headers")
def risky_headers() -> Response:
    """Headers that a proxy has to think about: some must pass, some must not."""
    response = success({"headers": "see above"})
    response.set_cookie("backend_session", "of-the-backend", httponly=True)
    response.set_cookie("backend_theme", "dark")
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Clear-Site-Data"] = '"cookies"'
    response.headers["Strict-Transport-Security"] = "max-age=63072000"
    response.headers["X-Accel-Redirect"] = "/protected"
    response.headers["X-Powered-By"] = "example-shop"
    response.headers.add("Link", '</v1/products?page=2>; rel="next"')
    response.headers.add("Link", '</v1/products?page=9>; rel="last"')
    response.headers["X-Total-Count"] = "12"
    response.headers["Cache-Control"] = "public, max-age=60"
    response.headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
    response.set_etag("shop-1")
    response.make_conditional(request)
    return response


def _digest_body() -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    while chunk := request.stream.read(CHUNK):
        digest.update(chunk)
        length += len(chunk)
    return digest.hexdigest(), length


def _shown_headers() -> list[list[str]]:
    """The headers as WSGI hands them over, and a line for each token that did not come."""
    shown = [[name, "present" if name in _TOKEN_HEADERS else value] for name, value in request.headers]
    return shown + [[name, "absent"] for name in _TOKEN_HEADERS if name not in request.headers]


def _pattern(size: int) -> Iterator[bytes]:
    whole, rest = divmod(size, len(_PATTERN))
    for _ in range(whole):
        yield _PATTERN
    yield _PATTERN[:rest]


def _ticks(journal: Journal, count: int, gap: float) -> Iterator[str]:
    with journal.open_stream():
        for number in range(1, count + 1):
            yield f"id: {number}\nevent: tick\ndata: {json.dumps({'number': number})}\n\n"
            if number < count:
                time.sleep(gap)
