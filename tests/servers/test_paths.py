"""The corpus of request targets, against every server and the app without one."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from tests.corpus import Case, cases
from tests.integration.wire import Answer

from .sites import Site
from .upstream import USER_TOKEN

PATHS = [pytest.param(case, id=case.id) for case in cases("paths")]
WITHOUT_SERVER = [
    pytest.param(case, id=case.id) for case in cases("paths") if not case.given.get("wire_only")
]
REFUSALS = {
    "refused": ((400,), "bad_path"),
    "too long": ((414,), "uri_too_long"),
    "not found": ((404,), None),
    "method refused": ((405,), "method_not_allowed"),
}


# B7.1, B7.2, corpus 1: each case names its rule
@pytest.mark.parametrize("case", PATHS)
def test_a_server_lets_through_what_the_corpus_says(case: Case, server: Site) -> None:
    assert_outcome(case, server)


# B7.1, B7.2, corpus 1: each case names its rule
@pytest.mark.parametrize("case", WITHOUT_SERVER)
def test_the_app_lets_through_what_the_corpus_says(case: Case, called_site: Site) -> None:
    assert_outcome(case, called_site)


def assert_outcome(case: Case, site: Site) -> None:
    method = case.given.get("method", "GET")
    answer = site.ask(case.text("target"), site.user, "Sec-Fetch-Site: same-origin", method=method)
    assert_harmless(answer)
    match expected_of(case, site):
        case "forwarded":
            assert_forwarded(case, answer, site)
        case "forwarded or refused":
            if site.upstream.seen:
                assert_forwarded(case, answer, site)
            else:
                assert_refused(answer, site)
        case "nobody":
            assert 200 < answer.status < 500
            assert site.upstream.seen == []
        case "kept from the backend":
            assert answer.status == 204 or 400 <= answer.status < 500
            assert site.upstream.seen == []
        case expected:
            assert_refused(answer, site, *REFUSALS[expected])
    site.assert_alive()


def expected_of(case: Case, site: Site) -> str:
    if not site.shows_raw_target and "without_raw_target" in case.given:
        return str(case.given["without_raw_target"])
    return str(case.given.get("servers", {}).get(site.kind, case.given["expect"]))


def assert_harmless(answer: Answer) -> None:
    """No fault of ours, no cookie, no way to a foreign host."""
    assert answer.status < 500
    assert "Set-Cookie" not in answer.headers
    assert urlsplit(answer.headers.get("Location", "/")).netloc in ("", "localhost")
    assert b"Traceback" not in answer.body


def assert_forwarded(case: Case, answer: Answer, site: Site) -> None:
    assert answer.status == 200
    seen = site.upstream.only()
    assert seen.method == case.given.get("method", "GET")
    assert meaning(seen.target) == meaning(case.text("upstream"))
    assert seen.target.isascii()
    # Whatever the spelling, the gate was passed.
    assert seen.values("Authorization") == [f"Bearer {USER_TOKEN}"]


def assert_refused(
    answer: Answer, site: Site, statuses: tuple[int, ...] = (400, 404, 405, 414), code: str | None = None
) -> None:
    """Refused by us as the contract says, or by the server in its own way."""
    assert site.upstream.seen == []
    assert "Location" not in answer.headers
    if answer.headers.get("Content-Type") == "application/problem+json":
        assert answer.status in statuses
        assert code in (None, answer.json()["code"] if answer.body else code)
    elif site.is_server:
        assert 400 <= answer.status < 500
    else:
        assert answer.status in statuses
        assert code is None


def meaning(target: str) -> tuple[list[bytes], str]:
    """Segments of the path, decoded once, and the query as it is."""
    path, mark, query = target.partition("?")
    return [unquote_to_bytes(segment) for segment in path.split("/")], mark + query
