"""State of the layer: one :class:`AppState` per app, one :class:`RequestState` per request."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit

from blinker import NamedSignal
from flask import Flask, Request, current_app, request
from flask.sansio.blueprints import Blueprint
from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.datastructures import Headers

from . import signals
from .backends import Backend
from .client import ApiClient
from .config import Config
from .errors import Audience, BackendUnavailable, Denial, denial
from .policies import UNRULED, Ruling, ViewPolicies
from .resolver import Resolver, Terms
from .sansio.access import Client, Deny, Policy
from .sansio.addresses import rate_key
from .sansio.cascade import Resolution
from .sansio.cookies import CookieStyle
from .sansio.headers import kept_request_id
from .sansio.identity import Identity
from .sansio.paths import is_under, local_target, target_path
from .sansio.proxying import TOKEN_ENDPOINTS, Forward, ProxyRoutes
from .sansio.routes import PathSet
from .sessions import Ledger, Sealer
from .signals import emit
from .tokens import Tokens
from .transport import Transport
from .types import Store
from .validations import Validations
from .wallet import Wallet

EXTENSION = "api_layer"
_MOUNT = "api_layer.mount"
_STATE = "_api_layer_state"


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an app registered the blueprint.

    :param prefix: such as "/api".
    :param endpoint: the name of the blueprint there, such as "api_layer".
    """

    prefix: str
    endpoint: str


class GuestLimit:
    """GUEST_MINT_LIMIT: new guests per client address, counted in this process."""

    def __init__(self, items: tuple[RateLimitItem, ...]) -> None:
        self._items = items
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def admits(self, address: str | None) -> bool:
        key = rate_key(address)
        return all([self._limiter.hit(item, "guest", key) for item in self._items])


class AppState:
    """What one app needs of the layer; it stands in ``app.extensions["api_layer"]``.

    :param protected: blueprints that were given a policy with ``layer.protect``.
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
    ) -> None:
        self.app = app
        self.config = config
        self.transport = transport
        self.clock = time.time
        self.style = CookieStyle(
            user=config.user_cookie,
            guest=config.guest_cookie,
            secure=config.cookie_secure,
            samesite=config.cookie_samesite,
        )
        self.sealer = Sealer(config.secret_keys)
        self.ledger = Ledger(store, self.sealer, grace=config.refresh_grace)
        self.tokens = Tokens(
            backend=backend,
            transport=transport,
            ledger=self.ledger,
            validations=Validations(ttl=config.validate_ttl, stale_ttl=config.stale_ttl),
            sender=app,
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
            allowed_types=config.allowed_token_types,
            guest_credentials=config.guest_credentials,
        )
        self.policies = ViewPolicies(app, config, protected)
        sealed = (backend.endpoints[name] for name in TOKEN_ENDPOINTS)
        self.proxy_routes = ProxyRoutes(config.proxy_routes, sealed=[path for path in sealed if path])
        self.proxy_public = PathSet(config.proxy_public)
        self.guest_limit = GuestLimit(config.guest_mint_limit)
        self._next_deny = PathSet(config.next_deny)

    @property
    def mount(self) -> Mount | None:
        """Where the blueprint is registered; None when it is not, and then there are no rules for a prefix."""
        mount: Mount | None = self.app.extensions.get(_MOUNT)
        return mount

    def is_api_path(self, path: str) -> bool:
        mount = self.mount
        return mount is not None and is_under(path, mount.prefix)

    def safe_next(self, value: object, *, root: str) -> str | None:
        """``value`` when a login may lead there, else None.

        :param root: the path under which the app is mounted, "" for none.
        """
        target = local_target(value)
        if target is None:
            return None
        path = target_path(target).removeprefix(root).rstrip("/") or "/"
        if path == urlsplit(self.config.login_url).path.rstrip("/") or self.is_api_path(path):
            return None
        return None if path in self._next_deny else target

    def audience(self) -> Audience:
        return request_state().audience()

    def terms(self, address: str | None) -> Terms:
        return Terms(
            guests_enabled=self.config.guest_enabled,
            fallback=self.config.guest_fallback,
            leeway=self.config.refresh_leeway,
            clock=self.clock,
            admit_guest=lambda: self.guest_limit.admits(address),
        )


def remember_mount(app: Flask, mount: Mount) -> None:
    app.extensions[_MOUNT] = mount


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


class RequestState:
    """What the layer knows about one request.

    :param root: the path under which the app is mounted: what LOGIN_URL and the like are relative to.
    :param guards_mount: the request belongs to an app mounted beside the Flask app, whose routes mean nothing here.
    """

    def __init__(self, host: AppState, req: Request, *, root: str, guards_mount: bool = False) -> None:
        self.host = host
        self.request = req
        self.root = root
        self.ruling: Ruling = UNRULED
        self.forward: Forward | None = None
        self._guards_mount = guards_mount
        self._touched = False

    @cached_property
    def resolver(self) -> Resolver:
        config = self.host.config
        wallet = Wallet(
            self.request.environ.get("HTTP_COOKIE", ""),
            style=self.host.style,
            sealer=self.host.sealer,
            limits=(config.cookie_max_age, config.guest_max_age),
            refreshable=self.host.tokens.can_refresh,
        )
        terms = self.host.terms(self.request.remote_addr)
        return Resolver(wallet, self.host.tokens, self.host.ledger, terms, sender=self.host.app)

    @cached_property
    def request_id(self) -> str:
        return kept_request_id(self.request.environ.get("HTTP_X_REQUEST_ID")) or uuid.uuid4().hex

    # Who

    @property
    def identity(self) -> Identity:
        """Who is asking; found out now if nobody wanted to know before."""
        return self.resolve().identity

    def resolve(self, *, mint: bool = False) -> Resolution:
        known = "resolver" in vars(self) and self.resolver.is_resolved
        resolution = self.resolver.resolve(mint=mint and self.may_mint)
        if not known:
            self._emit(signals.identity_resolved, identity=resolution.identity)
        return resolution

    @property
    def may_mint(self) -> bool:
        """Whether a visitor may become a guest here (crawlers, prefetches and login pages make no guests)."""
        if self.request.method in ("HEAD", "OPTIONS") or self._is_prefetch:
            return False
        return self.ruling.allows_guests

    @property
    def _is_prefetch(self) -> bool:
        environ = self.request.environ
        purposes = (environ.get("HTTP_SEC_PURPOSE", ""), environ.get("HTTP_PURPOSE", ""))
        return any("prefetch" in purpose.lower() for purpose in purposes)

    # Calls to the backend

    @cached_property
    def api(self) -> ApiClient:
        return ApiClient(
            self.host.transport,
            bearer=self.bearer,
            renew=self.resolver.renew,
            public=self.host.proxy_public,
            total_timeout=self.host.config.total_timeout,
        )

    def bearer(self) -> str | None:
        """The token to call the backend with: the user's, else the guest's, else that of a new guest.

        :raises Denial: when there is a session that cannot be used now, or the limit for new guests is reached.
        """
        token = self.resolver.bearer(mint=self.may_mint)
        if token is None and (why := self.resolver.mint_failure):
            raise denial("rate_limited" if why == "limited" else "backend_unavailable")
        return token

    # May they

    def gate(self, policies: tuple[Policy, ...]) -> None:
        """Let the request through, or raise.

        :raises Denial: LoginRequired, AccessDenied or BackendUnavailable.
        """
        for policy in policies:
            if not policy.gates:
                continue
            who = self.resolve(mint=policy.access == "guest")
            config = self.host.config
            verdict = policy.check(who, guests_enabled=config.guest_enabled, fallback=config.guest_fallback)
            if isinstance(verdict, Deny):
                raise self._deny(verdict, who.identity)

    def _deny(self, verdict: Deny, identity: Identity) -> Denial:
        error = denial(verdict.code)
        if not isinstance(error, BackendUnavailable):
            self._emit(signals.access_denied, identity=identity, error_code=verdict.code)
        return error

    # How it is said

    def audience(self) -> Audience:
        environ = self.request.environ
        path = quote(self._wsgi_path.encode("latin-1"), safe="/:@!$&'()*+,;=-._~")
        query = environ.get("QUERY_STRING", "")
        under_prefix = not self._guards_mount and self.host.is_api_path(self.request.path)
        return Audience(
            client=self._client(under_prefix),
            path=path,
            target=None if under_prefix else f"{path}?{query}" if query else path,
            login_url=self.root + self.host.config.login_url,
            request_id=self.request_id,
            realm=self.host.app.name,
            hx_current_url=environ.get("HTTP_HX_CURRENT_URL"),
        )

    def _client(self, under_prefix: bool) -> Client:
        environ = self.request.environ
        return Client(
            under_prefix=under_prefix,
            sends_json=self.request.is_json,
            accept=environ.get("HTTP_ACCEPT"),
            fetch_mode=environ.get("HTTP_SEC_FETCH_MODE"),
            requested_with=environ.get("HTTP_X_REQUESTED_WITH"),
            hx_request=environ.get("HTTP_HX_REQUEST"),
        )

    @property
    def _wsgi_path(self) -> str:
        environ = self.request.environ
        path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        return "/" + path.lstrip("/")

    # The answer

    def touch(self) -> None:
        """The answer depends on who is asking, even if nobody looks at the identity."""
        self._touched = True

    def finish(self, headers: Headers) -> None:
        """Write the queued cookies into the answer, once, and keep shared caches away from it."""
        if "resolver" not in vars(self):
            if self._touched:
                _keep_private(headers)
            return
        cookies = self.resolver.set_cookies()
        self.resolver.freeze()
        for cookie in cookies:
            headers.add("Set-Cookie", cookie)
        if cookies or self._touched or self.resolver.asked:
            _keep_private(headers)

    def _emit(self, signal: NamedSignal, **values: object) -> None:
        emit(signal, self.host.app, request_id=self.request_id, **values)


def _keep_private(headers: Headers) -> None:
    """Over whatever the view or the backend said: a shared cache must never hold what depends on who asks."""
    headers["Cache-Control"] = "private, no-store"
    vary = [name.strip() for name in ",".join(headers.getlist("Vary")).split(",") if name.strip()]
    if "*" not in vary and "cookie" not in (name.lower() for name in vary):
        headers["Vary"] = ", ".join([*vary, "Cookie"])


def begin_request(host: AppState, *, root: str, guards_mount: bool = False) -> RequestState:
    """A new state for the current request, in place of any other."""
    current = request._get_current_object()  # type: ignore[attr-defined]
    state = RequestState(host, current, root=root, guards_mount=guards_mount)
    setattr(current, _STATE, state)
    return state


def request_state() -> RequestState:
    """The state of the current request.

    It hangs on the request object itself: ``g`` is shared by all requests under one outer app context, and a view that pushes an app
    context gets another ``g``.

    :raises RuntimeError: outside a request.
    """
    state: RequestState | None = getattr(request, _STATE, None)
    return state or begin_request(app_state(), root=request.environ.get("SCRIPT_NAME", "").rstrip("/"))
