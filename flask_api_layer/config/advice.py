"""Settings that work, and that somebody should think about again: said once, when the app starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from . import Config


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that is allowed and unsafe, and what to do about it.

    :param everywhere: said in debug mode and in tests too.
    """

    holds: Callable[[Config], bool]
    text: str
    everywhere: bool = False


def _crosses_a_network_in_clear(config: Config) -> bool:
    """http to a name that looks like one of the Internet; a name of one label, or a private address, is a network of one's own."""
    parts = urlsplit(config.backend_url)
    host = parts.hostname or ""
    if parts.scheme != "http" or "." not in host or host.endswith((".local", ".internal", ".localhost")):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return True


def _shares_no_memory(config: Config) -> bool:
    """More workers than one, each with a ledger of its own."""
    workers = os.environ.get("WEB_CONCURRENCY", "")
    return config.store_url.startswith("memory:") and workers.isdecimal() and int(workers) > 1


ADVICE: Final = (
    Advice(
        lambda config: not config.cookie_secure,
        "API_LAYER_COOKIE_SECURE is false: over plain http anybody on the way can read the sessions; "
        "remove it, and serve the app with TLS",
    ),
    Advice(
        lambda config: config.csrf == "off",
        'API_LAYER_CSRF is "off": other sites can send forms in the name of your visitors; remove it',
    ),
    Advice(
        lambda config: not config.login_rate_limit,
        "API_LAYER_LOGIN_RATE_LIMIT is null: passwords can be guessed as fast as the backend answers; remove it",
    ),
    Advice(
        _crosses_a_network_in_clear,
        "API_LAYER_BACKEND_URL is plain http to another network: tokens and passwords travel in clear; write https://",
    ),
    Advice(
        _shares_no_memory,
        "API_LAYER_STORE_URL is memory:// and WEB_CONCURRENCY asks for several workers, which cannot see each other's refreshes: "
        "sessions will be lost; remove it (SQLite), or name a Redis",
        everywhere=True,
    ),
    Advice(
        lambda config: config.validate == "local" and config.jwt_audience is None,
        "API_LAYER_JWT_AUDIENCE is not set: a token that was issued for another service is accepted here too; "
        "write the aud that the backend puts into its tokens",
    ),
)


def advice(config: Config, *, debug: bool) -> list[str]:
    """What to log when the app starts.

    :param debug: ``app.debug or app.testing``, where most of it is meant to be so.
    """
    return [one.text for one in ADVICE if (one.everywhere or not debug) and one.holds(config)]
