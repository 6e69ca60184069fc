from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, OKPKey

from flask_api_layer.jwt import StaticKeys

from .signing import (
    ABSENT,
    ATTACKER,
    CLAIMS,
    CURVES,
    ED25519,
    GOOD,
    RSA,
    SECRET,
    UNUSABLE,
    VERIFIER,
    encoded,
    make_verifier,
    public,
    sign,
)

KIDS = ["2", "../../dev/null", "' OR 1=1 --", "", "x" * 10_000]


@pytest.mark.parametrize("kid", KIDS)
def test_kid_must_match_where_the_key_has_one(kid: str) -> None:
    verifier = make_verifier(StaticKeys(public(RSA, kid="1")))
    assert verifier.verify(sign(CLAIMS, header={"kid": kid})) is None
    assert verifier.verify(sign(CLAIMS, header={"kid": "1"}))
    assert verifier.verify(GOOD)


def test_nameless_key_goes_by_every_name() -> None:
    # A PEM has no name, and many providers put one into every token.
    assert VERIFIER.verify(sign(CLAIMS, header={"kid": "2027-01"}))


def test_several_keys_need_a_name() -> None:
    verifier = make_verifier(
        StaticKeys({"keys": [public(RSA, kid="1"), public(ATTACKER, kid="2"), public(ATTACKER)]})
    )
    assert verifier.verify(sign(CLAIMS, header={"kid": "1"}))
    assert verifier.verify(sign(CLAIMS, header={"kid": "2"}, key=ATTACKER))
    assert verifier.verify(sign(CLAIMS, header={"kid": "2"})) is None
    for kid in (ABSENT, "3", *KIDS[1:]):
        assert verifier.verify(sign(CLAIMS, header={"kid": kid})) is None
        assert verifier.verify(sign(CLAIMS, header={"kid": kid}, key=ATTACKER)) is None


def test_keys_of_different_kinds_may_share_a_name() -> None:
    curve = CURVES["P-256"]
    keys = StaticKeys({"keys": [public(RSA, kid="1"), public(curve, kid="1")]})
    verifier = make_verifier(keys, algorithms=("RS256", "ES256"))
    assert verifier.verify(sign(CLAIMS, header={"kid": "1"}))
    assert verifier.verify(sign(CLAIMS, header={"kid": "1"}, key=curve, sign_as="ES256"))


@pytest.mark.parametrize("parameters", UNUSABLE)
def test_keys_that_are_not_for_signatures(parameters: dict[str, Any]) -> None:
    jwk = {**public(RSA), **parameters}
    with pytest.raises(ValueError, match=r"^is ") as caught:
        StaticKeys(jwk)
    assert public(RSA)["n"][:20] not in str(caught.value)
    # In a set they are passed over; then the other is the only one, and needs no name.
    assert make_verifier(StaticKeys({"keys": [jwk, public(RSA)]})).verify(GOOD)


def test_algorithm_of_the_key_is_respected() -> None:
    verifier = make_verifier(StaticKeys(public(RSA, alg="PS256")), algorithms=("RS256", "PS256"))
    assert verifier.verify(GOOD) is None
    assert verifier.verify(sign(CLAIMS, sign_as="PS256"))


def _pem(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


BAD_KEYS: list[tuple[object, str]] = [
    (RSA.as_pem(private=True), "is a private key"),
    (RSA.as_dict(private=True), "is a private key"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "is a certificate"),
    (RSA.as_pem().decode().replace("\n", "\\n"), "line breaks"),
    (RSA.as_pem()[:200], "cannot be read"),
    (RSA.as_der(), "write it as PEM"),
    (base64.b64encode(RSA.as_der()).decode(), "write it as PEM"),
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "write it as PEM"),
    (_pem(rsa.generate_private_key(65537, 1024).public_key()), "too short"),
    (_pem(dsa.generate_private_key(1024).public_key()), "of a kind"),
    (_pem(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()), "of a kind"),
    (_pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "of a kind"),
    (OKPKey.generate_key("X25519").as_pem(), "of a kind"),
    (public(ECKey.generate_key("secp256k1")), "of a kind"),
    ("fifteen bytes..", "too short: 128 bits"),
    ({"kty": "oct", "k": encoded(b"fifteen bytes..")}, "too short: 128 bits"),
    ("", "empty"),
    (b"", "empty"),
    (None, "neither text nor a dict"),
    (5, "neither text nor a dict"),
    ([SECRET], "neither text nor a dict"),
    ("\ud800" * 20, "not UTF-8"),
    ("{" + SECRET, "begins like JSON"),
    ({}, "neither a JWK"),
    ({"n": "AAAA"}, "neither a JWK"),
    ({"keys": []}, "without keys"),
    ({"keys": SECRET}, "must be a list"),
    ({"keys": [SECRET]}, "must be a list"),
    ({"keys": [public(RSA), {"kty": "oct", "k": encoded(SECRET.encode())}]}, "beside public keys"),
]


@pytest.mark.parametrize(("key", "text"), BAD_KEYS)
def test_errors_name_what_is_wrong_with_a_key_and_not_the_key(key: object, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        StaticKeys(key)
    assert caught.value.__cause__ is None
    for part in (SECRET, "fifteen", "AAAA", "MII", public(RSA)["n"][:20]):
        assert part not in str(caught.value)


def test_repr_shows_no_key() -> None:
    assert repr(StaticKeys(SECRET)) == "StaticKeys(oct)"
    assert repr(StaticKeys({"keys": [public(RSA), public(ED25519)]})) == "StaticKeys(RSA, OKP)"


def test_a_key_is_not_even_tried_with_another_algorithm() -> None:
    keys = StaticKeys(public(RSA, alg="PS256"))
    assert keys.key_for({"alg": "RS256"}) is None
    assert keys.key_for({"alg": "PS256"}) is not None
