"""Thirty megabytes through every server, in flat memory where it is measured."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from .apps import MEBI
from .replies import LAST_CHUNK, chunk, repeated
from .sites import SAME_ORIGIN, Site, request_head

TIMES = 30
BLOCK = random.Random(11).randbytes(MEBI)
SPACIOUS = 16 * MEBI  # of memory, where 30 MiB pass


def digest_of_all() -> str:
    digest = hashlib.sha256()
    for _ in range(TIMES):
        digest.update(BLOCK)
    return digest.hexdigest()


# B7.5
def test_a_large_download_passes_in_flat_memory(server: Site) -> None:
    server.upstream.reply = repeated(BLOCK, TIMES)
    digest = hashlib.sha256()
    with flat_memory(server), server.connect() as sock:
        sock.sendall(request_head("GET", "/api/x", server.user, "Connection: close"))
        with HTTPResponse(sock) as response:
            response.begin()
            while piece := response.read(65536):
                digest.update(piece)
    assert digest.hexdigest() == digest_of_all()


# B7.5
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_large_upload_passes_in_flat_memory(is_chunked: bool, server: Site) -> None:
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {TIMES * MEBI}"
    piece = chunk(BLOCK) if is_chunked else BLOCK
    with flat_memory(server), server.connect() as sock:
        sock.sendall(request_head("POST", "/api/x", server.user, SAME_ORIGIN, framing, "Connection: close"))
        for _ in range(TIMES):
            sock.sendall(piece)
        sock.sendall(LAST_CHUNK if is_chunked else b"")
        with HTTPResponse(sock) as response:
            response.begin()
            assert response.status == 200
    seen = server.upstream.only()
    assert (seen.size, seen.digest) == (TIMES * MEBI, digest_of_all())


@contextmanager
def flat_memory(server: Site) -> Iterator[None]:
    """Its peak within the block stays near what it had before; measured with gunicorn, the others keep whole bodies."""
    if server.kind != "gunicorn":
        yield
        return
    assert server.server is not None
    process = Path(f"/proc/{server.server.worker_id}")
    # The peak starts anew (proc(5), clear_refs).
    (process / "clear_refs").write_text("5")
    before = peak(process)
    yield
    assert peak(process) - before <= SPACIOUS


def peak(process: Path) -> int:
    """The largest resident memory so far, in bytes."""
    [line] = [line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
