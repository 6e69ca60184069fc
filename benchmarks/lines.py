"""The lines of a table: a variant, its figure, how it compares, and what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from .spreads import Spread, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure.

    :param ratio: how it compares; the command says with what.
    :param added: what it has more than the thing that it is compared with.
    :param wish: for the ratio where there is one, else for the figure.
    """

    measure: str
    variant: str
    value: Spread
    ratio: Spread | None = None
    added: Spread | None = None
    wish: Wish | None = None
    digits: int = 0

    def cells(self) -> list[str]:
        """Measure, variant, value, ratio, added, wanted."""
        ratio = "" if self.ratio is None else self.ratio.text()
        added = "" if self.added is None else self.added.text(self.digits)
        wanted = "" if self.wish is None else self.wish.text(self._wished)
        return [self.measure, self.variant, self.value.text(self.digits), ratio, added, wanted]

    @property
    def is_missed(self) -> bool:
        return self.wish is not None and not self.wish.is_met(self._wished)

    @property
    def _wished(self) -> Spread:
        return self.value if self.ratio is None else self.ratio

    def figures(self) -> dict[str, object]:
        """Not rounded, and whether the wish came true."""
        return {
            "value": asdict(self.value),
            "ratio": None if self.ratio is None else asdict(self.ratio),
            "added": None if self.added is None else asdict(self.added),
            "wanted": None if self.wish is None else asdict(self.wish) | {"missed": self.is_missed},
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """Lines that were measured together, and the promises that did not hold meanwhile."""

    lines: Sequence[Line]
    broken: Sequence[str] = ()


def figures_of(lines: Iterable[Line]) -> dict[str, dict[str, object]]:
    """By measure, then by variant."""
    found: dict[str, dict[str, object]] = {}
    for line in lines:
        found.setdefault(line.measure, {})[line.variant] = line.figures()
    return found


def missed(lines: Iterable[Line]) -> list[str]:
    """A note for each wish that did not come true."""
    return [f"missed: {line.measure}, {line.variant}: {line.cells()[-1]}" for line in lines if line.is_missed]
