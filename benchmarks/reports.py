"""What a command hands back, as a table for people or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one command.

    :param columns: the heads of the table; the first one says what the rows are.
    :param figures: the same as ``rows``, unrounded, by variant.
    :param broken: promises that did not hold.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    broken: Sequence[str]
    figures: Mapping[str, Mapping[str, object]]

    def to_text(self, machine: Mapping[str, str]) -> str:
        head = ", ".join(f"{name} {value}" for name, value in machine.items())
        broken = [f"BROKEN: {promise}" for promise in self.broken]
        return "\n".join(
            [head, self.title, "", *_table([self.columns, *self.rows]), "", *self.notes, *broken]
        )

    def to_json(self, machine: Mapping[str, str]) -> str:
        content = {
            "machine": machine,
            "title": self.title,
            "figures": self.figures,
            "notes": self.notes,
            "broken": self.broken,
        }
        return json.dumps(content, indent=2)


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first one its head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    rule = ["-" * width for width in widths]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
