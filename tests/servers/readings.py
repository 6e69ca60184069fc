"""How lenient backends may read a path: decoded more than once, folded, with parameters cut off."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

_DEPTH = 5
_TOKEN_ENDPOINTS = frozenset(f"auth/{name}" for name in ("login", "register", "refresh", "guest", "logout"))


def escapes(target: str) -> bool:
    """Whether some reading of the target lies outside the base path ``/v1/``."""
    return any(segments is None or segments[:1] != ["v1"] for segments in _readings(target))


def is_token_endpoint(target: str) -> bool:
    """Whether some reading of the target is a place where the backend hands out or ends tokens."""
    readings = ("/".join(segments or []) for segments in _readings(target))
    return any(path.removeprefix("v1/").casefold() in _TOKEN_ENDPOINTS for path in readings)


def _readings(target: str) -> Iterator[list[str] | None]:
    path = target.partition("?")[0].encode("latin-1")
    for _ in range(_DEPTH):
        yield _resolved(path)
        path = unquote_to_bytes(path)


def _resolved(path: bytes) -> list[str] | None:
    """The segments after everything that some backend does; nothing when they climb above the root."""
    text = unicodedata.normalize("NFKC", path.decode("utf-8", "replace")).replace("\\", "/")
    found: list[str] = []
    for raw in text.split("/"):
        segment = raw.partition(";")[0].partition("\x00")[0].strip("\t\r\n")
        if segment == ".." and not found:
            return None
        if segment == "..":
            found.pop()
        elif segment not in ("", "."):
            found.append(segment)
    return found
