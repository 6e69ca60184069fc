"""Browsers and small backends for whole requests: what a browser says, keeps and sees."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from blinker import NamedSignal
from flask import Flask
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from flask_api_layer import ApiLayer
from tests.processes import ShopBackend

MakeApp = Callable[..., Flask]
StartBackend = Callable[..., ShopBackend]

USER = "__Host-Http-api-user"
GUEST = "__Host-Http-api-guest"
FLASK_SESSION = "session"
SECURE = {"Secure": "", "HttpOnly": "", "Path": "/", "SameSite": "Lax"}
WEEK = "604800"

ADA = "ada@example.com"
ADMIN = "admin@example.com"
EDITOR = "editor@example.com"
PASSWORD = "demo-password"
CREDENTIALS = {"email": ADA, "password": PASSWORD}

NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}
SCRIPT = {
    "Accept": "*/*",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Site": "same-origin",
}


class Browser:
    """A browser in front of an app, with cookies of its own.

    :param cookies: what it has already, by name.
    """

    def __init__(
        self, app: Flask, *, cookies: Mapping[str, str] | None = None, url: str = "https://localhost"
    ) -> None:
        self.client = app.test_client()
        self._url = url
        for name, value in (cookies or {}).items():
            self.client.set_cookie(name, value, domain="localhost")

    def visit(self, path: str, *, headers: Mapping[str, str] | None = None) -> TestResponse:
        """Go to a page."""
        return self._open("GET", path, NAVIGATION | dict(headers or {}))

    def fetch(
        self, path: str, *, method: str = "GET", json: Any = None, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        """Call as a script of the page does."""
        return self._open(method, path, SCRIPT | dict(headers or {}), json=json)

    def post(self, path: str, *, json: Any = None) -> TestResponse:
        return self.fetch(path, method="POST", json=json)

    def submit(
        self, path: str, form: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        """Send a form, and go where it leads."""
        content = {"data": form} if form else {"content_type": "application/x-www-form-urlencoded"}
        return self._open("POST", path, NAVIGATION | dict(headers or {}), **content)

    def log_in(self, email: str = ADA) -> TestResponse:
        response = self.post("/api/auth/login", json={"email": email, "password": PASSWORD})
        assert response.status_code == 200, response.text
        return response

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the layer that it holds now."""
        kept = {name: self.client.get_cookie(name) for name in (USER, GUEST, "api-user", "api-guest")}
        return {name: cookie.value for name, cookie in kept.items() if cookie is not None}

    def on(self, app: Flask) -> Browser:
        """Another browser with the same cookies, in front of this app."""
        return Browser(app, cookies=self.cookies, url=self._url)

    def _open(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> TestResponse:
        return self.client.open(path, method=method, headers=headers, base_url=self._url, **content)


@contextmanager
def layered(at: ShopBackend | str, **settings: Any) -> Iterator[tuple[Flask, ApiLayer]]:
    """An app and its layer, for tests that need the layer itself; the blueprint is not registered yet."""
    app = Flask("shop")
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    url = at if isinstance(at, str) else at.base_url
    layer = ApiLayer(app, **{"store_url": "memory://", "backend_url": url} | settings)
    yield app, layer
    app.extensions["api_layer"].close()


def plain(app: Flask) -> Browser:
    """A browser with no cookies."""
    return Browser(app)


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One ``Set-Cookie`` line; an attribute without a value has an empty one, ``Expires`` is left out."""

    value: str = field(repr=False)
    attributes: Mapping[str, str]

    @property
    def is_deletion(self) -> bool:
        return self.value == "" and self.attributes.get("Max-Age") == "0"


def set_cookies(response: Response) -> dict[str, SetCookie]:
    """What an answer sets, by name; the app's own session cookie and the CSRF cookie are left out.

    A name that is set twice fails the test.
    """
    found: dict[str, SetCookie] = {}
    for line in response.headers.getlist("Set-Cookie"):
        name, cookie = _parsed(line)
        assert name not in found, f"{name} is set twice"
        found[name] = cookie
    return {name: cookie for name, cookie in found.items() if name != FLASK_SESSION and "csrf" not in name}


def _parsed(line: str) -> tuple[str, SetCookie]:
    pair, *rest = line.split("; ")
    name, _, value = pair.partition("=")
    attributes = {key: content for key, _, content in (item.partition("=") for item in rest)}
    attributes.pop("Expires", None)
    return name, SetCookie(value, attributes)


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, after its shape was checked."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = response.get_json(force=True)
    assert (body["code"], body["status"], body["success"]) == (code, status, False)
    assert body["type"]
    assert body["title"]
    assert body["request_id"]
    assert body["detail"] == body["message"] != ""
    return body


def assert_private(response: TestResponse) -> None:
    assert response.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in response.headers["Vary"]


def where_to(response: TestResponse) -> tuple[str, dict[str, list[str]]]:
    """Path and query of a redirect's target."""
    target = urlsplit(response.headers["Location"])
    return response.headers["Location"].partition("?")[0], parse_qs(target.query, keep_blank_values=True)


def is_private(response: TestResponse) -> bool:
    return "no-store" in response.headers.get("Cache-Control", "")


@contextmanager
def heard(signal: NamedSignal, app: Flask) -> Iterator[list[dict[str, Any]]]:
    """What a signal says about this app while the block runs."""
    events: list[dict[str, Any]] = []

    def listen(sender: object, **values: Any) -> None:
        events.append(values)

    with signal.connected_to(listen, sender=app):
        yield events


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the backend received it."""

    endpoint: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any]
Answers = Mapping[str, Answer | list[Answer]]


class StubBackend:
    """A backend that says what it was told to, over a real socket.

    :param answers: by "METHOD path", such as "POST auth/login": status and JSON; a list of them is used up in order,
        but for its last one.
    """

    def __init__(self, answers: Answers) -> None:
        self.calls: list[Call] = []
        self.answers = {
            key: list(value) if isinstance(value, list) else [value] for key, value in answers.items()
        }
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                stub.answer(self)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> StubBackend:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoints(self) -> list[str]:
        """What was called, in order."""
        return [call.endpoint for call in self.calls]

    def call(self, endpoint: str) -> Call:
        """The only call of this endpoint."""
        [call] = [call for call in self.calls if call.endpoint == endpoint]
        return call

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        endpoint = f"{handler.command} {handler.path.removeprefix('/v1/')}"
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.calls.append(Call(endpoint, dict(handler.headers), body))
        status, content = self._next_answer(endpoint)
        data = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _next_answer(self, endpoint: str) -> Answer:
        answers = self.answers.get(endpoint, [(404, {"success": False, "message": "not here"})])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def grant(access_token: str = "opaque-access-token", **members: Any) -> Answer:
    """The answer that hands out a token in the standard shape."""
    return 200, {"success": True, "data": {"accessToken": access_token, **members}}


def record(**members: Any) -> Answer:
    """The answer of ``auth/me`` in the standard shape."""
    return 200, {"success": True, "data": {"id": 7, "type": "user", **members}}
