"""The proxy's route table: what may cross, for whom, and where it leads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote

from .paths import CleanPath, split_path
from .routes import ANY, ONE, RouteTable

PROXY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TOKEN_ENDPOINTS = ("login", "register", "refresh", "guest", "logout")
WILDCARDS = (ONE, ANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRoute:
    """One entry of PROXY_ROUTES.

    :param pattern: of the path below the prefix, or below the name of the upstream there.
    :param to: where it leads below the base URL; its wildcards take what those of the pattern matched. None: to the same path.
    :param roles: only for users who have any of them.
    :param auth: whose bearer goes along: "user" (users only), "guest" (the user's, else the guest's) or "none".
    :param request_headers: further lower-case names that cross, beside PROXY_REQUEST_HEADERS.
    :param timeout: seconds, in place of READ_TIMEOUT and TOTAL_TIMEOUT.
    :param stream: the answer may pause for as long as it likes, as an event stream may.
    :param upstream: the name that ``add_upstream`` gave it; "" is the backend.
    """

    pattern: str
    methods: frozenset[str]
    to: str | None = None
    roles: frozenset[str] = frozenset()
    auth: Literal["user", "guest", "none"] = "guest"
    request_headers: frozenset[str] = frozenset()
    response_headers: frozenset[str] = frozenset()
    timeout: float | None = None
    stream: bool = False
    upstream: str = ""

    @property
    def public_pattern(self) -> str:
        """The pattern below the prefix."""
        return f"{self.upstream}/{self.pattern}" if self.upstream else self.pattern

    @property
    def allowed(self) -> frozenset[str]:
        return self.methods | {"HEAD"} if "GET" in self.methods else self.methods

    @property
    def allow(self) -> str:
        """The value of the ``Allow`` header."""
        return ", ".join([method for method in PROXY_METHODS if method in self.allowed] + ["OPTIONS"])

    def target(self, path: CleanPath) -> CleanPath:
        """Where a path that matches leads, below the base URL."""
        segments = path.segments[1:] if self.upstream else path.segments
        if self.to is None:
            return CleanPath(segments, path.trailing_slash)
        moved = rewritten(segments, self.pattern, self.to)
        assert moved is not None
        return CleanPath(moved, path.trailing_slash or self.to.endswith("/"))

    def public(self, target: CleanPath) -> CleanPath:
        """The path below the prefix that leads to a path below the base URL, as far as this route knows."""
        moved = None if self.to is None else rewritten(target.segments, self.to, self.pattern)
        segments = target.segments if moved is None else moved
        return CleanPath((self.upstream, *segments) if self.upstream else segments, target.trailing_slash)


def rewritten(segments: tuple[str, ...], pattern: str, to: str) -> tuple[str, ...] | None:
    """``to`` with its wildcards filled by what those of ``pattern`` match; None when it does not match.

    :param pattern: with one ``**`` at most, so that there is only one way to match.
    :param to: has the wildcards of the pattern, in order, or none.
    """
    caught = _caught(segments, split_path(pattern))
    if caught is None:
        return None
    found: list[str] = []
    for segment in split_path(to):
        found += caught.pop(0) if segment in WILDCARDS else (segment,)
    return tuple(found)


def _caught(segments: tuple[str, ...], pattern: tuple[str, ...]) -> list[tuple[str, ...]] | None:
    """What each wildcard of the pattern stands for."""
    if ANY not in pattern:
        return _caught_one_by_one(segments, pattern)
    start = pattern.index(ANY)
    end = len(segments) - (len(pattern) - start - 1)
    if end < start:
        return None
    before = _caught_one_by_one(segments[:start], pattern[:start])
    after = _caught_one_by_one(segments[end:], pattern[start + 1 :])
    return None if before is None or after is None else [*before, segments[start:end], *after]


def _caught_one_by_one(segments: tuple[str, ...], pattern: tuple[str, ...]) -> list[tuple[str, ...]] | None:
    if len(segments) != len(pattern):
        return None
    steps = list(zip(segments, pattern, strict=True))
    if any(step not in (segment, ONE) for segment, step in steps):
        return None
    return [(segment,) for segment, step in steps if step == ONE]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route and where it stands: the smallest rank of those that match decides."""

    route: ProxyRoute
    rank: tuple[tuple[int, ...], int]


class ProxyRoutes:
    """PROXY_ROUTES: deny by default, the most specific pattern alone decides.

    :param sealed: paths that never cross whatever the patterns say, by upstream: the backend's token endpoints.
    """

    def __init__(
        self,
        routes: Iterable[ProxyRoute],
        *,
        sealed: Mapping[str, Iterable[str]] = MappingProxyType({}),
    ) -> None:
        routes = list(routes)
        entries = [
            (route.public_pattern, _Entry(route, (_specificity(route.public_pattern), order)))
            for order, route in enumerate(routes)
        ]
        self._table = RouteTable(entries)
        has_roles = any(route.roles for route in routes)
        self._folded_table = RouteTable((_folded(pattern), entry) for pattern, entry in entries if has_roles)
        self._sealed = {
            upstream: frozenset(_folded(path) for path in paths) for upstream, paths in sealed.items()
        }

    def find(self, path: CleanPath) -> ProxyRoute | None:
        """The route that decides about a path; None when nothing lets it through."""
        route = _best(self._table, path.segments)
        if route is None or self._evades_roles(path, route):
            return None
        target = "/".join(route.target(path).segments)
        return None if _folded(target) in self._sealed.get(route.upstream, ()) else route

    def _evades_roles(self, path: CleanPath, route: ProxyRoute) -> bool:
        """Whether a lenient backend would read this path as one that asks for roles, which its own route does not."""
        if not self._folded_table or route.roles:
            return False
        meant = _best(self._folded_table, split_path(_folded("/".join(path.segments))))
        return meant is not None and bool(meant.roles)


def _best(table: RouteTable[_Entry], segments: tuple[str, ...]) -> ProxyRoute | None:
    entries = table.matches(segments)
    return min(entries, key=lambda entry: entry.rank).route if entries else None


def _specificity(pattern: str) -> tuple[int, ...]:
    """Sorts patterns that match one path: literal, then ``*``, then ``**``, from the left; an end after ``**`` comes last."""
    ranks = {ONE: 1, ANY: 2}
    segments = split_path(pattern)
    ranked = tuple(ranks.get(segment, 0) for segment in segments)
    return (*ranked, 3) if ANY in segments else ranked


def _folded(path: str) -> str:
    """A path as lenient backends compare it: decoded once more, without ``;params``, ``.format``, dots and blanks at ends."""
    segments = [unquote(segment).split(";", 1)[0].strip().rstrip(".") for segment in split_path(path)]
    if segments:
        segments[-1] = re.sub(r"(\.\w*)+$", "", segments[-1])
    return "/".join(segments).casefold()
