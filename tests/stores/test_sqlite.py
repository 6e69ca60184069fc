from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_api_layer.errors import StoreDown
from flask_api_layer.stores import SQLiteStore

from .conftest import Clock
from .processes import Child

KEYS = [f"key-{number}" for number in range(50)]

# Holds the file until its standard input ends, but three seconds at most: whoever waits without a bound gets it in the end.
HOLD = """
import select, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
select.select([sys.stdin], [], [], 3)
"""


@contextmanager
def held(path: Path, statement: str) -> Iterator[None]:
    """Another process locks the file, and holds it to the end of the block."""
    command = [sys.executable, "-c", HOLD, str(path), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        assert holder.poll() is None
        holder.communicate(b"")


def is_down(store: SQLiteStore) -> bool:
    try:
        store.put("key", b"value", 60)
    except StoreDown:
        return True
    return False


def test_nothing_is_touched_before_the_first_use(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    assert not sqlite_path.parent.exists()
    assert sqlite_store.get("key") is None
    assert sqlite_path.exists()


def test_file_and_folder_are_private(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    sqlite_store.put("key", b"value", 60)
    assert sqlite_path.parent.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in sqlite_path.parent.iterdir()}
    assert files == dict.fromkeys(("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"), 0o600)


def test_a_folder_that_was_there_keeps_its_mode(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    sqlite_path.parent.mkdir(mode=0o750)
    sqlite_store.put("key", b"value", 60)
    assert sqlite_path.parent.stat().st_mode & 0o777 == 0o750


def test_two_stores_share_one_file(sqlite_store: SQLiteStore, sqlite_path: Path, clock: Clock) -> None:
    other = SQLiteStore(sqlite_path, clock=clock)
    sqlite_store.put("key", b"value", 60)
    assert other.get("key") == b"value"
    assert other.delete_if_equal("key", b"value")
    assert sqlite_store.get("key") is None
    other.close()


def test_entries_outlive_the_process(sqlite_store: SQLiteStore, sqlite_path: Path, clock: Clock) -> None:
    sqlite_store.put("key", b"value", 60)
    sqlite_store.close()
    with closing(SQLiteStore(sqlite_path, clock=clock)) as newcomer:
        assert newcomer.get("key") == b"value"


def race(path: Path, start: threading.Barrier, wins: multiprocessing.SimpleQueue[list[str]]) -> None:
    store = SQLiteStore(path, timeout=10)
    start.wait()
    wins.put([key for key in KEYS if store.put_if_absent(key, b"mine", 60)])


def test_one_of_four_processes_wins_each_key_of_a_new_file(sqlite_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, wins = context.Barrier(4), context.SimpleQueue()
    workers = [context.Process(target=race, args=(sqlite_path, start, wins)) for _ in range(4)]
    for worker in workers:
        worker.start()
    won = [key for _ in workers for key in wins.get()]
    for worker in workers:
        worker.join()
    wins.close()
    assert sorted(won) == sorted(KEYS)


def test_a_child_goes_on_where_its_parent_was(sqlite_store: SQLiteStore) -> None:
    sqlite_store.put("parent", b"value", 60)

    def work() -> bool:
        found = sqlite_store.get("parent")
        sqlite_store.put("child", b"value", 60)
        return found == b"value"

    assert Child(work).succeeded()
    assert sqlite_store.get("parent") == b"value"
    assert sqlite_store.get("child") == b"value"


def test_no_open_file_crosses_a_fork(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    """SQLite's locks belong to the process that took them (sqlite.org/howtocorrupt.html, 2.6)."""

    def open_files() -> list[str]:
        links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
        return [os.readlink(link) for link in links if link.is_symlink()]

    sqlite_store.put("key", b"value", 60)
    assert str(sqlite_path) in open_files()
    assert Child(lambda: str(sqlite_path) not in open_files()).succeeded()


def test_forks_amid_busy_threads(sqlite_store: SQLiteStore) -> None:
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sqlite_store.put("busy", b"value", 60)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            assert Child(lambda: sqlite_store.put_if_absent(f"child-{number}", b"value", 60)).succeeded()  # noqa: B023
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert all(sqlite_store.get(f"child-{number}") for number in range(5))


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_file_that_another_process_locks_is_not_waited_for(
    sqlite_store: SQLiteStore, sqlite_path: Path, statement: str, is_new: bool
) -> None:
    if is_new:
        sqlite_path.parent.mkdir()
    else:
        sqlite_store.put("key", b"value", 60)
    store = SQLiteStore(sqlite_path)
    with held(sqlite_path, statement), pytest.raises(StoreDown, match="is locked by another process"):
        store.put("key", b"value", 60)
    store.put("key", b"value", 60)
    store.close()


def test_threads_do_not_queue_up_behind_a_locked_file(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    """Twenty waits, one after the other, would outlast the holder."""
    sqlite_store.put("key", b"value", 60)
    store = SQLiteStore(sqlite_path)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(is_down(store))) for _ in range(20)]
    with held(sqlite_path, "BEGIN IMMEDIATE"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [True] * 20
    assert not is_down(store)
    store.close()


def test_a_new_file_that_another_worker_prepares_is_waited_for(
    sqlite_store: SQLiteStore, sqlite_path: Path
) -> None:
    """SQLite itself gives up at once when it cannot switch to WAL, which is what workers that start together run into."""
    sqlite_path.parent.mkdir()
    worker = sqlite3.connect(sqlite_path, isolation_level=None, check_same_thread=False)
    worker.execute("BEGIN IMMEDIATE")
    leave = threading.Timer(0.1, worker.execute, args=("ROLLBACK",))
    leave.start()
    sqlite_store.put("key", b"value", 60)
    leave.join()
    worker.close()
    assert sqlite_store.get("key") == b"value"


def test_the_file_does_not_grow_with_what_expired(
    sqlite_store: SQLiteStore, sqlite_path: Path, clock: Clock
) -> None:
    for number in range(5000):
        sqlite_store.put(f"key-{number}", b"x" * 2500, 1)
        clock.elapse(1)
    sqlite_store.close()
    assert sqlite_path.stat().st_size < 1_000_000


def test_the_log_beside_the_file_stays_small_too(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    for _ in range(3000):
        sqlite_store.put("key", b"x" * 2500, 60)
    assert sqlite_path.with_name("store.sqlite3-wal").stat().st_size < 6_000_000


@pytest.mark.parametrize(
    "names", [("store.sqlite3",), ("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm")]
)
def test_a_deleted_file_is_made_anew(
    sqlite_store: SQLiteStore, sqlite_path: Path, clock: Clock, names: tuple[str, ...]
) -> None:
    sqlite_store.put("key", b"value", 60)
    for name in names:
        sqlite_path.with_name(name).unlink()
    sqlite_store.put("other", b"value", 60)
    newcomer = SQLiteStore(sqlite_path, clock=clock)
    assert newcomer.get("other") == b"value"
    assert newcomer.get("key") is None
    newcomer.close()


def test_a_deleted_folder_is_made_anew(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    sqlite_store.put("key", b"value", 60)
    for path in sqlite_path.parent.iterdir():
        path.unlink()
    sqlite_path.parent.rmdir()
    assert sqlite_store.get("key") is None
    assert not is_down(sqlite_store)


def test_a_corrupt_file_is_named_and_can_be_deleted(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    sqlite_path.parent.mkdir()
    sqlite_path.write_bytes(b"neither SQLite nor empty " * 400)
    with pytest.raises(StoreDown, match="delete it") as caught:
        sqlite_store.get("key")
    assert str(sqlite_path) in str(caught.value)
    sqlite_path.unlink()
    assert not is_down(sqlite_store)


def test_damaged_pages_are_named(sqlite_store: SQLiteStore, sqlite_path: Path) -> None:
    sqlite_store.put("key", b"value", 60)
    sqlite_store.close()
    size = sqlite_path.stat().st_size
    with sqlite_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StoreDown, match="is damaged: delete it"):
        sqlite_store.get("key")


def test_a_path_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = SQLiteStore(tmp_path / "file" / "store.sqlite3")
    with pytest.raises(StoreDown, match=r"file/store\.sqlite3' cannot be written: give the app's user"):
        store.get("key")
    problem = store.problem()
    assert problem is not None
    assert "cannot be written" in problem


def test_a_folder_in_place_of_the_file_is_no_store(tmp_path: Path) -> None:
    assert is_down(SQLiteStore(tmp_path))


def test_a_read_only_folder_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)

        def work() -> bool:
            if os.geteuid() == 0:
                os.setuid(65534)  # Root may write everywhere.
            problem = SQLiteStore(Path(folder) / "store.sqlite3").problem()
            return problem is not None and "cannot be written" in problem

        assert Child(work).succeeded()
        Path(folder).chmod(0o755)


def test_a_file_that_may_only_be_read_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite3"
        with closing(SQLiteStore(path)) as store:
            store.put("key", b"value", 60)
        path.chmod(0o444)
        Path(folder).chmod(0o777)

        def work() -> bool:
            if os.geteuid() == 0:
                os.setuid(65534)
            problem = SQLiteStore(path).problem()
            return problem is not None and "cannot be written" in problem

        assert Child(work).succeeded()


def test_a_full_disk_is_an_outage_that_ends(sqlite_store: SQLiteStore) -> None:
    def fill() -> None:
        for number in range(1000):
            sqlite_store.put(f"key-{number}", b"x" * 2500, 60)

    def work() -> bool:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
        with pytest.raises(StoreDown, match="the disk is full"):
            fill()
        return True

    assert Child(work).succeeded()
    assert not is_down(sqlite_store)


def test_the_probe_leaves_no_file_open_for_a_server_to_fork(sqlite_store: SQLiteStore) -> None:
    assert sqlite_store.problem() is None
    assert sqlite_store._open_file is None


def test_a_file_that_came_through_a_fork_without_hooks_is_left_to_the_parent(
    sqlite_store: SQLiteStore,
) -> None:
    """uWSGI forks in C: Python's hooks do not run before it."""
    sqlite_store.put("key", b"value", 60)
    opened = sqlite_store._open_file
    assert opened is not None
    sqlite_store._open_file = type(opened)(opened.connection, opened.process + 1, opened.file)
    assert sqlite_store.get("key") == b"value"
    assert sqlite_store._open_file.connection is not opened.connection
    assert opened.connection.execute("SELECT 1").fetchone() == (1,)
    opened.connection.close()
