"""Ten thousand paths that nobody wrote, in process, and as many at the servers."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.integration.wire import Answer

from .lines import Line
from .readings import escapes, is_token_endpoint
from .sites import Site

BATCH = 20
IN_PROCESS_BATCHES, SERVER_BATCHES = 250, 170

_DOTS = r". .. %2e %2E %252e %25252e .%2e %2e%2e ... %c0%ae %EF%BC%8E %E2%80%A5".split()
_SLASHES = r"/ / / // %2f %2F %252f \ %5c %255c %c0%af %EF%BC%8F /../ /./ /;/".split()
_CONTROLS = ["%00", "%0d%0a", "%09", "%7f", "%2500", "%C2%85", "\x01", "\x7f", "\x80"]
_MARKS = "; ;x=1 %3b %253b : @ # %23 ? %3f & % %% %z %2 %u002e + %20".split()
_WORDS = "a v1 api auth AUTH evil.test http:".split()
_BEYOND = [
    "%C3%A9",
    "\xc3\xa9",
    "\xff",
    *"%ff %F0%9F%98%80 %ed%a0%80 %E2%84%80 %EF%BC%A1 %C5%BF %e2%80%8b".split(),
]
_ENDPOINTS = "login refresh logout guest register".split()
_TOKENS = [start + name for start in ("", "auth/", "auth%2f", "a/../auth/", "Auth/") for name in _ENDPOINTS]
# Anything that a request line may hold.
_BYTES = [chr(code) for code in range(1, 256) if not chr(code).isspace()]
_ENCODED = [f"%{code:02x}" for code in range(256)]
PIECES = st.sampled_from(
    6 * (_DOTS + _SLASHES + _CONTROLS + _MARKS) + 4 * (_WORDS + _BEYOND + _TOKENS) + _BYTES + _ENCODED
)
STARTS = st.sampled_from(("/api/", "/api/", "/api/", "/api/x/", "/api", "/%61pi/"))
TARGETS = st.tuples(STARTS, st.lists(PIECES, min_size=1, max_size=8)).map(
    lambda parts: parts[0] + "".join(parts[1])
)
BATCHES = st.lists(TARGETS, min_size=BATCH, max_size=BATCH)


# B7.2, B7.1
def test_no_generated_path_leaves_the_base_in_process(called_site: Site) -> None:
    def check(target: str) -> None:
        judge(called_site, target, called_site.ask(target, called_site.user))

    explore(check, batches=IN_PROCESS_BATCHES, start=called_site.kind)
    called_site.assert_alive()


# B7.2, B7.1
def test_no_generated_path_leaves_the_base_at_a_server(server: Site) -> None:
    with Line(server) as line:

        def check(target: str) -> None:
            judge(server, target, line.ask(target, server.user))

        explore(check, batches=SERVER_BATCHES, start=server.kind)
    server.assert_alive()


def explore(check: Callable[[str], None], *, batches: int, start: str) -> None:
    """Check so many batches, other ones for each ``start``, and the same in every run."""

    @seed(crc32(start.encode()))
    @settings(
        max_examples=batches,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(BATCHES)
    def run(targets: list[str]) -> None:
        for target in targets:
            check(target)

    run()


def judge(site: Site, target: str, answer: Answer | None) -> None:
    """One request at most got through, and only to a place below the base."""
    seen, broken = [seen.target for seen in site.upstream.seen], site.upstream.broken
    site.upstream.clear()
    assert answer is None or answer.status < 500, target
    assert (len(seen), broken) in ((0, 0), (1, 0)), target
    assert not any(escapes(sent) or is_token_endpoint(sent) for sent in seen), (target, seen)
