"""What the layer writes into the headers of an answer, whoever made it."""

from __future__ import annotations

from collections.abc import Iterable

from werkzeug.datastructures import Headers


def say_limits(headers: Headers, fields: Iterable[tuple[str, str]]) -> None:
    """In place of the backend's own: half of its numbers beside ours would be nonsense."""
    for name in {name for name in headers.keys() if name.lower().startswith("x-ratelimit-")}:  # noqa: SIM118
        headers.remove(name)
    for name, value in fields:
        headers[name] = value


def keep_private(headers: Headers) -> None:
    """Over whatever the view or the backend said: a shared cache must never hold what depends on who asks."""
    named = {name.lower() for name, _ in headers}
    if "cache-control" in named:
        headers.remove("Cache-Control")
    headers.add("Cache-Control", "private, no-store")
    if "vary" not in named:
        headers.add("Vary", "Cookie")
        return
    vary = [name.strip() for name in ",".join(headers.getlist("Vary")).split(",") if name.strip()]
    if "*" not in vary and "cookie" not in (name.lower() for name in vary):
        headers["Vary"] = ", ".join([*vary, "Cookie"])
