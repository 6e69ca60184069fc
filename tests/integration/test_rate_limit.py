"""Rate limits over whole requests: whom a request counts for, what counts, and how that is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from flask import Flask, get_flashed_messages, request
from flask.views import MethodView, View
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from flask_api_layer import (
    ConfigError,
    RateLimited,
    api,
    current_user,
    guest_allowed,
    login_required,
    public,
    rate_limit,
)
from flask_api_layer.signals import rate_limited
from tests.processes import ShopBackend
from tests.raw_server import Peer, RawServer
from tests.stores.servers import RedisServer

from .visitors import (
    ADA,
    ADMIN,
    CREDENTIALS,
    GUEST,
    NAVIGATION,
    PASSWORD,
    SCRIPT,
    USER,
    Browser,
    MakeApp,
    StartBackend,
    StubBackend,
    assert_private,
    assert_problem,
    grant,
    heard,
    layered,
    plain,
    set_cookies,
    where_to,
)

# A window so long that no test meets its border.
FIVE = "5/day"
DAY = 86_400
REFUSED = (401, {"success": False, "message": "Wrong e-mail or password."})
NEVER = "http://127.0.0.1:9/v1"
FIELDS = ("RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def _shop(app: Flask) -> Flask:
    """Views of every kind; none of them asks the backend but the gated ones."""
    app.add_url_rule("/", view_func=lambda: "page", endpoint="index", methods=["GET", "POST"])
    app.add_url_rule("/other", view_func=lambda: "other", endpoint="other")
    app.add_url_rule("/public", view_func=public(lambda: "public"), endpoint="public")
    app.add_url_rule("/cart", view_func=guest_allowed(lambda: current_user.kind), endpoint="cart")
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user["email"])), endpoint="in")
    app.add_url_rule("/login", view_func=lambda: str(get_flashed_messages()), endpoint="login")
    app.static_folder = str(Path(__file__).parent)
    return app


def _ask(
    app: Flask,
    path: str = "/",
    *,
    address: str | None = "192.0.2.1",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    json: Any = None,
    data: Any = None,
) -> TestResponse:
    """Ask without cookies, from an address."""
    return app.test_client().open(
        path,
        method=method,
        headers=headers,
        json=json,
        data=data,
        base_url="https://localhost",
        environ_overrides={"REMOTE_ADDR": address},
    )


def _admitted(ask: Callable[[], TestResponse], *, tries: int = 8) -> int:
    """How many of the requests were not refused; nothing but 429 refuses them, and once one is, all the others are."""
    found = []
    for _ in range(tries):
        with ask() as response:
            assert response.status_code < 500
            found.append(response.status_code != 429)
    assert found == sorted(found, reverse=True)
    return sum(found)


def _left(response: TestResponse) -> int:
    return int(response.headers["X-RateLimit-Remaining"])


def _noting(runs: list[int]) -> Callable[[], str]:
    """A view that notes each run."""

    def view() -> str:
        runs.append(1)
        return "ran"

    return view


def _log_in(app: Flask, **fields: str) -> Callable[..., TestResponse]:
    """An attempt at a login, by default with a wrong password."""
    return partial(_ask, app, "/api/auth/login", method="POST", json={"password": "wrong"} | fields)


def _anonymous(make_app: MakeApp, limit: str | None = FIVE, **settings: Any) -> Flask:
    """A shop whose backend is never asked."""
    return _shop(make_app(NEVER, rate_limit=limit, **settings))


# Whom it counts for


# B10.1
def test_a_user_has_one_limit_in_all_browsers(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, rate_limit="6/day"))
    here, there, admin = plain(app), plain(app), plain(app)
    here.log_in()
    there.log_in()
    admin.log_in(ADMIN)
    found = [_left(browser.visit("/")) for browser in (here, there, here, there)]
    assert found == [5, 4, 3, 2]
    assert _left(admin.visit("/")) == 5
    assert backend.calls() == {"POST auth/login": 3}


# B10.1
def test_two_guests_behind_one_address_are_counted_apart(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, rate_limit="4/day", guest_enabled=True))
    one, two = plain(app), plain(app)
    assert [browser.visit("/cart").text for browser in (one, two)] == ["guest"] * 2
    assert [_left(browser.visit("/cart")) for browser in (one, one, two, one, two)] == [3, 2, 3, 1, 2]


# B10.1
def test_visitors_are_counted_by_their_address(make_app: MakeApp) -> None:
    app = _anonymous(make_app)
    assert _admitted(partial(_ask, app)) == 5
    assert _admitted(partial(_ask, app, address="192.0.2.2")) == 5


# B10.1
@pytest.mark.parametrize(
    ("addresses", "admitted"),
    [
        ([f"2001:db8:1:2:{n:x}::{n:x}" for n in range(1, 9)], 5),
        ([f"2001:db8:1:{n:x}::1" for n in range(1, 9)], 8),
        (["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"] * 3, 5),
        ([f"192.0.2.{n}" for n in range(1, 9)], 8),
        ([None, ""] * 4, 5),
        (["no address:\n0"] * 8, 5),
    ],
    ids=["one /64", "many /64", "IPv4 in IPv6", "IPv4", "none", "nonsense"],
)
def test_addresses_are_grouped(make_app: MakeApp, addresses: list[str | None], admitted: int) -> None:
    app = _anonymous(make_app)
    found = [_ask(app, address=address).status_code for address in addresses]
    assert found == [200] * admitted + [429] * (len(addresses) - admitted)


# B10.1, R1, CORPUS 2
@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "Forwarded", "Client-IP"]
)
def test_a_forged_address_is_not_believed(make_app: MakeApp, name: str) -> None:
    app = _anonymous(make_app, "20/day")
    found = [_ask(app, headers={name: f"for=198.51.100.{n}, 203.0.113.{n}"}).status_code for n in range(200)]
    assert found == [200] * 20 + [429] * 180


# B3.5, B10.1
@pytest.mark.parametrize("name", [USER, GUEST])
def test_cookies_that_cannot_be_opened_give_no_limit_of_their_own(make_app: MakeApp, name: str) -> None:
    app = _anonymous(make_app)
    browsers = [Browser(app, cookies={name: f"garbage-{n}"}) for n in range(7)]
    assert [browser.visit("/").status_code for browser in browsers] == [200] * 5 + [429] * 2


# B10.1
def test_nobody_is_asked_to_count(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, rate_limit=FIVE, validate_ttl=0, guest_enabled=True))
    browser = plain(app)
    browser.log_in()
    assert _admitted(partial(browser.visit, "/")) == 5
    assert backend.calls() == {"POST auth/login": 1}


# What counts


# B10.1
def test_a_view_that_is_gated_twice_counts_once(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, rate_limit=FIVE, protected_routes=("/account",)))
    browser = plain(app)
    browser.log_in()
    assert [_left(browser.visit("/account")) for _ in range(3)] == [4, 3, 2]


# B10.1
def test_a_redirect_to_the_login_counts_once(make_app: MakeApp) -> None:
    browser = plain(_anonymous(make_app))
    response = browser.visit("/account")
    assert (response.status_code, _left(response)) == (302, 4)
    assert _left(browser.visit(response.headers["Location"])) == 3


# B10.1, B7.7
def test_a_call_that_is_repeated_after_a_refresh_counts_once(
    start_backend: StartBackend, make_app: MakeApp
) -> None:
    backend = start_backend()
    browser = plain(make_app(backend, rate_limit=FIVE, proxy_routes={"**": "*"}))
    browser.log_in()
    backend.fault("whoami", status=401, times=1)
    response = browser.fetch("/api/whoami")
    assert (response.status_code, _left(response)) == (200, 4)
    assert backend.calls() == {"POST auth/login": 1, "GET whoami": 2, "POST auth/refresh": 1}


# B10.1
def test_calls_inside_a_view_are_not_counted(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, rate_limit=FIVE)
    app.add_url_rule(
        "/list", view_func=lambda: str([api.get("products", auth=False).ok for _ in range(7)]), endpoint="all"
    )
    assert _left(plain(app).visit("/list")) == 4
    assert backend.calls() == {"GET products": 7}


# B10.1, R6
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/public", 200),
        ("/missing", 404),
        ("/api/auth/me", 401),
        ("/api/nothing", 404),
        ("/api/a%2e%2e/../b", 400),
        ("/api/products", 200),
    ],
)
def test_every_answer_says_what_is_left(
    backend: ShopBackend, make_app: MakeApp, path: str, status: int
) -> None:
    app = _shop(
        make_app(backend, rate_limit=FIVE, proxy_routes={"products": ["GET"]}, proxy_public=("products",))
    )
    response = _ask(app, path)
    assert (response.status_code, _left(response)) == (status, 4)
    assert all(len(response.headers.getlist(name)) == 1 for name in FIELDS)


# B10.1
@pytest.mark.parametrize("path", ["/hooks/in", "/health", "/static/test_rate_limit.py", "/api/open/x"])
def test_exempt_and_excluded_paths_and_static_files_are_not_counted(make_app: MakeApp, path: str) -> None:
    app = _anonymous(
        make_app, excluded_routes=("/hooks", "/api/open"), rate_limit_exempt=("/health", "/health/**")
    )
    app.add_url_rule("/hooks/in", view_func=lambda: "in", endpoint="hook", methods=["POST", "GET"])
    app.add_url_rule("/health", view_func=lambda: "well", endpoint="health")
    with _ask(app, path) as response:
        assert not [name for name in FIELDS if name in response.headers]
    assert _admitted(partial(_ask, app, path)) == 8
    assert _left(_ask(app)) == 4


# B10.1, R3
@pytest.mark.parametrize("path", ["/healthy", "/HEALTH", "/a/health", "/health/deep/er", "/health%2f..%2fx"])
def test_an_exemption_ends_at_its_segments(make_app: MakeApp, path: str) -> None:
    app = _anonymous(make_app, rate_limit_exempt=("/health/*",))
    expected = 8 if path == "/health/deep/er" else 5
    assert _admitted(partial(_ask, app, path)) == expected


# B10.2, R2
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Purpose": "Prefetch"},
        {"X-Moz": "prefetch"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_prefetch_leaves_the_visitors_limit_alone(
    make_app: MakeApp, headers: dict[str, str], method: str
) -> None:
    app = _anonymous(make_app)
    for _ in range(5):
        assert _ask(app, headers=headers, method=method).status_code == 200
    assert _left(_ask(app)) == 4


# B10.2, R2
@pytest.mark.parametrize("purpose", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"])
def test_whoever_claims_to_prefetch_is_limited_all_the_same(make_app: MakeApp, purpose: str) -> None:
    app = _anonymous(make_app)
    assert _admitted(partial(_ask, app, headers={purpose: "prefetch"}), tries=20) == 5


# B10.2, R2
def test_whoever_claims_to_prefetch_is_limited_on_a_view_too(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    app.add_url_rule("/search", view_func=rate_limit(FIVE)(lambda: "found"), endpoint="search")
    prefetch = partial(_ask, app, "/search", headers={"Purpose": "prefetch"})
    assert _admitted(prefetch, tries=20) == 5
    assert _left(_ask(app, "/search")) == 4


# B10.2
@pytest.mark.parametrize("purpose", ["preview", "prefetching", "no-prefetch", "", "prefetch=1"])
def test_other_purposes_count(make_app: MakeApp, purpose: str) -> None:
    app = _anonymous(make_app)
    assert _left(_ask(app, headers={"Sec-Purpose": purpose})) == 4
    assert _left(_ask(app)) == 3


# B10.2
def test_a_post_that_claims_to_prefetch_counts(make_app: MakeApp) -> None:
    app = _anonymous(make_app)
    assert _admitted(partial(_ask, app, method="POST", headers={"Purpose": "prefetch"})) == 5
    assert _ask(app).status_code == 429


# How it is said


# B10.2
def test_the_fields_name_each_limit(make_app: MakeApp) -> None:
    response = _ask(_anonymous(make_app, "3/hour;5/day"))
    assert response.headers["RateLimit-Policy"] == '"default-3600";q=3;w=3600, "default-86400";q=5;w=86400'
    assert re.fullmatch(
        r'"default-3600";r=2;t=[1-9]\d*, "default-86400";r=4;t=[1-9]\d*', response.headers["RateLimit"]
    )
    # Those of the limit that is nearest.
    assert (response.headers["X-RateLimit-Limit"], _left(response)) == ("3", 2)
    assert int(response.headers["X-RateLimit-Reset"]) > 1_700_000_000


# B10.2
def test_without_a_limit_there_are_no_fields(make_app: MakeApp) -> None:
    response = _ask(_anonymous(make_app, None))
    assert not [name for name in FIELDS if name in response.headers]


# B10.2, B1.1
@pytest.mark.parametrize("path", ["/", "/account", "/missing", "/api/auth/me", "/api/products", "/api/.."])
def test_a_script_over_the_limit_gets_a_problem(make_app: MakeApp, path: str) -> None:
    app = _anonymous(make_app, proxy_routes={"products": ["GET"]})
    assert _admitted(partial(_ask, app)) == 5
    response = _ask(app, path, headers=SCRIPT)
    body = assert_problem(response, 429, "rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= DAY
    assert response.headers["RateLimit"].startswith('"default-86400";r=0;t=')
    assert (response.headers["X-RateLimit-Limit"], _left(response)) == ("5", 0)
    assert "192.0.2.1" not in str(body)


# B10.2, B1.4
def test_a_page_over_the_limit_is_a_page(make_app: MakeApp) -> None:
    app = _anonymous(make_app)
    assert _admitted(partial(_ask, app)) == 5
    response = _ask(app, "/account", headers=NAVIGATION)
    assert (response.status_code, response.mimetype) == (429, "text/html")
    assert "Location" not in response.headers
    assert response.headers["Retry-After"]
    assert _left(response) == 0


# B1.5, B10.2
def test_a_refusal_is_kept_by_no_cache_and_sets_no_cookie(make_app: MakeApp) -> None:
    app = _anonymous(make_app)
    assert _admitted(partial(_ask, app)) == 5
    response = _ask(app)
    assert_private(response)
    assert set_cookies(response) == {}


# B10.2
def test_whoever_is_over_the_limit_reaches_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(make_app(backend, rate_limit="1/day", guest_enabled=True, proxy_routes={"**": "*"}))
    ran: list[int] = []
    app.add_url_rule("/run", view_func=guest_allowed(_noting(ran)), endpoint="run")
    assert _admitted(partial(_ask, app)) == 1
    paths = ["/run", "/cart", "/account", "/api/products", "/api/auth/me"]
    assert [_ask(app, path).status_code for path in paths] == [429] * 5
    assert _ask(app, "/api/auth/login", method="POST", json=CREDENTIALS).status_code == 429
    assert (ran, backend.calls()) == ([], {})


# B10.1
def test_a_refusal_is_told_to_subscribers(make_app: MakeApp) -> None:
    app = _anonymous(make_app, "1/day")
    with heard(rate_limited, app) as events:
        assert _admitted(partial(_ask, app), tries=3) == 1
    assert [(event["limit"], event["scope"]) for event in events] == [("1 per 1 day", "app")] * 2


# DESIGN 3 (denial)
@pytest.mark.parametrize("handled", [429, RateLimited, HTTPException])
def test_an_error_handler_of_the_app_answers_instead(make_app: MakeApp, handled: Any) -> None:
    app = _anonymous(make_app, "1/day")

    @app.errorhandler(handled)
    def answer(error: Any) -> tuple[str, int]:
        return f"slow down: {error.error_code} {error.retry_after is not None}", 429

    for path in ("/", "/api/auth/me"):
        assert _admitted(partial(_ask, app, path), tries=2) == (path == "/")
        response = _ask(app, path)
        assert response.text == "slow down: rate_limited True"
        assert _left(response) == 0


# DESIGN 3 (denial)
def test_on_denied_may_answer_instead() -> None:
    with layered(NEVER, rate_limit="1/day") as (app, layer):
        layer.on_denied(lambda error: (f"{error.error_code}!", 429))
        _shop(app)
        assert _admitted(partial(_ask, app), tries=2) == 1
        response = _ask(app)
    assert response.text == "rate_limited!"
    assert _left(response) == 0


class _Upstream(NamedTuple):
    server: RawServer
    app: Flask


_OF_BACKEND = (
    b'RateLimit-Policy: "burst";q=100;w=60',
    b'RateLimit-Policy: "daily";q=1000;w=86400',
    b'RateLimit: "burst";r=77;t=30',
    b"X-RateLimit-Limit: 100",
    b"X-RateLimit-Remaining: 77",
    b"X-RateLimit-Reset: 30",
    b"X-RateLimit-Used: 23",
)


def _upstream(make_app: MakeApp, **settings: Any) -> Iterator[_Upstream]:
    def answer(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"{}", *_OF_BACKEND)

    with RawServer(answer) as server:
        yield _Upstream(
            server, make_app(server.url, proxy_routes={"**": "*"}, proxy_public=("**",), **settings)
        )


@pytest.fixture
def unlimited(make_app: MakeApp) -> Iterator[_Upstream]:
    yield from _upstream(make_app)


@pytest.fixture
def limited(make_app: MakeApp) -> Iterator[_Upstream]:
    yield from _upstream(make_app, rate_limit="1/day")


def _limit_fields(headers: Headers) -> list[str]:
    return sorted(f"{name}: {value}" for name, value in headers.items() if "ratelimit" in name.lower())


# B7.4
def test_the_backends_own_limits_come_through(unlimited: _Upstream) -> None:
    response = _ask(unlimited.app, "/api/things")
    assert _limit_fields(response.headers) == sorted(line.decode() for line in _OF_BACKEND)


# B10.2
def test_the_backends_own_limits_are_not_mixed_with_ours(limited: _Upstream) -> None:
    fields = _limit_fields(_ask(limited.app, "/api/things").headers)
    assert {field.partition(": ")[0] for field in fields} == set(FIELDS)
    assert len(fields) == len(FIELDS)
    assert "X-RateLimit-Remaining: 0" in fields
    assert not [field for field in fields if "burst" in field or "daily" in field]


# B10.2
def test_a_proxied_call_over_the_limit_is_not_sent(limited: _Upstream) -> None:
    assert _admitted(partial(_ask, limited.app, "/api/things"), tries=3) == 1
    assert len(limited.server.heads) == 1


# @rate_limit


def _function() -> str:
    return "found"


async def _coroutine() -> str:
    return "found"


class _Class(View):
    def dispatch_request(self) -> str:
        return "found"


class _Methods(MethodView):
    def get(self) -> str:
        return "found"

    def post(self) -> str:
        return "made"


def _below(app: Flask) -> None:
    @app.get("/search")
    @rate_limit(FIVE)
    def search() -> str:
        return "found"


def _above(app: Flask) -> None:
    @rate_limit(FIVE)
    @app.get("/search")
    def search() -> str:
        return "found"


def _above_a_gate(app: Flask) -> None:
    @app.get("/search")
    @rate_limit(FIVE)
    @guest_allowed
    def search() -> str:
        return "found"


def _below_a_gate(app: Flask) -> None:
    @app.get("/search")
    @guest_allowed
    @rate_limit(FIVE)
    def search() -> str:
        return "found"


def _on_a_coroutine(app: Flask) -> None:
    app.add_url_rule("/search", view_func=rate_limit(FIVE)(_coroutine), endpoint="search")


def _on_a_class(app: Flask) -> None:
    app.add_url_rule("/search", view_func=rate_limit(FIVE)(_Class).as_view("search"))


def _on_a_base_class(app: Flask) -> None:
    @rate_limit(FIVE)
    class Base(View):
        pass

    class Search(Base):
        def dispatch_request(self) -> str:
            return "found"

    app.add_url_rule("/search", view_func=Search.as_view("search"))


def _in_the_decorators(app: Flask) -> None:
    class Search(_Class):
        decorators: ClassVar[list[Callable[..., Any]]] = [rate_limit(FIVE)]

    app.add_url_rule("/search", view_func=Search.as_view("search"))


def _on_a_method(app: Flask) -> None:
    class Search(_Methods):
        @rate_limit(FIVE)
        def get(self) -> str:
            return "found"

    app.add_url_rule("/search", view_func=Search.as_view("search"))


# B10.1
@pytest.mark.parametrize(
    "add",
    [
        *(_below, _above, _above_a_gate, _below_a_gate, _on_a_coroutine),
        *(_on_a_class, _on_a_base_class, _in_the_decorators, _on_a_method),
    ],
)
def test_a_view_may_have_a_limit_of_its_own(make_app: MakeApp, add: Callable[[Flask], None]) -> None:
    app = _anonymous(make_app, None)
    add(app)
    assert _left(_ask(app, "/search")) == 4
    assert _admitted(partial(_ask, app, "/search")) == 4
    assert_problem(_ask(app, "/search", headers=SCRIPT), 429, "rate_limited")
    assert not [name for name in FIELDS if name in _ask(app).headers]


# B10.1
def test_a_refused_view_does_not_run(make_app: MakeApp) -> None:
    app, ran = _anonymous(make_app, None), list[int]()
    app.add_url_rule("/search", view_func=rate_limit(FIVE)(_noting(ran)), endpoint="search")
    assert _admitted(partial(_ask, app, "/search")) == 5
    assert len(ran) == 5


# B10.1
def test_the_limit_of_a_method_leaves_the_others_alone(make_app: MakeApp) -> None:
    class Orders(_Methods):
        @rate_limit(FIVE)
        def post(self) -> str:
            return "made"

    app = _anonymous(make_app, None)
    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    assert _admitted(partial(_ask, app, "/orders")) == 8
    assert _admitted(partial(_ask, app, "/orders", method="POST")) == 5


# B10.1
def test_equal_limits_of_two_methods_are_counted_apart(make_app: MakeApp) -> None:
    class Orders(_Methods):
        @rate_limit(FIVE)
        def get(self) -> str:
            return "found"

        @rate_limit(FIVE)
        def post(self) -> str:
            return "made"

    app = _anonymous(make_app, None)
    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    assert _admitted(partial(_ask, app, "/orders")) == 5
    assert _admitted(partial(_ask, app, "/orders", method="POST")) == 5


# B10.1
def test_the_limit_of_a_class_covers_its_methods_together(make_app: MakeApp) -> None:
    @rate_limit(FIVE)
    class Orders(_Methods):
        pass

    app = _anonymous(make_app, None)
    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    assert _admitted(partial(_ask, app, "/orders"), tries=3) == 3
    assert _admitted(partial(_ask, app, "/orders", method="POST")) == 2


# B10.1
def test_a_view_counts_beside_the_app(make_app: MakeApp) -> None:
    app = _anonymous(make_app, "9/day")
    app.add_url_rule("/search", view_func=rate_limit(FIVE)(_function), endpoint="search")
    response = _ask(app, "/search")
    assert response.headers["RateLimit-Policy"] == '"default-86400";q=9;w=86400, "view-86400";q=5;w=86400'
    assert re.match('"default-86400";r=8;.*"view-86400";r=4;', response.headers["RateLimit"])
    assert (response.headers["X-RateLimit-Limit"], _left(response)) == ("5", 4)
    assert _admitted(partial(_ask, app, "/search"), tries=6) == 4
    # What the view refused counted for the app all the same: it was asked.
    assert 0 <= _left(_ask(app)) <= 3


# B10.1
def test_several_limits_of_a_view_all_count(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    view = rate_limit("3/hour", name="short")(
        rate_limit("5/day;9/month", name='long "one"')(_named("search"))
    )
    app.add_url_rule("/search", view_func=view, endpoint="search")
    response = _ask(app, "/search")
    assert {item.partition(";")[0] for item in response.headers["RateLimit-Policy"].split(", ")} == {
        *('"short-3600"', r'"long \"one\"-86400"', r'"long \"one\"-2592000"')
    }
    assert _admitted(partial(_ask, app, "/search")) == 2


def _named(text: str) -> Callable[[], str]:
    return lambda: text


# B10.1
def test_equal_limits_with_different_names_count_each_request_once(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    view = rate_limit(FIVE, name="one")(rate_limit(FIVE, name="two")(_named("search")))
    app.add_url_rule("/search", view_func=view, endpoint="search")
    assert _admitted(partial(_ask, app, "/search")) == 5


# B10.1
def test_limits_that_count_for_the_same_client_count_each_request_once(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    view = rate_limit(FIVE, key=lambda: request.args.get("q"))(rate_limit(FIVE)(_named("search")))
    app.add_url_rule("/search", view_func=view, endpoint="search")
    assert _admitted(partial(_ask, app, "/search")) == 5


# B10.1
def test_equal_limits_of_two_views_are_counted_apart(make_app: MakeApp) -> None:
    app, limit = _anonymous(make_app, None), rate_limit(FIVE)
    for name in ("one", "two"):
        app.add_url_rule(f"/{name}", view_func=limit(_named(name)), endpoint=name)
    assert [_admitted(partial(_ask, app, path)) for path in ("/one", "/two")] == [5, 5]


# B10.1
def test_a_key_of_its_own_decides_whom_a_view_counts_for(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    view = rate_limit(FIVE, key=lambda: request.args.get("q"))(_named("search"))
    app.add_url_rule("/search", view_func=view, endpoint="search")
    addresses = [f"192.0.2.{n}" for n in range(7)]
    found = [_ask(app, "/search?q=tea", address=address).status_code for address in addresses]
    assert found == [200] * 5 + [429] * 2
    assert _left(_ask(app, "/search?q=cake", address=addresses[0])) == 4
    # Without a key it is the address again.
    assert [_left(_ask(app, path, address="192.0.2.9")) for path in ("/search", "/search?q=")] == [4, 3]


# B10.1
def test_the_layers_key_decides_whom_every_request_counts_for() -> None:
    with layered(NEVER, rate_limit=FIVE) as (app, layer):

        @layer.rate_limit_key
        def tenant() -> str | None:
            return request.headers.get("X-Tenant")

        assert tenant.__name__ == "tenant"
        app.register_blueprint(layer.blueprint)
        _shop(app)
        asks = [partial(_ask, app, headers={"X-Tenant": name}) for name in ("one:*", "two")]
        assert [_left(ask(address=f"192.0.2.{n}")) for n, ask in enumerate(asks * 3)] == [4, 4, 3, 3, 2, 2]
        assert _left(_ask(app, "/api/auth/me", headers={"X-Tenant": "two"})) == 1
        assert _left(_ask(app)) == 4


# B10.1
def test_a_key_cannot_be_mistaken_for_an_address(make_app: MakeApp) -> None:
    app = _anonymous(make_app, None)
    view = rate_limit(FIVE, key=lambda: request.args.get("q"))(_named("search"))
    app.add_url_rule("/search", view_func=view, endpoint="search")
    for key in ("192.0.2.1", "address 192.0.2.1"):
        assert _admitted(partial(_ask, app, f"/search?q={key}", address="192.0.2.7")) == 5
    assert _left(_ask(app, "/search")) == 4


# B10.1
@pytest.mark.parametrize("limit", ["", "five a day", "5", "0/day", "-1/day", 5])
def test_a_limit_that_cannot_be_is_an_error_at_once(limit: Any) -> None:
    with pytest.raises(ConfigError, match="rate_limit"):
        rate_limit(limit)


# Logins


# B10.1
def test_logins_are_limited_without_being_asked_to(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/login": REFUSED}) as stub:
        response = _log_in(make_app(stub.url), email=ADA)()
    assert response.status_code == 401
    assert response.headers["RateLimit-Policy"] == '"login-60";q=10;w=60'


@pytest.fixture
def refusing() -> Iterator[StubBackend]:
    """A backend that knows nobody."""
    with StubBackend({"POST auth/login": REFUSED, "POST auth/register": REFUSED}) as stub:
        yield stub


@pytest.fixture
def gate(make_app: MakeApp, refusing: StubBackend) -> Flask:
    """An app in front of it with ten logins a day."""
    return _shop(make_app(refusing.url, login_rate_limit="10/day"))


# B10.1, CORPUS 8
def test_one_account_from_many_addresses_is_limited(gate: Flask, refusing: StubBackend) -> None:
    answers = [_log_in(gate, email=ADA)(address=f"192.0.2.{n}") for n in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert_problem(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert len(refusing.calls) == 10
    assert _log_in(gate, email=ADMIN)(address="192.0.2.50").status_code == 401


# B10.1, CORPUS 8
def test_many_accounts_from_one_address_are_limited(gate: Flask, refusing: StubBackend) -> None:
    answers = [_log_in(gate, email=f"user-{n}@example.com")() for n in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert len(refusing.calls) == 10
    assert _log_in(gate, email="user-11@example.com")(address="192.0.2.2").status_code == 401


# B10.1
def test_logins_from_one_ipv6_network_are_limited(gate: Flask, refusing: StubBackend) -> None:
    found = [
        _log_in(gate, email=f"{n}@example.com")(address=f"2001:db8::{n:x}").status_code for n in range(12)
    ]
    assert found == [401] * 10 + [429] * 2


_SPELLINGS = [
    *("ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.com", " ada@example.com ", "ada@example.com\t"),
    "".join(chr(ord(letter) + 0xFEE0) for letter in "ada@example.com"),
    "a\u200bda@example.com",
    "ada@example.com\u00a0",
    "\u00e1da@example.com",
    "a\u0301da@example.com",
]


# B10.1
def test_the_spellings_of_an_account_count_together(gate: Flask, refusing: StubBackend) -> None:
    assert len(set(_SPELLINGS)) == 10
    found = [
        _log_in(gate, email=spelling)(address=f"192.0.2.{n}").status_code
        for n, spelling in enumerate(_SPELLINGS)
    ]
    assert found == [401] * 10
    assert _log_in(gate, email=ADA)(address="192.0.2.99").status_code == 429
    # The backend gets each as it was written.
    assert [call.json["email"] for call in refusing.calls] == _SPELLINGS


# B10.1
def test_an_account_is_the_same_in_a_form_and_in_another_field(gate: Flask, refusing: StubBackend) -> None:
    form = partial(_ask, gate, "/api/auth/login", method="POST", headers=SCRIPT)
    for n in range(10):
        name = ("email", "username", "login", "E-Mail")[n % 4]
        assert form(data={name: ADA, "password": "x"}, address=f"192.0.2.{n}").status_code == 401
    assert _log_in(gate, email=ADA)(address="192.0.2.99").status_code == 429


# B10.1
def test_whoever_is_refused_for_the_address_locks_nobody_out(gate: Flask, refusing: StubBackend) -> None:
    for _ in range(10):
        _log_in(gate, email="mallory@example.com")()
    assert [_log_in(gate, email=ADA)().status_code for _ in range(30)] == [429] * 30
    assert len(refusing.calls) == 10
    assert _log_in(gate, email=ADA)(address="192.0.2.2").status_code == 401


# B10.1
def test_a_stranger_does_not_see_how_often_an_account_was_tried(gate: Flask, refusing: StubBackend) -> None:
    for n in range(3):
        _log_in(gate, email=ADA)(address=f"192.0.2.{n}")
    response = _log_in(gate, email=ADA)(address="192.0.2.99")
    assert response.headers["RateLimit-Policy"] == '"login-86400";q=10;w=86400'
    assert _left(response) == 9


# B10.1
def test_right_passwords_count_too(make_app: MakeApp) -> None:
    with StubBackend({"POST auth/login": grant(user={"id": 7})}) as stub:
        app = make_app(stub.url, login_rate_limit="3/day")
        found = [_log_in(app, email=ADA)(address=f"192.0.2.{n}").status_code for n in range(5)]
    assert found == [200] * 3 + [429] * 2


# B10.1, B2.6
def test_what_is_not_sent_to_the_backend_is_no_attempt(gate: Flask, refusing: StubBackend) -> None:
    broken = partial(
        _ask, gate, "/api/auth/login", method="POST", headers={"Content-Type": "application/json"}
    )
    assert [broken(data=b'{"email": NaN}').status_code for _ in range(12)] == [400] * 12
    assert _left(_log_in(gate, email=ADA)()) == 9


# B10.1
def test_pages_and_registrations_are_no_logins(gate: Flask, refusing: StubBackend) -> None:
    register = partial(_ask, gate, "/api/auth/register", method="POST", json=CREDENTIALS)
    assert _admitted(partial(_ask, gate, "/login"), tries=12) == 12
    assert _admitted(register, tries=12) == 12
    assert _left(_log_in(gate, email=ADA)()) == 9


# B2, B2.7, B10.2
def test_a_form_over_the_limit_leads_back_with_a_message(gate: Flask, refusing: StubBackend) -> None:
    for _ in range(10):
        _log_in(gate, email=ADA)(address="127.0.0.1")
    browser = plain(gate)
    response = browser.submit("/api/auth/login", {"email": ADA, "password": PASSWORD, "next": "/cart"})
    assert response.status_code == 303
    assert where_to(response) == ("/login", {"next": ["/cart"]})
    assert set_cookies(response) == {}
    assert len(refusing.calls) == 10
    assert "try again" in browser.visit("/login").text.lower()


# B10.1
def test_the_login_limit_can_be_turned_off(make_app: MakeApp, refusing: StubBackend) -> None:
    app = make_app(refusing.url, login_rate_limit=None)
    assert _admitted(_log_in(app, email=ADA), tries=15) == 15
    assert len(refusing.calls) == 15


# Where it is counted


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


# B10.2
def test_apps_with_one_redis_share_their_counts(make_app: MakeApp, redis_server: RedisServer) -> None:
    apps = [_anonymous(make_app, store_url=redis_server.url) for _ in range(2)]
    assert [_left(_ask(app)) for app in apps * 2] == [4, 3, 2, 1]
    assert _admitted(partial(_ask, apps[0])) == 1
    response = _ask(apps[1])
    assert (response.status_code, _left(response)) == (429, 0)
    assert 1 <= int(response.headers["Retry-After"]) <= DAY


# B10.2
def test_logins_are_counted_together_too(
    make_app: MakeApp, refusing: StubBackend, redis_server: RedisServer
) -> None:
    apps = [make_app(refusing.url, login_rate_limit="4/day", store_url=redis_server.url) for _ in range(2)]
    found = [_log_in(app, email=ADA)(address=f"192.0.2.{n}").status_code for n, app in enumerate(apps * 3)]
    assert found == [401] * 4 + [429] * 2


# B10.2
def test_what_stands_in_redis_names_nobody(
    make_app: MakeApp, refusing: StubBackend, redis_server: RedisServer
) -> None:
    app = make_app(refusing.url, store_url=redis_server.url, rate_limit=FIVE)
    _log_in(app, email=ADA)()
    with redis_server.client() as client:
        lives = {str(key): client.ttl(key) for key in client.scan_iter()}
    assert len(lives) == 3
    assert min(lives.values()) > 0
    assert not [key for key in lives if "ada" in key or "192.0.2" in key]


# B10.2, CORPUS 8
@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_without_redis_there_is_still_a_limit(
    make_app: MakeApp, redis_server: RedisServer, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = _anonymous(make_app, store_url=redis_server.url)
    assert _left(_ask(app)) == 4
    getattr(redis_server, fault)()
    found = [_ask(app, headers=SCRIPT) for _ in range(9)]
    assert [response.status_code for response in found] == [200] * 5 + [429] * 4
    assert_problem(found[-1], 429, "rate_limited")
    assert "by itself" in caplog.text


# B10.2, B6.7
def test_without_redis_logins_go_on_and_are_limited(
    make_app: MakeApp, refusing: StubBackend, redis_server: RedisServer
) -> None:
    app = make_app(refusing.url, login_rate_limit="4/day", store_url=redis_server.url)
    assert _log_in(app, email=ADMIN)(address="192.0.2.77").status_code == 401
    redis_server.stop()
    found = [_log_in(app, email=ADA)(address=f"192.0.2.{n}").status_code for n in range(7)]
    assert found == [401] * 4 + [429] * 3
    assert len(refusing.calls) == 5


# B10.2
def test_a_redis_that_was_never_there_limits_and_serves(make_app: MakeApp, tmp_path: Path) -> None:
    app = _anonymous(make_app, store_url=f"unix://{tmp_path / 'nothing.sock'}")
    assert _admitted(partial(_ask, app)) == 5


# B10.1
def test_apps_without_redis_count_by_themselves(make_app: MakeApp, tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite:///{tmp_path / 'store.sqlite3'}"):
        apps = [_anonymous(make_app, store_url=url) for _ in range(2)]
        assert [_admitted(partial(_ask, app)) for app in apps] == [5, 5]


# Guests


# B5.2
def test_the_limit_on_new_guests_stands_beside_the_others(backend: ShopBackend, make_app: MakeApp) -> None:
    app = _shop(
        make_app(
            backend,
            rate_limit="9/day",
            guest_enabled=True,
            guest_mint_limit="2/day",
            proxy_routes={"**": "*"},
        )
    )
    visits = [_ask(app, "/cart", headers=NAVIGATION) for _ in range(4)]
    assert [(visit.status_code, visit.text) for visit in visits] == [
        *[(200, "guest")] * 2,
        *[(200, "anonymous")] * 2,
    ]
    # The page is no place to tell of it; a call is.
    assert [_left(visit) for visit in visits] == [8, 7, 6, 5]
    response = _ask(app, "/api/whoami", headers=SCRIPT)
    assert_problem(response, 429, "rate_limited")
    assert int(response.headers["Retry-After"]) >= 1
    assert set_cookies(response) == {}
    assert backend.calls() == {"POST auth/guest": 2}


# B5.2
def test_a_guest_who_is_there_is_not_limited_by_the_making_of_guests(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = _shop(make_app(backend, guest_enabled=True, guest_mint_limit="1/day"))
    browser = plain(app)
    assert [browser.visit("/cart").text for _ in range(4)] == ["guest"] * 4
    assert plain(app).visit("/cart").text == "anonymous"


# B10.1
def test_head_counts_as_the_get_that_answers_it(make_app: MakeApp) -> None:
    class Orders(MethodView):
        @rate_limit(FIVE)
        def get(self) -> str:
            return "found"

    app = _anonymous(make_app, None)
    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    assert _admitted(partial(_ask, app, "/orders", method="HEAD")) == 5


# R1: a new guest is one request away, so that together they have a limit as well
def test_guests_of_one_address_have_a_limit_together(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, rate_limit="2/hour", guest_enabled=True, guest_mint_limit=None)
    app.add_url_rule("/cart", "cart", guest_allowed(lambda: "cart"))
    statuses = []
    for number in range(30):
        browser = Browser(app)
        environ = {"REMOTE_ADDR": f"192.0.2.{number}"}
        browser.client.get("/cart", base_url="https://localhost", environ_overrides=environ)
        statuses.append(browser.visit("/cart").status_code)
    assert statuses[:20] == [200] * 20
    assert statuses[20:] == [429] * 10


# B1.5, B10.2: what is left to somebody is nobody else's
def test_what_is_left_to_an_identity_is_private(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, rate_limit="9/hour")
    app.add_url_rule("/open", "open", lambda: "open")
    browser = Browser(app)
    assert "Cache-Control" not in browser.visit("/open").headers
    browser.log_in()
    assert browser.visit("/open").headers["Cache-Control"] == "private, no-store"
