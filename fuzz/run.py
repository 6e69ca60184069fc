"""Look for input that breaks a law: ``python -m fuzz.run paths --seconds 60``.

Needs atheris, which exists for Linux only: ``pip install '.[fuzz]'``.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from pkgutil import iter_modules

from . import targets

CORPUS = Path(__file__).parent / "corpus"
TARGETS = tuple(sorted(module.name for module in iter_modules(targets.__path__)))


def load(target: str) -> Callable[[bytes], None]:
    """The ``check`` function of a target."""
    check: Callable[[bytes], None] = import_module(f"{targets.__name__}.{target}").check
    return check


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz one target; ends the process, with a status other than 0 when something was found."""
    options = _options(arguments)
    import atheris

    # It names every module that it instruments.
    with redirect_stderr(StringIO()), atheris.instrument_imports(include=["flask_api_layer"]):
        check = load(options.target)
    finds = Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    print(f"{options.target}: {options.seconds} s, finds go to {finds}", flush=True)
    atheris.Setup([sys.argv[0], *_flags(options, finds)], check)
    atheris.Fuzz()


def _flags(options: Namespace, finds: Path) -> list[str]:
    """For libFuzzer, which adds what covers more to the first folder: the seeds are the second."""
    grown = finds / "corpus"
    grown.mkdir()
    return [
        f"-max_total_time={options.seconds}",
        f"-artifact_prefix={finds}/",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
        str(grown),
        str(CORPUS / options.target),
    ]


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m fuzz.run", description="Look for input that breaks a law.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
