"""What a sealed cookie holds: the tokens of one session, and when they are due."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

# Year 9999: far beyond any session, still a float and a datetime.
LAST_SECOND = 253_402_300_799.0


class Freshness(Enum):
    """How a token stands right now; ABSENT also when its cookie could not be opened."""

    ABSENT = "absent"
    LIVE = "live"
    DUE = "due"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a backend hands out.

    :param expires_in: seconds that the access token lives, None when the answer does not say.
    :param user: the backend's record, when the answer has one.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: float | None = None
    refresh_expires_in: float | None = None
    user: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every token in it, for those who keep tokens out of answers."""
        return tuple(token for token in (self.access_token, self.refresh_token) if token)

    def expires_at(self, now: float) -> float | None:
        return _end(self.access_token, self.expires_in, now)

    def refresh_expires_at(self, now: float) -> float | None:
        return _end(self.refresh_token, self.refresh_expires_in, now)


def _end(token: str | None, lifetime: float | None, now: float) -> float | None:
    """When a token ends: by what the backend said, else by the token's own ``exp``, else unknown."""
    if token is None:
        return None
    if lifetime is not None:
        return timestamp(now + lifetime)
    return timestamp(unverified_claims(token).get("exp"))


@dataclass(frozen=True, slots=True)
class Session:
    """One login, or one guest, with the tokens that it has now.

    :param id: stays the same over refreshes; tombstones name it.
    :param obtained_at: when these tokens were handed out.
    :param checked_at: when the backend last vouched for the session.
    :param renewed: these tokens come from a refresh.
    """

    kind: Literal["user", "guest"]
    id: str
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    refresh_expires_at: float | None = None
    started_at: float = 0.0
    obtained_at: float = 0.0
    checked_at: float = 0.0
    renewed: bool = False

    @property
    def credential(self) -> str:
        """What a refresh spends, as one string.

        Both tokens, because neither alone names one generation: single-token backends have no refresh token, and some backends
        never replace it.
        """
        return f"{self.refresh_token or ''}\n{self.access_token}"

    def freshness(self, now: float, leeway: float) -> Freshness:
        """Whether the access token can be used, should be refreshed, or must be."""
        if self.expires_at is None:
            return Freshness.LIVE
        left = self.expires_at - now
        if left <= 0:
            return Freshness.EXPIRED
        return Freshness.DUE if left <= self._window(leeway) else Freshness.LIVE

    def _window(self, leeway: float) -> float:
        """``leeway``, or half a life where a refresh only ever yields tokens that are due at once."""
        life = (self.expires_at or 0.0) - self.obtained_at
        return life / 2 if self.renewed and life <= leeway else leeway

    def seconds_left(self, now: float) -> int | None:
        return None if self.expires_at is None else max(0, int(self.expires_at - now))

    def renew(self, tokens: TokenSet, now: float) -> Session:
        """The same session with new tokens; a refresh token that the backend did not replace stays."""
        kept = tokens.refresh_token is None
        return replace(
            self,
            access_token=tokens.access_token,
            refresh_token=self.refresh_token if kept else tokens.refresh_token,
            expires_at=tokens.expires_at(now),
            refresh_expires_at=self.refresh_expires_at if kept else tokens.refresh_expires_at(now),
            obtained_at=now,
            checked_at=now,
            renewed=True,
        )


def start_session(
    kind: Literal["user", "guest"], tokens: TokenSet, *, session_id: str, now: float
) -> Session:
    """A new session around tokens that were just handed out."""
    return Session(
        kind=kind,
        id=session_id,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_at=tokens.expires_at(now),
        refresh_expires_at=tokens.refresh_expires_at(now),
        started_at=now,
        obtained_at=now,
        checked_at=now,
    )


def unverified_claims(token: str) -> Mapping[str, Any]:
    """The claims of a JWT without checking its signature, empty for anything else.

    Only for tokens that came straight from the backend; good for bookkeeping (``exp``, ``sub``), never for access.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > 65_536:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def timestamp(value: object) -> float | None:
    """Seconds since the epoch out of a claim, clamped to year 9999; None for what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(min(max(value, 0), LAST_SECOND))
