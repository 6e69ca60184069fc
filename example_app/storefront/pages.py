"""The pages: a catalogue for everybody, a cart for guests and users, an account and a report behind a login."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flask_api_layer import ApiResponse, BackendUnavailable, api, guest_allowed, login_required, public

UNREACHABLE = "We cannot reach the shop right now. Please try again in a moment."

shop = Blueprint("shop", __name__)


@shop.get("/")
def catalogue() -> str:
    """The products, searched and filtered; the page stands when the backend does not."""
    chosen = {key: value for key in ("q", "category") if (value := request.args.get(key, "").strip())}
    products = _data(api.get("products", params=chosen, auth=False))
    # One timeout is enough for a visitor to sit through.
    categories = None if products is None else _data(api.get("categories", auth=False))
    return render_template("catalogue.html", products=products, categories=categories, chosen=chosen)


@shop.get("/products/<int:product_id>")
def product(product_id: int) -> str:
    """One product; without the backend there is nothing to show, and crawlers should come back later."""
    found = api.get(f"products/{product_id}", auth=False)
    if found.status_code == 404:
        abort(404)
    if not found.ok:
        raise BackendUnavailable
    return render_template("product.html", product=found.data)


@shop.get("/cart")
@guest_allowed
def cart() -> str:
    return render_template("cart.html", cart=_data(api.get("cart")))


@shop.post("/cart/add")
@guest_allowed
def add_to_cart() -> Response:
    item = {"product_id": _number("product_id"), "quantity": _number("quantity", 1)}
    _report(api.post("cart/items", json=item), "Added to your cart.")
    return redirect(url_for(".cart"), 303)


@shop.post("/cart/items/<int:product_id>")
@guest_allowed
def change_item(product_id: int) -> Response:
    """Change a quantity, or remove the line: a form knows only GET and POST."""
    path = f"cart/items/{product_id}"
    if "remove" in request.form:
        _report(api.delete(path), "Removed from your cart.")
    else:
        _report(api.patch(path, json={"quantity": _number("quantity")}), "Your cart is up to date.")
    return redirect(url_for(".cart"), 303)


@shop.get("/orders")
def orders() -> Response:
    """Where a login lands that had to come between the cart and its checkout."""
    return redirect(url_for(".cart"))


@shop.post("/orders")
@login_required
def check_out() -> Response:
    answer = api.post("orders")
    _report(answer, "Thank you! Your order is placed.")
    return redirect(url_for(".account" if answer.ok else ".cart"), 303)


@shop.get("/login")
def login() -> str:
    return render_template("login.html", next=request.args.get("next", ""))


@shop.get("/register")
def register() -> str:
    return render_template("register.html", next=request.args.get("next", ""))


@shop.get("/account")
@login_required
def account() -> str:
    return render_template("account.html", orders=_data(api.get("orders")))


@shop.get("/admin")
@login_required("admin", "editor")
def admin() -> str:
    return render_template("admin.html", report=_data(api.get("admin/report")))


@shop.get("/healthz")
@public
def healthz() -> Response:
    """Whether this process serves; the backend has a health of its own."""
    return Response("ok", mimetype="text/plain")


def _data(answer: ApiResponse) -> Any:
    """What the backend sent, None when it could not be had: the pages say so politely."""
    return answer.data if answer.ok else None


def _number(field: str, default: int | None = None) -> int:
    value = request.form.get(field, default, type=int)
    if value is None:
        abort(400, f"{field} must be a whole number.")
    return value


def _report(answer: ApiResponse, done: str) -> None:
    """Flash ``done``, or what the backend has against it."""
    if answer.ok:
        flash(done, "success")
    else:
        flash(_reason(answer), "error")


def _reason(answer: ApiResponse) -> str:
    """Why the backend refused; an outage has no words of its own worth showing."""
    if answer.status_code >= 500:
        return UNREACHABLE
    texts = [text for field in answer.errors.values() for text in field]
    return str(texts[0]) if texts else answer.message or UNREACHABLE
