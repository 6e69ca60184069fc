"""A token that expires under many requests at once, and what each of them had to wait for it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median

from flask import Flask

from tests.processes import ShopBackend
from tests.races.conftest import register
from tests.races.lines import Answer, Line, together

from .sites import GATED

REFRESH = "auth/refresh"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for the gated page, timed by the browser; ``seconds`` from the request to the whole answer."""

    user_id: str
    answer: Answer
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.answer.status == 200 and self.answer.json()["id"] == self.user_id

    @property
    def waited(self) -> bool:
        """Somebody else made the refresh."""
        return not (self.is_good and self.answer.json()["refreshed"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Two sessions that expired: one under a single request, one under many.

    :param lone: the single request.
    :param storm: the many requests, all with the expired token.
    :param living: as many requests again, each with the cookies that its forerunner in the storm was left with.
    :param refreshes: calls that the backend counted for the storm and after it.
    """

    lone: Visit
    storm: Sequence[Visit]
    living: Sequence[Visit]
    refreshes: int
    reuse_events: int

    @property
    def lost(self) -> bool:
        """Somebody left the storm with cookies that open nothing."""
        return not all(visit.is_good for visit in self.living)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storms:
    """What many expiries have in common; milliseconds, and ratios to the lone request.

    ``added`` is what a request that waited took longer than the same page with a living token, asked for by as many at
    once, without the time that the backend takes for a refresh.
    """

    refreshes: float
    most_refreshes: int
    lost_sessions: int
    reuse_events: int
    bad_answers: int
    lone: float
    living: float
    added: float
    added_p95: float
    added_ratio: float
    added_p95_ratio: float


def expire(site: Flask, backend: ShopBackend, lines: Sequence[Line]) -> Expiry:
    """Let a request meet an expired token, then all lines at once another one.

    :param site: where users get tokens that have expired at birth.
    :param backend: counts the refreshes.
    """
    alone, user = register(site), register(site)
    lone = _visit(lines[0], alone.id, alone.cookies)
    refreshes, reuse_events = _refreshes(backend), backend.reuse_events()
    storm = together([partial(_visit, line, user.id, user.cookies) for line in lines])
    left = [visit.answer.kept_by(user.cookies) for visit in storm]
    living = together(
        [partial(_visit, line, user.id, cookies) for line, cookies in zip(lines, left, strict=True)]
    )
    return Expiry(
        lone=lone,
        storm=storm,
        living=living,
        refreshes=_refreshes(backend) - refreshes,
        reuse_events=backend.reuse_events() - reuse_events,
    )


def summarize(expiries: Sequence[Expiry], *, backend_seconds: float) -> Storms:
    """
    :param backend_seconds: what the backend takes for a refresh.
    """
    living = median(visit.seconds for expiry in expiries for visit in expiry.living)
    lone = median(expiry.lone.seconds for expiry in expiries)
    waiters = [visit for expiry in expiries for visit in expiry.storm if visit.waited]
    added = sorted(visit.seconds - living - backend_seconds for visit in waiters)
    added_median, added_p95 = median(added), added[math.ceil(0.95 * len(added)) - 1]
    return Storms(
        refreshes=fmean(expiry.refreshes for expiry in expiries),
        most_refreshes=max(expiry.refreshes for expiry in expiries),
        lost_sessions=sum(expiry.lost for expiry in expiries),
        reuse_events=sum(expiry.reuse_events for expiry in expiries),
        bad_answers=sum(_bad_answers(expiry) for expiry in expiries),
        lone=lone * 1000,
        living=living * 1000,
        added=added_median * 1000,
        added_p95=added_p95 * 1000,
        added_ratio=added_median / lone,
        added_p95_ratio=added_p95 / lone,
    )


def _visit(line: Line, user_id: str, cookies: Mapping[str, str]) -> Visit:
    begin = time.perf_counter()
    answer = line.get(GATED, cookies)
    return Visit(user_id, answer, time.perf_counter() - begin)


def _refreshes(backend: ShopBackend) -> int:
    return int(backend.calls(f"POST {REFRESH}"))


def _bad_answers(expiry: Expiry) -> int:
    return sum(not visit.is_good for visit in (expiry.lone, *expiry.storm, *expiry.living))
