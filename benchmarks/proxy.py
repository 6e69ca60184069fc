"""``proxy``: this project's proxy against the one that people copy, against no proxy at all, and against nginx."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from . import nginx
from .bench import Bench, running_bench
from .contests import STREAMS, events, large_bodies, small_answers
from .lines import Finding, figures_of, missed
from .loads import CONNECTIONS
from .options import at_least, several
from .reports import Report
from .servers import KINDS, LOG, explaining

SUMMARY = "proxied requests per second, large bodies, memory, events; beside a hand-written proxy and nginx"
PARTS = ("1kb", "100kb", "big", "sse")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=at_least(1), default=9, help="of everything (%(default)s)")
    parser.add_argument("--seconds", type=at_least(1), default=2, help="of load, each time (%(default)s)")
    parser.add_argument("--size-mb", type=at_least(1), default=200, help="of a large body (%(default)s)")
    parser.add_argument(
        "--stream-threads", type=at_least(1), default=64, help="of a worker, for events (%(default)s)"
    )
    parser.add_argument("--only", type=several(*PARTS), default=PARTS, help=",".join(PARTS))
    parser.add_argument("--servers", type=several(*KINDS), default=KINDS, help=",".join(KINDS))


def measure(options: Namespace) -> Report:
    """Part by part; the proxies that are compared take turns."""
    with (
        TemporaryDirectory(prefix="benchmarks-") as name,
        running_bench(Path(name), options) as bench,
        explaining(bench.folder / LOG),
    ):
        findings = list(_findings(bench))
    lines = [line for finding in findings for line in finding.lines]
    return Report(
        title="proxy: a user who is logged in, 1 KB and 100 KB of JSON, large bodies, server-sent events",
        columns=["measure", "variant", "median [min..max]", "ours / it", "wanted"],
        rows=[[*line.cells()[:4], line.cells()[5]] for line in lines],
        notes=[*_notes(options), *missed(lines)],
        broken=[promise for finding in findings for promise in finding.broken],
        figures=figures_of(lines),
    )


def _findings(bench: Bench) -> Iterator[Finding]:
    options = bench.options
    if "1kb" in options.only:
        yield from (small_answers(bench, kind, "1kb") for kind in options.servers)
    if "gthread" in options.servers and "100kb" in options.only:
        yield small_answers(bench, "gthread", "100kb")
    if "gthread" in options.servers and "big" in options.only:
        yield large_bodies(bench)
    if "sse" in options.only:
        yield from (events(bench, kind) for kind in options.servers if kind != "granian")


def _notes(options: Namespace) -> list[str]:
    notes = [
        f"2 workers everywhere (gthread and granian with 8 threads each); {CONNECTIONS} connections, {options.rounds} rounds of"
        f" {options.seconds} s; client, proxies and backend share the cores.",
        "ours / it: median ratio of the same round. Flask, no upstream: the same answer from memory.",
        "large bodies: one at a time; nginx buffers answers as it does by default, and passes uploads on as they come.",
        "peak memory added: VmHWM of the worker that grew most, over what it was before the body.",
        f"events: gthread with {options.stream_threads} threads each; {STREAMS} streams at once.",
    ]
    if not nginx.is_installed():
        notes.append(
            "nginx: skipped, it is not installed; the backend is a Python process, which may be the bottleneck."
        )
    return notes
