"""How many requests a second several servers manage, one after another in every round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from .loads import Ask, Load, answer_to, load, warm_up
from .spreads import take_turns


@dataclass(frozen=True, slots=True)
class Rates:
    """Good answers in a second, round by round, and what went wrong."""

    values: Mapping[str, list[float]]
    broken: list[str]


def measure_rates(measure: str, asks: Mapping[str, Ask], body: bytes, *, rounds: int, seconds: int) -> Rates:
    """Every variant in turn; ``body`` is what each of them has to answer, before and after."""
    broken = _wrong(measure, asks, body)
    if broken:
        # Whatever would be measured now, it would be error pages.
        return Rates({}, broken)
    warming = take_turns({name: partial(warm_up, ask) for name, ask in asks.items()}, 1)
    loads = take_turns({name: partial(load, ask, seconds) for name, ask in asks.items()}, rounds)
    broken = [*_faults(measure, warming), *_faults(measure, loads), *_wrong(measure, asks, body)]
    values = {name: [it.rate for it in turns] for name, turns in loads.items()}
    # Nothing can be compared with a server that hangs.
    return Rates(values if all(map(all, values.values())) else {}, broken)


def _wrong(measure: str, asks: Mapping[str, Ask], body: bytes) -> list[str]:
    return [
        f"{measure}: {name} gives the right answer"
        for name, ask in asks.items()
        if answer_to(ask) != (200, body)
    ]


def _faults(measure: str, loads: Mapping[str, list[Load]]) -> list[str]:
    return [
        f"{measure}: {name} has good answers only ({turn.faults})"
        for name, turns in loads.items()
        for turn in turns
        if turn.faults
    ]
