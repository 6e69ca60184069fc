"""State of the layer for one request: who is asking, may they, and what the answer must carry."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from blinker import NamedSignal
from flask import Request, request
from werkzeug.datastructures import Headers

from . import signals
from .app_state import AppState, app_state
from .client import ApiClient
from .errors import Audience, BackendUnavailable, Denial, denial
from .policies import UNRULED, Ruling
from .resolver import Resolver
from .sansio.access import Client, Deny, Policy
from .sansio.cascade import Resolution
from .sansio.headers import kept_request_id
from .sansio.identity import Identity
from .sansio.paths import wsgi_decoded
from .sansio.proxying import Forward
from .signals import emit
from .wallet import Wallet

_STATE = "_api_layer_state"


class RequestState:
    """What the layer knows about one request.

    :param root: the quoted path under which the app is mounted: what LOGIN_URL and the like are relative to.
    :param guards_mount: the request belongs to an app mounted beside the Flask app, whose routes mean nothing here.
    """

    def __init__(self, host: AppState, req: Request, *, root: str, guards_mount: bool = False) -> None:
        self.host = host
        self.request = req
        self.root = root
        self.ruling: Ruling = UNRULED
        self.forward: Forward | None = None
        self._guards_mount = guards_mount
        self._resolver: Resolver | None = None
        self._request_id: str | None = None
        self._api: ApiClient | None = None
        self._passed: list[tuple[Resolution, Policy]] = []
        self._touched = False
        self._finished = False
        self._told = False

    @property
    def resolver(self) -> Resolver:
        if self._resolver is None:
            host, environ = self.host, self.request.environ
            wallet = Wallet(environ.get("HTTP_COOKIE", ""), host.cookie_terms)
            self._resolver = Resolver(
                wallet, host.authority, host.terms, sender=host.app, address=environ.get("REMOTE_ADDR")
            )
            if self._finished:
                self._resolver.freeze()
        return self._resolver

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
        return self._resolver.known_identity if self._resolver is not None else None

    def resolve(self, *, mint: bool = False) -> Resolution:
        resolution = self.resolver.resolve(mint=mint and self.may_mint)
        if not self._told:
            self._told = True
            self.tell(signals.identity_resolved, identity=resolution.identity)
        return resolution

    @property
    def may_mint(self) -> bool:
        """Whether a visitor may become a guest here (crawlers, prefetches and login pages make no guests)."""
        if self._finished or self.request.method in ("HEAD", "OPTIONS") or self._is_prefetch:
            return False
        return self.ruling.allows_guests

    @property
    def _is_prefetch(self) -> bool:
        environ = self.request.environ
        purposes = (environ.get("HTTP_SEC_PURPOSE", ""), environ.get("HTTP_PURPOSE", ""))
        return any("prefetch" in purpose.lower() for purpose in purposes)

    # Calls to the backend

    @property
    def api(self) -> ApiClient:
        if self._api is None:
            self._api = ApiClient(
                self.host.transport,
                bearer=self.bearer,
                renew=self.renew,
                public=self.host.proxy_public,
                total_timeout=self.host.config.total_timeout,
            )
        return self._api

    def bearer(self) -> str | None:
        """The token to call the backend with: the user's, else the guest's, else that of a new guest.

        :raises Denial: when there is a session that cannot be used now, or the limit for new guests is reached.
        """
        token = self.resolver.bearer(mint=self.may_mint)
        if token is not None and self._is_for_users and not self.resolver.is_users(token):
            return None
        if token is None and (why := self.resolver.mint_failure):
            raise denial("rate_limited" if why == "limited" else "backend_unavailable")
        return token

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

        :raises Denial: LoginRequired, AccessDenied or BackendUnavailable.
        """
        for policy in policies:
            if not policy.gates:
                continue
            who = self.resolve(mint=policy.access == "guest")
            if (who, policy) in self._passed:
                # The hook has been here before the view's own wrapper.
                continue
            config = self.host.config
            verdict = policy.check(who, guests_enabled=config.guest_enabled, fallback=config.guest_fallback)
            if isinstance(verdict, Deny):
                raise self._deny(verdict, who.identity)
            self._passed.append((who, policy))

    def _deny(self, verdict: Deny, identity: Identity) -> Denial:
        error = denial(verdict.code)
        if not isinstance(error, BackendUnavailable):
            self.tell(signals.access_denied, identity=identity, error_code=verdict.code)
        return error

    # How it is said

    def audience(self) -> Audience:
        environ = self.request.environ
        path = wsgi_decoded(self._wsgi_path)
        quoted = quote(self._wsgi_path.encode("latin-1"), safe="/:@!$&'()*+,;=-._~")
        query = environ.get("QUERY_STRING", "")
        under_prefix = not self._guards_mount and self.host.is_api_path(self.request.path)
        return Audience(
            client=self._client(under_prefix),
            path=path,
            target=None if under_prefix else f"{quoted}?{query}" if query else quoted,
            login_url=self.root + self.host.config.login_url,
            request_id=self.request_id,
            realm=self.host.app.name,
            hx_target=self._hx_target,
        )

    @property
    def _hx_target(self) -> str | None:
        """The page that htmx is on; the header is the client's word, so it is checked like any ``next``."""
        try:
            url = urlsplit(self.request.environ.get("HTTP_HX_CURRENT_URL", ""))
        except ValueError:
            return None
        path = url.path or ("/" if url.netloc else "")
        return self.host.safe_next(f"{path}?{url.query}" if url.query else path, root=self.root)

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
        self._finished = True
        if self._resolver is not None:
            for cookie in self._resolver.set_cookies():
                self._touched = True
                headers.add("Set-Cookie", cookie)
            self._resolver.freeze()
            self._touched = self._touched or self._resolver.asked
        if self._touched:
            _keep_private(headers)

    def tell(self, signal: NamedSignal, **values: object) -> None:
        """Tell the subscribers of a signal what happened in this request."""
        if signal.receivers:
            emit(signal, self.host.app, request_id=self.request_id, **values)


def _keep_private(headers: Headers) -> None:
    """Over whatever the view or the backend said: a shared cache must never hold what depends on who asks."""
    headers["Cache-Control"] = "private, no-store"
    named = headers.getlist("Vary")
    if named == ["Cookie"]:
        return
    vary = [name.strip() for name in ",".join(named).split(",") if name.strip()]
    if "*" not in vary and "cookie" not in (name.lower() for name in vary):
        headers["Vary"] = ", ".join([*vary, "Cookie"])


def begin_request(
    host: AppState, req: Request, *, root: str | None = None, guards_mount: bool = False
) -> RequestState:
    """A new state for a request, in place of any other.

    :param root: the decoded path under which the app is mounted, by default SCRIPT_NAME.
    """
    if root is None:
        name = req.environ.get("SCRIPT_NAME")
        root = wsgi_decoded(name).rstrip("/") if name else ""
    state = RequestState(host, req, root=quote(root) if root else "", guards_mount=guards_mount)
    setattr(req, _STATE, state)
    return state


def state_of(req: Request) -> RequestState | None:
    """The state that hangs on the request object itself.

    ``g`` would not do: all requests under one outer app context share it, and a view that pushes an app context gets another one.
    """
    state: RequestState | None = getattr(req, _STATE, None)
    return state


def request_state() -> RequestState:
    """The state of the current request.

    :raises RuntimeError: outside a request.
    """
    req = request._get_current_object()  # type: ignore[attr-defined]
    return state_of(req) or begin_request(app_state(), req)
