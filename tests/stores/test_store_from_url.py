from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flask_api_layer.errors import StoreDown
from flask_api_layer.stores import Breaker, MemoryStore, store_from_url

from .conftest import Clock

WITHOUT_REDIS = """
import sys
from flask_api_layer.stores import store_from_url
store_from_url("memory://")
assert "flask_api_layer.stores.redis" not in sys.modules, "imported before it is used"
sys.modules["redis"] = None
try:
    store_from_url("redis://:hunter2@localhost")
except ValueError as error:
    print(error)
"""


def test_memory_comes_bare(clock: Clock) -> None:
    store = store_from_url("memory://", clock=clock)
    assert isinstance(store, MemoryStore)
    store.put("key", b"value", 10)
    clock.elapse(10)
    assert store.get("key") is None


def test_sqlite_absolute(tmp_path: Path, clock: Clock) -> None:
    store = store_from_url(f"sqlite:///{tmp_path}/deep/er/store.sqlite3", clock=clock)
    store.put("key", b"value", 10)
    assert (tmp_path / "deep" / "er" / "store.sqlite3").is_file()
    clock.elapse(10)
    assert store.get("key") is None
    store.close()


def test_sqlite_relative_stays_where_the_process_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_from_url("sqlite:///instance/a b%20c.sqlite3")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("key", b"value", 10)
    assert (tmp_path / "instance" / "a b%20c.sqlite3").is_file()
    store.close()


def test_sqlite_rests_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = store_from_url(f"sqlite:///{tmp_path}/file/store.sqlite3")
    assert isinstance(store, Breaker)
    with pytest.raises(StoreDown, match="cannot be written"):
        store.get("key")
    with pytest.raises(StoreDown, match="left alone"):
        store.get("key")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_redis_rests_after_a_failure(scheme: str) -> None:
    store = store_from_url(f"{scheme}://user:hunter2@127.0.0.1:1/0")
    assert isinstance(store, Breaker)
    with pytest.raises(StoreDown, match=r"127\.0\.0\.1:1 cannot be reached"):
        store.get("key")
    with pytest.raises(StoreDown, match="left alone"):
        store.get("key")
    store.close()


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "memory://"),
        ("memory", "memory://"),
        ("/var/lib/hunter2.sqlite3", "sqlite:///instance"),
        ("postgres://user:hunter2@host/db", "unknown scheme 'postgres'"),
        ("sqlite://", "sqlite:////absolute/path"),
        ("sqlite:///", "sqlite:////absolute/path"),
        ("sqlite://hunter2/store.sqlite3", "sqlite:////absolute/path"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///store.sqlite3?password=hunter2", "query"),
        ("redis://user:hunter2@host:port", "percent-encode"),
        ("redis://user:hunter2/with/slash@host:6379", "percent-encode"),
        ("redis://host?hunter2=1", "redis-py understands"),
        ("redis://host?db=hunter2", "redis-py understands"),
        ("rediss://host?ssl_cert_reqs=hunter2", "redis-py understands"),
        ("unix:///x.sock?max_connections=-1&password=hunter2", "redis-py understands"),
    ],
)
def test_a_bad_url_says_what_to_write_and_no_secret(url: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r"^API_LAYER_STORE_URL ") as caught:
        store_from_url(url)
    assert advice in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_redis_is_imported_only_when_used_and_its_absence_explained() -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_REDIS], capture_output=True, text=True, check=True)
    assert "pip install flask-api-layer[redis]" in result.stdout
    assert "hunter2" not in result.stdout
