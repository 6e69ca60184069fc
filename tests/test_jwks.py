from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import RSAKey

from flask_api_layer.jwt import KeysUnavailable, RemoteKeys, Verifier
from flask_api_layer.jwt.jwks import FAILURE_REST_SECONDS, KEPT_SECONDS, MAX_SET, UNKNOWN_KID_REST_SECONDS

from .raw_server import Peer, RawServer
from .signing import (
    ATTACKER,
    CLAIMS,
    CURVES,
    GOOD,
    RSA,
    SECRET,
    UNUSABLE,
    encoded,
    make_verifier,
    public,
    sign,
)


class KeyServer(RawServer):
    """Serves a JWK Set at every path; each fetch is one connection."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.body = b""
        self.status = b"200 OK"
        self.headers: tuple[bytes, ...] = (b"Content-Type: application/json", b"Cache-Control: no-store")
        self.answers = 0
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.publish(*keys)
        super().__init__(self._serve)

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    def _serve(self, peer: Peer) -> None:
        peer.request()
        self.asked.set()
        self.may_answer.wait(10)
        self.answers += 1
        peer.answer(self.body, *self.headers, status=self.status)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


FIRST, SECOND = sign(CLAIMS, header={"kid": "1"}), sign(CLAIMS, header={"kid": "2"}, key=ATTACKER)
KEY_1, KEY_2 = public(RSA, kid="1"), public(ATTACKER, kid="2")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with KeyServer(KEY_1) as running:
        yield running
        running.may_answer.set()


@pytest.fixture
def verifier(server: KeyServer, clock: Clock) -> Verifier:
    return make_verifier(RemoteKeys(f"{server.url}/jwks", timeout=20, clock=clock))


def in_threads(question: Callable[[], object], threads: int = 50) -> list[object]:
    """What the threads got, all of which started at once; an exception counts as an answer."""
    barrier = threading.Barrier(threads)

    def ask(_: int) -> object:
        barrier.wait()
        try:
            return question()
        except KeysUnavailable as error:
            return type(error)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(ask, range(threads)))


def test_keys_are_fetched_when_they_are_needed_and_kept(
    server: KeyServer, clock: Clock, verifier: Verifier
) -> None:
    assert verifier.verify("a.b.c") is None
    assert verifier.verify(sign(CLAIMS, sign_as="PS256")) is None
    assert server.connections == 0
    for _ in range(3):
        assert verifier.verify(FIRST) == CLAIMS
    clock.now += KEPT_SECONDS - 1
    assert verifier.verify(FIRST)
    assert server.connections == 1
    clock.now += 1
    assert verifier.verify(FIRST)
    assert server.connections == 2


def test_query_of_the_url_is_kept(server: KeyServer) -> None:
    verifier = make_verifier(RemoteKeys(f"{server.url}/keys/?p=B2C_1%20x"))
    assert verifier.verify(FIRST)
    assert server.heads[0].startswith(b"GET /keys/?p=B2C_1%20x HTTP/1.1\r\n")


def test_rotation(server: KeyServer, clock: Clock, verifier: Verifier) -> None:
    assert verifier.verify(FIRST)
    server.publish(KEY_2)
    assert verifier.verify(SECOND)
    assert verifier.verify(FIRST) is None
    assert server.connections == 2


def test_withdrawn_key_is_forgotten(server: KeyServer, clock: Clock, verifier: Verifier) -> None:
    assert verifier.verify(FIRST)
    server.publish(KEY_2)
    clock.now += KEPT_SECONDS
    assert verifier.verify(FIRST) is None


def test_many_threads_fetch_once(server: KeyServer, verifier: Verifier) -> None:
    assert in_threads(lambda: verifier.verify(FIRST)) == [CLAIMS] * 50
    assert server.connections == 1


def test_rotation_seen_by_many_threads_at_once_fails_none(server: KeyServer, verifier: Verifier) -> None:
    assert verifier.verify(FIRST)
    server.publish(KEY_1, KEY_2)
    assert in_threads(lambda: verifier.verify(SECOND)) == [CLAIMS] * 50
    assert server.connections == 2


def test_storm_of_unknown_kids_is_one_fetch_a_minute(
    server: KeyServer, clock: Clock, verifier: Verifier
) -> None:
    assert verifier.verify(FIRST)
    numbers = count()
    for minute in range(1, 4):
        answers = in_threads(
            lambda: verifier.verify(sign(CLAIMS, header={"kid": f"unknown-{next(numbers)}"}))
        )
        assert answers == [None] * 50
        assert server.connections == 1 + minute
        clock.now += UNKNOWN_KID_REST_SECONDS - 1
        assert verifier.verify(SECOND) is None
        assert server.connections == 1 + minute
        clock.now += 1


@pytest.mark.parametrize(
    "header", [{}, {"kid": ["1"]}, {"kid": None}, {"alg": "HS256"}, {"typ": "logout+jwt"}]
)
def test_only_a_kid_has_the_keys_fetched_again(
    server: KeyServer, verifier: Verifier, header: dict[str, Any]
) -> None:
    server.publish(KEY_1, KEY_2)
    assert verifier.verify(FIRST)
    assert verifier.verify(sign(CLAIMS, header=header)) is None
    assert verifier.verify(sign(CLAIMS, header={"kid": "2"})) is None
    assert server.connections == 1


def test_known_kid_with_another_algorithm_fetches_nothing(server: KeyServer) -> None:
    verifier = make_verifier(RemoteKeys(server.url), algorithms=("RS256", "ES256"))
    token = sign(CLAIMS, header={"kid": "1"}, key=CURVES["P-256"], sign_as="ES256")
    assert verifier.verify(token) is None
    assert server.connections == 1


def _break(server: KeyServer, status: bytes, body: bytes) -> None:
    server.status, server.body = status, body


HTML = b"<!doctype html><title>Login</title>"
NONSENSE: list[tuple[bytes, bytes]] = [
    *(
        (status, json.dumps({"keys": [KEY_1]}).encode())
        for status in (b"500 Oops", b"404 No", b"429 Slow", b"201 New")
    ),
    *(
        (b"200 OK", body)
        for body in (HTML, b"", b"null", b"[]", b"{}", b"\xff", b"[" * 5000, b'{"keys": "x"}')
    ),
    *((b"200 OK", body) for body in (b'{"keys": []}', b'{"keys": [5]}', b'{"keys": [{"kty": "PQ"}]}')),
    (b"200 OK", json.dumps(KEY_1).encode()),
    (b"200 OK", json.dumps({"keys": [{"kty": "oct", "k": encoded(SECRET.encode())}]}).encode()),
    (b"200 OK", json.dumps({"keys": [KEY_1]}).encode() + b" " * 2 * MAX_SET),
]


@pytest.mark.parametrize(("status", "body"), NONSENSE)
def test_no_keys_say_nothing_about_the_token(
    server: KeyServer, clock: Clock, verifier: Verifier, status: bytes, body: bytes
) -> None:
    # B4.7
    _break(server, status, body)
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            verifier.verify(FIRST)
    assert server.connections == 1
    _break(server, b"200 OK", json.dumps({"keys": [KEY_1]}).encode())
    clock.now += FAILURE_REST_SECONDS
    assert verifier.verify(FIRST)
    assert server.connections == 2


@pytest.mark.parametrize(("status", "body"), NONSENSE)
def test_old_keys_go_on_while_the_server_talks_nonsense(
    server: KeyServer, clock: Clock, verifier: Verifier, status: bytes, body: bytes
) -> None:
    assert verifier.verify(FIRST)
    _break(server, status, body)
    for _ in range(3):
        clock.now += KEPT_SECONDS
        assert verifier.verify(FIRST)
        assert verifier.verify(FIRST)
    assert server.connections == 4


def test_old_keys_go_on_while_the_server_is_gone(clock: Clock) -> None:
    with KeyServer(KEY_1) as server:
        verifier = make_verifier(RemoteKeys(server.url, clock=clock))
        assert verifier.verify(FIRST)
    clock.now += KEPT_SECONDS
    assert verifier.verify(FIRST)
    # Whether there is such a key by now, nobody can say.
    with pytest.raises(KeysUnavailable):
        verifier.verify(SECOND)


def test_unknown_kid_during_an_outage_is_still_one_fetch_a_minute(
    server: KeyServer, clock: Clock, verifier: Verifier
) -> None:
    assert verifier.verify(FIRST)
    server.status = b"503 Down"
    assert in_threads(lambda: verifier.verify(SECOND)) == [KeysUnavailable] * 50
    clock.now += UNKNOWN_KID_REST_SECONDS - 1
    with pytest.raises(KeysUnavailable):
        verifier.verify(SECOND)
    assert verifier.verify(FIRST)
    assert server.connections == 2
    server.status = b"200 OK"
    clock.now += 1
    assert verifier.verify(SECOND) is None
    assert server.connections == 3


def test_failed_fetch_of_many_threads_is_one(server: KeyServer, verifier: Verifier) -> None:
    server.status = b"503 Down"
    assert in_threads(lambda: verifier.verify(FIRST)) == [KeysUnavailable] * 50
    assert server.connections == 1


def test_nobody_waits_for_a_fetch_who_has_keys(server: KeyServer, clock: Clock, verifier: Verifier) -> None:
    assert verifier.verify(FIRST)
    server.may_answer.clear()
    server.asked.clear()
    clock.now += KEPT_SECONDS
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(verifier.verify, FIRST)
        assert server.asked.wait(10)
        assert verifier.verify(FIRST) == CLAIMS
        assert server.answers == 1
        server.may_answer.set()
        assert fetching.result() == CLAIMS
    assert server.connections == 2


def test_redirect_is_not_followed(server: KeyServer, verifier: Verifier) -> None:
    with KeyServer(KEY_1) as canary:
        server.status = b"302 Found"
        server.headers = (b"Location: %s/jwks" % canary.url.encode(),)
        with pytest.raises(KeysUnavailable):
            verifier.verify(FIRST)
        assert (server.connections, canary.connections) == (1, 0)


def test_answer_that_trickles_in_is_cut_off(clock: Clock) -> None:
    body = json.dumps({"keys": [KEY_1]}).encode()

    def trickle(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        pause = threading.Event()
        for start in range(0, len(body), 10):
            peer.send(body[start : start + 10])
            pause.wait(0.05)

    with RawServer(trickle) as server:
        verifier = make_verifier(RemoteKeys(server.url, timeout=0.3, clock=clock))
        with pytest.raises(KeysUnavailable):
            verifier.verify(FIRST)


def test_keys_that_do_not_belong_in_a_set_are_passed_over(server: KeyServer, verifier: Verifier) -> None:
    native = rsa.generate_private_key(65537, 1024).public_key()
    weak = RSAKey(native, native).as_dict()
    odd = [{**public(ATTACKER, kid="1"), **parameters} for parameters in UNUSABLE]
    odd += [{"kty": "oct", "k": encoded(SECRET.encode()), "kid": "1"}, {**weak, "kid": "1"}]
    server.publish(*odd, KEY_1)
    assert verifier.verify(FIRST)
    # One key is left: no name is needed.
    assert verifier.verify(GOOD)
    assert verifier.verify(sign(CLAIMS, key=ATTACKER, header={"kid": "1"})) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example.com/jwks",
        "file:///etc/passwd",
        "https://u:p@id.example.com",
        "https://",
        "http://[::1",
        "http://h:x",
    ],
)
def test_url_that_cannot_be_called(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the transport's words
        RemoteKeys(url)


def test_failures_are_logged_without_what_the_server_said(
    server: KeyServer, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    _break(server, b"500 Oops", b"hush")
    with pytest.raises(KeysUnavailable):
        verifier.verify(FIRST)
    assert [record.getMessage() for record in caplog.records] == ["JWKS_URL gave no keys: it answered 500"]
