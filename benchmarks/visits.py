"""Requests that need no server: an app called with the environ of a browser's request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.test import create_environ

from .pages import GATED, LONG, OPEN, TEXT, bare, layered
from .upstream import AUDIENCE, KEY

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

BARE = "bare Flask"
BARE_IN_SESSION = "bare Flask, in a session of Flask's"
COOKIE = "__Host-Http-api-user"
CREDENTIALS = {"email": "ada@example.com", "password": "demo-password"}
OTHER_COOKIES = "; ".join(f"{name}={name * 46}" for name in ("abc", "ghi", "xyz"))
# What Chromium sends with a navigation; the cookies and the host make fifteen.
HEADERS = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="156", "Not_A Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
    "Sec-Fetch-Dest": "document",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}
_SOON = 5  # seconds: a token that is due at once, whatever REFRESH_LEEWAY says in the defaults


@dataclass(slots=True)
class Visit:
    """One request of one app, as often as wanted.

    :param status: what a right answer says.
    :param is_private: whether somebody asked who is there: caches are told to keep out.
    :param sets_cookie: whether a right answer has a cookie of the layer's.
    """

    app: Flask
    environ: Mapping[str, Any]
    status: str = "200 OK"
    is_private: bool = False
    sets_cookie: bool = False
    _seen: set[str] = field(default_factory=set)

    def microseconds(self, calls: int) -> float:
        """Of CPU time for a request: other people's work on this machine counts as little as can be."""
        app, environ = self.app.wsgi_app, self.environ
        begin = time.thread_time()
        for _ in range(calls):
            body: Any = app(dict(environ), self._start)
            for _ in body:
                pass
            body.close()
        return (time.thread_time() - begin) / calls * 1e6

    def _start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        self._seen.add(status)
        return _write

    def is_right(self) -> bool:
        """One more request, looked at closely; and the status of all before it."""
        answer = self.app.test_client(use_cookies=False).open(dict(self.environ))
        is_private = "private" in answer.headers.get("Cache-Control", "")
        sets_cookie = any(COOKIE in cookie for cookie in answer.headers.getlist("Set-Cookie"))
        return (
            (answer.status, is_private, sets_cookie) == (self.status, self.is_private, self.sets_cookie)
            and answer.text == (TEXT if self.status == "200 OK" else "")
            and self._seen <= {self.status}
        )


def _write(_: bytes) -> None:
    raise AssertionError("nobody writes")


@contextmanager
def visits(backend_url: str) -> Iterator[dict[str, Visit]]:
    """All variants by name; the backend is asked now, and not again."""
    apps = {
        "layer": layered(backend_url=backend_url),
        "local": layered(
            backend_url=backend_url,
            validate="local",
            jwt_key=KEY,
            jwt_algorithms=["HS256"],
            jwt_audience=AUDIENCE,
        ),
        "late": layered(backend_url=backend_url, refresh_grace=LONG),
        "10": _with_patterns(backend_url, 10),
        "1,000": _with_patterns(backend_url, 1000),
    }
    try:
        yield _visits(apps)
    finally:
        for app in apps.values():
            app.extensions["api_layer"].transport.close()


def _visits(apps: Mapping[str, Flask]) -> dict[str, Visit]:
    cookie = log_in(apps["layer"])
    late = log_in(apps["late"], expires_in=_SOON)
    both = f"{flask_session(apps['layer'])}; {cookie}"
    return {
        BARE: Visit(bare(), environ(OPEN, cookie)),
        "untouched view": Visit(apps["layer"], environ(OPEN, cookie)),
        "gated view, cached validation": Visit(apps["layer"], environ(GATED, cookie), is_private=True),
        "gated view, VALIDATE local": Visit(apps["local"], environ(GATED, cookie), is_private=True),
        "gated view, new cookie": Visit(
            apps["late"], environ(GATED, late), is_private=True, sets_cookie=True
        ),
        BARE_IN_SESSION: Visit(bare(), environ(OPEN, both)),
        "untouched view, in a session of Flask's": Visit(apps["layer"], environ(OPEN, both)),
        "gated view, in a session of Flask's": Visit(apps["layer"], environ(GATED, both), is_private=True),
        "untouched view, 10 patterns": Visit(apps["10"], environ(OPEN, cookie)),
        "untouched view, 1,000 patterns": Visit(apps["1,000"], environ(OPEN, cookie)),
        "proxy decision, 10 routes": _decision(apps["10"], cookie),
        "proxy decision, 1,000 routes": _decision(apps["1,000"], cookie),
    }


def _decision(app: Flask, cookie: str) -> Visit:
    return Visit(app, environ("/api/items-1/12/parts/a/b", cookie, "OPTIONS"), status="204 NO CONTENT")


def _with_patterns(backend_url: str, count: int) -> Flask:
    """So many patterns of all kinds; none of them matches the page, and one of the routes the request to the proxy."""
    shapes = ("/area-{}", "/shop-{}/*/edit", "/**/admin-{}")
    routes = ("items-{}/*", "items-{}/*/parts/**", "**/deep-{}")
    return layered(
        backend_url=backend_url,
        protected_routes=[shapes[number % 3].format(number) for number in range(count)],
        proxy_routes={route.format(number): ["GET"] for number in range(count // 3 + 1) for route in routes},
    )


def log_in(app: Flask, **fields: object) -> str:
    """The session cookie of a new login, as a browser sends it back."""
    answer = app.test_client().post("/api/auth/login", json={**CREDENTIALS, **fields})
    assert answer.status_code == 200, answer.text
    (cookie,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(COOKIE)]
    return cookie.partition(";")[0]


def flask_session(app: Flask) -> str:
    """The cookie of a session that Flask keeps."""
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    return f"session={signer.dumps({'seen': 1})}"


def environ(path: str, cookie: str, method: str = "GET") -> dict[str, Any]:
    """The WSGI environ of a browser's request with all its headers, as gunicorn makes it."""
    headers = {**HEADERS, "Cookie": f"{OTHER_COOKIES}; {cookie}"}
    made = create_environ(path, "https://shop.example.com", method=method, headers=headers)
    made["REMOTE_ADDR"] = "203.0.113.7"
    made["RAW_URI"] = path
    return made
