"""The backend of the example shop: a JSON API that speaks JWT in the shape that most of them share.

It is a service of its own and knows nothing of the storefront. Start it with::

    SHOP_BACKEND_DATABASE=shop.sqlite3 gunicorn --threads 32 "example_app.backend:create_app()"

One worker process: the counters and faults of ``/debug`` live in its memory. What must hold across processes
(rotation, carts, orders) is kept by the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flask import Flask

from . import auth, database, debug, probes, seed, shop
from .answers import drain_body, register_error_answers
from .faults import Faults
from .journal import Journal
from .settings import API_PREFIX, read_settings
from .state import State, close_connection
from .tokens import Issuer

__all__ = ["create_app"]


def create_app(settings: Mapping[str, object] | None = None) -> Flask:
    """A ready Flask app whose database exists and is seeded.

    :param settings: the keys of :class:`~example_app.backend.settings.Settings` in upper case; they win over
        ``SHOP_BACKEND_<KEY>`` in the environment.
    :raises ValueError: when a setting cannot work; every problem is in the message.
    """
    app = Flask(__name__)
    app.config.from_prefixed_env("SHOP_BACKEND")
    app.config.from_mapping(settings or {})
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # A doubled slash is a path that does not exist here, not a reason to redirect.
    app.url_map.merge_slashes = False
    app.extensions["shop_backend"] = _open_state(app)
    app.teardown_appcontext(close_connection)
    app.after_request(drain_body)
    register_error_answers(app)
    _register_blueprints(app)
    return app


def _open_state(app: Flask) -> State:
    settings = read_settings(app.config, default_database=Path(app.instance_path) / "shop-backend.sqlite3")
    database.create(settings.database)
    seed.fill(settings.database, password_method=settings.password_method)
    secret = settings.jwt_secret or database.stored_secret(settings.database, "jwt_secret")
    return State(
        settings=settings, issuer=Issuer.from_settings(settings, secret), journal=Journal(), faults=Faults()
    )


def _register_blueprints(app: Flask) -> None:
    for blueprint in (auth.blueprint, shop.blueprint, probes.blueprint):
        app.register_blueprint(blueprint, url_prefix=API_PREFIX)
    if app.extensions["shop_backend"].settings.debug_endpoints:
        app.register_blueprint(debug.blueprint, url_prefix="/debug")
