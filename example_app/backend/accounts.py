"""Users and guests: one table, because both own tokens and a cart."""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass

from werkzeug.security import check_password_hash, generate_password_hash

from .database import transaction


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who can hold a token; ``type`` is "user" or "guest"."""

    id: str
    type: str
    name: str
    email: str | None
    roles: tuple[str, ...]
    disabled: bool
    forbidden: bool

    @property
    def is_guest(self) -> bool:
        return self.type == "guest"

    def record(self) -> dict[str, object]:
        """What the API tells about this account."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "roles": list(self.roles),
            "type": self.type,
        }


def from_row(row: sqlite3.Row) -> Account:
    """The account in a row that has all columns of the table."""
    return Account(
        id=row["id"],
        type=row["type"],
        name=row["name"],
        email=row["email"],
        roles=tuple(json.loads(row["roles"])),
        disabled=bool(row["disabled"]),
        forbidden=bool(row["forbidden"]),
    )


def find_by_email(connection: sqlite3.Connection, email: str) -> Account | None:
    """The user with this address, whatever its case."""
    row = connection.execute("SELECT * FROM account WHERE email = ?", (email,)).fetchone()
    return from_row(row) if row else None


def authenticate(
    connection: sqlite3.Connection, email: str, password: str, *, password_method: str
) -> Account | None:
    """The user with this address and password; None says nothing about which of the two was wrong."""
    row = connection.execute("SELECT * FROM account WHERE email = ?", (email.strip(),)).fetchone()
    if row is None:
        # Cost as much as a wrong password, or the time taken tells which addresses have an account.
        generate_password_hash(password, password_method)
        return None
    return from_row(row) if check_password_hash(row["password_hash"], password) else None


def create_user(
    connection: sqlite3.Connection, name: str, email: str, password_hash: str, *, now: float
) -> Account | None:
    """A new user with the role "user"; None when the address is taken."""
    values = (f"usr_{secrets.token_hex(8)}", name, email, password_hash, now)
    try:
        connection.execute(
            "INSERT INTO account (id, type, name, email, password_hash, roles, created_at)"
            """ VALUES (?, 'user', ?, ?, ?, '["user"]', ?)""",
            values,
        )
    except sqlite3.IntegrityError:
        return None
    return find_by_email(connection, email)


def create_guest(connection: sqlite3.Connection, *, now: float) -> Account:
    """A new guest, who has no address and no roles."""
    account = Account(f"gst_{secrets.token_hex(8)}", "guest", "Guest", None, (), False, False)
    connection.execute(
        "INSERT INTO account (id, type, name, created_at) VALUES (?, 'guest', ?, ?)",
        (account.id, account.name, now),
    )
    return account


def change(connection: sqlite3.Connection, email: str, changes: dict[str, object]) -> Account | None:
    """The user after setting ``roles``, ``disabled`` or ``forbidden``; None when there is no such user."""
    with transaction(connection):
        for column in ("disabled", "forbidden"):
            if column in changes:
                _set(connection, email, column, bool(changes[column]))
        if "roles" in changes:
            _set(connection, email, "roles", json.dumps(changes["roles"]))
    return find_by_email(connection, email)


def _set(connection: sqlite3.Connection, email: str, column: str, value: object) -> None:
    connection.execute(f"UPDATE account SET {column} = ? WHERE email = ?", (value, email))  # noqa: S608
