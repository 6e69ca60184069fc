"""The public API, as a type checker sees it; mypy and pyright read this file, nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from flask import Blueprint, Flask
from flask.views import MethodView

from flask_api_layer import (
    ApiClient,
    ApiLayer,
    ApiResponse,
    Backend,
    Identity,
    Store,
    api,
    current_user,
    guest_allowed,
    login_required,
    public,
)
from flask_api_layer.stores import MemoryStore

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

app = Flask(__name__)
layer = ApiLayer(app, backend=Backend(), backend_url="https://api.example.com")
app.register_blueprint(layer.blueprint)
store: Store = MemoryStore()
ApiLayer(store=store).init_app(app)


@app.get("/cart")
@guest_allowed
def cart() -> str:
    assert_type(current_user.is_guest, bool)
    assert_type(current_user.roles, tuple[str, ...])
    return "cart"


@app.get("/admin")
@login_required("admin", "editor")
def admin() -> ApiResponse:
    return api.get("admin/report", params={"page": 1})


@app.get("/account")
@login_required
def account() -> Any:
    return api.get("account").raise_for_error().data


@login_required
class Orders(MethodView):
    @login_required("admin")
    def get(self) -> str:
        return "orders"


@app.get("/about")
@public
def about() -> str:
    return "about"


assert_type(cart(), str)
assert_type(Orders.as_view("orders") is not None, bool)
assert_type(layer.client_for("token"), ApiClient)
assert_type(Identity().kind == "user", bool)
layer.protect(Blueprint("shop", __name__), "admin")
layer.protect(Blueprint("help", __name__), public=True)
guarded: WSGIApplication = layer.guard(app.wsgi_app, "admin", guests=False, app=app)
