"""The configuration: every ``API_LAYER_*`` key, read once, checked, and never changed afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from limits import RateLimitItem

from ..errors import ConfigError
from ..jwt.keys import StaticKeys
from ..sansio.csrf import Mode
from ..sansio.proxy_routes import ProxyRoute
from .checks import SettingError, closest
from .contradictions import contradictions
from .settings import PREFIX, SETTINGS

__all__ = ["MIN_SECRET_BYTES", "SETTINGS", "Config"]

MIN_SECRET_BYTES: Final = 16
_NEW_SECRET = "python -c 'import secrets; print(secrets.token_hex())'"  # noqa: S105 - the command, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the ``API_LAYER_*`` keys say, one field for each key, in lower case.

    Ages, times to live, leeways and timeouts are seconds; ``proxy_max_body`` and ``proxy_replay_body`` are bytes; ``pool_size``
    is connections for each backend host. ``backend_url`` has no slash at its end. ``guest_mint_limit``, ``rate_limit`` and
    ``login_rate_limit`` are empty for no limit. ``endpoints`` holds the overrides only (None: the backend has no such
    endpoint), as paths below ``backend_url``. Patterns of views start with a slash, patterns of the proxy do not;
    ``proxy_routes`` stand in declared order. ``None`` in ``allowed_token_types``, ``login_fields`` and ``register_fields`` is
    all of them, in ``jwt_issuer`` and ``jwt_audience`` that the claim is not looked at; ``revalidate_every`` 0 is never. With
    ``validate`` "local" there is either ``jwt_key`` or ``jwks_url``. ``secret_keys`` starts with the current key, then
    SECRET_KEY_FALLBACKS.
    """

    backend_url: str
    backend: str
    endpoints: Mapping[str, str | None]

    user_cookie: str
    guest_cookie: str
    csrf_cookie: str
    cookie_secure: bool
    cookie_samesite: Literal["Lax", "Strict", "None"]
    cookie_max_age: int
    guest_max_age: int

    guest_enabled: bool
    guest_mode: Literal["lazy", "eager"]
    guest_credentials: Mapping[str, Any] | None = field(repr=False)
    guest_mint_limit: tuple[RateLimitItem, ...]
    guest_fallback: bool

    protected_routes: tuple[str, ...]
    auth_routes: tuple[str, ...]
    public_routes: tuple[str, ...]
    excluded_routes: tuple[str, ...]
    protected_by_default: bool
    allowed_token_types: tuple[str, ...] | None

    login_url: str
    after_login_url: str
    after_logout_url: str
    next_deny: tuple[str, ...]
    login_fields: tuple[str, ...] | None
    register_fields: tuple[str, ...] | None

    validate: Literal["backend", "local"]
    validate_ttl: float
    stale_ttl: float
    revalidate_every: float
    jwt_key: StaticKeys | None = field(repr=False)
    jwks_url: str | None
    jwt_algorithms: tuple[str, ...]
    jwt_issuer: str | None
    jwt_audience: tuple[str, ...] | None
    jwt_leeway: float
    refresh_leeway: float
    refresh_grace: float
    store_url: str = field(repr=False)  # may hold the password of a Redis

    proxy_routes: tuple[ProxyRoute, ...]
    proxy_public: tuple[str, ...]
    proxy_max_body: int | None
    proxy_replay_body: int
    proxy_request_headers: frozenset[str]
    proxy_response_headers: frozenset[str]

    csrf: Mode
    csrf_trusted_origins: frozenset[str]
    rate_limit: tuple[RateLimitItem, ...]
    login_rate_limit: tuple[RateLimitItem, ...]
    rate_limit_exempt: tuple[str, ...]
    block_browser_api: bool
    audit_events: tuple[str, ...] | None
    audit_logger: str

    connect_timeout: float
    read_timeout: float
    total_timeout: float
    pool_size: int

    secret_keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def from_mapping(
        cls,
        values: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] = MappingProxyType({}),
        debug: bool,
        instance_path: str,
    ) -> Self:
        """The configuration of an app.

        :param values: ``app.config``; only ``API_LAYER_*``, SECRET_KEY and SECRET_KEY_FALLBACKS are read.
        :param defaults: the extension's keyword arguments (``backend_url=...``), used where ``values`` has no such key.
        :param debug: ``app.debug or app.testing``: cookies without Secure, and a short SECRET_KEY is let through.
        :param instance_path: ``app.instance_path``, where the default store lives.
        :raises ConfigError: with every problem at once.
        """
        by_app = {setting.name: setting.default for setting in SETTINGS} | {
            "COOKIE_SECURE": not debug,
            "STORE_URL": f"sqlite:///{instance_path}/api-layer.sqlite3",
        }
        found: dict[str, Any] = {}
        problems = list(_unknown(values, defaults))
        for setting in SETTINGS:
            # Config beats constructor arguments.
            is_argument = setting.key not in values and setting.field in defaults
            raw = defaults[setting.field] if is_argument else values.get(setting.key, by_app[setting.name])
            try:
                found[setting.field] = setting.check(raw)
            except SettingError as fault:
                problems.append(setting.problem(fault, is_argument=is_argument))
        found["secret_keys"] = _secret_keys(values, problems, debug=debug)
        problems += contradictions(found)
        if problems:
            raise ConfigError(problems)
        return cls(**found)


def _unknown(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """The names that mean nothing; their values stay untold, since a mistyped name may hold a secret."""
    names = {setting.name for setting in SETTINGS}
    for key in values:
        if (
            isinstance(key, str)
            and key.startswith(PREFIX)
            and (name := key.removeprefix(PREFIX)) not in names
        ):
            likely = closest(name, names)
            yield f"there is no key {key!r}; {f'did you mean {PREFIX + likely!r}?' if likely else 'remove it'}"
    fields = {setting.field for setting in SETTINGS}
    for name in sorted(defaults.keys() - fields):
        likely = closest(name, fields)
        yield f"there is no argument {name!r}; {f'did you mean {likely!r}?' if likely else 'remove it'}"


def _secret_keys(values: Mapping[str, Any], problems: list[str], *, debug: bool) -> tuple[bytes, ...]:
    """The keys for the cookies, current first; what is wrong goes to ``problems``, without a character of a key."""
    named = [
        ("SECRET_KEY", values.get("SECRET_KEY"), f"set FLASK_SECRET_KEY to what this prints: {_NEW_SECRET}")
    ]
    fallbacks = values.get("SECRET_KEY_FALLBACKS") or ()
    if isinstance(fallbacks, list | tuple):
        named += [(f"SECRET_KEY_FALLBACKS[{n}]", key, "take it out") for n, key in enumerate(fallbacks)]
    else:
        problems.append(
            "SECRET_KEY_FALLBACKS is not a list; write FLASK_SECRET_KEY_FALLBACKS='[\"<old key>\"]'"
        )
    keys = []
    for name, value, remedy in named:
        try:
            keys.append(_secret_key(value, debug=debug))
        except SettingError as fault:
            problems.append(f"{name} {fault}; {remedy}")
    return tuple(keys)


def _secret_key(value: object, *, debug: bool) -> bytes:
    if isinstance(value, int | float):
        raise SettingError(
            """was read as a number (JSON quotes keep it text: FLASK_SECRET_KEY='"<the key>"')"""
        )
    if not value:
        raise SettingError("is not set")
    if not isinstance(value, str | bytes):
        raise SettingError("is neither a string nor bytes")
    try:
        key = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise SettingError("is not UTF-8") from None
    if len(key) < MIN_SECRET_BYTES and not debug:
        raise SettingError(f"is shorter than {MIN_SECRET_BYTES} bytes")
    return key
