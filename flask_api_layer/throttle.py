"""Rate limits of a request: whom it counts for, and the refusal when it was one too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from limits import RateLimitItem

from . import signals
from .errors import RateLimited, denial
from .policies import RateMark
from .rate_limits import Reading
from .sansio.rates import account_names, client_key, retry_after
from .sansio.session import Freshness, Session, unverified_claims
from .state import RequestState

# Guests of one address, a family or an office, who count as one identity each.
CROWD = 10


def limit_request(state: RequestState) -> None:
    """Count the request against RATE_LIMIT and the limits of its view.

    :raises RateLimited: when it was one too many.
    """
    ruling = state.ruling
    items = state.host.config.rate_limit if ruling.is_counted else ()
    if not items and not ruling.limits:
        return
    session = _session(state)
    key = _key(state, session)
    if items and session is not None and session.kind == "guest":
        # A new guest is one request away: together they get what ten of them may have.
        address = client_key(state.request.remote_addr)
        _count(state, "guests", _crowd(items), "app-guests", address, is_shown=False)
    # A count of their own: they spend nobody's limit, and anybody can claim to prefetch.
    suffix = "-prefetch" if state.is_prefetch else ""
    if items:
        _count(state, "default", items, f"app{suffix}", key)
    for mark in ruling.limits:
        scope = f"view:{state.request.endpoint}:{mark.place}{suffix}"
        _count(state, mark.name, mark.items, scope, _own_key(mark) or key)


def limit_login(state: RequestState, fields: Mapping[str, Any]) -> None:
    """Count a login against LOGIN_RATE_LIMIT: for its address, and for the account that it tries.

    :param fields: what will be sent to the backend.
    :raises RateLimited: when it was one too many.
    """
    items = state.host.config.login_rate_limit
    if not items:
        return
    # First: whoever is refused for the address must not use up the attempts of somebody else's account.
    _count(state, "login", items, "login-address", client_key(state.request.remote_addr))
    for name in account_names(fields):
        _count(state, "account", items, "login-account", name, is_shown=False)


@lru_cache
def _crowd(items: tuple[RateLimitItem, ...]) -> tuple[RateLimitItem, ...]:
    return tuple(type(item)(item.amount * CROWD, item.multiples) for item in items)


def _key(state: RequestState, session: Session | None) -> str:
    """Per identity when there is one, which is told by the sealed cookie alone: nobody is asked."""
    custom = state.host.callbacks.rate_limit_key
    if custom and (key := custom[-1]()):
        return f"custom {key}"
    if session is None:
        return client_key(state.request.remote_addr)
    # What is said of the limit differs from one visitor to the next.
    state.touch()
    subject = unverified_claims(session.access_token).get("sub") if session.kind == "user" else None
    # The sessions of one user share their limit where the token says whose they are.
    name = f"sub {subject}" if isinstance(subject, str | int) else f"session {session.id}"
    return client_key(None, user=name)


def _session(state: RequestState) -> Session | None:
    """The session that counts: of an expired one nobody knows any more whose it is."""
    wallet, now = state.resolver.wallet, state.host.clock()
    sessions = (wallet.session("user"), wallet.session("guest"))
    return next((one for one in sessions if one and one.freshness(now, 0) is not Freshness.EXPIRED), None)


def _own_key(mark: RateMark) -> str | None:
    named = mark.key() if mark.key else None
    return f"custom {named}" if named else None


def _count(
    state: RequestState,
    name: str,
    items: Sequence[RateLimitItem],
    scope: str,
    key: str,
    *,
    is_shown: bool = True,
) -> None:
    readings = state.host.rate_limits.hit(items, scope, key)
    exceeded = [reading for reading in readings if reading.exceeded]
    # What is left of an account's attempts would tell strangers that somebody else tried.
    if is_shown or exceeded:
        state.quotas += tuple(reading.quota(name) for reading in readings)
    if exceeded:
        raise _refusal(state, name, scope, exceeded)


def _refusal(state: RequestState, name: str, scope: str, exceeded: list[Reading]) -> RateLimited:
    state.touch()
    state.tell(signals.rate_limited, limit=str(exceeded[0].item), scope=scope)
    wait = retry_after([reading.quota(name) for reading in exceeded])
    error = denial("rate_limited", retry_after=wait)
    assert isinstance(error, RateLimited)
    return error
