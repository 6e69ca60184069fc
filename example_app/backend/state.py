"""What one app holds for its lifetime, and one request for its own."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import cast

from flask import current_app, g

from .database import connect
from .faults import Faults
from .journal import Journal
from .settings import Settings
from .tokens import Issuer


@dataclass(frozen=True, slots=True)
class State:
    """The parts that requests share; each is safe to use from many threads."""

    settings: Settings
    issuer: Issuer
    journal: Journal
    faults: Faults


def state() -> State:
    """The state of the app that serves this request."""
    return cast(State, current_app.extensions["shop_backend"])


def request_connection() -> sqlite3.Connection:
    """The connection of this request, opened when first asked for."""
    if "connection" not in g:
        g.connection = connect(state().settings.database)
    return cast(sqlite3.Connection, g.connection)


def close_connection(error: BaseException | None = None) -> None:
    """Close the connection of this request, if it has one."""
    connection: sqlite3.Connection | None = g.pop("connection", None)
    if connection is not None:
        connection.close()
