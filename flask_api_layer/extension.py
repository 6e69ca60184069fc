"""The extension object."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import requests
from flask import Blueprint, Flask, got_request_exception
from flask.sansio.blueprints import Blueprint as SansioBlueprint

from .app_state import EXTENSION, AppState, app_state
from .audiences import audience_of
from .audit import AuditLog, AuditSink
from .backends import PRESETS, Backend
from .callbacks import (
    AfterAuth,
    AfterProxy,
    BeforeAuth,
    BeforeProxy,
    Callbacks,
    OnDenied,
    OnError,
    RateLimitKey,
)
from .client import ApiClient
from .config import Config
from .config.advice import advice
from .config.urls import backend_url
from .errors import ConfigError
from .flask_session import spare_sessions
from .globals import csrf_field, csrf_token, current_user
from .guard import Guard
from .hooks import after_request, before_request, tell_of_error
from .policies import refuse_contradiction
from .sansio.access import Policy
from .sansio.proxy_routes import ProxyRoute
from .state import request_state
from .types import Store
from .upstreams import refuse_duplicates
from .wiring import (
    checked,
    checked_routes,
    make_blueprint,
    make_policy,
    make_transport,
    open_store,
    refuse_collisions,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


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
    :param audit_sink: takes every audit record as a dict, in place of the logger.
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
        audit_sink: AuditSink | None = None,
        **settings: Any,
    ) -> None:
        self._backend = backend
        self._store = store
        self._session = session
        self._audit_sink = audit_sink
        self._settings = settings
        self._protected: dict[SansioBlueprint, Policy] = {}
        self._callbacks = Callbacks()
        self._routes: list[ProxyRoute] = []
        self._upstreams: dict[str, tuple[str, tuple[ProxyRoute, ...]]] = {}
        self._apps: list[weakref.ref[Flask]] = []
        self.blueprint = make_blueprint()
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
        refuse_collisions(app, config)
        for text in advice(config, debug=app.debug or app.testing):
            _log.warning(text)
        backend = (self._backend or PRESETS[config.backend]).with_endpoints(config.endpoints)
        store = self._store or open_store(config)
        host = app.extensions[EXTENSION] = AppState(
            app,
            config,
            backend=backend,
            transport=make_transport(config, config.backend_url, self._session, what="API_LAYER_BACKEND_URL"),
            store=store,
            protected=self._protected,
            callbacks=self._callbacks,
            audience=lambda: audience_of(request_state()),
        )
        host.upstreams.add(self._routes)
        for name, (url, routes) in self._upstreams.items():
            self._connect(host, name, url, routes)
        self._apps.append(weakref.ref(app))
        spare_sessions(app)
        # No partial: Flask unwraps it for every request, to see whether it is async.
        app.before_request(lambda: before_request(host))
        app.after_request(after_request)
        app.context_processor(lambda: {"current_user": current_user})
        # As globals, so that macros in imported templates have them too.
        app.add_template_global(csrf_token)
        app.add_template_global(csrf_field)
        # Signals hold their subscribers weakly.
        audit = AuditLog(app, events=config.audit_events, logger=config.audit_logger, sink=self._audit_sink)
        host.subscribers = (audit, tell_of_error)
        host.deployment.watch(audit.look_again)
        got_request_exception.connect(tell_of_error, app)

    def protect(self, blueprint: Blueprint, *roles: str, guests: bool = False, public: bool = False) -> None:
        """Gate all views of a blueprint: for users (with any of the roles), for users and guests, or for nobody (``public``).

        A view's own decorator counts instead of its blueprint's, a nested blueprint's policy instead of its parent's.
        """
        policy = make_policy(roles, guests=guests, public=public)
        refuse_contradiction([policy, self._protected.get(blueprint, policy)], f"blueprint {blueprint.name}")
        self._protected[blueprint] = policy
        for host in self._hosts():
            host.policies.forget()

    def guard(
        self, wsgi_app: WSGIApplication, *roles: str, guests: bool = False, app: Flask | None = None
    ) -> WSGIApplication:
        """``wsgi_app`` behind the same gate as a view, for apps mounted beside the Flask app.

        ``DispatcherMiddleware(app.wsgi_app, {"/reports": layer.guard(reports, "admin", app=app)})``

        :param app: whose sessions count; by default the one app that this layer was set up for.
        """
        return Guard(wsgi_app, app or self._only_app(), make_policy(roles, guests=guests, public=False))

    def proxy_route(self, pattern: str, methods: Collection[str] | str = ("GET",), **options: Any) -> None:
        """One more entry of PROXY_ROUTES.

        ``layer.proxy_route("reports/**", ["GET"], to="v2/reports/**", roles=["admin"], timeout=60)``

        :param options: ``to``, ``roles``, ``auth``, ``request_headers``, ``response_headers``, ``timeout``, ``stream``, as in the
            dict form of PROXY_ROUTES (docs/configuration.md).
        :raises ConfigError: for an entry that cannot be, or a pattern that is there already.
        """
        routes = checked_routes({pattern: {"methods": methods, **options}}, what=f"proxy_route({pattern!r})")
        refuse_duplicates([*self._routes, *routes])
        for host in self._hosts():
            host.upstreams.add(routes)
        self._routes += routes

    def add_upstream(self, name: str, url: str, routes: Mapping[str, Any]) -> None:
        """A second API behind the same session, under ``<prefix>/<name>/``; it gets the same bearers.

        ``layer.add_upstream("billing", "https://billing.example.com/v1", {"invoices/**": ["GET"]})``

        :param url: its base URL.
        :param routes: as in PROXY_ROUTES; patterns and ``to`` are relative to the upstream.
        :raises ConfigError: for a name, URL or route that cannot be.
        """
        if name in self._upstreams:
            raise ConfigError([f"the upstream {name!r} is declared twice; choose another name"])
        if not _UPSTREAM_NAME.fullmatch(name) or name.casefold() == "auth":
            raise ConfigError(
                [
                    f"the upstream name {name!r} must be one path segment of letters, digits, - and _, and not 'auth'"
                ]
            )
        base_url = checked(backend_url, url, what=f"add_upstream({name!r})")
        found = checked_routes(routes, what=f"add_upstream({name!r})", upstream=name)
        self._upstreams[name] = (base_url, found)
        for host in self._hosts():
            self._connect(host, name, base_url, found)

    def _connect(self, host: AppState, name: str, url: str, routes: tuple[ProxyRoute, ...]) -> None:
        transport = make_transport(host.config, url, self._session, what=f"add_upstream({name!r})")
        host.upstreams.add_upstream(name, transport, routes)

    # Callbacks: decorators for functions of the app

    def before_auth(self, callback: BeforeAuth) -> BeforeAuth:
        """Called with every request before anybody asks who sends it; what it returns ends the request."""
        self._callbacks.before_auth.append(callback)
        return callback

    def after_auth(self, callback: AfterAuth) -> AfterAuth:
        """Called with whoever has just passed a gate; what it returns ends the request."""
        self._callbacks.after_auth.append(callback)
        return callback

    def on_denied(self, callback: OnDenied) -> OnDenied:
        """Called with every refusal that no error handler of the app took; what it returns is the answer instead."""
        self._callbacks.on_denied.append(callback)
        return callback

    def on_error(self, callback: OnError) -> OnError:
        """Called with every exception that ended a request; what it returns or raises changes nothing."""
        self._callbacks.on_error.append(callback)
        return callback

    def rate_limit_key(self, callback: RateLimitKey) -> RateLimitKey:
        """Names whom the current request counts for; None or an empty name: the identity or address. The last one given counts."""
        self._callbacks.rate_limit_key.append(callback)
        return callback

    def before_proxy(self, callback: BeforeProxy) -> BeforeProxy:
        """Called with every proxied request; it may change the headers."""
        self._callbacks.before_proxy.append(callback)
        return callback

    def after_proxy(self, callback: AfterProxy) -> AfterProxy:
        """Called with every proxied answer; it may change the headers."""
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
