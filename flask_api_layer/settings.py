"""What the values of the ``API_LAYER_*`` keys may be: a check turns a raw value into the one to use, or says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from limits import RateLimitItem, parse_many

from .sansio.paths import local_target
from .sansio.proxying import PROXY_METHODS

K = TypeVar("K")
T = TypeVar("T")
Check = Callable[[object], T]

PRESETS: Final = ("standard",)
ENDPOINTS: Final = ("login", "register", "logout", "me", "refresh", "guest")
REQUIRED_ENDPOINTS: Final = ("login", "me")
STORE_EXAMPLES: Final = {
    "memory": "memory://",
    "sqlite": "sqlite:////var/lib/app/api-layer.sqlite3",
    "redis": "redis://localhost:6379/0",
    "rediss": "rediss://localhost:6379/0",
    "unix": "unix:///run/redis.sock",
}
MOST_SECONDS: Final = 2**31 - 1
NO_SUGGESTION: Final = object()

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2; cookie names too (RFC 6265 4.1.1)
_COOKIE_PREFIX = re.compile(r"__(host-http|host|secure|http)-", re.IGNORECASE)  # browsers ignore the case
# Refused though PROXY_REQUEST_HEADERS names them: the layer's own, and RFC 9110 7.6.1 connection headers.
_OWN = frozenset(("cookie", "authorization", "host", "content-length", "forwarded", "x-skip-auth"))
_CONNECTION = frozenset(("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
NEVER_SENT: Final = _OWN | _CONNECTION
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
    if not _TOKEN.fullmatch(name):
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
        if "*" in name or not _TOKEN.fullmatch(name):
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


def backend_url(value: object) -> str:
    if value is None:
        raise SettingError("is required and not set")
    if not isinstance(value, str) or not value.isprintable() or re.search(r'^$|[ \\<>"{}|^`]', value):
        refuse(value, "is not a URL")
    if "://" not in value:
        refuse(value, "has no scheme", instead=_with_scheme(value))
    if (parts := _split_url(value)) is None:
        refuse(value, "has no host, or a port that cannot be")
    fault = _path_fault(parts.path.rstrip("/")[1:])
    scheme = parts.scheme if parts.scheme in ("http", "https") else "https"
    usable = f"{scheme}://{parts.netloc.rpartition('@')[2]}{'' if fault else parts.path.rstrip('/')}"
    if scheme != parts.scheme:
        refuse(value, "is not an http or https URL", instead=usable)
    if "@" in parts.netloc or parts.query or parts.fragment:
        refuse(value, "has a user name, a query or a fragment", instead=usable)
    return refuse(value, fault, instead=usable) if fault else usable


def _split_url(value: str) -> SplitResult | None:
    """The parts of a URL that has a host, else None."""
    try:
        parts = urlsplit(value)
        return parts if parts.hostname and not parts.netloc.endswith(":") and parts.port != 0 else None
    except ValueError:
        return None


def _with_scheme(value: str) -> object:
    address = re.split(r"[?#]", value.rpartition("@")[2])[0]
    bare = re.sub(r"^(https?:)?/*", "", address, flags=re.IGNORECASE).rstrip("/")
    scheme = "http" if re.match(r"localhost\b|127\.|\[::1\]", bare) else "https"
    return f"{scheme}://{bare}" if bare else NO_SUGGESTION


def store_url(value: object) -> str:
    if not isinstance(value, str):
        refuse(value, "is not a URL")
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in STORE_EXAMPLES:
        example = STORE_EXAMPLES[closest(scheme.strip(":"), STORE_EXAMPLES) or "memory"]
        refuse(value, f"does not start with one of {', '.join(STORE_EXAMPLES)} and ://", instead=example)
    if scheme in ("sqlite", "unix") and not (rest.startswith("/") and rest.strip("/")):
        refuse(value, "has no path after :///", instead=STORE_EXAMPLES[scheme])
    return value


def local_url(value: object) -> str:
    """A path on this site, with or without query: what ``next`` may be."""
    if (target := local_target(value)) is None:
        refuse(value, 'is not a path of this app: one "/" first, ASCII only, no dot segments')
    return target


def login_url(value: object) -> str:
    url, *fragment = local_url(value).split("#")
    return refuse(value, "has a fragment, which would swallow ?next=", instead=url) if fragment else url


def _path_fault(path: str) -> str | None:
    """Why ``path`` (without the first slash) could be read as another one, or None."""
    segments = path.split("/")
    if not path.isprintable() or "\\" in path:
        return "has a backslash or a control character"
    if any(unquote(segment) in (".", "..") for segment in segments):
        return "has a dot segment"
    if "?" in path or "#" in path:
        return "has a query or a fragment"
    return "has an empty segment" if "" in segments[:-1] else None


def endpoints(value: object) -> Mapping[str, str | None]:
    found = dict(pairs(choice(*ENDPOINTS), optional(_endpoint))(value))
    for name in REQUIRED_ENDPOINTS:
        if name in found and found[name] is None:
            refuse(name, "is an endpoint that a backend cannot do without", instead={name: f"auth/{name}"})
    return MappingProxyType(found)


def _endpoint(value: object) -> str:
    """A path below BACKEND_URL; a slash at its end stays (Django wants it)."""
    if not isinstance(value, str) or not value.strip("/") or "://" in value or " " in value:
        refuse(value, 'is not a path relative to BACKEND_URL, such as "auth/login"')
    path = value.removeprefix("/")
    return refuse(value, fault) if (fault := _path_fault(path)) else path


def pattern(value: object) -> str:
    """A pattern that starts with "/" and, but for "/" itself, does not end with it."""
    if value == "/":
        return "/"
    if isinstance(value, str) and value and not value.startswith("/") and "://" not in value:
        refuse(value, 'does not start with "/"', instead=f"/{value}")
    return f"/{proxy_pattern(value)}"


def proxy_pattern(value: object) -> str:
    """A pattern without the slashes around it.

    Patterns meet decoded segments: one that can never match would protect nothing, without a word.
    """
    if not isinstance(value, str) or not value.strip("/") or "://" in value:
        refuse(value, "is not a path pattern (** is every path)")
    body = value.removeprefix("/")
    if fault := _path_fault(body):
        refuse(value, fault)
    if re.search(r"%[0-9A-Fa-f]{2}", body):
        refuse(value, "is percent-encoded", instead=unquote(value))
    if better := _with_whole_wildcards(value):
        refuse(value, "has a wildcard inside a segment; * is a whole one, ** any number", instead=better)
    return body.rstrip("/")


def _with_whole_wildcards(value: str) -> str | None:
    """The pattern with ``*`` for segments such as ``a*`` or Flask's ``<int:id>``, or None when it has none."""
    segments = value.split("/")
    whole = ["*" if re.search(r"[*<]", segment) and segment != "**" else segment for segment in segments]
    return None if whole == segments else "/".join(whole)


def methods(value: object) -> frozenset[str]:
    if value == "*":
        return frozenset(PROXY_METHODS)
    if isinstance(value, str):
        wanted = value.upper().replace(",", " ").split()
        refuse(value, 'is neither a list of methods nor "*"', instead=wanted or ["GET"])
    found = sequence(choice(*PROXY_METHODS))(value)
    return frozenset(found) if found else refuse(value, "lets nothing through", instead=["GET"])


def proxy_routes(value: object) -> tuple[tuple[str, frozenset[str]], ...]:
    routes = pairs(proxy_pattern, methods)(value)
    patterns = [pattern for pattern, _ in routes]
    for name in patterns:
        if patterns.count(name) > 1:
            refuse(name, "is there twice, with and without a slash at an end")
    return routes
