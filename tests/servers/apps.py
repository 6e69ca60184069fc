"""The app that every server runs, configured by the environment."""

from __future__ import annotations

import json

from flask import Flask

from flask_api_layer import ApiLayer

MEBI = 2**20
MAX_BODY = 40 * MEBI


def environ_for(backend_url: str) -> dict[str, str]:
    """What :func:`create_app` reads: everything is proxied, visitors become guests, bodies end at ``MAX_BODY``."""
    settings = {
        "BACKEND_URL": backend_url,
        "STORE_URL": "memory://",
        "GUEST_ENABLED": True,
        "GUEST_MINT_LIMIT": "1000/second",
        "PROXY_ROUTES": {"**": "*"},
        "PROXY_MAX_BODY": MAX_BODY,
        "PROXY_REQUEST_HEADERS": ["X-Case"],
    }
    environ = {f"FLASK_API_LAYER_{key}": json.dumps(value) for key, value in settings.items()}
    return {**environ, "FLASK_SECRET_KEY": "a key for tests, long enough"}


def create_app() -> Flask:
    app = Flask("servers")
    app.config.from_prefixed_env()
    app.register_blueprint(ApiLayer(app).blueprint)
    return app
