"""How a denial is said: redirect, page or problem, and what it carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, Response, abort, redirect, request, session
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from flask_api_layer import (
    AccessDenied,
    BackendUnavailable,
    LoginRequired,
    current_user,
    login_required,
)
from flask_api_layer.signals import access_denied
from tests.processes import ShopBackend

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    NAVIGATION,
    PASSWORD,
    Browser,
    MakeApp,
    assert_private,
    assert_problem,
    heard,
    is_private,
    plain,
    set_cookies,
    where_to,
)
from .wire import call

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


def _pages(app: Flask) -> Flask:
    @app.route("/account", methods=["GET", "POST", "PUT"])
    @login_required
    def account() -> str:
        return str(current_user["email"])

    @app.get("/admin")
    @login_required("admin")
    def admin() -> str:
        return "report"

    return app


def _open(app: Flask, path: str, headers: dict[str, str], **content: Any) -> TestResponse:
    method = "POST" if content else "GET"
    client = app.test_client()
    return client.open(path, method=method, headers=headers, base_url="https://localhost", **content)


# B1.4
@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, {}),
        ({"Sec-Fetch-Mode": "navigate", "Accept": "application/json"}, {}),
        ({"Sec-Fetch-Mode": "navigate", "X-Requested-With": "XMLHttpRequest"}, {}),
        ({"Accept": HTML}, {}),
        ({"Accept": "text/html"}, {}),
        ({"Accept": "application/json;q=0.5, text/html"}, {}),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}, {"data": {"a": "b"}}),
        ({"Accept": HTML}, {"data": {"a": "b"}}),
    ],
    ids=str,
)
def test_a_navigation_is_redirected_to_the_login(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str], content: dict[str, Any]
) -> None:
    response = _open(_pages(make_app(backend)), "/account?tab=a&b=c%20d", headers, **content)
    assert response.status_code == 302
    assert where_to(response) == ("/login", {"next": ["/account?tab=a&b=c%20d"]})
    assert_private(response)
    assert set_cookies(response) == {}
    assert backend.calls() == {}


# B1.4
@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Sec-Fetch-Mode": "cors", "Accept": HTML}, {}),
        ({"Sec-Fetch-Mode": "no-cors", "Accept": HTML}, {}),
        ({"Sec-Fetch-Mode": "same-origin", "Accept": HTML}, {}),
        ({"Sec-Fetch-Mode": "cors"}, {}),
        ({"X-Requested-With": "XMLHttpRequest", "Accept": HTML}, {}),
        ({"Accept": HTML}, {"json": {"a": 1}}),
        ({"Accept": HTML}, {"data": "{}", "content_type": "application/vnd.api+json"}),
        ({"Accept": "application/json"}, {}),
        ({"Accept": "text/html;q=0.5, application/json"}, {}),
        ({"Accept": "*/*"}, {}),
        ({"Accept": "image/png"}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_everything_else_is_a_problem(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str], content: dict[str, Any]
) -> None:
    response = _open(_pages(make_app(backend)), "/account", headers, **content)
    body = assert_problem(response, 401, "login_required")
    assert body["login_url"] == "/login"
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="')
    assert "Location" not in response.headers
    assert_private(response)


# B1.4
@pytest.mark.parametrize("others", [{}, {"Sec-Fetch-Mode": "cors"}, NAVIGATION], ids=str)
def test_htmx_is_told_where_to_go(backend: ShopBackend, make_app: MakeApp, others: dict[str, str]) -> None:
    headers = others | {"HX-Request": "true", "HX-Current-URL": "https://localhost/shop?page=2"}
    response = _open(_pages(make_app(backend)), "/account", headers)
    assert_problem(response, 401, "login_required")
    assert response.headers["HX-Redirect"] in (
        "/login?next=/shop%3Fpage%3D2",
        "/login?next=%2Fshop%3Fpage%3D2",
    )


# B1.4, B9.1
@pytest.mark.parametrize(
    ("current_url", "expected"),
    [
        (None, {}),
        ("http://[", {}),
        ("https://localhost", {"next": ["/"]}),
        ("https://evil.example/shop", {"next": ["/shop"]}),
    ],
)
def test_htmx_leads_back_to_a_path_alone(
    backend: ShopBackend, make_app: MakeApp, current_url: str | None, expected: dict[str, list[str]]
) -> None:
    headers = {"HX-Request": "true"} | ({"HX-Current-URL": current_url} if current_url else {})
    response = _open(_pages(make_app(backend)), "/account", headers)
    assert_problem(response, 401, "login_required")
    target = urlsplit(response.headers["HX-Redirect"])
    assert (target.scheme, target.netloc, target.path) == ("", "", "/login")
    assert parse_qs(target.query) == expected


# B1.4
def test_htmx_is_not_sent_to_the_login_for_a_missing_role(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    browser.log_in()
    response = browser.fetch("/admin", headers={"HX-Request": "true"})
    assert_problem(response, 403, "access_denied")
    assert "HX-Redirect" not in response.headers


# B1.4
@pytest.mark.parametrize(
    ("headers", "status"), [(NAVIGATION, 302), ({"Accept": HTML}, 401), ({"Sec-Fetch-Mode": "cors"}, 401)]
)
def test_under_the_prefix_only_a_navigation_is_redirected_and_without_next(
    backend: ShopBackend, make_app: MakeApp, headers: dict[str, str], status: int
) -> None:
    app = make_app(backend, proxy_routes={"cart": ["GET"]})
    response = _open(app, "/api/cart", headers)
    assert response.status_code == status
    assert response.headers.get("Location") == ("/login" if status == 302 else None)
    assert backend.calls() == {}


# A11
def test_a_path_that_only_begins_like_the_prefix_is_a_page(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/apidocs", view_func=login_required(lambda: "docs"), endpoint="docs")
    response = _open(app, "/apidocs", {"Accept": HTML})
    assert response.status_code == 302
    assert where_to(response) == ("/login", {"next": ["/apidocs"]})


# B1.4
def test_a_missing_role_is_a_page_and_never_a_redirect(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    browser.log_in()
    response = browser.visit("/admin")
    assert (response.status_code, response.mimetype) == (403, "text/html")
    assert "Location" not in response.headers
    assert "WWW-Authenticate" not in response.headers
    assert_private(response)


# B1.4
def test_an_outage_is_a_page_and_never_a_redirect(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend, validate_ttl=0, stale_ttl=0)))
    browser.log_in()
    backend.fault("auth/me", status=503)
    response = browser.visit("/account")
    assert (response.status_code, response.mimetype) == (503, "text/html")
    assert int(response.headers["Retry-After"]) > 0
    assert "Location" not in response.headers
    assert set_cookies(response) == {}


# B1.4
def test_the_redirect_never_points_at_the_page_being_served(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, login_url="/account/login", protected_routes=("/account",))
    app.add_url_rule("/account/login", view_func=login_required(lambda: "form"), endpoint="form")
    response = plain(app).visit("/account/login?next=/x")
    assert (response.status_code, response.mimetype) == (401, "text/html")
    assert "Location" not in response.headers


# A12
@pytest.mark.parametrize(
    ("login_url", "expected"),
    [("/signin", "/signin?next=/account"), ("/in?way=a", "/in?way=a&next=/account")],
)
def test_the_login_page_can_be_anywhere(
    backend: ShopBackend, make_app: MakeApp, login_url: str, expected: str
) -> None:
    browser = plain(_pages(make_app(backend, login_url=login_url)))
    assert browser.visit("/account").headers["Location"].replace("%2F", "/") == expected
    assert browser.fetch("/account").get_json(force=True)["login_url"] == login_url


# B1.4, B9.1, A12
@pytest.mark.parametrize(
    "target",
    ["/orders/7", "/orders/7?q=a%20b&x=1&x=2", "/orders/caf%C3%A9?u=//evil.example", "/orders/a:b@c"],
)
def test_after_the_login_one_is_where_one_wanted_to_be(
    backend: ShopBackend, make_app: MakeApp, target: str
) -> None:
    app = make_app(backend)
    app.add_url_rule("/orders/<rest>", view_func=login_required(lambda rest: "in"), endpoint="orders")
    browser = plain(app)
    _, query = where_to(browser.visit(target))
    response = browser.submit("/api/auth/login", CREDENTIALS | {"next": query["next"][0]})
    assert (response.status_code, response.headers["Location"]) == (303, target)
    assert browser.visit(target).text == "in"


# B9.1
@pytest.mark.parametrize(
    "wanted",
    [
        *("//evil.com", "///evil.com", "\\\\evil.com", "/\\evil.com", "\\/evil.com", "https:evil.com"),
        *("https:///evil.com", "HtTpS://evil.com", "javascript:alert(1)", "data:text/html,x", "a:b"),
        *("https://app@evil.com", "//@evil.com", "https://localhost/x", "https://localhost:444/x"),
        *("/ok%0d%0aSet-Cookie:x=1", "/ok\r\nX:y", "/ok%00", "", "?x", "#x", "ok", "..", ".//evil"),
        *("/a//evil.com", "/a/%2f/evil.com", "/%2fevil.com", "/%252fevil.com", "/%25252fevil.com"),
        *("/a/../b", "/%2e%2e/b", "/a%5cb", "/%255c", "/café", "/a b", "/" + "x" * 2048),
        *("/login", "/login?next=/a", "/api/cart", "/api", "/logout", "/a/logout", "/register", "/x/login/"),
        *("/\t/evil.com", "/%09/evil.com", "/a\x7f"),
    ],
)
def test_a_target_that_is_not_safe_becomes_the_default(
    backend: ShopBackend, make_app: MakeApp, wanted: str
) -> None:
    browser = plain(make_app(backend, after_login_url="/home"))
    response = browser.submit("/api/auth/login", CREDENTIALS | {"next": wanted})
    assert (response.status_code, response.headers["Location"]) == (303, "/home")
    assert "evil" not in response.text + str(response.headers)


# B9.1
@pytest.mark.parametrize(
    "wanted",
    [
        *("/", "/ok?u=//evil.com#f", "/a:b", "/@user", "/kaf%C3%A9?x=%2F%2F", "/a/", "/...", "/v1..2"),
        *("/loginhelp", "/login-help/x", "/apidocs", "/ok?next=https://evil.com", "/" + "x" * 2047),
    ],
)
def test_a_safe_target_is_kept_as_it_is(backend: ShopBackend, make_app: MakeApp, wanted: str) -> None:
    response = plain(make_app(backend)).submit("/api/auth/login", CREDENTIALS | {"next": wanted})
    assert (response.status_code, response.headers["Location"]) == (303, wanted)


# B9.1, NEXT_DENY
def test_own_patterns_replace_what_next_may_not_be(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(make_app(backend, next_deny=("/secret/**",)))
    targets = {}
    for wanted in ("/secret", "/secret/x", "/logout", "/login"):
        response = browser.submit("/api/auth/login", CREDENTIALS | {"next": wanted})
        targets[wanted] = response.headers["Location"]
    assert targets == {"/secret": "/", "/secret/x": "/", "/logout": "/logout", "/login": "/"}


def _redirect_away(error: HTTPException) -> Any:
    return redirect(f"/own?status={error.code}")


# DESIGN 3, denial
@pytest.mark.parametrize("kind", [401, LoginRequired, HTTPException])
def test_the_apps_own_handler_wins_for_a_missing_login(
    backend: ShopBackend, make_app: MakeApp, kind: int | type[HTTPException]
) -> None:
    app = _pages(make_app(backend))
    app.register_error_handler(kind, _redirect_away)
    for response in (plain(app).visit("/account"), plain(app).fetch("/account")):
        assert (response.status_code, response.headers["Location"]) == (302, "/own?status=401")
        assert_private(response)


# DESIGN 3, denial
@pytest.mark.parametrize("kind", [403, AccessDenied, HTTPException])
def test_the_apps_own_handler_wins_for_a_missing_role(
    backend: ShopBackend, make_app: MakeApp, kind: int | type[HTTPException]
) -> None:
    app = _pages(make_app(backend))
    app.register_error_handler(kind, _redirect_away)
    browser = plain(app)
    browser.log_in()
    assert browser.visit("/admin").headers["Location"] == "/own?status=403"


# DESIGN 3, denial
@pytest.mark.parametrize("kind", [503, BackendUnavailable])
def test_the_apps_own_handler_wins_for_an_outage(
    backend: ShopBackend, make_app: MakeApp, kind: int | type[HTTPException]
) -> None:
    app = _pages(make_app(backend, validate_ttl=0, stale_ttl=0))
    app.register_error_handler(kind, _redirect_away)
    browser = plain(app)
    browser.log_in()
    backend.fault("auth/me", status=503)
    assert browser.visit("/account").headers["Location"] == "/own?status=503"


# DESIGN 3, denial
def test_a_handler_may_hand_the_denial_back(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    app.register_error_handler(LoginRequired, lambda error: error)
    assert_problem(plain(app).fetch("/account"), 401, "login_required")


# DESIGN 3, denial
@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (AccessDenied("Only the owner <b>may</b>."), 403, "access_denied", "Only the owner <b>may</b>."),
        (LoginRequired("Log in to vote."), 401, "login_required", "Log in to vote."),
        (BackendUnavailable("Closed."), 503, "backend_unavailable", "Closed."),
    ],
    ids=repr,
)
def test_a_view_may_deny_in_its_own_words(
    backend: ShopBackend, make_app: MakeApp, error: HTTPException, status: int, code: str, text: str
) -> None:
    app = make_app(backend)

    @app.get("/vote")
    def vote() -> str:
        raise error

    body = assert_problem(plain(app).fetch("/vote"), status, code)
    assert body["detail"] == text
    page = plain(app).visit("/vote")
    assert page.status_code == (302 if status == 401 else status)
    assert "<b>" not in page.text
    assert ("Retry-After" in page.headers) is (status == 503)


# B1.1
def test_a_denial_without_words_has_some_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    browser = plain(app)
    details = [browser.fetch("/account").get_json(force=True)["detail"]]
    browser.log_in()
    details.append(browser.fetch("/admin").get_json(force=True)["detail"])
    for detail in details:
        # Werkzeug's own texts speak of credentials that were never asked for, and of servers.
        assert "server" not in detail
        assert len(detail) < 100


# B1.1
def test_an_error_of_the_apps_own_is_left_alone(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/closed", view_func=lambda: abort(403), endpoint="closed")
    app.add_url_rule("/broken", view_func=lambda: abort(Response("mine", 401)), endpoint="broken")
    assert plain(app).fetch("/closed").mimetype == "text/html"
    assert plain(app).fetch("/broken").text == "mine"
    assert plain(app).fetch("/nothing").mimetype == "text/html"


# B1.1
def test_a_problem_has_these_members_and_no_more(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    always = {"type", "title", "status", "detail", "code", "request_id", "success", "message"}
    assert set(browser.fetch("/account").get_json(force=True)) == always | {"login_url"}
    browser.log_in()
    denied = browser.fetch("/admin")
    assert set(denied.get_json(force=True)) == always
    assert "WWW-Authenticate" not in denied.headers
    invalid = browser.post("/api/auth/login", json={"email": ADA})
    assert set(invalid.get_json(force=True)) == always | {"errors"}


# B1.7
def test_each_problem_has_a_request_id_of_its_own(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = plain(_pages(make_app(backend)))
    ids = {browser.fetch("/account").get_json(force=True)["request_id"] for _ in range(3)}
    assert len(ids) == 3
    echoed = browser.fetch("/account", headers={"X-Request-ID": "abc-1"}).get_json(force=True)["request_id"]
    assert echoed == "abc-1"


# B1.1
def test_no_secret_is_in_any_denial(
    backend: ShopBackend, make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    app = _pages(make_app(backend, validate_ttl=0, stale_ttl=0))
    browser = plain(app)
    browser.log_in()
    texts = [browser.fetch("/admin").text]
    backend.fault("auth/me", mode="garbage")
    texts += [browser.fetch("/account").text, browser.visit("/account").text]
    [sealed] = browser.cookies.values()
    hidden = ("eyJ", PASSWORD, "Traceback", "127.0.0.1", sealed)
    assert [word for word in hidden if word in "".join(texts)] == []
    logged = "".join(
        entry.getMessage() for entry in caplog.records if entry.name.startswith("flask_api_layer")
    )
    assert [word for word in ("eyJ", PASSWORD, sealed) if word in logged] == []


def _cached(value: Callable[[], str]) -> Callable[[], Response]:
    def view() -> Response:
        response = Response(value())
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    return view


# B1.5
def test_what_read_the_auth_state_is_not_stored_whatever_the_view_says(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)
    app.add_url_rule("/asks", view_func=_cached(lambda: current_user.kind), endpoint="asks")
    app.add_url_rule("/gated", view_func=login_required(_cached(lambda: "in")), endpoint="gated")
    browser = plain(app)
    assert_private(browser.visit("/asks"))
    browser.log_in()
    for path in ("/asks", "/gated"):
        response = browser.visit(path)
        assert response.status_code == 200
        assert_private(response)
        assert "Accept-Encoding" in response.headers["Vary"]


# B1.5
def test_what_did_not_read_it_is_left_alone(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/static-ish", view_func=_cached(lambda: "page"), endpoint="page")
    browser = plain(app)
    browser.log_in()
    response = browser.visit("/static-ish")
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    assert response.headers["Vary"] == "Accept-Encoding"


# B1.5
def test_vary_names_the_cookie_once(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    @app.get("/both")
    def both() -> str:
        session["seen"] = True
        return current_user.kind

    response = plain(app).visit("/both")
    names = [name.strip() for line in response.headers.getlist("Vary") for name in line.split(",")]
    assert names == ["Cookie"]


# B1.5
def test_a_crash_after_the_auth_state_was_read_is_not_stored(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    @app.get("/crash")
    def crash() -> str:
        raise ZeroDivisionError(current_user.kind)

    response = plain(app).visit("/crash")
    assert response.status_code == 500
    assert_private(response)


# DESIGN 3, events
def test_a_denial_is_told_with_who_was_denied(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _pages(make_app(backend))
    ada, admin = plain(app), plain(app)
    ada.log_in()
    admin.log_in(ADMIN)
    with heard(access_denied, app) as events:
        plain(app).fetch("/account")
        ada.fetch("/admin")
        admin.fetch("/admin")
    told = [(event["identity"].kind, event["error_code"]) for event in events]
    assert told == [("anonymous", "login_required"), ("user", "access_denied")]


# DESIGN 6, corpus 2
def test_no_forwarded_header_moves_a_redirect(backend: ShopBackend, make_app: MakeApp) -> None:
    forwarded = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example",
    }
    response = plain(_pages(make_app(backend))).visit("/account", headers=forwarded)
    assert where_to(response) == ("/login", {"next": ["/account"]})


# B1.4
def test_a_denied_post_did_not_run(backend: ShopBackend, make_app: MakeApp) -> None:
    app, calls = make_app(backend), list[str]()

    @app.post("/order")
    @login_required
    def order() -> str:
        calls.append(request.form["item"])
        return "ordered"

    browser: Browser = plain(app)
    assert browser.submit("/order", {"item": "mug"}).status_code == 302
    assert browser.post("/order", json={"item": "mug"}).status_code == 401
    assert calls == []
    assert not is_private(browser.visit("/nothing"))
    assert json.loads(browser.post("/order").text)["code"] == "login_required"


# B9.1: NEXT_DENY does not know its name
@pytest.mark.parametrize("wanted", ["/enter", "/enter/", "/%65nter", "/enter?next=/cart", "/enter#form"])
def test_a_login_never_leads_to_its_own_page(backend: ShopBackend, make_app: MakeApp, wanted: str) -> None:
    browser = plain(make_app(backend, login_url="/enter", after_login_url="/home"))
    response = browser.submit("/api/auth/login", CREDENTIALS | {"next": wanted})
    assert (response.status_code, response.headers["Location"]) == (303, "/home")


# DESIGN: "the app's own @app.errorhandler wins", for every code that we answer with
@pytest.mark.parametrize(
    ("path", "status"), [("/api/a%2fb", 400), ("/api/nothing", 404), ("/api/auth/login", 405)]
)
def test_the_apps_own_handler_of_a_status_answers(
    path: str, status: int, backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)
    app.register_error_handler(status, lambda error: (f"own {error.code}", status))
    response = call(app, path)
    assert (response.status, response.body.decode()) == (status, f"own {status}")


# TRUSTED_HOSTS
@pytest.mark.parametrize(
    "path", ["/account", "/open", "/api/x", "/api/auth/me", "//elsewhere.example/x", "/missing"]
)
def test_a_host_that_nobody_trusts_gets_nothing(path: str, backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, protected_routes=["/account"], proxy_routes={"**": "*"})
    app.config["TRUSTED_HOSTS"] = ["shop.example"]
    app.add_url_rule("/account", "account", lambda: "account")
    app.add_url_rule("/open", "open", lambda: "open")
    refused = app.test_client().get(path, headers={"Host": "evil.example", **NAVIGATION})
    assert refused.status_code == 400
    assert not {"Location", "Set-Cookie"} & set(refused.headers.keys())
    assert "evil" not in refused.text
    assert backend.calls() == {}
    assert app.test_client().get("/open", headers={"Host": "shop.example"}).status_code == 200
