"""A store in one SQLite file: shared by every worker of one machine, with nothing to install."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from weakref import WeakSet

from flask_api_layer.errors import StoreBusy, StoreDown

GET = "SELECT value FROM api_layer WHERE key = :key AND expires > :now"
PUT = """
    INSERT INTO api_layer (key, value, expires) VALUES (:key, :value, :expires)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires
"""
PUT_IF_ABSENT = PUT + "WHERE api_layer.expires <= :now"
DELETE_IF_EQUAL = "DELETE FROM api_layer WHERE key = :key AND value = :value AND expires > :now"

# More rows leave than came since the last time, so the file settles at the size of what lives and reuses its pages.
PURGE_EVERY = 50
PROBE_SECONDS = 15.0
PURGE = """
    DELETE FROM api_layer WHERE rowid IN
    (SELECT rowid FROM api_layer WHERE expires <= :now ORDER BY expires LIMIT 200)
"""

# What a power cut takes with it had seconds to live; the file itself stays sound.
COMMIT_WITHOUT_DISK = "PRAGMA synchronous = NORMAL"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS api_layer (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS api_layer_expires ON api_layer (expires)",
)

NOT_WRITABLE = "cannot be written: give the app's user the right to write to it and its folder"
ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another process: see who holds it open",
    sqlite3.SQLITE_LOCKED: "is locked by another process: see who holds it open",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk is full or failing",
    sqlite3.SQLITE_CORRUPT: "is damaged: delete it, it is made anew and holds nothing lasting",
    sqlite3.SQLITE_NOTADB: "is no SQLite database: delete it, or name another file",
    sqlite3.SQLITE_READONLY: NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: NOT_WRITABLE,
    sqlite3.SQLITE_PERM: NOT_WRITABLE,
}


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A connection, with the process and the file that it belongs to."""

    connection: sqlite3.Connection
    process: int
    file: tuple[int, int] | None

    def is_current(self, path: str) -> bool:
        """True when this process opened it and the file still stands at ``path``."""
        return self.process == os.getpid() and self.file is not None and self.file == _file_at(path)


class SQLiteStore:
    """A store in the file ``path``, which is made (mode 0600, its folder 0700) at the first use.

    Each process has one connection that its threads take in turn: a call takes microseconds, and SQLite lets one writer in at a
    time anyway. Every wait is bounded. A file that was deleted or replaced meanwhile is opened anew.

    :param path: relative to the folder in which the process was started; network file systems will not do.
    :param clock: seconds that all workers agree on.
    :param timeout: seconds that a call waits for a lock.
    """

    _open_file: OpenFile | None = None

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time, timeout: float = 0.2
    ) -> None:
        self._path = os.path.abspath(path)
        self._clock = clock
        self._timeout = timeout
        self._lock = Lock()
        self._writes = 0
        _stores.add(self)

    def __del__(self) -> None:
        self._drop()

    def get(self, key: str) -> bytes | None:
        """The living value under ``key``."""
        with self._connected() as connection:
            row = connection.execute(GET, {"key": key, "now": self._clock()}).fetchone()
        return row[0] if row else None

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds."""
        self._write(PUT, key, value, ttl)

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` unless a living one is there."""
        # Reading waits for nobody, and those who find the key taken are many: they must not queue for the write lock.
        if self.get(key) is not None:
            return False
        return self._write(PUT_IF_ABSENT, key, value, ttl)

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        """Delete ``key`` if its living value is ``value``."""
        return self._write(DELETE_IF_EQUAL, key, value)

    def problem(self) -> str | None:
        """Why the file cannot be written and what to do about it, or None."""
        deadline = time.monotonic() + PROBE_SECONDS
        while error := self._probe():
            # Workers that start together make the file together, one after the other on a slow disk; only who holds it for
            # longer is a problem.
            if not _is_locked(error) or time.monotonic() > deadline:
                return str(error)
            time.sleep(self._timeout / 4)
        # Often asked before a server forks: let no worker inherit an open file.
        self.close()
        return None

    def _probe(self) -> StoreDown | None:
        try:
            self.put("problem", b"", 0)
        except StoreDown as error:
            return error
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._drop()

    def _write(self, statement: str, key: str, value: bytes, ttl: float = 0) -> bool:
        """Run one statement, atomic by itself; True when it changed a row."""
        with self._connected() as connection:
            now = self._clock()
            if self._writes % PURGE_EVERY == 0:
                connection.execute(PURGE, {"now": now})
            self._writes += 1
            row = {"key": key, "value": value, "now": now, "expires": now + ttl}
            return connection.execute(statement, row).rowcount > 0

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreBusy(f"The store {self._path!r} is busy: other threads wait for it.")
        try:
            yield self._connection(deadline)
        except (sqlite3.Error, OSError) as error:
            self._drop()
            raise StoreDown(f"The store {self._path!r} {_advice(error)}.") from error
        finally:
            self._lock.release()

    def _connection(self, deadline: float) -> sqlite3.Connection:
        opened = self._open_file
        if opened is None or not opened.is_current(self._path):
            self._drop()
            opened = self._open_file = _open(self._path, deadline)
        _wait_until(deadline, opened.connection)
        return opened.connection

    def _drop(self) -> None:
        opened, self._open_file = self._open_file, None
        if opened is None:
            return
        if opened.process == os.getpid():
            with suppress(sqlite3.Error):
                opened.connection.close()
        else:
            _inherited.append(opened)


def _open(path: str, deadline: float) -> OpenFile:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        # Private from its first moment. Only the maker ever closes a descriptor of its own: doing that later would drop the
        # locks that this process holds on the file (POSIX advisory locks; sqlite.org/howtocorrupt.html, 2.2).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _wait_until(deadline, connection)
        connection.execute(COMMIT_WITHOUT_DISK)
        _use_wal(connection, deadline)
        for statement in SCHEMA:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return OpenFile(connection, os.getpid(), _file_at(path))


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Let readers and a writer work side by side. SQLite does not wait where two workers switch a new file at once; this does."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _wait_until(deadline: float, connection: sqlite3.Connection) -> None:
    milliseconds = max(1, int((deadline - time.monotonic()) * 1000))
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _code(error: BaseException) -> int:
    """SQLite's primary result code; the high bytes only refine it."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _is_locked(error: StoreDown) -> bool:
    return error.__cause__ is not None and _code(error.__cause__) == sqlite3.SQLITE_BUSY


def _advice(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return f"{NOT_WRITABLE} ({error.strerror})"
    return ADVICE.get(_code(error), f"does not work ({error})")


# An open SQLite file must not be carried across a fork, not even to close it there (sqlite.org/howtocorrupt.html, 2.6): SQLite
# would believe in locks that the new process does not hold. So every file is closed before a fork and opened again after it.
_stores: WeakSet[SQLiteStore] = WeakSet()
_paused: list[SQLiteStore] = []
_forking = Lock()
# Servers that fork in C run no hooks. What came through such a fork is kept here, for closing it would harm the parent.
_inherited: list[OpenFile] = []


def _before_fork() -> None:
    _forking.acquire()
    for store in list(_stores):
        store._lock.acquire()
        store._drop()
        _paused.append(store)


def _after_fork() -> None:
    while _paused:
        _paused.pop()._lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
