"""The proxied path: what is accepted is below the base for every server that reads it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, unquote_to_bytes

from flask_api_layer.sansio.paths import MAX_PATH_BYTES, BadPath, CleanPath, clean_path, request_target

from ..feed import Feed


def check(data: bytes) -> None:
    feed = Feed(data)
    prefix, script_name = feed.choose(("/api", "", "/a/b")), feed.choose(("", "/shop", "/50%"))
    raw, path_info = _as_server_shows(feed, script_name)
    target = request_target(raw, script_name, path_info)
    assert unquote_to_bytes(target.encode("latin-1")) == path_info.encode("latin-1"), "not what was routed"
    try:
        clean = clean_path(target, prefix=prefix)
    except BadPath:
        return
    assert not re.search(r"%(?![0-9A-Fa-f]{2})", target), "broken percent-encoding"
    assert not any(map(_is_punctuation_in_disguise, "".join(clean.segments))), "compatibility character"
    _check_round_trip(clean, prefix)
    for reading in _lenient_readings(clean.quoted()):
        _check_stays_below(reading, clean)


def _as_server_shows(feed: Feed, script_name: str) -> tuple[str | None, str]:
    """The raw target and PATH_INFO: as gunicorn gives them, without the raw target, and from a front server that changes one."""
    kind = feed.choose(("shown", "hidden", "differing"))
    first = (feed.line() or b"").decode("latin-1") if kind == "differing" else ""
    path = feed.rest().decode("latin-1")
    if kind == "differing":
        return first, path
    decoded = unquote_to_bytes(path.split("?", 1)[0].encode("latin-1")).decode("latin-1")
    return (path if kind == "shown" else None), decoded.removeprefix(script_name)


def _check_round_trip(clean: CleanPath, prefix: str) -> None:
    quoted = clean.quoted()
    assert quoted.isascii()
    assert quoted.isprintable()
    decoded = [unquote(segment, errors="strict") for segment in quoted.split("/")] if quoted else []
    assert decoded == [*clean.segments, *[""] * clean.trailing_slash], "quoting changes the path"
    again = f"{prefix}/{quoted}"
    # Quoting may take it over the limit, which is that of the path as it came.
    assert len(again) > MAX_PATH_BYTES or clean_path(again, prefix=prefix) == clean, (
        "it is not its own clean form"
    )


def _is_punctuation_in_disguise(character: str) -> bool:
    folded = unicodedata.normalize("NFKC", character)
    return folded != character and not {".", "/", "\\"}.isdisjoint(folded)


def _lenient_readings(path: str) -> Iterator[str]:
    """The path as servers understand it that decode up to three times more than they should, with and without NFKC."""
    plain = folded = path
    for _ in range(4):
        plain = unquote(plain)
        folded = unicodedata.normalize("NFKC", unquote(unicodedata.normalize("NFKC", folded)))
        yield from (plain, folded)


def _check_stays_below(reading: str, clean: CleanPath) -> None:
    segments = reading.replace("\\", "/").split("/")
    if clean.trailing_slash and segments[-1] == "":
        del segments[-1]
    names = [segment.split(";", 1)[0] for segment in segments] if clean.segments else []
    assert {"", ".", ".."}.isdisjoint(names), f"dot or empty segment in {reading!r}"
    assert len(names) == len(clean.segments), f"another number of segments in {reading!r}"
    assert not any(unicodedata.category(character) == "Cc" for character in reading), "control character"
