"""Paths that strangers choose: the proxied path, and ``next``."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, unquote_to_bytes

MAX_PATH_BYTES = 4_096
MAX_SEGMENTS = 128
MAX_NEXT = 2_048

_SCHEME_AND_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
# RFC 3986 pchar without the percent sign: what may stand in a segment as it is.
_SEGMENT_SAFE = "!$&'()*+,;=:@-._~"


class BadPath(ValueError):
    """The path is refused; ``code`` is the problem code."""

    def __init__(self, code: Literal["bad_path", "uri_too_long"], reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class CleanPath:
    """A path whose segments were checked one by one; what was checked is what is sent."""

    segments: tuple[str, ...]
    trailing_slash: bool = False

    def quoted(self) -> str:
        """The path as it goes upstream, without a leading slash."""
        path = "/".join(quote(segment, safe=_SEGMENT_SAFE) for segment in self.segments)
        return path + "/" if self.trailing_slash and path else path


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a decoded path; empty ones do not count."""
    return tuple(segment for segment in path.split("/") if segment)


def wsgi_decoded(value: str) -> str:
    """A WSGI string (bytes as Latin-1, PEP 3333) as text."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def request_target(raw: str | None, script_name: str, path_info: str) -> str:
    """The percent-encoded path of the request, from the raw target where that is the same request, else from PATH_INFO.

    :param raw: RAW_URI (gunicorn) or REQUEST_URI (waitress, Werkzeug); None where the server hides it (granian).
    :param script_name: SCRIPT_NAME, as WSGI gives it.
    :param path_info: PATH_INFO, as WSGI gives it; already decoded once, so its percent signs are literal.

    The raw target shows what decoding hides (``%2f``). It is used without scheme, authority, query and SCRIPT_NAME, and only if it
    decodes to the path that was routed, so that no front server can make the two differ.
    """
    if raw is not None:
        start = _SCHEME_AND_AUTHORITY.match(raw)
        path = raw[start.end() if start else 0 :].split("?", 1)[0].split("#", 1)[0]
        decoded = (
            unquote_to_bytes(path.encode("latin-1", "replace")).decode("latin-1") if "%" in path else path
        )
        if decoded == path_info:
            return path
        if script_name and decoded == script_name + path_info:
            return _without_script_name(path, script_name)
    return quote(path_info.encode("latin-1"), safe="/" + _SEGMENT_SAFE)


def _without_script_name(path: str, script_name: str) -> str:
    """``path`` without as many encoded characters as decode to ``script_name``."""
    end = 0
    for _ in script_name:
        end += 3 if path[end] == "%" and not _BAD_PERCENT.match(path, end) else 1
    return path[end:]


def clean_path(target: str, *, prefix: str) -> CleanPath:
    """The checked path below ``prefix``.

    :param target: a percent-encoded path that is known to lie under the prefix once decoded.
    :param prefix: such as "/api".
    :raises BadPath: for everything that another server could read as a different path (traversal, encoded slashes, RFC 3986 3.3).
    """
    if len(target) > MAX_PATH_BYTES:
        raise BadPath("uri_too_long", f"longer than {MAX_PATH_BYTES} bytes")
    encoded = target.lstrip("/").split("/")
    root = split_path(prefix)
    below = encoded[len(root) :]
    if tuple(unquote(segment) for segment in encoded[: len(root)]) != root:
        raise BadPath("bad_path", "an encoded slash in the prefix")
    trailing_slash = len(below) > 1 and below[-1] == ""
    if trailing_slash or below == [""]:
        below = below[:-1]
    if len(below) > MAX_SEGMENTS:
        raise BadPath("uri_too_long", f"more than {MAX_SEGMENTS} segments")
    return CleanPath(tuple(_clean_segment(segment) for segment in below), trailing_slash)


def _clean_segment(encoded: str) -> str:
    if not encoded:
        raise BadPath("bad_path", "empty segment")
    if _BAD_PERCENT.search(encoded):
        raise BadPath("bad_path", "broken percent-encoding")
    try:
        segment = unquote_to_bytes(encoded.encode("latin-1")).decode("utf-8")
    except UnicodeError as error:
        raise BadPath("bad_path", "not UTF-8") from error
    for reading in _lenient_readings(segment):
        _refuse_ambiguity(reading)
    return segment


def _lenient_readings(segment: str) -> set[str]:
    """The segment as servers read it that decode it again, and normalise it (NFKC) in between: "..；x", "％2e"."""
    readings = {segment}
    if segment.isascii() and "%" not in segment:
        return readings
    for _ in range(3):
        readings |= {unicodedata.normalize("NFKC", reading) for reading in readings}
        readings |= {unquote(reading) for reading in readings}
    return readings | {unicodedata.normalize("NFKC", reading) for reading in readings}


def _readings(path: str) -> list[str]:
    """The path as it is, and as servers that decode it again would read it."""
    readings = [path]
    while "%" in readings[-1] and len(readings) < 4:
        readings.append(unquote(readings[-1]))
    return readings


def _refuse_ambiguity(segment: str) -> None:
    # Servlet containers drop ";params" before they resolve dots and empty segments: "..;x" is "..", and ";x" is nothing.
    name = segment.split(";", 1)[0]
    if name in (".", ".."):
        raise BadPath("bad_path", "dot segment")
    if not name:
        raise BadPath("bad_path", "empty segment")
    if "/" in segment or "\\" in segment:
        raise BadPath("bad_path", "slash or backslash inside a segment")
    if _CONTROL.search(segment):
        raise BadPath("bad_path", "control character")
    if not segment.isascii() and any(map(_looks_like_punctuation, segment)):
        raise BadPath("bad_path", "compatibility character")


def _looks_like_punctuation(character: str) -> bool:
    """Whether a server that normalises (NFKC) would read a dot, slash or backslash here."""
    return not character.isascii() and not {".", "/", "\\"}.isdisjoint(
        unicodedata.normalize("NFKC", character)
    )


def local_target(value: object) -> str | None:
    """``value`` when it is a path on this site that is safe to redirect to, else None.

    One slash not followed by a slash or backslash, RFC 3986 characters only, and no reading of its path (decoded up to three times)
    with ``//``, a backslash, a control or a dot segment. Open redirects live in what browsers repair: oauth2-proxy keeps 559 of them
    in ``testdata/openredirects.txt``.
    """
    if not isinstance(value, str) or len(value) > MAX_NEXT or not _URI_CHARACTERS.fullmatch(value):
        return None
    if not value.startswith("/"):
        return None
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    return value if all(map(_stays_on_site, _readings(path))) else None


def _stays_on_site(path: str) -> bool:
    if "//" in path or "\\" in path or _CONTROL.search(path):
        return False
    return not any(segment in (".", "..") for segment in path.split("/"))


def target_path(target: str) -> str:
    """The decoded path of a local target, without query and fragment."""
    return unquote(re.split(r"[?#]", target, maxsplit=1)[0])


def same_page(url: str, path: str) -> bool:
    """Whether a local URL such as LOGIN_URL leads to this decoded path; a slash at the end is none of the difference."""
    return target_path(url).rstrip("/") == path.rstrip("/")


def is_under(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix``, which has no slash at its end, or lies below it, on a segment boundary."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")
