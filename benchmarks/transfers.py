"""One large body at a time, down or up, and what it does to the memory of the workers."""

from __future__ import annotations

import http.client
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .servers import HOST, Server

_BLOCK = 2**20
_PATIENCE = 60.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one body took.

    :param speed: MB/s.
    :param growth: MB by which the peak memory of the worker that grew most went beyond what it had before.
    :param is_whole: every byte arrived.
    """

    speed: float
    growth: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Carrier:
    """Moves the file in one direction through a server."""

    server: Server
    headers: Mapping[str, str] = field(repr=False)
    file: Path

    def down(self) -> Transfer:
        return self._measured(self._download)

    def up(self) -> Transfer:
        return self._measured(self._upload)

    def is_faithful(self) -> bool:
        """Whether a download is the file, byte for byte."""
        return self._checksum() == zlib.crc32(self.file.read_bytes())

    def _measured(self, move: Callable[[], int]) -> Transfer:
        workers = self.server.worker_ids
        before = [_forget_peak(worker) for worker in workers]
        begin = time.perf_counter()
        moved = move()
        elapsed = time.perf_counter() - begin
        growth = max(_peak(worker) - peak for worker, peak in zip(workers, before, strict=True))
        return Transfer(moved / elapsed / 1e6, growth, moved == self.file.stat().st_size)

    def _download(self) -> int:
        return sum(map(len, self._blocks()))

    def _checksum(self) -> int:
        checksum = 0
        for block in self._blocks():
            checksum = zlib.crc32(block, checksum)
        return checksum

    def _blocks(self) -> Iterator[memoryview]:
        """The body in pieces that live until the next one."""
        buffer = memoryview(bytearray(_BLOCK))
        with self._answer("GET", f"/api/files/{self.file.name}") as answer:
            while answer.status == 200 and (count := answer.readinto(buffer)):
                yield buffer[:count]

    def _upload(self) -> int:
        with self.file.open("rb") as file, self._answer("PUT", "/api/sink", _pieces(file.read)) as answer:
            text = answer.read()
            return int(json.loads(text)["bytes"]) if answer.status == 200 else 0

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Iterator[bytes] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=_PATIENCE)
        headers = dict(self.headers)
        if body is not None:
            headers |= {"Content-Type": "application/octet-stream"}
            headers |= {"Content-Length": str(self.file.stat().st_size)}
        try:
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK):
        yield block


def _forget_peak(process_id: int) -> float:
    """The peak memory from here on; where the system does not let us reset it, that of the past."""
    with suppress(OSError):
        Path(f"/proc/{process_id}/clear_refs").write_text("5")
    return _peak(process_id)


def _peak(process_id: int) -> float:
    """MB, as :func:`_forget_peak` left it."""
    lines: Sequence[str] = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6
