"""``products``, ``categories``, ``cart``, ``orders``, ``admin/report``."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, request

from . import carts, catalogue, orders
from .answers import invalid, json_body, no_content, success
from .bearer import require_caller, require_user
from .state import request_connection

blueprint = Blueprint("shop", __name__)

MAX_NUMBER = 1_000_000


@blueprint.get("/products")
def list_products() -> Response:
    """``?q=`` words, ``?category=`` slug."""
    words, category = request.args.get("q", ""), request.args.get("category", "")
    return success(catalogue.products(request_connection(), words=words, category=category))


@blueprint.get("/products/<int(max=1000000):id>")
def show_product(id: int) -> Response:  # noqa: A002
    return success(catalogue.product(request_connection(), id))


@blueprint.get("/categories")
def list_categories() -> Response:
    return success(catalogue.categories(request_connection()))


@blueprint.get("/cart")
def show_cart() -> Response:
    return _answer_cart(require_caller().account.id)


@blueprint.post("/cart/items")
def add_cart_item() -> Response:
    """``{product_id, quantity}``; the quantity is added to what is there, and is 1 when not given."""
    owner_id, body = require_caller().account.id, json_body()
    product_id, quantity = _number(body, "product_id"), _number({"quantity": 1} | body, "quantity")
    carts.add_item(request_connection(), owner_id, product_id, quantity)
    return _answer_cart(owner_id, status=201)


@blueprint.patch("/cart/items/<int(max=1000000):product_id>")
def change_cart_item(product_id: int) -> Response:
    """``{quantity}``, which replaces what is there."""
    owner_id = require_caller().account.id
    carts.change_item(request_connection(), owner_id, product_id, _number(json_body(), "quantity"))
    return _answer_cart(owner_id)


@blueprint.delete("/cart/items/<int(max=1000000):product_id>")
def remove_cart_item(product_id: int) -> Response:
    """204, whether it was there or not."""
    carts.remove_item(request_connection(), require_caller().account.id, product_id)
    return no_content()


@blueprint.post("/orders")
def place_order() -> Response:
    """Order what is in the cart; no body."""
    user = require_user()
    return success(orders.place_order(request_connection(), user.id, now=time.time()), status=201)


@blueprint.get("/orders")
def list_orders() -> Response:
    return success(orders.orders(request_connection(), require_user().id))


@blueprint.get("/admin/report")
def show_report() -> Response:
    require_user("admin", "editor")
    return success(orders.report(request_connection()))


def _answer_cart(owner_id: str, *, status: int = 200) -> Response:
    return success(carts.cart(request_connection(), owner_id), status=status)


def _number(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 1 <= value <= MAX_NUMBER:
        raise invalid(**{name: f"The {name} must be a whole number from 1 to {MAX_NUMBER}."})
    return value
