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


def several(*names: str) -> Callable[[str], tuple[str, ...]]:
    """A type for some of these names with commas between them, or "none"."""

    def chosen(text: str) -> tuple[str, ...]:
        wanted = () if text == "none" else tuple(text.split(","))
        for name in wanted:
            if name not in names:
                raise ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return tuple(name for name in names if name in wanted)

    return chosen
