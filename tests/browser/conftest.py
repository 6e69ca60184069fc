"""The real shop, and a real browser in front of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import requests

from tests.processes import Server, ShopBackend, until_ready

from .wire import Wire

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "demo-password"
JWT = re.compile(rb"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
STORAGES = "() => JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"


@dataclass(frozen=True, slots=True)
class Shop:
    """The storefront and its backend as processes, each behind a wire that keeps what it answered."""

    backend: ShopBackend
    storefront: Server
    backend_wire: Wire
    browser_wire: Wire
    numbers: Iterator[int]

    @property
    def url(self) -> str:
        return self.browser_wire.url

    def customer(self) -> str:
        """The e-mail address of a new customer, whose cart is empty and whose password is PASSWORD."""
        email = f"customer-{next(self.numbers)}@example.com"
        account = {"name": "Grace Hopper", "email": email, "password": PASSWORD}
        with requests.post(f"{self.backend.base_url}/auth/register", json=account, timeout=10) as answer:
            assert answer.status_code == 201
        return email

    def stop_backend(self) -> None:
        self.backend_wire.is_cut = True
        self.backend.stop()

    def start_backend(self) -> None:
        self.backend.start()
        self.backend_wire.is_cut = False

    def restart_storefront(self) -> None:
        """A new process that remembers nobody."""
        self.storefront.stop()
        self.storefront.start()
        self.wait()

    def wait(self) -> None:
        with requests.Session() as http:
            until_ready(http, f"{self.storefront.url}/healthz")


@pytest.fixture(scope="module")
def _shop(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The processes, started once; only for those who have a browser. Playwright's event loop must not outlive the module."""
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        backend = stack.enter_context(closing(ShopBackend(folder, {})))
        backend_wire = stack.enter_context(Wire(int(backend.base_url.rpartition(":")[2].removesuffix("/v1"))))
        environ = {
            "FLASK_SECRET_KEY": "a key for the browser tests",
            "FLASK_API_LAYER_BACKEND_URL": f"{backend_wire.url}/v1",
            "FLASK_API_LAYER_STORE_URL": f"sqlite:///{folder}/api-layer.sqlite3",
        }
        storefront = Server("example_app.storefront:create_app()", environ=environ, threads=8)
        stack.enter_context(closing(storefront))
        storefront.start()
        shop = Shop(
            backend, storefront, backend_wire, stack.enter_context(Wire(storefront.port)), numbers=count(1)
        )
        shop.wait()
        yield shop


@pytest.fixture
def shop(_shop: Shop) -> Iterator[Shop]:
    """The shop with its backend up; whatever a test does, no answer to the browser may have held a token."""
    _shop.start_backend()
    _shop.browser_wire.forget()
    yield _shop
    _shop.start_backend()
    assert_no_token(_shop, _shop.browser_wire.answers)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; the browser tests are skipped where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        _cannot_run("there is no chromium on PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _cannot_run("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


def _cannot_run(reason: str) -> NoReturn:
    if os.environ.get("API_LAYER_TESTS_SKIP_NOTHING"):
        pytest.fail(f"{reason}, and nothing may be skipped", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def open_page(chromium: Browser, shop: Shop) -> Iterator[Callable[..., Page]]:
    """A page of a browser that has never been here; keyword arguments are those of ``Browser.new_context``."""
    contexts: list[BrowserContext] = []

    def open_new(**options: Any) -> Page:
        contexts.append(chromium.new_context(base_url=shop.url, **options))
        contexts[-1].set_default_timeout(15_000)
        return contexts[-1].new_page()

    yield open_new
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., Page], shop: Shop) -> Iterator[Page]:
    """A page of a new visitor; at the end its scripts must find no token anywhere."""
    page = open_page()
    yield page
    assert_no_token(shop, page.evaluate(STORAGES).encode())


def assert_no_token(shop: Shop, text: bytes) -> None:
    """Neither a token that the backend handed out, nor anything that looks like a JWT."""
    leaked = [token for token in shop.backend_wire.tokens() if token in text]
    assert not leaked, f"{len(leaked)} tokens"
    assert not JWT.search(text), "a JWT"
