from __future__ import annotations

import threading

import pytest

from flask_api_layer.errors import StoreDown
from flask_api_layer.stores import Breaker, MemoryStore

from .conftest import Clock


class Moody(MemoryStore):
    """A memory store that can be down, counts its calls and can make a caller wait."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.calls = 0
        self.entered = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def get(self, key: str) -> bytes | None:
        self.calls += 1
        self.entered.set()
        self.may_answer.wait()
        if self.is_down:
            raise StoreDown("The store is gone.")
        return super().get(key)


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
def breaker(moody: Moody, clock: Clock) -> Breaker:
    return Breaker(moody, clock=clock, rest=5.0)


def fail(breaker: Breaker) -> str:
    with pytest.raises(StoreDown) as caught:
        breaker.get("key")
    return str(caught.value)


def test_passes_answers_through(breaker: Breaker) -> None:
    breaker.put("key", b"value", 60)
    assert not breaker.put_if_absent("key", b"other", 60)
    assert breaker.get("key") == b"value"
    assert breaker.delete_if_equal("key", b"value")
    assert breaker.problem() is None


def test_a_dead_store_is_asked_once_in_a_rest(breaker: Breaker, moody: Moody, clock: Clock) -> None:
    moody.is_down = True
    fail(breaker)
    for _ in range(20):
        fail(breaker)
    clock.elapse(4.9)
    fail(breaker)
    assert moody.calls == 1
    clock.elapse(0.2)
    fail(breaker)
    fail(breaker)
    assert moody.calls == 2


def test_every_method_fails_at_once_while_resting(breaker: Breaker, moody: Moody) -> None:
    moody.is_down = True
    fail(breaker)
    with pytest.raises(StoreDown):
        breaker.put("key", b"value", 60)
    with pytest.raises(StoreDown):
        breaker.put_if_absent("key", b"value", 60)
    with pytest.raises(StoreDown):
        breaker.delete_if_equal("key", b"value")
    assert MemoryStore.get(moody, "key") is None


def test_the_reason_is_repeated_while_resting(breaker: Breaker, moody: Moody) -> None:
    moody.is_down = True
    assert fail(breaker) == "The store is gone."
    assert fail(breaker).startswith("The store is gone. ")
    assert fail(breaker) == fail(breaker)


def test_success_after_the_rest_lets_everybody_in(breaker: Breaker, moody: Moody, clock: Clock) -> None:
    moody.is_down = True
    fail(breaker)
    moody.is_down = False
    clock.elapse(5)
    assert [breaker.get("key") for _ in range(3)] == [None] * 3
    assert moody.calls == 4


def test_only_one_caller_tries(breaker: Breaker, moody: Moody, clock: Clock) -> None:
    moody.is_down = True
    fail(breaker)
    clock.elapse(5)
    moody.is_down = False
    moody.entered.clear()
    moody.may_answer.clear()
    first = threading.Thread(target=breaker.get, args=("key",))
    first.start()
    moody.entered.wait()
    fail(breaker)
    moody.may_answer.set()
    first.join()
    assert breaker.get("key") is None
    assert moody.calls == 3


def test_a_try_that_never_returns_does_not_keep_the_store_shut(
    breaker: Breaker, moody: Moody, clock: Clock
) -> None:
    moody.is_down = True
    fail(breaker)
    clock.elapse(5)
    moody.is_down = False
    moody.entered.clear()
    moody.may_answer.clear()
    stuck = threading.Thread(target=breaker.get, args=("key",))
    stuck.start()
    moody.entered.wait()
    clock.elapse(5)
    moody.may_answer.set()
    assert breaker.get("key") is None
    stuck.join()


def test_other_errors_are_no_outage(moody: Moody, clock: Clock) -> None:
    breaker = Breaker(moody, clock=clock)
    with pytest.raises(TypeError):
        breaker.get(["no", "key"])  # type: ignore[arg-type]
    assert breaker.get("key") is None
