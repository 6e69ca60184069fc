"""Local verification: claims come only from a token that was signed, to the last character."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flask_api_layer.jwt import StaticKeys, Verifier

from ..feed import Feed

NOW = 1_800_000_000
LEEWAY = 30
SECRET = b"thirty-two bytes, not a secret!!"
CLAIMS = {"sub": "7", "exp": NOW + 600, "iss": "https://id.example", "aud": "shop"}


def _rsa_key() -> rsa.RSAPrivateKey:
    """A key without secrets, the same in every run: its factors are Mersenne primes."""
    p, q, e = 2**2203 - 1, 2**607 - 1, 65_537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


RSA = _rsa_key()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _verifier(key: bytes, algorithm: str) -> Verifier:
    return Verifier(
        StaticKeys(key),
        algorithms=(algorithm,),
        issuer="https://id.example",
        audience=("shop",),
        leeway=LEEWAY,
        clock=lambda: NOW,
    )


SHARED, PUBLIC = _verifier(SECRET, "HS256"), _verifier(PEM, "RS256")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signed(header: bytes, payload: bytes, key: bytes = SECRET) -> str:
    text = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{text}.{_encoded(hmac.digest(key, text.encode(), 'sha256'))}"


def _signed_rsa(header: bytes, payload: bytes) -> str:
    text = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{text}.{_encoded(RSA.sign(text.encode(), PKCS1v15(), SHA256()))}"


_PAYLOAD = json.dumps(CLAIMS).encode()
HS_HEAD, RS_HEAD = b'{"alg":"HS256","typ":"JWT"}', b'{"alg":"RS256","typ":"JWT"}'
GOOD = {SHARED: _signed(HS_HEAD, _PAYLOAD), PUBLIC: _signed_rsa(RS_HEAD, _PAYLOAD)}


def check(data: bytes) -> None:
    feed = Feed(data)
    feed.choose((_check_any_text, _check_edited, _check_part, _check_header, _check_claims, _check_stranger))(
        feed
    )


def _check_only_good(text: str) -> None:
    for verifier, good in GOOD.items():
        expected = CLAIMS if text == good else None
        assert verifier.verify(text) == expected, "claims from a token that nobody signed"


def _check_any_text(feed: Feed) -> None:
    _check_only_good(feed.text())


def _check_edited(feed: Feed) -> None:
    _check_only_good(feed.edit(feed.choose([*GOOD.values()])))


def _check_part(feed: Feed) -> None:
    """One of the three parts replaced, the others as they were signed."""
    parts = feed.choose([*GOOD.values()]).split(".")
    parts[feed.number() % 3] = _encoded(feed.rest())
    _check_only_good(".".join(parts))


def _check_header(feed: Feed) -> None:
    """Rightly signed with a header that says anything; with a public key as the secret (CVE-2016-10555) it is never right."""
    key = feed.choose((SECRET, PEM, b""))
    token = _signed(feed.rest(), _PAYLOAD, key)
    assert SHARED.verify(token) in ([None, CLAIMS] if key == SECRET else [None])
    assert PUBLIC.verify(token) is None, "algorithm confusion"


def _check_claims(feed: Feed) -> None:
    """Rightly signed with a payload that says anything."""
    payload = feed.rest()
    claims = SHARED.verify(_signed(HS_HEAD, payload))
    if claims is not None:
        assert claims == json.loads(payload)
        _check_admissible(claims)


def _check_admissible(claims: Mapping[str, Any]) -> None:
    assert type(claims["exp"]) in (int, float)
    assert claims["exp"] > NOW - LEEWAY, "expired"
    assert max(claims.get("nbf", 0), claims.get("iat", 0)) <= NOW + LEEWAY, "not yet valid"
    assert claims["iss"] == "https://id.example"
    assert claims["aud"] == "shop" or "shop" in list(claims["aud"]), "for somebody else"
    assert str(claims.get("token_use")).lower() not in ("id", "refresh"), "no access token"


def _check_stranger(feed: Feed) -> None:
    """Signed by somebody else."""
    key, payload = feed.take(16), feed.rest() or _PAYLOAD
    assert SHARED.verify(_signed(HS_HEAD, payload, key)) is None
