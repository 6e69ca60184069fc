"""nginx as the fastest backend there is, and as the proxy to compare with; each with its own configuration in a folder."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .servers import HOST, Server, binding

_BUFFERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_MAIN = """\
user {user};
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  default_type application/json;
  {buffers}
{site}}}
"""
_FILES = """\
  server {{ listen {address}; location /v1/files/ {{ alias {folder}/; }} }}
"""
_GATEWAY = """\
  upstream backend {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    client_max_body_size 0;
    location /api/ {{
      proxy_pass http://backend/v1/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
  }}
"""


def is_installed() -> bool:
    return _program() is not None


@contextmanager
def running_files(folder: Path) -> Iterator[Server]:
    """The files in the folder, under ``/v1/files/``."""
    with _running(folder / "nginx-files", _FILES, 1, folder=str(folder)) as server:
        yield server


@contextmanager
def running_gateway(folder: Path, upstream: Server) -> Iterator[Server]:
    """``proxy_pass`` from ``/api/`` to ``/v1/`` of the upstream, over connections that are kept alive."""
    name = folder / f"nginx-{upstream.port}"
    with _running(name, _GATEWAY, 2, upstream=f"{HOST}:{upstream.port}") as server:
        yield server


@contextmanager
def _running(own: Path, site: str, workers: int, **values: str) -> Iterator[Server]:
    program = _program()
    assert program is not None
    own.mkdir(exist_ok=True)

    def command(port: int) -> list[str]:
        text = _MAIN.format(
            user=pwd.getpwuid(os.geteuid()).pw_name,
            workers=workers,
            folder=own,
            buffers="\n  ".join(f"{name}_temp_path {own}/{name};" for name in _BUFFERS),
            site=site.format(address=f"{HOST}:{port}", **values),
        )
        configuration = own / "nginx.conf"
        configuration.write_text(text)
        return [program, "-p", str(own), "-c", str(configuration), "-e", str(own / "error.log")]

    with binding(command, environ={}, log=own / "output.log") as server:
        yield server


def _program() -> str | None:
    return shutil.which("nginx")
