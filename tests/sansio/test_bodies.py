from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.bodies import MAX_DEPTH, BadBody, form_fields, json_object


def nested(depth: int, *, opening: str = "[", closing: str = "]") -> bytes:
    """A number below ``depth`` levels of objects and lists."""
    return ('{"a":' + opening * (depth - 1) + "0" + closing * (depth - 1) + "}").encode()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' {"a": 1} \r\n', {"a": 1}),
        (
            b'{"a":null,"b":true,"c":1.5,"d":[1,{"e":"x"}]}',
            {"a": None, "b": True, "c": 1.5, "d": [1, {"e": "x"}]},
        ),
        (b'{"password":"  p<a1>Z&  "}', {"password": "  p<a1>Z&  "}),
        ('{"name":"J\u00f6rg \U0001f600"}'.encode(), {"name": "J\u00f6rg \U0001f600"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"x\\r\\n\\u001b[0m"}', {"a": "x\r\n\x1b[0m"}),
        (b'{"a":1,"a":1}', {"a": 1}),
        (b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', {"a": "[" * 37}),
        (
            b'{"a":1e308,"b":-0.0,"c":123456789012345678901234567890}',
            {"a": 1e308, "b": 0.0, "c": 123456789012345678901234567890},
        ),
    ],
)
def test_json_objects_are_read(raw: bytes, value: dict[str, Any]) -> None:
    assert json_object(raw) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"true",
        b"{",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b"{a:1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":[{"b":NaN}]}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00x"}',
        b'{"a":"\\udfff"}',
        b'{"a":["\\ud800"]}',
        b'{"\\ud800":1}',
        b'{"a":{"\\ud800":1}}',
        b'{"a":"\\u0000"}',
        b'{"a":[["x\\u0000y"]]}',
        b'{"\\u0000":1}',
        b'{"a":{"x\\u0000":1}}',
        b'{"a":"\x00"}',
        b'{"a":"line\nbreak"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xae"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":1,"a":2}',
        b'{"a":"x","b":1,"a":"y"}',
        b'{"a":1,"a":true}',
        b'{"a":0,"a":false}',
        b'{"a":[1],"a":[true]}',
        b'{"a":{"b":1},"a":{"b":2}}',
        b'{"x":{"a":1,"a":2}}',
        b'{"x":[{"a":1,"a":null}]}',
        b'{"a":1,"\\u0061":2}',
    ],
    ids=lambda raw: ascii(raw[:24]),
)
def test_anything_else_is_refused(raw: bytes) -> None:
    # B2.6, CORPUS 6
    with pytest.raises(BadBody):
        json_object(raw)


def test_32_levels_are_deep_enough() -> None:
    # B2.6
    assert MAX_DEPTH == 32
    assert json_object(nested(31))
    assert json_object(nested(31, opening='{"a":', closing="}"))


@pytest.mark.parametrize("depth", [33, 34, 100, 990, 1000, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeper_bodies_are_refused(depth: int, opening: str, closing: str) -> None:
    # B2.6, CORPUS 6
    with pytest.raises(BadBody):
        json_object(nested(depth, opening=opening, closing=closing))


def test_depth_hides_nowhere() -> None:
    deep = json.loads(nested(33))
    for body in ({"x": [1, 2, deep]}, {"x": {"y": deep}, "z": 1}):
        with pytest.raises(BadBody):
            json_object(json.dumps(body).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b'{"password":"hunter2",}',
        b'{"hunter2":1,"hunter2":2}',
        b'{"a":"hunter2\\u0000"}',
        b"hunter2",
        b'{"a":hunter2}',
    ],
)
def test_refusal_says_why_without_quoting_the_body(raw: bytes) -> None:
    with pytest.raises(BadBody) as refused:
        json_object(raw)
    assert str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None or "hunter2" not in str(refused.value.__cause__)


_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(_text, _values, max_size=4), st.booleans())
def test_what_was_written_is_read(body: dict[str, Any], ascii_only: bool) -> None:
    assert json_object(json.dumps(body, ensure_ascii=ascii_only).encode()) == body


@given(st.binary() | st.text(st.sampled_from('{}[]":,0e9.-\\uNaInfiytru \n')).map(str.encode))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        body = json_object(raw)
    except BadBody:
        return
    assert json.loads(json.dumps(body, allow_nan=False)) == body


# Forms


@pytest.mark.parametrize(
    ("pairs", "fields"),
    [
        ([], {}),
        ([("a", "1")], {"a": "1"}),
        ([("a", "1"), ("b", ""), ("c", "  x  ")], {"a": "1", "b": "", "c": "  x  "}),
        ([("a", "1"), ("a", "1")], {"a": "1"}),
        ([("p", "a\r\nb\u2603")], {"p": "a\r\nb\u2603"}),
    ],
)
def test_form_fields_are_read(pairs: list[tuple[str, str]], fields: dict[str, str]) -> None:
    assert form_fields(pairs) == fields


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "1"), ("a", "2")],
        [("a", "1"), ("b", "x"), ("a", "")],
        [("a", "x\x00y")],
        [("a\x00", "x")],
        [("a", "\ud800")],
    ],
)
def test_odd_forms_are_refused(pairs: list[tuple[str, str]]) -> None:
    # B2.6
    with pytest.raises(BadBody):
        form_fields(pairs)
