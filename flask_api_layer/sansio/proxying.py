"""What may cross the proxy: the layer's own endpoints, the route table, and the decision about one request under the prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

from .paths import BadPath, CleanPath, clean_path, split_path
from .routes import ANY, ONE, RouteTable

OWN_ENDPOINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "auth/login": ("POST",),
        "auth/register": ("POST",),
        "auth/logout": ("POST",),
        "auth/me": ("GET", "HEAD"),
        "auth/refresh": ("POST",),
        "auth/guest": ("POST",),
    }
)
# Ours as well, so that no backend route ever stands in for them.
RESERVED = ("auth/csrf", "auth/client.js")
PROXY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TOKEN_ENDPOINTS = ("login", "register", "refresh", "guest", "logout")


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """One entry of PROXY_ROUTES."""

    pattern: str
    methods: frozenset[str]
    rank: tuple[tuple[int, ...], int]

    @property
    def allow(self) -> str:
        """The value of the ``Allow`` header."""
        return ", ".join([method for method in PROXY_METHODS if method in self.methods] + ["OPTIONS"])


class ProxyRoutes:
    """PROXY_ROUTES: deny by default, the most specific pattern alone decides.

    :param sealed: paths of the backend's token endpoints, which never cross whatever the patterns say.
    """

    def __init__(self, routes: Iterable[tuple[str, Iterable[str]]], *, sealed: Iterable[str] = ()) -> None:
        entries = ((pattern, frozenset(methods)) for pattern, methods in routes)
        self._table = RouteTable(
            (pattern, ProxyRoute(pattern, _with_head(methods), (_specificity(pattern), order)))
            for order, (pattern, methods) in enumerate(entries)
        )
        self._sealed = frozenset(_folded(path) for path in sealed)

    def find(self, path: CleanPath) -> ProxyRoute | None:
        if _folded("/".join(path.segments)) in self._sealed:
            return None
        routes = self._table.matches(path.segments)
        return min(routes, key=lambda route: route.rank) if routes else None


def _with_head(methods: frozenset[str]) -> frozenset[str]:
    return methods | {"HEAD"} if "GET" in methods else methods


def _specificity(pattern: str) -> tuple[int, ...]:
    """Sorts patterns that match one path: literal, then ``*``, then ``**``, from the left; an end after ``**`` comes last."""
    ranks = {ONE: 1, ANY: 2}
    segments = split_path(pattern)
    ranked = tuple(ranks.get(segment, 0) for segment in segments)
    return (*ranked, 3) if ANY in segments else ranked


def _folded(path: str) -> str:
    """A path as lenient backends compare it: decoded once more, without ``;params``, ``.format``, blanks and slashes at the end."""
    segments = [unquote(segment).split(";", 1)[0].strip() for segment in split_path(path)]
    if segments:
        segments[-1] = re.sub(r"\.\w+$", "", segments[-1])
    return "/".join(segments).casefold()


@dataclass(frozen=True, slots=True)
class Own:
    """One of the layer's own endpoints."""

    name: str


@dataclass(frozen=True, slots=True)
class Forward:
    """The request goes to the backend, at ``path`` below its base."""

    route: ProxyRoute
    path: CleanPath


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
    try:
        path = clean_path(target, prefix=prefix)
    except BadPath as error:
        return Refuse(error.code)
    if upgrade.strip().lower() == "websocket":
        return Refuse("websocket_unsupported", path)
    name = "/".join(path.segments)
    if name in OWN_ENDPOINTS and not path.trailing_slash:
        return _own(method, name)
    route = None if name in RESERVED or name in OWN_ENDPOINTS or not name else routes.find(path)
    if route is None:
        return Refuse("no_route", path)
    if method == "OPTIONS":
        return Describe(route.allow)
    return (
        Forward(route, path) if method in route.methods else Refuse("method_not_allowed", path, route.allow)
    )


def _own(method: str, name: str) -> Decision:
    methods = OWN_ENDPOINTS[name]
    allow = ", ".join((*methods, "OPTIONS"))
    if method == "OPTIONS":
        return Describe(allow)
    return Own(name) if method in methods else Refuse("method_not_allowed", allow=allow)
