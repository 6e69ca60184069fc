from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.redact import holds_token, without_tokens

TOKEN = "17|k3jx9opaque"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"
UNSIGNED = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0."


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "Token",
        "accessToken",
        "access_token",
        "access-token",
        "ACCESS_TOKEN",
        "refreshToken",
        "refresh_token",
        "id_token",
        "idToken",
        "api_token",
        "authToken",
        "jwt",
        "bearer",
        "authorization",
        "plainTextToken",
        "remember_token",
        "guest_token",
    ],
)
def test_token_keys_are_left_out_wherever_they_sit(key: str) -> None:
    # B2.1
    assert without_tokens({key: "opaque", "name": "Ann"}) == {"name": "Ann"}
    assert without_tokens({"data": {"user": [{key: {"value": 7}}, 1]}}) == {"data": {"user": [{}, 1]}}


@pytest.mark.parametrize(
    "key", ["name", "tokens_left", "email", "type", "exp", "tokenization", "description"]
)
def test_other_keys_stay(key: str) -> None:
    assert without_tokens({key: "plain"}) == {key: "plain"}


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"Bearer {TOKEN}",
        f"https://x/?t={TOKEN}&y",
        f"a{TOKEN}b",
        JWT,
        f"Bearer {JWT}",
        f"see {JWT}.",
        UNSIGNED,
    ],
)
def test_strings_that_hold_a_token_are_left_out(text: str) -> None:
    # B2.1
    assert holds_token(text, [TOKEN])
    assert without_tokens({"note": text, "name": "Ann"}, [TOKEN]) == {"name": "Ann"}
    assert without_tokens({"notes": ["a", text, "b"]}, [TOKEN]) == {"notes": ["a", "b"]}
    assert without_tokens({"deep": [[{"er": text}]]}, [TOKEN]) == {"deep": [[{}]]}


@pytest.mark.parametrize("key", [TOKEN, f"by {TOKEN}", JWT, f"x-{JWT}"])
def test_keys_that_hold_a_token_are_left_out(key: str) -> None:
    # B2.1
    assert without_tokens({key: "last used today", "name": "Ann"}, [TOKEN]) == {"name": "Ann"}
    assert without_tokens({"sessions": [{key: {}}]}, [TOKEN]) == {"sessions": [{}]}


@pytest.mark.parametrize("value", [TOKEN, JWT, f"Bearer {JWT}"])
def test_a_value_that_is_a_token_is_nothing(value: str) -> None:
    assert not without_tokens(value, [TOKEN])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        1.5,
        "",
        "text",
        "eyJ",
        "eyJ.a.b",
        "a.b.c",
        "www.example.com",
        [],
        {},
        [1, [2]],
        {"a": {"b": []}},
    ],
    ids=repr,
)
def test_everything_else_is_unchanged(value: Any) -> None:
    assert without_tokens(value, [TOKEN]) == value


def test_the_record_that_came_in_is_not_changed() -> None:
    record = {"token": TOKEN, "list": [TOKEN]}
    without_tokens(record, [TOKEN])
    assert record == {"token": TOKEN, "list": [TOKEN]}


def test_an_empty_token_takes_nothing_with_it() -> None:
    assert without_tokens({"name": "Ann"}, ["", TOKEN]) == {"name": "Ann"}


def test_depth_that_json_can_have_breaks_nothing() -> None:
    # CORPUS 7: a hostile record must not become a 500.
    value: Any = TOKEN
    for _ in range(800):
        value = [value]
    assert TOKEN not in json.dumps(without_tokens({"data": value}, [TOKEN]))


_tokens = st.from_regex(r"[A-Za-z0-9|._~+/-]{8,24}", fullmatch=True)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)


@st.composite
def leaking_json(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """A JSON value that holds tokens in values and keys, alone and within text."""
    tokens = draw(st.lists(_tokens, min_size=1, max_size=2))
    holding = st.builds("{}{}{}".format, st.text(max_size=4), st.sampled_from(tokens), st.text(max_size=4))
    text = st.sampled_from(tokens) | holding | st.text(max_size=8) | st.just("token")
    value = st.recursive(
        _scalars | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=12,
    )
    return draw(value), tokens


@given(leaking_json())
def test_no_received_token_survives(leak: tuple[Any, list[str]]) -> None:
    # B2.1
    value, tokens = leak
    cleaned = without_tokens(value, tokens)
    assert all(token not in text for text in texts_in(cleaned) for token in tokens)


def texts_in(value: Any) -> list[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in texts_in(item))]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


@given(st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc"), inner)))
def test_what_holds_no_token_is_unchanged(value: Any) -> None:
    assert without_tokens(value, [TOKEN]) == value
