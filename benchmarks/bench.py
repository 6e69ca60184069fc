"""What every contest of the proxy needs: a backend, files, and a browser that is logged in."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import nginx
from .rivals import BODIES
from .servers import HOST, LOG, Server, serving
from .sites import registry
from .upstream import running_upstream
from .visits import OTHER_COOKIES, log_in

OURS, SNIPPET, SESSION, HELLO, NGINX = (
    "this proxy",
    "requests.request()",
    "requests.Session",
    "Flask, no upstream",
    "nginx proxy_pass",
)
BIG = "big.bin"
_FACTORIES = {OURS: "layer", SNIPPET: "snippet", SESSION: "snippet_with_session", HELLO: "hello"}


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is.

    :param upstream: the backend that logs in, sends events and swallows uploads.
    :param files: the fastest backend there is, for files.
    :param cookie: the header of a browser that is logged in.
    """

    folder: Path
    upstream: Server
    files: Server
    options: Namespace
    cookie: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What a script of the page sends."""
        return {
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0",
            "Accept": "application/json",
            "Accept-Language": "en-GB,en;q=0.9",
            "Accept-Encoding": "gzip, deflate, br",
            "Sec-Fetch-Site": "same-origin",
            "Cookie": self.cookie,
        }

    @contextmanager
    def contestants(
        self, kind: str, names: Iterable[str], upstream: Server, *, threads: int = 8
    ) -> Iterator[dict[str, Server]]:
        """These proxies to the same backend, as servers; nginx where it is installed."""
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(self._serving(kind, _FACTORIES[name], upstream, threads))
                for name in names
                if name != NGINX
            }
            if NGINX in names and nginx.is_installed():
                servers[NGINX] = stack.enter_context(nginx.running_gateway(self.folder, upstream))
            yield servers

    @contextmanager
    def _serving(self, kind: str, factory: str, upstream: Server, threads: int) -> Iterator[Server]:
        environ = {"FLASK_UPSTREAM": f"http://{HOST}:{upstream.port}/v1"}
        log = self.folder / LOG
        with serving(
            kind, f"benchmarks.rivals:{factory}", environ=environ, log=log, threads=threads
        ) as server:
            yield server


@contextmanager
def running_bench(folder: Path, options: Namespace) -> Iterator[Bench]:
    """Backends that run, and a session from a login through the layer."""
    _write_files(folder, options.size_mb)
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream(folder))
        files = stack.enter_context(nginx.running_files(folder)) if nginx.is_installed() else upstream
        site = stack.enter_context(registry(f"http://{HOST}:{upstream.port}/v1"))
        yield Bench(folder, upstream, files, options, f"{OTHER_COOKIES}; {log_in(site)}")


def _write_files(folder: Path, size_mb: int) -> None:
    for name, body in BODIES.items():
        (folder / name).write_bytes(body)
    block = (
        bytes(range(256)) * 3907
    )  # A little over a megabyte, so that no two blocks of a power of two are alike.
    with (folder / BIG).open("wb") as file:
        for _ in range(size_mb):
            file.write(block[:1_000_000])
