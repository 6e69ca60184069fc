"""Cross-site request forgery: what Fetch Metadata, Origin and Referer say of a request, and the token for where that is too little.

The attacks: a foreign page that sends a form with the visitor's cookies or logs them into the attacker's account (login CSRF), one
that reads our JSON as a script, and a subdomain that plants its own cookie beside a matching header (cookie tossing).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["both", "fetch_metadata", "double_submit", "off"]
TokenProblem = Literal["csrf_token_missing", "csrf_token_invalid"]

# RFC 9110 9.2.1; TRACE is left out, nothing here answers it.
SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
TOKEN_SECONDS = 12 * 3_600
# Workers on several hosts do not agree on the second.
SKEW_SECONDS = 60
MAX_SHOWN = 200

# Sec-Fetch-Site of a request that no foreign page made; None where the browser does not say.
_NOT_FOREIGN = (None, "same-origin", "none")
_VERSION = "1"
_PURPOSE = b"flask-api-layer csrf token\0"
_TOKEN = re.compile(
    _VERSION + r"\.(?P<id>[A-Za-z0-9_-]{1,64})\.(?P<time>[0-9]{1,12})\.[A-Za-z0-9_-]{1,64}\.[0-9a-f]{64}"
)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?(?=[/?#]|\Z)"
)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Token:
    """A verified token.

    :param id: the session that it is bound to; before there is one, a random id that the CSRF cookie carries.
    :param issued_at: seconds since the epoch.
    """

    id: str
    issued_at: int


def make_token(key: bytes, *, id: str, nonce: str, now: float) -> str:  # noqa: A002
    """``<version>.<id>.<time>.<nonce>.<mac>``, which may stand in a cookie, a header and a form as it is.

    :param id: ``[A-Za-z0-9_-]{1,64}``, as the nonce; a token with anything else is never readable.
    """
    payload = f"{_VERSION}.{id}.{int(now)}.{nonce}"
    return f"{payload}.{_mac(key, payload)}"


def read_token(keys: Sequence[bytes], text: object, *, now: float) -> Token | None:
    """The token in ``text`` when any of the keys made it within the last 12 hours, else None; never an error.

    :param keys: the current one first.
    :param text: whatever the cookie, the header or the form held.
    """
    found = _TOKEN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    payload, _, mac = found[0].rpartition(".")
    if not any(_same(mac, _mac(key, payload)) for key in keys):
        return None
    token = Token(found["id"], int(found["time"]))
    return token if -SKEW_SECONDS <= now - token.issued_at <= TOKEN_SECONDS else None


def is_fresh(token: Token, now: float) -> bool:
    """Whether to hand out the same token again: it is stable across tabs, and what a form gets lasts for hours."""
    return now - token.issued_at < TOKEN_SECONDS / 2


def token_verdict(token: Token | None, *, text_present: bool, bound_to: str | None) -> TokenProblem | None:
    """What is wrong with the token that a request repeats in its header or form, None when nothing is.

    :param token: what could be read.
    :param bound_to: the id of the session, without one the id of the readable CSRF cookie, None when there is neither.
    """
    if not text_present:
        return "csrf_token_missing"
    if token is None or bound_to is None or not _same(token.id, bound_to):
        return "csrf_token_invalid"
    return None


def _mac(key: bytes, payload: str) -> str:
    return hmac.digest(key, _PURPOSE + _bytes(payload), "sha256").hex()


def _same(left: str, right: str) -> bool:
    """Equality in constant time; as bytes, because ``compare_digest`` refuses text that is not ASCII."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a request says of its origin: raw header values, None where a header is absent, several lines joined by a comma.

    :param own_origin: ``scheme://host[:port]`` as the app sees itself.
    :param has_session: it carries one of our auth cookies, usable or not.
    """

    method: str
    own_origin: str
    has_session: bool
    fetch_site: str | None = None
    fetch_mode: str | None = None
    origin: str | None = None
    referer: str | None = None

    @property
    def is_from_browser(self) -> bool:
        return not (self.fetch_site is None and self.origin is None and self.referer is None)

    @property
    def source(self) -> str | None:
        """The origin that it names: ``Origin`` as it is, else that of a readable ``Referer``."""
        return self.origin if self.origin is not None else _origin_of(self.referer or "")


def _origin_of(url: str) -> str | None:
    """The origin of a URL as browsers write it: lower case, no default port; None for what two parsers could read differently."""
    found = _ORIGIN.match(url)
    if found is None:
        return None
    scheme, host, port = found.group("scheme", "host", "port")
    return f"{scheme}://{host.lower()}{'' if port in (None, _DEFAULT_PORTS[scheme]) else port}"


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing to object to."""


@dataclass(frozen=True, slots=True)
class NeedsToken:
    """It may pass with a token that :func:`token_verdict` accepts."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No token helps; ``why`` is for the log and for developers, ``code`` is the problem code."""

    why: str
    code: Literal["csrf_cross_site"] = "csrf_cross_site"


Verdict = Pass | NeedsToken | Refused
PASS = Pass()
NEEDS_TOKEN = NeedsToken()


def is_harmless(method: str, fetch_site: str | None) -> bool:
    """Whether a request passes whatever else it says: it changes nothing, and no foreign page is known to read it."""
    return method in SAFE_METHODS and fetch_site in _NOT_FOREIGN


def verdict(
    evidence: Evidence, *, mode: Mode, trusted_origins: frozenset[str], is_entry: bool, is_api: bool
) -> Verdict:
    """Whether a request may go on, judged by what no foreign page can forge.

    :param trusted_origins: CSRF_TRUSTED_ORIGINS, as browsers write origins.
    :param is_entry: login, register, guest or logout, which are checked without a session too.
    :param is_api: the path lies under the prefix, where foreign pages may not even read.
    """
    # The router folds case the same way, so what is judged here is what will run.
    method = evidence.method.upper()
    if mode == "off":
        return PASS
    if method in SAFE_METHODS:
        isolated = is_api and method != "OPTIONS" and mode != "double_submit"
        return _judge_reading(evidence, trusted_origins) if isolated else PASS
    if not evidence.has_session and not (is_entry and evidence.is_from_browser):
        return PASS
    if mode == "double_submit":
        return NEEDS_TOKEN
    return _judge_writing(evidence, trusted_origins, has_tokens=mode == "both")


def comes_from_elsewhere(evidence: Evidence, *, mode: Mode, trusted_origins: frozenset[str]) -> bool:
    """Whether a foreign page sent a request that changes something, with our cookies or without.

    SameSite keeps the visitor's cookies away from such a request. The browser takes those of the answer all the same: a guest that is
    made for it would replace the visitor's own, and the cart with it.
    """
    if mode == "off" or evidence.method.upper() in SAFE_METHODS or not evidence.is_from_browser:
        return False
    return isinstance(_judge_writing(evidence, trusted_origins, has_tokens=True), Refused)


def _judge_reading(evidence: Evidence, trusted_origins: frozenset[str]) -> Verdict:
    """Resource isolation (https://web.dev/articles/fetch-metadata); a browser that sends one of the headers sends both."""
    if evidence.fetch_site in _NOT_FOREIGN or evidence.fetch_mode == "navigate":
        return PASS
    # An image or a script names no Origin, its Referer is all there is.
    if evidence.fetch_site == "same-site" and evidence.source in trusted_origins:
        return PASS
    mode = _shown(evidence.fetch_mode)
    return _refused(f"{_site(evidence)} and Sec-Fetch-Mode is {mode}, not navigate", evidence)


def _judge_writing(evidence: Evidence, trusted_origins: frozenset[str], *, has_tokens: bool) -> Verdict:
    match evidence.fetch_site:
        case None:
            return _judge_origin(evidence, trusted_origins, has_tokens=has_tokens)
        case "same-origin":
            return PASS
        case "same-site" if evidence.origin in trusted_origins:
            return PASS
        case "same-site":
            return _refused(f"{_site(evidence)} and the Origin is not in CSRF_TRUSTED_ORIGINS", evidence)
        case "none" if has_tokens:
            return NEEDS_TOKEN
        case "none":
            return _refused(f"{_site(evidence)} and CSRF is fetch_metadata, which has no tokens", evidence)
        case _:
            return _refused(_site(evidence), evidence)


def _judge_origin(evidence: Evidence, trusted_origins: frozenset[str], *, has_tokens: bool) -> Verdict:
    """The verdict on old browsers, plain HTTP and scripts, which send no Fetch Metadata."""
    if not evidence.is_from_browser:
        rule = "Sec-Fetch-Site, Origin and Referer are absent and CSRF is fetch_metadata, which has no tokens"
        return NEEDS_TOKEN if has_tokens else _refused(rule, evidence)
    source, own = evidence.source, _origin_of(evidence.own_origin)
    if source is not None and (source == own or source in trusted_origins):
        return NEEDS_TOKEN if has_tokens else PASS
    named = "Referer" if evidence.origin is None else "Origin"
    rule = f"Sec-Fetch-Site is absent and the {named} is neither that of this app nor in CSRF_TRUSTED_ORIGINS"
    return _refused(rule, evidence, hint=_scheme_hint(source, own))


def _scheme_hint(source: str | None, own: str | None) -> str:
    if source is None or own is None or source.partition("://")[2] != own.partition("://")[2]:
        return ""
    return " Only the scheme differs: if a proxy in front of the app ends TLS, werkzeug.middleware.proxy_fix.ProxyFix is missing."


def _refused(rule: str, evidence: Evidence, *, hint: str = "") -> Refused:
    source = _shown(evidence.source, absent="an origin that it does not name")
    own = _shown(evidence.own_origin)
    return Refused(f"{rule}. The request comes from {source}, this app is {own}.{hint}")


def _site(evidence: Evidence) -> str:
    return f"Sec-Fetch-Site is {_shown(evidence.fetch_site)}"


def _shown(value: str | None, *, absent: str = "absent") -> str:
    """A stranger's text quoted, as printable ASCII and cut, so that it forges no log line."""
    if value is None:
        return absent
    escaped = value[:MAX_SHOWN].encode("unicode_escape").decode("ascii").replace("'", "%27")
    return f"'{escaped[:MAX_SHOWN]}'"
