"""What the browser sends: only listed headers cross, each as one line, and no identity that it claims."""

from __future__ import annotations

from flask_api_layer.sansio.headers import BODY_HEADERS, REQUEST_HEADERS, to_upstream
from flask_api_layer.transport.framing import build_request

from ..feed import Feed, as_text

CONFIGURED = frozenset(["x-tenant", "if-match"])
BARRED = frozenset(
    [
        *("cookie", "authorization", "host", "x-skip-auth", "x-user", "forwarded", "x-forwarded-for"),
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization"),
    ]
)


def check(data: bytes) -> None:
    feed = Feed(data)
    extra, has_body = feed.choose((frozenset[str](), CONFIGURED)), feed.choose((False, True))
    environ = _environ(feed)
    headers = to_upstream(environ, extra=extra, has_body=has_body)
    names = [name for name, _ in headers]
    assert len(set(names)) == len(names)
    assert set(names) <= REQUEST_HEADERS | extra
    assert BARRED.isdisjoint(names), "it claims to be somebody"
    assert has_body or BODY_HEADERS.isdisjoint(names)
    named = environ.get("HTTP_CONNECTION", "").lower().split(",")
    assert set(names).isdisjoint(name.strip() for name in named), "it belongs to the connection"
    sendable = [header for header in headers if header[0] != "content-length"]
    head = build_request("GET", "/", "api.example", sendable, None).head
    assert head.count(b"\r\n") == head.count(b"\n") == len(sendable) + 3, "a value that ends its line"


def _environ(feed: Feed) -> dict[str, str]:
    """As servers make it: names folded, several lines of one name joined, nothing known of underscores."""
    environ: dict[str, str] = {}
    while (line := feed.line()) is not None:
        name, _, value = as_text(line).partition(":")
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value.strip()}" if key in environ else value.strip(" ")
    return environ
