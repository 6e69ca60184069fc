"""May they: policies, their verdict on a resolution, and how a denial is said to this client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal
from urllib.parse import quote

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from .cascade import Resolution

Access = Literal["open", "public", "static", "auth", "guest", "user"]
DenialCode = Literal[
    "login_required", "session_expired", "access_denied", "token_type_refused", "backend_unavailable"
]


@dataclass(frozen=True, slots=True)
class Allow:
    """They may."""


@dataclass(frozen=True, slots=True)
class Deny:
    """They may not; ``code`` is the problem code."""

    code: DenialCode


ALLOW = Allow()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a view asks of its callers.

    :param access: "user" and "guest" gate; "open" asks nothing; "public" and "static" (Flask's own files) make no guests; "auth" is a
        login page.
    :param roles: any of these, for "user".
    """

    access: Access
    roles: frozenset[str] = frozenset()

    @property
    def gates(self) -> bool:
        return self.access in ("user", "guest")

    def check(self, who: Resolution, *, guests_enabled: bool, fallback: bool) -> Allow | Deny:
        """The verdict on a resolution.

        :param guests_enabled: with guests off, a guest view asks for a login.
        :param fallback: GUEST_FALLBACK; without it, a user whose session ended is not served as a guest.
        """
        if self.access == "user":
            return self._check_user(who)
        if self.access == "guest":
            return self._check_guest(who, guests_enabled=guests_enabled, fallback=fallback)
        return ALLOW

    def _check_user(self, who: Resolution) -> Allow | Deny:
        if not who.identity.is_authenticated:
            return _why_not(who)
        if self.roles and not who.identity.has_any_role(self.roles):
            return Deny("access_denied")
        return ALLOW

    def _check_guest(self, who: Resolution, *, guests_enabled: bool, fallback: bool) -> Allow | Deny:
        if not who.identity.is_anonymous:
            return ALLOW
        sent_away = who.ended in ("reuse", "logged_out") or (who.ended is not None and not fallback)
        if who.forbidden or who.identity.degraded or sent_away or not guests_enabled:
            return _why_not(who)
        # No guest could be minted (a limit, a HEAD, a prefetch): the page is still shown, to nobody in particular.
        return ALLOW


def _why_not(who: Resolution) -> Deny:
    if who.forbidden:
        return Deny(who.forbidden)
    if who.identity.is_anonymous and who.identity.degraded:
        return Deny("backend_unavailable")
    return Deny("session_expired" if who.ended else "login_required")


OPEN = Policy("open")
PUBLIC = Policy("public")
STATIC = Policy("static")
AUTH = Policy("auth")
GUEST = Policy("guest")
USER = Policy("user")


class Manner(Enum):
    """How a denial is said."""

    REDIRECT = "redirect"
    PAGE = "page"
    PROBLEM = "problem"
    HTMX = "htmx"


@dataclass(frozen=True, slots=True)
class Client:
    """What a request tells about who reads the answer; None where the header is absent.

    :param under_prefix: the path belongs to the layer's API.
    :param sends_json: the request has a JSON body.
    """

    under_prefix: bool = False
    sends_json: bool = False
    accept: str | None = None
    fetch_mode: str | None = None
    requested_with: str | None = None
    hx_request: str | None = None

    @property
    def navigates(self) -> bool:
        """A person with a browser reads the answer as a page."""
        if self.fetch_mode is not None:
            return self.fetch_mode == "navigate"
        scripted = self.requested_with is not None or self.sends_json or self.under_prefix
        return not scripted and prefers_html(self.accept)


def negotiate(client: Client, *, asks_for_login: bool) -> Manner:
    """How to say no to this client; only a denial that a login could cure is ever a redirect."""
    if client.hx_request == "true":
        return Manner.HTMX if asks_for_login else Manner.PROBLEM
    if not client.navigates:
        return Manner.PROBLEM
    return Manner.REDIRECT if asks_for_login else Manner.PAGE


def prefers_html(accept: str | None) -> bool:
    """Whether an Accept header rates HTML above JSON; ``*/*`` and silence do not."""
    if not accept:
        return False
    accepted: MIMEAccept = parse_accept_header(accept, MIMEAccept)
    html = max(accepted.quality("text/html"), accepted.quality("application/xhtml+xml"))
    return html > accepted.quality("application/json")


def login_target(login_url: str, next_target: str | None) -> str:
    """LOGIN_URL with ``next``, which stays readable: ``/login?next=/admin``."""
    if next_target is None:
        return login_url
    joiner = "&" if "?" in login_url else "?"
    return f"{login_url}{joiner}next={quote(next_target, safe='/:@!$()*,;-._~')}"
