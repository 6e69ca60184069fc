"""Products and categories."""

from __future__ import annotations

from sqlite3 import Connection

from .answers import Failure


def products(connection: Connection, *, words: str = "", category: str = "") -> list[dict[str, object]]:
    """The products whose name or description contains all the words, in one category or in any."""
    rows = connection.execute(
        "SELECT * FROM product WHERE ? IN ('', category) ORDER BY id", (category,)
    ).fetchall()
    return [dict(row) for row in rows if _contains(f"{row['name']} {row['description']}", words)]


def product(connection: Connection, product_id: int) -> dict[str, object]:
    """One product.

    :raises Failure: 404.
    """
    row = connection.execute("SELECT * FROM product WHERE id = ?", (product_id,)).fetchone()
    if row is None:
        raise Failure(404, "not_found", "There is no such product.")
    return dict(row)


def categories(connection: Connection) -> list[dict[str, object]]:
    """The categories in the order of the shop, each with its number of products."""
    rows = connection.execute(
        "SELECT slug, category.name, count(product.id) AS count"
        " FROM category LEFT JOIN product ON product.category = slug GROUP BY slug ORDER BY position"
    )
    return [dict(row) for row in rows]


def _contains(text: str, words: str) -> bool:
    return all(word in text.casefold() for word in words.casefold().split())
