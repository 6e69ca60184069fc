"""Odd requests and odd configurations: nothing gets past a gate, nothing loops, nothing is a 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from flask_api_layer import ApiLayer, ConfigError, current_user, login_required
from tests.processes import ShopBackend

from .apps import serve
from .visitors import (
    CREDENTIALS,
    SCRIPT,
    SECURE,
    USER,
    WEEK,
    Answers,
    Browser,
    MakeApp,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    layered,
    plain,
    record,
    set_cookies,
)
from .wire import call, exchange, head

NOWHERE = "http://127.0.0.1:9/v1"
EXPIRED: Answers = {
    "POST auth/login": grant("t1", refreshToken="r1", expiresIn=1e-6, user={"id": 7, "type": "user"}),
    "POST auth/refresh": grant(
        "t2", refreshToken="r2", expiresIn=900, user={"id": 7, "type": "user", "roles": ["admin"]}
    ),
    "GET auth/me": record(),
}


def _account(app: Flask) -> Flask:
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user.id)), endpoint="account")
    return app


# B4.5
@pytest.mark.parametrize("order", [("/shop/list", "/admin/list"), ("/admin/list", "/shop/list")])
def test_one_view_on_two_blueprints_is_gated_on_the_protected_one_alone(order: tuple[str, str]) -> None:
    def show() -> str:
        return "shown"

    with layered(NOWHERE) as (app, layer):
        for name in ("shop", "admin"):
            blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
            blueprint.add_url_rule("/list", view_func=show)
            if name == "admin":
                layer.protect(blueprint, "admin")
            app.register_blueprint(blueprint)
        answers = {path: plain(app).fetch(path).status_code for path in order}
    assert answers == {"/shop/list": 200, "/admin/list": 401}


# B4.4
@pytest.mark.parametrize(
    "path", ["/static/private/r.txt", "/static/x/../private/r.txt", "/static/./private/r.txt"]
)
def test_dot_segments_do_not_lead_around_a_protected_route(
    tmp_path: Path, make_app: MakeApp, path: str
) -> None:
    (tmp_path / "private").mkdir()
    for name in ("private/r.txt", "open.txt"):
        (tmp_path / name).write_text("content")
    app = make_app(NOWHERE, protected_routes=["/static/private"])
    app.static_folder = str(tmp_path)
    answer = call(app, path, headers=SCRIPT.items())
    assert (answer.status, answer.json()["code"]) == (401, "login_required")
    assert call(app, "/static/open.txt", headers=SCRIPT.items()).body == b"content"


# B4.4
def test_dot_segments_do_not_make_a_path_public(make_app: MakeApp) -> None:
    app = make_app(NOWHERE, public_routes=["/files/public"], protected_by_default=True)
    app.add_url_rule("/files/<path:name>", view_func=lambda name: name, endpoint="files")
    paths = ["/files/public/a", "/files/public/../private", "/files/public/./../private"]
    assert [call(app, path, headers=SCRIPT.items()).status for path in paths] == [200, 401, 401]


# B1.5, B3.2
def test_a_refresh_before_our_hook_still_reaches_the_browser(make_app: MakeApp) -> None:
    with StubBackend(EXPIRED) as stub:
        app = make_app(stub.url)

        @app.url_value_preprocessor
        def look(endpoint: str | None, values: dict[str, Any] | None) -> None:
            assert current_user.kind in ("anonymous", "user")

        app.add_url_rule("/plain", view_func=lambda: "page", endpoint="plain")
        browser = plain(app)
        browser.log_in()
        response = browser.visit("/plain")
        assert response.text == "page"
        assert {name: cookie.attributes for name, cookie in set_cookies(response).items()} == {
            USER: SECURE | {"Max-Age": WEEK}
        }
        assert_private(response)
        assert stub.endpoints.count("POST auth/refresh") == 1


@contextmanager
def _keyed(url: str, store: Path, key: str, fallbacks: list[str]) -> Iterator[Flask]:
    """An app with these secret keys."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks)
    layer = ApiLayer(app, backend_url=url, store_url=f"sqlite:///{store}")
    app.register_blueprint(layer.blueprint)
    yield _account(app)
    app.extensions["api_layer"].transport.close()


# B6.1
def test_a_rotated_key_does_not_make_workers_spend_a_credential_twice(tmp_path: Path) -> None:
    new, old, store = "the new key, long enough", "the old key, long enough", tmp_path / "store.sqlite3"
    with (
        StubBackend(EXPIRED) as stub,
        _keyed(stub.url, store, new, [old]) as before,
        _keyed(stub.url, store, new, []) as after,
    ):
        browser = plain(before)
        browser.log_in()
        late = browser.on(after)
        assert [browser.visit("/account").text, late.visit("/account").text] == ["7", "7"]
        assert stub.endpoints.count("POST auth/refresh") == 1


def _follow(browser: Browser, path: str) -> TestResponse:
    """The answer at the end of the redirects, or after five of them."""
    response = browser.visit(path)
    for _ in range(5):
        target = response.headers.get("Location")
        if target is None:
            break
        response = browser.visit(target.removeprefix("https://localhost").partition("#")[0])
    return response


# B1.4, B4.5
@pytest.mark.parametrize("start", ["/account", "its own address"])
@pytest.mark.parametrize(
    ("login_url", "rule"), [("/login", "/login/"), ("/login/", "/login/"), ("/giri%C5%9F", "/giriş")]
)
def test_the_login_page_is_reached_however_its_address_is_spelled(
    make_app: MakeApp, login_url: str, rule: str, start: str
) -> None:
    app = _account(make_app(NOWHERE, login_url=login_url, protected_by_default=True))
    app.add_url_rule(rule, view_func=lambda: "log in here", endpoint="login-page")
    response = _follow(plain(app), login_url if start == "its own address" else start)
    assert (response.status_code, response.text) == (200, "log in here")


# B1.4
def test_who_is_logged_in_is_not_sent_from_the_login_page_to_itself(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/login": grant(user={"id": 7})}) as stub:
        app = make_app(stub.url, auth_routes=["/login"], after_login_url="/login#ok")
        app.add_url_rule("/login", view_func=lambda: "log in here", endpoint="login-page")
        browser = plain(app)
        browser.log_in()
        assert _follow(browser, "/login").text == "log in here"


# B2.6
def test_a_form_that_was_cut_short_reaches_no_backend(backend: ShopBackend) -> None:
    form = b"email=ada%40example.com&password=demo-password"
    headers = [
        *(f"{name}: {value}" for name, value in SCRIPT.items()),
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(form) + 9}",
    ]
    with serve(backend.base_url, cookie_secure=False) as server:
        data = head("POST", "/api/auth/login", *headers) + form
        answer = exchange(server.port, data, method="POST", half_close=True)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert backend.calls() == {}


# B4.5
def test_a_view_that_is_merely_called_static_is_gated_by_default(make_app: MakeApp) -> None:
    app = make_app(NOWHERE, protected_by_default=True)
    pages = Blueprint("pages", __name__)
    pages.add_url_rule("/static-page", view_func=lambda: "page", endpoint="static")
    app.register_blueprint(pages)
    assert_problem(plain(app).fetch("/static-page"), 401, "login_required")


# B4.5
@pytest.mark.parametrize(("gated", "status"), [(False, 200), (True, 401)])
def test_an_endpoint_that_looks_like_a_path_is_no_500(make_app: MakeApp, gated: bool, status: int) -> None:
    app = make_app(NOWHERE, protected_by_default=gated)
    app.add_url_rule("/x", view_func=lambda: "icon", endpoint="/_fav.ico")
    assert plain(app).fetch("/x").status_code == status


# B7.2
@pytest.mark.parametrize(("query", "sent"), [("a=\x01", "a=%01"), ("a=\r\nX: y", "a=%0D%0AX:%20y")])
def test_a_control_character_in_a_query_is_no_500(make_app: MakeApp, query: str, sent: str) -> None:
    with StubBackend({f"GET products?{sent}": (200, ["found"])}) as stub:
        app = make_app(stub.url, proxy_routes={"**": "*"}, proxy_public=["**"])
        answer = call(app, "/api/products", headers=SCRIPT.items(), environ={"QUERY_STRING": query})
        assert (answer.status, answer.json()) == (200, ["found"])
        assert "X" not in stub.calls[0].headers


# B7.5
@pytest.mark.parametrize("environ", [{"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, {}])
def test_a_transfer_coding_that_nobody_undoes_is_refused(make_app: MakeApp, environ: dict[str, Any]) -> None:
    headers = [*SCRIPT.items(), ("Transfer-Encoding", "gzip, chunked")]
    with StubBackend({"POST products": (200, [])}) as stub:
        app = make_app(stub.url, proxy_routes={"**": "*"}, proxy_public=["**"])
        answer = call(app, "/api/products", method="POST", headers=headers, body=b"x", environ=environ)
        assert (answer.status, answer.json()["code"]) == (400, "bad_request")
        assert stub.endpoints == []


# B2.1, B7.1
@pytest.mark.parametrize("path", ["/api/auth/login.json", "/api/auth/LOGIN;v=1/"])
def test_the_login_endpoint_is_not_proxied_under_another_spelling(make_app: MakeApp, path: str) -> None:
    with StubBackend({f"POST {path.removeprefix('/api/')}": grant()}) as stub:
        response = plain(make_app(stub.url, proxy_routes={"**": "*"}, proxy_public=["**"])).post(
            path, json=CREDENTIALS
        )
        assert_problem(response, 404, "no_route")
        assert stub.endpoints == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"backend_url": "http://münchen.example/v1"}, "BACKEND_URL"),
        ({"store_url": "redis://h:notaport"}, "STORE_URL"),
        ({"user_cookie": "session", "cookie_secure": False}, "USER_COOKIE"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named), layered(NOWHERE, **settings):
        pass


def test_the_blueprint_is_registered_once() -> None:
    with layered(NOWHERE) as (app, layer):
        app.register_blueprint(layer.blueprint)
        with pytest.raises(ConfigError, match="twice"):
            app.register_blueprint(layer.blueprint, name="b2", url_prefix="/b2")


@pytest.mark.parametrize("path", ["/account", "/nowhere", "/api/products", "/api/auth/me"])
def test_a_host_that_is_not_served_here_learns_nothing(
    backend: ShopBackend, make_app: MakeApp, path: str
) -> None:
    app = _account(make_app(backend, proxy_routes={"products": ["GET"]}, guest_enabled=True))
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    for browser in (Browser(app, url="https://evil.test"), Browser(app, url="https://localhost.evil.test")):
        response = browser.fetch(path)
        assert_problem(response, 400, "bad_request")
        assert set_cookies(response) == {}
    assert backend.calls() == {}
    assert_problem(plain(app).fetch("/account"), 401, "login_required")


# B4.5
def test_dot_segments_do_not_lead_into_an_excluded_route(make_app: MakeApp) -> None:
    app = make_app(NOWHERE, excluded_routes=["/files/open"], protected_by_default=True)
    app.add_url_rule("/files/<path:name>", view_func=lambda name: name, endpoint="files")
    paths = ["/files/open/a", "/files/open/../private", "/files/open/./../private"]
    assert [call(app, path, headers=SCRIPT.items()).status for path in paths] == [200, 401, 401]


# B6.1
def test_a_worker_that_has_not_got_the_new_key_yet_spends_nothing(tmp_path: Path) -> None:
    new, old, store = "the new key, long enough", "the old key, long enough", tmp_path / "store.sqlite3"
    with (
        StubBackend(EXPIRED) as stub,
        _keyed(stub.url, store, old, []) as before,
        _keyed(stub.url, store, new, [old]) as after,
    ):
        browser = plain(before)
        browser.log_in()
        assert browser.on(after).visit("/account").text == "7"
        response = browser.visit("/account")
        assert (response.status_code, set_cookies(response)) == (503, {})
        assert stub.endpoints.count("POST auth/refresh") == 1
