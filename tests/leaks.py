"""Fails every test in which a secret got out, whatever else the test is about; a plugin of pytest.

Secrets are the password of the example users, every text with the shape of a JWT, and every token of eight characters
or more that the layer was handed. They must not be in a log record of the package, in an exception that was logged,
nor in the headers or the body of an answer of an app that has the layer. Streamed bodies are not looked at: what the
backend sends through the proxy is its own.

``@pytest.mark.leaks_on_purpose`` is for tests in which the app or the backend itself says a token.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
from flask import Flask, request_finished
from werkzeug.wrappers import Response

from flask_api_layer.sansio.session import TokenSet

PASSWORD = "demo-password"
MARKER = "leaks_on_purpose"
_SHORTEST = 8  # characters; "t1" is part of too many words
_WORD = re.compile(r"[\w-]+")


def has_jwt(text: str) -> bool:
    """Whether there is a JWT in it; Flask's own session cookies look alike, but have no header."""
    return "eyJ" in text and any(_is_header(word) for word in _headers(text))


def _headers(text: str) -> Iterator[str]:
    """What could be the header of a JWT, in linear time: tests send long texts that look like one."""
    for found in _WORD.finditer(text):
        start = text.find("eyJ", found.start(), found.end())
        if start >= 0 and text.startswith(".", found.end()):
            yield text[start : found.end()]


def _is_header(segment: str) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and "alg" in header


class Watch(logging.Handler):
    """What got out since the last :meth:`clear`; as a handler it reads the log as well."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._tokens: set[str] = set()
        self._leaks: list[str] = []

    def clear(self) -> None:
        self._tokens = set()
        self._leaks = []

    @property
    def leaks(self) -> Sequence[str]:
        """Where something got out, without the secret."""
        return self._leaks

    def learn(self, tokens: Sequence[str]) -> None:
        """From now on these are secrets."""
        self._tokens.update(token for token in tokens if len(token) >= _SHORTEST)

    def look(self, where: str, text: str) -> None:
        if PASSWORD in text:
            self._leaks.append(f"the password is in {where}")
        if has_jwt(text) or any(token in text for token in tuple(self._tokens)):
            self._leaks.append(f"a token is in {where}")

    def emit(self, record: logging.LogRecord) -> None:
        where = f"a log record of {record.name}"
        if record.name.partition(".")[0] == "flask_api_layer":
            self.look(where, record.getMessage())
        # Flask logs what an app raised under the app's name.
        if record.exc_info and record.exc_info[1]:
            self.look(where, _words(record.exc_info[1]))

    def on_response(self, app: Flask, response: Response, **_: object) -> None:
        if "api_layer" in app.extensions:
            self.look("the headers of an answer", str(response.headers))
            if not response.is_streamed and not response.direct_passthrough:
                self.look("the body of an answer", response.get_data().decode("utf-8", "replace"))


def _words(error: BaseException) -> str:
    return "\n".join(f"{link}\n{link!r}" for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Everything in this process is seen by it."""
    package = logging.getLogger("flask_api_layer")
    before = package.level
    package.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(watch)
    with pytest.MonkeyPatch.context() as patch, request_finished.connected_to(watch.on_response):
        patch.setattr(TokenSet, "__init__", _told(TokenSet.__init__, watch))
        yield
    logging.getLogger().removeHandler(watch)
    package.setLevel(before)


def _told(create: Callable[..., None], watch: Watch) -> Callable[..., None]:
    """The same constructor, which tells of the tokens: all that a backend hands out pass through here."""

    @wraps(create)
    def init(self: TokenSet, *args: Any, **members: Any) -> None:
        create(self, *args, **members)
        watch.learn(self.secrets)

    return init


the_watch = Watch()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}: the app or the backend itself says a token in this test")


@pytest.fixture(scope="session", autouse=True)
def _watched() -> Iterator[None]:
    with watching(the_watch):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    the_watch.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if the_watch.leaks and item.get_closest_marker(MARKER) is None:
        pytest.fail("\n".join(dict.fromkeys(the_watch.leaks)), pytrace=False)
