"""The configuration: every ``API_LAYER_*`` key, read once, checked, and never changed afterwards."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from limits import RateLimitItem

from . import settings
from .errors import ConfigError
from .sansio.headers import NEVER_BACK, NEVER_BACK_PREFIXES
from .settings import NO_SUGGESTION, PRESETS, SettingError, closest, shown

PREFIX: Final = "API_LAYER_"
MIN_SECRET_BYTES: Final = 16
_WEEK = 7 * 24 * 3600
_MIB = 2**20
_MOST_BYTES = 2**63 - 1
_NEW_SECRET = "python -c 'import secrets; print(secrets.token_hex())'"  # noqa: S105 - the command, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the ``API_LAYER_*`` keys say, one field for each key, in lower case.

    Ages, times to live, leeways and timeouts are seconds; ``proxy_max_body`` and ``proxy_replay_body`` are bytes; ``pool_size`` is
    connections for each backend host. ``backend_url`` has no slash at its end. ``guest_mint_limit`` is empty for no limit.
    ``endpoints`` holds the overrides only (None: the backend has no such endpoint), as paths below ``backend_url``. Patterns of
    views start with a slash, patterns of the proxy do not; ``proxy_routes`` are pairs of pattern and methods in declared order.
    ``None`` in ``allowed_token_types``, ``login_fields`` and ``register_fields`` is all of them. ``secret_keys`` starts with the
    current key, then SECRET_KEY_FALLBACKS.
    """

    backend_url: str
    backend: str
    endpoints: Mapping[str, str | None]

    user_cookie: str
    guest_cookie: str
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

    validate: Literal["backend"]
    validate_ttl: float
    stale_ttl: float
    refresh_leeway: float
    refresh_grace: float
    store_url: str = field(repr=False)  # may hold the password of a Redis

    proxy_routes: tuple[tuple[str, frozenset[str]], ...]
    proxy_public: tuple[str, ...]
    proxy_max_body: int | None
    proxy_replay_body: int
    proxy_request_headers: tuple[str, ...]
    proxy_response_headers: tuple[str, ...]

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
        problems += _contradictions(found)
        if problems:
            raise ConfigError(problems)
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    :param check: gives the value to use, or raises :exc:`SettingError`.
    :param example: what an error tells to write when the check has no better idea and the default is no help.
    """

    name: str
    default: object
    check: Callable[[object], object]
    example: object = None

    @property
    def key(self) -> str:
        return PREFIX + self.name

    @property
    def field(self) -> str:
        return self.name.lower()

    def problem(self, fault: SettingError, *, is_argument: bool) -> str:
        """What is wrong, and what to write instead, where it was written."""
        instead = fault.instead
        if instead is NO_SUGGESTION:
            instead = self.default if self.example is None else self.example
        if isinstance(instead, tuple):
            instead = list(instead)
        if is_argument:
            return f"{self.field}: {fault}; write {self.field}={instead!r}"
        return f"{self.key}: {fault}; write FLASK_{self.key}={_in_shell(instead)} (in Python: {instead!r})"


def _in_shell(value: object) -> str:
    """The value as a shell passes it to ``from_prefixed_env``: JSON, or a string that JSON cannot read."""
    if isinstance(value, str) and value.isprintable() and not _is_json(value):
        return shlex.quote(value)
    return shlex.quote(json.dumps(value))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


_sent = settings.header_names(settings.NEVER_SENT, settings.NEVER_SENT_PREFIXES)
_answered = settings.header_names(NEVER_BACK, NEVER_BACK_PREFIXES)
_patterns = settings.sequence(settings.pattern)
_age = settings.whole("seconds", least=1, most=settings.MOST_SECONDS)

SETTINGS: Final = (
    Setting("BACKEND_URL", None, settings.backend_url, "https://api.example.com"),
    Setting("BACKEND", "standard", settings.choice(*PRESETS)),
    Setting("ENDPOINTS", {}, settings.endpoints, {"login": "auth/login"}),
    Setting("USER_COOKIE", "api-user", settings.cookie_name),
    Setting("GUEST_COOKIE", "api-guest", settings.cookie_name),
    Setting("COOKIE_SECURE", True, settings.boolean),
    Setting("COOKIE_SAMESITE", "Lax", settings.samesite),
    Setting("COOKIE_MAX_AGE", _WEEK, _age),
    Setting("GUEST_MAX_AGE", _WEEK, _age),
    Setting("GUEST_ENABLED", False, settings.boolean),
    Setting("GUEST_MODE", "lazy", settings.choice("lazy", "eager")),
    Setting(
        "GUEST_CREDENTIALS",
        None,
        settings.optional(settings.credentials),
        {"username": "...", "password": "..."},
    ),
    Setting("GUEST_MINT_LIMIT", "30/minute", settings.limit),
    Setting("GUEST_FALLBACK", True, settings.boolean),
    Setting("PROTECTED_ROUTES", (), _patterns, ["/account"]),
    Setting("AUTH_ROUTES", (), _patterns, ["/login"]),
    Setting("PUBLIC_ROUTES", (), _patterns, ["/about"]),
    Setting("EXCLUDED_ROUTES", (), _patterns, ["/health"]),
    Setting("PROTECTED_BY_DEFAULT", False, settings.boolean),
    Setting("ALLOWED_TOKEN_TYPES", None, settings.names, ["user"]),
    Setting("LOGIN_URL", "/login", settings.login_url),
    Setting("AFTER_LOGIN_URL", "/", settings.local_url),
    Setting("AFTER_LOGOUT_URL", "/", settings.local_url),
    Setting("NEXT_DENY", ("/**/login", "/**/logout", "/**/register"), _patterns),
    Setting("LOGIN_FIELDS", None, settings.names, ["email", "password"]),
    Setting("REGISTER_FIELDS", None, settings.names, ["name", "email", "password"]),
    Setting("VALIDATE", "backend", settings.choice("backend")),
    Setting("VALIDATE_TTL", 5, settings.seconds),
    Setting("STALE_TTL", 300, settings.seconds),
    Setting("REFRESH_LEEWAY", 30, settings.seconds),
    Setting("REFRESH_GRACE", 60, settings.seconds),
    Setting("STORE_URL", None, settings.store_url, "memory://"),
    Setting("PROXY_ROUTES", {}, settings.proxy_routes, {"products/**": ["GET"]}),
    Setting("PROXY_PUBLIC", (), settings.sequence(settings.proxy_pattern), ["products/**"]),
    Setting(
        "PROXY_MAX_BODY",
        None,
        settings.optional(settings.whole("bytes", least=1, most=_MOST_BYTES)),
        10 * _MIB,
    ),
    Setting("PROXY_REPLAY_BODY", _MIB, settings.whole("bytes", least=0, most=_MOST_BYTES)),
    Setting("PROXY_REQUEST_HEADERS", (), _sent, ["X-Tenant"]),
    Setting("PROXY_RESPONSE_HEADERS", (), _answered, ["X-Total-Count"]),
    Setting("CONNECT_TIMEOUT", 2, settings.timeout),
    Setting("READ_TIMEOUT", 10, settings.timeout),
    Setting("TOTAL_TIMEOUT", 30, settings.timeout),
    # More connections than ports cannot exist, and the pool reserves a place for each.
    Setting("POOL_SIZE", 32, settings.whole("connections", least=1, most=65_535)),
)


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


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Values that are fine each, and cannot work together."""

    fields: tuple[str, ...]
    holds: Callable[..., bool]
    text: str


CONTRADICTIONS: Final = (
    Contradiction(
        ("user_cookie", "guest_cookie"), lambda user, guest: user == guest, "are one cookie; write two names"
    ),
    Contradiction(
        ("cookie_samesite", "cookie_secure"),
        lambda samesite, secure: samesite == "None" and not secure,
        "make cookies that browsers refuse; write FLASK_API_LAYER_COOKIE_SECURE=true",
    ),
    Contradiction(
        ("guest_mode", "guest_enabled"),
        lambda mode, enabled: mode == "eager" and not enabled,
        "contradict each other; write FLASK_API_LAYER_GUEST_ENABLED=true",
    ),
    Contradiction(
        ("endpoints", "guest_enabled"),
        lambda endpoints, enabled: enabled and endpoints.get("guest", "") is None,
        "leave nobody to ask for guest tokens; write FLASK_API_LAYER_ENDPOINTS__guest=auth/guest",
    ),
    Contradiction(
        ("read_timeout", "total_timeout"),
        lambda read, total: read > total,
        "cannot both count; write a total that is no less than the other",
    ),
)


def _contradictions(found: Mapping[str, Any]) -> Iterator[str]:
    """The contradictions between values that passed their own checks."""
    for one in CONTRADICTIONS:
        if found.keys() >= set(one.fields) and one.holds(*(found[name] for name in one.fields)):
            said = (f"{PREFIX}{name.upper()}={shown(found[name])}" for name in one.fields)
            yield f"{' and '.join(said)} {one.text}"
