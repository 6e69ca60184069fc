"""How long a store takes for one operation, seen from one thread."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from flask_api_layer import Store

CALLS = 200
VALUE = b"v" * 700  # about what a sealed session takes
TTL = 60.0


@dataclass(frozen=True, slots=True)
class Operations:
    """Microseconds for a call that finds, writes or deletes what it was asked for."""

    get: float
    put_if_absent: float
    delete_if_equal: float


def measure_operations(stores: Mapping[str, Store], *, rounds: int) -> dict[str, Operations]:
    """The median of these rounds for each store; the stores take turns."""
    _measured(stores)  # Opens files and connections.
    measured = [_measured(stores) for _ in range(rounds)]
    return {name: _median([turn[name] for turn in measured]) for name in stores}


def _measured(stores: Mapping[str, Store]) -> dict[str, Operations]:
    return {name: _measure(store) for name, store in stores.items()}


def _measure(store: Store) -> Operations:
    keys = [secrets.token_hex(32) for _ in range(CALLS)]
    put = _microseconds(keys, lambda key: store.put_if_absent(key, VALUE, TTL))
    get = _microseconds(keys, store.get)
    delete = _microseconds(keys, lambda key: store.delete_if_equal(key, VALUE))
    return Operations(get, put, delete)


def _microseconds(keys: Sequence[str], call: Callable[[str], object]) -> float:
    begin = time.perf_counter()
    hits = sum(1 for key in keys if call(key))
    elapsed = time.perf_counter() - begin
    assert hits == len(keys)
    return elapsed / len(keys) * 1e6


def _median(turns: Sequence[Operations]) -> Operations:
    return Operations(
        median(turn.get for turn in turns),
        median(turn.put_if_absent for turn in turns),
        median(turn.delete_if_equal for turn in turns),
    )
