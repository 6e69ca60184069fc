"""What the values of the ``API_LAYER_*`` keys may be: a check turns a raw value into the one to use, or says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

from limits import RateLimitItem, parse_many

from ..jwt.keys import StaticKeys
from ..sansio.headers import HOP_BY_HOP, TOKEN

K = TypeVar("K")
T = TypeVar("T")
Check = Callable[[object], T]

MOST_SECONDS: Final = 2**31 - 1
NO_SUGGESTION: Final = object()

_COOKIE_PREFIX = re.compile(r"__(host-http|host|secure|http)-", re.IGNORECASE)  # browsers ignore the case
# Refused though PROXY_REQUEST_HEADERS names them: the layer's own, beside what is about one connection.
_OWN = frozenset(
    ("cookie", "authorization", "host", "content-length", "forwarded", "x-request-id", "x-skip-auth")
)
NEVER_SENT: Final = _OWN | HOP_BY_HOP
NEVER_SENT_PREFIXES: Final = ("proxy-", "x-forwarded-")


class SettingError(ValueError):
    """A value cannot be used; the text says why, ``instead`` is a value that would do."""

    def __init__(self, text: str, *, instead: object = NO_SUGGESTION) -> None:
        super().__init__(text)
        self.instead = instead


def refuse(value: object, text: str, *, instead: object = NO_SUGGESTION) -> NoReturn:
    kinds = {str: "string ", int: "number ", float: "number ", list: "list ", dict: "dict "}
    raise SettingError(f"the {kinds.get(type(value), 'value ')}{shown(value)} {text}", instead=instead)


def shown(value: object) -> str:
    """The value as an error quotes it: cut, and without what could be a URL's password."""
    try:
        text = repr(dict(value) if isinstance(value, Mapping) else value)
    except (ValueError, RecursionError):  # an int of more than 4,300 digits has no repr
        return "(too large to show)"
    if "@" in text:
        text = f"'***@{text.rpartition('@')[2]}"
    if "://" in text or "***@" in text:
        text = re.sub(r"\?.+", "?***'", text)
    return text if len(text) <= 120 else f"{text[:117]}..."


def closest(value: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``value``, if one does."""
    folded = {name.casefold(): name for name in known}
    matches = get_close_matches(value[:80].casefold(), folded, n=1)
    return folded[matches[0]] if matches else None


def optional(check: Check[T]) -> Check[T | None]:
    return lambda value: None if value is None else check(value)


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    refuse(value, "is not a bool", instead=shown(value).strip("'").lower() in {"true", "yes", "on", "1"})


def text(value: object) -> str:
    """A string that is not empty and can be printed."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse(value, "is not a string; quote it", instead=shown(value))
    refuse(value, "is not a string of printable characters")


def choice(*known: str) -> Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        likely = closest(value, known) if isinstance(value, str) else None
        refuse(value, f"is not one of {', '.join(map(repr, known))}", instead=likely or NO_SUGGESTION)

    return check


def samesite(value: object) -> str:
    known = ("Lax", "Strict", "None")
    if isinstance(value, str) and value.capitalize() in known:
        return value.capitalize()
    return choice(*known)(value)


def whole(unit: str, *, least: int, most: int) -> Check[int]:
    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        refuse(value, f"is not a whole number of {unit} from {least} to {most}")

    return check


def seconds(value: object) -> float:
    # The bounds keep NaN and infinity out as well.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS:
        return value
    refuse(value, f"is not a number of seconds from 0 to {MOST_SECONDS}")


def timeout(value: object) -> float:
    return seconds(value) or refuse(value, "is no time at all; a timeout is above 0 seconds")


def limit(value: object) -> tuple[RateLimitItem, ...]:
    if value is None:
        return ()
    try:
        items = tuple(parse_many(text(value)))
    except ValueError:
        items = ()
    if not items or any(item.amount < 1 for item in items):
        refuse(value, 'is not a limit such as "30/minute" or "30/minute;200/day" (null: no limit)')
    return items


def cookie_name(value: object) -> str:
    name = text(value)
    if not TOKEN.fullmatch(name):
        refuse(value, "is not a cookie name (letters, digits and !#$%&'*+-.^_`|~)")
    if prefix := _COOKIE_PREFIX.match(name):
        bare = name[prefix.end() :]
        refuse(value, "has a prefix that the layer adds by itself", instead=bare or NO_SUGGESTION)
    return name


def _attempt(check: Check[T], value: object, faults: list[str]) -> tuple[list[T], list[Any]]:
    """What the check gives, and what to write: the value itself if it is good, else the suggestion; none of it: empty."""
    try:
        return [check(value)], [value]
    except SettingError as wrong:
        faults.append(str(wrong))
        return [], [] if wrong.instead is NO_SUGGESTION else [wrong.instead]


def sequence(check: Check[T]) -> Check[tuple[T, ...]]:
    """A list, each item checked; the error names every item that is wrong."""

    def check_all(value: object) -> tuple[T, ...]:
        if isinstance(value, str) and (parts := value.replace(",", " ").split()):
            refuse(value, "is not a list", instead=parts)
        if not isinstance(value, list | tuple):
            refuse(value, "is not a list")
        faults: list[str] = []
        tried = [_attempt(check, item, faults) for item in value]
        if faults:
            raise SettingError("; ".join(faults), instead=[item for _, better in tried for item in better])
        return tuple(item for good, _ in tried for item in good)

    return check_all


def pairs(check_key: Check[K], check_value: Check[T]) -> Check[tuple[tuple[K, T], ...]]:
    """A dict as pairs in its order; the error names every key and value that is wrong."""

    def check_all(value: object) -> tuple[tuple[K, T], ...]:
        if not isinstance(value, Mapping):
            refuse(value, "is not a dict")
        faults: list[str] = []
        tried = [
            (_attempt(check_key, key, faults), _attempt(check_value, item, faults))
            for key, item in value.items()
        ]
        if faults:
            better = {key: item for (_, keys), (_, items) in tried for key in keys for item in items}
            raise SettingError("; ".join(faults), instead=better or NO_SUGGESTION)
        return tuple((key, item) for (keys, _), (items, _) in tried for key in keys for item in items)

    return check_all


def names(value: object) -> tuple[str, ...] | None:
    found = optional(sequence(text))(value)
    return refuse(value, "leaves nothing (null: all)", instead=None) if found == () else found


def header_names(never: frozenset[str], prefixes: tuple[str, ...]) -> Check[tuple[str, ...]]:
    """Names in lower case."""

    def check(value: object) -> str:
        name = text(value).lower()
        if "*" in name or not TOKEN.fullmatch(name):
            refuse(value, "is not a header name")
        # CGI and WSGI servers cannot tell a dash from an underscore.
        dashed = name.replace("_", "-")
        if dashed in never or dashed.startswith(prefixes):
            refuse(value, "may never cross the proxy; leave it out")
        return name

    return sequence(check)


def credentials(value: object) -> Mapping[str, Any]:
    """A copy that nobody can change; the value itself is in no error."""
    if not isinstance(value, Mapping):
        raise SettingError("the value (not shown) is not a dict")
    try:
        return MappingProxyType(json.loads(json.dumps(dict(value), allow_nan=False)))
    except (TypeError, ValueError, RecursionError):
        raise SettingError("the value (not shown) cannot be written as JSON") from None


def jwt_key(value: object) -> StaticKeys:
    """The key in it, which is in no error."""
    if isinstance(value, (int, float)):
        raise SettingError("the value (not shown) was read as a number; JSON quotes keep it text")
    try:
        return StaticKeys(value)
    except ValueError as fault:
        raise SettingError(f"the value (not shown) {fault}") from None


def audience(value: object) -> tuple[str, ...] | None:
    """One name, or a list of names any of which will do."""
    return (text(value),) if isinstance(value, str) else names(value)
