"""What happens to a request under the prefix: the layer's own endpoint, the proxy, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from .paths import MAX_PATH_BYTES, BadPath, CleanPath, clean_path
from .proxy_routes import PROXY_METHODS, ProxyRoute, ProxyRoutes

OWN_ENDPOINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "auth/login": ("POST",),
        "auth/register": ("POST",),
        "auth/logout": ("POST",),
        "auth/me": ("GET", "HEAD"),
        "auth/refresh": ("POST",),
        "auth/guest": ("POST",),
        "auth/csrf": ("GET", "HEAD"),
    }
)
# Ours as well, so that no backend route ever stands in for them.
RESERVED = ("auth/client.js",)
# Checked for cross-site requests even when there is no session yet: they start one, or end it.
ENTRY_ENDPOINTS = frozenset(("auth/login", "auth/register", "auth/guest", "auth/logout"))


@dataclass(frozen=True, slots=True)
class Own:
    """One of the layer's own endpoints."""

    name: str


@dataclass(frozen=True, slots=True)
class Forward:
    """The request goes to the backend.

    :param path: below the prefix.
    :param target: below the base URL of the route's upstream, quoted.
    """

    route: ProxyRoute
    path: CleanPath
    target: str


@dataclass(frozen=True, slots=True)
class Describe:
    """An OPTIONS request, answered by us."""

    allow: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request ends here; ``code`` is the problem code."""

    code: str
    path: CleanPath | None = None
    allow: str | None = None


Decision = Own | Forward | Describe | Refuse


def decide(method: str, target: str, *, prefix: str, upgrade: str, routes: ProxyRoutes) -> Decision:
    """What happens to a request under the prefix.

    :param method: as received; only upper case is a method.
    :param target: the percent-encoded path (see :func:`~flask_api_layer.sansio.paths.request_target`).
    :param upgrade: the ``Upgrade`` header, "" when there is none.
    """
    if not method.isascii() or not method.isalpha() or not method.isupper():
        return Refuse("method_not_allowed", allow=", ".join((*PROXY_METHODS, "OPTIONS")))
    # What is too long for a path is refused, and not kept.
    decided = _decide if len(target) <= MAX_PATH_BYTES else _decide.__wrapped__
    return decided(method, target, prefix, upgrade.strip().lower() == "websocket", routes)


# Sites ask for the same few paths over and over; what clients make up is forgotten again.
@lru_cache(maxsize=512)
def _decide(method: str, target: str, prefix: str, is_websocket: bool, routes: ProxyRoutes) -> Decision:
    try:
        path = clean_path(target, prefix=prefix)
    except BadPath as error:
        return Refuse(error.code)
    if is_websocket:
        return Refuse("websocket_unsupported", path)
    name = "/".join(path.segments)
    if name in OWN_ENDPOINTS and not path.trailing_slash:
        return _own(method, name)
    route = None if name in RESERVED or name in OWN_ENDPOINTS or not name else routes.find(path)
    if route is None:
        return Refuse("no_route", path)
    if method == "OPTIONS":
        return Describe(route.allow)
    if method not in route.allowed:
        return Refuse("method_not_allowed", path, route.allow)
    return Forward(route, path, route.target(path).quoted())


def _own(method: str, name: str) -> Decision:
    methods = OWN_ENDPOINTS[name]
    allow = ", ".join((*methods, "OPTIONS"))
    if method == "OPTIONS":
        return Describe(allow)
    return Own(name) if method in methods else Refuse("method_not_allowed", allow=allow)
