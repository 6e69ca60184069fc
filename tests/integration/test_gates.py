"""Who may enter: decorators, protected blueprints, patterns and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View
from werkzeug.test import TestResponse

from flask_api_layer import (
    Backend,
    ConfigError,
    Identity,
    api,
    current_user,
    guest_allowed,
    login_required,
    public,
)
from tests.processes import ShopBackend

from .visitors import (
    ADMIN,
    EDITOR,
    Answers,
    Browser,
    MakeApp,
    StubBackend,
    assert_problem,
    grant,
    is_private,
    layered,
    plain,
    record,
    set_cookies,
)

ANYONE, GUESTS, USERS = "anonymous", "guest", "user"


def _page() -> Callable[[], str]:
    """A new view that tells who is asking; a mark stays on its function."""
    return lambda: current_user.kind


def _add(app: Flask | Blueprint, path: str, view: Callable[..., Any], **options: Any) -> None:
    app.add_url_rule(path, endpoint=path.strip("/").replace("/", "_") or "home", view_func=view, **options)


def _logged_in(app: Flask, email: str | None = None) -> Browser:
    browser = plain(app)
    browser.log_in(*([email] if email else []))
    return browser


def _outcome(response: TestResponse) -> str:
    """The text of the page, or the code of the refusal."""
    return response.text if response.status_code == 200 else str(response.get_json(force=True)["code"])


# B4.2, B5.1
@pytest.mark.parametrize(
    ("path", "visitor", "guest", "ada", "editor", "admin"),
    [
        ("/open", ANYONE, GUESTS, USERS, USERS, USERS),
        ("/public", "ok", "ok", "ok", "ok", "ok"),
        ("/guests", GUESTS, GUESTS, USERS, USERS, USERS),
        ("/users", "login_required", "login_required", USERS, USERS, USERS),
        ("/staff", "login_required", "login_required", "access_denied", USERS, USERS),
        ("/admin", "login_required", "login_required", "access_denied", "access_denied", USERS),
    ],
)
def test_each_view_lets_in_whom_it_names(
    backend: ShopBackend,
    make_app: MakeApp,
    path: str,
    visitor: str,
    guest: str,
    ada: str,
    editor: str,
    admin: str,
) -> None:
    app = make_app(backend, guest_enabled=True)
    _add(app, "/open", _page())
    _add(app, "/public", public(lambda: "ok"))
    _add(app, "/guests", guest_allowed(_page()))
    _add(app, "/users", login_required(_page()))
    _add(app, "/staff", login_required("admin", "editor")(_page()))
    _add(app, "/admin", login_required("admin")(_page()))
    with_token = plain(app)
    with_token.post("/api/auth/guest")
    browsers = [plain(app), with_token, _logged_in(app), _logged_in(app, EDITOR), _logged_in(app, ADMIN)]
    outcomes = [_outcome(browser.fetch(path)) for browser in browsers]
    assert outcomes == [visitor, guest, ada, editor, admin]


# B4.2
def test_without_guests_a_guest_view_asks_for_a_login(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    _add(app, "/cart", guest_allowed(_page()))
    assert_problem(plain(app).fetch("/cart"), 401, "login_required")
    assert backend.calls() == {}
    assert _logged_in(app).fetch("/cart").text == USERS


def _ran(calls: list[str]) -> Callable[..., str]:
    def view() -> str:
        calls.append("ran")
        return "in"

    return view


def _ran_async(calls: list[str]) -> Callable[..., Any]:
    async def view() -> str:
        calls.append("ran")
        return "in"

    return view


# B4.2
@pytest.mark.parametrize("make_view", [_ran, _ran_async])
@pytest.mark.parametrize("is_above", [False, True])
@pytest.mark.parametrize("mark", [login_required, login_required("admin"), login_required()])
def test_the_gate_holds_above_and_below_the_route(
    backend: ShopBackend,
    make_app: MakeApp,
    make_view: Callable[[list[str]], Callable[..., Any]],
    is_above: bool,
    mark: Callable[..., Any],
) -> None:
    app, calls = make_app(backend), list[str]()
    view, route = make_view(calls), app.get("/gated")
    mark(route(view)) if is_above else route(mark(view))
    assert_problem(plain(app).fetch("/gated"), 401, "login_required")
    assert calls == []
    assert _logged_in(app, ADMIN).fetch("/gated").text == "in"
    assert calls == ["ran"]


# B4.2
def test_a_marked_view_keeps_its_name_and_its_arguments(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    @app.get("/orders/<int:number>")
    @login_required
    def order(number: int, *, flag: bool = False) -> str:
        """The order."""
        return f"{number} {flag}"

    assert (order.__name__, order.__doc__) == ("order", "The order.")
    assert "order" in app.view_functions
    assert _logged_in(app).fetch("/orders/7").text == "7 False"


# B4.2
def test_several_marks_add_up(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    _add(app, "/both", login_required("admin")(login_required("editor")(_page())))
    backend.change_user(ADMIN, roles=["admin"])
    assert_problem(_logged_in(app, ADMIN).fetch("/both"), 403, "access_denied")
    backend.change_user(ADMIN, roles=["admin", "editor"])
    try:
        assert _logged_in(app, ADMIN).fetch("/both").text == USERS
    finally:
        backend.change_user(ADMIN, roles=["admin"])


# B4.2
def test_a_marked_class_gates_all_its_methods(backend: ShopBackend, make_app: MakeApp) -> None:
    app, calls = make_app(backend), list[str]()

    @login_required
    class Account(MethodView):
        def get(self) -> str:
            calls.append("get")
            return "got"

        def post(self) -> str:
            calls.append("post")
            return "posted"

    app.add_url_rule("/account", view_func=Account.as_view("account"))
    for method in ("GET", "POST"):
        assert_problem(plain(app).fetch("/account", method=method), 401, "login_required")
    assert calls == []
    browser = _logged_in(app)
    assert (browser.fetch("/account").text, browser.post("/account").text) == ("got", "posted")


# B4.2
def test_a_class_may_list_the_mark_in_its_decorators(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    class Report(View):
        decorators = [login_required("admin")]  # noqa: RUF012

        def dispatch_request(self) -> str:
            return "report"

    app.add_url_rule("/report", view_func=Report.as_view("report"))
    assert_problem(plain(app).fetch("/report"), 401, "login_required")
    assert_problem(_logged_in(app).fetch("/report"), 403, "access_denied")
    assert _logged_in(app, ADMIN).fetch("/report").text == "report"


# B4.2
def test_a_marked_method_leaves_the_others_open(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    class Article(MethodView):
        def get(self) -> str:
            return "read"

        @login_required
        def put(self) -> str:
            return "written"

    app.add_url_rule("/article", view_func=Article.as_view("article"))
    assert plain(app).fetch("/article").text == "read"
    assert_problem(plain(app).fetch("/article", method="PUT"), 401, "login_required")
    assert _logged_in(app).fetch("/article", method="PUT").text == "written"


# B4.2
def test_a_methods_mark_adds_to_its_classes(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    @login_required
    class Article(MethodView):
        def get(self) -> str:
            return "read"

        @login_required("admin")
        def delete(self) -> str:
            return "gone"

    app.add_url_rule("/article", view_func=Article.as_view("article"))
    assert_problem(plain(app).fetch("/article"), 401, "login_required")
    assert_problem(plain(app).fetch("/article", method="DELETE"), 401, "login_required")
    ada, admin = _logged_in(app), _logged_in(app, ADMIN)
    assert ada.fetch("/article").text == "read"
    assert_problem(ada.fetch("/article", method="DELETE"), 403, "access_denied")
    assert admin.fetch("/article", method="DELETE").text == "gone"


# B4.2
def test_a_subclass_is_gated_like_its_base(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)

    @login_required
    class Base(MethodView):
        def get(self) -> str:
            return "base"

    class Derived(Base):
        def get(self) -> str:
            return "derived"

    app.add_url_rule("/derived", view_func=Derived.as_view("derived"))
    assert_problem(plain(app).fetch("/derived"), 401, "login_required")
    assert _logged_in(app).fetch("/derived").text == "derived"


# B4.2
def test_an_async_method_is_gated(backend: ShopBackend, make_app: MakeApp) -> None:
    app, calls = make_app(backend), list[str]()

    class Account(MethodView):
        @login_required
        async def get(self) -> str:
            calls.append("ran")
            return "in"

    app.add_url_rule("/account", view_func=Account.as_view("account"))
    assert_problem(plain(app).fetch("/account"), 401, "login_required")
    assert calls == []
    assert _logged_in(app).fetch("/account").text == "in"


# B4.2
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (public, login_required),
        (login_required, public),
        (public, guest_allowed),
        (login_required("a"), public),
    ],
)
def test_marks_that_contradict_are_a_start_up_error(
    one: Callable[..., Any], other: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="view_of_two_minds"):

        @one
        @other
        def view_of_two_minds() -> str:
            return "never"


# B4.2
def test_a_method_that_contradicts_its_class_is_a_start_up_error(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)

    def start() -> None:
        @login_required
        class Account(MethodView):
            @public
            def get(self) -> str:
                return "never"

        app.add_url_rule("/account", view_func=Account.as_view("account"))
        plain(app).fetch("/account")

    with pytest.raises(ConfigError):
        start()


# B4.2
def test_head_is_gated_like_get(backend: ShopBackend, make_app: MakeApp) -> None:
    app, calls = make_app(backend), list[str]()
    _add(app, "/gated", login_required(_ran(calls)))
    response = plain(app).fetch("/gated", method="HEAD")
    assert (response.status_code, response.data, calls) == (401, b"", [])


# B4.3
def test_a_mapper_may_find_the_roles_elsewhere() -> None:
    def in_groups(record: Mapping[str, Any]) -> Identity:
        return Identity(kind="user", id=record["id"], roles=tuple(record["groups"]), token_type="user")

    answers: Answers = {
        "POST auth/login": grant(user={"id": 7, "groups": ["admin"]}),
        "GET auth/me": record(groups=["admin"]),
    }
    with (
        StubBackend(answers) as stub,
        layered(stub.url, backend=Backend(identity_from=in_groups)) as (app, layer),
    ):
        app.register_blueprint(layer.blueprint)
        _add(app, "/admin", login_required("admin")(_page()))
        assert _logged_in(app).fetch("/admin").text == USERS


# B4.2
def test_the_gate_holds_when_a_view_calls_another(backend: ShopBackend, make_app: MakeApp) -> None:
    app, calls = make_app(backend), list[str]()
    inner = login_required("admin")(_ran(calls))
    _add(app, "/outer", lambda: inner())
    assert_problem(plain(app).fetch("/outer"), 401, "login_required")
    assert_problem(_logged_in(app).fetch("/outer"), 403, "access_denied")
    assert calls == []
    assert _logged_in(app, ADMIN).fetch("/outer").text == "in"


# B4.2
def test_a_guest_view_called_by_another_makes_a_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    inner = guest_allowed(_page())
    _add(app, "/outer", lambda: inner())
    assert plain(app).fetch("/outer").text == GUESTS
    assert backend.calls() == {"POST auth/guest": 1}


def _blueprint(name: str, **views: Callable[..., Any]) -> Blueprint:
    blueprint = Blueprint(name, name)
    for path, view in views.items():
        blueprint.add_url_rule(f"/{path}", endpoint=path, view_func=view)
    return blueprint


# B4.2
@pytest.mark.parametrize(
    ("roles", "options", "visitor", "ada", "admin"),
    [
        ((), {}, "login_required", USERS, USERS),
        (("admin",), {}, "login_required", "access_denied", USERS),
        ((), {"guests": True}, GUESTS, USERS, USERS),
        ((), {"public": True}, ANYONE, USERS, USERS),
    ],
)
def test_a_protected_blueprint_gates_its_views(
    backend: ShopBackend, roles: tuple[str, ...], options: dict[str, bool], visitor: str, ada: str, admin: str
) -> None:
    with layered(backend, guest_enabled=True) as (app, layer):
        app.register_blueprint(layer.blueprint)
        area = _blueprint("area", page=_page())
        layer.protect(area, *roles, **options)
        app.register_blueprint(area, url_prefix="/area")
        browsers = [plain(app), _logged_in(app), _logged_in(app, ADMIN)]
        assert [_outcome(browser.fetch("/area/page")) for browser in browsers] == [visitor, ada, admin]


# B4.5
def test_a_views_own_mark_counts_instead_of_its_blueprints(backend: ShopBackend) -> None:
    with layered(backend) as (app, layer):
        app.register_blueprint(layer.blueprint)
        area = _blueprint("area", free=public(lambda: "ok"), users=login_required(_page()), rest=_page())
        layer.protect(area, "admin")
        app.register_blueprint(area, url_prefix="/area")
        ada = _logged_in(app)
        assert plain(app).fetch("/area/free").text == "ok"
        assert ada.fetch("/area/users").text == USERS
        assert_problem(ada.fetch("/area/rest"), 403, "access_denied")


# B4.5
def test_the_nearest_protected_blueprint_counts(backend: ShopBackend) -> None:
    with layered(backend) as (app, layer):
        app.register_blueprint(layer.blueprint)
        parent, heir, own = (
            _blueprint("parent", page=_page()),
            _blueprint("heir", page=_page()),
            _blueprint("own", page=_page()),
        )
        layer.protect(parent, "admin")
        layer.protect(own, public=True)
        parent.register_blueprint(heir, url_prefix="/heir")
        heir.register_blueprint(own, url_prefix="/own")
        app.register_blueprint(parent, url_prefix="/parent")
        ada = _logged_in(app)
        assert_problem(ada.fetch("/parent/page"), 403, "access_denied")
        assert_problem(ada.fetch("/parent/heir/page"), 403, "access_denied")
        assert plain(app).fetch("/parent/heir/own/page").text == ANYONE


# B4.5
def test_a_blueprint_registered_twice_is_gated_twice(backend: ShopBackend) -> None:
    with layered(backend) as (app, layer):
        app.register_blueprint(layer.blueprint)
        area = _blueprint("area", page=_page())
        layer.protect(area)
        app.register_blueprint(area, url_prefix="/one")
        app.register_blueprint(area, url_prefix="/two", name="again")
        for path in ("/one/page", "/two/page"):
            assert_problem(plain(app).fetch(path), 401, "login_required")


# B4.5
def test_a_blueprint_beats_a_pattern(backend: ShopBackend) -> None:
    with layered(backend, public_routes=("/area",), protected_routes=("/free",)) as (app, layer):
        area, free = _blueprint("area", page=_page()), _blueprint("free", page=_page())
        layer.protect(area)
        layer.protect(free, public=True)
        app.register_blueprint(area, url_prefix="/area")
        app.register_blueprint(free, url_prefix="/free")
        assert_problem(plain(app).fetch("/area/page"), 401, "login_required")
        assert plain(app).fetch("/free/page").text == ANYONE


# B4.2
def test_flasks_own_options_answer_is_not_gated(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    _add(app, "/users", login_required(_page()), methods=["GET", "POST"])
    _add(app, "/cart", guest_allowed(_page()))
    for path in ("/users", "/cart"):
        response = plain(app).fetch(path, method="OPTIONS")
        assert response.status_code == 200
        assert {"GET", "OPTIONS"} <= set(response.headers["Allow"].split(", "))
        assert set_cookies(response) == {}
    assert backend.calls() == {}


# B4.2
def test_a_gated_view_that_answers_options_itself_runs_for_those_who_may_enter(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, calls = make_app(backend), list[str]()
    _add(app, "/own", login_required("admin")(_ran(calls)), methods=["GET", "OPTIONS"])
    for browser in (plain(app), _logged_in(app)):
        response = browser.fetch("/own", method="OPTIONS")
        assert (response.status_code, response.data) == (204, b"")
        assert {"GET", "OPTIONS"} <= set(response.headers["Allow"].split(", "))
    assert calls == []
    assert _logged_in(app, ADMIN).fetch("/own", method="OPTIONS").text == "in"


# B4.4, A11
@pytest.mark.parametrize(
    ("pattern", "path", "is_gated"),
    [
        ("/members", "/members", True),
        ("/members", "/members/", True),
        ("/members", "/members/a/b", True),
        ("/members", "/members-only", False),
        ("/members", "/membersabc/x", False),
        ("/members", "/Members", False),
        ("/members", "/x/members", False),
        ("/members", "/%6dembers", True),
        ("/members", "/members%2fa", True),
        ("/members", "/%256dembers", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", True),
        ("/a/*", "/a", False),
        ("/a/*/c", "/a/b/c", True),
        ("/a/*/c", "/a/b/b/c", False),
        ("/a/**", "/a", True),
        ("/a/**/c", "/a/c", True),
        ("/a/**/c", "/a/b/b/c", True),
        ("/a/**/c", "/a/b", False),
        ("/**", "/anything/at/all", True),
        ("/v1.0", "/v1x0", False),
        ("/long", f"/long/{2_000 * 'x'}", True),
        ("/long", f"/other/{2_000 * 'x'}", False),
    ],
)
def test_a_pattern_covers_its_path_and_what_lies_below(
    backend: ShopBackend, make_app: MakeApp, pattern: str, path: str, is_gated: bool
) -> None:
    app = make_app(backend, protected_routes=(pattern,))
    app.add_url_rule("/<path:path>", endpoint="any", view_func=lambda path: "in")
    app.url_map.merge_slashes = False
    response = plain(app).fetch(path)
    assert (response.status_code == 401) is is_gated
    assert (response.text == "in") is not is_gated


# B4.5
@pytest.mark.parametrize(
    ("path", "is_gated"),
    [
        ("/shop", True),
        ("/shop/free", False),
        ("/shop/free/x", False),
        ("/shop/free/but/gated", True),
        ("/shop/freeway", True),
        ("/tie", True),
        ("/other", False),
    ],
)
def test_the_longest_pattern_counts_and_a_tie_is_protected(
    backend: ShopBackend, make_app: MakeApp, path: str, is_gated: bool
) -> None:
    app = make_app(
        backend,
        protected_routes=("/shop", "/shop/free/but/gated", "/tie"),
        public_routes=("/shop/free", "/tie"),
    )
    app.add_url_rule("/<path:path>", endpoint="any", view_func=lambda path: "in")
    assert (plain(app).fetch(path).status_code == 401) is is_gated


# B4.5
def test_a_views_mark_beats_every_pattern(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, protected_routes=("/a",), public_routes=("/b",))
    _add(app, "/a/free", public(lambda: "ok"))
    _add(app, "/b/users", login_required(_page()))
    assert plain(app).fetch("/a/free").text == "ok"
    assert_problem(plain(app).fetch("/b/users"), 401, "login_required")


# B4.5
def test_everything_is_protected_by_default_but_what_must_be_open(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(
        backend,
        protected_by_default=True,
        public_routes=("/about",),
        login_url="/signin",
        proxy_routes={"products": ["GET"]},
        proxy_public=("products",),
    )
    app.static_folder = __file__.rpartition("/")[0]
    for path in ("/", "/page", "/about/us", "/signin"):
        _add(app, path, _page())
    _add(app, "/free", public(lambda: "ok"))
    _add(app, "/cart", guest_allowed(_page()))
    visitor = plain(app)
    for path in ("/", "/page", "/cart"):
        assert_problem(visitor.fetch(path), 401, "login_required")
    for path in ("/about/us", "/signin", "/free", "/static/__init__.py", "/api/products"):
        with visitor.fetch(path) as response:
            assert response.status_code == 200, path
    assert visitor.post("/api/auth/logout").status_code == 204
    visitor.log_in()
    assert visitor.fetch("/page").text == USERS


# B4.5
def test_a_path_that_does_not_exist_is_gated_by_patterns_only(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend, protected_by_default=True, protected_routes=("/members",))
    visitor = plain(app)
    assert visitor.fetch("/nothing").status_code == 404
    assert_problem(visitor.fetch("/members/nothing"), 401, "login_required")
    visitor.log_in()
    assert visitor.fetch("/members/nothing").status_code == 404


# B4.5
def test_on_an_excluded_route_only_an_explicit_mark_gates(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(
        backend,
        protected_by_default=True,
        excluded_routes=("/hooks",),
        protected_routes=("/hooks",),
        guest_enabled=True,
        guest_mode="eager",
    )
    _add(app, "/hooks/in", lambda: "in")
    _add(app, "/hooks/gated", login_required(_page()))
    _add(app, "/hookshot", lambda: "in")
    visitor = plain(app)
    response = visitor.visit("/hooks/in")
    assert response.text == "in"
    assert set_cookies(response) == {}
    assert not is_private(response)
    assert_problem(visitor.fetch("/hooks/gated"), 401, "login_required")
    assert_problem(visitor.fetch("/hookshot"), 401, "login_required")
    assert backend.calls() == {}


# B4.4
def test_a_user_is_sent_away_from_the_login_page(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, auth_routes=("/login", "/register"), after_login_url="/home", guest_enabled=True)
    for path in ("/login", "/register/step-2", "/loginhelp"):
        _add(app, path, _page())
    user, guest = _logged_in(app), plain(app)
    guest.post("/api/auth/guest")
    for path in ("/login", "/register/step-2"):
        response = user.visit(path)
        assert (response.status_code, response.headers["Location"]) == (302, "/home")
    assert user.visit("/loginhelp").text == USERS
    assert guest.visit("/login").text == GUESTS
    assert plain(app).visit("/login").text == ANYONE


# B4.2
def test_a_public_login_page_sends_nobody_away(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, auth_routes=("/login",))
    _add(app, "/login", public(lambda: "form"))
    assert _logged_in(app).visit("/login").text == "form"


# B4.4
def test_the_login_page_renders_when_the_backend_cannot_say(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, auth_routes=("/login",), validate_ttl=0, stale_ttl=0)
    _add(app, "/login", lambda: "form")
    browser = _logged_in(app)
    backend.fault("auth/me", status=503)
    response = browser.visit("/login")
    assert (response.status_code, response.text) == (200, "form")
    assert set_cookies(response) == {}


# B4.3
@pytest.mark.parametrize(
    ("claims", "may_enter"),
    [
        ({"roles": ["admin"]}, True),
        ({"roles": ["x", "admin"]}, True),
        ({"roles": "admin"}, True),
        ({"role": "admin"}, True),
        ({"roles": ["superadmin"]}, False),
        ({"roles": "superadmin"}, False),
        ({"roles": ["Admin"]}, False),
        ({"roles": ["admin "]}, False),
        ({"roles": {"admin": True}}, False),
        ({"roles": [["admin"]]}, False),
        ({"roles": None}, False),
        ({"roles": []}, False),
        ({"type": "admin"}, False),
        ({"scope": "admin"}, False),
        ({"roles": ["user"], "role": "admin"}, False),
    ],
    ids=str,
)
def test_roles_are_compared_exactly(make_app: MakeApp, claims: dict[str, Any], may_enter: bool) -> None:
    somebody = {"id": 7} | claims
    answers: Answers = {
        "POST auth/login": grant(user=somebody),
        "GET auth/me": (200, {"success": True, "data": somebody}),
    }
    with StubBackend(answers) as stub:
        app = make_app(stub.url)
        _add(app, "/admin", login_required("admin")(_page()))
        browser = _logged_in(app)
        fresh = browser.on(app)
        for response in (browser.fetch("/admin"), fresh.fetch("/admin")):
            assert (response.status_code == 200) is may_enter
            assert may_enter or response.status_code == 403


# A8
def test_a_refreshed_token_must_still_be_of_an_allowed_type(make_app: MakeApp) -> None:
    answers: Answers = {
        "POST auth/login": grant(refreshToken="r", expiresIn=5, user={"id": 7, "type": "admin"}),
        "POST auth/refresh": grant("t2", refreshToken="r2", expiresIn=900, user={"id": 7, "type": "user"}),
        "GET auth/me": record(type="user"),
    }
    with StubBackend(answers) as stub:
        app = make_app(stub.url, allowed_token_types=("admin",))
        _add(app, "/users", login_required(_page()))
        browser = _logged_in(app)
        response = browser.fetch("/users")
        assert "POST auth/refresh" in stub.endpoints
        assert response.status_code in (401, 403)
        assert browser.fetch("/users").status_code in (401, 403)


# B4.1, A10
def test_the_user_token_wins_over_the_guest_token(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    _add(app, "/cart", guest_allowed(_page()))
    user, guest = _logged_in(app), plain(app)
    guest.visit("/cart")
    both = Browser(app, cookies=user.cookies | guest.cookies)
    response = both.visit("/cart")
    assert response.text == USERS
    [(name, cookie)] = set_cookies(response).items()
    assert "guest" in name
    assert cookie.is_deletion


# DESIGN 6
def test_identity_never_comes_from_a_header(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    _add(app, "/users", login_required(_page()))
    _add(app, "/open", _page())
    forged = {
        "X-Auth-User": '{"id": 1, "roles": ["admin"]}',
        "X-User-Id": "usr_admin",
        "X-User-Roles": "admin",
        "Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c3JfYWRtaW4ifQ.",
        "X-Skip-Auth": "true",
        "X-Middleware-Subrequest": "1",
    }
    assert plain(app).fetch("/open", headers=forged).text == ANYONE
    assert_problem(plain(app).fetch("/users", headers=forged), 401, "login_required")
    assert backend.calls() == {}


# DESIGN 3
def test_a_view_that_neither_gates_nor_asks_costs_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, validate_ttl=0, guest_enabled=True)
    _add(app, "/plain", lambda: "page")
    browser = _logged_in(app)
    backend.reset()
    response = browser.visit("/plain")
    assert response.text == "page"
    assert "Cache-Control" not in response.headers
    assert "Cookie" not in response.headers.get("Vary", "")
    assert backend.calls() == {}


# B4.3, VALIDATE_TTL
def test_a_role_that_was_taken_away_counts_at_the_next_check(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, validate_ttl=0)
    _add(app, "/admin", login_required("admin")(_page()))
    browser = _logged_in(app, ADMIN)
    assert browser.fetch("/admin").text == USERS
    backend.change_user(ADMIN, roles=["user"])
    try:
        assert_problem(browser.fetch("/admin"), 403, "access_denied")
    finally:
        backend.change_user(ADMIN, roles=["admin"])
    assert browser.fetch("/admin").text == USERS


# B4.2
def test_the_gate_of_an_async_view_holds_when_another_calls_it(
    backend: ShopBackend, make_app: MakeApp
) -> None:
    app, calls = make_app(backend), list[str]()
    inner = login_required("admin")(_ran_async(calls))

    async def outer() -> str:
        return str(await inner())

    _add(app, "/outer", outer)
    assert_problem(plain(app).fetch("/outer"), 401, "login_required")
    assert_problem(_logged_in(app).fetch("/outer"), 403, "access_denied")
    assert calls == []
    assert _logged_in(app, ADMIN).fetch("/outer").text == "in"


# B4.5
def test_a_protected_blueprint_gates_on_an_excluded_route_too(backend: ShopBackend) -> None:
    with layered(backend, excluded_routes=("/area",)) as (app, layer):
        app.register_blueprint(layer.blueprint)
        area = _blueprint("area", page=_page())
        layer.protect(area, "admin")
        app.register_blueprint(area, url_prefix="/area")
        assert_problem(plain(app).fetch("/area/page"), 401, "login_required")
        assert_problem(_logged_in(app).fetch("/area/page"), 403, "access_denied")
        assert _outcome(_logged_in(app, ADMIN).fetch("/area/page")) == USERS


# B4.2, B7.7
def test_a_gate_is_closed_to_whose_session_ended_behind_the_one_before(make_app: MakeApp) -> None:
    refused = 401, {"success": False}
    answers: Answers = {
        "POST auth/login": grant("t1", refreshToken="r1", expiresIn=900, user={"id": 7, "type": "user"}),
        "GET orders": refused,
        "POST auth/refresh": refused,
    }
    calls = list[str]()
    inner = login_required(_ran(calls))
    with StubBackend(answers) as stub:
        app = make_app(stub.url)
        _add(app, "/orders", login_required(lambda: [api.get("orders"), inner()][1]))
        assert_problem(_logged_in(app).fetch("/orders"), 401, "session_expired")
        assert stub.endpoints == ["POST auth/login", "GET orders", "POST auth/refresh"]
    assert calls == []
