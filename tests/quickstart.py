"""README.md and its quick start, run as printed: its code in a file, its command in a shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from requests.cookies import RequestsCookieJar

from .processes import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BACKEND_URL = "http://127.0.0.1:8001/v1"
_DEADLINE = 30.0


def code_blocks(language: str, text: str = README) -> list[str]:
    """What stands between the fences, word for word."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command() -> str:
    """The command with its environment, on one line or several."""
    (found,) = (block for block in code_blocks("sh") if "flask --app" in block)
    return found


@contextmanager
def running_quick_start(folder: Path, backend_url: str, *, python: Path) -> Iterator[str]:
    """The address of the quick start, served out of ``folder`` by the environment that ``python`` belongs to."""
    (code,) = code_blocks("python")
    (folder / "shop.py").write_text(code, "utf-8")
    assert BACKEND_URL in command()
    printed = command().replace(BACKEND_URL, backend_url)
    log = folder / "flask.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", printed.replace("flask --app", "python -m flask --app")],
            cwd=folder,
            env=clean_environ(python) | {"FLASK_RUN_PORT": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield _address(log, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(_DEADLINE)


def clean_environ(python: Path) -> dict[str, str]:
    """The environment of a shell in which the one that ``python`` belongs to was activated, and nothing else was set."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLASK_", "PYTHON", "COV_", "COVERAGE_"))
    }
    return inherited | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the server says that it listens."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the quick start does not run:\n{log.read_text()}")


class LoopbackJar(RequestsCookieJar):
    """Sends ``Secure`` cookies to a loopback address too, as Chromium does."""

    def set_cookie(self, cookie: Cookie, *args: Any, **options: Any) -> None:
        cookie.secure = False
        super().set_cookie(cookie, *args, **options)


def new_browser() -> requests.Session:
    """A client that reads pages and keeps cookies."""
    browser = requests.Session()
    browser.trust_env = False
    browser.headers["Accept"] = "text/html"
    browser.cookies = LoopbackJar()
    return browser


class Form(HTMLParser):
    """The one form of a page: where it goes, and its fields with the values that they have."""

    def __init__(self, page: requests.Response) -> None:
        super().__init__()
        self.target = ""
        self.method = ""
        self.fields: dict[str, str] = {}
        self.feed(page.text)
        self.target = urljoin(page.url, self.target)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.target, self.method = values["action"], values["method"]
        elif tag == "input":
            self.fields[values["name"]] = values.get("value", "")
