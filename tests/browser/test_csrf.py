"""Cross-site request forgery as a real browser does it: pages of other origins that send forms, call and embed the shop."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import Server

from .conftest import PASSWORD, Shop
from .test_shop import GUEST, USER, add, auth_cookies, log_in, submit_login, wait_for_count
from .wire import Wire

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, StorageState

CSRF = "__Host-api-csrf"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
SUBMIT = """({ action, enctype, fields }) => {
  const form = Object.assign(document.createElement("form"), { action, enctype, method: "post" });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
}"""
FETCH = """async ({ url, options }) => {
  try {
    const response = await fetch(url, { credentials: "include", ...options });
    return `${response.type} ${response.status}`;
  } catch {
    return "blocked";
  }
}"""
EMBED = """({ kind, url }) => new Promise((done) => {
  const element = document.createElement(kind);
  element.onload = () => done("loaded");
  element.onerror = () => done("failed");
  element[kind === "link" ? "href" : "src"] = url;
  if (kind === "link") element.rel = "stylesheet";
  document.body.append(element);
})"""
TARGETS = ("/cart/add", "/orders", "/api/cart/items", "/api/auth/refresh", "/api/auth/logout")
READ = ("/api/cart", "/api/products", "/api/auth/me", "/api/auth/csrf")
ENTRIES = ("/api/auth/login", "/api/auth/register", "/api/auth/logout", "/api/auth/guest")


class Nothing(BaseHTTPRequestHandler):
    """An empty page, whatever is asked for."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>Elsewhere</title><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """Where somebody else's pages are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def sibling(foreign_port: int) -> str:
    """Another port of the shop's host: another origin, the same site, and the browser sends the cookies along."""
    return f"http://127.0.0.1:{foreign_port}/"


@pytest.fixture
def stranger(foreign_port: int) -> str:
    """Another host: another site."""
    return f"http://localhost:{foreign_port}/"


@pytest.fixture(scope="module")
def login(_shop: Shop, chromium: Browser) -> StorageState:
    """The cookies of a customer who logged in; once, for logins are limited."""
    with closing(chromium.new_context(base_url=_shop.url)) as context:
        log_in(context.new_page(), _shop.customer())
        return context.storage_state()


@pytest.fixture
def member(open_page: Callable[..., Page], login: StorageState) -> Page:
    """A page of that customer."""
    page = open_page(storage_state=login)
    # The page asks for its cart by itself, which must not be counted later.
    page.goto("/", wait_until="networkidle")
    assert set(auth_cookies(page)) == {USER}
    return page


@pytest.fixture
def guest(page: Page) -> Page:
    """A page of a guest with one thing in the cart."""
    page.goto("/")
    add(page, "Enamel mug")
    wait_for_count(page, 1)
    assert set(auth_cookies(page)) == {GUEST}
    return page


def statuses(shop: Shop) -> set[int]:
    """Of all answers since the wire forgot."""
    return {int(status) for status in STATUS.findall(shop.browser_wire.answers)}


@contextmanager
def untouched(page: Page, shop: Shop) -> Iterator[None]:
    """Whatever happens meanwhile reaches no backend and changes no cookie."""
    before = auth_cookies(page)
    shop.backend.reset()
    shop.browser_wire.forget()
    yield
    assert shop.backend.calls() == {}
    assert auth_cookies(page) == before


def submit(
    page: Page, shop: Shop, path: str, *, enctype: str = "", fields: Mapping[str, str] | None = None
) -> int:
    """Send a form from where the page is; the status of the page that it leads to."""
    form = {"action": shop.url + path, "enctype": enctype, "fields": fields or {"product_id": "1"}}
    with page.expect_navigation() as navigation:
        page.evaluate(SUBMIT, form)
    assert navigation.value is not None
    return navigation.value.status


def fetch(page: Page, shop: Shop, path: str, **options: Any) -> str:
    """What a script of the page makes of a call."""
    return str(page.evaluate(FETCH, {"url": shop.url + path, "options": options}))


# B8.2
@pytest.mark.parametrize("scripts", [True, False])
def test_the_shops_own_forms_and_scripts_pass(
    open_page: Callable[..., Page], shop: Shop, scripts: bool
) -> None:
    page = open_page(java_script_enabled=scripts)
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status))
    shop.backend.reset()
    page.goto("/")
    add(page, "Enamel mug")
    page.get_by_text("Added to your cart.").wait_for()
    log_in(page, shop.customer())
    assert set(auth_cookies(page)) == {USER}
    page.goto("/cart")
    page.get_by_role("button", name="Remove Enamel mug").click()
    page.get_by_role("heading", name="Nothing in it yet").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in").wait_for()
    assert auth_cookies(page) == {}
    assert len(answers) > 5
    assert not [status for status in answers if status >= 400]
    assert shop.backend.calls("POST cart/items") == shop.backend.calls("POST auth/logout") == 1


# B3.1, B8.4
def test_scripts_can_read_the_csrf_cookie_and_no_other(member: Page) -> None:
    [cookie] = [cookie for cookie in member.context.cookies() if cookie["name"] == CSRF]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        False,
        True,
        "Lax",
        "/",
    )
    assert cookie["domain"] == "127.0.0.1"
    assert member.evaluate("document.cookie") == f"{CSRF}={cookie['value']}"
    assert token_of(member) == cookie["value"]


def token_of(page: Page) -> str:
    token = page.locator("input[name=csrf_token]").first.get_attribute("value")
    assert token
    return token


# B8.2
@pytest.mark.parametrize(
    "enctype", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
def test_a_form_of_a_sibling_origin_is_refused(member: Page, shop: Shop, sibling: str, enctype: str) -> None:
    for path in TARGETS:
        member.goto(sibling)
        with untouched(member, shop):
            assert submit(member, shop, path, enctype=enctype) == 403


# B8.2
def test_a_form_of_a_sibling_origin_is_refused_for_guests(guest: Page, shop: Shop, sibling: str) -> None:
    guest.goto(sibling)
    with untouched(guest, shop):
        assert submit(guest, shop, "/cart/add") == 403


# B8.2: it may even know the token
def test_a_sibling_origin_that_knows_the_token_is_refused(member: Page, shop: Shop, sibling: str) -> None:
    fields = {"product_id": "1", "csrf_token": token_of(member)}
    member.goto(sibling)
    with untouched(member, shop):
        assert submit(member, shop, "/cart/add", fields=fields) == 403


# B8.1: login CSRF
@pytest.mark.parametrize("origin", ["sibling", "stranger"])
def test_a_foreign_form_logs_nobody_in_or_out(
    page: Page, shop: Shop, request: pytest.FixtureRequest, origin: str
) -> None:
    credentials = {"email": shop.customer(), "password": PASSWORD}
    for path in ENTRIES:
        page.goto(request.getfixturevalue(origin))
        with untouched(page, shop):
            assert submit(page, shop, path, fields=credentials) == 403


@pytest.fixture(scope="module")
def lenient_shop(_shop: Shop) -> Iterator[Shop]:
    """The same shop, but its cookies go along with whatever other sites send."""
    environ = {
        "FLASK_SECRET_KEY": "a key for the browser tests",
        "FLASK_API_LAYER_BACKEND_URL": f"{_shop.backend_wire.url}/v1",
        "FLASK_API_LAYER_STORE_URL": "memory://",
        "FLASK_API_LAYER_COOKIE_SAMESITE": "None",
    }
    with closing(Server("example_app.storefront:create_app()", environ=environ)) as storefront:
        storefront.start()
        with Wire(storefront.port) as wire:
            lenient = replace(_shop, storefront=storefront, browser_wire=wire)
            lenient.wait()
            yield lenient


# B8.2
def test_a_form_of_another_site_is_refused_where_cookies_go_along(
    page: Page, lenient_shop: Shop, stranger: str
) -> None:
    page.goto(f"{lenient_shop.url}/login")
    submit_login(page, lenient_shop.customer())
    page.get_by_role("button", name="Log out").wait_for()
    assert auth_cookies(page)[USER]["sameSite"] == "None"
    for path in TARGETS:
        page.goto(stranger)
        with untouched(page, lenient_shop):
            assert submit(page, lenient_shop, path) == 403


# B3.1, B8.1: SameSite=Lax keeps the cookies at home, so that such a form comes from nobody
@pytest.mark.parametrize("path", ["/cart/add", "/api/cart/items", "/orders"])
def test_a_form_of_another_site_does_nothing_to_a_user(
    member: Page, shop: Shop, stranger: str, path: str
) -> None:
    before = auth_cookies(member)[USER]
    member.goto(stranger)
    submit(member, shop, path)
    assert auth_cookies(member)[USER] == before
    member.goto(f"{shop.url}/cart")
    assert member.get_by_role("heading", name="Nothing in it yet").is_visible()
    assert set(auth_cookies(member)) == {USER}


# B8.1, B5.1: a browser that keeps its cookie to itself must not be given another one in its place
def test_a_form_of_another_site_takes_no_cart_from_a_guest(guest: Page, shop: Shop, stranger: str) -> None:
    before = auth_cookies(guest)
    guest.goto(stranger)
    submit(guest, shop, "/cart/add", fields={"product_id": "2"})
    assert auth_cookies(guest) == before
    guest.goto(f"{shop.url}/cart")
    assert guest.get_by_role("link", name="Enamel mug").is_visible()


# B8.2
@pytest.mark.parametrize("path", ["/cart/add", "/api/cart/items", "/api/auth/logout"])
def test_a_script_of_a_sibling_origin_cannot_write(member: Page, shop: Shop, sibling: str, path: str) -> None:
    member.goto(sibling)
    with untouched(member, shop):
        for content in ("text/plain", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": content}
            options = {"method": "POST", "mode": "no-cors", "headers": headers, "body": "product_id=1"}
            assert fetch(member, shop, path, **options) == "opaque 0"
        assert statuses(shop) == {403}


# CORPUS 5: the preflight gets no leave, so nothing follows it
@pytest.mark.parametrize("origin", ["sibling", "stranger"])
def test_a_foreign_script_gets_no_leave_for_more(
    member: Page, shop: Shop, request: pytest.FixtureRequest, origin: str
) -> None:
    member.goto(request.getfixturevalue(origin))
    headers = {"Content-Type": "application/json", "X-CSRF-Token": "a"}
    with untouched(member, shop):
        for method in ("POST", "PATCH", "DELETE"):
            options = {"method": method, "mode": "cors", "headers": headers, "body": "{}"}
            assert fetch(member, shop, "/api/cart/items", **options) == "blocked"
        assert statuses(shop) == {204}
        assert b"access-control-" not in shop.browser_wire.answers.lower()


# B8.6
@pytest.mark.parametrize("origin", ["sibling", "stranger"])
@pytest.mark.parametrize("kind", ["img", "script", "link"])
def test_a_foreign_page_can_embed_nothing_of_the_api(
    member: Page, shop: Shop, request: pytest.FixtureRequest, origin: str, kind: str
) -> None:
    member.goto(request.getfixturevalue(origin))
    with untouched(member, shop):
        for path in READ:
            assert member.evaluate(EMBED, {"kind": kind, "url": shop.url + path}) == "failed"
        assert statuses(shop) == {403}


# B8.6
@pytest.mark.parametrize("origin", ["sibling", "stranger"])
@pytest.mark.parametrize(("mode", "outcome"), [("cors", "blocked"), ("no-cors", "opaque 0")])
def test_a_foreign_script_can_read_nothing_of_the_api(
    member: Page, shop: Shop, request: pytest.FixtureRequest, origin: str, mode: str, outcome: str
) -> None:
    member.goto(request.getfixturevalue(origin))
    with untouched(member, shop):
        assert [fetch(member, shop, path, mode=mode) for path in READ] == [outcome] * len(READ)
        assert statuses(shop) == {403}


# DESIGN 6: a link from an e-mail must not look logged out
@pytest.mark.parametrize("origin", ["sibling", "stranger"])
def test_a_foreign_link_leads_to_ones_own_account(
    member: Page, shop: Shop, request: pytest.FixtureRequest, origin: str
) -> None:
    member.goto(request.getfixturevalue(origin))
    with member.expect_navigation() as navigation:
        member.evaluate("url => { location.href = url }", f"{shop.url}/account")
    assert navigation.value is not None
    assert navigation.value.status == 200
    member.get_by_role("heading", name="Hello, Grace Hopper").wait_for()
