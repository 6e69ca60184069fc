"""The parts of a layer, made from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar, cast

import requests
from flask import Blueprint, Flask
from flask.sansio.blueprints import BlueprintSetupState

from . import proxy, views
from .app_state import MOUNT, Mount, remember_mount
from .config import Config
from .config.checks import NO_SUGGESTION, Check, SettingError
from .config.proxy import proxy_routes
from .errors import ConfigError
from .sansio.access import GUEST, PUBLIC, Policy
from .sansio.proxy_routes import PROXY_METHODS, ProxyRoute
from .stores import store_from_url
from .transport import Transport
from .types import Store

T = TypeVar("T")

_log = logging.getLogger(__name__)


def make_blueprint() -> Blueprint:
    blueprint = Blueprint("api_layer", __name__, url_prefix="/api")
    for name, view, method in (
        ("login", views.login, "POST"),
        ("register", views.register, "POST"),
        ("logout", views.logout, "POST"),
        ("me", views.me, "GET"),
        ("refresh", views.refresh, "POST"),
        ("guest", views.guest, "POST"),
        ("csrf", views.csrf, "GET"),
    ):
        blueprint.add_url_rule(f"/auth/{name}", name, view, methods=[method])
    methods = [*PROXY_METHODS, "OPTIONS"]
    blueprint.add_url_rule(
        "/<path:path>", "proxy", proxy.forward, methods=methods, provide_automatic_options=False
    )
    blueprint.record(_remember_mount)
    return blueprint


def _remember_mount(setup: BlueprintSetupState) -> None:
    prefix = (setup.url_prefix or "").rstrip("/")
    if not prefix.startswith("/") or "<" in prefix:
        raise ConfigError(
            [f"the blueprint's url_prefix {setup.url_prefix!r} must be a path of its own, such as '/api'"]
        )
    if MOUNT in setup.app.extensions:
        raise ConfigError(["the layer's blueprint is registered twice; one prefix is all it can have"])
    endpoint = f"{setup.name_prefix}.{setup.name}".lstrip(".")
    remember_mount(cast(Flask, setup.app), Mount(prefix, endpoint))


def refuse_collisions(app: Flask, config: Config) -> None:
    for key, name in (
        ("USER_COOKIE", config.user_cookie),
        ("GUEST_COOKIE", config.guest_cookie),
        ("CSRF_COOKIE", config.csrf_cookie),
    ):
        if name == app.config["SESSION_COOKIE_NAME"] and not config.cookie_secure:
            raise ConfigError(
                [f"API_LAYER_{key}: {name!r} is the name of Flask's own session cookie; write another"]
            )


def open_store(config: Config) -> Store:
    try:
        store = store_from_url(config.store_url)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if problem := store.problem():
        _log.warning("the store cannot be used as it is: %s", problem)
    return store


def make_transport(config: Config, url: str, session: requests.Session | None, *, what: str) -> Transport:
    try:
        return Transport(
            url,
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
            total_timeout=config.total_timeout,
            pool_size=config.pool_size,
            session=session,
        )
    except ValueError as error:
        raise ConfigError([f"{what}: {error}"]) from error


def checked_routes(routes: Mapping[str, Any], *, what: str, upstream: str = "") -> tuple[ProxyRoute, ...]:
    return checked(partial(proxy_routes, upstream=upstream), routes, what=what)


def checked(check: Check[T], value: object, *, what: str) -> T:
    """The value as the configuration would take it.

    :raises ConfigError: with what is wrong, and what to write instead.
    """
    try:
        return check(value)
    except SettingError as fault:
        hint = "" if fault.instead is NO_SUGGESTION else f"; write {fault.instead!r}"
        raise ConfigError([f"{what}: {fault}{hint}"]) from None


def make_policy(roles: tuple[str, ...], *, guests: bool, public: bool) -> Policy:
    chosen = [name for name, given in (("roles", roles), ("guests", guests), ("public", public)) if given]
    if len(chosen) > 1:
        raise ConfigError([f"{' and '.join(chosen)} contradict each other; give one"])
    if public:
        return PUBLIC
    return GUEST if guests else Policy("user", frozenset(roles))
