"""Apps for gunicorn, configured by the environment."""

from __future__ import annotations

import os

from flask import Flask, Response

from flask_api_layer import ApiLayer, ApiResponse, api, current_user, guest_allowed, login_required

WORKER = "X-Worker"


def create_app() -> Flask:
    """A storefront whose answers name the worker and whose pages name the user."""
    app = Flask("races")
    app.config.from_prefixed_env()
    layer = ApiLayer(app)
    app.register_blueprint(layer.blueprint)
    app.add_url_rule("/worker", view_func=worker)
    app.add_url_rule("/account", view_func=account)
    app.add_url_rule("/cart", view_func=cart)
    app.after_request(name_worker)
    return app


def worker() -> str:
    """A page for everybody."""
    return "here"


@login_required
def account() -> dict[str, object] | ApiResponse:
    """Who the layer says is here, and whose bearer reached the backend."""
    return _who_is_here()


@guest_allowed
def cart() -> dict[str, object] | ApiResponse:
    """The same, for guests too."""
    return _who_is_here()


def name_worker(response: Response) -> Response:
    response.headers[WORKER] = str(os.getpid())
    return response


def _who_is_here() -> dict[str, object] | ApiResponse:
    answer = api.get("whoami")
    if not isinstance(answer.data, dict) or "mark" not in answer.data:
        return answer
    return {"data": {"id": current_user.id, "kind": current_user.kind, "mark": answer.data["mark"]}}
