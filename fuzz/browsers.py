"""Where a browser would go: the part of the URL standard that open redirects live in (https://url.spec.whatwg.org/#url-parsing).

Written without a look at the code that is tested, so that the two can disagree.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads; two places with the same scheme, host and port are of one origin."""

    scheme: str
    host: str
    port: str
    path: str

    @property
    def origin(self) -> tuple[str, str, str]:
        return self.scheme, self.host, self.port


def follow(value: str, base: Place) -> Place:
    """The place that a browser goes to from ``base``, which is one of http or https."""
    value = re.sub(r"[\t\n\r]", "", value.strip("".join(map(chr, range(0x21)))))
    scheme, rest = _split_scheme(value)
    if scheme is not None and scheme not in _PORTS:
        return Place(scheme, "", "", rest)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0].replace("\\", "/")
    if rest.startswith("//") or scheme not in (None, base.scheme):
        return _from_authority(scheme or base.scheme, rest.lstrip("/"))
    if not rest:
        return base
    if not rest.startswith("/"):
        rest = base.path.rpartition("/")[0] + "/" + rest
    return Place(base.scheme, base.host, base.port, _without_dots(rest))


def _split_scheme(value: str) -> tuple[str | None, str]:
    found = _SCHEME.match(value)
    return (found[1].lower(), value[found.end() :]) if found else (None, value)


def _from_authority(scheme: str, rest: str) -> Place:
    authority, slash, path = rest.partition("/")
    host, port = re.fullmatch(r"(.*?)(?::([0-9]*))?", authority.rpartition("@")[2], re.DOTALL).groups()  # type: ignore[union-attr]
    name = unicodedata.normalize("NFKC", unquote(host)).lower()
    return Place(scheme, name, (port or "").lstrip("0") or _PORTS[scheme], _without_dots(slash + path))


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments, 1):
        plain = _DOT.sub(".", segment)
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
        if number == len(segments) and plain in (".", ".."):
            kept.append("")
    return "/" + "/".join(kept)
