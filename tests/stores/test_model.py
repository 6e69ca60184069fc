"""Stores whose clock can be moved, against a dict that remembers when things expire."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flask_api_layer.stores import CheckedStore, MemoryStore, SQLiteStore

from .conftest import Clock

KEYS = ("a", "b", "c")
keys = st.sampled_from(KEYS)
values = st.sampled_from((b"", b"0", b"\x00", b"one", b"two"))
seconds = st.sampled_from((0.001, 0.5, 1.0, 10.0))


class MemoryAgainstModel(RuleBasedStateMachine):
    """Any order of calls and moments gives what the dict gives."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.expected: dict[str, tuple[bytes, float]] = {}
        self.store = self.make()

    def make(self) -> CheckedStore:
        return MemoryStore(clock=self.clock)

    def living(self, key: str) -> bytes | None:
        value, expires = self.expected.get(key, (None, 0.0))
        return value if expires > self.clock.now else None

    @rule(key=keys, value=values, ttl=seconds)
    def put(self, key: str, value: bytes, ttl: float) -> None:
        self.store.put(key, value, ttl)
        self.expected[key] = (value, self.clock.now + ttl)

    @rule(key=keys, value=values, ttl=seconds)
    def put_if_absent(self, key: str, value: bytes, ttl: float) -> None:
        is_absent = self.living(key) is None
        assert self.store.put_if_absent(key, value, ttl) is is_absent
        if is_absent:
            self.expected[key] = (value, self.clock.now + ttl)

    @rule(key=keys, value=values)
    def delete_if_equal(self, key: str, value: bytes) -> None:
        is_equal = self.living(key) == value
        assert self.store.delete_if_equal(key, value) is is_equal
        if is_equal:
            del self.expected[key]

    @rule(elapsed=seconds)
    def elapse(self, elapsed: float) -> None:
        self.clock.elapse(elapsed)

    @invariant()
    def holds_what_lives(self) -> None:
        assert [self.store.get(key) for key in KEYS] == [self.living(key) for key in KEYS]


class SQLiteAgainstModel(MemoryAgainstModel):
    """The same for a file, also when it is closed in between."""

    def make(self) -> CheckedStore:
        self.folder = Path(tempfile.mkdtemp())
        return SQLiteStore(self.folder / "store.sqlite3", clock=self.clock, timeout=10)

    @rule()
    def close(self) -> None:
        self.store.close()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestMemory = MemoryAgainstModel.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSQLite = SQLiteAgainstModel.TestCase
TestSQLite.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
