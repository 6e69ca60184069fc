"""The SQLite file: its schema, connections and transactions."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BUSY_TIMEOUT = 10.0  # seconds a writer waits for another one

SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS account (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL CHECK (type IN ('user', 'guest')),
    name TEXT NOT NULL,
    email TEXT UNIQUE COLLATE NOCASE,
    password_hash TEXT,
    roles TEXT NOT NULL DEFAULT '[]',
    disabled INTEGER NOT NULL DEFAULT 0,
    forbidden INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS family (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id),
    created_at REAL NOT NULL,
    revoked_at REAL
);
CREATE TABLE IF NOT EXISTS credential (
    digest TEXT PRIMARY KEY,
    family_id TEXT NOT NULL REFERENCES family (id),
    expires_at REAL NOT NULL,
    spent_at REAL
);
CREATE TABLE IF NOT EXISTS category (slug TEXT PRIMARY KEY, name TEXT NOT NULL, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS product (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0),
    category TEXT NOT NULL REFERENCES category (slug),
    image TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS cart_item (
    id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id),
    product_id INTEGER NOT NULL REFERENCES product (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    UNIQUE (account_id, product_id)
);
CREATE TABLE IF NOT EXISTS purchase (
    id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id),
    total_cents INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS purchase_by_account ON purchase (account_id);
CREATE TABLE IF NOT EXISTS purchase_line (
    purchase_id INTEGER NOT NULL REFERENCES purchase (id),
    product_id INTEGER NOT NULL REFERENCES product (id),
    name TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (purchase_id, product_id)
);
"""


def connect(path: Path) -> sqlite3.Connection:
    """A new connection in autocommit mode, so that every transaction is one that we began; the caller closes it."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    # Safe with WAL: a power cut may lose the last commits, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """The only writer while the block runs: commits when it ends or returns, rolls back when it raises.

    BEGIN IMMEDIATE takes the write lock before the first read, so what was read is still true when we write.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def create(path: Path) -> None:
    """Make the file, its folder and the tables where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)


def stored_secret(path: Path, name: str) -> str:
    """The secret kept under this name, generated the first time."""
    with closing(connect(path)) as connection:
        connection.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, secrets.token_urlsafe(48)))
        row = connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()
        return str(row["value"])
