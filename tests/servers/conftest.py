"""Each server is started once, all of them at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask

from .apps import create_app, environ_for
from .processes import COMMANDS, ServerProcess
from .sites import Site
from .upstream import Upstream

SERVERS = tuple(COMMANDS)
IN_PROCESS = ("in process", "in process, no raw target")


@pytest.fixture(scope="session")
def served() -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:
        sites: dict[str, Site] = {}
        for kind in SERVERS:
            upstream = stack.enter_context(Upstream())
            server = ServerProcess(kind, environ_for(upstream.url))
            stack.callback(server.close)
            sites[kind] = Site(kind, upstream, server=server)
        for site in sites.values():
            assert site.server is not None
            site.server.wait()
            site.begin_sessions()
        yield sites


@pytest.fixture(scope="session")
def called() -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:
        sites = {}
        for kind in IN_PROCESS:
            upstream = stack.enter_context(Upstream())
            app = _app(upstream)
            stack.callback(app.extensions["api_layer"].transport.close)
            sites[kind] = Site(kind, upstream, app=app)
            sites[kind].begin_sessions()
        yield sites


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, served: dict[str, Site]) -> Site:
    """A real server, its upstream at rest."""
    site = served[request.param]
    site.upstream.clear()
    return site


@pytest.fixture
def app_site(called: dict[str, Site]) -> Site:
    """The app in this process, called as gunicorn does, its upstream at rest."""
    site = called[IN_PROCESS[0]]
    site.upstream.clear()
    return site


@pytest.fixture(params=IN_PROCESS)
def called_site(request: pytest.FixtureRequest, called: dict[str, Site]) -> Site:
    """The app in this process, with and without a raw target, its upstream at rest."""
    site = called[request.param]
    site.upstream.clear()
    return site


def _app(upstream: Upstream) -> Flask:
    with pytest.MonkeyPatch.context() as environ:
        for name, value in environ_for(upstream.url).items():
            environ.setenv(name, value)
        return create_app()
