"""What only a request shows about how the app is deployed; each warning is given once per process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .sansio.addresses import is_loopback, is_private

_log = logging.getLogger(__name__)

# What has not shown by then will not show.
_REQUESTS = 100
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


class Deployment:
    """Looks at the first requests of a process.

    :param has_streams: whether a route of the proxy is declared as a stream.
    :param debug: the app is in debug mode.
    """

    def __init__(self, has_streams: Callable[[], bool], *, debug: bool) -> None:
        self._has_streams = has_streams
        self._debug = debug
        self._watchers: list[Callable[[], None]] = []
        self._left = _REQUESTS
        self._warned: set[str] = set()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have somebody else look at the app as well, once with each of these requests."""
        self._watchers.append(watcher)

    def look(self, environ: Mapping[str, Any]) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        for watcher in self._watchers:
            watcher()
        if _is_sync_worker(environ) and self._has_streams():
            self._warn_of_sync_worker()
        if _hides_clients(environ):
            self._warn(
                "proxy",
                "requests come from a proxy that this app was not told to trust (REMOTE_ADDR is %r): all visitors share one "
                "rate limit, and https may look like http; "
                "wrap the app: app.wsgi_app = werkzeug.middleware.proxy_fix.ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)",
                environ.get("REMOTE_ADDR", ""),
            )

        if self._debug and not is_private(environ.get("REMOTE_ADDR") or ""):
            self._warn(
                "debug",
                "this app is in debug mode and answers the Internet (a request came from %r): anybody can run code through "
                "its debugger; turn debug mode off, or bind to 127.0.0.1",
                environ.get("REMOTE_ADDR", ""),
            )

    def note_stream(self, environ: Mapping[str, Any]) -> None:
        """An event stream is about to be forwarded, whether its route was declared as one or not."""
        if _is_sync_worker(environ):
            self._warn_of_sync_worker()

    def _warn_of_sync_worker(self) -> None:
        self._warn(
            "sync worker",
            "gunicorn's sync workers serve one request at a time: every open stream of the proxy takes a worker away until it ends; "
            "use --worker-class gthread --threads N, or gevent",
        )

    def _warn(self, topic: str, message: str, *values: object) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            _log.warning(message, *values)


def _is_sync_worker(environ: Mapping[str, Any]) -> bool:
    # Test clients and single-threaded development servers look alike, and mean no harm.
    return not environ.get("wsgi.multithread") and "gunicorn.socket" in environ


def _hides_clients(environ: Mapping[str, Any]) -> bool:
    """Whether a proxy stands in front whose word does not count yet; ProxyFix would have replaced the address."""
    address = environ.get("REMOTE_ADDR") or ""
    if "werkzeug.proxy_fix.orig" in environ:
        return False
    return not address or (is_loopback(address) and any(name in environ for name in _FORWARDED))
