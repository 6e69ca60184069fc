"""The shop as people use it: whole visits in a real browser, and what scripts can see meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import PASSWORD, STORAGES, Shop, assert_no_token

if TYPE_CHECKING:
    from playwright.sync_api import Page

USER = "__Host-Http-api-user"
GUEST = "__Host-Http-api-guest"


def auth_cookies(page: Page) -> dict[str, Mapping[str, Any]]:
    """The cookies of the layer, name to attributes."""
    return {
        cookie["name"]: cookie
        for cookie in page.context.cookies()
        if cookie["name"].startswith("__Host-Http-")
    }


def add(page: Page, product: str) -> None:
    page.get_by_role("button", name=f"Add {product} to cart").click()


def wait_for_count(page: Page, pieces: int) -> None:
    page.locator("#cart-count", has_text=str(pieces)).wait_for()


def submit_login(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in").click()


def log_in(page: Page, email: str) -> None:
    page.goto("/login")
    submit_login(page, email)
    page.get_by_role("button", name="Log out").wait_for()


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_a_visitor_who_only_browses_is_nobody(page: Page, shop: Shop) -> None:
    shop.backend.reset()
    page.goto("/")
    page.get_by_role("link", name="Enamel mug").click()
    page.get_by_role("heading", name="Enamel mug").wait_for()
    page.goto("/login")
    # B5.1
    assert auth_cookies(page) == {}
    assert shop.backend.calls("POST auth/guest") == 0
    assert shop.backend.calls("GET auth/me") == 0


def test_the_first_thing_in_the_cart_makes_a_guest(page: Page, shop: Shop) -> None:
    shop.backend.reset()
    page.goto("/")
    add(page, "Enamel mug")
    page.get_by_text("Added to your cart.").wait_for()
    wait_for_count(page, 1)
    # B3.1
    (cookie,) = auth_cookies(page).values()
    assert cookie["name"] == GUEST
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        True,
        True,
        "Lax",
        "/",
    )
    assert cookie["domain"] == "127.0.0.1"
    assert "api-guest" not in page.evaluate("document.cookie")
    assert shop.backend.calls("POST auth/guest") == 1


def test_a_guest_who_logs_in_takes_the_cart_along(page: Page, shop: Shop) -> None:
    page.goto("/")
    add(page, "Enamel mug")
    wait_for_count(page, 1)
    add(page, "Reading lamp")
    wait_for_count(page, 2)
    page.goto("/cart")
    page.get_by_role("link", name="Log in to order").click()
    with page.expect_response("**/api/auth/login") as login:
        submit_login(page, shop.customer())
    # B2.3, B3.1
    (gone,) = [
        cookie for cookie in login.value.header_values("set-cookie") if cookie.startswith(f"{GUEST}=;")
    ]
    assert {"Max-Age=0", "Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(gone.split("; "))
    assert "Domain" not in gone
    page.get_by_role("button", name="Place the order").wait_for()
    assert page.url == f"{shop.url}/cart"
    wait_for_count(page, 2)
    (cookie,) = auth_cookies(page).values()
    assert cookie["name"] == USER
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        True,
        True,
        "Lax",
        "/",
    )
    assert "api-user" not in page.evaluate("document.cookie")


def test_a_wrong_password_says_so_and_keeps_the_way_back(page: Page, shop: Shop) -> None:
    page.goto("/account")
    email = shop.customer()
    submit_login(page, email, "wrong")
    # B2.7
    page.get_by_text("These credentials do not match our records.").wait_for()
    assert auth_cookies(page) == {}
    submit_login(page, email)
    page.get_by_role("heading", name="Hello, Grace Hopper").wait_for()
    assert page.url == f"{shop.url}/account"


def test_a_customer_is_kept_out_of_the_report(page: Page, shop: Shop) -> None:
    log_in(page, shop.customer())
    shop.backend.reset()
    answer = page.goto("/admin")
    # B1.4
    assert answer is not None
    assert answer.status == 403
    assert page.url == f"{shop.url}/admin"
    assert heading(page) == "This door is closed"
    assert set(auth_cookies(page)) == {USER}
    assert shop.backend.calls("GET admin/report") == 0


def test_the_report_opens_for_an_admin_right_after_the_login(page: Page, shop: Shop) -> None:
    page.goto("/admin")
    # B1.4
    assert page.url == f"{shop.url}/login?next=/admin"
    submit_login(page, "admin@example.com")
    page.get_by_role("heading", name="Report").wait_for()
    assert page.url == f"{shop.url}/admin"
    assert page.get_by_text("Revenue", exact=True).is_visible()


def test_logging_out_ends_the_session_here_and_at_the_backend(page: Page, shop: Shop) -> None:
    log_in(page, shop.customer())
    shop.backend.reset()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in").wait_for()
    # B2: POST /auth/logout
    assert page.url == f"{shop.url}/"
    assert auth_cookies(page) == {}
    assert shop.backend.calls("POST auth/logout") == 1
    page.goto("/account")
    assert page.url == f"{shop.url}/login?next=/account"


def test_a_registration_logs_in(page: Page, shop: Shop) -> None:
    page.goto("/register")
    page.get_by_label("Name").fill("Mary Shelley")
    page.get_by_label("E-mail").fill("mary@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    page.get_by_role("link", name="Account").click()
    page.get_by_role("heading", name="Hello, Mary Shelley").wait_for()
    assert set(auth_cookies(page)) == {USER}


def test_the_cart_works_without_scripts(open_page: Callable[..., Page], shop: Shop) -> None:
    page = open_page(java_script_enabled=False)
    page.goto("/")
    add(page, "Beeswax candle")
    page.get_by_text("Added to your cart.").wait_for()
    assert page.url == f"{shop.url}/cart"
    page.get_by_label("Quantity of Beeswax candle").fill("3")
    page.get_by_role("button", name="Update").click()
    page.get_by_text("Your cart is up to date.").wait_for()
    assert page.get_by_text("€54.00").first.is_visible()
    page.get_by_role("button", name="Remove Beeswax candle").click()
    page.get_by_role("heading", name="Nothing in it yet").wait_for()
    assert set(auth_cookies(page)) == {GUEST}


def test_a_login_works_without_scripts(open_page: Callable[..., Page], shop: Shop) -> None:
    page = open_page(java_script_enabled=False)
    log_in(page, shop.customer())
    answer = page.goto("/account")
    assert answer is not None
    assert answer.status == 200
    assert set(auth_cookies(page)) == {USER}


def test_an_outage_hides_the_shelves_and_logs_nobody_out(page: Page, shop: Shop) -> None:
    log_in(page, shop.customer())
    before = auth_cookies(page)
    shop.stop_backend()
    # B4: unreachable, validated a moment ago
    page.goto("/")
    assert page.get_by_role("heading", name="We cannot reach our shelves right now").is_visible()
    answer = page.goto("/account")
    assert answer is not None
    assert answer.status == 200
    assert heading(page) == "Hello, Grace Hopper"
    assert page.get_by_role("heading", name="We cannot reach your orders right now").is_visible()
    assert auth_cookies(page) == before


def test_a_shop_that_starts_into_an_outage_answers_503_and_keeps_the_login(page: Page, shop: Shop) -> None:
    log_in(page, shop.customer())
    before = auth_cookies(page)
    shop.stop_backend()
    shop.restart_storefront()
    # B4: unreachable otherwise
    shelves, account = page.goto("/"), page.goto("/account")
    assert shelves is not None
    assert account is not None
    assert (shelves.status, account.status) == (200, 503)
    assert heading(page) == "We cannot reach the shop right now"
    assert account.header_value("retry-after")
    assert auth_cookies(page) == before
    shop.start_backend()
    page.get_by_role("link", name="Try again").click()
    page.get_by_role("heading", name="Hello, Grace Hopper").wait_for()
    assert auth_cookies(page) == before


def test_no_token_reaches_the_browser_at_any_step_of_a_visit(page: Page, shop: Shop) -> None:
    handed_out = shop.backend_wire.tokens()

    def look() -> None:
        assert_no_token(shop, page.content().encode())
        assert_no_token(shop, page.evaluate(STORAGES).encode())

    page.goto("/")
    add(page, "Enamel mug")
    wait_for_count(page, 1)
    look()
    log_in(page, shop.customer())
    look()
    for path in ("/cart", "/account", "/products/1", "/api/cart", "/api/auth/me"):
        page.goto(path)
        look()
    page.goto("/")
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in").wait_for()
    look()
    # A guest's and a user's, access and refresh.
    assert len(shop.backend_wire.tokens() - handed_out) >= 4
    assert_no_token(shop, shop.browser_wire.answers)


def test_the_search_for_tokens_finds_one(page: Page, shop: Shop) -> None:
    page.goto("/")
    log_in(page, shop.customer())
    for token in shop.backend_wire.tokens():
        with pytest.raises(AssertionError):
            assert_no_token(shop, b"<p>" + token)
    assert b"Good things for every day" in shop.browser_wire.answers
