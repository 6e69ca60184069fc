"""What the proxy is measured in: small answers, large bodies, events."""

from __future__ import annotations

from collections.abc import Mapping

from .bench import BIG, HELLO, NGINX, OURS, SESSION, SNIPPET, Bench
from .events import Listener
from .lines import Finding, Line
from .loads import Ask, refuses_strangers
from .rates import measure_rates
from .rivals import BODIES
from .spreads import Wish, at_least, at_most, ratio, spread, take_turns
from .transfers import Carrier, Transfer

STREAMS = 100
_EVENTS = 5  # of each stream
_OPENINGS = 5

SMALL_WISHES: Mapping[tuple[str, str], Wish] = {
    ("gthread", SNIPPET): at_least(2.2),
    ("gevent", SNIPPET): at_least(3),
    ("granian", SNIPPET): at_least(2.8),
    ("gthread", HELLO): at_least(0.45),
}


def small_answers(bench: Bench, kind: str, size: str) -> Finding:
    """Requests a second for a file of this size, "1kb" or "100kb", from a user who is logged in."""
    file = f"{size}.json"
    path, measure = f"/api/files/{file}", f"{size} GET, {kind}, requests/s"
    with bench.contestants(kind, (OURS, SNIPPET, SESSION, HELLO, NGINX), bench.files) as servers:
        asks = {
            name: Ask(server.port, path, bench.headers, server.rivals) for name, server in servers.items()
        }
        rates = measure_rates(
            measure, asks, BODIES[file], rounds=bench.options.rounds, seconds=bench.options.seconds
        )
        asks_for_login = refuses_strangers(asks[OURS])
    broken = rates.broken if asks_for_login else [*rates.broken, f"{measure}: {OURS} asks for a login"]
    wishes = SMALL_WISHES if size == "1kb" else {}
    lines = [_compared(measure, name, rates.values, wishes.get((kind, name))) for name in rates.values]
    return Finding(lines, broken)


def large_bodies(bench: Bench) -> Finding:
    """One large body at a time, down and up, under gthread."""
    with bench.contestants("gthread", (OURS, SNIPPET, NGINX), bench.upstream) as servers:
        carriers = {
            name: Carrier(server, bench.headers, bench.folder / BIG) for name, server in servers.items()
        }
        broken = [
            f"{name} hands down the very bytes"
            for name, carrier in carriers.items()
            if not carrier.is_faithful()
        ]
        if broken:
            return Finding([], broken)
        down = take_turns({name: carrier.down for name, carrier in carriers.items()}, bench.options.rounds)
        up = take_turns({name: carrier.up for name, carrier in carriers.items()}, bench.options.rounds)
    directions = {
        f"{bench.options.size_mb} MB down, gthread": down,
        f"{bench.options.size_mb} MB up, gthread": up,
    }
    broken = [promise for measure, turns in directions.items() for promise in _cut(measure, turns)]
    if broken:
        return Finding([], broken)
    return Finding(
        [line for measure, turns in directions.items() for line in _transfer_lines(measure, turns)]
    )


def _transfer_lines(measure: str, turns: Mapping[str, list[Transfer]]) -> list[Line]:
    speeds = {name: [turn.speed for turn in found] for name, found in turns.items()}
    growths = {name: spread([turn.growth for turn in turns[name]]) for name in (OURS, SNIPPET)}
    fast, small = at_least(0.4), at_most(16)
    return [
        *(_compared(f"{measure}, MB/s", name, speeds, fast if name == NGINX else None) for name in speeds),
        *(
            Line(
                measure=f"{measure}, peak memory added, MB",
                variant=name,
                value=growth,
                wish=small if name == OURS else None,
                digits=1,
            )
            for name, growth in growths.items()
        ),
    ]


def _cut(measure: str, turns: Mapping[str, list[Transfer]]) -> list[str]:
    return [
        f"{measure}: {name} moves the whole body"
        for name, found in turns.items()
        if not all(turn.is_whole for turn in found)
    ]


def _compared(measure: str, name: str, values: Mapping[str, list[float]], wish: Wish | None) -> Line:
    """A variant, and how ours compares with it."""
    return Line(
        measure=measure,
        variant=name,
        value=spread(values[name]),
        ratio=None if name == OURS else ratio(values[OURS], values[name]),
        wish=wish,
    )


def events(bench: Bench, kind: str) -> Finding:
    """Events as they come, streams that the browser leaves, and other requests beside many streams."""
    threads = bench.options.stream_threads
    with bench.contestants(kind, (OURS,), bench.upstream, threads=threads) as servers:
        server = servers[OURS]
        listener = Listener(server, bench.upstream, bench.headers)
        listener.delays(1)
        delays = [listener.delays(_EVENTS) for _ in range(_OPENINGS)]
        ends = [listener.end() for _ in range(_OPENINGS)]
        beside, alive = listener.answers_beside(STREAMS, "/other")
    measured: dict[str, tuple[list[float], Wish | None]] = {
        "first event, from backend to browser": ([found[0] for found in delays], at_most(50)),
        "every event": ([delay for found in delays for delay in found], None),
        "browser gone until upstream closed": (ends, at_most(50)),
        f"another route beside {STREAMS} streams": (beside, None),
    }
    lines = [
        Line(measure=f"events, {kind}, ms", variant=name, value=spread(values), wish=wish, digits=1)
        for name, (values, wish) in measured.items()
    ]
    broken = [] if alive == STREAMS else [f"{kind}: {STREAMS} open streams (only {alive} have events)"]
    return Finding(lines, broken)
