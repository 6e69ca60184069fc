"""The example backend twice over one database: tokens of the one live, those of the other have expired at birth."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..processes import ShopBackend


@dataclass(frozen=True, slots=True)
class Backends:
    """A session that begins at ``expired`` needs a refresh at once, and gets a token that lasts from ``living``."""

    living: ShopBackend
    expired: ShopBackend
    database: Path

    def reset(self) -> None:
        self.living.reset()
        self.expired.reset()

    def close(self) -> None:
        self.living.close()
        self.expired.close()

    def guests(self) -> int:
        """How many guests were ever minted."""
        return self._count("SELECT count(*) FROM account WHERE type = 'guest'")

    def living_families(self, account_id: str) -> int:
        """How many sessions of this account the backend would still serve."""
        query = "SELECT count(*) FROM family WHERE account_id = ? AND revoked_at IS NULL"
        return self._count(query, account_id)

    def _count(self, query: str, *values: str) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query, values).fetchone()[0])


def start_backends(folder: Path, **settings: object) -> Backends:
    """
    :param settings: SHOP_BACKEND_ settings of the living one.
    """
    database = folder / "shop.sqlite3"
    living = ShopBackend(folder, {"DATABASE": database, **settings})
    try:
        expired = ShopBackend(folder, {"DATABASE": database, "ACCESS_TTL": 1e-6})
    except BaseException:
        living.close()
        raise
    return Backends(living, expired, database)
