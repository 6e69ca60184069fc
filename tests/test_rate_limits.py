from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItem, parse, parse_many

from flask_api_layer.rate_limits import LocalWindows, RateLimits, Reading
from flask_api_layer.sansio.rates import Quota, client_key
from flask_api_layer.stores.breaker import Fuse

from .processes import DeadPort
from .stores.processes import Child
from .stores.servers import Parrot, RedisServer

FIVE = (parse("5/minute"),)
PASSWORD = "hunter2"
# What Redis says of the previous and the current window: count and milliseconds to live.
COUNTS = b"*4\r\n$1\r\n0\r\n:0\r\n$1\r\n3\r\n:90000\r\n"
MakeLimits = Callable[..., RateLimits]


class Clock:
    """A clock that a test moves; it does not stand at the border of a window."""

    def __init__(self) -> None:
        self.now = 1_000_000.5

    def __call__(self) -> float:
        return self.now


class Interrupted(int):
    """A number at whose comparison another thread takes over."""

    def __ge__(self, other: int) -> bool:
        answer = super().__ge__(other)
        time.sleep(0.0005)
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local(clock: Clock) -> RateLimits:
    return RateLimits("memory://", clock=clock)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shared_redis(_shared_redis: RedisServer) -> RedisServer:
    """An empty server that tests leave running."""
    with _shared_redis.client() as client:
        client.flushall()
    return _shared_redis


@pytest.fixture
def make_limits(clock: Clock) -> Iterator[MakeLimits]:
    """Limits that are closed after the test; patient, unless a test is about patience."""
    made: list[RateLimits] = []

    def make(url: str, *, timeout: float = 10) -> RateLimits:
        made.append(RateLimits(url, timeout=timeout, clock=clock))
        return made[-1]

    yield make
    for limits in made:
        limits.close()


@pytest.fixture(params=("memory", "redis"))
def limits(request: pytest.FixtureRequest, make_limits: MakeLimits) -> RateLimits:
    """Each kind in turn."""
    if request.param == "memory":
        return make_limits("memory://")
    return make_limits(request.getfixturevalue("shared_redis").url)


def admitted(limits: RateLimits, key: str = "ada", *, tries: int = 8, scope: str = "app") -> int:
    return sum(not limits.hit(FIVE, scope, key)[0].exceeded for _ in range(tries))


def passes_a_day_of_20(limits: RateLimits) -> bool:
    return not limits.hit((parse("20/day"),), "app", "ada")[0].exceeded


def from_threads(hit: Callable[[], bool], *, threads: int = 8, tries: int = 6) -> int:
    """How many of the hits of all threads were admitted."""
    passed: list[bool] = []
    barrier = threading.Barrier(threads)

    def work() -> None:
        barrier.wait()
        passed.extend(hit() for _ in range(tries))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(passed)


# B10.1
def test_requests_over_the_limit_are_refused(limits: RateLimits) -> None:
    readings = [limits.hit(FIVE, "app", "ada")[0] for _ in range(7)]
    assert [reading.remaining for reading in readings] == [4, 3, 2, 1, 0, 0, 0]
    assert [reading.exceeded for reading in readings] == [False] * 5 + [True] * 2
    assert all(1 <= reading.reset_in <= 60 for reading in readings)


def test_clients_and_scopes_are_counted_apart(limits: RateLimits) -> None:
    assert admitted(limits) == 5
    assert admitted(limits, "bob") == admitted(limits, scope="view:shop.index") == 5


def test_200_addresses_are_counted_apart(limits: RateLimits) -> None:
    random = Random(7)
    addresses = {".".join(str(random.randrange(256)) for _ in range(4)) for _ in range(200)}
    assert {limits.hit(FIVE, "app", client_key(address))[0].remaining for address in addresses} == {4}


def test_a_64_network_is_one_client(limits: RateLimits) -> None:
    # CORPUS 8
    readings = [limits.hit(FIVE, "app", client_key(f"2001:db8:1:2::{n:x}"))[0] for n in range(1, 30)]
    assert sum(not reading.exceeded for reading in readings) == 5
    assert not limits.hit(FIVE, "app", client_key("2001:db8:1:3::1"))[0].exceeded


@pytest.mark.parametrize("key", ["a:b", "a\nb", "a\r\n$1", "{a}", "ü", "\ud800", "", "x" * 100_000])
def test_any_text_is_a_key(limits: RateLimits, key: str) -> None:
    # CORPUS 8
    assert admitted(limits, key) == 5


def test_every_item_is_counted_and_read(limits: RateLimits) -> None:
    readings = limits.hit(parse_many("100/hour;5/minute"), "app", "ada")
    assert [(str(reading.item), reading.remaining) for reading in readings] == [
        ("5 per 1 minute", 4),
        ("100 per 1 hour", 99),
    ]


def test_an_item_that_stands_there_twice_counts_once(limits: RateLimits) -> None:
    # B10.1
    assert [reading.remaining for reading in limits.hit((*FIVE, *FIVE), "app", "ada")] == [4]


def test_no_item_is_no_limit(limits: RateLimits) -> None:
    assert limits.hit((), "app", "ada") == []


def test_refused_requests_use_up_no_longer_limit(limits: RateLimits) -> None:
    both = parse_many("5/minute;7/hour")
    for _ in range(20):
        last = limits.hit(both, "app", "ada")
    assert [(reading.remaining, reading.exceeded) for reading in last] == [(0, True), (2, False)]


def test_a_longer_limit_refuses_by_itself(limits: RateLimits) -> None:
    both = parse_many("5/minute;2/hour")
    last = [limits.hit(both, "app", "ada") for _ in range(3)][-1]
    assert [reading.exceeded for reading in last] == [False, True]


def test_a_reading_is_a_quota_for_headers() -> None:
    reading = Reading(parse("5/2 minute"), remaining=0, reset_in=7, exceeded=True)
    assert reading.quota("app") == Quota("app-120", 5, 120, 0, 7, exceeded=True)


@pytest.mark.parametrize("url", ["memory://", "sqlite:////nowhere/at-all.sqlite3"])
def test_a_process_counts_by_itself(make_limits: MakeLimits, url: str) -> None:
    # B10.2
    assert admitted(make_limits(url)) == admitted(make_limits(url)) == 5


# In this process


def test_waiting_is_rewarded_whatever_was_tried_meanwhile(local: RateLimits, clock: Clock) -> None:
    assert admitted(local) == 5
    for _ in range(40):
        waits = local.hit(FIVE, "app", "ada")[0].reset_in
        for _ in range(5):
            clock.now += waits / 10
            local.hit(FIVE, "app", "ada")
        clock.now += local.hit(FIVE, "app", "ada")[0].reset_in + 0.001
        assert admitted(local) >= 1


def test_the_border_of_two_windows_gives_no_second_limit(local: RateLimits, clock: Clock) -> None:
    # R4
    clock.now = 59.9
    assert admitted(local) == 5
    clock.now = 60.1
    assert admitted(local) == 1


def test_the_limit_is_back_after_a_quiet_while(local: RateLimits, clock: Clock) -> None:
    assert admitted(local) == 5
    clock.now += 120
    assert admitted(local) == 5


@given(
    st.integers(1, 12),
    st.integers(1, 90),
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 6)), max_size=40),
)
def test_any_traffic_stays_within_twice_the_limit(
    limit: int, window: int, bursts: list[tuple[float, int]]
) -> None:
    # CORPUS 8
    clock = Clock()
    item = parse(f"{limit}/{window} second")
    limits = RateLimits("memory://", clock=clock)
    passed: list[float] = []
    left = limit
    for pause, requests in bursts:
        clock.now += pause
        for number in range(requests):
            reading = limits.hit((item,), "app", "ada")[0]
            assert not number or reading.exceeded is (left == 0)
            left = reading.remaining
            passed += [] if reading.exceeded else [clock.now]
    for start in passed:
        assert sum(start <= moment < start + window for moment in passed) <= 2 * limit


@pytest.mark.parametrize("step", [-120.0, -0.4])
def test_a_clock_that_is_set_back_gives_no_second_limit(local: RateLimits, clock: Clock, step: float) -> None:
    # CORPUS 8
    assert admitted(local) == 5
    clock.now += step
    assert admitted(local) == 0


def test_threads_never_let_more_through() -> None:
    windows = LocalWindows()
    limit = Interrupted(20)
    assert from_threads(lambda: windows.acquire_sliding_window_entry("ada", limit, 86400)) == 20


def test_counts_that_are_over_are_forgotten(clock: Clock) -> None:
    # R5
    windows = LocalWindows(clock=clock)
    for number in range(1000):
        windows.acquire_sliding_window_entry(f"old {number}", 5, 60)
    clock.now += 120
    for number in range(500):
        windows.acquire_sliding_window_entry(f"new {number}", 5, 60)
    assert len(windows) == 500


def test_a_crowd_pushes_out_the_absent_and_not_the_busy(clock: Clock) -> None:
    windows = LocalWindows(clock=clock, most=100)
    busy = 0
    for number in range(300):
        busy += windows.acquire_sliding_window_entry("busy", 5, 60)
        windows.acquire_sliding_window_entry(f"one of many {number}", 5, 60)
    assert len(windows) == 100
    assert busy == 5
    assert windows.acquire_sliding_window_entry("one of many 0", 1, 60)


def test_a_process_that_counts_ends_without_a_word() -> None:
    program = (
        "import threading\n"
        "from limits import parse\n"
        "from flask_api_layer.rate_limits import RateLimits\n"
        "limits = RateLimits('memory://')\n"
        "limits.hit([parse('5/minute')], 'app', 'ada')\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_forks_count_by_themselves_in_memory(local: RateLimits) -> None:
    assert admitted(local, tries=3) == 3
    assert Child(lambda: admitted(local) == 2).succeeded()
    assert admitted(local) == 2


# In Redis


def test_workers_share_the_count(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    # B10.2
    one, other = make_limits(shared_redis.url), make_limits(shared_redis.url)
    assert admitted(one, tries=3) + admitted(other) == 5


def test_forks_share_the_count(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    limits = make_limits(shared_redis.url)
    assert admitted(limits, tries=1) == 1
    assert Child(lambda: admitted(limits, tries=2) == 2).succeeded()
    assert admitted(limits) == 2


def test_threads_of_two_workers_never_let_more_through(
    shared_redis: RedisServer, make_limits: MakeLimits
) -> None:
    workers = cycle([make_limits(shared_redis.url), make_limits(shared_redis.url)])
    assert from_threads(lambda: passes_a_day_of_20(next(workers))) == 20


def test_redis_learns_no_names_and_forgets(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    limits = make_limits(shared_redis.url)
    limits.hit(FIVE, "login-account", "ada@example.com")
    limits.hit(FIVE, "login-address", client_key("203.0.113.7"))
    with shared_redis.client() as client:
        keys = [key.decode() for key in client.scan_iter()]
        lives = [client.pttl(key) for key in keys]
    assert len(keys) == 2
    assert all(key.startswith("api-layer:limit:") and key.isprintable() for key in keys)
    assert not any(word in key for key in keys for word in ("ada", "example", "203.0"))
    assert all(60_000 < left <= 120_000 for left in lives)


def test_a_refused_request_writes_nothing(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    limits = make_limits(shared_redis.url)
    assert admitted(limits) == 5
    with shared_redis.client() as client:
        (key,) = client.scan_iter()
        before = client.get(key)
        assert admitted(limits) == 0
        assert client.get(key) == before


def test_scripts_that_redis_lost_are_sent_again(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    limits = make_limits(shared_redis.url)
    assert admitted(limits, tries=2) == 2
    with shared_redis.client() as client:
        client.script_flush()
    assert admitted(limits) == 3


def test_closed_limits_open_again(shared_redis: RedisServer, make_limits: MakeLimits) -> None:
    limits = make_limits(shared_redis.url)
    assert admitted(limits, tries=2) == 2
    limits.close()
    assert admitted(limits) == 3


def test_an_unusable_url_is_refused_without_its_password() -> None:
    with pytest.raises(ValueError, match="API_LAYER_STORE_URL") as caught:
        RateLimits(f"redis://user:{PASSWORD}@host:port/0")
    assert PASSWORD not in str(caught.value)


# B6.7, B10.2: a Redis that fails


def test_nothing_is_opened_before_the_first_request(tmp_path: Path) -> None:
    with closing(RateLimits(f"unix://{tmp_path}/nobody.sock")) as limits:
        assert limits.hit((), "app", "ada") == []


def test_a_dead_redis_leaves_a_local_limit_and_one_line(
    make_limits: MakeLimits, caplog: pytest.LogCaptureFixture
) -> None:
    with DeadPort() as url, caplog.at_level(logging.WARNING):
        limits = make_limits(url.replace("http://", f"redis://:{PASSWORD}@"))
        assert admitted(limits) == 5
        assert admitted(limits, "bob") == 5
    (line,) = caplog.messages
    assert "cannot be reached" in line
    assert PASSWORD not in caplog.text


def test_a_stopped_redis_leaves_a_local_limit_until_it_is_back(
    redis_server: RedisServer, make_limits: MakeLimits, clock: Clock
) -> None:
    limits, other = make_limits(redis_server.url), make_limits(redis_server.url)
    assert admitted(limits) == 5
    redis_server.stop()
    assert admitted(limits) == admitted(other) == 5
    redis_server.start()
    assert admitted(limits) == 0  # The breaker rests.
    clock.now += 2.5
    assert admitted(limits, tries=3) + admitted(other) == 5


def test_a_paused_redis_is_waited_for_once(
    redis_server: RedisServer, make_limits: MakeLimits, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = make_limits(redis_server.url, timeout=0.1)
    redis_server.pause()
    with caplog.at_level(logging.WARNING):
        assert admitted(limits) == 5
        assert admitted(limits, "bob", tries=100) == 5
    assert ["did not answer in time" in message for message in caplog.messages] == [True]
    redis_server.resume()
    for _ in range(100):
        clock.now += 2.5
        caplog.clear()
        limits.hit(FIVE, "app", "eve")
        if not caplog.messages:
            break
    with redis_server.client() as client:
        assert client.keys("api-layer:limit:*")


def test_a_redis_without_room_leaves_a_local_limit(
    shared_redis: RedisServer, make_limits: MakeLimits, caplog: pytest.LogCaptureFixture
) -> None:
    with shared_redis.client() as client:
        client.config_set("maxmemory", "1")
        try:
            assert admitted(make_limits(shared_redis.url)) == 5
        finally:
            client.config_set("maxmemory", "0")
    assert "is full" in caplog.text


@pytest.mark.parametrize(
    "reply",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$3\r\nabc\r\n",
        b"-ERR hunter2\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_a_server_that_talks_nonsense_leaves_a_local_limit(
    make_limits: MakeLimits, caplog: pytest.LogCaptureFixture, reply: bytes
) -> None:
    with closing(Parrot(reply)) as parrot:
        limits = make_limits(f"redis://{parrot.address}/0")
        assert admitted(limits) == 5
        limits.close()
    assert len(caplog.messages) == 1
    assert PASSWORD not in caplog.text


def test_a_slow_redis_is_believed_when_it_is_in_time(make_limits: MakeLimits) -> None:
    with closing(Parrot(COUNTS, delay=0.05)) as parrot:
        limits = make_limits(f"redis://{parrot.address}")
        assert limits.hit(FIVE, "app", "ada") == [Reading(FIVE[0], remaining=2, reset_in=30, exceeded=False)]
        limits.close()


def test_a_slow_redis_has_one_deadline_for_all_limits(
    make_limits: MakeLimits, caplog: pytest.LogCaptureFixture
) -> None:
    items: list[RateLimitItem] = parse_many("5/second;6/minute;7/hour;8/day")
    with closing(Parrot(COUNTS, delay=0.1)) as parrot:
        limits = make_limits(f"redis://{parrot.address}", timeout=0.25)
        assert len(limits.hit(items, "app", "ada")) == 4
        limits.close()
        assert sum(parrot.asked.acquire(blocking=False) for _ in range(8)) < 8
    assert "did not answer in time" in caplog.text


def test_one_caller_tries_what_failed_and_the_others_stay_out(clock: Clock) -> None:
    fuse = Fuse(clock=clock, rest=2)
    assert fuse.admits()
    fuse.blow()
    assert not fuse.admits()
    clock.now += 2
    assert from_threads(fuse.admits) == 1
    clock.now += 2
    assert [fuse.admits(), fuse.admits()] == [True, False]
    fuse.mend()
    assert [fuse.admits(), fuse.admits()] == [True, True]
