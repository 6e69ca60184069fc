from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.access import AUTH, PUBLIC, USER, Policy
from flask_api_layer.sansio.routes import PathSet, RoutePolicies, RouteTable


def covers(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """What a pattern means, written down naively."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return covers(pattern[1:], path) or (bool(path) and covers(pattern, path[1:]))
    return bool(path) and pattern[0] in ("*", path[0]) and covers(pattern[1:], path[1:])


_patterns = st.lists(st.sampled_from(["a", "b", "*", "**"]), max_size=6)
_paths = st.lists(st.sampled_from(["a", "b", "c", "*", "**"]), max_size=7)


@given(st.lists(_patterns, max_size=8), _paths)
def test_table_agrees_with_the_naive_matcher(patterns: list[list[str]], path: list[str]) -> None:
    # B4.4
    table = RouteTable(("/".join(pattern), number) for number, pattern in enumerate(patterns))
    expected = {number for number, pattern in enumerate(patterns) if covers(pattern, path)}
    found = table.matches(path)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_many_double_stars_cost_no_backtracking() -> None:
    table = RouteTable([("/".join(["**", "a"] * 30), "loops"), ("**/b", "end")])
    assert table.matches(["a"] * 128) == ["loops"]
    assert table.matches([*["a"] * 127, "c"]) == []


def test_empty_table_matches_nothing() -> None:
    assert RouteTable[str]().matches([]) == []
    assert RouteTable[str]().matches(["a"]) == []


@pytest.mark.parametrize(
    ("pattern", "path", "inside"),
    [
        ("products", "products", True),
        ("products", "products/1", False),
        ("products", "product", False),
        ("products", "Products", False),
        ("/products/", "products", True),
        ("products/*", "products/1", True),
        ("products/*", "products", False),
        ("products/*", "products/1/2", False),
        ("products/**", "products", True),
        ("products/**", "products/1", True),
        ("products/**", "products/1/2", True),
        ("products/**", "productsx", False),
        ("**/reviews", "reviews", True),
        ("**/reviews", "products/1/reviews", True),
        ("**/reviews", "products/1/reviews/2", False),
        ("products/**/reviews", "products/reviews", True),
        ("products/**/reviews", "products/1/2/reviews", True),
        ("*", "a", True),
        ("*", "", False),
        ("*", "a/b", False),
        ("**", "", True),
        ("**", "a/b/c", True),
        ("v1.0/*", "v1x0/secret", False),
        ("news*", "newsroom", False),
        ("(", "(", True),
        ("a+", "aa", False),
        ("/", "", True),
        ("/", "a", False),
    ],
)
def test_patterns_match_whole_paths(pattern: str, path: str, inside: bool) -> None:
    # B4.4, P7
    assert (path in PathSet([pattern])) is inside
    assert (tuple(part for part in path.split("/") if part) in PathSet([pattern])) is inside


@pytest.mark.parametrize(
    ("pattern", "path", "inside"),
    [
        ("/public", "/public", True),
        ("/public", "/public/", True),
        ("/public", "/public/a/b", True),
        ("/public", "/public-admin", False),
        ("/public", "/publications", False),
        ("/public", "/", False),
        ("/public", "/x/public", False),
        ("/", "/", True),
        ("/", "/a/b", True),
        ("/*/help", "/shop/help", True),
        ("/*/help", "/shop/help/1", True),
        ("/*/help", "/help", False),
        ("/**/help", "/help", True),
        ("/**/help", "/a/b/help/c", True),
        ("/docs/**", "/docs", True),
        ("/docs/**", "/docs/a/b", True),
        ("/docs/*", "/docs/a/b", True),
        ("/docs/*", "/docs", False),
    ],
)
def test_entries_cover_what_lies_below_on_segment_boundaries(pattern: str, path: str, inside: bool) -> None:
    # B4.4, A11
    assert (path in PathSet([pattern], and_below=True)) is inside


def test_any_of_several_patterns_is_enough() -> None:
    both = PathSet(["a", "b/*"])
    assert "a" in both
    assert "b/1" in both
    assert "c" not in both
    assert "a" not in PathSet([])


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/account", USER),
        ("/account/", USER),
        ("/account/orders/7", USER),
        ("/accounting", None),
        ("/account/help", PUBLIC),
        ("/account/help/refunds", PUBLIC),
        ("/account/helpdesk", USER),
        ("/account/help/private", USER),
        ("/account/help/private/1", USER),
        ("/login", AUTH),
        ("/login/reset", AUTH),
        ("/logins", None),
        ("/", None),
        ("/x/account", None),
    ],
)
def test_longest_pattern_counts(path: str, policy: Policy | None) -> None:
    # B4.4, B4.5
    policies = RoutePolicies(
        protected=["/account", "/account/help/private"], auth=["/login"], public=["/account/help"]
    )
    assert policies.policy_for(path) == policy


@pytest.mark.parametrize(
    ("protected", "public", "path", "policy"),
    [
        ("/a", "/a", "/a", USER),
        ("/a", "/a", "/a/b", USER),
        ("/a/*", "/*/b", "/a/b", USER),
        ("/*/b", "/a/*", "/a/b", USER),
        ("/a/*", "/a/b", "/a/b", PUBLIC),
        ("/a/b", "/a/*", "/a/b", USER),
        ("/a", "/a/*", "/a/b", PUBLIC),
        ("/a/*", "/a", "/a/b", USER),
        ("/", "/a", "/a", PUBLIC),
        ("/", "/a", "/b", USER),
        ("/a", "/", "/a/b", USER),
        ("/a", "/", "/b", PUBLIC),
        ("/**/b", "/a", "/a/b", USER),
        ("/a/**", "/a/b", "/a/b", PUBLIC),
        ("/a/**", "/a/b", "/a/c", USER),
    ],
)
def test_ties_are_protected(protected: str, public: str, path: str, policy: Policy) -> None:
    # B4.5
    found = RoutePolicies(protected=[protected], public=[public]).policy_for(path)
    assert found == policy


def test_a_protected_path_that_is_also_a_login_page_is_protected() -> None:
    assert RoutePolicies(protected=["/login"], auth=["/login"]).policy_for("/login") == USER


_route = _patterns.map(lambda pattern: "/" + "/".join(pattern))


@given(st.lists(_route, max_size=4), st.lists(_route, max_size=4), _paths)
def test_policy_is_the_one_of_a_longest_entry(
    protected: list[str], public: list[str], path: list[str]
) -> None:
    policy = RoutePolicies(protected=protected, public=public).policy_for("/" + "/".join(path))
    lengths = {
        USER: [_length(pattern) for pattern in protected if _covers_below(pattern, path)],
        PUBLIC: [_length(pattern) for pattern in public if _covers_below(pattern, path)],
    }
    longest = max([*lengths[USER], *lengths[PUBLIC]], default=None)
    expected = None if longest is None else USER if longest in lengths[USER] else PUBLIC
    assert policy == expected


def _covers_below(pattern: str, path: list[str]) -> bool:
    return covers([*pattern.strip("/").split("/"), "**"] if pattern != "/" else ["**"], path)


def _length(pattern: str) -> tuple[int, int]:
    """Segments, then literal ones; a ``**`` stands for no segment of its own."""
    parts = [part for part in pattern.split("/") if part and part != "**"]
    return len(parts), len([part for part in parts if part != "*"])
