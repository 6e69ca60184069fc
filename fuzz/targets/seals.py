"""Sealed cookies: nothing opens but what was sealed, for the name that it was sealed for."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flask_api_layer.sansio.session import Session
from flask_api_layer.sessions import CookieSeal, Sealer, derive, pack, unpack

from ..feed import Feed, as_text

_KEYS = (b"the current key, which is no secret", b"the key before it, which is none either")
NAME = "__Host-Http-api-user"
SESSION = Session("user", "s-1", "access", "refresh", 2e9, None, 1.0, 2.0, 3.0)
SEALER = Sealer(_KEYS)
STRANGER = CookieSeal(Sealer([b"somebody else's key"]))


def _sealed(value: bytes, key: bytes) -> str:
    """As Sealer.seal() does it, but the same in every run: a find must be found again."""
    nonce = bytes(12)
    raw = nonce + AESGCM(derive(key, "seal")).encrypt(nonce, value, f"{NAME}|v1".encode())
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


SEALED = [_sealed(pack(SESSION), key) for key in _KEYS]


def check(data: bytes) -> None:
    feed = Feed(data)
    feed.choose((_check_any_text, _check_edited, _check_flipped, _check_unpack, _check_round_trip))(feed)


def _check_opens_only(text: str) -> None:
    # A new one each time, so that nothing is remembered.
    seal = CookieSeal(SEALER)
    expected = SESSION if text in SEALED else None
    assert seal.open(text, NAME) == expected, "the cookie of another"
    assert (SEALER.open(text, NAME) is not None) == (text in SEALED)
    for name in ("__Host-Http-api-guest", "api-user", "ledger", ""):
        assert seal.open(text, name) is None, f"opens as {name!r}"
    assert STRANGER.open(text, NAME) is None, "opens with another key"


def _check_any_text(feed: Feed) -> None:
    _check_opens_only(feed.text())


def _check_edited(feed: Feed) -> None:
    _check_opens_only(feed.edit(feed.choose(SEALED)))


def _check_flipped(feed: Feed) -> None:
    """The mask laid over the sealed bytes, spelled as we spell."""
    sealed = feed.choose(SEALED)
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    start = feed.number()
    for at, mask in enumerate(feed.rest(), start):
        raw[at % len(raw)] ^= mask
    _check_opens_only(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def _check_unpack(feed: Feed) -> None:
    session = unpack(feed.rest())
    assert session is None or isinstance(session, Session)


def _check_round_trip(feed: Feed) -> None:
    access, refresh = as_text(feed.line() or b""), feed.text_line()
    session = Session("guest", feed.text()[:64], access, refresh, started_at=float(feed.number()))
    assert unpack(pack(session)) == session
