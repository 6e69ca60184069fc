"""Tokens and keys made on the spot, for tests of their verification."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from flask_api_layer.jwt import KeySource, StaticKeys, Verifier

NOW = 1_800_000_000
SECRET = "a secret that backend and frontend share"  # 40 bytes
RSA = RSAKey.generate_key(2048)
ATTACKER = RSAKey.generate_key(2048)
SHARED = OctKey.import_key(SECRET)
ED25519 = OKPKey.generate_key("Ed25519")
CURVES = {name: ECKey.generate_key(name) for name in ("P-256", "P-384", "P-521")}
CLAIMS: dict[str, Any] = {"sub": "7", "exp": NOW + 600, "iss": "https://id.example.com", "aud": "shop"}
MODELS = {model.name: model for model in JWS_ALGORITHMS}
SIGNERS: dict[str, Key] = {
    **{f"HS{bits}": SHARED for bits in (256, 384, 512)},
    **{f"{family}{bits}": RSA for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": CURVES["P-256"],
    "ES384": CURVES["P-384"],
    "ES512": CURVES["P-521"],
    "EdDSA": ED25519,
    "Ed25519": ED25519,
}
ABSENT = object()


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(value: object) -> bytes:
    if isinstance(value, dict):
        value = {name: member for name, member in value.items() if member is not ABSENT}
    return json.dumps(value).encode()


def sign(
    claims: object, *, header: Mapping[str, Any] | None = None, key: Key = RSA, sign_as: str = "RS256"
) -> str:
    """A token with these claims (bytes: as they are) and these header parameters, rightly signed whatever they say."""
    head = {"alg": sign_as, "typ": "JWT", **(header or {})}
    signed = f"{encoded(_json(head))}.{encoded(claims if isinstance(claims, bytes) else _json(claims))}"
    return f"{signed}.{encoded(MODELS[sign_as].sign(signed.encode(), key))}"


def public(key: RSAKey | ECKey | OKPKey, **parameters: Any) -> dict[str, Any]:
    return dict(key.as_dict(private=False, **parameters))


def make_verifier(
    keys: KeySource | None = None,
    *,
    algorithms: tuple[str, ...] = ("RS256",),
    issuer: str | None = "https://id.example.com",
    audience: tuple[str, ...] | None = ("shop", "api"),
    leeway: float = 30.0,
) -> Verifier:
    return Verifier(
        keys or StaticKeys(RSA.as_pem()),
        algorithms=algorithms,
        issuer=issuer,
        audience=audience,
        leeway=leeway,
        clock=lambda: NOW,
    )


VERIFIER = make_verifier()
GOOD = sign(CLAIMS)

# What makes an RSA key in a JWK Set none that checks RS256.
UNUSABLE: list[dict[str, Any]] = [
    {"use": "enc"},
    {"use": "other"},
    {"use": 1},
    {"key_ops": ["sign"]},
    {"key_ops": []},
    {"key_ops": "verify"},
    {"alg": "RSA-OAEP"},
    {"alg": "none"},
    {"alg": ["RS256"]},
    {"kty": "oct"},
    {"kty": "PQ"},
    {"kty": None},
    {"n": 5},
    {"n": "+/"},
    {"n": public(RSA)["n"][:100]},
    {"e": ""},
    {"kid": 1},
    {"d": "AAAA"},
]
