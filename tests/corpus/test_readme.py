"""The tables in the README name tests that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
NAMED = re.compile(r"([\w/]*test_\w+\.py)?::(\w+)")


def _named() -> list[tuple[str, str]]:
    """File and function of each test id; one without a file belongs to the file before it in its line."""
    found = []
    for line in (TESTS / "corpus" / "README.md").read_text().splitlines():
        file = "no file"
        for match in NAMED.finditer(line):
            file = match[1] or file
            found.append((file, match[2]))
    return found


@cache
def _functions(file: str) -> set[str]:
    sources = [
        path.read_text()
        for path in TESTS.rglob("*.py")
        if f"/tests/{path.relative_to(TESTS)}".endswith(f"/{file}")
    ]
    return {
        name for source in sources for name in re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE)
    }


@pytest.mark.parametrize(("file", "function"), dict.fromkeys(_named()), ids=lambda part: part)
def test_a_test_that_the_tables_name_exists(file: str, function: str) -> None:
    assert function in _functions(file)
