"""Apps with one page each: bare Flask, and the same with the layer."""

from __future__ import annotations

from flask import Flask

from flask_api_layer import ApiLayer, login_required
from tests.races.fleet import SECRET_KEY

OPEN, GATED = "/open", "/gated"
TEXT = "A page of one kilobyte. " * 43
# Validated once, for as long as the benchmark runs.
LONG = 24 * 3600


def bare() -> Flask:
    """The page without the layer."""
    app = Flask("pages")
    app.config["SECRET_KEY"] = SECRET_KEY
    app.add_url_rule(OPEN, endpoint="open", view_func=open_page)
    return app


def layered(**settings: object) -> Flask:
    """The page as it is, and behind ``login_required``.

    :param settings: API_LAYER keys in lower case, over those of the environment.
    """
    app = bare()
    app.config.from_prefixed_env()
    chosen = {"store_url": "memory://", "validate_ttl": LONG, **settings}
    app.config.update({f"API_LAYER_{key.upper()}": value for key, value in chosen.items()})
    layer = ApiLayer(app)
    app.register_blueprint(layer.blueprint)
    app.add_url_rule(GATED, endpoint="gated", view_func=gated_page)
    return app


def open_page() -> str:
    return TEXT


@login_required
def gated_page() -> str:
    return TEXT
