from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Literal, get_args

import pytest

from flask_api_layer.sansio.refresh import (
    Ended,
    Failure,
    LedgerEntry,
    Move,
    Outcome,
    Progress,
    Successor,
    Undecided,
    classify_refusal,
    lease_seconds,
    next_move,
    settle,
)
from flask_api_layer.sansio.session import Session

MINE = Successor(Session("user", "s1", "mine"))
THEIRS = Successor(Session("user", "s1", "theirs"))
OVER = Ended("expired")
STOLEN = Ended("reuse")
ENTRIES: tuple[LedgerEntry | None, ...] = (None, THEIRS, OVER, STOLEN)
ANSWERS: tuple[Outcome, ...] = (MINE, OVER, Ended("revoked"), STOLEN, Undecided())
LEASES: tuple[Literal["free", "mine", "taken"], ...] = ("free", "mine", "taken")
ALL = [
    Progress(looked=looked, entry=entry, logged_out=logged_out, lease=lease, answer=answer, patient=patient)
    for looked, entry, logged_out, lease, answer, patient in product(
        (False, True), ENTRIES, (False, True), LEASES, (None, *ANSWERS), (False, True)
    )
]


def after(move: Move, progress: Progress) -> Iterator[Progress]:
    """Everything that can be true after a move, as a worker among others sees it."""
    match move:
        case Move.LOOK:
            for entry, logged_out in product(ENTRIES, (False, True)):
                yield replace(progress, looked=True, entry=entry, logged_out=logged_out)
        case Move.LEASE:
            yield replace(progress, lease="mine", looked=False)
            yield replace(progress, lease="taken", looked=True)
            yield replace(progress, lease="taken", looked=False)
        case Move.WAIT:
            for patient in {False, progress.patient}:
                yield replace(progress, lease="free", looked=False, patient=patient)
        case Move.CALL:
            for answer, logged_out in product(ANSWERS, (False, True)):
                yield replace(progress, answer=answer, logged_out=logged_out)
            for entry in ENTRIES[1:]:
                yield replace(progress, answer=MINE, entry=entry)


def reachable() -> dict[Progress, list[Progress]]:
    """Every state that a refresh can get into, with those that may follow."""
    graph: dict[Progress, list[Progress]] = {}
    pending = [Progress()]
    while pending:
        progress = pending.pop()
        if progress in graph:
            continue
        move = next_move(progress)
        graph[progress] = list(after(move, progress)) if isinstance(move, Move) else []
        pending += graph[progress]
    return graph


@pytest.fixture(scope="module")
def graph() -> dict[Progress, list[Progress]]:
    return reachable()


def steps_to_the_end(progress: Progress, graph: dict[Progress, list[Progress]], path: list[Progress]) -> int:
    """The longest way on, not counting waits while there is patience; fails on a loop."""
    assert progress not in path, f"a loop: {path}"
    ways = [
        1 + steps_to_the_end(following, graph, [*path, progress])
        for following in graph[progress]
        if not (next_move(progress) is Move.WAIT and following.patient)
    ]
    return max(ways, default=0)


def test_every_refresh_ends_when_patience_does(graph: dict[Progress, list[Progress]]) -> None:
    longest = max(steps_to_the_end(progress, graph, []) for progress in graph)
    assert 0 < longest <= 10


def test_every_state_has_a_next_move_or_an_outcome() -> None:
    for progress in ALL:
        assert isinstance(next_move(progress), Move | Successor | Ended | Undecided)


def test_credential_is_spent_only_with_the_lease_and_after_a_look() -> None:
    calls = [progress for progress in ALL if next_move(progress) is Move.CALL]
    assert calls
    for progress in calls:
        assert progress.lease == "mine"
        assert progress.looked
        assert progress.entry is None
        assert not progress.logged_out


def test_look_counts_only_after_the_lease_was_taken() -> None:
    looked = Progress(looked=True)
    assert next_move(looked) is Move.LEASE
    assert next_move(replace(looked, lease="mine", looked=False)) is Move.LOOK
    assert next_move(replace(looked, lease="mine", looked=True)) is Move.CALL


def test_credential_is_spent_at_most_once(graph: dict[Progress, list[Progress]]) -> None:
    spent = [progress for progress in graph if progress.answer is not None]
    assert spent
    assert not [progress for progress in spent if next_move(progress) is Move.CALL]


def test_first_move_is_a_look() -> None:
    # A lease that nobody needs would make others wait.
    assert next_move(Progress()) is Move.LOOK


def test_ledger_entry_is_the_outcome() -> None:
    # B6.2
    found = [progress for progress in ALL if progress.looked and progress.entry and not progress.logged_out]
    assert found
    assert [progress for progress in found if next_move(progress) != progress.entry] == []


@pytest.mark.parametrize("answer", [OVER, Ended("revoked"), MINE])
def test_what_the_ledger_says_beats_a_late_answer(answer: Outcome) -> None:
    # B6.3
    assert next_move(Progress(looked=True, lease="mine", answer=answer, entry=THEIRS)) == THEIRS


@pytest.mark.parametrize("answer", [None, *ANSWERS])
def test_logout_ends_the_session_whatever_the_backend_answers(answer: Outcome | None) -> None:
    # B6.4
    for entry in (None, THEIRS):
        progress = Progress(looked=True, lease="mine", answer=answer, entry=entry, logged_out=True)
        assert isinstance(next_move(progress), Ended)


@pytest.mark.parametrize("answer", [OVER, Ended("revoked"), STOLEN])
def test_refusal_ends_the_session_after_one_more_look(answer: Outcome) -> None:
    unlooked = Progress(looked=False, lease="mine", answer=answer)
    assert next_move(unlooked) in (Move.LOOK, answer)
    assert next_move(replace(unlooked, looked=True)) == answer


def test_outage_decides_nothing() -> None:
    # B6.6
    assert next_move(Progress(looked=True, lease="mine", answer=Undecided())) == Undecided()


def test_new_tokens_are_the_outcome() -> None:
    assert next_move(Progress(looked=True, lease="mine", answer=MINE)) == MINE


def test_taken_lease_is_waited_for_while_there_is_patience() -> None:
    assert next_move(Progress(looked=True, lease="taken")) is Move.WAIT
    assert next_move(Progress(looked=True, lease="taken", patient=False)) == Undecided()


def test_waiter_looks_again_before_it_wants_the_lease() -> None:
    # B6.3
    waited = Progress(looked=False, lease="free")
    assert next_move(waited) is Move.LOOK
    assert next_move(replace(waited, looked=True)) is Move.LEASE


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (400, "invalid_grant", "expired"),
        (401, None, "expired"),
        (401, "unauthorized", "expired"),
        (401, "invalid_grant", "expired"),
        (403, None, "revoked"),
        (403, "forbidden", "revoked"),
        (409, None, "reuse"),
        (409, "conflict", "reuse"),
        (400, "token_reuse", "reuse"),
        (401, "token_reuse", "reuse"),
        (403, "token_reuse", "reuse"),
        (500, "token_reuse", "reuse"),
        (408, None, "network"),
        (425, None, "network"),
        (429, None, "network"),
        (429, "invalid_grant", "network"),
        (500, None, "network"),
        (500, "invalid_grant", "network"),
        (502, None, "network"),
        (503, None, "network"),
        (504, None, "network"),
        (599, None, "network"),
        (400, None, "unknown"),
        (400, "invalid_request", "unknown"),
        (400, "INVALID_GRANT", "unknown"),
        (400, "", "unknown"),
        (404, None, "unknown"),
        (405, None, "unknown"),
        (410, None, "unknown"),
        (415, None, "unknown"),
        (418, None, "unknown"),
        (422, None, "unknown"),
        (422, "invalid_grant", "unknown"),
    ],
)
def test_refusals_are_classified(status: int, code: str | None, failure: Failure) -> None:
    # B6.6
    assert classify_refusal(status, code) == failure


@pytest.mark.parametrize("status", [100, 200, 204, 206, 301, 302, 307, 308, 304, 999, 0, 600])
def test_any_other_status_ends_nothing(status: int) -> None:
    # B6.6
    assert settle(classify_refusal(status, None)) == Undecided()


def test_only_a_clear_no_ends_a_session() -> None:
    # B6.6
    refusals = {status: settle(classify_refusal(status, None)) for status in range(100, 600)}
    assert [status for status, outcome in refusals.items() if isinstance(outcome, Ended)] == [401, 403, 409]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        ("expired", Ended("expired")),
        ("revoked", Ended("revoked")),
        ("reuse", Ended("reuse")),
        ("network", Undecided()),
        ("unknown", Undecided()),
    ],
)
def test_failures_are_settled(failure: Failure, outcome: Ended | Undecided) -> None:
    assert settle(failure) == outcome


def test_every_failure_is_settled() -> None:
    assert {type(settle(failure)) for failure in get_args(Failure)} == {Ended, Undecided}


@pytest.mark.parametrize(("connect", "read"), [(2, 10), (0.1, 0.1), (30, 300)])
def test_lease_outlives_the_call_that_it_protects(connect: float, read: float) -> None:
    # B6.3
    assert lease_seconds(connect, read) > connect + read
