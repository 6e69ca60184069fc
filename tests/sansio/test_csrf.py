from __future__ import annotations

import hmac
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.csrf import (
    MAX_SHOWN,
    NEEDS_TOKEN,
    PASS,
    SKEW_SECONDS,
    TOKEN_SECONDS,
    Evidence,
    Mode,
    NeedsToken,
    Pass,
    Refused,
    Token,
    Verdict,
    comes_from_elsewhere,
    is_fresh,
    is_harmless,
    make_token,
    read_token,
    token_verdict,
    verdict,
)

KEY = b"k" * 32
OLD_KEY = b"o" * 32
NOW = 1_760_000_000.0
ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "f" * 32
OWN = "https://app.example"
EVIL = "https://evil.example"
TRUSTED = "https://pay.app.example"
MODES: tuple[Mode, ...] = ("both", "fetch_metadata", "double_submit", "off")
ENTRIES = tuple(f"/api/auth/{name}" for name in ("login", "register", "guest", "logout"))
ROWS = json.loads((Path(__file__).parent.parent / "corpus" / "csrf.json").read_text(encoding="utf-8"))


def made(*, key: bytes = KEY, id: str = ID, nonce: str = "n0", now: float = NOW) -> str:  # noqa: A002
    return make_token(key, id=id, nonce=nonce, now=now)


def read(text: object, *, now: float = NOW) -> Token | None:
    return read_token([KEY], text, now=now)


def flipped(text: str, at: int, character: str = "A") -> str:
    return text[:at] + (character if text[at] != character else "B") + text[at + 1 :]


def post(**headers: str | None) -> Evidence:
    return Evidence("POST", OWN, has_session=True, **headers)


def judged(
    evidence: Evidence,
    *,
    mode: Mode = "both",
    trusted: bool = True,
    is_entry: bool = False,
    is_api: bool = False,
) -> Verdict:
    origins = frozenset([TRUSTED]) if trusted else frozenset[str]()
    return verdict(evidence, mode=mode, trusted_origins=origins, is_entry=is_entry, is_api=is_api)


def why(evidence: Evidence, *, mode: Mode = "both", is_api: bool = False) -> str:
    found = judged(evidence, mode=mode, is_api=is_api)
    assert isinstance(found, Refused)
    assert found.code == "csrf_cross_site"
    return found.why


# The corpus


def corpus_token(name: str) -> object:
    """What stands where a token is looked for; None when nothing does."""
    match name:
        case "valid":
            return made()
        case "forged":
            return "a.b"
        case "other-session":
            return made(id=OTHER_ID)
        case "expired":
            return made(now=NOW - TOKEN_SECONDS - 1)
        case "future":
            return made(now=NOW + SKEW_SECONDS + 2)
        case "flipped":
            return flipped(made(), 40)
        case "wrong-version":
            return "2" + made()[1:]
        case "oversized":
            return "1" * 10_240
        case "non-ascii":
            return made() + "\xe9"
        case "empty":
            return ""
        case _:
            # In the query and in JSON nobody looks.
            assert name in ("none", "query", "json-list")
            return None


def header(row: dict[str, Any], name: str) -> str | None:
    value = row["headers"].get(name)
    return ",".join(value) if isinstance(value, list) else value


def corpus_answer(row: dict[str, Any]) -> str:
    """ "allow", or the problem code, put together as the request would."""
    path = row["path"].partition("?")[0]
    evidence = Evidence(
        row["method"],
        OWN,
        row["cookies"] != "none",
        header(row, "Sec-Fetch-Site"),
        header(row, "Sec-Fetch-Mode"),
        header(row, "Origin"),
        header(row, "Referer"),
    )
    found = verdict(
        evidence,
        mode=row.get("mode", "both"),
        trusted_origins=frozenset(row.get("trusted_origins", ())),
        is_entry=path in ENTRIES,
        is_api=path.startswith("/api/"),
    )
    if isinstance(found, NeedsToken):
        return corpus_token_answer(row) or "allow"
    return found.code if isinstance(found, Refused) else "allow"


def corpus_token_answer(row: dict[str, Any]) -> str | None:
    text, cookie = corpus_token(row["token"]), read(corpus_token(row.get("csrf_cookie", "valid")))
    session_id = ID if row["cookies"] in ("user", "guest") else None
    bound_to = session_id or (cookie.id if cookie else None)
    return token_verdict(read(text), text_present=bool(text), bound_to=bound_to)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS if not row.get("needs_app")])
def test_corpus(row: dict[str, Any]) -> None:
    # CORPUS 5
    assert corpus_answer(row) == row["expect"], row["rule"]


def test_corpus_rows_have_names_of_their_own() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS) > 150


# Tokens


def test_token_can_be_read_where_it_was_made() -> None:
    # B8.4
    assert read(made()) == Token(ID, int(NOW))


def test_token_is_safe_in_cookies_and_forms() -> None:
    # RFC 6265 4.1.1
    version, *parts = made().split(".")
    assert version == "1"
    assert parts[:3] == [ID, str(int(NOW)), "n0"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,250}", made(id="i" * 64, nonce="n" * 64))


def test_token_is_bound_to_its_purpose() -> None:
    # A MAC that another feature makes with the same key over the same text is none of ours.
    payload, _, mac = made().rpartition(".")
    assert mac != hmac.digest(KEY, payload.encode(), "sha256").hex()
    assert read(f"{payload}.{hmac.digest(KEY, payload.encode(), 'sha256').hex()}") is None


def test_same_parts_make_the_same_token_and_the_nonce_another() -> None:
    assert made() == made()
    assert made() != made(nonce="n1")


def test_older_key_still_reads() -> None:
    token = made(key=OLD_KEY)
    assert read_token([KEY, OLD_KEY], token, now=NOW) == Token(ID, int(NOW))
    assert read_token([KEY], token, now=NOW) is None
    assert read_token([], token, now=NOW) is None


@pytest.mark.parametrize(
    ("age", "readable"),
    [
        (0, True),
        (TOKEN_SECONDS, True),
        (TOKEN_SECONDS + 1, False),
        (-SKEW_SECONDS, True),
        (-SKEW_SECONDS - 1, False),
        (float("nan"), False),
    ],
)
def test_token_lives_twelve_hours(age: float, readable: bool) -> None:
    # B8.4
    assert TOKEN_SECONDS == 12 * 60 * 60
    assert (read(made(), now=NOW + age) is not None) is readable


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        b"1.a.b",
        7,
        [made()],
        {"csrf_token": made()},
        "a.b",
        "....",
        "x" * 10_240,
        made() + "x" * 10_240,
        made() + ".",
        made() + "\n",
        " " + made(),
        made().upper(),
        "2" + made()[1:],
        made().encode().decode("utf-16", "replace"),
        made().replace(".", "\uff0e"),
        made().replace("1", "\u0661"),
        made() + "\ud800",
        made().rpartition(".")[0] + ".",
        made().rpartition(".")[0],
        ",".join([made(), made()]),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_anything_else_is_no_token(text: object) -> None:
    # CORPUS 5
    assert read(text) is None


@pytest.mark.parametrize("id_", ["", "a.b", "a b", "\xe9", "\ud800", "a\n", "a;b", "i" * 65])
def test_odd_ids_and_nonces_are_unreadable(id_: str) -> None:
    assert read(made(id=id_)) is None
    assert read(made(nonce=id_)) is None


def test_parts_cannot_be_shifted() -> None:
    # One MAC over text that two sets of parts share would serve both.
    mac = made(id="a", nonce="b").rpartition(".")[2]
    assert read(f"1.a.{int(NOW)}.b.{mac}") is not None
    assert read(f"1.a.{int(NOW)}b..{mac}") is None


@given(st.data())
def test_a_changed_character_never_verifies(data: st.DataObject) -> None:
    # CORPUS 5, ancestor: a token whose value was tampered with
    token = made()
    at = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda drawn: drawn != token[at]))
    assert read(token[:at] + character + token[at + 1 :]) is None


@given(st.text())
def test_text_is_never_an_error(text: str) -> None:
    assert read(text) is None
    assert token_verdict(None, text_present=True, bound_to=text) == "csrf_token_invalid"
    assert token_verdict(Token(ID, 0), text_present=True, bound_to=text) == "csrf_token_invalid"


_ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(_ids, _ids)
def test_token_of_one_id_never_satisfies_another(one: str, other: str) -> None:
    # B8.4, ancestor F1
    token = read(made(id=one))
    assert token == Token(one, int(NOW))
    found = token_verdict(token, text_present=True, bound_to=other)
    assert found == (None if one == other else "csrf_token_invalid")


@pytest.mark.parametrize(
    ("token", "text_present", "bound_to", "problem"),
    [
        (Token(ID, 0), True, ID, None),
        (Token(ID, 0), True, OTHER_ID, "csrf_token_invalid"),
        (Token(ID, 0), True, None, "csrf_token_invalid"),
        (Token(ID, 0), True, ID.upper(), "csrf_token_invalid"),
        (None, True, ID, "csrf_token_invalid"),
        (None, True, None, "csrf_token_invalid"),
        (None, False, ID, "csrf_token_missing"),
        (Token(ID, 0), False, ID, "csrf_token_missing"),
        (None, False, None, "csrf_token_missing"),
    ],
)
def test_problem_with_a_token(
    token: Token | None, text_present: bool, bound_to: str | None, problem: str | None
) -> None:
    # B8.4
    assert token_verdict(token, text_present=text_present, bound_to=bound_to) == problem


@pytest.mark.parametrize(
    ("age", "fresh"), [(0, True), (-60, True), (6 * 3600 - 1, True), (6 * 3600, False), (13 * 3600, False)]
)
def test_token_is_handed_out_again_for_half_its_life(age: int, fresh: bool) -> None:
    # B8.4, ancestor F2
    assert is_fresh(Token(ID, int(NOW)), NOW + age) is fresh


# Who is checked


@pytest.mark.parametrize(
    ("has_session", "is_entry", "header_names", "checked"),
    [
        (True, False, (), True),
        (True, True, (), True),
        (False, False, (), False),
        (False, False, ("origin", "referer", "fetch_site"), False),
        (False, True, (), False),
        (False, True, ("fetch_mode",), False),
        (False, True, ("origin",), True),
        (False, True, ("referer",), True),
        (False, True, ("fetch_site",), True),
    ],
)
@pytest.mark.parametrize("mode", ["both", "double_submit", "fetch_metadata"])
@pytest.mark.parametrize("value", ["odd", ""])
def test_who_is_checked(
    has_session: bool, is_entry: bool, header_names: tuple[str, ...], checked: bool, mode: Mode, value: str
) -> None:
    # B8.1
    evidence = Evidence("POST", OWN, has_session, **dict.fromkeys(header_names, value))
    assert (judged(evidence, mode=mode, is_entry=is_entry) != PASS) is checked


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "get", "Head", "oPTIONS"])
def test_reading_pages_is_not_checked(method: str) -> None:
    # B8.1
    assert judged(replace(post(fetch_site="cross-site"), method=method)) == PASS


@pytest.mark.parametrize(
    "method", ["", "post", "PATCH", "TRACE", "CONNECT", "FOO", "GET ", "GET,POST", "QUERY"]
)
def test_every_other_method_is_checked(method: str) -> None:
    # B8.1, CORPUS 5
    assert isinstance(judged(replace(post(fetch_site="cross-site"), method=method)), Refused)


def test_off_is_off() -> None:
    assert judged(post(fetch_site="cross-site", origin=EVIL), mode="off") == PASS


# Where both origins and the rule are named


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ({"fetch_site": "cross-site"}, ["Sec-Fetch-Site is 'cross-site'", "an origin that it does not name"]),
        ({"fetch_site": "same-site"}, ["Sec-Fetch-Site is 'same-site'", "CSRF_TRUSTED_ORIGINS"]),
        ({"fetch_site": ""}, ["Sec-Fetch-Site is ''"]),
        ({"origin": EVIL}, ["the Origin is neither", f"'{EVIL}'"]),
        ({"origin": ""}, ["the Origin is neither", "comes from ''"]),
        ({"origin": "null"}, ["the Origin is neither", "'null'"]),
        ({"referer": EVIL + "/secret?token=1"}, ["the Referer is neither", f"'{EVIL}'"]),
        ({"referer": "about:blank"}, ["the Referer is neither", "an origin that it does not name"]),
    ],
)
def test_refusal_names_the_rule_and_both_origins(headers: dict[str, str], names: list[str]) -> None:
    # B8.3
    told = why(post(**headers))
    assert f"this app is '{OWN}'" in told
    assert all(name in told for name in names)
    assert "ProxyFix" not in told
    assert "secret" not in told


def test_refusals_without_tokens_say_so() -> None:
    assert "which has no tokens" in why(post(), mode="fetch_metadata")
    assert "Origin and Referer are absent" in why(post(), mode="fetch_metadata")
    assert "which has no tokens" in why(post(fetch_site="none"), mode="fetch_metadata")


def test_refused_reading_names_both_headers() -> None:
    # B8.6
    evidence = Evidence("GET", OWN, has_session=True, fetch_site="cross-site", fetch_mode="no-cors")
    assert "'cross-site' and Sec-Fetch-Mode is 'no-cors'" in why(evidence, is_api=True)
    assert "Sec-Fetch-Mode is absent" in why(replace(evidence, fetch_mode=None), is_api=True)


@pytest.mark.parametrize(
    ("own", "headers", "named"),
    [
        ("http://app.example", {"origin": OWN}, True),
        ("http://app.example", {"referer": OWN + "/a"}, True),
        ("http://app.example:80", {"origin": OWN}, True),
        ("http://APP.example", {"origin": OWN}, True),
        (OWN, {"origin": "http://app.example"}, True),
        ("http://app.example:8000", {"origin": OWN}, False),
        ("http://other.example", {"origin": OWN}, False),
        ("http://app.example", {"origin": "null"}, False),
        ("http://app.example", {"referer": "/a"}, False),
        ("app.example", {"origin": OWN}, False),
        ("", {"origin": ""}, False),
    ],
)
def test_proxy_fix_is_named_when_only_the_scheme_differs(
    own: str, headers: dict[str, str], named: bool
) -> None:
    # B8.3
    assert ("ProxyFix is missing" in why(replace(post(**headers), own_origin=own))) is named


@pytest.mark.parametrize(
    ("own", "headers"),
    [
        ("https://APP.example", {"origin": OWN}),
        ("https://app.example:443", {"origin": OWN}),
        ("https://app.example:443", {"referer": "https://APP.EXAMPLE/"}),
        ("http://localhost:80", {"origin": "http://localhost"}),
        ("http://localhost:443", {"origin": "http://localhost:443"}),
        ("http://127.0.0.1:5000", {"referer": "http://127.0.0.1:5000/?a"}),
        ("http://[::1]:5000", {"origin": "http://[::1]:5000"}),
        ("http://web_1:5000", {"referer": "http://web_1:5000#a"}),
    ],
)
def test_own_origin_as_browsers_write_it(own: str, headers: dict[str, str]) -> None:
    # B8.3
    evidence = replace(post(**headers), own_origin=own)
    assert judged(evidence) == NEEDS_TOKEN
    assert judged(evidence, mode="fetch_metadata") == PASS


@pytest.mark.parametrize(
    "value", [f"{EVIL}\r\nlevel=INFO", "\x1b[2J\x00", "\u2028\ud800\xe9", "x" * 9000, "'" * 300]
)
def test_refusal_forges_no_log_line(value: str) -> None:
    told = why(Evidence("POST", value, True, origin=value)) + why(post(fetch_site=value))
    assert told.count("'") == 2 * 4
    assert told.isascii()
    assert told.isprintable()
    assert all(len(quoted) <= MAX_SHOWN for quoted in re.findall(r"'([^']*)'", told))
    assert len(told) < 2 * MAX_SHOWN * 2 + 500


@pytest.mark.parametrize(
    "own", ["", "app.example", "https://", "https://app.example@evil", "ftp://app.example"]
)
@pytest.mark.parametrize("headers", [{"referer": "about:blank"}, {"origin": ""}, {"origin": OWN}])
def test_app_without_a_readable_origin_equals_none(own: str, headers: dict[str, str]) -> None:
    assert isinstance(judged(replace(post(**headers), own_origin=own)), Refused)


# Laws

_sites = st.none() | st.sampled_from(["same-origin", "same-site", "cross-site", "none", ""]) | st.text()
_origins = (
    st.none() | st.sampled_from([OWN, EVIL, TRUSTED, "null", OWN + "/a", TRUSTED + "/", ""]) | st.text()
)
_methods = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]) | st.text()
_evidence = st.builds(
    Evidence,
    method=_methods,
    own_origin=st.sampled_from([OWN, "http://app.example"]) | st.text(),
    has_session=st.booleans(),
    fetch_site=_sites,
    fetch_mode=st.none() | st.sampled_from(["navigate", "cors", "no-cors"]) | st.text(),
    origin=_origins,
    referer=_origins,
)
_checking = st.sampled_from(["both", "fetch_metadata"])
_modes = st.sampled_from(MODES)


@given(_evidence, _modes, st.booleans(), st.booleans(), st.booleans())
def test_every_request_has_a_verdict(
    evidence: Evidence, mode: Mode, trusted: bool, is_entry: bool, is_api: bool
) -> None:
    found = judged(evidence, mode=mode, trusted=trusted, is_entry=is_entry, is_api=is_api)
    assert isinstance(found, Pass | NeedsToken | Refused)
    if isinstance(found, Refused):
        assert found.why.isascii()
        assert found.why.isprintable()


@given(_evidence, _checking, st.booleans(), st.booleans())
def test_cross_site_never_writes(evidence: Evidence, mode: Mode, is_entry: bool, is_api: bool) -> None:
    # B8.2
    foreign = replace(evidence, fetch_site="cross-site", method="POST", has_session=True)
    assert isinstance(judged(foreign, mode=mode, is_entry=is_entry, is_api=is_api), Refused)
    stranger = replace(foreign, has_session=False)
    assert isinstance(judged(stranger, mode=mode, is_entry=True, is_api=is_api), Refused)


@given(_evidence, _modes, st.booleans(), st.booleans())
def test_letter_case_of_the_method_changes_nothing(
    evidence: Evidence, mode: Mode, is_entry: bool, is_api: bool
) -> None:
    # B8.1
    cases = [
        evidence,
        *(replace(evidence, method=case(evidence.method)) for case in (str.upper, str.swapcase)),
    ]
    ascii_only = cases if evidence.method.isascii() else cases[:2]
    found = [judged(case, mode=mode, is_entry=is_entry, is_api=is_api) for case in ascii_only]
    assert found == [found[0]] * len(found)


@given(_evidence, _checking, st.booleans())
def test_only_our_own_and_trusted_origins_write_without_fetch_metadata(
    evidence: Evidence, mode: Mode, trusted: bool
) -> None:
    # B8.3
    old = replace(evidence, method="POST", has_session=True, fetch_site=None, own_origin=OWN)
    found = judged(old, mode=mode, trusted=trusted)
    if old.is_from_browser and not isinstance(found, Refused):
        assert old.source in ([OWN, TRUSTED] if trusted else [OWN])


@given(_evidence, st.booleans(), st.booleans())
def test_fetch_metadata_alone_asks_for_no_token(evidence: Evidence, is_entry: bool, is_api: bool) -> None:
    assert judged(evidence, mode="fetch_metadata", is_entry=is_entry, is_api=is_api) != NEEDS_TOKEN


@given(_evidence, st.booleans(), st.booleans())
def test_double_submit_alone_looks_at_no_metadata(evidence: Evidence, is_entry: bool, is_api: bool) -> None:
    found = judged(evidence, mode="double_submit", is_entry=is_entry, is_api=is_api)
    assert not isinstance(found, Refused)
    assert (
        evidence.method.upper() in ("GET", "HEAD", "OPTIONS")
        or not evidence.has_session
        or found == NEEDS_TOKEN
    )


@given(_evidence, _modes, st.booleans(), st.booleans())
def test_trust_only_ever_opens(evidence: Evidence, mode: Mode, is_entry: bool, is_api: bool) -> None:
    without = judged(evidence, mode=mode, trusted=False, is_entry=is_entry, is_api=is_api)
    if not isinstance(without, Refused):
        assert judged(evidence, mode=mode, trusted=True, is_entry=is_entry, is_api=is_api) == without


# B5.1, B8.1: a guest that is made for a foreign page would replace the visitor's own
@pytest.mark.parametrize(
    ("method", "mode", "given", "elsewhere"),
    [
        ("POST", "both", {"fetch_site": "cross-site"}, True),
        ("POST", "double_submit", {"fetch_site": "cross-site"}, True),
        ("post", "both", {"fetch_site": "same-site", "origin": "https://evil.app.example"}, True),
        ("POST", "both", {"origin": "https://evil.example"}, True),
        ("POST", "both", {"referer": "https://evil.example/page"}, True),
        ("POST", "off", {"fetch_site": "cross-site"}, False),
        ("GET", "both", {"fetch_site": "cross-site"}, False),
        ("POST", "both", {}, False),
        ("POST", "both", {"fetch_site": "same-origin"}, False),
        ("POST", "both", {"origin": "https://app.example"}, False),
        ("POST", "both", {"fetch_site": "same-site", "origin": "https://admin.example"}, False),
    ],
)
def test_a_change_from_elsewhere_is_known_without_any_cookie(
    method: str, mode: Mode, given: dict[str, str], elsewhere: bool
) -> None:
    evidence = Evidence(method=method, own_origin="https://app.example", has_session=False, **given)
    trusted = frozenset(["https://admin.example"])
    assert comes_from_elsewhere(evidence, mode=mode, trusted_origins=trusted) is elsewhere


# B8.1, B8.6: the shortcut says nothing that the verdict does not
@given(_methods, _sites, st.booleans(), _modes)
def test_what_is_harmless_passes(method: str, fetch_site: str | None, is_api: bool, mode: Mode) -> None:
    if not is_harmless(method, fetch_site):
        return
    evidence = Evidence(
        method=method, own_origin="https://app.example", has_session=True, fetch_site=fetch_site
    )
    found = verdict(evidence, mode=mode, trusted_origins=frozenset(), is_entry=True, is_api=is_api)
    assert isinstance(found, Pass)


@pytest.mark.parametrize(
    ("method", "fetch_site", "harmless"),
    [
        ("GET", None, True),
        ("HEAD", "none", True),
        ("GET", "cross-site", False),
        ("POST", None, False),
        ("get", None, False),
    ],
)
def test_reading_without_a_foreign_page_is_harmless(
    method: str, fetch_site: str | None, harmless: bool
) -> None:
    assert is_harmless(method, fetch_site) is harmless
