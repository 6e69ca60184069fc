"""The sessions of one request: what came in sealed cookies, and what must go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .sansio.cookies import CookieStyle, cookie_values, fits, max_age, only_value
from .sansio.session import Session
from .sessions import CookieSeal

Kind = Literal["user", "guest"]


@dataclass(frozen=True, slots=True)
class Change:
    """A cookie that must be set (``session``) or deleted (None).

    :param replaces: the session whose fate the backend decided while others may have logged in or out; None when this very request
        asked for the change, so that nothing can have overtaken it.
    """

    kind: Kind
    session: Session | None
    replaces: Session | None = None


@dataclass(frozen=True, slots=True)
class CookieTerms:
    """What all cookies of an app have in common.

    :param limits: seconds that a cookie of each kind lives at most.
    :param refreshable: the backend can refresh tokens.
    :param reserved: bytes that other cookies of the layer take.
    """

    style: CookieStyle
    seal: CookieSeal
    limits: Mapping[Kind, int]
    refreshable: bool
    reserved: int = 0


class Wallet:
    """Reads the two auth cookies of a ``Cookie`` header when somebody asks for them, and collects their changes."""

    def __init__(self, header: str, terms: CookieTerms) -> None:
        self._header = header
        self._terms = terms
        self._sessions: dict[Kind, Session | None] = {}
        self._changes: dict[Kind, Change] = {}

    def session(self, kind: Kind) -> Session | None:
        """The session as it is now; None also for a cookie that cannot be opened."""
        if kind not in self._sessions:
            self._sessions[kind] = self._read(kind)
        return self._sessions[kind]

    @property
    def session_id(self) -> str | None:
        """What the visitor's forms are bound to."""
        session = self.session("user") or self.session("guest")
        return session.id if session else None

    def carries(self, kind: Kind) -> bool:
        """Whether the request has a cookie of this name, usable or not."""
        return bool(self._values(kind))

    def put(self, session: Session, *, replaces: Session | None = None) -> None:
        self._sessions[session.kind] = session
        self._changes[session.kind] = Change(session.kind, session, replaces)

    def drop(self, kind: Kind, *, replaces: Session | None = None) -> None:
        self._sessions[kind] = None
        self._changes[kind] = Change(kind, None, replaces)

    @property
    def has_changes(self) -> bool:
        return bool(self._changes)

    @property
    def changes(self) -> list[Change]:
        return list(self._changes.values())

    def take_changes(self) -> list[Change]:
        changes, self._changes = list(self._changes.values()), {}
        return changes

    def set_cookie(self, change: Change, now: float) -> str | None:
        """The ``Set-Cookie`` value of a change; None when the browser has nothing to delete."""
        if change.session is None:
            return self._terms.style.delete(change.kind) if self.carries(change.kind) else None
        limit = self._terms.limits[change.kind]
        age = max_age(change.session, limit=limit, refreshable=self._terms.refreshable, now=now)
        return self._terms.style.set(change.kind, self._sealed(change.session), age)

    def has_room(self, session: Session, *, alone: bool = False) -> bool:
        """Whether the session fits into a cookie, beside the one of the other kind unless it will be ``alone``."""
        other: Kind = "guest" if session.kind == "user" else "user"
        kept = None if alone else self.session(other)
        others = len(self._terms.style.name(other)) + len(self._sealed(kept)) + 3 if kept else 0
        others += self._terms.reserved
        return fits(self._terms.style.name(session.kind), self._sealed(session), others)

    def _read(self, kind: Kind) -> Session | None:
        text = only_value(self._values(kind))
        if not text:
            return None
        session = self._terms.seal.open(text, self._terms.style.name(kind))
        return session if session is not None and session.kind == kind else None

    def _values(self, kind: Kind) -> list[str]:
        return cookie_values(self._header, self._terms.style.name(kind))

    def _sealed(self, session: Session) -> str:
        return self._terms.seal.seal(session, self._terms.style.name(session.kind))
