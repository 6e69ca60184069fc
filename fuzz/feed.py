"""Values out of the fuzzer's bytes, laid out so that seeds can be written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Feed:
    """Hands out the bytes from left to right; what is missing at the end reads as zeros or as nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        """0 to 255; a digit stands for itself."""
        taken = self.take(1)
        return (taken[0] - ord("0")) % 256 if taken else 0

    def choose(self, options: Sequence[T]) -> T:
        return options[self.number() % len(options)]

    def take(self, count: int) -> bytes:
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def line(self) -> bytes | None:
        """The bytes up to a line end; None when nothing is left, and for a lone dash."""
        if not self._data:
            return None
        found, _, self._data = self._data.partition(b"\n")
        return None if found == b"-" else found

    def text_line(self) -> str | None:
        found = self.line()
        return None if found is None else as_text(found)

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def text(self) -> str:
        return as_text(self.rest())

    def edit(self, text: str) -> str:
        """``text`` with a few characters cut out, and the rest of the bytes in their place."""
        at, cut = (self.number() * 256 + self.number()) % (len(text) + 1), self.number() % 8
        return text[:at] + self.text() + text[at + cut :]


def as_text(raw: bytes) -> str:
    """UTF-8, with half a character for every byte that is none: any text may come, whole or broken."""
    return raw.decode("utf-8", "surrogateescape")
