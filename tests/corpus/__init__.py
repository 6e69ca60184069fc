"""Hostile and broken input as data: one JSON file per subject, described in the README beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Parts = str | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One input and what must come of it.

    :param rule: the rule of the contract that decides, such as "B7.2".
    :param given: all other members of the JSON object; each file says in ``about`` what they mean.
    """

    id: str
    row: str
    rule: str
    given: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A member that is text, or a list that joins texts and ``[text, times]``."""
        return joined(self.given[name])

    def bytes(self, name: str) -> bytes:
        """The same as bytes: a text has one Latin-1 character per byte."""
        return self.text(name).encode("latin-1")


def cases(name: str) -> list[Case]:
    """The cases of ``<name>.json``."""
    content = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return [_case(dict(item)) for item in content["cases"]]


def _case(item: dict[str, Any]) -> Case:
    return Case(item.pop("id"), item.pop("row"), item.pop("rule"), item)


def joined(parts: Parts) -> str:
    """The text of such a member."""
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)
