"""Which policy counts for a view: its own marks, its blueprint's, the route patterns, the default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from posixpath import normpath
from typing import Any

from flask import Flask
from flask.sansio.blueprints import Blueprint
from limits import RateLimitItem

from .config import Config
from .errors import ConfigError
from .sansio.access import AUTH, OPEN, PUBLIC, STATIC, USER, Policy
from .sansio.paths import target_path
from .sansio.routes import PathSet, RoutePolicies

_MARKS = "__api_layer_policies__"
# The methods of a class-based view, as Flask looks them up.
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_REMEMBERED_VIEWS = 1_024
_LONGEST_REMEMBERED = 1_024
_CSRF_EXEMPT = "__api_layer_csrf_exempt__"
_LIMITS = "__api_layer_limits__"


@dataclass(frozen=True, slots=True)
class RateMark:
    """What ``@rate_limit`` lays on a view.

    :param key: names whom a request counts for; None or an empty name: the identity or address.
    :param place: tells it from other limits of the view, which count on their own.
    """

    items: tuple[RateLimitItem, ...]
    name: str
    key: Callable[[], str | None] | None = None
    place: str = ""


def exempt_from_csrf(view: Any) -> None:
    setattr(getattr(view, "__func__", view), _CSRF_EXEMPT, True)


def limit_view(view: Any, limit: RateMark) -> None:
    view = getattr(view, "__func__", view)
    limits = getattr(view, _LIMITS, ())
    placed = replace(limit, place=f"{getattr(view, '__qualname__', '')}#{len(limits)}")
    setattr(view, _LIMITS, (*limits, placed))


def mark(view: Any, policy: Policy) -> None:
    """Lay a policy on a function or class; several add up, a contradiction is refused while the app starts.

    :raises ConfigError: for ``public`` together with a gate, or a guest view that also asks for a login.
    """
    # A bound method has no attributes of its own.
    view = getattr(view, "__func__", view)
    marks = (*own_marks(view), policy)
    name = getattr(view, "__qualname__", repr(view))
    refuse_contradiction(marks, name)
    for method in _METHODS:
        handler = own_marks(getattr(view, method, None))
        # A method's gate adds to its class's; only "everybody" and a gate exclude each other.
        if handler and PUBLIC in (*handler, policy):
            refuse_contradiction((*handler, policy), f"{name}.{method}")
    setattr(view, _MARKS, marks)


def own_marks(view: Any) -> tuple[Policy, ...]:
    marks: tuple[Policy, ...] = getattr(view, _MARKS, ())
    return marks


def refuse_contradiction(marks: Iterable[Policy], name: str) -> None:
    kinds = {policy.access for policy in marks}
    if len(kinds) > 1:
        wanted = " and ".join(sorted(_SPELLED[kind] for kind in kinds))
        raise ConfigError([f"{name!r} is marked as {wanted}, which contradict each other; keep one"])


_SPELLED = {"user": "@login_required", "guest": "@guest_allowed", "public": "@public"}


def view_marks(view: Callable[..., Any], method: str) -> tuple[Policy, ...]:
    """The marks of a view; a class-based one has those of its class and of the method that will run."""
    return tuple(dict.fromkeys(found for part in _parts(view, method) for found in own_marks(part)))


def _parts(view: Callable[..., Any], method: str) -> list[Any]:
    """What a decorator may have been laid on: the view function, and for a class-based view its class and method."""
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return [view]
    handler = getattr(view_class, method.lower(), None)
    if handler is None and method == "HEAD":
        handler = getattr(view_class, "get", None)
    return [view, view_class, handler]


@dataclass(frozen=True, slots=True)
class Ruling:
    """All that counts for a request of one view, path and method.

    :param policies: must all be met.
    :param excluded: the hooks leave this path alone.
    :param is_counted: RATE_LIMIT counts the request.
    :param limits: that ``@rate_limit`` laid on the view.
    :param is_csrf_exempt: the view, its class or its method is marked with ``@csrf_exempt``.
    """

    policies: tuple[Policy, ...] = (OPEN,)
    excluded: bool = False
    is_counted: bool = True
    limits: tuple[RateMark, ...] = ()
    is_csrf_exempt: bool = False
    gates: bool = field(init=False)
    is_login_page: bool = field(init=False)

    def __post_init__(self) -> None:
        # Asked by every request, decided once.
        object.__setattr__(self, "gates", any(policy.gates for policy in self.policies))
        object.__setattr__(self, "is_login_page", AUTH in self.policies)

    @property
    def allows_guests(self) -> bool:
        """Nothing here forbids to make a guest when one is needed."""
        return not self.excluded and all(policy.access in ("open", "guest") for policy in self.policies)


UNRULED = Ruling()


class ViewPolicies:
    """The ruling for every request of an app.

    :param protected: blueprints that were given a policy with ``layer.protect``.
    """

    def __init__(self, app: Flask, config: Config, protected: Mapping[Blueprint, Policy]) -> None:
        self._app = app
        self._protected = protected
        self._patterns = RoutePolicies(
            protected=config.protected_routes, auth=config.auth_routes, public=config.public_routes
        )
        self._excluded = PathSet(config.excluded_routes, and_below=True)
        self._unlimited = PathSet(config.rate_limit_exempt, and_below=True)
        self._login_path = target_path(config.login_url).rstrip("/")
        self._default = USER if config.protected_by_default else OPEN
        # Sites ask for the same few pages over and over; what clients make up, paths and methods, is forgotten again.
        remember = lru_cache(maxsize=_REMEMBERED_VIEWS)
        self._remembered = remember(self._find)
        self._own = remember(self._of_endpoint)

    def without_view(self, path: str) -> Ruling:
        """For a path that no view serves: only PROTECTED_ROUTES hide whether there is one."""
        ruling = self.of_api(path)
        if ruling.excluded or self._is_login(path):
            return ruling
        hidden = any(self._patterns.policy_for(reading) == USER for reading in _readings(path))
        return replace(ruling, policies=(USER,)) if hidden else ruling

    def of_api(self, path: str) -> Ruling:
        """For a path where no view's marks and no pattern gates: below the prefix."""
        excluded, is_counted = self._is_excluded(path), self._is_counted(path)
        return Ruling(excluded=excluded, is_counted=is_counted) if excluded or not is_counted else UNRULED

    def of_view(self, endpoint: str, path: str, method: str) -> Ruling:
        """For a view: the mark, else the nearest protected blueprint, else the longest pattern, else the default."""
        find = self._remembered if len(path) <= _LONGEST_REMEMBERED else self._find
        return find(endpoint, path, method)

    def _find(self, endpoint: str, path: str, method: str) -> Ruling:
        own = self._own(endpoint, method)
        if self._is_excluded(path):
            return replace(own, excluded=True, policies=own.policies or (OPEN,))
        policies = own.policies or (self._by_path(endpoint, path),)
        return replace(own, policies=policies, is_counted=STATIC not in policies and self._is_counted(path))

    def forget(self) -> None:
        """Look everything up again: something has been protected since."""
        self._remembered.cache_clear()
        self._own.cache_clear()

    def _is_counted(self, path: str) -> bool:
        """Whether RATE_LIMIT counts a path: RATE_LIMIT_EXEMPT does not free it."""
        return not _covers(self._unlimited, path)

    def _is_excluded(self, path: str) -> bool:
        """Whether EXCLUDED_ROUTES keeps the hooks away from a path."""
        return _covers(self._excluded, path)

    def _is_login(self, path: str) -> bool:
        return path.rstrip("/") == self._login_path

    def _of_endpoint(self, endpoint: str, method: str) -> Ruling:
        """What was laid on the view itself or on its blueprint; no policies where nothing was."""
        view = self._app.view_functions[endpoint]
        parts = _parts(view, method)
        return Ruling(
            view_marks(view, method) or self._of_blueprint(endpoint),
            limits=tuple(dict.fromkeys(limit for part in parts for limit in getattr(part, _LIMITS, ()))),
            is_csrf_exempt=any(getattr(part, _CSRF_EXEMPT, False) for part in parts),
        )

    def _of_blueprint(self, endpoint: str) -> tuple[Policy, ...]:
        """The policy of the nearest protected blueprint around an endpoint such as "shop.admin.report"."""
        while "." in endpoint:
            endpoint = endpoint.rpartition(".")[0]
            blueprint = self._app.blueprints.get(endpoint)
            if blueprint is not None and (policy := self._protected.get(blueprint)):
                return (policy,)
        return ()

    def _by_path(self, endpoint: str, path: str) -> Policy:
        """The policy of the path, by that reading of it which gates."""
        first, *others = [self._by_reading(endpoint, reading) for reading in _readings(path)]
        return next((policy for policy in others if policy.gates), first)

    def _by_reading(self, endpoint: str, path: str) -> Policy:
        pattern = self._patterns.policy_for(path)
        if self._is_login(path) and pattern in (None, USER):
            # A gate in front of the login page would lock everybody out.
            return OPEN
        if pattern is not None:
            return pattern
        return STATIC if self._serves_static(endpoint) else self._default

    def _serves_static(self, endpoint: str) -> bool:
        """Whether Flask itself serves files here; a view that is merely called so is a view."""
        if not endpoint.endswith("static"):
            return False
        name, _, last = endpoint.rpartition(".")
        owner = self._app.blueprints.get(name) if name else self._app
        return last == "static" and owner is not None and owner.has_static_folder


def _covers(paths: PathSet, path: str) -> bool:
    """Whether the patterns free a path, however it is read."""
    return path in paths and all(reading in paths for reading in _readings(path))


def _readings(path: str) -> list[str]:
    """The path as it stands, and as a view that resolves dot segments itself would read it (``safe_join`` does)."""
    if "/." not in path and "\\" not in path:
        return [path]
    return [path, normpath("/" + path.replace("\\", "/").lstrip("/"))]
