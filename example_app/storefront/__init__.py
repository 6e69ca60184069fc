"""The shop's storefront: server-rendered pages in front of a JSON backend that owns users, carts and orders."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from example_app.storefront import presentation
from example_app.storefront.pages import shop
from flask_api_layer import ApiLayer

DEFAULTS: dict[str, object] = {
    "SESSION_COOKIE_SAMESITE": "Lax",
    "API_LAYER_GUEST_ENABLED": True,
    "API_LAYER_PROXY_ROUTES": {
        "products/**": ["GET"],
        "categories": ["GET"],
        "cart/**": ["GET", "POST", "PATCH", "DELETE"],
    },
    "API_LAYER_PROXY_PUBLIC": ("products/**", "categories"),
    "API_LAYER_LOGIN_URL": "/login",
    "API_LAYER_AUTH_ROUTES": ("/login", "/register"),
    "API_LAYER_AFTER_LOGIN_URL": "/",
}


def create_app(settings: Mapping[str, object] | None = None) -> Flask:
    """The storefront, configured by ``FLASK_...`` variables and, over them, by ``settings``.

    ``FLASK_SECRET_KEY`` and ``FLASK_API_LAYER_BACKEND_URL`` have no default.
    """
    app = Flask(__name__)
    app.config.from_mapping(DEFAULTS)
    app.config.from_prefixed_env()
    app.config.from_mapping(settings or {})
    layer = ApiLayer(app)
    app.register_blueprint(shop)
    app.register_blueprint(layer.blueprint)
    presentation.init_app(app)
    return app
