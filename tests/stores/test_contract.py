"""What every store promises."""

from __future__ import annotations

import threading

import pytest

from .conftest import Subject

VALUES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "text_of_a_number": b"42",
    "several_kilobytes": b"\x00\xff" * 8192,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_gives_back_the_bytes_that_were_put(subject: Subject, value: bytes) -> None:
    subject.store.put("key", value, 60)
    assert subject.store.get("key") == value


def test_knows_nothing_of_other_keys(subject: Subject) -> None:
    subject.store.put("key", b"value", 60)
    assert [subject.store.get(key) for key in ("KEY", "key ", "ke", "key:1", "*")] == [None] * 5


def test_put_replaces_value_and_time_to_live(subject: Subject) -> None:
    subject.store.put("key", b"first", 60)
    subject.store.put("key", b"second", 10)
    assert subject.store.get("key") == b"second"
    subject.elapse(11)
    assert subject.store.get("key") is None


def test_a_value_lives_as_long_as_it_was_told(subject: Subject) -> None:
    subject.store.put("key", b"value", 60)
    subject.elapse(50)
    assert subject.store.get("key") == b"value"
    subject.elapse(11)
    assert subject.store.get("key") is None


def test_put_if_absent_keeps_what_lives(subject: Subject) -> None:
    assert subject.store.put_if_absent("key", b"first", 60)
    assert not subject.store.put_if_absent("key", b"second", 600)
    assert subject.store.get("key") == b"first"
    subject.elapse(61)
    assert subject.store.get("key") is None


def test_put_if_absent_respects_a_put(subject: Subject) -> None:
    subject.store.put("key", b"first", 60)
    assert not subject.store.put_if_absent("key", b"first", 60)


def test_put_if_absent_replaces_what_expired(subject: Subject) -> None:
    subject.store.put_if_absent("key", b"first", 10)
    subject.elapse(11)
    assert subject.store.put_if_absent("key", b"second", 60)
    subject.elapse(50)
    assert subject.store.get("key") == b"second"


def test_an_empty_value_is_a_value(subject: Subject) -> None:
    assert subject.store.put_if_absent("key", b"", 60)
    assert not subject.store.put_if_absent("key", b"second", 60)
    assert subject.store.delete_if_equal("key", b"")
    assert subject.store.get("key") is None


def test_delete_if_equal_deletes_only_that_value(subject: Subject) -> None:
    subject.store.put("key", b"mine", 60)
    assert not subject.store.delete_if_equal("key", b"yours")
    assert not subject.store.delete_if_equal("other", b"mine")
    assert subject.store.get("key") == b"mine"
    assert subject.store.delete_if_equal("key", b"mine")
    assert subject.store.get("key") is None
    assert not subject.store.delete_if_equal("key", b"mine")


def test_a_deleted_key_is_absent(subject: Subject) -> None:
    subject.store.put("key", b"first", 60)
    subject.store.delete_if_equal("key", b"first")
    assert subject.store.put_if_absent("key", b"second", 60)


def test_delete_if_equal_finds_nothing_expired(subject: Subject) -> None:
    subject.store.put("key", b"value", 10)
    subject.elapse(11)
    assert not subject.store.delete_if_equal("key", b"value")


def test_one_of_many_threads_wins_each_key(subject: Subject) -> None:
    keys = [f"key-{number}" for number in range(20)]
    wins: list[str] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait()
        wins.extend([key for key in keys if subject.store.put_if_absent(key, b"mine", 60)])

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == sorted(keys)


def test_one_of_many_threads_releases_a_lease(subject: Subject) -> None:
    subject.store.put("lease", b"mine", 60)
    released: list[bool] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait()
        released.append(subject.store.delete_if_equal("lease", b"mine"))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(released) == [False] * 7 + [True]


def test_a_sound_store_has_no_problem_and_works_on(subject: Subject) -> None:
    subject.store.put("key", b"value", 60)
    assert subject.store.problem() is None
    assert subject.store.get("key") == b"value"


def test_a_closed_store_opens_again(subject: Subject) -> None:
    subject.store.close()
    subject.store.close()
    subject.store.put("key", b"value", 60)
    assert subject.store.get("key") == b"value"
