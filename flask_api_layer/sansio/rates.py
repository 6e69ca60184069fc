"""Rate limits: whom a request counts for, how much is left, and how that is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, floor
from typing import Any, Final
from unicodedata import category, normalize

from .addresses import rate_key

PURPOSE_KEYS: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")

# Names of fields as _field_name() leaves them. "name" is not among them: of two Johns each would spend the other's attempts.
_ACCOUNT_FIELDS = frozenset(
    (
        *("user", "username", "userid", "uid", "useremail", "nickname", "handle"),
        *("email", "emailaddress", "mail", "emailorusername", "usernameoremail"),
        *("login", "loginid", "loginname", "account", "accountid", "accountname", "identifier", "identity"),
        *("phone", "phonenumber", "mobile", "mobilenumber", "telephone", "tel", "msisdn"),
    )
)
# What is secret, and what many visitors send alike.
_NO_ACCOUNT = re.compile(
    "pass|pwd|pin|secret|senha|clave|parola|sifre|kennwort|wachtwoord|token|otp|code|key|credential|csrf|captcha"
    "|remember|grant|scope|client|device|redirect|next|locale|lang|tenant|type"
)
_MOST_DEPTH = 4
_MOST_NAMES = 4
_MOST_CHARACTERS = 256
_MOST_DIGITS = 18
MANY_ACCOUNTS: Final = "more accounts than anybody has"
# RFC 8941 3.3.1: what an Integer can be.
_MOST_INTEGER = 999_999_999_999_999


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit, and what one client has left of it.

    :param limit: requests in ``window`` seconds.
    :param reset_in: whole seconds until there is one more.
    :param exceeded: the request was refused.
    """

    name: str
    limit: int
    window: int
    remaining: int
    reset_in: int
    exceeded: bool = False


def client_key(address: str | None, *, user: str | int | None = None) -> str:
    """Who a request counts for: an identity where there is one, else the client address (IPv6: its /64).

    :param user: what identifies them. Making a new guest is counted elsewhere, for the address.
    """
    return f"address {rate_key(address)}" if user is None else f"user {user}"


def account_names(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The accounts that a login attempt is for, each in one spelling; empty when it names none.

    They are the values of all fields that usually name an account, also nested (``{"user": {"email": ...}}``) and in lists, for
    the backend may read any of them. Without such a field it is the first text that is neither secret nor sent alike by many.
    An attempt that names more accounts than anybody has shares one name with all of its kind.

    Case, width, accents, blanks and invisible characters do not count: backends strip blanks, and MySQL's default collation
    takes ``ádà`` for ``Ada``, so that each spelling would be a fresh set of attempts at the same account.

    :param fields: those that are sent to the backend.
    """
    texts = list(_texts("", fields, _MOST_DEPTH))
    known = _spellings(text for name, text in texts if name in _ACCOUNT_FIELDS)
    others = (text for name, text in texts if not _NO_ACCOUNT.search(name))
    names = tuple(islice(known, _MOST_NAMES + 1)) or tuple(islice(_spellings(others), 1))
    return names if len(names) <= _MOST_NAMES else (MANY_ACCOUNTS,)


def is_prefetch(method: str, *purposes: str | None) -> bool:
    """Whether a browser fetches a page that nobody may ever look at.

    Anybody can claim it, so a request that changes something is none, whatever it says.

    :param purposes: as for :func:`claims_prefetch`.
    """
    return method in ("GET", "HEAD") and claims_prefetch(*purposes)


def claims_prefetch(*purposes: str | None) -> bool:
    """Whether a request says that it is only a prefetch.

    :param purposes: the values of :data:`PURPOSE_KEYS` in the WSGI environ.
    """
    tokens = (token.strip() for purpose in purposes if purpose for token in re.split("[,;]", purpose))
    return any(token.lower() == "prefetch" for token in tokens)


def budget(limit: int, window: int, counts: tuple[int, float, int, float]) -> tuple[int, int]:
    """The requests that are left in a sliding window, and the whole seconds until there is one more.

    :param counts: of the previous window how many, and for how many seconds it still weighs; of the current window how many,
        and the seconds until it weighs no more.
    """
    previous, previous_left, current, current_left = counts
    remaining = max(0, limit - floor(previous * previous_left / window) - current)
    reset = current_left - window
    if previous:
        # The previous window loses weight steadily: one request every window / previous seconds.
        reset = min(reset, previous_left % (window / previous))
    return remaining, min(window, max(1, ceil(reset)))


def retry_after(quotas: Iterable[Quota]) -> int:
    """The seconds after which a refused request may come again; 0 if nothing refused it."""
    return max((quota.reset_in for quota in quotas if quota.exceeded), default=0)


def limit_headers(quotas: Sequence[Quota], *, now: float) -> list[tuple[str, str]]:
    """Response headers that say what is left: ``RateLimit-Policy``, ``RateLimit`` and the three ``X-RateLimit-*``.

    The first two are those of draft-ietf-httpapi-ratelimit-headers-11, with seconds from now. The X-* show the quota that is
    nearest to its limit; ``X-RateLimit-Reset`` is a point in time, seconds since 1970, as GitHub, express-rate-limit and
    Flask-Limiter send it: a client that knows these fields computes with that.

    :param now: seconds since 1970.
    """
    if not quotas:
        return []
    nearest = min(quotas, key=lambda quota: (not quota.exceeded, quota.remaining, -quota.reset_in))
    return [
        ("RateLimit-Policy", ", ".join(_item(quota.name, q=quota.limit, w=quota.window) for quota in quotas)),
        ("RateLimit", ", ".join(_item(quota.name, r=quota.remaining, t=quota.reset_in) for quota in quotas)),
        ("X-RateLimit-Limit", str(nearest.limit)),
        ("X-RateLimit-Remaining", str(nearest.remaining)),
        ("X-RateLimit-Reset", str(ceil(now) + nearest.reset_in)),
    ]


def _item(name: str, **parameters: int) -> str:
    """A String item of RFC 8941 with parameters."""
    text = re.sub(r'(["\\])', r"\\\1", re.sub("[^ -~]", "?", name))
    return f'"{text}"' + "".join(f";{key}={min(value, _MOST_INTEGER)}" for key, value in parameters.items())


def _texts(name: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    """Every text in decoded JSON or a form, and every number that may stand for one, with the name of its field."""
    match value:
        case str():
            yield name, value
        case int() if not isinstance(value, bool) and abs(value) < 10**_MOST_DIGITS:
            yield name, str(value)
        case Mapping() if depth:
            for key, member in value.items():
                yield from _texts(_field_name(key), member, depth - 1)
        case list() | tuple() if depth:
            for member in value:
                yield from _texts(name, member, depth - 1)


def _field_name(name: str) -> str:
    """``E-Mail``, ``_email``, ``user[email]`` and ``user.email`` are all ``email``."""
    last = re.split(r"[\[.]", name.removesuffix("[]"))[-1]
    return "".join(character for character in last.casefold() if character.isalnum())


def _spellings(texts: Iterable[str]) -> Iterator[str]:
    """Each text once, in one spelling, without those that are blank."""
    seen = set()
    for text in texts:
        spelling = _spelling(text)
        if spelling and spelling not in seen:
            seen.add(spelling)
            yield spelling


def _spelling(text: str) -> str:
    # Cut first, for what a visitor sends has any length, and last, for a compatibility character can become eighteen.
    decomposed = normalize("NFKD", text.strip()[: 4 * _MOST_CHARACTERS])
    folded = normalize("NFKD", decomposed.casefold())
    kept = (character for character in folded if category(character)[0] not in "MZC")
    return "".join(kept)[:_MOST_CHARACTERS]
