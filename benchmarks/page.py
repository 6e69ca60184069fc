"""``page``: what a page costs behind the layer, alone in this process and under real servers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from . import pages
from .events import backend_requests
from .lines import Finding, Line, figures_of, missed
from .loads import Ask, refuses_strangers
from .options import at_least, several
from .rates import measure_rates
from .reports import Report
from .servers import HOST, KINDS, LOG, Server, explaining, serving
from .spreads import Wish, at_most, ratio, spread, take_turns
from .spreads import at_least as wish_at_least
from .upstream import running_upstream
from .visits import BARE, BARE_IN_SESSION, HEADERS, OTHER_COOKIES, log_in, visits

SUMMARY = "a page without the layer, with it, and gated: microseconds in process, requests per second"
SLICES = 20
IN_PROCESS = "CPU us per request"
# Variants that are not compared with the bare app.
BASES = {
    "untouched view, in a session of Flask's": BARE_IN_SESSION,
    "gated view, in a session of Flask's": BARE_IN_SESSION,
    "untouched view, 1,000 patterns": "untouched view, 10 patterns",
    "proxy decision, 1,000 routes": "proxy decision, 10 routes",
}
WISHES = {
    "untouched view": at_most(1.1),
    "gated view, cached validation": at_most(1.5),
    "untouched view, in a session of Flask's": at_most(1.1),
    "gated view, in a session of Flask's": at_most(1.5),
    "untouched view, 1,000 patterns": at_most(1.05),
    "proxy decision, 1,000 routes": at_most(1.05),
}
RATE_WISHES = {"gthread": wish_at_least(0.85), "granian": wish_at_least(0.75)}
GATED = "gated page"


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=at_least(1), default=15, help="rounds in process (%(default)s)")
    parser.add_argument(
        "--calls",
        type=at_least(1),
        default=20,
        help=f"calls in each of {SLICES} slices of a round (%(default)s)",
    )
    parser.add_argument("--load-rounds", type=at_least(1), default=11, help="rounds of load (%(default)s)")
    parser.add_argument("--seconds", type=at_least(1), default=2, help="of load, each time (%(default)s)")
    parser.add_argument(
        "--servers", type=several(*KINDS), default=KINDS, help="gthread,gevent,granian or none"
    )


def measure(options: Namespace) -> Report:
    """First in this process, while nothing else of ours runs; then server by server."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        with running_upstream(folder) as upstream, explaining(folder / LOG):
            findings = [_in_process(upstream, options)]
            findings += [_under_load(kind, upstream, folder, options) for kind in options.servers]
    lines = [line for finding in findings for line in finding.lines]
    return Report(
        title="page: one kilobyte of text, a browser's fifteen headers, a session whose validation is cached",
        columns=["measure", "variant", "median [min..max]", "x bare Flask", "added", "wanted"],
        rows=[line.cells() for line in lines],
        notes=[*_notes(options), *missed(lines)],
        broken=[promise for finding in findings for promise in finding.broken],
        figures=figures_of(lines),
    )


def _in_process(upstream: Server, options: Namespace) -> Finding:
    with visits(_base_url(upstream)) as variants:
        broken = [f"{name}: the answer is right" for name, visit in variants.items() if not visit.is_right()]
        asked = backend_requests(upstream)
        turns = {name: partial(visit.microseconds, options.calls) for name, visit in variants.items()}
        rounds = [take_turns(turns, SLICES) for _ in range(options.rounds)]
        if backend_requests(upstream) != asked:
            broken.append("in process: the backend is not asked")
        broken += [
            f"{name}: all answers are right" for name, visit in variants.items() if not visit.is_right()
        ]
    values = {name: [median(turn[name]) for turn in rounds] for name in variants}
    return Finding([_visit_line(name, values) for name in variants], broken)


def _visit_line(name: str, values: dict[str, list[float]]) -> Line:
    base = BASES.get(name, BARE)
    found, others = values[name], values[base]
    return Line(
        measure=IN_PROCESS,
        variant=name,
        value=spread(found),
        ratio=None if name == BARE else ratio(found, others),
        added=None
        if name == BARE
        else spread([one - other for one, other in zip(found, others, strict=True)]),
        wish=WISHES.get(name),
        digits=1,
    )


def _under_load(kind: str, upstream: Server, folder: Path, options: Namespace) -> Finding:
    environ = {"FLASK_API_LAYER_BACKEND_URL": _base_url(upstream)}
    measure = f"{kind}, requests/s"
    with ExitStack() as stack:

        def ask(factory: str, path: str) -> Ask:
            server = stack.enter_context(
                serving(kind, f"benchmarks.pages:{factory}", environ=environ, log=folder / LOG)
            )
            return Ask(server.port, path, headers, server.rivals)

        headers = _headers(upstream)
        asks = {BARE: ask("bare", pages.OPEN), GATED: ask("layered", pages.GATED)}
        rates = measure_rates(
            measure, asks, pages.TEXT.encode(), rounds=options.load_rounds, seconds=options.seconds
        )
        asks_for_login = refuses_strangers(asks[GATED])
    broken = rates.broken if asks_for_login else [*rates.broken, f"{measure}: {GATED} asks for a login"]
    if not rates.values:
        return Finding([], broken)
    return Finding(
        _rate_lines(measure, rates.values[BARE], rates.values[GATED], RATE_WISHES.get(kind)), broken
    )


def _rate_lines(measure: str, bare: Sequence[float], gated: Sequence[float], wish: Wish | None) -> list[Line]:
    return [
        Line(measure=measure, variant=BARE, value=spread(bare)),
        Line(measure=measure, variant=GATED, value=spread(gated), ratio=ratio(gated, bare), wish=wish),
    ]


def _headers(upstream: Server) -> dict[str, str]:
    """A browser's headers, with the cookie of a session."""
    app = pages.layered(backend_url=_base_url(upstream))
    try:
        return {**HEADERS, "Cookie": f"{OTHER_COOKIES}; {log_in(app)}"}
    finally:
        app.extensions["api_layer"].transport.close()


def _base_url(upstream: Server) -> str:
    return f"http://{HOST}:{upstream.port}/v1"


def _notes(options: Namespace) -> list[str]:
    return [
        "x bare Flask: ratio of the same round; the lines with 1,000 are compared with those with 10, those in a session of Flask's"
        " with bare Flask in one. Without one, the layer spares Flask the work of opening it.",
        f"in process: app(environ, start_response), body read and closed; {options.rounds} rounds, each the median of"
        f" {SLICES} slices of {options.calls} calls; CPU time of the thread; the backend is not asked meanwhile.",
        "new cookie: an old cookie whose successor is in the ledger (memory): two look-ups, one unsealing, one sealing, Set-Cookie.",
        "proxy decision: OPTIONS on a listed path, which the layer answers itself.",
        f"requests/s: 2 workers (gthread and granian with 8 threads each), 32 connections, {options.load_rounds} rounds"
        f" of {options.seconds} s; client and servers share the cores.",
    ]
