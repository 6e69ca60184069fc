"""What the backend answers: one reading of every head and body, and nothing comes back that speaks for our origin."""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import unquote

from flask_api_layer.sansio.headers import from_upstream, map_location, protective_headers
from flask_api_layer.sansio.paths import CleanPath
from flask_api_layer.transport.framing import (
    Chunked,
    Head,
    TransportError,
    check_beginning,
    check_header,
    framed,
    parse_head,
)

from ..browsers import Place, follow
from ..feed import Feed

BARRED = re.compile(
    r"set-cookie2?|clear-site-data|access-control-.*|x-accel-.*|x-sendfile|strict-transport-security|connection|keep-alive"
    r"|proxy-(authenticate|authorization|connection)|te|trailer|transfer-encoding|upgrade"
)
CONFIGURED = frozenset(
    ["link", "x-sendfile", "set-cookie", "access-control-allow-origin", "x-accel-redirect", "connection"]
)
ACTIVE = re.compile(
    r"text/(html|xsl)|.*[/+]xml|image/svg.*|message/.*|multipart/(related|mixed|x-mixed-replace)|.*flash.*"
)
HERE = Place("https", "shop.example", "443", "/cart")


def check(data: bytes) -> None:
    feed = Feed(data)
    feed.choose((_check_head, _check_location, _check_pieces, _check_chunked, _check_type))(feed)


def _check_head(feed: Feed) -> None:
    method, extra = feed.choose(("GET", "HEAD", "POST")), feed.choose((frozenset[str](), CONFIGURED))
    data = feed.rest().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = parse_head(data, method)
    except TransportError:
        return
    for end in range(0, len(data), 7):
        check_beginning(data[:end])
    assert len(head.headers) == data.count(b"\r\n") - 2, "a line is lost"
    _check_framing(head)
    _check_back(head, extra)


def _check_framing(head: Head) -> None:
    names = [name.lower() for name, _ in head.headers]
    assert 100 <= head.status <= 599
    assert head.status != 101
    assert names.count("content-length") + names.count("transfer-encoding") <= 1, "framed twice"
    for name, value in head.headers:
        check_header(name, value)


def _check_back(head: Head, extra: frozenset[str]) -> None:
    back = from_upstream(head.headers, extra=extra)
    hop_by_hop = ",".join(value for name, value in head.headers if name.lower() == "connection").lower()
    named = [name.strip() for name in hop_by_hop.split(",")]
    for name, value in back:
        assert not BARRED.fullmatch(name.lower()), f"{name} comes back"
        assert name.lower() not in named, f"{name} belongs to the connection"
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value), "control character"
    rest = iter(head.headers)
    assert all(header in rest for header in back), "another order"
    _check_protected(back)


def _check_protected(headers: list[tuple[str, str]]) -> None:
    added = dict(protective_headers(headers))
    assert added["X-Content-Type-Options"] == "nosniff"
    if "Content-Security-Policy" in added:
        assert added["Content-Security-Policy"].startswith("sandbox")
        return
    types = [value for name, value in headers if name.lower() == "content-type"]
    assert len(types) == 1
    # RFC 9110 section 5.6.3: nothing else is white space in a header.
    kind = types[0].partition(";")[0].strip(" \t").lower()
    assert re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", kind), "no media type, so browsers guess"
    assert not ACTIVE.fullmatch(kind), "its scripts run on our origin"


def _check_type(feed: Feed) -> None:
    _check_protected([("Content-Type", line.decode("latin-1")) for line in feed.rest().split(b"\n")])


def _check_location(feed: Feed) -> None:
    prefix = feed.choose(("/api", "/shop/api", ""))
    base = feed.choose(("https://api.example/v1", "http://127.0.0.1:8000", "https://api.example:8443/v1/x/"))
    public = feed.choose((lambda path: path, lambda path: CleanPath(("moved", *path.segments))))
    value, request_url = feed.rest().decode("latin-1"), f"{base.rstrip('/')}/orders/7"
    place = map_location(value, request_url=request_url, base_url=base, prefix=prefix, public=public)
    if place is None:
        return
    asked = follow(request_url, HERE)
    assert follow(value, asked).origin == asked.origin, "it led to another host"
    browsed = follow(place, HERE)
    assert browsed.origin == HERE.origin, "a redirect to elsewhere"
    assert browsed.path.startswith(f"{prefix}/"), "a redirect out of the prefix"
    assert not re.search(r"[\x00-\x20\x7f\\]", place), "two lines, or repaired by browsers"
    path = unquote(re.split(r"[?#]", place, maxsplit=1)[0].removeprefix(prefix))
    assert {".", ".."}.isdisjoint(path.split("/"))
    assert "//" not in path


def _check_pieces(feed: Feed) -> None:
    """However the network cuts a chunked body, it is read alike."""
    size = 1 + feed.number() % 32
    # Longer lines are refused as soon as they are known to be too long, which depends on the cuts.
    data = feed.rest()[:4_000]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert _read([data]) == _read(pieces)


def _read(pieces: list[bytes]) -> tuple[bytes, bool, bytes] | None:
    """The content, whether it is complete, and what follows; None for what is refused."""
    body, content, beyond = Chunked(), b"", b""
    try:
        for piece in pieces:
            if body.done:
                beyond += piece
            else:
                content += body.feed(piece)
    except TransportError:
        return None
    return content, body.done, body.extra + beyond


def _check_chunked(feed: Feed) -> None:
    pieces = feed.rest().split(b"\n")
    sent = b"".join(framed(pieces, None))
    assert _read([sent]) == (b"".join(pieces), True, b"")
    cuts = [*range(0, len(sent), 1 + len(sent) // 8), len(sent)]
    assert _read([sent[start:end] for start, end in pairwise(cuts)]) == (b"".join(pieces), True, b"")
