"""The laws that ``make fuzz`` attacks, over the seeds; what was found once stays a seed (``found-*``)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from flask_api_layer.sansio.headers import SANDBOX, map_location, protective_headers
from flask_api_layer.sansio.paths import BadPath, clean_path, request_target
from flask_api_layer.sessions import unpack
from fuzz.browsers import Place, follow
from fuzz.feed import Feed
from fuzz.run import CORPUS, TARGETS, load

CHECKOUT = Path(__file__).parent.parent
SEEDS = [
    pytest.param(target, seed, id=f"{target}-{seed.name}")
    for target in TARGETS
    for seed in sorted((CORPUS / target).iterdir())
]


def finds(target: str, inputs: Iterable[bytes]) -> list[bytes]:
    """The inputs that break a law of this target."""
    check, found = load(target), []
    for data in inputs:
        try:
            check(data)
        except AssertionError:
            found.append(data)
    return found


@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_the_law_holds_for_every_seed(target: str, seed: Path) -> None:
    assert finds(target, [seed.read_bytes()]) == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_law_holds_for_every_beginning_of_a_seed(target: str) -> None:
    seeds = [seed.read_bytes()[:80] for seed in (CORPUS / target).iterdir()]
    assert finds(target, [data[:end] for data in seeds for end in range(len(data))]) == []


def test_make_fuzz_runs_every_target() -> None:
    listed = re.search(r"^FUZZ_TARGETS := (.*)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    assert tuple(listed[1].split()) == TARGETS
    assert sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir()) == [*TARGETS]


def test_the_seeds_need_no_fuzzer() -> None:
    code = "import sys; from fuzz.run import TARGETS, load; [load(t) for t in TARGETS]; assert 'atheris' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT).returncode == 0


# B7.2
@pytest.mark.parametrize(
    "path",
    [
        "/api/..%EF%BC%9Bx/admin",
        "/api/..%25EF%25BC%259Bx/admin",
        "/api/%EF%BC%852e%EF%BC%852e/admin",
        "/api/%25EF%25BC%2585252e./admin",
        "/api/a/%EF%BC%9Bx",
    ],
)
def test_dots_behind_compatibility_characters_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        clean_path(path, prefix="/api")


# B7.2
@pytest.mark.parametrize("path", ["100%EF%BC%85", "a%EF%BC%9Bb", "caf%C3%A9", "%E5%90%8D"])
def test_compatibility_characters_that_hide_nothing_pass(path: str) -> None:
    assert clean_path(f"/api/{path}", prefix="/api").quoted() == path


# B7.2
@pytest.mark.parametrize("raw", ["/50%/zz/api/x", "/50%25/zz/api/x"])
def test_a_percent_sign_in_script_name_cuts_nothing_off(raw: str) -> None:
    assert request_target(raw, "/50%", "/zz/api/x") == "/zz/api/x"


# B3.5
def test_a_value_nested_too_deeply_is_no_session() -> None:
    assert unpack(b"[" * 100_000) is None


# B7.4
@pytest.mark.parametrize("kind", ["text/plain\xa0", "text/plain\x85; charset=utf-8"])
def test_a_type_that_browsers_cannot_read_is_sandboxed(kind: str) -> None:
    assert ("Content-Security-Policy", SANDBOX) in protective_headers([("Content-Type", kind)])


# B7.4
@pytest.mark.parametrize(
    "location", ["https:///v1/x", "HTTPS:///v1/x", "///v1/x", "////v1/x", "https://", "//", "//?"]
)
def test_a_location_without_a_host_is_dropped(location: str) -> None:
    """Browsers take its first segment for the host, or go nowhere."""
    base = "https://api.example/v1"
    assert map_location(location, request_url=f"{base}/a", base_url=base, prefix="/api") is None


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("/a/../b", ("https", "shop.example", "443", "/b")),
        ("/a/%2E./b/.", ("https", "shop.example", "443", "/b/")),
        ("x?y#z", ("https", "shop.example", "443", "/account/x")),
        ("?y", ("https", "shop.example", "443", "/account/login")),
        ("//evil.example/x", ("https", "evil.example", "443", "/x")),
        ("/\\evil.example", ("https", "evil.example", "443", "/")),
        ("/\t/evil.example:08443", ("https", "evil.example", "8443", "/")),
        (" https:evil", ("https", "shop.example", "443", "/account/evil")),
        ("http:evil", ("http", "evil", "80", "/")),
        ("https:///shop.example@EVIL%2Eexample", ("https", "evil.example", "443", "/")),
        ("javascript:alert(1)", ("javascript", "", "", "alert(1)")),
    ],
)
def test_urls_are_followed_as_browsers_do(url: str, leads_to: tuple[str, str, str, str]) -> None:
    assert follow(url, Place("https", "shop.example", "443", "/account/login")) == Place(*leads_to)


def test_seeds_are_read_from_left_to_right() -> None:
    feed = Feed(b"1\n-\nab\xff")
    assert (feed.choose("xyz"), feed.line(), feed.line(), feed.text()) == ("y", b"", None, "ab\udcff")
    assert (feed.number(), feed.line(), feed.rest()) == (0, None, b"")
    assert Feed(b"021new").edit("sealed") == "senewled"
