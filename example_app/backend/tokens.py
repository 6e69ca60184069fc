"""Access tokens (JWT, HS256) and the rotating credentials that are exchanged for new ones.

All tokens that descend from one login form a *family*. An exchange spends its credential; one that is presented a
second time was copied by somebody, so the whole family is revoked (RFC 9700, section 4.14.2).
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass, field
from enum import Enum

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from .accounts import Account, from_row
from .database import transaction
from .settings import Settings

ALGORITHMS = ["HS256"]
ISSUER = "example-shop"

_SELECT_CREDENTIAL = """
    SELECT account.*, credential.family_id, credential.expires_at, credential.spent_at, family.revoked_at
    FROM credential JOIN family ON family.id = family_id JOIN account ON account.id = family.account_id
    WHERE digest = ?
"""


class Refusal(Enum):
    """Why a credential was not exchanged."""

    INVALID = "unknown, expired or revoked, or its account is disabled"
    REUSED = "spent before"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine access token says; ``expires_at`` may lie in the past."""

    account_id: str
    family_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Grant:
    """Tokens for an account; ``expires_in`` is the life of the access token in seconds."""

    account: Account
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: float


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs, reads and exchanges tokens."""

    settings: Settings
    key: OctKey = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings, secret: str) -> Issuer:
        return cls(settings, OctKey.import_key(secret))

    def start_family(self, connection: sqlite3.Connection, account: Account, *, now: float) -> Grant:
        """The first tokens of a new family; call it within a transaction."""
        family_id = secrets.token_hex(16)
        connection.execute("INSERT INTO family VALUES (?, ?, ?, NULL)", (family_id, account.id, now))
        return self._grant(connection, account, family_id, now=now)

    def exchange(self, connection: sqlite3.Connection, credential: str, *, now: float) -> Grant | Refusal:
        """New tokens for a refresh token (in single mode: for an access token), which is spent by that.

        Of parallel exchanges of one credential exactly one gets a grant.
        """
        digest = fingerprint(credential)
        with transaction(connection):
            row = connection.execute(_SELECT_CREDENTIAL, (digest,)).fetchone()
            if row is None:
                return Refusal.INVALID
            if row["spent_at"] is not None:
                revoke_family(connection, row["family_id"], now=now)
                return Refusal.REUSED
            if row["revoked_at"] is not None or row["expires_at"] <= now or row["disabled"]:
                return Refusal.INVALID
            connection.execute("UPDATE credential SET spent_at = ? WHERE digest = ?", (now, digest))
            return self._grant(connection, from_row(row), row["family_id"], now=now)

    def read(self, token: str) -> Claims | None:
        """The claims of a token that we signed, expired or not; None for any other text."""
        try:
            claims = jwt.decode(token, self.key, algorithms=ALGORITHMS).claims
            if claims["iss"] != ISSUER:
                return None
            return Claims(str(claims["sub"]), str(claims["sid"]), claims["exp"])
        except (JoseError, ValueError, TypeError, LookupError):
            return None

    def _grant(
        self, connection: sqlite3.Connection, account: Account, family_id: str, *, now: float
    ) -> Grant:
        life = self.settings.guest_ttl if account.is_guest else self.settings.access_ttl
        access_token = self._sign(account, family_id, now=now, life=life)
        expires_at = now + self.settings.refresh_ttl
        if self.settings.tokens == "single":
            remember(connection, access_token, family_id, expires_at=expires_at + life)
            return Grant(account, access_token, None, life)
        refresh_token = secrets.token_urlsafe(32)
        remember(connection, refresh_token, family_id, expires_at=expires_at)
        return Grant(account, access_token, refresh_token, life)

    def _sign(self, account: Account, family_id: str, *, now: float, life: float) -> str:
        claims = {
            "iss": ISSUER,
            "sub": account.id,
            "type": account.type,
            "roles": list(account.roles),
            "sid": family_id,
            "jti": secrets.token_hex(16),
            "iat": int(now),
            "exp": expiry(now, life),
        }
        return jwt.encode({"alg": "HS256"}, claims, self.key, algorithms=ALGORITHMS)


def expiry(now: float, life: float) -> float:
    """The ``exp`` claim: whole seconds as most backends send it, but exact for a life of less than a minute."""
    return now + life if life < 60 else int(now + life)


def fingerprint(credential: str) -> str:
    """The form in which a credential is kept: whoever reads the database learns no token."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()


def remember(connection: sqlite3.Connection, credential: str, family_id: str, *, expires_at: float) -> None:
    """Let this credential be exchanged once, until then."""
    connection.execute(
        "INSERT INTO credential VALUES (?, ?, ?, NULL)", (fingerprint(credential), family_id, expires_at)
    )


def find_family(connection: sqlite3.Connection, credential: str) -> str | None:
    """The family that a credential belongs to, spent or not."""
    row = connection.execute(_SELECT_CREDENTIAL, (fingerprint(credential),)).fetchone()
    return row["family_id"] if row else None


def revoke_family(connection: sqlite3.Connection, family_id: str, *, now: float) -> None:
    """End a family: its credentials and, at once, its access tokens."""
    connection.execute(
        "UPDATE family SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (now, family_id)
    )


def living_account(connection: sqlite3.Connection, claims: Claims) -> Account | None:
    """The account behind an access token whose family was not revoked."""
    row = connection.execute(
        "SELECT account.* FROM family JOIN account ON account.id = family.account_id"
        " WHERE family.id = ? AND account.id = ? AND revoked_at IS NULL",
        (claims.family_id, claims.account_id),
    ).fetchone()
    return from_row(row) if row else None
