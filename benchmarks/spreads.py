"""Figures that swing from round to round: variants that take turns, medians, and what is wanted of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of all rounds, and how far they lie apart."""

    median: float
    least: float
    most: float

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} [{self.least:.{digits}f}..{self.most:.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the project wants of a median; a miss is told, and is no failure."""

    limit: float
    at_least: bool

    def is_met(self, found: Spread) -> bool:
        return found.median >= self.limit if self.at_least else found.median <= self.limit

    def text(self, found: Spread) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" + ("" if self.is_met(found) else f", is {found.median:.2f}")


def at_least(limit: float) -> Wish:
    return Wish(limit, at_least=True)


def at_most(limit: float) -> Wish:
    return Wish(limit, at_least=False)


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """How the values compare with others of the same rounds."""
    return spread([value / other for value, other in zip(values, others, strict=True)])


def take_turns(variants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each variant gave in each round.

    All take part in every round, and each round begins with another one, so that a noisy moment or a warm cache favours nobody.
    """
    names = list(variants)
    found: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(variants[name]())
    return found
