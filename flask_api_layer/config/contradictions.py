"""What settings cannot be together, though each is fine by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..jwt.keys import is_symmetric
from .checks import shown
from .settings import JWKS_EXAMPLE, PREFIX, SETTINGS, Setting


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Values that are fine each, and cannot work together."""

    fields: tuple[str, ...]
    holds: Callable[..., bool]
    text: str


def _only_local(setting: Setting) -> Contradiction:
    return Contradiction(
        ("validate", setting.field),
        lambda validate, value: validate == "backend" and value != setting.default,
        "contradict each other; write FLASK_API_LAYER_VALIDATE=local",
    )


# Keys that only count with VALIDATE "local": given without it, somebody believes in checks that do not happen.
_LOCAL: Final = tuple(
    setting
    for setting in SETTINGS
    if setting.name.startswith(("JWT_", "JWKS_")) or setting.name == "REVALIDATE_EVERY"
)

CONTRADICTIONS: Final = (
    Contradiction(
        ("user_cookie", "guest_cookie"), lambda user, guest: user == guest, "are one cookie; write two names"
    ),
    Contradiction(
        ("csrf_cookie", "user_cookie", "guest_cookie"),
        lambda csrf, user, guest: csrf in (user, guest),
        "are one cookie; write three names",
    ),
    Contradiction(
        ("cookie_samesite", "csrf"),
        lambda samesite, csrf: samesite == "None" and csrf == "off",
        "leave nothing that keeps other sites' forms out; write FLASK_API_LAYER_CSRF=both",
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
    *(_only_local(setting) for setting in _LOCAL),
    Contradiction(
        ("validate", "jwt_key", "jwks_url"),
        lambda validate, key, url: validate == "local" and key is None and url is None,
        f"leave nothing to check a token with; write FLASK_API_LAYER_JWKS_URL={JWKS_EXAMPLE}",
    ),
    Contradiction(
        ("jwt_key", "jwks_url"),
        lambda key, url: key is not None and url is not None,
        "are two sources of keys; remove one",
    ),
    Contradiction(
        ("validate", "jwt_algorithms"),
        lambda validate, algorithms: validate == "local" and not algorithms,
        """accept no token; write FLASK_API_LAYER_JWT_ALGORITHMS='["RS256"]'""",
    ),
    Contradiction(
        ("jwks_url", "jwt_algorithms"),
        lambda url, algorithms: url is not None and any(map(is_symmetric, algorithms)),
        "would make secrets of public keys; remove the HS algorithms",
    ),
    # A public key taken for a secret: whoever has it could sign (RFC 8725 section 2.1).
    Contradiction(
        ("jwt_key", "jwt_algorithms"),
        lambda key, algorithms: key is not None and not all(map(key.fits, algorithms)),
        "do not go together: HS algorithms take a shared secret, RS and PS an RSA key, ES256 a P-256 key, EdDSA an Ed25519 key",
    ),
)


def contradictions(found: Mapping[str, Any]) -> Iterator[str]:
    """The contradictions between values that passed their own checks."""
    for one in CONTRADICTIONS:
        if found.keys() >= set(one.fields) and one.holds(*(found[name] for name in one.fields)):
            said = (f"{PREFIX}{name.upper()}={shown(found[name])}" for name in one.fields)
            yield f"{' and '.join(said)} {one.text}"
