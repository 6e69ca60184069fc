"""Carts of users and of guests. A cart reserves nothing: only an order takes from the stock."""

from __future__ import annotations

from sqlite3 import Connection

from .answers import Failure, invalid
from .database import transaction

_SELECT_ITEMS = """
    SELECT cart_item.id, product_id, name, price_cents, image, quantity, price_cents * quantity AS line_cents
    FROM cart_item JOIN product ON product.id = product_id
    WHERE account_id = ? ORDER BY cart_item.id
"""


def cart(connection: Connection, account_id: str) -> dict[str, object]:
    """``{"items": [...], "count": pieces, "total_cents": ...}``."""
    items = cart_items(connection, account_id)
    return {
        "items": items,
        "count": sum(item["quantity"] for item in items),
        "total_cents": sum(item["line_cents"] for item in items),
    }


def cart_items(connection: Connection, account_id: str) -> list[dict[str, int]]:
    """The lines of a cart, oldest first; ``name`` and ``image`` are texts, everything else whole numbers."""
    return [dict(row) for row in connection.execute(_SELECT_ITEMS, (account_id,))]


def add_item(connection: Connection, account_id: str, product_id: int, quantity: int) -> None:
    """Put so many more of a product into the cart.

    :raises Failure: 422 when there is no such product, or not that much of it.
    """
    with transaction(connection):
        _check_stock(connection, product_id, quantity + _quantity(connection, account_id, product_id))
        _put(connection, account_id, product_id, quantity)


def change_item(connection: Connection, account_id: str, product_id: int, quantity: int) -> None:
    """Make it exactly so many of a product that is in the cart.

    :raises Failure: 404 when it is not in the cart, 422 when there is not that much of it.
    """
    with transaction(connection):
        if not _quantity(connection, account_id, product_id):
            raise Failure(404, "not_found", "This product is not in the cart.")
        _check_stock(connection, product_id, quantity)
        connection.execute(
            "UPDATE cart_item SET quantity = ? WHERE account_id = ? AND product_id = ?",
            (quantity, account_id, product_id),
        )


def remove_item(connection: Connection, account_id: str, product_id: int) -> None:
    """Take a product out of the cart, if it is in there."""
    connection.execute(
        "DELETE FROM cart_item WHERE account_id = ? AND product_id = ?", (account_id, product_id)
    )


def empty_cart(connection: Connection, account_id: str) -> None:
    """Take everything out of the cart."""
    connection.execute("DELETE FROM cart_item WHERE account_id = ?", (account_id,))


def move_cart(connection: Connection, source_id: str, target_id: str) -> None:
    """Add one cart to another and empty it, so that doing it twice adds nothing; call it within a transaction.

    Nothing is dropped for want of stock: the owner decides what to do about it when they order.
    """
    for item in cart_items(connection, source_id):
        _put(connection, target_id, item["product_id"], item["quantity"])
    empty_cart(connection, source_id)


def _put(connection: Connection, account_id: str, product_id: int, quantity: int) -> None:
    connection.execute(
        "INSERT INTO cart_item (account_id, product_id, quantity) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id, product_id) DO UPDATE SET quantity = quantity + excluded.quantity",
        (account_id, product_id, quantity),
    )


def _quantity(connection: Connection, account_id: str, product_id: int) -> int:
    row = connection.execute(
        "SELECT quantity FROM cart_item WHERE account_id = ? AND product_id = ?", (account_id, product_id)
    ).fetchone()
    return row["quantity"] if row else 0


def _check_stock(connection: Connection, product_id: int, quantity: int) -> None:
    row = connection.execute("SELECT stock FROM product WHERE id = ?", (product_id,)).fetchone()
    if row is None:
        raise invalid(product_id="There is no such product.")
    if quantity > row["stock"]:
        raise invalid(quantity=f"Only {row['stock']} in stock.")
