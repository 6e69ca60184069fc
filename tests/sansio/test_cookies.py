from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.cookies import (
    MAX_AGE_LIMIT,
    MAX_COOKIE_BYTES,
    CookieStyle,
    cookie_values,
    fits,
    max_age,
    only_value,
)
from flask_api_layer.sansio.session import Session

NOW = 1_700_000_000.0
DAY = 86_400
WEEK = 7 * DAY
SECURE = CookieStyle(user="api-user", guest="api-guest", secure=True, samesite="Lax")
PLAIN = CookieStyle(user="api-user", guest="api-guest", secure=False, samesite="Lax")
NAME = "__Host-Http-api-user"


def attributes(line: str) -> dict[str, str]:
    """The attributes of a Set-Cookie value, lower case, without the cookie itself and what repeats Max-Age."""
    pairs = [part.strip().partition("=") for part in line.split(";")[1:]]
    found = {name.lower(): value for name, _, value in pairs}
    assert len(pairs) == len(found)
    found.pop("expires", None)
    return found


def session(
    refresh_token: str | None = None,
    expires_at: float | None = None,
    refresh_expires_at: float | None = None,
) -> Session:
    return Session(
        "user",
        "s1",
        "access",
        refresh_token=refresh_token,
        expires_at=expires_at,
        refresh_expires_at=refresh_expires_at,
    )


# Names and attributes


def test_secure_cookies_have_the_prefix() -> None:
    # B3.1
    assert SECURE.name("user") == "__Host-Http-api-user"
    assert SECURE.name("guest") == "__Host-Http-api-guest"


def test_development_cookies_have_their_base_names() -> None:
    # B3.1
    assert PLAIN.name("user") == "api-user"
    assert PLAIN.name("guest") == "api-guest"


def test_secure_cookie_has_every_attribute() -> None:
    # B3.1
    line = SECURE.set("user", "value", 60)
    assert line.startswith("__Host-Http-api-user=value;")
    assert attributes(line) == {"max-age": "60", "path": "/", "secure": "", "httponly": "", "samesite": "Lax"}


def test_development_cookie_lacks_only_secure() -> None:
    # B3.1
    line = PLAIN.set("guest", "value", 60)
    assert line.startswith("api-guest=value;")
    assert attributes(line) == {"max-age": "60", "path": "/", "httponly": "", "samesite": "Lax"}


@pytest.mark.parametrize("samesite", ["Lax", "Strict", "None"])
def test_samesite_is_the_configured_one(samesite: Literal["Lax", "Strict", "None"]) -> None:
    style = CookieStyle(user="u", guest="g", secure=True, samesite=samesite)
    assert attributes(style.set("user", "v", 1))["samesite"] == samesite


@pytest.mark.parametrize("style", [SECURE, PLAIN, CookieStyle("u", "g", secure=True, samesite="Strict")])
@pytest.mark.parametrize("kind", ["user", "guest"])
def test_deletion_repeats_the_attributes(style: CookieStyle, kind: Literal["user", "guest"]) -> None:
    # B3.1, A6
    deletion, creation = style.delete(kind), style.set(kind, "value", 60)
    assert deletion.split(";")[0] == f"{style.name(kind)}="
    assert attributes(deletion) == attributes(creation) | {"max-age": "0"}


def test_cookies_are_made_without_a_clock() -> None:
    # DESIGN 2: no clock in sansio; Max-Age says it all (RFC 6265bis 5.7).
    assert "expires" not in SECURE.set("user", "value", 60).lower()


# Reading


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("", []),
        (f"{NAME}=good", ["good"]),
        (f"a=b; {NAME}=good; c=d", ["good"]),
        (f"a=b;{NAME}=good", ["good"]),
        (f"a=b;   {NAME}=good", ["good"]),
        (f"{NAME}=", [""]),
        (f"{NAME}=a=b==", ["a=b=="]),
        (f"{NAME}=good;", ["good"]),
        (f";; {NAME}=good;;", ["good"]),
        (f"{NAME}=good; {NAME}=evil", ["good", "evil"]),
        (f"{NAME}=evil; a=b; {NAME}=good", ["evil", "good"]),
        (f"{NAME}=same; {NAME}=same", ["same", "same"]),
        (f"={NAME}=evil", []),
        (f"=; {NAME}", []),
        (NAME, []),
        (f"{NAME}; {NAME}=good", ["good"]),
        (f"\u2000{NAME}=evil", []),
        (f"\xa0{NAME}=evil", []),
        (f"a=b;\xa0{NAME}=evil", []),
        (f"\xe2\x80\x80{NAME}=evil", []),
        (f"a=b; \x85{NAME}=evil", []),
        (f"\x0b{NAME}=evil", []),
        (f"\x1c{NAME}=evil", []),
        (f"{NAME}\xa0=evil", []),
        (f"{NAME.upper()}=evil", []),
        (f"{NAME.lower()}=evil", []),
        ("__Host-Http-api%2Duser=evil", []),
        ("__Host%2DHttp-api-user=evil", []),
        (f"x{NAME}=evil", []),
        (f"{NAME}x=evil", []),
        ("api-user=evil", []),
        ("__Host-api-user=evil", []),
        (f"$Version=1; {NAME}=good", ["good"]),
        (f"$Version=1; ${NAME}=evil", []),
        (f'a="; {NAME}=good; b="', ["good"]),
        (f'{NAME}="quoted"', ['"quoted"']),
        (f'{NAME}="a\\012b"', ['"a\\012b"']),
        (f'{NAME}="\\342\\230\\203"', ['"\\342\\230\\203"']),
        (f"a=b,{NAME}=evil", []),
    ],
    ids=ascii,
)
def test_only_the_exact_name_counts(header: str, values: list[str]) -> None:
    # B3.5, CORPUS 3
    assert cookie_values(header, NAME) == values


@pytest.mark.parametrize(
    ("values", "value"), [([], None), (["a"], "a"), (["a", "b"], None), (["a", "a"], None), ([""], "")]
)
def test_duplicates_count_as_none(values: list[str], value: str | None) -> None:
    # B3.5, CORPUS 3
    assert only_value(values) == value


def test_a_name_that_is_part_of_another_does_not_count() -> None:
    header = "__Host-Http-api-user=u; api-user=plain; my-api-user=other"
    assert cookie_values(header, "api-user") == ["plain"]


@pytest.mark.parametrize(
    "header",
    [
        "; ".join(f"c{number}=x" for number in range(700)),
        'a="' * 20_000,
        '"' + "\\" * 100_000 + '"',
        "=" * 100_000,
        ";" * 100_000,
        " " * 100_000,
        NAME * 5000,
    ],
    ids=["700 cookies", "quotes", "backslashes", "equals", "semicolons", "spaces", "names"],
)
def test_floods_hide_nothing_and_break_nothing(header: str) -> None:
    # CORPUS 3
    assert cookie_values(header, NAME) == []
    assert cookie_values(f"{NAME}=good; {header}", NAME)[:1] == ["good"]


_cookie_text = st.text(st.characters(max_codepoint=255), max_size=20)
_values = st.text(st.sampled_from("abcXYZ019-_"), max_size=10)


@given(
    st.lists(_cookie_text.filter(lambda text: "api-user" not in text and ";" not in text), max_size=5),
    _values,
)
def test_odd_neighbours_change_nothing(others: list[str], value: str) -> None:
    # B3.5
    assert cookie_values("; ".join([*others, f"{NAME}={value}"]), NAME) == [value]
    assert cookie_values("; ".join([f"{NAME}={value}", *others]), NAME) == [value]
    assert cookie_values("; ".join(others), NAME) == []


@given(st.text())
def test_any_header_gives_text(header: str) -> None:
    assert all(value in header for value in cookie_values(header, "a"))


# Sizes and ages


def test_all_our_cookies_stay_under_3800_bytes() -> None:
    # B3.4
    assert MAX_COOKIE_BYTES == 3800
    overhead = len(f"{NAME}=")
    assert fits(NAME, "x" * (3799 - overhead), 0)
    assert not fits(NAME, "x" * (3801 - overhead), 0)


def test_our_other_cookies_count() -> None:
    # B3.4
    overhead = len(f"{NAME}=")
    assert fits(NAME, "x" * (3700 - overhead - 1), 100)
    assert not fits(NAME, "x" * (3700 - overhead + 1), 100)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_larger_cookie_never_fits_where_a_smaller_did_not(size: int, others: int) -> None:
    if fits(NAME, "x" * (size + 1), others):
        assert fits(NAME, "x" * size, others)
    if fits(NAME, "x" * size, others + 1):
        assert fits(NAME, "x" * size, others)


@pytest.mark.parametrize(
    ("left", "refresh_left", "refreshable", "age"),
    [
        (None, None, True, WEEK),
        (None, None, False, WEEK),
        (60, None, True, WEEK),
        (-60, None, True, WEEK),
        (60, DAY, True, DAY),
        (2 * WEEK, DAY, True, DAY),
        (60, 2 * WEEK, True, WEEK),
        (None, DAY, True, DAY),
        (60, None, False, 60),
        (2 * WEEK, None, False, WEEK),
        (60, DAY, False, 60),
    ],
)
def test_age_is_bounded_by_what_keeps_the_session_alive(
    left: float | None, refresh_left: float | None, refreshable: bool, age: int
) -> None:
    # B3.3
    kept = session(
        refresh_token="r" if refresh_left is not None else None,
        expires_at=None if left is None else NOW + left,
        refresh_expires_at=None if refresh_left is None else NOW + refresh_left,
    )
    assert max_age(kept, limit=WEEK, refreshable=refreshable, now=NOW) == age


@pytest.mark.parametrize("refreshable", [True, False])
def test_age_is_never_negative(refreshable: bool) -> None:
    # CORPUS 8
    past = session(refresh_token="r", expires_at=NOW - 120, refresh_expires_at=NOW - 120)
    assert 0 <= max_age(past, limit=WEEK, refreshable=refreshable, now=NOW) <= 1


def test_age_is_what_browsers_keep_at_most() -> None:
    # RFC 6265bis 5.5: 400 days.
    assert MAX_AGE_LIMIT == 400 * DAY
    assert max_age(session(), limit=1000 * DAY, refreshable=True, now=NOW) == 400 * DAY


@given(
    st.none() | st.floats(0, 253402300799.0),
    st.none() | st.floats(0, 253402300799.0),
    st.booleans(),
    st.integers(1, WEEK),
)
def test_age_is_whole_and_within_the_limit(
    expires_at: float | None, refresh_expires_at: float | None, refreshable: bool, limit: int
) -> None:
    kept = session(refresh_token="r", expires_at=expires_at, refresh_expires_at=refresh_expires_at)
    age = max_age(kept, limit=limit, refreshable=refreshable, now=NOW)
    assert isinstance(age, int)
    assert 0 <= age <= limit
