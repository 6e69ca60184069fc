"""Request bodies that strangers write: JSON objects, read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 32


class BadBody(ValueError):
    """The body is refused; the text says why, without quoting it."""


def json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``.

    :raises BadBody: for anything but UTF-8, NaN and infinities, numbers that overflow, keys that are given twice with different
        values, lone surrogates, NUL characters, more than 32 levels, and values that are not objects (RFC 8259; parsers that differ
        on these have been played against each other).
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise BadBody("the body is not UTF-8") from error
    except RecursionError as error:
        raise BadBody("the body is nested too deeply") from error
    except BadBody:
        raise
    except ValueError as error:
        raise BadBody("the body is not JSON") from error
    if not isinstance(value, dict):
        raise BadBody("the body must be a JSON object")
    _refuse_odd_values(value)
    return value


def check_utf8(raw: bytes) -> None:
    """Refuse bytes that are no text in UTF-8.

    :raises BadBody: for anything else.
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadBody("the form is not UTF-8") from error


def form_fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The fields of a form.

    :raises BadBody: when a field is given twice with different values, or holds a NUL character.
    """
    fields: dict[str, str] = {}
    for name, value in pairs:
        if fields.setdefault(name, value) != value:
            raise BadBody("a field is given twice with different values")
    _refuse_odd_values(fields)
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        # As JSON, since Python thinks that 1 is True.
        if key in members and json.dumps(members[key]) != json.dumps(value):
            raise BadBody("a key is given twice with different values")
        members[key] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise BadBody(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadBody("a number is out of range")
    return number


def _refuse_odd_values(body: dict[str, Any]) -> None:
    pending: list[tuple[Any, int]] = [(body, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise BadBody("the body is nested too deeply")
        if isinstance(value, str):
            _refuse_odd_text(value)
        elif isinstance(value, dict):
            pending += [(part, depth + 1) for part in (*value.keys(), *value.values())]
        elif isinstance(value, list):
            pending += [(item, depth + 1) for item in value]


def _refuse_odd_text(text: str) -> None:
    if "\x00" in text:
        raise BadBody("a value holds a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadBody("a value holds half a character")
