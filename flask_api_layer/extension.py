"""The extension object."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import requests
from flask import Blueprint, Flask
from flask.sansio.blueprints import Blueprint as SansioBlueprint
from flask.sansio.blueprints import BlueprintSetupState

from . import proxy, views
from .app_state import EXTENSION, MOUNT, AppState, Mount, app_state, remember_mount
from .backends import PRESETS, Backend
from .callbacks import Callbacks, ProxyAnswer, ProxyCall
from .client import ApiClient
from .config import Config
from .config.checks import NO_SUGGESTION, Check, SettingError
from .config.proxy import proxy_routes
from .config.urls import backend_url
from .errors import ConfigError
from .globals import current_user
from .guard import Guard
from .hooks import after_request, before_request
from .policies import refuse_contradiction
from .sansio.access import GUEST, PUBLIC, Policy
from .sansio.proxy_routes import PROXY_METHODS, ProxyRoute
from .state import request_state
from .stores import store_from_url
from .transport import Transport
from .types import Store

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


P = TypeVar("P", bound=Callable[[ProxyCall], object])
A = TypeVar("A", bound=Callable[[ProxyAnswer], object])
T = TypeVar("T")

_log = logging.getLogger(__name__)
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9_-]+")


class ApiLayer:
    """Puts a Flask app in front of a JWT API.

    ::

        app = Flask(__name__)
        app.config.from_prefixed_env()
        layer = ApiLayer(app)
        app.register_blueprint(layer.blueprint)

    One instance serves several apps; each keeps its own configuration.

    :param app: set up at once; else call :meth:`init_app`.
    :param backend: what the backend looks like; the preset that API_LAYER_BACKEND names by default.
    :param store: for the ledger; the one that API_LAYER_STORE_URL names by default.
    :param session: your own ``requests.Session`` for calls other than the proxy's (own adapters, client certificates). It is used by
        all threads and for all users; cookies, redirects and the environment's proxies stay off.
    :param settings: API_LAYER keys in lower case (``backend_url="..."``), where the app's config has none.
    :raises ConfigError: with everything that is wrong with the configuration.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        backend: Backend | None = None,
        store: Store | None = None,
        session: requests.Session | None = None,
        **settings: Any,
    ) -> None:
        self._backend = backend
        self._store = store
        self._session = session
        self._settings = settings
        self._protected: dict[SansioBlueprint, Policy] = {}
        self._callbacks = Callbacks()
        self._routes: list[ProxyRoute] = []
        self._upstreams: dict[str, tuple[str, tuple[ProxyRoute, ...]]] = {}
        self._apps: list[weakref.ref[Flask]] = []
        self.blueprint = _blueprint()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the app's configuration and wire the layer into it."""
        if EXTENSION in app.extensions:
            raise ConfigError([f"the app {app.name!r} has an ApiLayer already; create one per app"])
        config = Config.from_mapping(
            app.config,
            defaults=self._settings,
            debug=app.debug or app.testing,
            instance_path=app.instance_path,
        )
        _refuse_collisions(app, config)
        backend = (self._backend or PRESETS[config.backend]).with_endpoints(config.endpoints)
        store = self._store or _open_store(config)
        host = app.extensions[EXTENSION] = AppState(
            app,
            config,
            backend=backend,
            transport=_transport(config, config.backend_url, self._session, what="API_LAYER_BACKEND_URL"),
            store=store,
            protected=self._protected,
            callbacks=self._callbacks,
            audience=lambda: request_state().audience(),
        )
        host.upstreams.add(self._routes)
        for name, (url, routes) in self._upstreams.items():
            self._connect(host, name, url, routes)
        self._apps.append(weakref.ref(app))
        app.before_request(partial(before_request, host))
        app.after_request(after_request)
        app.context_processor(lambda: {"current_user": current_user})

    def protect(self, blueprint: Blueprint, *roles: str, guests: bool = False, public: bool = False) -> None:
        """Gate all views of a blueprint: for users (with any of the roles), for users and guests, or for nobody (``public``).

        A view's own decorator counts instead of its blueprint's, a nested blueprint's policy instead of its parent's.
        """
        policy = _policy(roles, guests=guests, public=public)
        refuse_contradiction([policy, self._protected.get(blueprint, policy)], f"blueprint {blueprint.name}")
        self._protected[blueprint] = policy

    def guard(
        self, wsgi_app: WSGIApplication, *roles: str, guests: bool = False, app: Flask | None = None
    ) -> WSGIApplication:
        """``wsgi_app`` behind the same gate as a view, for apps mounted beside the Flask app.

        ``DispatcherMiddleware(app.wsgi_app, {"/reports": layer.guard(reports, "admin", app=app)})``

        :param app: whose sessions count; by default the one app that this layer was set up for.
        """
        return Guard(wsgi_app, app or self._only_app(), _policy(roles, guests=guests, public=False))

    def proxy_route(self, pattern: str, methods: Collection[str] | str = ("GET",), **options: Any) -> None:
        """One more entry of PROXY_ROUTES.

        ``layer.proxy_route("reports/**", ["GET"], to="v2/reports/**", roles=["admin"], timeout=60)``

        :param options: ``to``, ``roles``, ``auth``, ``request_headers``, ``response_headers``, ``timeout``, ``stream``, as in the
            dict form of PROXY_ROUTES (docs/configuration.md).
        :raises ConfigError: for an entry that cannot be, or a pattern that is there already.
        """
        routes = _routes({pattern: {"methods": methods, **options}}, what=f"proxy_route({pattern!r})")
        self._routes += routes
        for host in self._hosts():
            host.upstreams.add(routes)

    def add_upstream(self, name: str, url: str, routes: Mapping[str, Any]) -> None:
        """A second API behind the same session, under ``<prefix>/<name>/``; it gets the same bearers.

        ``layer.add_upstream("billing", "https://billing.example.com/v1", {"invoices/**": ["GET"]})``

        :param url: its base URL.
        :param routes: as in PROXY_ROUTES; patterns and ``to`` are relative to the upstream.
        :raises ConfigError: for a name, URL or route that cannot be.
        """
        if not _UPSTREAM_NAME.fullmatch(name) or name == "auth":
            raise ConfigError(
                [
                    f"the upstream name {name!r} must be one path segment of letters, digits, - and _, and not 'auth'"
                ]
            )
        base_url = _checked(backend_url, url, what=f"add_upstream({name!r})")
        found = _routes(routes, what=f"add_upstream({name!r})", upstream=name)
        self._upstreams[name] = (base_url, found)
        for host in self._hosts():
            self._connect(host, name, base_url, found)

    def _connect(self, host: AppState, name: str, url: str, routes: tuple[ProxyRoute, ...]) -> None:
        transport = _transport(host.config, url, self._session, what=f"add_upstream({name!r})")
        host.upstreams.add_upstream(name, transport, routes)

    def before_proxy(self, callback: P) -> P:
        """A decorator for a function that may change the headers of every proxied request (:class:`ProxyCall`)."""
        self._callbacks.before_proxy.append(callback)
        return callback

    def after_proxy(self, callback: A) -> A:
        """A decorator for a function that may change the headers of every proxied answer (:class:`ProxyAnswer`)."""
        self._callbacks.after_proxy.append(callback)
        return callback

    def client_for(self, token: str) -> ApiClient:
        """Calls to the backend with a token that you have, for jobs outside a request; needs an app context."""
        host = app_state()
        return ApiClient(
            host.transport,
            bearer=lambda: token,
            renew=lambda _: None,
            public=host.proxy_public,
            total_timeout=host.config.total_timeout,
        )

    def _only_app(self) -> Flask:
        apps = self._living_apps()
        if len(apps) != 1:
            raise ConfigError(
                [f"guard() cannot choose among {len(apps)} apps; write guard(wsgi_app, ..., app=app)"]
            )
        return apps[0]

    def _living_apps(self) -> list[Flask]:
        return [app for app in (reference() for reference in self._apps) if app is not None]

    def _hosts(self) -> list[AppState]:
        return [app.extensions[EXTENSION] for app in self._living_apps()]


def _blueprint() -> Blueprint:
    blueprint = Blueprint("api_layer", __name__, url_prefix="/api")
    for name, view, method in (
        ("login", views.login, "POST"),
        ("register", views.register, "POST"),
        ("logout", views.logout, "POST"),
        ("me", views.me, "GET"),
        ("refresh", views.refresh, "POST"),
        ("guest", views.guest, "POST"),
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


def _refuse_collisions(app: Flask, config: Config) -> None:
    for key, name in (("USER_COOKIE", config.user_cookie), ("GUEST_COOKIE", config.guest_cookie)):
        if name == app.config["SESSION_COOKIE_NAME"] and not config.cookie_secure:
            raise ConfigError(
                [f"API_LAYER_{key}: {name!r} is the name of Flask's own session cookie; write another"]
            )


def _open_store(config: Config) -> Store:
    try:
        store = store_from_url(config.store_url)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if problem := store.problem():
        _log.warning("the store cannot be used as it is: %s", problem)
    return store


def _transport(config: Config, url: str, session: requests.Session | None, *, what: str) -> Transport:
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


def _routes(routes: Mapping[str, Any], *, what: str, upstream: str = "") -> tuple[ProxyRoute, ...]:
    return _checked(partial(proxy_routes, upstream=upstream), routes, what=what)


def _checked(check: Check[T], value: object, *, what: str) -> T:
    """The value as the configuration would take it.

    :raises ConfigError: with what is wrong, and what to write instead.
    """
    try:
        return check(value)
    except SettingError as fault:
        hint = "" if fault.instead is NO_SUGGESTION else f"; write {fault.instead!r}"
        raise ConfigError([f"{what}: {fault}{hint}"]) from None


def _policy(roles: tuple[str, ...], *, guests: bool, public: bool) -> Policy:
    chosen = [name for name, given in (("roles", roles), ("guests", guests), ("public", public)) if given]
    if len(chosen) > 1:
        raise ConfigError([f"{' and '.join(chosen)} contradict each other; give one"])
    if public:
        return PUBLIC
    return GUEST if guests else Policy("user", frozenset(roles))
