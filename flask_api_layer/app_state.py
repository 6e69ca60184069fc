"""State of the layer for one app."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from flask import Flask, Response, current_app
from flask.sansio.blueprints import Blueprint
from werkzeug.routing import Rule

from .authority import Authority
from .backends import Backend
from .callbacks import Callbacks
from .calls import BackendCalls
from .config import Config
from .csrf_tokens import CSRF_VALUE_BYTES, CsrfTerms
from .deployment import Deployment
from .errors import Audience, Denial
from .identities import Identities, LocalCheck
from .jwt import RemoteKeys, Verifier
from .policies import ViewPolicies
from .rate_limits import RateLimits
from .renewals import Renewals
from .sansio.access import Policy
from .sansio.cookies import CookieStyle
from .sansio.paths import is_under, local_target, same_page, target_path
from .sansio.proxy_routes import TOKEN_ENDPOINTS
from .sansio.rates import client_key
from .sansio.routes import PathSet
from .sessions import CookieSeal, Ledger, Sealer, derive
from .terms import Terms
from .tokens import Tokens
from .transport import Transport
from .types import Store
from .upstreams import Upstreams
from .validations import Validations
from .wallet import CookieTerms

EXTENSION = "api_layer"
MOUNT = "api_layer.mount"


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an app registered the blueprint.

    :param prefix: such as "/api".
    :param endpoint: the name of the blueprint there, such as "api_layer".
    """

    prefix: str
    endpoint: str

    def leaves_to_app(self, rule: Rule | None) -> bool:
        """Whether the app itself has a view at this place under the prefix."""
        return rule is not None and not rule.endpoint.startswith(f"{self.endpoint}.")


class AppState:
    """What one app needs of the layer; it stands in ``app.extensions["api_layer"]``.

    :param protected: blueprints that were given a policy with ``layer.protect``.
    :param callbacks: of the layer.
    :param audience: tells a denial to whom the current request's answer goes.
    """

    def __init__(
        self,
        app: Flask,
        config: Config,
        *,
        backend: Backend,
        transport: Transport,
        store: Store,
        protected: Mapping[Blueprint, Policy],
        callbacks: Callbacks,
        audience: Callable[[], Audience],
    ) -> None:
        self.app = app
        self.subscribers: tuple[object, ...] = ()
        self.audience = audience
        self.callbacks = callbacks
        self.config = config
        self.transport = transport
        self.clock = time.time
        self.style = CookieStyle(
            user=config.user_cookie,
            guest=config.guest_cookie,
            secure=config.cookie_secure,
            samesite=config.cookie_samesite,
            csrf=config.csrf_cookie,
        )
        self.uses_csrf_tokens = config.csrf in ("both", "double_submit")
        self.csrf_terms = CsrfTerms(
            self.style, tuple(derive(key, "csrf") for key in config.secret_keys), self.clock
        )
        sealer = Sealer(config.secret_keys)
        self.authority = _authority(
            app, config, backend, transport, Ledger(store, sealer, grace=config.refresh_grace)
        )
        self.policies = ViewPolicies(app, config, protected)
        sealed = [path for name in TOKEN_ENDPOINTS if (path := backend.endpoints[name])]
        self.upstreams = Upstreams(transport, config.proxy_routes, token_endpoints=sealed)
        self.deployment = Deployment(lambda: self.upstreams.has_streams, debug=app.debug)
        self.proxy_public = PathSet(config.proxy_public)
        refreshable = self.authority.renewals.are_possible
        self.cookie_terms = CookieTerms(
            style=self.style,
            seal=CookieSeal(sealer),
            limits={"user": config.cookie_max_age, "guest": config.guest_max_age},
            refreshable=refreshable,
            reserved=len(self.style.csrf_name) + CSRF_VALUE_BYTES if self.uses_csrf_tokens else 0,
        )
        self.rate_limits = RateLimits(config.store_url)
        self.terms = Terms(
            guests_enabled=config.guest_enabled,
            fallback=config.guest_fallback,
            refreshable=refreshable,
            leeway=config.refresh_leeway,
            clock=self.clock,
            admit_guest=self._admits_guest,
        )
        self._next_deny = PathSet(config.next_deny)

    def answer_to(self, error: Denial) -> Response | None:
        """What the app's ``on_denied`` callbacks say to a refusal."""
        answer = self.callbacks.answer_to(error)
        return None if answer is None else self.app.make_response(answer)

    def _admits_guest(self, address: str | None) -> bool:
        """GUEST_MINT_LIMIT: new guests per client address."""
        readings = self.rate_limits.hit(self.config.guest_mint_limit, "guest", client_key(address))
        return not any(reading.exceeded for reading in readings)

    def close(self) -> None:
        """Close the connections that are idle; the next request opens new ones."""
        self.upstreams.close()
        self.rate_limits.close()

    @property
    def mount(self) -> Mount | None:
        """Where the blueprint is registered; None when it is not, and then there are no rules for a prefix."""
        mount: Mount | None = self.app.extensions.get(MOUNT)
        return mount

    def mount_of(self, path: str) -> Mount | None:
        """Where the blueprint is registered, for a path below it."""
        mount = self.mount
        return mount if mount is not None and is_under(path, mount.prefix) else None

    def is_api_path(self, path: str) -> bool:
        return self.mount_of(path) is not None

    def safe_next(self, value: object, *, root: str) -> str | None:
        """``value`` when a login may lead there, else None.

        :param root: the quoted path under which the app is mounted, "" for none.
        """
        target = local_target(value)
        if target is None:
            return None
        path = target_path(target).removeprefix(unquote(root)) or "/"
        if same_page(self.config.login_url, path) or self.is_api_path(path):
            return None
        return None if path in self._next_deny else target


def remember_mount(app: Flask, mount: Mount) -> None:
    app.extensions[MOUNT] = mount


def app_state() -> AppState:
    """The layer's state of the current app.

    :raises RuntimeError: when the layer was never set up on it.
    """
    state: AppState | None = current_app.extensions.get(EXTENSION)
    if state is None:
        raise RuntimeError(
            f"the app {current_app.name!r} has no ApiLayer; create ApiLayer(app) or call init_app(app)"
        )
    return state


def _authority(
    app: Flask, config: Config, backend: Backend, transport: Transport, ledger: Ledger
) -> Authority:
    calls = BackendCalls(backend, transport, sender=app)
    identities = Identities(
        calls,
        lambda: Validations(ttl=config.validate_ttl, stale_ttl=config.stale_ttl),
        allowed_types=config.allowed_token_types,
        local=_local_check(config),
        clock=time.time,
    )
    renewals = Renewals(
        calls,
        ledger,
        identities,
        sender=app,
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        clock=time.time,
    )
    tokens = Tokens(calls, identities, guest_credentials=config.guest_credentials, clock=time.time)
    return Authority(calls, identities, renewals, tokens, ledger)


def _local_check(config: Config) -> LocalCheck | None:
    if config.validate != "local":
        return None
    keys = config.jwt_key if config.jwks_url is None else RemoteKeys(config.jwks_url)
    assert keys is not None
    verifier = Verifier(
        keys,
        algorithms=config.jwt_algorithms,
        issuer=config.jwt_issuer,
        audience=config.jwt_audience,
        leeway=config.jwt_leeway,
    )
    return LocalCheck(verifier, config.revalidate_every)
