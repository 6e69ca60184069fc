"""On what terms requests are resolved: one answer for all requests of an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request may do about tokens.

    :param refreshable: the backend can refresh tokens.
    :param leeway: REFRESH_LEEWAY, seconds.
    :param admit_guest: whether the limits let a client of this address have a new guest now.
    """

    guests_enabled: bool
    fallback: bool
    refreshable: bool
    leeway: float
    clock: Callable[[], float]
    admit_guest: Callable[[str | None], bool]
