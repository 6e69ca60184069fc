"""Every ``API_LAYER_*`` key, with its default and what its value may be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..jwt.keys import ALGORITHMS
from ..sansio.events import EVENT_TYPES
from . import checks, proxy, urls
from .checks import NO_SUGGESTION, SettingError

PREFIX: Final = "API_LAYER_"
PRESETS: Final = ("standard",)
JWKS_EXAMPLE: Final = "https://api.example.com/.well-known/jwks.json"
_PEM = "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n"
_WEEK = 7 * 24 * 3600
_MIB = 2**20
_MOST_BYTES = 2**63 - 1


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


_patterns = checks.sequence(urls.pattern)
_age = checks.whole("seconds", least=1, most=checks.MOST_SECONDS)

SETTINGS: Final = (
    Setting("BACKEND_URL", None, urls.backend_url, "https://api.example.com"),
    Setting("BACKEND", "standard", checks.choice(*PRESETS)),
    Setting("ENDPOINTS", {}, urls.endpoints, {"login": "auth/login"}),
    Setting("USER_COOKIE", "api-user", checks.cookie_name),
    Setting("GUEST_COOKIE", "api-guest", checks.cookie_name),
    Setting("CSRF_COOKIE", "api-csrf", checks.cookie_name),
    Setting("COOKIE_SECURE", True, checks.boolean),
    Setting("COOKIE_SAMESITE", "Lax", checks.samesite),
    Setting("COOKIE_MAX_AGE", _WEEK, _age),
    Setting("GUEST_MAX_AGE", _WEEK, _age),
    Setting("GUEST_ENABLED", False, checks.boolean),
    Setting("GUEST_MODE", "lazy", checks.choice("lazy", "eager")),
    Setting(
        "GUEST_CREDENTIALS",
        None,
        checks.optional(checks.credentials),
        {"username": "...", "password": "..."},
    ),
    Setting("GUEST_MINT_LIMIT", "30/minute", checks.limit),
    Setting("GUEST_FALLBACK", True, checks.boolean),
    Setting("PROTECTED_ROUTES", (), _patterns, ["/account"]),
    Setting("AUTH_ROUTES", (), _patterns, ["/login"]),
    Setting("PUBLIC_ROUTES", (), _patterns, ["/about"]),
    Setting("EXCLUDED_ROUTES", (), _patterns, ["/health"]),
    Setting("PROTECTED_BY_DEFAULT", False, checks.boolean),
    Setting("ALLOWED_TOKEN_TYPES", None, checks.names, ["user"]),
    Setting("LOGIN_URL", "/login", urls.login_url),
    Setting("AFTER_LOGIN_URL", "/", urls.local_url),
    Setting("AFTER_LOGOUT_URL", "/", urls.local_url),
    Setting("NEXT_DENY", ("/**/login", "/**/logout", "/**/register"), _patterns),
    Setting("LOGIN_FIELDS", None, checks.names, ["email", "password"]),
    Setting("REGISTER_FIELDS", None, checks.names, ["name", "email", "password"]),
    Setting("VALIDATE", "backend", checks.choice("backend", "local")),
    Setting("VALIDATE_TTL", 5, checks.seconds),
    Setting("STALE_TTL", 300, checks.seconds),
    Setting("REVALIDATE_EVERY", 0, checks.seconds),
    Setting("JWT_KEY", None, checks.optional(checks.jwt_key), _PEM),
    Setting("JWKS_URL", None, checks.optional(urls.jwks_url), JWKS_EXAMPLE),
    Setting("JWT_ALGORITHMS", (), checks.sequence(checks.choice(*ALGORITHMS)), ["RS256"]),
    Setting("JWT_ISSUER", None, checks.optional(checks.text), "https://api.example.com"),
    Setting("JWT_AUDIENCE", None, checks.audience, ["shop"]),
    Setting("JWT_LEEWAY", 30, checks.seconds),
    Setting("REFRESH_LEEWAY", 30, checks.seconds),
    Setting("REFRESH_GRACE", 60, checks.seconds),
    Setting("STORE_URL", None, urls.store_url, "memory://"),
    Setting("PROXY_ROUTES", {}, proxy.proxy_routes, {"products/**": ["GET"]}),
    Setting("PROXY_PUBLIC", (), checks.sequence(urls.proxy_pattern), ["products/**"]),
    Setting(
        "PROXY_MAX_BODY",
        None,
        checks.optional(checks.whole("bytes", least=1, most=_MOST_BYTES)),
        10 * _MIB,
    ),
    Setting("PROXY_REPLAY_BODY", _MIB, checks.whole("bytes", least=0, most=_MOST_BYTES)),
    Setting("PROXY_REQUEST_HEADERS", (), proxy.request_headers, ["X-Tenant"]),
    Setting("PROXY_RESPONSE_HEADERS", (), proxy.response_headers, ["X-Total-Count"]),
    Setting("CSRF", "both", checks.choice("both", "fetch_metadata", "double_submit", "off")),
    Setting("CSRF_TRUSTED_ORIGINS", (), urls.origins, ["https://admin.example.com"]),
    Setting("RATE_LIMIT", None, checks.limit, "300/minute"),
    Setting("LOGIN_RATE_LIMIT", "10/minute", checks.limit),
    Setting("RATE_LIMIT_EXEMPT", (), _patterns, ["/health"]),
    Setting("BLOCK_BROWSER_API", False, checks.boolean),
    Setting(
        "AUDIT_EVENTS", None, checks.optional(checks.sequence(checks.choice(*EVENT_TYPES))), ["auth:login"]
    ),
    Setting("AUDIT_LOGGER", "flask_api_layer.audit", checks.text),
    Setting("CONNECT_TIMEOUT", 2, checks.timeout),
    Setting("READ_TIMEOUT", 10, checks.timeout),
    Setting("TOTAL_TIMEOUT", 30, checks.timeout),
    # More connections than ports cannot exist, and the pool reserves a place for each.
    Setting("POOL_SIZE", 32, checks.whole("connections", least=1, most=65_535)),
)
