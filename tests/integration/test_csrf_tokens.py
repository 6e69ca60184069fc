"""The CSRF token: whom it serves and for how long, its cookie, and how pages and scripts get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, render_template_string, stream_template_string

from flask_api_layer import (
    ApiLayer,
    api,
    csrf_token,
    current_user,
    public,
)
from tests.processes import ShopBackend

from .csrf_visitors import (
    CROSS_SITE,
    CSRF,
    CSRF_ATTRIBUTES,
    FIELD,
    OldBrowser,
    assert_page,
    csrf_set,
    field_of,
    shop,
    with_views,
)
from .visitors import (
    ADMIN,
    CREDENTIALS,
    GUEST,
    SCRIPT,
    USER,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    set_cookies,
)
from .wire import call

if TYPE_CHECKING:
    pass


# The life of a token


# B8.4
@pytest.mark.parametrize("before", ["anonymous", "guest"])
def test_a_token_from_before_the_login_is_refused_after_it(
    backend: ShopBackend, make_app: MakeApp, before: str
) -> None:
    app, saved = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    if before == "guest":
        browser.visit("/cart")
    old = browser.open_form()
    response = browser.send_login(old)
    assert USER in set_cookies(response)
    renewed = csrf_set(response)
    assert renewed is not None
    assert renewed.attributes == CSRF_ATTRIBUTES
    assert renewed.value not in ("", old)
    assert_page(browser.send(old), 403)
    assert saved.bodies == []
    assert browser.open_form() == renewed.value
    assert browser.send(renewed.value).text == "saved"


# B8.4
def test_a_token_from_before_the_logout_is_refused_after_it(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    old = browser.open_form()
    response = browser.send(old, path="/api/auth/logout")
    renewed = csrf_set(response)
    assert renewed is not None
    assert renewed.attributes == CSRF_ATTRIBUTES
    backend.reset()
    assert_problem(browser.send_login(old), 403, "csrf_token_invalid")
    assert backend.calls() == {}
    assert browser.open_form() == renewed.value
    assert browser.send_login(renewed.value).status_code == 303


# B8.4: neither session gives a hint at the other
def test_the_tokens_before_and_after_a_login_share_no_id(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    tokens = [browser.open_form()]
    browser.log_in()
    tokens.append(browser.open_form())
    browser.send(tokens[-1], path="/api/auth/logout")
    tokens.append(browser.open_form())
    assert len({token.split(".")[1] for token in tokens}) == 3


# B8.4, B6.5
def test_a_form_of_the_user_before_is_refused_for_the_user_after(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    form_in_tab_one = browser.open_form()
    browser.log_in(ADMIN)
    assert_page(browser.send(form_in_tab_one), 403)
    assert saved.bodies == []


# B8.4, ancestor F1
def test_a_token_of_somebody_else_is_refused_even_with_their_cookie(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, saved = shop(make_app, backend)
    ada, attacker = OldBrowser(app), OldBrowser(app)
    ada.log_in()
    attacker.log_in(ADMIN)
    ada.open_form()
    ada.client.set_cookie(CSRF, attacker.token, domain="localhost")
    assert_page(ada.send(attacker.token), 403)
    assert saved.bodies == []


# B8.4
def test_a_form_survives_that_its_visitor_becomes_a_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    token = browser.open_form()
    minted = browser.visit("/cart")
    assert set(set_cookies(minted)) == {GUEST}
    assert csrf_set(minted) is None
    assert browser.send(token).text == "saved"
    assert browser.open_form() == token
    assert len(saved.bodies) == 1


# B8.4
def test_a_page_that_makes_a_guest_has_one_token_before_and_after(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)

    @app.get("/both")
    def both() -> list[str]:
        first = csrf_token()
        api.get("cart")
        return [first, csrf_token(), current_user.kind]

    browser = OldBrowser(app)
    response = browser.visit("/both")
    first, second, kind = response.get_json()
    assert (first, kind) == (second, "guest")
    assert browser.csrf_cookie == first
    assert browser.send(first).text == "saved"


# B8.4
@pytest.mark.parametrize("settings", [{}, {"TOKENS": "single"}])
def test_a_form_survives_a_refresh(
    start_backend: StartBackend, make_app: MakeApp, settings: dict[str, Any]
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6, **settings)
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.open_form()
    for _ in range(2):
        refreshed = browser.visit("/account")
        assert USER in set_cookies(refreshed)
        assert csrf_set(refreshed) is None
    assert backend.calls("POST auth/refresh") >= 2
    assert browser.send(token).text == "saved"
    assert browser.open_form() == token
    assert len(saved.bodies) == 1


# B8.4
def test_a_login_form_survives_a_session_that_ended_on_its_own(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6, REFRESH_TTL=1e-6)
    app, _ = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.open_form()
    ended = browser.fetch("/account", headers={"X-Requested-With": "fetch"})
    assert_problem(ended, 401, "session_expired")
    assert set_cookies(ended)[USER].is_deletion
    assert csrf_set(ended) is None
    assert browser.send_login(token).status_code == 303
    assert backend.calls("POST auth/login") == 2


# B8.4, B4
def test_a_form_survives_that_its_user_falls_back_to_a_guest(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend(ACCESS_TTL=1e-6, REFRESH_TTL=1e-6)
    app, saved = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    browser.log_in()
    token = browser.open_form()
    assert browser.visit("/cart").text == "guest"
    assert set(browser.cookies) == {GUEST}
    assert browser.send(token).text == "saved"
    assert len(saved.bodies) == 1


# B8.4, ancestor F2
@pytest.mark.parametrize("who", ["anonymous", "guest", "user"])
def test_tabs_share_one_token(backend: ShopBackend, make_app: MakeApp, who: str) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)
    browser = OldBrowser(app)
    if who == "user":
        browser.log_in()
    elif who == "guest":
        browser.visit("/cart")
    first = browser.open_form()
    response = browser.visit("/form")
    assert field_of(response) == first
    assert csrf_set(response) is None
    assert browser.token == first


# The cookie


# B3.1, B8.5, B1.5
@pytest.mark.parametrize("path", ["/form", "/api/auth/csrf"])
def test_the_cookie_is_set_where_it_is_missing(backend: ShopBackend, make_app: MakeApp, path: str) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)
    browser = Browser(app)
    response = browser.visit(path)
    cookie = csrf_set(response)
    assert cookie is not None
    assert cookie.attributes == CSRF_ATTRIBUTES
    assert cookie.value in response.text
    assert_private(response)
    assert set_cookies(response) == {}
    # B5.1: a token makes no guest.
    assert backend.calls() == {}
    again = browser.visit(path)
    assert cookie.value in again.text
    assert "Set-Cookie" not in again.headers
    assert_private(again)


# B3.1
def test_the_cookie_has_its_base_name_in_development(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend, cookie_secure=False)
    browser = OldBrowser(app, url="http://localhost")
    page = browser.visit("/form")
    cookie = csrf_set(page, "api-csrf")
    assert cookie is not None
    assert cookie.attributes == {"Path": "/", "SameSite": "Lax", "Max-Age": "43200"}
    assert browser.send_login(cookie.value).status_code == 303
    assert set(browser.cookies) == {"api-user"}
    assert browser.send(browser.open_form()).text == "saved"
    assert len(saved.bodies) == 1


# B1.5, B3.2
@pytest.mark.parametrize("path", ["/plain", "/cart", "/account"])
def test_a_page_without_a_form_sets_no_cookie(backend: ShopBackend, make_app: MakeApp, path: str) -> None:
    app, _ = shop(make_app, backend, guest_enabled=True)
    assert csrf_set(Browser(app).visit(path)) is None


# B8.5
def test_a_public_page_may_have_a_form(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend, protected_by_default=True)

    @app.get("/contact")
    @public
    def contact() -> str:
        return render_template_string("{{ csrf_field() }}{{ csrf_token() }}")

    page = OldBrowser(app).visit("/contact")
    token = field_of(page)
    assert page.text.endswith(f">{token}")
    assert_private(page)


# B3.5, B8.4
@pytest.mark.parametrize("value", ["", "a.b", "1.2.3.4.5", "x" * 5000, '"\\342\\230\\203"', "eyJ.a.b"])
def test_an_unusable_cookie_is_replaced_when_a_token_is_needed(
    backend: ShopBackend, make_app: MakeApp, value: str
) -> None:
    app, _ = shop(make_app, backend)
    answer = call(app, "/form", headers=[("Cookie", f"{CSRF}={value}")])
    [line] = answer.headers.getlist("Set-Cookie")
    assert line.startswith(f"{CSRF}=1.")
    assert line.partition("=")[2].partition(";")[0] in answer.body.decode()
    assert "Set-Cookie" not in call(app, "/plain", headers=[("Cookie", f"{CSRF}={value}")]).headers


# B3.5
def test_two_cookies_of_that_name_are_none(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    token = OldBrowser(app).open_form()
    other = OldBrowser(app).open_form()
    headers = [
        ("Cookie", f"{CSRF}={token}; {CSRF}={other}"),
        ("X-CSRF-Token", token),
        ("Origin", "http://localhost"),
        ("X-Requested-With", "fetch"),
    ]
    answer = call(app, "/api/auth/login", method="POST", headers=headers, body=b"{}")
    assert (answer.status, answer.json()["code"]) == (403, "csrf_token_invalid")
    assert backend.calls() == {}


# B3.1, B1.6: the prefix __Host- wants the path /
def test_a_mounted_app_sets_its_cookie_for_the_whole_host(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    answer = call(app, "/shop/form", script_name="/shop")
    [line] = answer.headers.getlist("Set-Cookie")
    assert {"Path=/", "Secure", "SameSite=Lax"} <= set(line.split("; "))


# B3.4
def test_the_budget_counts_the_csrf_cookie(make_app: MakeApp) -> None:
    """The longest token that still fits, found by trying: with its CSRF cookie it stays below 3,800 bytes, and close to it."""
    fits: dict[str, tuple[int, int]] = {}
    for mode in ("both", "off"):
        low, high = 1000, 4000
        while high - low > 4:
            middle = (low + high) // 2
            size = _cookie_bytes_after_login(make_app, middle, csrf=mode)
            low, high = (middle, high) if size is not None else (low, middle)
            fits[mode] = (low, size) if size is not None else fits.get(mode, (0, 0))
    assert 3600 < fits["both"][1] < 3800
    assert fits["both"][0] < fits["off"][0]


def _cookie_bytes_after_login(make_app: MakeApp, length: int, **settings: Any) -> int | None:
    """The whole Cookie header after a login with a token of this length, None where the login failed for its size."""
    # Text that does not compress.
    token = "".join(format(pow(7, number, 65_537), "x") for number in range(length))[:length]
    with StubBackend(
        {"POST auth/login": grant(token, user={"id": 7}), "POST auth/logout": (204, None)}
    ) as stub:
        browser = OldBrowser(make_app(stub.url, **settings))
        response = browser.fetch("/api/auth/login", method="POST", json=CREDENTIALS | {}, headers=SCRIPT)
        if response.status_code == 403:
            token = browser.token
            response = browser.fetch(
                "/api/auth/login", method="POST", json=CREDENTIALS, headers={"X-CSRF-Token": token}
            )
    if response.status_code == 500:
        assert_problem(response, 500, "session_too_large")
        return None
    assert response.status_code == 200
    kept = browser.cookies | ({CSRF: browser.csrf_cookie} if browser.csrf_cookie else {})
    return len("; ".join(f"{name}={value}" for name, value in kept.items()))


# GET /auth/csrf


# B2 csrf, B2.1
def test_scripts_get_the_token_and_nothing_else(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    response = browser.fetch("/api/auth/csrf")
    assert response.status_code == 200
    token = browser.csrf_cookie
    assert response.get_json() == {"success": True, "data": {"csrf_token": token}}
    assert_private(response)
    assert token
    sent = browser.fetch("/save", method="POST", headers={"X-CSRF-Token": token})
    assert sent.text == "saved"
    assert len(saved.bodies) == 1


# B2.7
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_another_method_there_is_405(backend: ShopBackend, make_app: MakeApp, method: str) -> None:
    app, _ = shop(make_app, backend, proxy_routes={"**": "*"})
    response = Browser(app).fetch("/api/auth/csrf", method=method)
    assert_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]
    assert backend.calls() == {}


# B8.6
def test_a_foreign_page_gets_no_token(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    response = Browser(app).fetch("/api/auth/csrf", headers=CROSS_SITE)
    assert_problem(response, 403, "csrf_cross_site")
    assert "Set-Cookie" not in response.headers


# Keys


@contextmanager
def keyed(backend: ShopBackend, key: str, *fallbacks: str) -> Iterator[Flask]:
    """An app with these SECRET_KEYs."""
    app = Flask("shop")
    app.config |= {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": list(fallbacks)}
    layer = ApiLayer(app, store_url="memory://", backend_url=backend.base_url)
    app.register_blueprint(layer.blueprint)
    with_views(app)
    yield app
    app.extensions["api_layer"].close()


# B8.4, DESIGN 3
@pytest.mark.parametrize("who", ["user", "anonymous"])
def test_a_form_survives_a_new_key_while_the_old_one_is_a_fallback(backend: ShopBackend, who: str) -> None:
    old_key, new_key = "the old key, long enough", "the new key, long enough"
    with keyed(backend, old_key) as before, keyed(backend, new_key, old_key) as after:
        browser = OldBrowser(before)
        if who == "user":
            browser.log_in()
        token = browser.open_form()
        later = OldBrowser(after, cookies=browser.cookies | {CSRF: token})
        assert later.send_login(token).status_code == 303


# B8.4
def test_a_token_of_a_key_that_is_gone_is_refused(backend: ShopBackend) -> None:
    with (
        keyed(backend, "the old key, long enough") as before,
        keyed(backend, "the new key, long enough") as after,
    ):
        browser = OldBrowser(before)
        token = browser.open_form()
        backend.reset()
        later = OldBrowser(after, cookies={CSRF: token})
        assert_problem(later.send_login(token), 403, "csrf_token_invalid")
        assert backend.calls() == {}
        assert later.send_login(later.open_form()).status_code == 303


# Streamed templates


def with_stream(app: Flask) -> None:
    @app.get("/stream")
    def stream() -> Iterator[str]:
        return stream_template_string("<form>{{ csrf_field() }}</form>")

    @app.get("/asked")
    def asked() -> Iterator[str]:
        csrf_token()
        return stream_template_string("<form>{{ csrf_field() }}</form>")


# B8.5
def test_a_streamed_form_has_the_token_of_the_cookie(backend: ShopBackend, make_app: MakeApp) -> None:
    app, saved = shop(make_app, backend)
    with_stream(app)
    browser = OldBrowser(app)
    browser.log_in()
    assert browser.open_form("/stream") == browser.csrf_cookie
    assert browser.send(browser.open_form("/stream")).text == "saved"
    assert len(saved.bodies) == 1


# B8.5, B1.5
def test_a_view_that_asks_before_it_streams_sets_the_cookie(backend: ShopBackend, make_app: MakeApp) -> None:
    app, _ = shop(make_app, backend)
    with_stream(app)
    browser = OldBrowser(app)
    page = browser.visit("/asked")
    cookie = csrf_set(page)
    assert cookie is not None
    assert field_of(page) == cookie.value
    assert_private(page)
    assert browser.send_login(cookie.value).status_code == 303


# B4.8: nothing can be set any more, and nothing breaks
def test_a_streamed_form_without_a_cookie_still_serves_browsers_of_today(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, _ = shop(make_app, backend)
    with_stream(app)
    browser = Browser(app)
    page = browser.visit("/stream")
    assert page.status_code == 200
    assert page.text.endswith("</form>")
    assert "Set-Cookie" not in page.headers
    fields = CREDENTIALS | {"csrf_token": "".join(FIELD.findall(page.text))}
    assert browser.submit("/api/auth/login", fields).status_code == 303


# B8.4: which of them a view would see is anybody's guess
@pytest.mark.parametrize("path", ["/save", "/api/auth/logout"])
def test_two_fields_of_that_name_are_none(backend: ShopBackend, make_app: MakeApp, path: str) -> None:
    app, saved = shop(make_app, backend)
    browser = OldBrowser(app)
    browser.log_in()
    fields = {"csrf_token": [browser.open_form(), "another"]}
    headers = {"Origin": "https://localhost", "X-Requested-With": "fetch"}
    response = browser.client.post(path, base_url="https://localhost", data=fields, headers=headers)
    assert_problem(response, 403, "csrf_token_missing")
    assert saved.bodies == []


# B4.8, B8.5: once the answer has begun, no cookie can be set
def test_a_form_that_is_streamed_before_there_is_a_cookie_says_what_to_do(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = shop(make_app, backend)
    with_stream(app)
    OldBrowser(app).open_form("/stream")
    assert "call csrf_token() in the view first" in caplog.text
