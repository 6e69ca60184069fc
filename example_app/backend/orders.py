"""Orders, and the report about them."""

from __future__ import annotations

from datetime import UTC, datetime
from sqlite3 import Connection

from .answers import Failure
from .carts import cart_items, empty_cart
from .database import transaction

_SELECT_LINES = """
    SELECT product_id, name, price_cents, quantity, price_cents * quantity AS line_cents
    FROM purchase_line WHERE purchase_id = ? ORDER BY rowid
"""
_SELECT_COUNTS = """
    SELECT (SELECT count(*) FROM account WHERE type = 'user') AS users,
           (SELECT count(*) FROM account WHERE type = 'guest') AS guests,
           count(*) AS orders, coalesce(sum(total_cents), 0) AS revenue_cents
    FROM purchase
"""
_SELECT_TOP_PRODUCTS = """
    SELECT product_id, name, sum(quantity) AS quantity, sum(price_cents * quantity) AS revenue_cents
    FROM purchase_line GROUP BY product_id ORDER BY quantity DESC, product_id LIMIT 5
"""
_SELECT_RECENT = """
    SELECT purchase.id, account.name AS customer, total_cents, purchase.created_at
    FROM purchase JOIN account ON account.id = account_id ORDER BY purchase.id DESC LIMIT 10
"""


def place_order(connection: Connection, account_id: str, *, now: float) -> dict[str, object]:
    """The order that the cart became; the cart is empty afterwards.

    :raises Failure: 422 for an empty cart, 409 when the stock does not suffice; nothing has changed then.
    """
    with transaction(connection):
        items = cart_items(connection, account_id)
        if not items:
            raise Failure(422, "cart_empty", "The cart is empty.")
        for item in items:
            _take_from_stock(connection, item)
        order_id = _add_order(connection, account_id, items, now=now)
        empty_cart(connection, account_id)
    return _order(
        connection, connection.execute("SELECT * FROM purchase WHERE id = ?", (order_id,)).fetchone()
    )


def orders(connection: Connection, account_id: str) -> list[dict[str, object]]:
    """The orders of a user, newest first."""
    rows = connection.execute("SELECT * FROM purchase WHERE account_id = ? ORDER BY id DESC", (account_id,))
    return [_order(connection, row) for row in rows.fetchall()]


def report(connection: Connection) -> dict[str, object]:
    """Counts of users, guests and orders, the revenue, the five best products and the ten latest orders."""
    counts = connection.execute(_SELECT_COUNTS).fetchone()
    top = connection.execute(_SELECT_TOP_PRODUCTS).fetchall()
    recent = connection.execute(_SELECT_RECENT).fetchall()
    return dict(counts) | {
        "top_products": [dict(row) for row in top],
        "recent_orders": [dict(row) | {"created_at": timestamp(row["created_at"])} for row in recent],
    }


def timestamp(seconds: float) -> str:
    """RFC 3339, in UTC: ``2026-03-01T12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _take_from_stock(connection: Connection, item: dict[str, int]) -> None:
    taken = connection.execute(
        "UPDATE product SET stock = stock - :quantity WHERE id = :product_id AND stock >= :quantity", item
    )
    if not taken.rowcount:
        raise Failure(409, "out_of_stock", f"There is not enough left of: {item['name']}.")


def _add_order(
    connection: Connection, account_id: str, items: list[dict[str, int]], *, now: float
) -> int | None:
    total = sum(item["line_cents"] for item in items)
    order_id = connection.execute(
        "INSERT INTO purchase (account_id, total_cents, created_at) VALUES (?, ?, ?)",
        (account_id, total, now),
    ).lastrowid
    connection.executemany(
        "INSERT INTO purchase_line VALUES (:order_id, :product_id, :name, :price_cents, :quantity)",
        [item | {"order_id": order_id} for item in items],
    )
    return order_id


def _order(connection: Connection, row: dict[str, float]) -> dict[str, object]:
    lines = connection.execute(_SELECT_LINES, (row["id"],))
    return {
        "id": row["id"],
        "total_cents": row["total_cents"],
        "created_at": timestamp(row["created_at"]),
        "items": [dict(line) for line in lines],
    }
