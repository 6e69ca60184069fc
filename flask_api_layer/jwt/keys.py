"""The keys that tokens are checked with, read from PEM, JWK (RFC 7517) or a shared secret."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from ..sansio.bodies import json_object

_OCT, _RSA, _ED25519 = ("oct", None), ("RSA", None), ("OKP", "Ed25519")
# What an algorithm signs with: key type and curve (RFC 7518 section 3.1, RFC 8037, RFC 9864).
_KINDS: Final[Mapping[str, tuple[str, str | None]]] = MappingProxyType(
    {
        "HS256": _OCT,
        "HS384": _OCT,
        "HS512": _OCT,
        "RS256": _RSA,
        "RS384": _RSA,
        "RS512": _RSA,
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "PS256": _RSA,
        "PS384": _RSA,
        "PS512": _RSA,
        "EdDSA": _ED25519,
        "Ed25519": _ED25519,
    }
)
ALGORITHMS: Final = tuple(_KINDS)
# RSA as in RFC 7518 section 3.3; whoever has one token can try short secrets at leisure.
_LEAST_BITS: Final = {"RSA": 2048, "oct": 128}
_CURVES: Final = (SECP256R1, SECP384R1, SECP521R1)
_NO_USE: Final = "is of a kind that no supported algorithm uses"
_SSH: Final = (b"ssh-", b"ecdsa-sha2-")


class KeysUnavailable(Exception):
    """The keys could not be fetched, and those at hand do not tell: nothing is known about the token."""


class KeySource(Protocol):
    """Where the key for a token comes from."""

    def key_for(self, header: Mapping[str, Any]) -> Key | None:
        """The key that a token with this header must be signed with; None when there is no such key.

        :raises KeysUnavailable: when that cannot be known now.
        """
        ...

    def fits(self, algorithm: str) -> bool:
        """Whether its keys are of the kind that this algorithm takes."""
        ...


class StaticKeys:
    """Keys that never change.

    :param value: JWT_KEY: a public key as PEM, a JWK or a JWK Set as dict or JSON, or a shared secret as text or bytes.
    :raises ValueError: saying what is wrong with it, never what it is.
    """

    def __init__(self, value: object) -> None:
        self._keys = read_keys(_documented(value))
        types = {key.key_type for key in self._keys}
        if "oct" in types and len(types) > 1:
            raise ValueError("holds shared secrets beside public keys")

    def key_for(self, header: Mapping[str, Any]) -> Key | None:
        return choose(self._keys, header)

    def fits(self, algorithm: str) -> bool:
        return any(_kind(key) == _KINDS.get(algorithm) for key in self._keys)

    def __repr__(self) -> str:
        return f"StaticKeys({', '.join(key.key_type for key in self._keys)})"


def is_symmetric(algorithm: str) -> bool:
    """Whether who can check such a signature can also make one."""
    return _KINDS.get(algorithm) == _OCT


def choose(keys: tuple[Key, ...], header: Mapping[str, Any]) -> Key | None:
    """The key that the header names, if it goes with its algorithm.

    A header without ``kid`` means the only key there is; a key without ``kid`` goes by every name while it is the only one.
    """
    kid = header.get("kid")
    named = keys if len(keys) == 1 and None in (kid, keys[0].kid) else _by_kid(keys, kid)
    return next((key for key in named if _goes_with(key, header.get("alg"))), None)


def has_kid(keys: tuple[Key, ...], kid: object) -> bool:
    return bool(_by_kid(keys, kid))


def _by_kid(keys: tuple[Key, ...], kid: object) -> tuple[Key, ...]:
    return tuple(key for key in keys if kid is not None and key.kid == kid)


def _goes_with(key: Key, algorithm: object) -> bool:
    return isinstance(algorithm, str) and _kind(key) == _KINDS.get(algorithm) and key.alg in (None, algorithm)


def _kind(key: Key) -> tuple[str, str | None]:
    return key.key_type, key.curve_name if isinstance(key, (ECKey, OKPKey)) else None


def read_keys(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """The keys for signatures in a JWK or a JWK Set.

    Keys for other uses and of unknown kinds are passed over (RFC 7517 section 5).

    :raises ValueError: when none is left, with the reasons; never with a part of a key.
    """
    jwks = document.get("keys") if "keys" in document else [document]
    if not isinstance(jwks, list) or not all(isinstance(jwk, Mapping) for jwk in jwks):
        raise ValueError('is not a JWK Set: "keys" must be a list of JWKs')
    keys, faults = [], []
    for jwk in jwks:
        try:
            keys.append(_imported(jwk))
        except ValueError as fault:
            faults.append(str(fault))
    if not keys:
        raise ValueError("; ".join(dict.fromkeys(faults)) or "is a JWK Set without keys")
    return tuple(keys)


def _imported(jwk: Mapping[str, Any]) -> Key:
    if fault := _fault(jwk):
        raise ValueError(fault)
    try:
        is_short = _bits(jwk) < _LEAST_BITS.get(jwk["kty"], 0)
        # Imported all the same, it would only cause a warning.
        key = None if is_short else JWKRegistry.import_key(dict(jwk))
    except Exception:
        # The libraries raise a dozen kinds of errors here, some of which quote the key.
        raise ValueError(f"is not a JWK that can be read as kty {jwk['kty']!r}") from None
    if key is None:
        raise ValueError(f"is too short: {_LEAST_BITS[jwk['kty']]} bits are the least")
    if _kind(key) not in _KINDS.values():
        raise ValueError(_NO_USE)
    return key


def _fault(jwk: Mapping[str, Any]) -> str | None:
    """Why a JWK cannot check signatures, as far as it says so itself."""
    if jwk.get("kty") not in ("oct", "RSA", "EC", "OKP"):
        return 'is neither a JWK with a known "kty" nor a JWK Set with "keys"'
    if "d" in jwk:
        return "is a private key; write the public one"
    if jwk.get("use", "sig") != "sig":
        return 'is not for signatures ("use")'
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return 'is not for verifying ("key_ops")'
    if "alg" in jwk and jwk["alg"] not in ALGORITHMS:
        return 'is for an algorithm that is not supported ("alg")'
    return None


def _bits(jwk: Mapping[str, Any]) -> int:
    match jwk["kty"]:
        case "RSA":
            return int.from_bytes(urlsafe_b64decode(jwk["n"].encode()), "big").bit_length()
        case "oct":
            return 8 * len(urlsafe_b64decode(jwk["k"].encode()))
        case _:
            return 0


def _documented(value: object) -> Mapping[str, Any]:
    """JWT_KEY, however it is written, as a JWK or a JWK Set."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, (str, bytes)) or not value:
        raise ValueError("is neither text nor a dict, or is empty")
    try:
        raw = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    if b"-----BEGIN " in raw:
        return _from_pem(raw)
    return _from_json(raw) if raw.lstrip().startswith(b"{") else _from_secret(raw)


def _from_json(raw: bytes) -> Mapping[str, Any]:
    try:
        return json_object(raw)
    except ValueError:
        raise ValueError("begins like JSON and cannot be read") from None


def _from_pem(raw: bytes) -> Mapping[str, Any]:
    if b"PRIVATE KEY" in raw:
        raise ValueError("is a private key; write the public one (openssl pkey -pubout)")
    if b"CERTIFICATE" in raw:
        raise ValueError("is a certificate; write its public key (openssl x509 -pubkey -noout)")
    try:
        native = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is a PEM that cannot be read; its line breaks must be real ones") from None
    return _as_jwk(native)


def _as_jwk(native: object) -> Mapping[str, Any]:
    match native:
        case RSAPublicKey():
            return RSAKey(native, native).as_dict()
        case EllipticCurvePublicKey() if isinstance(native.curve, _CURVES):
            return ECKey(native, native).as_dict()
        case Ed25519PublicKey():
            return OKPKey(native, native).as_dict()
        case _:
            raise ValueError(_NO_USE)


def _from_secret(raw: bytes) -> Mapping[str, Any]:
    # Taken for a secret, a public key would let everybody who knows it sign (CVE-2016-10555).
    if raw.startswith(_SSH) or any(_is_der(text) for text in (raw, *_unbased(raw))):
        raise ValueError("is a public key in a form that is not read; write it as PEM")
    return {"kty": "oct", "k": urlsafe_b64encode(raw).decode()}


def _is_der(raw: bytes) -> bool:
    try:
        load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _unbased(raw: bytes) -> Iterable[bytes]:
    """What Keycloak shows: the PEM's content without the lines around it."""
    try:
        yield base64.b64decode(raw)
    except ValueError:
        return
