"""Warnings that only a running server can give rise to."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
import requests

from flask_api_layer.deployment import Deployment
from tests.processes import ROOT, DeadPort

SYNC = {"gunicorn.socket": object(), "wsgi.multithread": False, "REMOTE_ADDR": "192.0.2.1"}


def warnings(
    caplog: pytest.LogCaptureFixture,
    *environs: dict[str, Any],
    has_streams: bool = False,
    debug: bool = False,
) -> list[str]:
    deployment = Deployment(lambda: has_streams, debug=debug)
    with caplog.at_level(logging.WARNING, "flask_api_layer"):
        for environ in environs:
            deployment.look(environ)
    return [record.message for record in caplog.records]


def test_a_sync_worker_is_warned_once_of_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    [message] = warnings(caplog, SYNC, SYNC, has_streams=True)
    assert "--worker-class gthread" in message


@pytest.mark.parametrize(
    ("environ", "has_streams"),
    [(SYNC, False), ({**SYNC, "wsgi.multithread": True}, True), ({"REMOTE_ADDR": "192.0.2.1"}, True)],
)
def test_no_streams_or_no_sync_worker_is_no_reason_to_warn(
    environ: dict[str, Any], has_streams: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings(caplog, environ, has_streams=has_streams) == []


def test_a_stream_that_nobody_declared_warns_as_well(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment(lambda: False, debug=False)
    deployment.note_stream({**SYNC, "wsgi.multithread": True})
    assert caplog.records == []
    deployment.note_stream(SYNC)
    assert len(caplog.records) == 1


# DESIGN: "No forwarded header is trusted"
@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": ""},
        {},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"},
        {"REMOTE_ADDR": "::1", "HTTP_FORWARDED": "for=192.0.2.1"},
    ],
)
def test_a_proxy_that_hides_its_clients_is_named_once(
    environ: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    [message] = warnings(caplog, environ, environ)
    assert "ProxyFix" in message


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": "127.0.0.1"},
        {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "198.51.100.1"},
        {"REMOTE_ADDR": "unix:", "HTTP_X_FORWARDED_FOR": "198.51.100.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "x", "werkzeug.proxy_fix.orig": {}},
    ],
)
def test_a_visitor_is_not_taken_for_a_proxy(
    environ: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings(caplog, environ) == []


def test_only_the_first_requests_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(caplog, *[{"REMOTE_ADDR": "192.0.2.1"}] * 100, {}) == []


def test_debug_mode_on_the_internet_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    stranger = {"REMOTE_ADDR": "8.8.8.8"}
    [message] = warnings(caplog, stranger, stranger, debug=True)
    assert "debug mode" in message


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "192.168.1.5", "::1", "fe80::1%eth0", "unix:"])
def test_debug_mode_at_home_is_what_it_is_for(address: str, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(caplog, {"REMOTE_ADDR": address}, debug=True) == []


APP = """
from flask import Flask
from flask_api_layer import ApiLayer

app = Flask("shop")
app.config["SECRET_KEY"] = "a key for tests, long enough"
layer = ApiLayer(app, backend_url="http://127.0.0.1:9", store_url="memory://")
layer.proxy_route("events", stream=True)
app.register_blueprint(layer.blueprint)

from gunicorn.app.base import BaseApplication


class Server(BaseApplication):
    def load_config(self):
        for name, value in dict(bind=ADDRESS, worker_class="sync", control_socket_disable=True).items():
            self.cfg.set(name, value)

    def load(self):
        return app


Server().run()
"""


def test_a_real_sync_worker_warns(tmp_path: Any) -> None:
    with DeadPort() as url:
        address = url.removeprefix("http://")
    program = tmp_path / "serve.py"
    program.write_text(APP.replace("ADDRESS", repr(address)))
    server = subprocess.Popen([sys.executable, program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for _ in range(200):
        with suppress(requests.ConnectionError):
            requests.get(url, timeout=10)
            break
        time.sleep(0.05)
    server.terminate()
    _, said = server.communicate(timeout=20)
    assert said.count("--worker-class gthread") == 1
