"""The facts without which a figure says nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from importlib.metadata import version

PACKAGES = {
    "flask": "flask",
    "werkzeug": "werkzeug",
    "gunicorn": "gunicorn",
    "gevent": "gevent",
    "granian": "granian",
    "requests": "requests",
    "redis-py": "redis",
}


def facts() -> dict[str, str]:
    """This machine and what runs on it; ``load`` is the average of the last minute, other people's work included."""
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        platform.python_implementation(): platform.python_version(),
        **{name: version(package) for name, package in PACKAGES.items()},
        "redis-server": _said_by("redis-server", "--version", r"v=([\d.]+)"),
        "nginx": _said_by("nginx", "-v", r"nginx/([\d.]+)"),
        "wrk": _said_by("wrk", "-v", r"wrk \S*?([\d.]+)"),
        "sqlite": sqlite3.sqlite_version,
    }


def _said_by(name: str, option: str, pattern: str) -> str:
    """The version that a program tells, "missing" when it is not installed."""
    program = shutil.which(name)
    if program is None:
        return "missing"
    # nginx says it on stderr, and wrk calls it an error.
    said = subprocess.run([program, option], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"
