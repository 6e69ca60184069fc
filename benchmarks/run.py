"""Measure what the layer costs on this machine: ``python -m benchmarks.run refresh``.

Everything runs in processes of its own on the loopback interface. It needs what the tests need: ``pip install '.[test]'``.
"""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

if not __package__:  # Started as a file: Python then looks for modules beside it, not in the checkout.
    sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks import machine, page, proxy, refresh
from benchmarks.reports import Report


class Command(Protocol):
    """What a module offers to become a command."""

    SUMMARY: str

    def add_options(self, parser: ArgumentParser) -> None: ...

    def measure(self, options: Namespace) -> Report: ...


COMMANDS: dict[str, Command] = {
    "page": page,
    "proxy": proxy,
    "refresh": refresh,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the chosen command measured.

    :returns: 1 when a promise did not hold, else 0; how long something took is never a failure.
    """
    options = _parser().parse_args(arguments)
    # Ending this process is to end the others too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    facts = machine.facts()
    report = COMMANDS[options.command].measure(options)
    print(report.to_json(facts) if options.json else report.to_text(facts))
    return 1 if report.broken else 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m benchmarks.run", description="Measure what the layer costs.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        subparser.add_argument("--json", action="store_true", help="figures for programs, not rounded")
        command.add_options(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
