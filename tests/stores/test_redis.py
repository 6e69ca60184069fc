from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flask_api_layer.errors import StoreDown
from flask_api_layer.stores.redis import RedisStore

from .conftest import StartParrot, StartRedis
from .processes import Child
from .servers import Parrot, RedisServer, free_port

MakeStore = Callable[..., RedisStore]
PASSWORD = "hunter2"


def failure(store: RedisStore) -> str:
    with pytest.raises(StoreDown) as caught:
        store.put("key", b"value", 60)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def two_at_once(store: RedisStore, parrot: Parrot) -> None:
    """Two calls that need a connection each."""
    parrot.may_answer.clear()
    threads = [threading.Thread(target=store.put, args=("key", b"value", 60)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        parrot.asked.acquire()
    parrot.may_answer.set()
    for thread in threads:
        thread.join()


def eventually(store: RedisStore, key: str) -> bytes | None:
    """The first answer of a server that has just been woken up."""
    for _ in range(20):
        with suppress(StoreDown):
            return store.get(key)
    pytest.fail("Redis does not come back")


def fill(store: RedisStore) -> None:
    for number in range(1000):
        store.put(f"key-{number}", b"x" * 10_000, 60)


def test_keys_carry_the_prefix_and_end(shared_redis: RedisServer, redis_store: MakeStore) -> None:
    redis_store(shared_redis.url).put("ends", b"value", 60)
    with shared_redis.client() as client:
        assert client.get("api-layer:ends") == b"value"
        assert 0 < client.pttl("api-layer:ends") <= 60_000


@pytest.mark.parametrize("ttl", [0, 0.0004, 0.02])
def test_redis_itself_lets_values_expire(
    shared_redis: RedisServer, redis_store: MakeStore, ttl: float
) -> None:
    store = redis_store(shared_redis.url)
    store.put("short", b"value", ttl)
    deadline = time.monotonic() + 10
    while store.get("short") is not None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert store.get("short") is None


def test_a_database_is_chosen(shared_redis: RedisServer, redis_store: MakeStore) -> None:
    redis_store(shared_redis.url.replace("db=0", "db=3")).put("third", b"value", 60)
    assert redis_store(shared_redis.url).get("third") is None


def test_a_stopped_server_is_down_until_it_is_back(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis()
    store = redis_store(server.url)
    store.put("lease", b"mine", 60)
    assert store.delete_if_equal("lease", b"mine")
    server.stop()
    assert "cannot be reached" in failure(store)
    server.start()
    store.put("lease", b"mine", 60)
    # The new server has never seen the script.
    assert store.delete_if_equal("lease", b"mine")


def test_a_restart_between_two_calls_goes_unnoticed(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis()
    store = redis_store(server.url)
    store.put("key", b"value", 60)
    server.stop()
    server.start()
    assert store.get("key") is None


def test_a_paused_server_is_down_until_it_goes_on(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis()
    store = redis_store(server.url, timeout=0.5)
    store.put("key", b"value", 60)
    server.pause()
    assert "did not answer in time" in failure(store)
    assert "did not answer in time" in failure(store)
    server.resume()
    assert eventually(store, "key") == b"value"


def test_a_late_answer_is_never_taken_for_another(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis()
    store = redis_store(server.url, timeout=0.5)
    store.put("first", b"1", 60)
    store.put("second", b"2", 60)
    server.pause()
    with pytest.raises(StoreDown):
        store.get("first")
    server.resume()
    assert eventually(store, "second") == b"2"


def test_a_full_server_is_down(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    store = redis_store(server.url)
    with pytest.raises(StoreDown, match="is full: raise its maxmemory"):
        fill(store)
    with server.client() as client:
        client.config_set("maxmemory", 1)
    problem = store.problem()
    assert problem is not None
    assert "is full" in problem


def test_a_replica_is_down(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis("--replicaof", "127.0.0.1", str(free_port()))
    assert "is a replica that takes no writes" in failure(redis_store(server.url))


def test_the_password_opens_and_is_never_shown(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis(password=PASSWORD)
    right = redis_store(f"{server.url}&password={PASSWORD}")
    right.put("key", b"value", 60)
    assert right.problem() is None
    assert PASSWORD not in repr(right)
    assert "refuses the user or password" in failure(redis_store(server.url))
    assert "refuses the user or password" in failure(redis_store(f"{server.url}&password={PASSWORD}3"))


def test_the_permissions_that_are_advised_are_enough(start_redis: StartRedis, redis_store: MakeStore) -> None:
    server = start_redis()
    with server.client() as client:
        rights = ["+get", "+set", "+del", "+evalsha", "+script"]
        keys, secret = ["api-layer:*"], [f"+{PASSWORD}"]
        client.acl_setuser("app", enabled=True, passwords=secret, keys=keys, commands=rights)
        client.acl_setuser("reader", enabled=True, passwords=secret, keys=keys, commands=["+get"])
    store = redis_store(f"{server.url}&username=app&password={PASSWORD}")
    assert store.put_if_absent("lease", b"mine", 60)
    assert store.delete_if_equal("lease", b"mine")
    # CONFIG is forbidden, which is no problem.
    assert store.problem() is None
    reader = redis_store(f"{server.url}&username=reader&password={PASSWORD}")
    assert "GET, SET, DEL, EVALSHA and SCRIPT" in failure(reader)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_evicts_is_a_problem(
    start_redis: StartRedis, redis_store: MakeStore, policy: str
) -> None:
    problem = redis_store(start_redis("--maxmemory-policy", policy).url).problem()
    assert problem is not None
    assert policy in problem
    assert "noeviction" in problem


def test_nobody_there_is_a_problem(redis_store: MakeStore) -> None:
    problem = redis_store(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}").problem()
    assert problem is not None
    assert "cannot be reached" in problem
    assert PASSWORD not in problem


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MasterDownError"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "MovedError"),
        (b"-ERR max number of clients reached\r\n", "cannot be reached"),
        (b"-ERR unknown command `AUTH`, with args beginning with: `hunter2`, \r\n", "ResponseError"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "InvalidResponse"),
    ],
)
def test_every_refusal_is_an_outage_with_a_clean_text(
    start_parrot: StartParrot, redis_store: MakeStore, reply: bytes, advice: str
) -> None:
    parrot = start_parrot(reply)
    assert advice in failure(redis_store(f"redis://{parrot.address}"))
    assert advice in failure(redis_store(f"redis://:{PASSWORD}@{parrot.address}"))


def test_silence_is_waited_for_once(start_parrot: StartParrot, redis_store: MakeStore) -> None:
    parrot = start_parrot(None)
    assert "did not answer in time" in failure(redis_store(f"redis://{parrot.address}", timeout=0.2))
    assert parrot.accepted == 1


@pytest.mark.parametrize(
    "options", ["", "?socket_timeout=30&retry_on_timeout=true&health_check_interval=1&protocol=3"]
)
def test_connecting_and_asking_share_one_timeout(
    start_parrot: StartParrot, redis_store: MakeStore, options: str
) -> None:
    """Each of AUTH, SELECT and SET takes less than the timeout; together they take more."""
    parrot = start_parrot(b"+OK\r\n", delay=0.12)
    store = redis_store(f"redis://:{PASSWORD}@{parrot.address}/1{options}", timeout=0.3)
    assert "did not answer in time" in failure(store)
    assert parrot.accepted == 1


def test_running_out_of_connections_is_an_outage(start_parrot: StartParrot, redis_store: MakeStore) -> None:
    parrot = start_parrot(b"+OK\r\n")
    parrot.may_answer.clear()
    store = redis_store(f"redis://{parrot.address}?max_connections=1")
    first = threading.Thread(target=store.put, args=("key", b"value", 60))
    first.start()
    parrot.asked.acquire()
    assert "raise max_connections" in failure(store)
    parrot.may_answer.set()
    first.join()


def test_an_outage_is_paid_for_by_one_connection_not_by_each(
    start_parrot: StartParrot, redis_store: MakeStore
) -> None:
    """A firewall that forgot one idle connection has forgotten them all, and tells nobody."""
    parrot = start_parrot(b"+OK\r\n")
    store = redis_store(f"redis://{parrot.address}", timeout=1)
    two_at_once(store, parrot)
    assert parrot.accepted == 2
    parrot.may_answer.clear()
    assert "did not answer in time" in failure(store)
    parrot.asked.acquire()
    two_at_once(store, parrot)
    assert parrot.accepted == 4


def test_options_in_the_url_cannot_change_what_is_stored(
    shared_redis: RedisServer, redis_store: MakeStore
) -> None:
    options = "&decode_responses=true&encoding=utf-16&protocol=3&health_check_interval=1"
    store = redis_store(shared_redis.url + options)
    store.put("options", b"\xff\x00", 60)
    assert store.get("options") == b"\xff\x00"


def test_parent_and_child_do_not_share_a_connection(
    shared_redis: RedisServer, redis_store: MakeStore
) -> None:
    store = redis_store(shared_redis.url)
    store.put("key", b"parent", 60)
    child = Child(lambda: {store.get("key") for _ in range(200)} == {b"parent"})
    assert {store.get("absent") for _ in range(200)} == {None}
    assert child.succeeded()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (tmp_path / "cert.pem").write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_is_spoken_and_the_certificate_checked(
    start_redis: StartRedis, redis_store: MakeStore, certificate: tuple[Path, Path]
) -> None:
    cert, key = map(str, certificate)
    port = free_port()
    files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert]
    start_redis("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    trusting = redis_store(f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}")
    trusting.put("key", b"value", 60)
    assert trusting.get("key") == b"value"
    assert "cannot be reached" in failure(redis_store(f"rediss://127.0.0.1:{port}"))
