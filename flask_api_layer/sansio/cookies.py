"""Our cookies: names, attributes, sizes, and the raw values in a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from werkzeug.http import dump_cookie

from .session import Session

# Browsers keep 4,096 bytes a cookie and proxies some 4 to 8 KiB of headers; all of ours together stay below this.
MAX_COOKIE_BYTES = 3_800
# Chrome caps the life of any cookie at 400 days.
MAX_AGE_LIMIT = 400 * 86_400


@dataclass(frozen=True, slots=True)
class CookieStyle:
    """How every auth cookie of an app looks; deleting one repeats the attributes exactly (RFC 6265bis 5.7)."""

    user: str
    guest: str
    secure: bool
    samesite: Literal["Lax", "Strict", "None"]
    csrf: str = "api-csrf"
    _names: Mapping[Literal["user", "guest"], str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        prefix = "__Host-Http-" if self.secure else ""
        names = {"user": f"{prefix}{self.user}", "guest": f"{prefix}{self.guest}"}
        object.__setattr__(self, "_names", names)

    @property
    def csrf_name(self) -> str:
        """Scripts read this one, so it has no ``Http``."""
        return f"__Host-{self.csrf}" if self.secure else self.csrf

    def name(self, kind: Literal["user", "guest"]) -> str:
        """``__Host-Http-`` tells the browser to refuse the cookie from scripts, other hosts and plain HTTP."""
        return self._names[kind]

    def set(self, kind: Literal["user", "guest"], value: str, max_age: int) -> str:
        """The value of a ``Set-Cookie`` header."""
        return self._dump(self.name(kind), value, max_age, httponly=True)

    def set_csrf(self, value: str, max_age: int) -> str:
        """The value of a ``Set-Cookie`` header for the CSRF cookie."""
        return self._dump(self.csrf_name, value, max_age, httponly=False)

    def _dump(self, name: str, value: str, max_age: int, *, httponly: bool) -> str:
        return dump_cookie(
            name,
            value,
            max_age=max_age,
            path="/",
            secure=self.secure,
            httponly=httponly,
            samesite=self.samesite,
            max_size=0,
            sync_expires=False,
        )

    def delete(self, kind: Literal["user", "guest"]) -> str:
        return self.set(kind, "", 0)


def cookie_values(header: str, name: str) -> list[str]:
    """Every value that a ``Cookie`` header gives for exactly this name.

    A hand scan, linear in the header: the full parser costs 20 us a request, and repairs names (quotes, Unicode space) that must not
    be repaired here.
    """
    start = f"{name}="
    first = header.find(start)
    if first < 0:
        return []
    if header.find(start, first + 1) < 0:
        # The usual case, without taking the others apart.
        before = header[:first].rstrip(" \t")
        is_name = not before or before[-1] == ";"
        return [header[first + len(start) :].partition(";")[0].rstrip(" \t")] if is_name else []
    pairs = (pair.strip(" \t") for pair in header.split(";"))
    return [pair[len(start) :] for pair in pairs if pair.startswith(start)]


def only_value(values: list[str]) -> str | None:
    """The value when there is exactly one; duplicates are somebody's trick, so they count as none."""
    return values[0] if len(values) == 1 else None


def fits(name: str, value: str, others: int) -> bool:
    """Whether this cookie and ``others`` bytes of our other cookies stay within what browsers and servers keep."""
    return len(name) + 1 + len(value) + others <= MAX_COOKIE_BYTES


def max_age(session: Session, *, limit: int, refreshable: bool, now: float) -> int:
    """Seconds that the browser keeps the cookie.

    Bounded by the known life of what keeps the session alive: the refresh token, or an access token that nothing can refresh. An
    access token that can be refreshed never bounds it: the browser would drop the cookie just when the refresh is due.
    """
    end = session.refresh_expires_at if refreshable else session.expires_at
    left = limit if end is None else min(limit, int(end - now))
    return max(1, min(left, MAX_AGE_LIMIT))
