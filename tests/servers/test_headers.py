"""The corpus of request headers, against every server and the app without one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.corpus import Case, cases, joined

from .sites import Site
from .upstream import GUEST_TOKEN, USER_TOKEN, Seen

HEADERS = [pytest.param(case, id=case.id) for case in cases("headers")]
WITHOUT_SERVER = [
    pytest.param(case, id=case.id) for case in cases("headers") if not case.given.get("wire_only")
]

NOT_IMPLEMENTED = 501  # what servers say of a transfer coding that they do not know (RFC 9112 section 6.1)


# B7.3, corpus 2: each case names its rule
@pytest.mark.parametrize("case", HEADERS)
def test_a_server_forwards_the_headers_that_the_corpus_says(case: Case, server: Site) -> None:
    assert_outcome(case, server)


# B7.3, corpus 2: each case names its rule
@pytest.mark.parametrize("case", WITHOUT_SERVER)
def test_the_app_forwards_the_headers_that_the_corpus_says(case: Case, app_site: Site) -> None:
    assert_outcome(case, app_site)


def assert_outcome(case: Case, site: Site) -> None:
    given = {**case.given, **case.given.get("servers", {}).get(site.kind, {})}
    cookie = {"user": [site.user], "guest": [site.guest], "none": []}[given.get("cookie", "user")]
    lines = [joined(line) for line in given["lines"]]
    body = str(given.get("body", "")).encode("latin-1")
    answer = site.ask(
        "/api/x", *cookie, *lines, "Sec-Fetch-Site: same-origin", method=given.get("method", "GET"), body=body
    )
    proxied = [seen for seen in site.upstream.seen if seen.target != "/v1/auth/guest"]
    match given["expect"], proxied:
        case (("forwarded" | "forwarded or refused"), [seen]):
            assert answer.status == 200
            assert_crossed(seen, given)
        case (("refused" | "forwarded or refused"), []):
            assert 400 <= answer.status < 500 or (site.is_server and answer.status == NOT_IMPLEMENTED)
        case expected:
            pytest.fail(f"{expected}, {answer}")
    site.assert_alive()


def assert_crossed(seen: Seen, given: Mapping[str, Any]) -> None:
    bearer = USER_TOKEN if given.get("cookie", "user") == "user" else GUEST_TOKEN
    assert seen.target == "/v1/x"
    assert seen.values("Authorization") == [f"Bearer {bearer}"]
    assert seen.values("Cookie") == []
    for name in given.get("absent", ()):
        assert seen.values(name) == []
    for text in given.get("nowhere", ()):
        assert all(text not in name + value for name, value in seen.headers)
    for name, value in given.get("present", {}).items():
        assert seen.values(name) == [value]
    assert seen.size in given.get("sizes", [seen.size])
    if given.get("request_id") == "made":
        [made] = seen.values("X-Request-ID")
        assert re.fullmatch(r"[A-Za-z0-9._-]{16,64}", made)
