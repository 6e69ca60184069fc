"""Types for command line options."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def at_least(smallest: int) -> Callable[[str], int]:
    """A type for a count that is not smaller than this."""

    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise ArgumentTypeError(f"{text!r} is not a whole number of {smallest} or more")
        return int(text)

    return count
