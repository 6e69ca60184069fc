"""The CSRF token of one request: what its readable cookie says, and what the answer must set."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .sansio.cookies import CookieStyle, cookie_values, only_value
from .sansio.csrf import TOKEN_SECONDS, Token, is_fresh, make_token, read_token

# The longest that make_token() gives for the ids and nonces that are made here, and what a Cookie header puts around it.
CSRF_VALUE_BYTES = 120


@dataclass(frozen=True, slots=True)
class CsrfTerms:
    """What the tokens of an app have in common.

    :param keys: the current one first.
    :param clock: seconds since the epoch.
    """

    style: CookieStyle
    keys: tuple[bytes, ...] = field(repr=False)
    clock: Callable[[], float]


class CsrfTokens:
    """Reads the CSRF cookie of a ``Cookie`` header, and hands out tokens.

    A token is bound to the session. Before there is one it is bound to a random id that the cookie itself carries; the guest or user
    whose session takes that id over keeps the forms that are open. ``is_changed`` while the cookie still has to be set.
    """

    def __init__(self, header: str, terms: CsrfTerms) -> None:
        self._header = header
        self._terms = terms
        self._made: tuple[str, Token] | None = None
        self.is_changed = False

    @property
    def is_carried(self) -> bool:
        """Whether the request has a cookie of this name, usable or not."""
        return bool(self._values)

    def id(self) -> str | None:
        """What the token is bound to that the visitor has, or will have with this answer; None without a usable one."""
        current = self._current()
        return current[1].id if current else None

    def _current(self) -> tuple[str, Token] | None:
        """The token as text and as it reads."""
        if self._made is not None:
            return self._made
        text = only_value(self._values)
        token = self.read(text)
        return (text, token) if text is not None and token is not None else None

    @property
    def _values(self) -> list[str]:
        return cookie_values(self._header, self._terms.style.csrf_name)

    def read(self, text: object) -> Token | None:
        """The token in whatever a header or field held."""
        return read_token(self._terms.keys, text, now=self._terms.clock())

    def hand_out(self, session_id: str | None) -> str:
        """A token for forms and scripts: that of the cookie while it is young and fits, so that tabs share it; else a new one."""
        current = self._current()
        bound_to = session_id or (current[1].id if current else None)
        if current and current[1].id == bound_to and is_fresh(current[1], self._terms.clock()):
            return current[0]
        return self.renew(bound_to)

    def renew(self, session_id: str | None) -> str:
        """A new token in place of the cookie's; without a session, for nobody whom it has known before."""
        bound_to, now = session_id or secrets.token_urlsafe(12), self._terms.clock()
        text = make_token(self._terms.keys[0], id=bound_to, nonce=secrets.token_urlsafe(9), now=now)
        self._made, self.is_changed = (text, Token(bound_to, int(now))), True
        return text

    def take_cookie(self) -> str | None:
        """The ``Set-Cookie`` value of a change; given out once."""
        if self._made is None or not self.is_changed:
            return None
        self.is_changed = False
        return self._terms.style.set_csrf(self._made[0], TOKEN_SECONDS)
