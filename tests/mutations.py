"""Disable each security check in turn and see a test fail: ``python -m tests.mutations``.

Tests that pass say little of checks that nobody tests. Each line of :mod:`tests.mutation_table` takes one check out of a copy
of the checkout, and one test must notice. The checkout itself is never changed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from time import monotonic

from tests.mutation_table import MUTATIONS, Mutation

CHECKOUT = Path(__file__).parent.parent
PACKAGE = "flask_api_layer"
COPIES = 2
WIDTH = max(len(mutation.name) for mutation in MUTATIONS)
PATIENCE_SECONDS = 180
BASELINE_SECONDS = 900

_LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "instance", "*.sqlite3*"
)
# What pytest says when tests ran and some failed; anything else, such as a typo in a node id, proves nothing.
_SOME_FAILED = 1
_FAILED = re.compile(r"^FAILED ([^\s\[]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest.

    :param code: its exit code; None when it was given up.
    """

    code: int | None
    output: str
    seconds: float

    @property
    def first_failure(self) -> str | None:
        """The test that failed first; None also when pytest itself did."""
        found = _FAILED.search(self.output) if self.code == _SOME_FAILED else None
        return found[1].removeprefix("tests/") if found else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutation."""

    mutation: Mutation
    run: Run

    @property
    def is_noticed(self) -> bool:
        return self.run.first_failure is not None

    @property
    def line(self) -> str:
        missed = "SURVIVED" if self.run.code == 0 else f"NO RESULT (pytest: {self.run.code})"
        noticed_by = self.run.first_failure or f"{missed} {self.mutation.test}"
        return f"{self.mutation.name:<{WIDTH}} {self.run.seconds:>5.1f} s  {noticed_by}"


class Copy:
    """A copy of the checkout that may be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHECKOUT, folder, ignore=_LEFT_OUT)
        # Not even servers that tests start import the package that is installed.
        self._environ = os.environ | {"PYTHONPATH": str(folder)}
        self._second = 0

    def imported_file(self) -> Path:
        """Where programs that are started in the copy have the package from."""
        command = [sys.executable, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"]
        found = subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, check=True
        )
        return Path(found.stdout.strip())

    def try_out(self, mutation: Mutation) -> Verdict:
        """What the test says while the mutation is in place."""
        with self._mutated(mutation):
            return Verdict(mutation, self.run_tests([mutation.test], seconds=PATIENCE_SECONDS))

    @contextmanager
    def _mutated(self, mutation: Mutation) -> Iterator[None]:
        path = self.folder / PACKAGE / mutation.file
        whole = path.read_text()
        self._write(path, mutated(whole, mutation))
        try:
            yield
        finally:
            self._write(path, whole)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        # Bytecode knows its source by length and whole seconds, and two mutations may follow each other faster.
        self._second += 1
        os.utime(path, (self._second, self._second))

    def run_tests(self, selection: Collection[str], *, seconds: float) -> Run:
        """A run of pytest that ends with the first failure; after ``seconds`` it is given up with all that it started."""
        options = ("-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider")
        command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in selection)]
        start = monotonic()
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
                code: int | None = process.returncode
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                code = None
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        return Run(code, output, monotonic() - start)


def mutated(text: str, mutation: Mutation) -> str:
    """The text of a file with the mutation in it.

    :raises ValueError: when the text to replace is not there exactly once.
    """
    if (times := text.count(mutation.old)) != 1:
        raise ValueError(f"{mutation.name!r}: {mutation.file} has {mutation.old!r} {times} times, not once")
    return text.replace(mutation.old, mutation.new)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print for each mutation which test notices it.

    :returns: 1 when one survived, else 0.
    """
    options = _parser().parse_args(arguments)
    chosen = [mutation for mutation in MUTATIONS if _is_wanted(mutation, options.names)]
    if options.list or not chosen:
        print(
            "\n".join(f"{mutation.name:<{WIDTH}} {mutation.test}" for mutation in chosen)
            or "no such mutation"
        )
        return 0 if chosen else 2
    # Ending this process is to end the others too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with TemporaryDirectory(prefix="mutations-") as folder:
        copies = [Copy(Path(folder).resolve() / f"copy-{number}") for number in range(COPIES)]
        for copy in copies:
            _check_import(copy)
        return 1 if _fails_without_mutation(copies, chosen) else _report(copies, chosen)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tests.mutations", description="Disable security checks, see tests fail."
    )
    parser.add_argument("names", nargs="*", help="only mutations whose name or file has one of these texts")
    parser.add_argument("--list", action="store_true", help="name the mutations and run nothing")
    return parser


def _is_wanted(mutation: Mutation, names: Sequence[str]) -> bool:
    return not names or any(name in mutation.name or name in mutation.file for name in names)


def _check_import(copy: Copy) -> None:
    found = copy.imported_file()
    if not found.is_relative_to(copy.folder):
        raise SystemExit(f"the package would be imported from {found}, and no mutation be noticed")


def _fails_without_mutation(copies: Sequence[Copy], chosen: Sequence[Mutation]) -> bool:
    """Whether a test fails anyway, so that its failure would say nothing."""
    tests = sorted({mutation.test for mutation in chosen})
    shares = [tests[number :: len(copies)] for number in range(len(copies))]
    with ThreadPoolExecutor(len(copies)) as pool:
        runs = list(pool.map(_run_share, copies, shares))
    for run in runs:
        if run.code != 0:
            print(f"tests fail without any mutation (pytest: {run.code})\n{run.output[-2000:]}")
    return any(run.code != 0 for run in runs)


def _run_share(copy: Copy, share: Sequence[str]) -> Run:
    return copy.run_tests(share, seconds=BASELINE_SECONDS) if share else Run(0, "", 0)


def _report(copies: Sequence[Copy], chosen: Sequence[Mutation]) -> int:
    idle: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        idle.put(copy)

    def judge(mutation: Mutation) -> Verdict:
        copy = idle.get()
        try:
            return copy.try_out(mutation)
        finally:
            idle.put(copy)

    survived = 0
    with ThreadPoolExecutor(len(copies)) as pool:
        for verdict in pool.map(judge, chosen):
            print(verdict.line, flush=True)
            survived += not verdict.is_noticed
    print(f"{len(chosen) - survived} of {len(chosen)} mutations were noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
