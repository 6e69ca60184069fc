from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.paths import (
    MAX_NEXT,
    MAX_PATH_BYTES,
    MAX_SEGMENTS,
    BadPath,
    CleanPath,
    clean_path,
    is_under,
    local_target,
    request_target,
    same_page,
    split_path,
    target_path,
    wsgi_decoded,
)

PREFIX = "/api"


def path_info(raw: str) -> str:
    """PATH_INFO as servers make it: without query, decoded once, bytes as Latin-1."""
    return unquote_to_bytes(raw.partition("?")[0].encode("latin-1")).decode("latin-1")


def through_gunicorn(raw: str) -> CleanPath:
    """With RAW_URI: what the client sent is known."""
    return clean_path(request_target(raw, "", path_info(raw)), prefix=PREFIX)


def through_granian(raw: str) -> CleanPath:
    """Without: only PATH_INFO is known."""
    return clean_path(request_target(None, "", path_info(raw)), prefix=PREFIX)


SERVERS = [through_gunicorn, through_granian]
on_both_servers = pytest.mark.parametrize("serve", SERVERS)
Serve = Callable[[str], CleanPath]


# The proxied path


@on_both_servers
@pytest.mark.parametrize(
    "raw",
    [
        "/api/../admin",
        "/api/a/../../admin",
        "/api/..",
        "/api/.",
        "/api/./x",
        "/api/a/.",
        "/api/../",
        "/api/%2e%2e/admin",
        "/api/%2E%2E/admin",
        "/api/.%2e/x",
        "/api/%2e./x",
        "/api/%2E./x",
        "/api/%2e/x",
        "/api/..%2fadmin",
        "/api/a%2f..%2f..%2fadmin",
        "/api/%2e%2e%2fadmin",
        "/api/%252e%252e/admin",
        "/api/%252e/x",
        "/api/..%252fadmin",
        "/api/a%252f..%252fb",
        "/api/%25252e%25252e/x",
        "/api/..%5cadmin",
        "/api/a%5c..%5cb",
        "/api/..\\admin",
        "/api/a\\b",
        "/api/a%255c..%255cb",
        "/api/a%00b",
        "/api/a%2500b",
        "/api/%00",
        "/api/x%01y",
        "/api/x%1fy",
        "/api/x%7f",
        "/api/x%c2%80",
        "/api/x%c2%9f",
        "/api/a%0d%0aX:%20y",
        "/api/a%0ab",
        "/api/a%250d%250ab",
        "/api/a%09b",
        "/api//b",
        "/api/a//b",
        "/api/a//",
        "/api//",
        "/api/%2f%2fevil.com/",
        "/api/%2f",
        "/api/http://evil.com/x",
        "/api/http:%2f%2fevil.com",
        "/api/%c0%ae%c0%ae/x",
        "/api/%ff",
        "/api/%ed%a0%80",
        "/api/%f8%88%80%80%80",
        "/api/caf%e9",
    ],
)
def test_paths_that_could_be_read_in_two_ways_are_refused(serve: Serve, raw: str) -> None:
    # B7.2, CORPUS 1
    with pytest.raises(BadPath) as refused:
        serve(raw)
    assert refused.value.code == "bad_path"


@on_both_servers
@pytest.mark.parametrize(
    "character",
    [
        "\u2024",
        "\u2025",
        "\u2026",
        "\ufe52",
        "\uff0e",
        "\uff0f",
        "\ufe68",
        "\uff3c",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("shape", ["{0}", "{0}{0}", "{0}.", "a{0}b", "..{0}admin"])
def test_characters_that_normalise_to_dots_and_slashes_are_refused(
    serve: Serve, shape: str, character: str
) -> None:
    # B7.2
    with pytest.raises(BadPath):
        serve("/api/" + quote(shape.format(character)))


@on_both_servers
@pytest.mark.parametrize(
    "raw", ["/api/..;/admin", "/api/..;a=b/admin", "/api/%2e%2e;/x", "/api/.;/x", "/api/..%3b/x"]
)
def test_dot_segments_with_parameters_are_refused(serve: Serve, raw: str) -> None:
    # Tomcat and others drop ";params" and then resolve the dots.
    with pytest.raises(BadPath):
        serve(raw)


@pytest.mark.parametrize(
    "raw", ["/api/a%2fb", "/api/a%2Fb", "/api/%", "/api/%zz", "/api/%2", "/api/a%2", "/api/%u002e"]
)
def test_what_only_the_raw_target_shows_is_refused_where_there_is_one(raw: str) -> None:
    # B7.2
    with pytest.raises(BadPath) as refused:
        through_gunicorn(raw)
    assert refused.value.code == "bad_path"


@pytest.mark.parametrize(
    ("raw", "upstream"),
    [("/api/a%2fb", "a/b"), ("/api/%", "%25"), ("/api/%zz", "%25zz"), ("/api/%u002e", "%25u002e")],
)
def test_what_the_server_hides_is_taken_as_it_was_decoded(raw: str, upstream: str) -> None:
    # CORPUS 1
    assert through_granian(raw).quoted() == upstream


@on_both_servers
@pytest.mark.parametrize(
    ("raw", "upstream"),
    [
        ("/api/x", "x"),
        ("/api/x/", "x/"),
        ("/api/a/b/c", "a/b/c"),
        ("/api/a%23frag", "a%23frag"),
        ("/api/a%3fb", "a%3Fb"),
        ("/api/caf%C3%A9", "caf%C3%A9"),
        ("/api/caf%c3%a9", "caf%C3%A9"),
        ("/api/100%25", "100%25"),
        ("/api/a%20b", "a%20b"),
        ("/api/a+b", "a+b"),
        ("/api/a:b@c", "a:b@c"),
        ("/api/a;b=c,d", "a;b=c,d"),
        ("/api/!$&'()*", "!$&'()*"),
        ("/api/v1..2", "v1..2"),
        ("/api/...", "..."),
        ("/api/..a", "..a"),
        ("/api/a..", "a.."),
        ("/api/.well-known/x", ".well-known/x"),
        ("/api/~ann", "~ann"),
        ("/api/%F0%9F%98%80", "%F0%9F%98%80"),
        ("/api/%E2%98%83", "%E2%98%83"),
        ("/api/x?a=%00&b=..%2f&c=%zz", "x"),
        ("/api/x?", "x"),
        ("/%61pi/x", "x"),
    ],
)
def test_good_paths_go_upstream_as_they_came(serve: Serve, raw: str, upstream: str) -> None:
    # B7.2, CORPUS 1
    assert serve(raw).quoted() == upstream


@on_both_servers
def test_checked_segments_are_decoded_once(serve: Serve) -> None:
    assert serve("/api/caf%C3%A9/100%25/") == CleanPath(("caf\u00e9", "100%"), trailing_slash=True)


@on_both_servers
@pytest.mark.parametrize("raw", ["/api", "/api/"])
def test_bare_prefix_has_no_segments(serve: Serve, raw: str) -> None:
    assert serve(raw).segments == ()
    assert serve(raw).quoted() == ""


@on_both_servers
def test_limits_are_4096_bytes_and_128_segments(serve: Serve) -> None:
    # B7.2
    assert (MAX_PATH_BYTES, MAX_SEGMENTS) == (4096, 128)
    assert len(serve("/api/" + "/".join("x" * 128)).segments) == 128
    assert serve("/api/" + "x" * 4091).segments == ("x" * 4091,)
    for too_long in ("/".join("x" * 129), "/".join("x" * 2000), "x" * 4092, "x" * 5000, "x" * 9000):
        with pytest.raises(BadPath) as refused:
            serve("/api/" + too_long)
        assert refused.value.code == "uri_too_long"


@on_both_servers
def test_length_counts_as_it_is_sent(serve: Serve) -> None:
    with pytest.raises(BadPath) as refused:
        serve("/api/" + quote("\u2603" * 500))
    assert refused.value.code == "uri_too_long"


def test_refusal_says_why_without_quoting_the_path() -> None:
    with pytest.raises(BadPath) as refused:
        through_gunicorn("/api/secret/../x")
    assert str(refused.value)
    assert "secret" not in str(refused.value)


def _shows_a_dot_segment(path: str) -> bool:
    return any(part in (".", "..") for part in re.split(r"[/\\]", path))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.booleans())
def test_any_bytes_are_refused_or_read_in_one_way(raw: list[bytes], has_raw: bool) -> None:
    # B7.2
    target = "/api/" + "/".join(quote(part, safe="") for part in raw)
    try:
        path = (through_gunicorn if has_raw else through_granian)(target)
    except BadPath:
        return
    quoted = path.quoted()
    assert quoted.isascii()
    assert clean_path("/api/" + quoted, prefix=PREFIX) == path
    reading = quoted
    for _ in range(4):
        assert not _shows_a_dot_segment(reading)
        assert not re.search(r"[\x00-\x1f\x7f\\]", reading)
        reading = unquote(reading)
    assert [unquote(part, errors="strict") for part in quoted.rstrip("/").split("/")] == list(
        path.segments
    ) or not path.segments


_segment = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=10)


@given(st.lists(_segment, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_segments_that_pass_are_sent_as_they_are(parts: list[str], slash: bool, has_raw: bool) -> None:
    target = "/api/" + "/".join(quote(part, safe="") for part in parts) + "/" * slash
    try:
        path = (through_gunicorn if has_raw else through_granian)(target)
    except BadPath:
        return
    if has_raw:
        assert path == CleanPath(tuple(parts), trailing_slash=slash)
    assert unquote(path.quoted(), errors="strict") == "/".join(parts) + "/" * slash


@given(st.text(st.sampled_from("abcXYZ019-_~!$&'()*+,=:@ \u00e9\u2603#?[]<>\""), min_size=1, max_size=20))
def test_harmless_segments_always_pass(part: str) -> None:
    raw = "/api/" + quote(part, safe="")
    assert through_gunicorn(raw).segments == through_granian(raw).segments == (part,)


@pytest.mark.parametrize(
    ("raw", "prefix"),
    [
        ("/api%2fauth/login", "/api"),
        ("/api%2Fx", "/api"),
        ("/shop%2fapi/x/y", "/shop/api"),
        ("/%73hop%2fapi/x", "/shop/api"),
        ("/shop/api%2fx/y", "/shop/api"),
    ],
)
def test_encoded_slash_at_the_prefix_is_refused(raw: str, prefix: str) -> None:
    # B7.2: the prefix would be cut off at another place than the router saw.
    with pytest.raises(BadPath):
        clean_path(request_target(raw, "", path_info(raw)), prefix=prefix)


def test_nested_prefix_is_cut_off_whole() -> None:
    assert clean_path("/shop/api/x/y", prefix="/shop/api").segments == ("x", "y")
    assert clean_path("/%73hop/%61pi/x/y", prefix="/shop/api").segments == ("x", "y")


def test_bytes_that_are_not_encoded_hide_no_encoded_slash() -> None:
    # B7.2: some clients send UTF-8 as it is; the rest of the raw target still counts.
    with pytest.raises(BadPath):
        through_gunicorn("/api/a%2fb/caf\u00c3\u00a9")


@on_both_servers
def test_bytes_that_are_not_encoded_are_read_as_utf8(serve: Serve) -> None:
    assert serve("/api/caf\u00c3\u00a9").quoted() == "caf%C3%A9"
    with pytest.raises(BadPath):
        serve("/api/caf\u00e9")


# Which spelling of the request counts


@pytest.mark.parametrize(
    ("raw", "script_name", "info", "target"),
    [
        ("/api/x", "", "/api/x", "/api/x"),
        ("/api/x?q=/../", "", "/api/x", "/api/x"),
        ("/api/a%2fb", "", "/api/a/b", "/api/a%2fb"),
        ("http://evil.com/api/x", "", "/api/x", "/api/x"),
        ("http://evil.com/api/a%2fb?q", "", "/api/a/b", "/api/a%2fb"),
        ("HTTPS://user@evil.com:444/api/x", "", "/api/x", "/api/x"),
        ("/shop/api/x", "/shop", "/api/x", "/api/x"),
        ("/shop/api/a%2fb", "/shop", "/api/a/b", "/api/a%2fb"),
        ("/%73hop/api/a%2fb", "/shop", "/api/a/b", "/api/a%2fb"),
        ("/caf%c3%a9/api/a%2fb", "/caf\u00c3\u00a9", "/api/a/b", "/api/a%2fb"),
        ("/api/a%2fb", "/shop", "/api/a/b", "/api/a%2fb"),
        ("/other/api/x", "/shop", "/api/x", "/api/x"),
        ("/api/a%2fb#frag", "", "/api/a/b", "/api/a%2fb"),
        (None, "", "/api/a b", "/api/a%20b"),
        (None, "/shop", "/api/a/b", "/api/a/b"),
        (None, "", "/api/100%", "/api/100%25"),
        (None, "", "/api/caf\u00c3\u00a9", "/api/caf%C3%A9"),
    ],
)
def test_raw_target_counts_without_scheme_query_and_script_name(
    raw: str | None, script_name: str, info: str, target: str
) -> None:
    # B7.2
    assert request_target(raw, script_name, info) == target


@pytest.mark.parametrize(
    "raw",
    [
        "/api/other",
        "/admin%2f..%2fapi/x",
        "/api/x/",
        "/api/x#frag",
        "//evil.com/api/x",
        "api/x",
        "x:/api/x",
        "*",
        "",
        "http://evil.com",
        "/api/%",
    ],
)
def test_raw_target_of_another_request_does_not_count(raw: str) -> None:
    # B7.2
    assert request_target(raw, "", "/api/x") == "/api/x"


@pytest.mark.parametrize("info", ["/api/\xff", "/api/caf\u00e9", "/api/\xed\xa0\x80"])
def test_path_info_that_is_no_utf8_is_refused(info: str) -> None:
    with pytest.raises(BadPath):
        clean_path(request_target(None, "", info), prefix=PREFIX)


@given(st.none() | st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_any_target_leads_to_the_routed_path_or_a_refusal(raw: str | None, info: str) -> None:
    try:
        target = request_target(raw, "", info)
    except BadPath:
        return
    assert unquote_to_bytes(target.encode("latin-1")) == info.encode("latin-1")


def test_wsgi_strings_are_utf8_in_disguise() -> None:
    assert wsgi_decoded("caf\u00c3\u00a9") == "caf\u00e9"
    assert wsgi_decoded("caf\u00e9") == "caf\ufffd"


@pytest.mark.parametrize(
    ("path", "parts"),
    [("", ()), ("/", ()), ("/a", ("a",)), ("/a/b/", ("a", "b")), ("//a//b//", ("a", "b")), ("a b", ("a b",))],
)
def test_empty_segments_do_not_count(path: str, parts: tuple[str, ...]) -> None:
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("path", "under"),
    [
        ("/api", True),
        ("/api/", True),
        ("/api/x", True),
        ("/apidocs", False),
        ("/api-x", False),
        ("/api.x", False),
        ("/", False),
        ("", False),
        ("/x/api", False),
        ("/API/x", False),
    ],
)
def test_prefix_ends_at_a_segment(path: str, under: bool) -> None:
    # A11
    assert is_under(path, PREFIX) is under


# next

EVIL = [
    "evil.com",
    "evil.com/",
    "evil.com/x",
    "@evil.com",
    "app.example@evil.com",
    "app.example.evil.com",
    "[::1]",
]
SLASHES = [
    "//",
    "///",
    "////",
    "\\\\",
    "/\\",
    "\\/",
    "/\\/",
    "//\\",
    "/\t/",
    "/\n/",
    "/\r\n/",
    "\t//",
    " //",
    "/%2f",
    "/%5c",
]
SLASHES += [
    "/%2f/",
    "/%252f",
    "/%25252f",
    "/%5c/",
    "/%255c",
    "/.//",
    "/..//",
    "/./%2f",
    "/%2e%2e//",
    "/x//",
    "/x/..//",
    "/%09/",
]
SCHEMES = [
    "https:",
    "http:",
    "HtTpS:",
    "https:/",
    "https://",
    "https:///",
    "https:\\\\",
    "https:\\/",
    "ht\ntps://",
    " https://",
]
SCHEMES += [
    "ws://",
    "ftp://",
    "file:///",
    "gopher://",
    "x-other://",
    "https:/\t/",
    "//https://",
    "/https:\\\\",
    "\x01https://",
]
SCRIPTS = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\nscript:x",
    "\tjavascript:x",
    "javascript\t:x",
    "data:text/html,x",
]
SCRIPTS += [
    "vbscript:x",
    "blob:https://app/x",
    "a:b",
    "about:blank",
    "view-source:x",
    "mailto:x@y",
    "javascript://%0aalert(1)",
]
HOSTILE = [start + host for start, host in product([*SLASHES, *SCHEMES], EVIL)]
HOSTILE += [slashes + scheme + host for slashes, scheme, host in product(SLASHES[:12], SCHEMES[:6], EVIL[:3])]
HOSTILE += [start + script for start, script in product(["", "//", "/\\", "\\", " "], SCRIPTS)]
HOSTILE += [character + "//evil.com" for character in map(chr, range(33))]
HOSTILE += [
    "/" + character + "/evil.com"
    for character in (*map(chr, range(33)), "\x7f", "\u2028", "\u3000", "\ufeff", "\u00a0")
]
HOSTILE += ["/" + character + "evil.com" for character in "\uff0f\uff3c\u2215\u2044\u29f8\u3002\u2024"]

CORPUS = [
    "https://app.example@evil.com",
    "https://evil.com\\@app.example",
    "https://app.example.evil.com",
    "https://app.example:444/x",
    "http://app.example/x",
    "https://app.example./x",
    "https://app.example/x",
    "/ok%0d%0aSet-Cookie:x=1",
    "/ok\r\nX:y",
    "/ok%00",
    "/ok%250a",
    "/ok\x00",
    "/\ud800",
    "/caf\u00e9",
    "/a b",
    "/..",
    "/.",
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/%2e%2e/x",
    "/a/%2E%2E/x",
    "/a/%252e%252e/x",
    "/a//b",
    "/a/%2fb",
    "/a%2f%2fb",
    "/a\\b",
    "/a%5cb",
    "/a%255cb",
    "/<x>",
    '/"x"',
    "/{x}",
    "/x|y",
    "/x^y",
    "/x`y",
    "",
    "?x",
    "#x",
    "ok",
    "..",
    ".//evil",
    "./x",
    "/" + "x" * MAX_NEXT,
    "/" + "x" * 100_000,
]


def host_of(url: str) -> str:
    """Where a browser on https://app.example goes for ``url``, after the WHATWG URL standard: an origin, or "opaque"."""
    text = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(33)))))
    scheme, rest = "https", text
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", text, re.DOTALL):
        scheme, rest = found[1].lower(), found[2]
        if scheme not in ("http", "https", "ws", "wss", "ftp"):
            return "opaque"
        if scheme != "https" and not rest.startswith(("/", "\\")):
            rest = "//" + rest
    rest = rest.replace("\\", "/")
    if not rest.startswith("//"):
        return f"{scheme}://app.example"
    authority = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2].lower()}"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("/x", "https://app.example"),
        ("?x", "https://app.example"),
        ("//evil.com/x", "https://evil.com"),
        ("/\t/evil.com", "https://evil.com"),
        ("\\/evil.com", "https://evil.com"),
        ("https:\\\\app.example@evil.com", "https://evil.com"),
        ("javascript:x", "opaque"),
    ],
)
def test_the_judge_of_these_tests_knows_the_tricks(url: str, origin: str) -> None:
    assert host_of(url) == origin


def test_there_are_enough_hostile_targets() -> None:
    assert len(set(HOSTILE)) >= 652


def test_no_hostile_target_leaves_the_site() -> None:
    # B9.1
    accepted = [value for value in HOSTILE if local_target(value) is not None]
    offsite = [value for value in accepted if host_of(value) != "https://app.example"]
    assert offsite == []
    twice_decoded = [value for value in accepted if host_of(unquote(unquote(value))) != "https://app.example"]
    assert twice_decoded == []


def test_no_generated_trick_with_slashes_is_accepted() -> None:
    # B9.1: none of them is a plain path, so that none is worth keeping.
    tricks = [slashes + host for slashes, host in product(SLASHES, EVIL)]
    assert [value for value in tricks if local_target(value) is not None] == []


@pytest.mark.parametrize("value", CORPUS, ids=lambda value: ascii(value[:30]))
def test_corpus_of_bad_targets_is_refused(value: str) -> None:
    # CORPUS 4
    assert local_target(value) is None


@pytest.mark.parametrize("value", SCRIPTS, ids=ascii)
def test_scripts_are_refused(value: str) -> None:
    # CORPUS 4
    assert local_target(value) is None


@pytest.mark.parametrize(
    "value", [None, 1, True, b"/x", ["/x"], ("/x",), {"next": "/x"}, 1.5, object()], ids=repr
)
def test_only_text_is_a_target(value: object) -> None:
    # CORPUS 4
    assert local_target(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "/",
        "/x",
        "/x/",
        "/x/y.html",
        "/ok?u=//evil.com#f",
        "/a:b",
        "/@user",
        "/kaf%C3%A9?x=%2F%2F",
        "/a%20b",
        "/100%25",
        "/x?next=/y&z",
        "/x?a=..%2f..&b=\\".replace("\\", "%5C"),
        "/x?../..",
        "/x#//y",
        "/...",
        "/a..b",
        "/~ann/(1);v=2,3!$&'*+=[]",
        "/" + "x" * (MAX_NEXT - 1),
    ],
    ids=lambda value: value[:30],
)
def test_good_targets_are_kept_exactly(value: str) -> None:
    # B9.1, CORPUS 4
    assert local_target(value) == value


@given(
    st.text()
    | st.text(st.sampled_from("/\\.:@?#%2f5ce0d9a \t\n\r;"))
    | st.from_regex(r"/[!-~]*", fullmatch=True)
)
def test_whatever_is_accepted_is_a_path_on_this_site(value: str) -> None:
    # B9.1
    target = local_target(value)
    if target is None:
        return
    assert target == value
    path = re.split(r"[?#]", target)[0]
    for _ in range(4):
        assert host_of(path) == "https://app.example"
        assert re.fullmatch(r"/(?![/\\]).*", path, re.DOTALL)
        assert "//" not in path
        assert not re.search(r"[\x00-\x1f\x7f\\]", path)
        assert not _shows_a_dot_segment(path)
        path = unquote(path)
    assert len(target) <= 2048
    assert target.isascii()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/x", "/x"),
        ("/x?y#z", "/x"),
        ("/x#z?y", "/x"),
        ("/a%20b?c", "/a b"),
        ("/kaf%C3%A9", "/kaf\u00e9"),
        ("/%6cogin?next=/x", "/login"),
        ("/", "/"),
    ],
)
def test_path_of_a_target_is_decoded(target: str, path: str) -> None:
    # B9.1: LOGIN_URL and NEXT_DENY are compared with it.
    assert target_path(target) == path


# B1.4, B9.1
@pytest.mark.parametrize(
    ("url", "path", "same"),
    [
        ("/login", "/login", True),
        ("/login", "/login/", True),
        ("/login?x=1#form", "/login", True),
        ("/giri%C5%9F", "/giri\u015f", True),
        ("/", "/", True),
        ("/login", "/login2", False),
        ("/login", "/", False),
    ],
)
def test_a_slash_a_query_and_an_encoding_make_no_other_page(url: str, path: str, same: bool) -> None:
    assert same_page(url, path) is same


@on_both_servers
@pytest.mark.parametrize("raw", ["/api/;x", "/api/a/;/b", "/api/a/;v=1", "/api/a/%3bx"])
def test_segments_of_parameters_alone_are_refused(serve: Serve, raw: str) -> None:
    # B7.2: without its parameters it is an empty segment
    with pytest.raises(BadPath, match="empty segment"):
        serve(raw)


@on_both_servers
@pytest.mark.parametrize(
    "raw",
    [
        "/api/%ef%bc%852e%ef%bc%852e/admin",
        "/api/a%ef%bc%852fb",
        "/api/a%ef%bc%855cb",
        "/api/%ef%bc%85252e",
        "/api/..%ef%bc%9bx",
    ],
)
def test_what_normalises_to_an_encoding_is_refused(serve: Serve, raw: str) -> None:
    # B7.2: a full-width percent sign or semicolon, for servers that normalise before they decode
    with pytest.raises(BadPath):
        serve(raw)
