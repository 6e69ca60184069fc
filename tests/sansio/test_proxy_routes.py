"""Where a route leads, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.paths import CleanPath
from flask_api_layer.sansio.proxy_routes import ProxyRoute, ProxyRoutes, rewritten

GET = frozenset(("GET",))


def path(text: str) -> CleanPath:
    return CleanPath(tuple(text.strip("/").split("/")), text.endswith("/"))


# B7.1
@pytest.mark.parametrize(
    ("pattern", "to", "asked", "sent"),
    [
        ("shop/**", "v2/products/**", "shop/1/reviews", "v2/products/1/reviews"),
        ("shop/**", "v2/**", "shop", "v2"),
        ("shop/**", "v2", "shop/1/2", "v2"),
        ("a/*/b/*", "*/x/*", "a/1/b/2", "1/x/2"),
        ("*/**/end", "v2/*/**", "a/b/c/end", "v2/a/b/c"),
        ("items", "items/", "items", "items/"),
        ("items/**", "v2/items/**", "items/1/", "v2/items/1/"),
        ("items/**", None, "items/1/", "items/1/"),
    ],
)
def test_a_route_leads_where_it_says(pattern: str, to: str | None, asked: str, sent: str) -> None:
    route = ProxyRoute(pattern=pattern, methods=GET, to=to)
    assert route.target(path(asked)) == path(sent)


@pytest.mark.parametrize(
    ("segments", "pattern"),
    [("a/b", "a"), ("a", "a/*"), ("a/x/b", "a/**/c"), ("a", "a/**/a"), ("b/1", "a/*")],
)
def test_what_does_not_match_is_not_rewritten(segments: str, pattern: str) -> None:
    assert rewritten(tuple(segments.split("/")), pattern, pattern) is None


@pytest.mark.parametrize(
    ("upstream", "to", "sent", "public"),
    [
        ("", None, "things/1", "things/1"),
        ("", "v2/things/**", "v2/things/1", "things/1"),
        ("", "v2/things/**", "elsewhere", "elsewhere"),
        ("billing", None, "things/1/", "billing/things/1/"),
        ("billing", "v2/things/**", "v2/things/1", "billing/things/1"),
    ],
)
def test_a_place_below_the_base_is_named_by_the_path_that_leads_there(
    upstream: str, to: str | None, sent: str, public: str
) -> None:
    route = ProxyRoute(pattern="things/**", methods=GET, to=to, upstream=upstream)
    assert route.public(path(sent)) == path(public)


names = st.text("ab", min_size=1, max_size=2)


@given(st.lists(names, max_size=3), st.lists(names, min_size=1, max_size=2), st.lists(names, max_size=4))
def test_there_and_back_is_the_same_path(before: list[str], after: list[str], caught: list[str]) -> None:
    pattern, to = "/".join([*before, "**", *after]), "/".join(["v2", "**", *before])
    segments = (*before, *caught, *after)
    there = rewritten(segments, pattern, to)
    assert there == ("v2", *caught, *before)
    assert rewritten(there, to, pattern) == segments


# B7.1: "recognised on the upstream path"
@pytest.mark.parametrize(
    ("pattern", "to", "asked"),
    [
        ("enter", "auth/login", "enter"),
        ("open/**", "**", "open/auth/login"),
        ("open/**", "**", "open/AUTH/login;v=1"),
        ("open/*/*", "*/*", "open/auth/login/"),
    ],
)
def test_no_rewrite_leads_to_a_token_endpoint(pattern: str, to: str, asked: str) -> None:
    route = ProxyRoute(pattern=pattern, methods=GET, to=to)
    assert ProxyRoutes([route], sealed={"": ["auth/login"]}).find(path(asked)) is None
    assert ProxyRoutes([route]).find(path(asked)) is route


# B7.1: what a lenient backend reads as a path behind roles crosses with these roles or not at all
@pytest.mark.parametrize(
    "asked", ["Reports/x", "reports;v=1/x", "reports /x", "reports./x", "%72eports/x", "REPORTS"]
)
def test_no_spelling_of_a_path_evades_its_roles(asked: str) -> None:
    guarded = ProxyRoute(pattern="Reports/**", methods=GET, roles=frozenset(("admin",)), auth="user")
    other = ProxyRoute(pattern="**", methods=GET)
    found = ProxyRoutes([other, guarded]).find(CleanPath(tuple(asked.split("/"))))
    assert found in (None, guarded)
    assert ProxyRoutes([other, guarded]).find(path("products/X.JSON")) is other


@pytest.mark.parametrize("asked", ["auth/login.", "auth/login.json.xml", "auth./login"])
def test_no_spelling_of_a_token_endpoint_crosses(asked: str) -> None:
    routes = ProxyRoutes([ProxyRoute(pattern="**", methods=GET)], sealed={"": ["auth/login"]})
    assert routes.find(path(asked)) is None
