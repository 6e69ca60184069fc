"""``refresh``: what it costs when a token expires under many requests at once, with each store."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flask_api_layer.stores import store_from_url
from tests.races.backends import start_backends
from tests.stores.servers import RedisServer

from .operations import CALLS, Operations, measure_operations
from .options import at_least
from .reports import Report
from .sites import Site, registry
from .storms import REFRESH, Storms, expire, summarize

SUMMARY = (
    "one expired token, many requests at once: refresh calls, lost sessions, added latency; store operations"
)
DELAY = 0.05  # seconds that the backend takes for a refresh


@dataclass(frozen=True, slots=True)
class Variant:
    """A store, and the workers that share it."""

    store_url: str
    workers: int
    threads: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured with one store."""

    storms: Storms
    operations: Operations


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sessions", type=at_least(1), default=15, help="expiries for each store (%(default)s)"
    )
    parser.add_argument("--parallel", type=at_least(2), default=50, help="requests at once (%(default)s)")
    parser.add_argument(
        "--rounds", type=at_least(5), default=9, help="rounds of store operations (%(default)s)"
    )


def measure(options: Namespace) -> Report:
    """Every store in turn, session by session, so that a noisy moment hits them all."""
    with TemporaryDirectory(prefix="benchmarks-") as name, ExitStack() as stack:
        variants = _variants(Path(name), stack)
        storms = _measure_storms(Path(name), variants, options.sessions, options.parallel)
        stores = {
            store: stack.enter_context(closing(store_from_url(variant.store_url)))
            for store, variant in variants.items()
        }
        operations = measure_operations(stores, rounds=options.rounds)
    figures = {store: Figures(storms[store], operations[store]) for store in variants}
    return _report(options, variants, figures)


def _variants(folder: Path, stack: ExitStack) -> dict[str, Variant]:
    variants = {
        "memory": Variant("memory://", 1, 16),
        "sqlite": Variant(f"sqlite:///{folder / 'store.sqlite3'}", 4, 8),
    }
    if shutil.which("redis-server"):
        server = RedisServer(folder)
        stack.callback(server.stop)
        server.start()
        variants["redis"] = Variant(server.url, 4, 8)
    return variants


def _measure_storms(
    folder: Path, variants: Mapping[str, Variant], sessions: int, parallel: int
) -> dict[str, Storms]:
    with ExitStack() as stack:
        backends = stack.enter_context(closing(start_backends(folder)))
        registered = stack.enter_context(registry(backends.expired.base_url))
        sites = {
            store: stack.enter_context(closing(_site(backends.living.base_url, variant)))
            for store, variant in variants.items()
        }
        lines = {store: stack.enter_context(site.lines(parallel)) for store, site in sites.items()}
        backends.living.fault(REFRESH, delay=DELAY)
        # The first turn opens connections and files; it does not count.
        turns = [
            {store: expire(registered, backends.living, lines[store]) for store in variants}
            for _ in range(sessions + 1)
        ][1:]
    return {store: summarize([turn[store] for turn in turns], backend_seconds=DELAY) for store in variants}


def _site(backend_url: str, variant: Variant) -> Site:
    return Site(backend_url, variant.store_url, workers=variant.workers, threads=variant.threads)


def _report(options: Namespace, variants: Mapping[str, Variant], figures: Mapping[str, Figures]) -> Report:
    return Report(
        title=f"refresh: {options.sessions} sessions for each store, {options.parallel} requests at once with one"
        f" expired token, the backend takes {DELAY * 1000:.0f} ms for a refresh",
        columns=["store", *variants],
        rows=_rows(variants, figures),
        notes=_notes(options, variants),
        broken=[promise for store in figures for promise in _broken(store, figures[store].storms)],
        figures={store: asdict(figures[store]) for store in variants},
    )


def _rows(variants: Mapping[str, Variant], figures: Mapping[str, Figures]) -> list[list[str]]:
    storms = [found.storms for found in figures.values()]
    operations = [found.operations for found in figures.values()]
    return [
        ["workers x threads", *(f"{variant.workers} x {variant.threads}" for variant in variants.values())],
        [
            "refresh calls per expiry, mean (most)",
            *(f"{it.refreshes:.2f} ({it.most_refreshes})" for it in storms),
        ],
        ["lost sessions", *(str(it.lost_sessions) for it in storms)],
        ["reuse events", *(str(it.reuse_events) for it in storms)],
        ["other answers than the page", *(str(it.bad_answers) for it in storms)],
        ["lone refresher, ms", *(f"{it.lone:.1f}" for it in storms)],
        ["page with a living token, ms", *(f"{it.living:.1f}" for it in storms)],
        ["added to a waiter, ms: median / p95", *(f"{it.added:.1f} / {it.added_p95:.1f}" for it in storms)],
        ["the same / lone refresher", *(f"{it.added_ratio:.2f} / {it.added_p95_ratio:.2f}" for it in storms)],
        ["get, us", *(f"{it.get:.1f}" for it in operations)],
        ["put_if_absent, us", *(f"{it.put_if_absent:.1f}" for it in operations)],
        ["delete_if_equal, us", *(f"{it.delete_if_equal:.1f}" for it in operations)],
    ]


def _notes(options: Namespace, variants: Mapping[str, Variant]) -> list[str]:
    notes = [
        "lone refresher: one request, alone, with an expired token; the backend's time included.",
        f"living token: {options.parallel} requests at once again, with the cookies that the expiry left behind.",
        "added: latency of a request that waited, minus that of the page with a living token, minus the backend's time.",
        f"operations: one thread, 700 bytes, median of {options.rounds} rounds of {CALLS} calls; Redis on a Unix socket.",
    ]
    if "redis" not in variants:
        notes.append("redis: skipped, redis-server is not installed.")
    return notes


def _broken(store: str, storms: Storms) -> list[str]:
    promises = {
        "one refresh call for each expiry": storms.refreshes == storms.most_refreshes == 1,
        "no lost session": storms.lost_sessions == 0,
        "no reuse event": storms.reuse_events == 0,
        "every answer is the page": storms.bad_answers == 0,
    }
    return [f"{store}: {promise}" for promise, holds in promises.items() if not holds]
