"""The table of mutations keeps up with the code; that each is noticed is for ``make mutations`` to show."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from .mutation_table import MUTATIONS, Mutation
from .mutations import CHECKOUT, PACKAGE, main, mutated

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(MUTATIONS)


@each_mutation
def test_the_code_has_what_is_replaced_and_is_code_afterwards(mutation: Mutation) -> None:
    code = (CHECKOUT / PACKAGE / mutation.file).read_text()
    assert ast.dump(ast.parse(mutated(code, mutation))) != ast.dump(ast.parse(code))


@each_mutation
def test_the_test_is_there(mutation: Mutation) -> None:
    file, _, test = mutation.test.partition("::")
    assert not test or test in _tests(file)


@cache
def _tests(file: str) -> frozenset[str]:
    code = ast.parse((CHECKOUT / "tests" / file).read_text())
    return frozenset(node.name for node in code.body if isinstance(node, ast.FunctionDef))


def test_what_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="2 times, not once"):
        mutated("old old", Mutation("twice", "file.py", "old", "new", "test.py"))


def test_mutations_are_listed_by_name_and_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "sansio/cookies.py"]) == 0
    assert "scripts may read the auth cookies" in capsys.readouterr().out
    assert main(["no mutation is called so"]) == 2
