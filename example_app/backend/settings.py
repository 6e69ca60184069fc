"""What can be set from outside, checked once at start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

API_PREFIX = "/v1"
DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one backend; lives are seconds, fractions allowed.

    ``access_ttl`` is the life of a user's access token, ``guest_ttl`` that of a guest's; ``refresh_ttl`` is how long
    either may be exchanged for a new one. ``tokens``: "dual" hands out an opaque refresh token beside the access
    token, "single" exchanges the access token itself.
    """

    database: Path
    jwt_secret: str | None = field(default=None, repr=False)
    access_ttl: float = 900
    refresh_ttl: float = 30 * DAY
    guest_ttl: float = 7 * DAY
    tokens: Literal["dual", "single"] = "dual"
    login_user: bool = True
    refresh_user: bool = True
    debug_endpoints: bool = True
    password_method: str = "scrypt"


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value))


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= 32


def _is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "database": (_is_path, "the path of a file"),
    "jwt_secret": (_is_secret, "a text of 32 characters or more"),
    "access_ttl": (_is_seconds, "a positive number of seconds"),
    "refresh_ttl": (_is_seconds, "a positive number of seconds"),
    "guest_ttl": (_is_seconds, "a positive number of seconds"),
    "tokens": (lambda value: value in ("dual", "single"), '"dual" or "single"'),
    "login_user": (_is_bool, "true or false"),
    "refresh_user": (_is_bool, "true or false"),
    "debug_endpoints": (_is_bool, "true or false"),
    "password_method": (
        lambda value: isinstance(value, str),
        'a method of werkzeug.security, such as "scrypt"',
    ),
}


def read_settings(config: Mapping[str, Any], *, default_database: Path) -> Settings:
    """The settings found in a Flask config, defaults filled in; a key that is None counts as absent.

    :raises ValueError: naming every key that has the wrong kind of value, never the value (it may be the secret).
    """
    names = [item.name for item in fields(Settings)]
    given = {name: value for name in names if (value := config.get(name.upper())) is not None}
    problems = [
        f"{name.upper()} must be {wanted}" for name in given for wanted in _problem(name, given[name])
    ]
    if problems:
        raise ValueError("The shop backend cannot start: " + "; ".join(problems))
    return Settings(**given | {"database": Path(given.get("database", default_database))})


def _problem(name: str, value: object) -> list[str]:
    is_fine, wanted = _CHECKS[name]
    return [] if is_fine(value) else [wanted]
