from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.session import (
    LAST_SECOND,
    Freshness,
    Session,
    TokenSet,
    start_session,
    timestamp,
    unverified_claims,
)

NOW = 1_700_000_000.0
LEEWAY = 30.0
bearers = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt(payload: object) -> str:
    """A token with this payload and a worthless signature."""
    return f"{encode(b'{}')}.{encode(json.dumps(payload).encode())}.c2ln"


def session(**values: Any) -> Session:
    return replace(Session("user", "s1", "access", obtained_at=NOW), **values)


# Freshness


@pytest.mark.parametrize(
    ("left", "freshness"),
    [
        (3600, Freshness.LIVE),
        (30.5, Freshness.LIVE),
        (30, Freshness.DUE),
        (29, Freshness.DUE),
        (0.5, Freshness.DUE),
        (0, Freshness.EXPIRED),
        (-1, Freshness.EXPIRED),
        (-1e9, Freshness.EXPIRED),
    ],
)
def test_token_is_due_within_the_leeway_and_expired_after_it(left: float, freshness: Freshness) -> None:
    assert session(expires_at=NOW + left).freshness(NOW, LEEWAY) is freshness


def test_token_of_unknown_life_is_live_until_a_401() -> None:
    # B2.8
    assert session(expires_at=None).freshness(NOW + 1e9, LEEWAY) is Freshness.LIVE


def test_renewed_token_shorter_than_the_leeway_is_not_due_at_once() -> None:
    short = session(renewed=True, obtained_at=NOW, expires_at=NOW + 20)
    assert short.freshness(NOW, LEEWAY) is Freshness.LIVE
    assert short.freshness(NOW + 9, LEEWAY) is Freshness.LIVE
    assert short.freshness(NOW + 11, LEEWAY) is Freshness.DUE
    assert short.freshness(NOW + 20, LEEWAY) is Freshness.EXPIRED


def test_renewed_token_as_long_as_the_leeway_is_not_due_at_once() -> None:
    short = session(renewed=True, obtained_at=NOW, expires_at=NOW + LEEWAY)
    assert short.freshness(NOW, LEEWAY) is Freshness.LIVE
    assert short.freshness(NOW + 16, LEEWAY) is Freshness.DUE


def test_first_token_shorter_than_the_leeway_is_due() -> None:
    assert session(obtained_at=NOW, expires_at=NOW + 20).freshness(NOW, LEEWAY) is Freshness.DUE


def test_long_renewed_token_keeps_the_whole_leeway() -> None:
    long = session(renewed=True, obtained_at=NOW - 3600, expires_at=NOW + 29)
    assert long.freshness(NOW, LEEWAY) is Freshness.DUE


@pytest.mark.parametrize("renewed", [False, True])
def test_clock_stepping_back_does_not_expire_anything(renewed: bool) -> None:
    # CORPUS 8
    stepped = session(renewed=renewed, obtained_at=NOW, expires_at=NOW + 3600)
    assert stepped.freshness(NOW - 120, LEEWAY) is Freshness.LIVE


@pytest.mark.parametrize(
    ("expires_at", "seconds"), [(None, None), (NOW + 60, 60), (NOW + 0.4, 0), (NOW - 5, 0), (NOW, 0)]
)
def test_seconds_left_are_whole_and_never_negative(expires_at: float | None, seconds: int | None) -> None:
    assert session(expires_at=expires_at).seconds_left(NOW) == seconds


# What a backend hands out


def test_expiry_is_what_the_backend_says() -> None:
    # B2.8
    assert TokenSet(jwt({"exp": NOW + 9}), expires_in=60).expires_at(NOW) == NOW + 60


def test_else_the_expiry_is_the_one_in_the_token() -> None:
    # B2.8
    assert TokenSet(jwt({"exp": NOW + 9})).expires_at(NOW) == NOW + 9


@pytest.mark.parametrize("token", ["opaque", "17|opaque", jwt({}), jwt({"exp": "soon"}), jwt({"exp": True})])
def test_else_the_expiry_is_unknown(token: str) -> None:
    # B2.8
    assert TokenSet(token).expires_at(NOW) is None


def test_refresh_token_has_its_own_expiry() -> None:
    assert TokenSet("a", "r", refresh_expires_in=90).refresh_expires_at(NOW) == NOW + 90
    assert TokenSet("a", jwt({"exp": NOW + 9})).refresh_expires_at(NOW) == NOW + 9
    assert TokenSet("a", "r").refresh_expires_at(NOW) is None
    assert TokenSet(jwt({"exp": NOW + 9})).refresh_expires_at(NOW) is None


@pytest.mark.parametrize("seconds", [1e308, 1e18, float(2**63)])
def test_absurd_lives_are_clamped_to_year_9999(seconds: float) -> None:
    # CORPUS 3
    assert TokenSet("a", "r", expires_in=seconds).expires_at(NOW) == LAST_SECOND
    assert TokenSet("a", "r", refresh_expires_in=seconds).refresh_expires_at(NOW) == LAST_SECOND
    assert TokenSet(jwt({"exp": seconds})).expires_at(NOW) == LAST_SECOND


def test_last_second_is_the_last_of_year_9999() -> None:
    assert datetime.fromtimestamp(LAST_SECOND, UTC) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_secrets_are_every_token() -> None:
    assert set(TokenSet("a", "r").secrets) == {"a", "r"}
    assert TokenSet("a").secrets == ("a",)


def test_no_token_is_in_a_repr() -> None:
    tokens = TokenSet("access-1", "refresh-1", user={"api_token": "access-1"})
    started = start_session("user", tokens, session_id="s1", now=NOW)
    for shown in (repr(tokens), repr(started)):
        assert "access-1" not in shown
        assert "refresh-1" not in shown


# Sessions


def test_session_starts_with_the_tokens_that_were_handed_out() -> None:
    tokens = TokenSet("a", "r", expires_in=60, refresh_expires_in=600)
    assert start_session("guest", tokens, session_id="s1", now=NOW) == Session(
        kind="guest",
        id="s1",
        access_token="a",
        refresh_token="r",
        expires_at=NOW + 60,
        refresh_expires_at=NOW + 600,
        started_at=NOW,
        obtained_at=NOW,
        checked_at=NOW,
        renewed=False,
    )


def test_renewed_session_is_the_same_session() -> None:
    # B8.4
    first = start_session("guest", TokenSet("a", "r", expires_in=60), session_id="s1", now=NOW)
    second = first.renew(TokenSet("a2", "r2", expires_in=90, refresh_expires_in=900), NOW + 50)
    assert second == Session(
        kind="guest",
        id="s1",
        access_token="a2",
        refresh_token="r2",
        expires_at=NOW + 140,
        refresh_expires_at=NOW + 950,
        started_at=NOW,
        obtained_at=NOW + 50,
        checked_at=NOW + 50,
        renewed=True,
    )


def test_refresh_token_that_was_not_replaced_stays_with_its_expiry() -> None:
    first = session(refresh_token="r", refresh_expires_at=NOW + 600)
    second = first.renew(TokenSet("a2", expires_in=60), NOW + 10)
    assert (second.refresh_token, second.refresh_expires_at) == ("r", NOW + 600)


def test_old_expiry_does_not_outlive_its_token() -> None:
    first = session(refresh_token="r", expires_at=NOW + 60, refresh_expires_at=NOW + 600)
    second = first.renew(TokenSet("a2", "r2"), NOW + 10)
    assert (second.expires_at, second.refresh_expires_at) == (None, None)


@given(one=st.tuples(bearers, st.none() | bearers), other=st.tuples(bearers, st.none() | bearers))
def test_credential_names_exactly_one_generation_of_tokens(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    first = session(access_token=one[0], refresh_token=one[1])
    second = session(access_token=other[0], refresh_token=other[1])
    assert (first.credential == second.credential) is (one == other)


def test_credential_tells_where_one_token_ends() -> None:
    credentials = {
        session(access_token=access, refresh_token=refresh).credential
        for access, refresh in [
            ("ab", "c"),
            ("a", "bc"),
            ("abc", None),
            ("c", "ab"),
            ("a.b", "c"),
            ("a", "b.c"),
        ]
    }
    assert len(credentials) == 6


# Claims


def test_claims_are_read_without_a_signature() -> None:
    assert dict(unverified_claims(jwt({"sub": "7", "exp": 1}))) == {"sub": "7", "exp": 1}


NOT_JSON_OBJECTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"7",
    b"\xff\xfe",
    b"{" + b"1" * 5000,
    b'{"exp":' + b"1" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("payload", NOT_JSON_OBJECTS, ids=lambda payload: repr(payload[:10]))
def test_payload_that_is_no_object_has_no_claims(payload: bytes) -> None:
    assert dict(unverified_claims(f"e30.{encode(payload)}.c2ln")) == {}


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "null",
        "opaque",
        "17|opaque",
        "\u2603.\u2603.\u2603",
        "\ud800.\ud800.\ud800",
        f"e30.{'A' * 100_001}.c2ln",
    ],
    ids=lambda token: ascii(token[:10]),
)
def test_anything_else_has_no_claims(token: str) -> None:
    assert dict(unverified_claims(token)) == {}


@given(st.text() | st.lists(st.binary().map(encode), min_size=3, max_size=3).map(".".join))
def test_claims_of_any_text_are_a_mapping(token: str) -> None:
    assert len(unverified_claims(token)) >= 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_700_000_000, 1_700_000_000.0),
        (1.5, 1.5),
        (0, 0.0),
        (LAST_SECOND, LAST_SECOND),
        (1e308, LAST_SECOND),
        (10**400, LAST_SECOND),
        (None, None),
        (True, None),
        (False, None),
        ("1700000000", None),
        ("", None),
        ([1], None),
        ({}, None),
        (math.nan, None),
    ],
)
def test_timestamp_is_a_finite_number_or_nothing(value: object, seconds: float | None) -> None:
    # CORPUS 3
    assert timestamp(value) == seconds


@given(st.integers() | st.floats() | st.integers().map(lambda exponent: 10 ** min(abs(exponent), 999)))
def test_any_number_is_a_time_that_clocks_know(value: float) -> None:
    found = timestamp(value)
    assert found is None or (math.isfinite(found) and found <= LAST_SECOND)


def test_absurdly_small_numbers_break_nothing() -> None:
    for value in (-1, -1e308, -(10**400), -math.inf):
        found = timestamp(value)
        assert found is None or (math.isfinite(found) and found <= 0)
