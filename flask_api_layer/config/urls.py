"""What the URLs, paths and patterns among the settings may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ..sansio.paths import local_target
from .checks import NO_SUGGESTION, SettingError, choice, closest, optional, pairs, refuse, sequence

ENDPOINTS: Final = ("login", "register", "logout", "me", "refresh", "guest")
REQUIRED_ENDPOINTS: Final = ("login", "me")
STORE_EXAMPLES: Final = {
    "memory": "memory://",
    "sqlite": "sqlite:////var/lib/app/api-layer.sqlite3",
    "redis": "redis://localhost:6379/0",
    "rediss": "rediss://localhost:6379/0",
    "unix": "unix:///run/redis.sock",
}


def backend_url(value: object) -> str:
    """A URL without a slash at its end."""
    if value is None:
        raise SettingError("is required and not set")
    parts = _http_parts(value)
    wanted = parts._replace(path=parts.path.rstrip("/"), query="", fragment="")
    return _no_more_than(wanted, value, parts, "has a user name, a query or a fragment")


def jwks_url(value: object) -> str:
    """A URL that may have a query (Azure AD B2C names its policy there)."""
    parts = _http_parts(value)
    return _no_more_than(parts._replace(fragment=""), value, parts, "has a user name or a fragment")


def _http_parts(value: object) -> SplitResult:
    if not isinstance(value, str) or not value.isprintable() or re.search(r'^$|[ \\<>"{}|^`]', value):
        refuse(value, "is not a URL")
    if "://" not in value:
        refuse(value, "has no scheme", instead=_with_scheme(value))
    return _split_url(value) or refuse(value, "has no host, or a port that cannot be")


def _no_more_than(wanted: SplitResult, value: object, parts: SplitResult, surplus: str) -> str:
    """The URL that is wanted, when ``value`` has nothing beyond it."""
    fault = _path_fault(wanted.path[1:])
    scheme = parts.scheme if parts.scheme in ("http", "https") else "https"
    host = parts.netloc.rpartition("@")[2]
    # A query may hold a secret.
    usable = urlunsplit((scheme, host, "" if fault else wanted.path, "", ""))
    if scheme != parts.scheme:
        refuse(value, "is not an http or https URL", instead=usable)
    if host != parts.netloc or (parts.query, parts.fragment) != (wanted.query, wanted.fragment):
        refuse(value, surplus, instead=usable)
    return refuse(value, fault, instead=usable) if fault else urlunsplit(wanted)


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


def origins(value: object) -> frozenset[str]:
    """Origins as browsers write them."""
    return frozenset(sequence(_origin)(value))


def _origin(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or "*" in value:
        refuse(value, "is not an origin such as https://admin.example.com (no wildcards)")
    parts = _split_url(value)
    if parts is None or parts.scheme not in ("http", "https"):
        refuse(value, "is not an origin such as https://admin.example.com")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    written = f"{parts.scheme}://{host}{port}"
    return written if written == value else refuse(value, "is not written as browsers do", instead=written)


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
    found = dict(pairs(choice(*ENDPOINTS), optional(endpoint))(value))
    for name in REQUIRED_ENDPOINTS:
        if name in found and found[name] is None:
            refuse(name, "is an endpoint that a backend cannot do without", instead={name: f"auth/{name}"})
    return MappingProxyType(found)


def endpoint(value: object) -> str:
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
