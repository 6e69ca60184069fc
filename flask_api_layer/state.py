"""State of the layer for one request: who is asking, may they, and what the answer must carry."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from urllib.parse import quote
from weakref import ref

from blinker import NamedSignal
from flask import Request, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import SecurityError

from . import signals
from .answers import keep_private, say_limits
from .app_state import AppState, app_state
from .client import ApiClient
from .csrf_tokens import CsrfTokens
from .errors import BackendUnavailable, Denial, denial
from .policies import UNRULED, Ruling
from .resolver import Resolver
from .sansio.access import Deny, Policy
from .sansio.cascade import Resolution
from .sansio.csrf import SAFE_METHODS, Evidence, comes_from_elsewhere
from .sansio.headers import kept_request_id
from .sansio.identity import Identity
from .sansio.paths import wsgi_decoded
from .sansio.proxy_routes import ProxyRoute
from .sansio.proxying import Forward
from .sansio.rates import PURPOSE_KEYS, Quota, claims_prefetch, is_prefetch, limit_headers
from .signals import emit
from .wallet import Wallet

_log = logging.getLogger(__name__)

_STATE = "flask_api_layer.state"


class RequestState:
    """What the layer knows about one request.

    ``guards_mount`` says that the request belongs to an app mounted beside the Flask app, whose routes mean nothing here.
    """

    # On the class, because most requests never change them.
    guards_mount = False
    ruling: Ruling = UNRULED
    forward: Forward | None = None
    outer: RequestState | None = None
    quotas: tuple[Quota, ...] = ()
    _resolver: Resolver | None = None
    _request_id: str | None = None
    _csrf: CsrfTokens | None = None
    _passed: tuple[Policy, ...] = ()
    _passed_as: Resolution | None = None
    _touched = False
    _finished = False
    _told = False

    def __init__(self, host: AppState, req: Request) -> None:
        self.host = host
        # Weakly: in a cycle, every request with all that hangs on it would wait for the garbage collector (5 us of a small view).
        self._request = ref(req)

    @property
    def request(self) -> Request:
        req = self._request()
        if req is None:
            raise RuntimeError(
                "the request is over; wrap the generator in stream_with_context, or the thread's function in "
                "copy_current_request_context"
            )
        return req

    @cached_property
    def root(self) -> str:
        """The quoted path under which the app is mounted: what LOGIN_URL and the like are relative to."""
        return quote(wsgi_decoded(self.request.environ.get("SCRIPT_NAME", "")).rstrip("/"))

    @property
    def resolver(self) -> Resolver:
        if self._resolver is not None:
            return self._resolver
        host, environ = self.host, self.request.environ
        wallet = Wallet(environ.get("HTTP_COOKIE", ""), host.cookie_terms)
        made = Resolver(
            wallet, host.authority, host.terms, sender=host.app, address=environ.get("REMOTE_ADDR")
        )
        if self._finished:
            made.freeze()
        # Threads with a copy of the request context may come at once; setdefault is atomic, so all of them get the same one.
        resolver: Resolver = self.__dict__.setdefault("_resolver", made)
        return resolver

    @property
    def csrf(self) -> CsrfTokens:
        if self._csrf is not None:
            return self._csrf
        made = CsrfTokens(self.request.environ.get("HTTP_COOKIE", ""), self.host.csrf_terms)
        csrf: CsrfTokens = self.__dict__.setdefault("_csrf", made)
        return csrf

    def csrf_token(self) -> str:
        """A token for the forms and scripts of this visitor; empty where tokens mean nothing (CSRF "fetch_metadata" or "off")."""
        if not self.host.uses_csrf_tokens:
            return ""
        self.touch()
        token = self.csrf.hand_out(self.resolver.wallet.session_id)
        if self._finished and self.csrf.is_changed:
            _log.warning(
                "a streamed answer of %s asked for a CSRF token too late for its cookie; call csrf_token() in the view first",
                self.request.endpoint,
            )
        return token

    @property
    def request_id(self) -> str:
        if self._request_id is None:
            kept = kept_request_id(self.request.environ.get("HTTP_X_REQUEST_ID"))
            self._request_id = kept or os.urandom(16).hex()
        return self._request_id

    # Who

    @property
    def identity(self) -> Identity:
        """Who is asking; found out now if nobody wanted to know before."""
        return self.resolve().identity

    @property
    def known_identity(self) -> Identity | None:
        """Who is asking, if somebody has wanted to know already."""
        resolution = self._resolver.resolution if self._resolver is not None else None
        return resolution.identity if resolution is not None else None

    def resolve(self, *, mint: bool = False) -> Resolution:
        resolver = self.resolver
        resolution = resolver.resolve(mint=mint and self._prepare_to_mint())
        if signals.identity_resolved.receivers and not self._told and not resolver.questions.is_asking:
            self._told = True
            self.tell(signals.identity_resolved, identity=resolution.identity)
        return resolution

    def check_host(self) -> None:
        """Refuse a request for a host that TRUSTED_HOSTS does not name: nothing about it can be believed.

        :raises Denial: ``bad_request``.
        """
        if isinstance(self.request.routing_exception, SecurityError):
            raise denial("bad_request", detail="This host name is not served here.")

    @property
    def may_mint(self) -> bool:
        """Whether a visitor may become a guest here (crawlers, prefetches and login pages make no guests)."""
        if self._finished or self.request.method in ("HEAD", "OPTIONS") or claims_prefetch(*self._purposes):
            return False
        return self.ruling.allows_guests and not self._is_from_elsewhere

    @property
    def _is_from_elsewhere(self) -> bool:
        if self.request.method in SAFE_METHODS:
            return False
        config = self.host.config
        return comes_from_elsewhere(
            self.evidence, mode=config.csrf, trusted_origins=config.csrf_trusted_origins
        )

    @property
    def evidence(self) -> Evidence:
        """What the request says of its origin."""
        req, wallet = self.request, self.resolver.wallet
        environ = req.environ
        return Evidence(
            method=environ["REQUEST_METHOD"],
            own_origin=f"{req.scheme}://{req.host}",
            has_session=wallet.carries("user") or wallet.carries("guest"),
            fetch_site=environ.get("HTTP_SEC_FETCH_SITE"),
            fetch_mode=environ.get("HTTP_SEC_FETCH_MODE"),
            origin=environ.get("HTTP_ORIGIN"),
            referer=environ.get("HTTP_REFERER"),
        )

    def _prepare_to_mint(self) -> bool:
        """Whether a guest may be made; their forms stay good, since the session takes over the id that these are bound to."""
        if not self.host.config.guest_enabled or not self.may_mint:
            return False
        if self.host.uses_csrf_tokens:
            self.resolver.questions.guest_id = self.csrf.id
        return True

    @property
    def _purposes(self) -> tuple[str | None, ...]:
        environ = self.request.environ
        return tuple(environ.get(key) for key in PURPOSE_KEYS)

    @property
    def is_prefetch(self) -> bool:
        return is_prefetch(self.request.method, *self._purposes)

    # Calls to the backend

    @property
    def api(self) -> ApiClient:
        """A client for calls on behalf of whoever is asking. It knows this state, which must not know it: no cycles."""
        return ApiClient(
            self.host.transport,
            bearer=self.bearer,
            renew=self.renew,
            public=self.host.proxy_public,
            total_timeout=self.host.config.total_timeout,
        )

    def bearer(self) -> str | None:
        """The token to call the backend with: the user's, else the guest's, else that of a new guest.

        :raises Denial: when there is a session that cannot be used now, or the limit for new guests is reached.
        """
        token = self.resolver.bearer(mint=self._prepare_to_mint())
        if token is not None and self._is_for_users and not self.resolver.is_users(token):
            return None
        if token is None and (why := self.resolver.mint_failure):
            raise denial("rate_limited" if why == "limited" else "backend_unavailable")
        return token

    def forward_to(self, decision: Forward) -> ProxyRoute:
        """Take note that the request is for the proxy; the route, whose terms are the request's from now on."""
        self.forward = decision
        if decision.route.auth == "user":
            self.ruling = Ruling((Policy("user", decision.route.roles),))
        return decision.route

    @property
    def _is_for_users(self) -> bool:
        return self.forward is not None and self.forward.route.auth == "user"

    def renew(self, token: str) -> str | None:
        """The token to try once more after the backend refused this one; None when its answer stands.

        :raises Denial: when the session ended by this and nothing takes its place, or when a refresh is due and cannot be had now.
        """
        renewed = self.resolver.renew(token)
        if renewed is not None or not self.resolver.has_lost(token):
            return renewed
        replacement = self.bearer()
        if replacement is None:
            raise self.nobody()
        return replacement

    def nobody(self) -> Denial:
        """The denial for a caller who has no session, or none any more."""
        return denial("session_expired" if self.resolver.ended else "login_required")

    # May they

    def gate(self, policies: tuple[Policy, ...]) -> None:
        """Let the request through, or raise.

        :param policies: that ask for somebody, "user" or "guest".
        :raises Denial: LoginRequired, AccessDenied or BackendUnavailable.
        """
        for policy in policies:
            if self._has_passed(policy):
                continue
            who = self.resolve(mint=policy.access == "guest")
            config = self.host.config
            verdict = policy.check(who, guests_enabled=config.guest_enabled, fallback=config.guest_fallback)
            if isinstance(verdict, Deny):
                raise self._deny(verdict, who.identity)
            self._passed = (*self._passed, policy) if self._passed_as is who else (policy,)
            self._passed_as = who

    def _has_passed(self, policy: Policy) -> bool:
        """The hook was here before the view's own wrapper, and they are still who they were."""
        if policy not in self._passed:
            return False
        return self.resolver.resolution is self._passed_as

    def _deny(self, verdict: Deny, identity: Identity) -> Denial:
        error = denial(verdict.code)
        if not isinstance(error, BackendUnavailable):
            self.tell(signals.access_denied, identity=identity, error_code=verdict.code)
        return error

    # The answer

    def touch(self) -> None:
        """The answer depends on who is asking, even if nobody looks at the identity."""
        self._touched = True

    def finish(self, headers: Headers) -> None:
        """Write the queued cookies into the answer, once, and keep shared caches away from it."""
        self._finished = True
        resolver = self._resolver
        if resolver is not None:
            for cookie in resolver.set_cookies():
                self._touched = True
                headers.add("Set-Cookie", cookie)
            resolver.freeze()
            self._touched = self._touched or resolver.asked
        if self._csrf is not None and (csrf_cookie := self._csrf.take_cookie()):
            headers.add("Set-Cookie", csrf_cookie)
        if self.quotas:
            say_limits(headers, limit_headers(self.quotas, now=self.host.clock()))
        if self._touched:
            keep_private(headers)

    def tell(self, signal: NamedSignal, **values: object) -> None:
        """Tell the subscribers of a signal what happened in this request."""
        if signal.receivers:
            emit(signal, self.host.app, request_id=self.request_id, **values)


def begin_request(host: AppState, req: Request) -> RequestState:
    """A new state for a request, in place of any other."""
    environ = req.environ
    state = RequestState(host, req)
    if _STATE in environ:
        state.outer = environ[_STATE]
    environ[_STATE] = state
    return state


def state_of(req: Request) -> RequestState | None:
    """The state of this very request.

    ``g`` would not do: all requests under one outer app context share it, and a view that pushes an app context gets another one.
    Nor would an attribute of the request: it makes every access to all the others slower, a tenth of a small view.
    """
    state: RequestState | None = req.environ.get(_STATE)
    while state is not None and state._request() is not req:
        # Somebody has sent the same environ through the app again.
        state = state.outer
    return state


def request_state() -> RequestState:
    """The state of the current request.

    :raises RuntimeError: outside a request.
    """
    req = request._get_current_object()  # type: ignore[attr-defined]
    return state_of(req) or begin_request(app_state(), req)
