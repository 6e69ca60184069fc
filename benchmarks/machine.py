"""The facts without which a figure says nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import version

PACKAGES = {"flask": "flask", "werkzeug": "werkzeug", "gunicorn": "gunicorn", "redis-py": "redis"}


def facts() -> dict[str, str]:
    """This machine and what runs on it; ``load`` is the average of the last minute, other people's work included."""
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        platform.python_implementation(): platform.python_version(),
        **{name: version(package) for name, package in PACKAGES.items()},
        "redis-server": _redis_server(),
        "sqlite": sqlite3.sqlite_version,
    }


def _redis_server() -> str:
    program = shutil.which("redis-server")
    if program is None:
        return "missing"
    # "Redis server v=7.0.15 sha=..."
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text.partition("v=")[2].partition(" ")[0]
