from __future__ import annotations

from flask_api_layer.stores import MemoryStore
from flask_api_layer.stores.memory import SMALLEST_SWEEP

from .conftest import Clock


def test_expired_entries_do_not_pile_up(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    for number in range(10 * SMALLEST_SWEEP):
        store.put(f"key-{number}", b"value", 1)
        clock.elapse(1)
    assert len(store._entries) <= SMALLEST_SWEEP


def test_no_living_entry_is_swept(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    for number in range(3 * SMALLEST_SWEEP):
        store.put(f"key-{number}", b"value", 1)
    clock.elapse(0.9)
    assert all(store.get(f"key-{number}") for number in range(3 * SMALLEST_SWEEP))


def test_closing_forgets() -> None:
    store = MemoryStore()
    store.put("key", b"value", 60)
    store.close()
    assert store.get("key") is None
