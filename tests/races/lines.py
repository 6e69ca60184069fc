"""Browsers without a jar: a test says which cookies go with which request, and reads what comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import urllib3

from .apps import WORKER

USER = "__Host-Http-api-user"
GUEST = "__Host-Http-api-guest"
AUTH_COOKIES = frozenset({USER, GUEST})
WEEK = 7 * 24 * 3600
PATIENCE = 30.0  # seconds until a test gives up on a server

T = TypeVar("T")

# A browser says this of a page's own scripts.
_SCRIPT = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One ``Set-Cookie`` line; an attribute without a value has an empty one, ``Expires`` is left out."""

    value: str = field(repr=False)
    attributes: Mapping[str, str]

    @property
    def is_deletion(self) -> bool:
        return self.attributes == _attributes(0) and self.value == ""

    @property
    def is_kept(self) -> bool:
        return self.attributes == _attributes(WEEK) and self.value != ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, the worker that gave it, and the auth cookies that it sets or deletes, by name."""

    status: int
    body: bytes
    worker: int
    cookies: Mapping[str, SetCookie]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def mark(self) -> object:
        """Whose bearer reached the backend; None when the answer does not say."""
        try:
            return self.json()["data"]["mark"]
        except (ValueError, LookupError, TypeError):
            return None

    def kept_by(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """The cookies that a browser has after this answer."""
        kept = dict(cookies) | {name: cookie.value for name, cookie in self.cookies.items()}
        return {name: value for name, value in kept.items() if value}


class Line:
    """A connection that is kept alive, and so stays with the worker that accepted it."""

    def __init__(self, url: str) -> None:
        self._pool = urllib3.connection_from_url(
            url, maxsize=1, block=True, retries=False, timeout=PATIENCE, headers=_SCRIPT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    def get(self, path: str, cookies: Mapping[str, str] | None = None) -> Answer:
        return self._send("GET", path, cookies, None)

    def head(self, path: str, cookies: Mapping[str, str] | None = None) -> Answer:
        return self._send("HEAD", path, cookies, None)

    def post(self, path: str, cookies: Mapping[str, str] | None = None, *, body: object = None) -> Answer:
        return self._send("POST", path, cookies, body)

    def _send(self, method: str, path: str, cookies: Mapping[str, str] | None, body: object) -> Answer:
        headers = dict(_SCRIPT)
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        response = self._pool.request(method, path, headers=headers, json=body, redirect=False)
        return Answer(
            response.status,
            response.data,
            int(response.headers.get(WORKER, 0)),
            auth_cookies(response.headers.getlist("Set-Cookie")),
        )


def together(calls: Sequence[Callable[[], T]], *, within: float = 0) -> list[T]:
    """What these calls return, all begun at once or spread evenly over so many seconds."""
    start = threading.Barrier(len(calls))

    def run(position: int) -> T:
        start.wait(PATIENCE)
        time.sleep(within * position / len(calls))
        return calls[position]()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, range(len(calls))))


def until(holds: Callable[[], bool]) -> None:
    """Return when this holds.

    :raises AssertionError: when it does not come to that.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def auth_cookies(lines: Sequence[str]) -> dict[str, SetCookie]:
    found: dict[str, SetCookie] = {}
    for line in lines:
        name, cookie = _parsed(line)
        assert name not in found, f"{name} is set twice"
        found[name] = cookie
    return {name: cookie for name, cookie in found.items() if name in AUTH_COOKIES}


def _parsed(line: str) -> tuple[str, SetCookie]:
    pair, *rest = line.split("; ")
    name, _, value = pair.partition("=")
    attributes = {item.partition("=")[0]: item.partition("=")[2] for item in rest}
    attributes.pop("Expires", None)
    return name, SetCookie(value, attributes)


def _attributes(max_age: int) -> dict[str, str]:
    return {"Secure": "", "HttpOnly": "", "Path": "/", "SameSite": "Lax", "Max-Age": str(max_age)}
