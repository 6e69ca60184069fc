"""The extension object: set-up, several apps, prefixes, keys and mounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_api_layer import ApiLayer, ConfigError, current_user, login_required
from tests.processes import ShopBackend

from .visitors import (
    ADA,
    CREDENTIALS,
    SECURE,
    USER,
    Browser,
    MakeApp,
    assert_problem,
    layered,
    plain,
    set_cookies,
    where_to,
)

KEY = "a key for tests, long enough"
OLD_KEY = "the key of last year, long enough"
CLOSED = "http://127.0.0.1:9/v1"


@pytest.fixture
def apps() -> Iterator[list[Flask]]:
    """Apps whose connections are closed at the end."""
    made: list[Flask] = []
    yield made
    for app in made:
        app.extensions["api_layer"].transport.close()


def _app(name: str = "shop", **config: Any) -> Flask:
    app = Flask(name)
    app.config.update({"SECRET_KEY": KEY, "API_LAYER_STORE_URL": "memory://"} | config)
    return app


def _pages(app: Flask) -> Flask:
    app.add_url_rule(
        "/account", view_func=login_required(lambda: str(current_user["email"])), endpoint="account"
    )
    return app


# DESIGN 3
def test_two_apps_of_one_layer_keep_their_own_settings(backend: ShopBackend, apps: list[Flask]) -> None:
    layer = ApiLayer(backend_url=backend.base_url, store_url="memory://")
    one = _pages(_app("one"))
    two = _pages(_app("two", API_LAYER_LOGIN_URL="/signin", API_LAYER_USER_COOKIE="two", SECRET_KEY=OLD_KEY))
    apps += [one, two]
    for app in apps:
        layer.init_app(app)
    one.register_blueprint(layer.blueprint)
    two.register_blueprint(layer.blueprint, url_prefix="/backend")
    assert where_to(plain(one).visit("/account"))[0] == "/login"
    assert where_to(plain(two).visit("/account"))[0] == "/signin"
    first = plain(one).post("/api/auth/login", json=CREDENTIALS)
    second = plain(two).post("/backend/auth/login", json=CREDENTIALS)
    assert list(set_cookies(first)) == [USER]
    assert list(set_cookies(second)) == ["__Host-Http-two"]
    assert plain(one).post("/backend/auth/login", json=CREDENTIALS).status_code == 404
    assert plain(two).post("/api/auth/login", json=CREDENTIALS).status_code == 404


# DESIGN 3
def test_the_blueprint_may_be_registered_before_the_layer_is_set_up(
    backend: ShopBackend, apps: list[Flask]
) -> None:
    layer, app = ApiLayer(), _pages(_app(API_LAYER_BACKEND_URL=backend.base_url))
    app.register_blueprint(layer.blueprint)
    layer.init_app(app)
    apps.append(app)
    browser = plain(app)
    browser.log_in()
    assert browser.visit("/account").text == ADA


# B1.6
@pytest.mark.parametrize("is_nested", [False, True])
def test_the_rules_follow_the_prefix(backend: ShopBackend, is_nested: bool) -> None:
    with layered(backend, proxy_routes={"cart": ["GET"]}) as (app, layer):
        if is_nested:
            parent = Blueprint("parent", "parent")
            parent.register_blueprint(layer.blueprint, url_prefix="/backend")
            app.register_blueprint(parent, url_prefix="/v2")
        else:
            app.register_blueprint(layer.blueprint, url_prefix="/v2/backend")
        browser = plain(_pages(app))
        app.add_url_rule("/api/mine", view_func=login_required(lambda: "mine"), endpoint="mine")
        client = app.test_client()
        response = client.get(
            "/v2/backend/cart", headers={"Accept": "text/html"}, base_url="https://localhost"
        )
        assert_problem(response, 401, "login_required")
        mine = client.get("/api/mine", headers={"Accept": "text/html"}, base_url="https://localhost")
        assert where_to(mine) == ("/login", {"next": ["/api/mine"]})
        form = CREDENTIALS | {"next": "/v2/backend/cart"}
        assert browser.submit("/v2/backend/auth/login", form).headers["Location"] == "/"
        assert browser.fetch("/v2/backend/cart").status_code == 200
        assert browser.visit("/account").text == ADA
        assert_problem(browser.fetch("/v2/backend/nothing"), 404, "no_route")
        assert browser.fetch("/api/auth/me").status_code == 404


# B1.6
@pytest.mark.parametrize("prefix", ["", "/"])
def test_an_empty_prefix_is_refused(prefix: str) -> None:
    with layered(CLOSED) as (app, layer), pytest.raises(ConfigError, match="prefix"):
        app.register_blueprint(layer.blueprint, url_prefix=prefix)


# B1.6
def test_without_the_blueprint_there_are_no_rules_of_a_prefix(backend: ShopBackend) -> None:
    with layered(backend) as (app, layer):
        app.add_url_rule("/api/page", view_func=login_required(lambda: "in"), endpoint="page")
        client = app.test_client()
        response = client.get("/api/page", headers={"Accept": "text/html"}, base_url="https://localhost")
        assert where_to(response) == ("/login", {"next": ["/api/page"]})
        assert plain(app).fetch("/api/auth/me").status_code == 404
        assert plain(app).fetch("/api/auth/me").mimetype == "text/html"
    assert layer.blueprint.name not in app.blueprints


# DESIGN 5
def test_every_problem_of_the_configuration_is_told_at_once() -> None:
    app = _app(
        API_LAYER_BACKEND_URL="ftp://x/",
        API_LAYER_GUEST_ENABLED="False",
        API_LAYER_READ_TIMEOUT=float("nan"),
        API_LAYER_GEUST_MODE="lazy",
        API_LAYER_AUTH_ROUTES="/login",
    )
    with pytest.raises(ConfigError) as caught:
        ApiLayer(app)
    text = str(caught.value)
    for key in ("BACKEND_URL", "GUEST_ENABLED", "READ_TIMEOUT", "GEUST_MODE", "AUTH_ROUTES"):
        assert f"API_LAYER_{key}" in text
    assert "API_LAYER_GUEST_MODE" in text
    assert len(caught.value.problems) >= 5
    assert "api_layer" not in app.extensions


# DESIGN 5
@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"API_LAYER_BACKEND_URL": None}, "BACKEND_URL"),
        ({"API_LAYER_BACKEND_URL": "https://user:pw@x/"}, "BACKEND_URL"),
        ({"API_LAYER_BACKEND_URL": "https://x/?a=1"}, "BACKEND_URL"),
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": 12345678901234567890}, "SECRET_KEY"),
        ({"API_LAYER_GUEST_MODE": "sometimes"}, "GUEST_MODE"),
        ({"API_LAYER_COOKIE_SAMESITE": "lux"}, "COOKIE_SAMESITE"),
        ({"API_LAYER_GUEST_MINT_LIMIT": "many"}, "GUEST_MINT_LIMIT"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_work_is_an_error_at_start(config: dict[str, Any], word: str) -> None:
    app = _app(**{"API_LAYER_BACKEND_URL": CLOSED} | config)
    with pytest.raises(ConfigError, match=word) as caught:
        ApiLayer(app)
    assert "pw@" not in str(caught.value)
    assert KEY not in str(caught.value)


# DESIGN 5
def test_the_apps_config_beats_the_constructor(backend: ShopBackend, apps: list[Flask]) -> None:
    app = _pages(_app(API_LAYER_LOGIN_URL="/from-config"))
    ApiLayer(app, backend_url=backend.base_url, login_url="/from-constructor")
    apps.append(app)
    assert where_to(plain(app).visit("/account"))[0] == "/from-config"


# DESIGN 5
def test_an_unknown_setting_of_the_constructor_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"(?i)logn_url"):
        ApiLayer(_app(), backend_url=CLOSED, logn_url="/login")


# DESIGN 5
def test_the_environment_can_say_it_all(
    backend: ShopBackend, apps: list[Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SECRET_KEY": KEY,
        "API_LAYER_BACKEND_URL": backend.base_url,
        "API_LAYER_STORE_URL": "memory://",
        "API_LAYER_GUEST_ENABLED": "true",
        "API_LAYER_AUTH_ROUTES": '["/login"]',
        "API_LAYER_PROXY_ROUTES": '{"cart": ["GET"]}',
    }.items():
        monkeypatch.setenv(f"FLASK_{name}", value)
    app = Flask("shop")
    app.config.from_prefixed_env()
    app.register_blueprint(ApiLayer(app).blueprint)
    apps.append(app)
    assert plain(app).fetch("/api/cart").status_code == 200


# COOKIE_SECURE
@pytest.mark.parametrize(
    ("config", "is_secure"),
    [({}, True), ({"DEBUG": True}, False), ({"TESTING": True}, False)],
    ids=str,
)
def test_cookies_are_secure_but_in_development(
    backend: ShopBackend, apps: list[Flask], config: dict[str, Any], is_secure: bool
) -> None:
    app = _app(API_LAYER_BACKEND_URL=backend.base_url, **config)
    app.register_blueprint(ApiLayer(app).blueprint)
    apps.append(app)
    for url in ("http://localhost", "https://localhost"):
        [(name, cookie)] = set_cookies(Browser(app, url=url).log_in()).items()
        assert name == (USER if is_secure else "api-user")
        assert ("Secure" in cookie.attributes) is is_secure
        assert set(SECURE) - {"Secure"} < set(cookie.attributes)


# DESIGN 3, cookies
def test_sessions_outlive_a_change_of_the_key(backend: ShopBackend, apps: list[Flask]) -> None:
    url = {"API_LAYER_BACKEND_URL": backend.base_url}
    old = _app(SECRET_KEY=OLD_KEY, **url)
    new = _pages(_app(SECRET_KEY_FALLBACKS=["an even older key, long enough", OLD_KEY], **url))
    rotated = _pages(_app(**url))
    apps += [old, new, rotated]
    for app in apps:
        app.register_blueprint(ApiLayer(app).blueprint)
    browser = plain(old)
    browser.log_in()
    renewed = browser.on(new)
    assert renewed.visit("/account").text == ADA
    assert renewed.post("/api/auth/refresh").status_code == 200
    # What is written now needs the old key no longer.
    assert renewed.on(rotated).visit("/account").text == ADA
    assert_problem(browser.on(rotated).fetch("/account"), 401, "login_required")


def _mounted(app: Flask, path: str) -> Browser:
    """A browser in front of this app mounted there; the paths that it visits are still the app's own."""
    return Browser(app, url=f"https://localhost{path}")


# B1.6
def test_a_mounted_app_redirects_within_its_mount(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = _mounted(_pages(make_app(backend, login_url="/signin")), "/shop")
    response = browser.visit("/account?tab=1")
    assert where_to(response) == ("/shop/signin", {"next": ["/shop/account?tab=1"]})
    assert browser.fetch("/account").get_json(force=True)["login_url"] == "/shop/signin"


# B1.6
@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ({}, "/shop/"),
        ({"next": "/shop/account?tab=1"}, "/shop/account?tab=1"),
        ({"next": "/shop/api/cart"}, "/shop/"),
        ({"next": "/shop/login"}, "/shop/"),
        ({"next": "//evil.example"}, "/shop/"),
    ],
    ids=str,
)
def test_a_mounted_app_leads_back_into_its_mount(
    backend: ShopBackend, make_app: MakeApp, wanted: dict[str, str], target: str
) -> None:
    browser = _mounted(_pages(make_app(backend)), "/shop")
    response = browser.submit("/api/auth/login", CREDENTIALS | wanted)
    assert (response.status_code, response.headers["Location"]) == (303, target)
    assert set_cookies(response)[USER].attributes["Path"] == "/"
    assert browser.visit("/account").text == ADA
    assert browser.submit("/api/auth/logout").headers["Location"] == "/shop/"


# B1.6, B2.7
def test_a_mounted_login_that_fails_comes_back_within_the_mount(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    browser = _mounted(make_app(backend), "/shop")
    form = {"email": ADA, "password": "wrong", "next": "/shop/account"}
    assert where_to(browser.submit("/api/auth/login", form)) == ("/shop/login", {"next": ["/shop/account"]})


# B1.6
def test_patterns_see_the_path_below_the_mount(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, protected_routes=("/members",), auth_routes=("/login",), after_login_url="/home")
    app.add_url_rule("/members", view_func=lambda: "in", endpoint="members")
    app.add_url_rule("/login", view_func=lambda: "form", endpoint="login")
    browser = _mounted(app, "/shop")
    assert_problem(browser.fetch("/members"), 401, "login_required")
    browser.log_in()
    assert browser.visit("/login").headers["Location"] == "/shop/home"
