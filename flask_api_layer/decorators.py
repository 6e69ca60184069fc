"""Decorators for views: they mark; the hooks enforce, and for the gates so does the wrapper itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import isclass, iscoroutinefunction
from typing import Any, TypeVar, cast, overload

from .config.checks import SettingError, limit
from .errors import ConfigError
from .policies import RateMark, exempt_from_csrf, limit_view, mark
from .sansio.access import GUEST, PUBLIC, Policy
from .state import request_state

V = TypeVar("V", bound=Callable[..., Any])


@overload
def login_required(view: V, /) -> V: ...
@overload
def login_required(*roles: str) -> Callable[[V], V]: ...
def login_required(*args: Any) -> Any:
    """Only a logged-in user may enter; with roles, only one who has any of them.

    Works on functions (sync and async), on classes and methods of class-based views, above or below the route decorator. Guests are
    never enough. Several of them add up.
    """
    if len(args) == 1 and callable(args[0]):
        return _protect(args[0], Policy("user"))
    roles = frozenset(args)
    if not all(isinstance(role, str) and role for role in roles):
        raise TypeError(
            f"login_required takes role names, not {args!r}; write @login_required('admin', 'editor')"
        )
    return lambda view: _protect(view, Policy("user", roles))


def guest_allowed(view: V) -> V:
    """Users and guests may enter; a visitor becomes a guest. With guests off it asks for a login."""
    return _protect(view, GUEST)


def public(view: V) -> V:
    """Everybody may enter and nobody is asked: no gate by pattern or default, no guest is made."""
    mark(view, PUBLIC)
    return view


def csrf_exempt(view: V) -> V:
    """No CSRF check here, for a webhook that carries a signature of its own, say."""
    exempt_from_csrf(view)
    return view


def rate_limit(
    limits: str, *, key: Callable[[], str | None] | None = None, name: str = "view"
) -> Callable[[V], V]:
    """A limit on this view alone, beside RATE_LIMIT: ``@rate_limit("5/minute")``, ``@rate_limit("5/minute;50/day")``.

    The answer is 429 with ``Retry-After``; ``@app.errorhandler(RateLimited)`` may give another.

    :param limits: in the notation of the ``limits`` package.
    :param key: gives the text that requests count for, in place of the identity or address: ``key=lambda: request.args["q"]``.
    :param name: of the limit in the ``RateLimit`` response fields.
    :raises ConfigError: for a limit that cannot be.
    """
    try:
        items = limit(limits)
    except SettingError as fault:
        raise ConfigError([f"@rate_limit: {fault}"]) from None
    mark = RateMark(items, name, key)

    def decorate(view: V) -> V:
        limit_view(view, mark)
        return view

    return decorate


def _protect(view: V, policy: Policy) -> V:
    mark(view, policy)
    return cast(V, _protect_class(view, policy) if isclass(view) else _gated(view, policy))


def _protect_class(view_class: Any, policy: Policy) -> Any:
    """The class, whose views gate however they are reached."""
    dispatch = view_class.dispatch_request
    view_class.dispatch_request = _gated(dispatch, policy)
    return view_class


def _gated(function: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    policies = (policy,)
    if iscoroutinefunction(function):

        @wraps(function)
        async def async_gate(*args: Any, **kwargs: Any) -> Any:
            request_state().gate(policies)
            return await function(*args, **kwargs)

        return async_gate

    @wraps(function)
    def gate(*args: Any, **kwargs: Any) -> Any:
        request_state().gate(policies)
        return function(*args, **kwargs)

    return gate
