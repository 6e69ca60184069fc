"""CSRF: a token counts only if the key made it for that id, and no foreign page's write ever passes."""

from __future__ import annotations

import re

from flask_api_layer.sansio.csrf import (
    TOKEN_SECONDS,
    Evidence,
    Mode,
    NeedsToken,
    Pass,
    Refused,
    Token,
    make_token,
    read_token,
    token_verdict,
    verdict,
)

from ..browsers import Place, follow
from ..feed import Feed, as_text

NOW = 1_800_000_000
KEYS = (b"the current key, which is no secret", b"the key before it, which is none either")
MADE = {make_token(key, id="s-1", nonce="n", now=NOW): Token("s-1", NOW) for key in KEYS}
OWN, TRUSTED = "https://shop.example", frozenset(["https://pay.example:8443"])
_OWN_PLACES = [Place("https", "shop.example", "443", "/"), Place("https", "pay.example", "8443", "/")]
_MODES: tuple[Mode, ...] = ("both", "fetch_metadata", "double_submit", "off")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check(data: bytes) -> None:
    feed = Feed(data)
    feed.choose((_check_verdict, _check_any_token, _check_edited_token, _check_made_token))(feed)


def _check_reads_only_ours(text: str) -> None:
    token = read_token(KEYS, text, now=NOW)
    assert token == MADE.get(text), "a token that nobody made"
    assert read_token((), text, now=NOW) is None
    assert read_token(KEYS, text, now=NOW + TOKEN_SECONDS + 1) is None, "it lives too long"
    for bound_to in ("s-2", "", None, text):
        assert token_verdict(token, text_present=True, bound_to=bound_to) == "csrf_token_invalid"
    assert token_verdict(token, text_present=False, bound_to="s-1") == "csrf_token_missing"
    assert (token_verdict(token, text_present=True, bound_to="s-1") is None) == (text in MADE)


def _check_any_token(feed: Feed) -> None:
    _check_reads_only_ours(feed.text())


def _check_edited_token(feed: Feed) -> None:
    _check_reads_only_ours(feed.edit(feed.choose([*MADE])))


def _check_made_token(feed: Feed) -> None:
    """Made for any id, as an identity provider or an older version might name it."""
    id_, nonce = as_text(feed.line() or b""), feed.text()
    text = make_token(KEYS[0], id=id_, nonce=nonce, now=NOW)
    readable = all(_PLAIN.fullmatch(part) for part in (id_, nonce))
    assert read_token(KEYS, text, now=NOW) == (Token(id_, NOW) if readable else None)
    assert read_token(KEYS[1:], text, now=NOW) is None, "another key made it"


def _check_verdict(feed: Feed) -> None:
    mode, has_session = feed.choose(_MODES), feed.choose((True, False))
    is_entry, is_api = feed.choose((True, False)), feed.choose((True, False))
    evidence = Evidence(
        method=feed.text_line() or "POST",
        own_origin=OWN,
        has_session=has_session,
        fetch_site=feed.text_line(),
        fetch_mode=feed.text_line(),
        origin=feed.text_line(),
        referer=feed.text_line(),
    )
    found = verdict(evidence, mode=mode, trusted_origins=TRUSTED, is_entry=is_entry, is_api=is_api)
    if isinstance(found, Refused):
        assert found.why.isascii()
        assert found.why.isprintable(), "it forges a log line"
    if mode == "off":
        assert found == Pass()
    elif evidence.method.upper() not in ("GET", "HEAD", "OPTIONS"):
        if has_session or (is_entry and evidence.is_from_browser):
            _check_writing(evidence, mode, found)
    elif is_api and evidence.method.upper() != "OPTIONS" and mode != "double_submit":
        _check_reading(evidence, found)


def _check_writing(evidence: Evidence, mode: Mode, found: Pass | NeedsToken | Refused) -> None:
    if mode == "double_submit":
        assert found == NeedsToken()
        return
    match evidence.fetch_site:
        case "same-origin":
            assert found == Pass()
        case "same-site":
            assert isinstance(found, Pass if evidence.origin in TRUSTED else Refused)
        case "none":
            assert isinstance(found, NeedsToken if mode == "both" else Refused)
        case None if evidence.is_from_browser:
            assert isinstance(found, Refused) or _comes_from_us(evidence), "a foreign page writes"
            assert mode == "fetch_metadata" or found != Pass(), "without a token"
        case None:
            assert isinstance(found, NeedsToken if mode == "both" else Refused)
        case _:
            assert isinstance(found, Refused), "a foreign page writes"


def _check_reading(evidence: Evidence, found: Pass | NeedsToken | Refused) -> None:
    if evidence.fetch_site in (None, "same-origin", "none") or evidence.fetch_mode == "navigate":
        assert found == Pass()
    elif found == Pass():
        assert evidence.fetch_site == "same-site"
        assert _comes_from_us(evidence), "a foreign page reads"


def _comes_from_us(evidence: Evidence) -> bool:
    """By what a browser would make of the URL that names the source."""
    if evidence.origin is not None:
        return evidence.origin == OWN or evidence.origin in TRUSTED
    elsewhere = Place("https", "elsewhere.example", "443", "/")
    place = follow(evidence.referer or "", elsewhere)
    return place.origin in [ours.origin for ours in _OWN_PLACES]
