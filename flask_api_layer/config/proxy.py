"""What may stand in PROXY_ROUTES, and in the calls that add to it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ..sansio.headers import NEVER_BACK, NEVER_BACK_PREFIXES
from ..sansio.paths import split_path
from ..sansio.proxy_routes import PROXY_METHODS, WILDCARDS, ProxyRoute
from ..sansio.routes import ANY
from .checks import (
    NEVER_SENT,
    NEVER_SENT_PREFIXES,
    NO_SUGGESTION,
    Check,
    SettingError,
    boolean,
    choice,
    closest,
    header_names,
    pairs,
    refuse,
    sequence,
    text,
    timeout,
)
from .urls import endpoint, proxy_pattern


def request_headers(value: object) -> frozenset[str]:
    return frozenset(header_names(NEVER_SENT, NEVER_SENT_PREFIXES)(value))


def response_headers(value: object) -> frozenset[str]:
    return frozenset(header_names(NEVER_BACK, NEVER_BACK_PREFIXES)(value))


def methods(value: object) -> frozenset[str]:
    if value == "*":
        return frozenset(PROXY_METHODS)
    if isinstance(value, str):
        wanted = value.upper().replace(",", " ").split()
        refuse(value, 'is neither a list of methods nor "*"', instead=wanted or ["GET"])
    found = sequence(choice(*PROXY_METHODS))(value)
    return frozenset(found) if found else refuse(value, "lets nothing through", instead=["GET"])


def _roles(value: object) -> frozenset[str]:
    found = frozenset(sequence(text)(value))
    return found or refuse(value, "lets nobody through; leave roles out to let everybody")


_OPTIONS: Final[Mapping[str, Check[Any]]] = MappingProxyType(
    {
        "methods": methods,
        "to": endpoint,
        "roles": _roles,
        "auth": choice("user", "guest", "none"),
        "request_headers": request_headers,
        "response_headers": response_headers,
        "timeout": timeout,
        "stream": boolean,
    }
)


def _options(value: object) -> dict[str, Any]:
    """The options of one entry; a list of methods, or "*", is one without further options."""
    if not isinstance(value, Mapping):
        return {"methods": methods(value)}
    if "methods" not in value:
        refuse(value, 'has no "methods"', instead={"methods": ["GET"], **value})
    return {name: _option(name, given) for name, given in value.items()}


def _option(name: object, value: object) -> Any:
    if not isinstance(name, str) or name not in _OPTIONS:
        likely = closest(str(name), _OPTIONS)
        refuse(
            name,
            f"is no option of a route; did you mean {likely!r}?" if likely else "is no option of a route",
        )
    try:
        return _OPTIONS[name](value)
    except SettingError as fault:
        raise SettingError(f"{name}: {fault}") from None


def proxy_routes(value: object, *, upstream: str = "") -> tuple[ProxyRoute, ...]:
    """The routes of a dict ``{pattern: methods or options}``, in declared order."""
    entries = pairs(proxy_pattern, _options)(value)
    patterns = [pattern for pattern, _ in entries]
    for name in patterns:
        if patterns.count(name) > 1:
            refuse(name, "is there twice, with and without a slash at an end")
    return tuple(_route(pattern, options, upstream) for pattern, options in entries)


def _route(pattern: str, options: dict[str, Any], upstream: str) -> ProxyRoute:
    if "roles" in options and options.setdefault("auth", "user") != "user":
        raise SettingError(
            f"the route {pattern!r} asks for roles, which only users have, and says auth {options['auth']!r}; "
            "leave auth out"
        )
    if (to := options.get("to")) is not None:
        _check_rewrite(pattern, to)
    return ProxyRoute(pattern=pattern, upstream=upstream, **options)


def _check_rewrite(pattern: str, to: str) -> None:
    if any("*" in segment and segment not in WILDCARDS for segment in split_path(to)):
        refuse(to, "has a wildcard inside a segment; * is a whole one, ** any number")
    wanted, found = _wildcards(pattern), _wildcards(to)
    if wanted.count(ANY) > 1:
        refuse(pattern, 'cannot be rewritten with "to": it has more than one **')
    if found and found != wanted:
        example = to.replace("**", "").replace("*", "").strip("/")
        refuse(
            to,
            f"must have the wildcards of {pattern!r} in the same order, or none",
            instead="/".join([part for part in (example, *wanted) if part]) or NO_SUGGESTION,
        )


def _wildcards(pattern: str) -> list[str]:
    return [segment for segment in split_path(pattern) if segment in WILDCARDS]
