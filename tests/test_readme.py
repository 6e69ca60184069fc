"""README.md does what it says: its quick start runs as printed, and what it names is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from .processes import ROOT, ShopBackend
from .quickstart import README, Form, code_blocks, command, new_browser, running_quick_start

USER = "__Host-Http-api-user"
CSRF = "__Host-api-csrf"
GUEST = "__Host-Http-api-guest"
DOCUMENTS = ("README.md", "docs/backend.md", "docs/configuration.md")
# How a line in a shell block may start; the make targets are checked here, flask is run here, curl in test_docs.py.
COMMANDS = ("make ", "FLASK_", "flask --app shop run", ". .venv/bin/activate", "BACKEND=", "curl ")


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ShopBackend]]:
    """The address of the quick start, and the backend behind it."""
    backend = ShopBackend(tmp_path_factory.mktemp("backend"), {})
    try:
        folder = tmp_path_factory.mktemp("quickstart")
        with running_quick_start(folder, backend.base_url, python=Path(sys.executable)) as url:
            yield url, backend
    finally:
        backend.close()


@pytest.fixture
def shop(quick_start: tuple[str, ShopBackend]) -> str:
    return quick_start[0]


@pytest.fixture
def backend(quick_start: tuple[str, ShopBackend]) -> ShopBackend:
    quick_start[1].reset()
    return quick_start[1]


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with new_browser() as browser:
        yield browser


def submit(browser: requests.Session, form: Form, **fields: str) -> requests.Response:
    assert form.method == "post"
    return browser.post(form.target, data=form.fields | fields, allow_redirects=False)


def log_in(browser: requests.Session, shop: str, email: str, **fields: str) -> requests.Response:
    form = Form(browser.get(f"{shop}/login", params=fields))
    return submit(browser, form, email=email, password="demo-password")


def test_a_page_that_only_asks_who_is_there_makes_nobody_a_guest(
    shop: str, backend: ShopBackend, browser: requests.Session
) -> None:
    assert browser.get(f"{shop}/").text == "You are: anonymous"
    assert not browser.cookies
    assert backend.calls() == {}


def test_a_visitor_to_the_cart_becomes_a_guest(
    shop: str, backend: ShopBackend, browser: requests.Session
) -> None:
    answer = browser.get(f"{shop}/cart")
    assert (answer.status_code, answer.text) == (200, "0 items")
    # B3.1
    assert list(browser.cookies.keys()) == [GUEST]
    attributes = answer.headers["Set-Cookie"].split("; ")[1:]
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes)
    assert backend.calls("POST auth/guest") == 1
    assert browser.get(f"{shop}/").text == "You are: guest"
    assert backend.calls("POST auth/guest") == 1


def test_the_admin_view_sends_a_visitor_to_the_login_page(
    shop: str, backend: ShopBackend, browser: requests.Session
) -> None:
    answer = browser.get(f"{shop}/admin", allow_redirects=False)
    # B1.4
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/admin")
    assert not browser.cookies
    assert backend.calls() == {}


def test_the_printed_form_logs_an_admin_in_and_back_to_the_view(
    shop: str, backend: ShopBackend, browser: requests.Session
) -> None:
    browser.get(f"{shop}/cart")
    form = Form(browser.get(f"{shop}/admin"))
    assert form.fields["next"] == "/admin"
    answer = submit(browser, form, email="admin@example.com", password="demo-password")
    # B2, B2.3
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin")
    assert sorted(browser.cookies.keys()) == sorted([USER, CSRF])
    report = browser.get(f"{shop}/admin")
    assert report.status_code == 200
    assert report.json()["data"]["revenue_cents"] == 0
    assert backend.calls("GET admin/report") == 1


def test_a_user_without_the_role_is_kept_out(
    shop: str, backend: ShopBackend, browser: requests.Session
) -> None:
    assert log_in(browser, shop, "ada@example.com").headers["Location"] == "/"
    answer = browser.get(f"{shop}/admin", allow_redirects=False)
    # B1.4
    assert answer.status_code == 403
    assert backend.calls("GET admin/report") == 0
    assert browser.get(f"{shop}/").text == "You are: user"


def test_a_failed_login_comes_back_to_the_form_and_says_why(shop: str, browser: requests.Session) -> None:
    form = Form(browser.get(f"{shop}/login", params={"next": "/admin"}))
    answer = submit(browser, form, email="ada@example.com", password="wrong")
    # B2.7
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/admin")
    again = browser.get(urljoin(shop, answer.headers["Location"]))
    assert "These credentials do not match our records." in again.text
    assert Form(again).fields["next"] == "/admin"
    assert USER not in browser.cookies


def test_the_quick_start_needs_no_more_than_it_prints() -> None:
    assert re.findall(r"^([A-Z_]+)=", command(), re.MULTILINE) == [
        "FLASK_SECRET_KEY",
        "FLASK_API_LAYER_BACKEND_URL",
        "FLASK_API_LAYER_GUEST_ENABLED",
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_printed_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    lines = "".join(code_blocks("sh", text)).splitlines()
    assert [line for line in lines if not line.startswith(COMMANDS)] == []
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [
        line.split()[1] for line in [*lines, *re.findall(r"`([^`]+)`", text)] if line.startswith("make ")
    ]
    assert set(named) <= set(targets)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    links = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    names = re.findall(r"`((?:docs|tests|example_app|flask_api_layer)/[\w./-]*)`", text)
    for name in {*((ROOT / document).parent / link for link in links), *(ROOT / name for name in names)}:
        assert name.exists()


def test_the_readme_links_to_every_document() -> None:
    for document in [*(ROOT / "docs").glob("*.md"), ROOT / "CHANGES.md"]:
        assert f"]({document.relative_to(ROOT)})" in README
