"""Route tables: patterns in, the entries that match a path out; the cost of a match does not grow with the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .access import AUTH, PUBLIC, USER, Policy
from .paths import split_path

T = TypeVar("T")

ANY = "**"
ONE = "*"


@dataclass(slots=True)
class _Node(Generic[T]):
    """A step in the tree of patterns; ``loops`` marks the node of a ``**``, which eats any number of segments."""

    loops: bool = False
    children: dict[str, _Node[T]] = field(default_factory=dict)
    entries: list[T] = field(default_factory=list)


class RouteTable(Generic[T]):
    """Patterns of whole paths: ``*`` is one segment, ``**`` any number, none included; everything else is literal."""

    def __init__(self, entries: Iterable[tuple[str, T]] = ()) -> None:
        self._root: _Node[T] = _Node()
        for pattern, entry in entries:
            self._add(pattern, entry)

    def _add(self, pattern: str, entry: T) -> None:
        node = self._root
        for segment in split_path(pattern):
            node = node.children.setdefault(segment, _Node(loops=segment == ANY))
        node.entries.append(entry)

    def __bool__(self) -> bool:
        return bool(self._root.children or self._root.entries)

    def matches(self, segments: Sequence[str]) -> list[T]:
        """The entries of every pattern that matches the whole path."""
        nodes = _with_empty_steps([self._root])
        for segment in segments:
            nodes = _with_empty_steps([after for node in nodes for after in _after(node, segment)])
        return [entry for node in nodes for entry in node.entries]


def _after(node: _Node[T], segment: str) -> Iterable[_Node[T]]:
    if node.loops:
        yield node
    # A "*" or "**" in the path itself is an ordinary name, not a wildcard.
    if segment not in (ONE, ANY) and (child := node.children.get(segment)):
        yield child
    if one := node.children.get(ONE):
        yield one


def _with_empty_steps(nodes: list[_Node[T]]) -> list[_Node[T]]:
    """The nodes, and those behind a ``**`` that stands for no segment."""
    reached = {id(node): node for node in nodes}
    for node in nodes:
        step = node.children.get(ANY)
        while step is not None and id(step) not in reached:
            reached[id(step)] = step
            step = step.children.get(ANY)
    return list(reached.values())


@dataclass(frozen=True, slots=True)
class _Claim:
    """A policy that a pattern lays on a path; the greatest one counts: longest first, then the strictest."""

    length: tuple[int, int]
    strictness: int
    policy: Policy


class RoutePolicies:
    """PROTECTED_ROUTES, AUTH_ROUTES and PUBLIC_ROUTES as one table.

    An entry covers its path and everything below it, on segment boundaries. The longest matching pattern counts (segments, then
    literal segments); a tie is protected.
    """

    def __init__(
        self, *, protected: Iterable[str] = (), auth: Iterable[str] = (), public: Iterable[str] = ()
    ) -> None:
        kinds = ((PUBLIC, public), (AUTH, auth), (USER, protected))
        self._table = RouteTable(
            (_covering(pattern), _Claim(_length(pattern), strictness, policy))
            for strictness, (policy, patterns) in enumerate(kinds)
            for pattern in patterns
        )

    def policy_for(self, path: str) -> Policy | None:
        claims = self._table.matches(split_path(path)) if self._table else []
        return max(claims, key=lambda claim: (claim.length, claim.strictness)).policy if claims else None


class PathSet:
    """Patterns that only include or exclude a path."""

    def __init__(self, patterns: Iterable[str], *, and_below: bool = False) -> None:
        self._table = RouteTable(
            (_covering(pattern) if and_below else pattern, pattern) for pattern in patterns
        )

    def __contains__(self, path: str | Sequence[str]) -> bool:
        if not self._table:
            return False
        return bool(self._table.matches(split_path(path) if isinstance(path, str) else path))


def _covering(pattern: str) -> str:
    return pattern if split_path(pattern)[-1:] == (ANY,) else f"{pattern.rstrip('/')}/{ANY}"


def _length(pattern: str) -> tuple[int, int]:
    segments = [segment for segment in split_path(pattern) if segment != ANY]
    return len(segments), sum(segment != ONE for segment in segments)
