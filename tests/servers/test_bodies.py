"""The corpus of request bodies, against every server and the app without one."""

from __future__ import annotations

import hashlib
from itertools import count

import pytest

from tests.corpus import Case, cases
from tests.integration.wire import read_answer

from .lines import Line
from .sites import SAME_ORIGIN, Site, request_head

BODIES = [pytest.param(case, id=case.id) for case in cases("bodies")]
WITHOUT_SERVER = [
    pytest.param(case, id=case.id) for case in cases("bodies") if not case.given.get("wire_only")
]
NUMBERS = count(2)


# B2.6, B7.5, corpus 6: each case names its rule
@pytest.mark.parametrize("case", BODIES)
def test_a_server_handles_a_body_as_the_corpus_says(case: Case, server: Site) -> None:
    assert_outcome(case, server)


# B2.6, B7.5, corpus 6: each case names its rule
@pytest.mark.parametrize("case", WITHOUT_SERVER)
def test_the_app_handles_a_body_as_the_corpus_says(case: Case, app_site: Site) -> None:
    assert_outcome(case, app_site)


def assert_outcome(case: Case, site: Site) -> None:
    lines = [*case.given.get("lines", []), SAME_ORIGIN]
    if case.given["content_type"]:
        lines.append(f"Content-Type: {case.given['content_type']}")
    body = case.bytes("body")
    if case.given["to"] == "login":
        # One address each, so that no limit on logins is what refuses them.
        answer = site.ask("/api/auth/login", *lines, method="POST", body=body, source=next_address())
    else:
        answer = site.ask("/api/x", site.user, *lines, method=case.given.get("method", "POST"), body=body)
    match case.given["expect"]:
        case "refused":
            assert answer.status in (400, 413, 415, 422)
            assert site.upstream.seen == []
            assert "Set-Cookie" not in answer.headers
            assert b"Traceback" not in answer.body
        case "too large":
            assert answer.status == 413
            assert (site.upstream.seen, site.upstream.broken) == ([], 0)
        case "forwarded":
            assert answer.status == 200
            assert site.upstream.only().digest == hashlib.sha256(body).hexdigest()
        case "forwarded without the body":
            assert answer.status == 200
            assert site.upstream.only().size == 0
        case other:
            pytest.fail(other)
    site.assert_alive()


def next_address() -> str:
    number = next(NUMBERS)
    return f"127.0.{number // 250}.{number % 250 + 1}"


# Corpus 6
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_a_body_does_not_spill_into_the_next_request(method: str, server: Site) -> None:
    body = b"GET /api/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lines = (server.user, SAME_ORIGIN, f"Content-Length: {len(body)}")
    with server.connect() as sock:
        sock.sendall(request_head(method, "/api/x", *lines) + body)
        first = read_answer(sock, method=method)
        if first.headers.get("Connection", "").lower() != "close":
            sock.sendall(request_head("GET", "/api/next", server.user, "Connection: close"))
            assert read_answer(sock).status == 200
    assert first.status == 200
    assert "/v1/smuggled" not in [seen.target for seen in server.upstream.seen]


# Corpus 6
def test_others_are_served_while_an_upload_trickles(server: Site) -> None:
    with server.connect() as slow, Line(server) as line:
        slow.sendall(request_head("POST", "/api/slow", server.user, SAME_ORIGIN, "Content-Length: 3") + b"a")
        for _ in range(20):
            answer = line.ask("/api/other", server.user)
            assert answer is not None
            assert answer.status == 200
        slow.sendall(b"bc")
        assert read_answer(slow).status == 200
    [upload] = [seen for seen in server.upstream.seen if seen.target == "/v1/slow"]
    assert upload.digest == hashlib.sha256(b"abc").hexdigest()
