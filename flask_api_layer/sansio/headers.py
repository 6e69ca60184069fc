"""What crosses the proxy, each way: allow-lists, because a deny-list forgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from .paths import BadPath, CleanPath, clean_path

Header = tuple[str, str]

REQUEST_HEADERS = frozenset(
    [
        "accept",
        "accept-language",
        "accept-encoding",
        "content-type",
        "content-length",
        "content-encoding",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "range",
        "idempotency-key",
        "user-agent",
        "x-requested-with",
        "traceparent",
        "tracestate",
    ]
)
BODY_HEADERS = frozenset(("content-type", "content-length", "content-encoding"))
RESPONSE_HEADERS = frozenset(
    [
        "content-type",
        "content-length",
        "content-encoding",
        "content-language",
        "content-disposition",
        "content-range",
        "accept-ranges",
        "etag",
        "last-modified",
        "expires",
        "cache-control",
        "vary",
        "location",
        "retry-after",
        "allow",
        "warning",
        "deprecation",
        "sunset",
        "ratelimit",
        "ratelimit-policy",
        "x-total-count",
        "x-request-id",
    ]
)
RESPONSE_HEADER_PREFIXES = ("x-ratelimit-",)
# RFC 9110 7.6.1: what is about one connection.
HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
# Never, even when configured: what is about one connection, and what only the app may say about its own origin.
NEVER_BACK = HOP_BY_HOP | {
    "set-cookie",
    "set-cookie2",
    "clear-site-data",
    "strict-transport-security",
    "x-sendfile",
}
NEVER_BACK_PREFIXES = ("access-control-", "x-accel-")

# A callback of the app may say anything but this: the framing of the body, and what belongs to one connection.
FRAMING = HOP_BY_HOP | {"host", "content-length", "expect"}

# RFC 9110 5.6.2: what a header name is; cookie names too (RFC 6265 4.1.1).
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 5.5: what a header value may hold.
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PLAIN_REFERENCE = re.compile(
    r"((https?:)?//(?=[^/?#])|(?!//|[a-z][a-z0-9+.-]*:))[^\\\x00-\x20\x7f]*", re.IGNORECASE
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What a browser shows or plays without running anything of it; everything else is sandboxed.
_PASSIVE_TYPES = re.compile(
    r"(application/([a-z0-9.-]+\+)?json|application/(problem\+json|x-ndjson|octet-stream|pdf|zip|gzip|javascript|manifest\+json|wasm)"
    r"|text/(plain|csv|css|javascript|event-stream|calendar|markdown)"
    r"|image/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)|(audio|video|font)/[a-z0-9.+-]+|multipart/byteranges)"
)
# The backend's content is served from our origin: its scripts and forms must not run there.
SANDBOX = "sandbox; default-src 'none'"


def to_upstream(environ: Mapping[str, Any], *, extra: frozenset[str], has_body: bool) -> list[Header]:
    """The client's headers that go to the backend, in lower case.

    :param environ: of WSGI, where dashes and underscores are one.
    :param extra: further lower-case names that the app allows.
    :param has_body: without a body, the headers that describe one stay behind.
    """
    keys = _ENVIRON_KEYS
    if extra:
        keys += tuple((name, _environ_key(name)) for name in extra if name not in REQUEST_HEADERS)
    hop_by_hop = connection_options(environ.get("HTTP_CONNECTION", ""))
    return [
        (name, value)
        for name, key in keys
        if (value := environ.get(key))
        and name not in hop_by_hop
        and (has_body or name not in BODY_HEADERS)
        and FIELD_VALUE.fullmatch(value)
    ]


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


_ENVIRON_KEYS = tuple((name, _environ_key(name)) for name in sorted(REQUEST_HEADERS))


# Nearly always "keep-alive" or nothing.
@lru_cache(maxsize=64)
def connection_options(value: str) -> frozenset[str]:
    """What a Connection header lists, in lower case: headers that one side declared to be hop-by-hop, "close", "keep-alive"."""
    return frozenset(token.strip().lower() for token in value.split(","))


def from_upstream(headers: Iterable[Header], *, extra: frozenset[str]) -> list[Header]:
    """The backend's headers that reach the browser; several of one name survive."""
    headers = tuple(headers)
    hop_by_hop = connection_options(
        ",".join([value for name, value in headers if name.lower() == "connection"])
    )
    return [
        (name, value)
        for name, value in headers
        if _comes_back(name, extra) and name.lower() not in hop_by_hop and FIELD_VALUE.fullmatch(value)
    ]


# Backends use the same few names all the time.
@lru_cache(maxsize=256)
def _comes_back(name: str, extra: frozenset[str]) -> bool:
    name = name.lower()
    if name in NEVER_BACK or name.startswith(NEVER_BACK_PREFIXES):
        return False
    return name in RESPONSE_HEADERS or name in extra or name.startswith(RESPONSE_HEADER_PREFIXES)


def revised_request(
    headers: Iterable[Header], revised: Iterable[Header], *, has_bearer: bool
) -> list[Header]:
    """What a callback made of the request headers, with the framing as it was; a bearer of ours is the only one."""
    barred = FRAMING | {"authorization"} if has_bearer else FRAMING
    return _reframed(headers, [header for header in revised if header[0].lower() not in barred])


def revised_answer(headers: Iterable[Header], revised: Iterable[Header]) -> list[Header]:
    """What a callback made of the response headers, with the framing as it was, and without what may never come back."""
    return _reframed(headers, [header for header in revised if not _is_barred(header[0].lower())])


def _is_barred(name: str) -> bool:
    return name in NEVER_BACK or name in FRAMING or name.startswith(NEVER_BACK_PREFIXES)


def _reframed(headers: Iterable[Header], revised: list[Header]) -> list[Header]:
    # A visitor's text in a header may be anything: what cannot stand there is left out, as it is when a backend sends it.
    sendable = [
        (name, value) for name, value in revised if TOKEN.fullmatch(name) and FIELD_VALUE.fullmatch(value)
    ]
    return [*sendable, *(header for header in headers if header[0].lower() in FRAMING)]


def map_location(
    value: str,
    *,
    request_url: str,
    base_url: str,
    prefix: str,
    public: Callable[[CleanPath], CleanPath] = lambda path: path,
) -> str | None:
    """A ``Location`` under the backend's base, mapped back under the prefix; None for any other place.

    :param request_url: what a relative reference is relative to (RFC 9110 10.2.2).
    :param prefix: the public path of the proxy, SCRIPT_NAME included.
    :param public: the path below the prefix that leads to one below the base.
    """
    # What a browser repairs (backslashes, "http:host", "http:///host", controls) is never meant well.
    if not _PLAIN_REFERENCE.fullmatch(value):
        return None
    try:
        place, base = urlsplit(urljoin(request_url, value)), urlsplit(base_url)
        same_origin = _origin(place) == _origin(base) and place.username is None and place.password is None
    except ValueError:
        return None
    base_path = base.path.rstrip("/")
    if not same_origin or not place.path.startswith(base_path + "/"):
        return None
    path = place.path[len(base_path) :]
    if path.startswith("//"):
        return None
    try:
        target = clean_path(path, prefix="")
    except BadPath:
        return None
    moved = public(target)
    if moved != target:
        path = f"/{moved.quoted()}"
    query = f"?{place.query}" if place.query else ""
    fragment = f"#{place.fragment}" if place.fragment else ""
    return prefix + path + query + fragment


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def protective_headers(headers: Iterable[Header]) -> list[Header]:
    """What is added to an answer of the backend that is served from our origin."""
    types = [value for name, value in headers if name.lower() == "content-type"]
    # Two types are read differently by every browser.
    passive = len(types) == 1 and _is_passive(types[0])
    added = [
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
    ]
    return added if passive else [*added, ("Content-Security-Policy", SANDBOX)]


@lru_cache(maxsize=64)
def _is_passive(content_type: str) -> bool:
    """Whether nothing of this type runs; a list of types is none."""
    media_type = content_type.split(";", 1)[0].strip(" \t").lower()
    return "," not in content_type and _PASSIVE_TYPES.fullmatch(media_type) is not None


def kept_request_id(value: str | None) -> str | None:
    """The client's request id when it is harmless in a log line."""
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None
