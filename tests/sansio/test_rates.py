from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_api_layer.sansio.rates import (
    MANY_ACCOUNTS,
    PURPOSE_KEYS,
    Quota,
    account_names,
    budget,
    client_key,
    is_prefetch,
    limit_headers,
    retry_after,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["email", "$gt", ""]), inner),
    max_leaves=10,
)


def quota(name: str = "app-60", **changes: Any) -> Quota:
    return replace(Quota(name, limit=100, window=60, remaining=50, reset_in=30), **changes)


# B10.1
@pytest.mark.parametrize(
    ("one", "other"),
    [("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), ("::ffff:203.0.113.7", "203.0.113.7")],
)
def test_one_client_has_one_key(one: str, other: str) -> None:
    assert client_key(one) == client_key(other)


def test_a_user_is_the_same_everywhere() -> None:
    # B10.1
    assert client_key("203.0.113.7", user=42) == client_key("203.0.113.8", user="42")


def test_a_user_cannot_be_named_like_an_address() -> None:
    assert client_key(None, user="203.0.113.7") != client_key("203.0.113.7")


@pytest.mark.parametrize("user", ["", 0])
def test_an_odd_identifier_is_a_user(user: str | int) -> None:
    assert client_key("203.0.113.7", user=user) != client_key("203.0.113.7")


# B10.1
@pytest.mark.parametrize(
    "written",
    [
        "ada@example.com",
        " Ada@Example.com ",
        "ADA@EXAMPLE.COM\n",
        "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        "a\u0301da@example.com",
        "\u00e1d\u00e0@example.com",
        "ada\u200b@example.com\ufeff",
        "ad a@example\t.com",
        " " * 5000 + "ada@example.com",
        "ada@example.com" + "\u0301" * 3000,
    ],
)
def test_every_spelling_of_an_account_is_one_name(written: str) -> None:
    assert account_names({"email": written}) == ("ada@example.com",)


@pytest.mark.parametrize(("one", "other"), [("STRASSE", "straße"), ("İnci", "inci"), ("ﬁona", "FIONA")])
def test_case_is_more_than_ascii(one: str, other: str) -> None:
    assert account_names({"user": one}) == account_names({"user": other})


def test_two_accounts_are_two_names() -> None:
    assert account_names({"email": "ada@example.com"}) != account_names({"email": "bob@example.com"})


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "p", "username": "ada"},
        {"note": "first", "E-Mail": "ada"},
        {"_username": "ada", "_password": "p"},
        {"userName": "ada", "client_id": "shop"},
        {"user": {"email": "ada", "password": "p"}},
        {"data": {"attributes": {"email": "ada"}}},
        {"session[email]": "ada", "session[password]": "p"},
        {"email[]": "ada"},
        {"user.login": "ada"},
        {"email": ["ada", "ADA"]},
        {"email": "ada", "username": "ada", "phone": None},
        {"phone": True, "login": "ada"},
        {"cpf": "ada", "password": "p"},
        {"grant_type": "password", "remember": "on", "csrf_token": "t", "name": "ada"},
        {"username": " ", "cpf": "ada"},
    ],
)
def test_the_account_is_found_by_the_name_of_its_field(fields: dict[str, Any]) -> None:
    assert account_names(fields) == ("ada",)


def test_a_number_is_the_text_of_its_digits() -> None:
    assert account_names({"phone": 4915112345678}) == account_names({"phone": "4915112345678"})


def test_an_extra_field_hides_no_account() -> None:
    assert account_names({"email": "made up 17", "username": "ada"}) == ("madeup17", "ada")


def test_who_names_more_accounts_than_anybody_has_shares_one_name() -> None:
    one, other = ({"email": [f"{start}{n}" for n in range(5)], "user": "ada"} for start in "ab")
    assert account_names(one) == account_names(other) == (MANY_ACCOUNTS,)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"password": "hunter2"},
        {"Contrasenha": {"senha": "hunter2"}, "new-password": ["hunter2"]},
        {"passwort": "hunter2", "OTP": "123456", "api_key": "k"},
        {"email": ""},
        {"email": {"$gt": ""}},
        {"phone": 10**5000},
        {"email": [[[[["ada"]]]]]},
    ],
)
def test_secrets_and_nothings_are_no_account(fields: dict[str, Any]) -> None:
    assert account_names(fields) == ()


def test_long_and_expanding_names_are_cut() -> None:
    assert [len(name) for name in account_names({"email": "a" * 10**6, "user": "\ufdfa" * 10**6})] == [
        256,
        256,
    ]


@given(st.dictionaries(st.text(max_size=9) | st.sampled_from(["email", "user", "login"]), JSON, max_size=5))
@example({"email": "\ud800"})
def test_anything_decoded_has_a_few_short_names(fields: dict[str, Any]) -> None:
    names = account_names(fields)
    assert len(names) <= 4
    assert all(0 < len(name) <= 256 for name in names)


@given(st.text(max_size=60))
def test_case_and_blanks_never_make_another_name(text: str) -> None:
    assert account_names({"user": text}) == account_names({"user": f"\t{text} "})
    assert account_names({"user": text.casefold()}) == account_names({"user": text})


# B10.2
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "purpose", ["prefetch", "prefetch;prerender", "Prefetch", "prefetch;anonymous-client-ip", "x, prefetch"]
)
def test_prefetches_are_told(method: str, purpose: str) -> None:
    for place, _ in enumerate(PURPOSE_KEYS):
        values = [None] * len(PURPOSE_KEYS)
        assert is_prefetch(method, *values[:place], purpose, *values[place + 1 :])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "FOO"])
def test_what_may_change_something_is_no_prefetch(method: str) -> None:
    assert not is_prefetch(method, "prefetch")


@pytest.mark.parametrize("purposes", [(), (None,), ("",), ("preview",), ("not-prefetch",), ("prefetching",)])
def test_other_purposes_are_no_prefetch(purposes: tuple[str | None, ...]) -> None:
    assert not is_prefetch("GET", *purposes)


@pytest.mark.parametrize(
    ("counts", "remaining", "reset_in"),
    [
        ((0, 0.0, 0, 0.0), 10, 1),
        ((0, 0.0, 3, 100.0), 7, 40),
        ((0, 0.0, 10, 60.1), 0, 1),
        ((6, 30.0, 0, 90.0), 7, 1),
        ((6, 35.0, 0, 95.0), 7, 5),
        ((6, 35.0, 8, 95.0), 0, 5),
        ((6, 35.5, 3, 95.5), 4, 6),
        ((1, 59.5, 9, 119.5), 1, 60),
        ((10, 60.0, 0, 120.0), 0, 1),
        ((0, 0.0, 1, 121.0), 9, 60),
        ((0, 0.0, 12, 100.0), 0, 40),
    ],
)
def test_what_is_left_of_ten_a_minute(
    counts: tuple[int, float, int, float], remaining: int, reset_in: int
) -> None:
    assert budget(10, 60, counts) == (remaining, reset_in)


@given(
    st.integers(1, 1000), st.integers(1, 86400), st.integers(0, 2000), st.integers(0, 2000), st.floats(0, 1)
)
def test_what_is_left_stays_in_bounds(
    limit: int, window: int, previous: int, current: int, part: float
) -> None:
    left = part * window
    remaining, reset_in = budget(limit, window, (previous, left, current, left + window))
    assert 0 <= remaining <= limit
    assert 1 <= reset_in <= window


def test_the_longest_refusal_is_said() -> None:
    quotas = [quota(exceeded=True, reset_in=5), quota(exceeded=True, reset_in=9), quota(reset_in=3600)]
    assert retry_after(quotas) == 9
    assert retry_after([quota()]) == retry_after([]) == 0


def test_headers_say_every_limit_and_the_nearest() -> None:
    # B10.2
    day = quota("app-86400", limit=1000, window=86400, remaining=20, reset_in=4000)
    assert limit_headers([quota(), day], now=1_000_000.25) == [
        ("RateLimit-Policy", '"app-60";q=100;w=60, "app-86400";q=1000;w=86400'),
        ("RateLimit", '"app-60";r=50;t=30, "app-86400";r=20;t=4000'),
        ("X-RateLimit-Limit", "1000"),
        ("X-RateLimit-Remaining", "20"),
        ("X-RateLimit-Reset", "1004001"),
    ]


def test_a_refusal_is_nearer_than_an_empty_quota() -> None:
    empty, refusing = quota(remaining=0, reset_in=60), quota(limit=7, remaining=0, reset_in=1, exceeded=True)
    assert dict(limit_headers([empty, refusing], now=0))["X-RateLimit-Limit"] == "7"


def test_no_limit_is_no_header() -> None:
    assert limit_headers([], now=0) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ('a"b\\c', r'"a\"b\\c"'),
        ("ü\r\nSet-Cookie: x", '"???Set-Cookie: x"'),
        ("view:shop.index-60", '"view:shop.index-60"'),
    ],
)
def test_names_are_strings_of_structured_fields(name: str, said: str) -> None:
    assert dict(limit_headers([quota(name)], now=0))["RateLimit"] == f"{said};r=50;t=30"


def test_an_endless_limit_is_an_integer_of_structured_fields() -> None:
    policy = dict(limit_headers([quota(limit=10**30, remaining=10**30)], now=0))["RateLimit-Policy"]
    assert policy == '"app-60";q=999999999999999;w=60'


@given(st.text())
def test_any_name_leaves_the_headers_whole(name: str) -> None:
    for _, value in limit_headers([quota(name)], now=0):
        assert re.fullmatch(r'"(?:[ !#-\[\]-~]|\\["\\])*"(;[a-z]=\d+)+|\d+', value), json.dumps(value)
