"""Access tokens checked on the spot, without asking the backend (RFC 7519, RFC 8725)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import Key
from joserfc.util import urlsafe_b64decode

from ..sansio.bodies import json_object
from .jwks import RemoteKeys
from .keys import ALGORITHMS, KeySource, KeysUnavailable, StaticKeys, is_symmetric

__all__ = ["MAX_TOKEN", "KeySource", "KeysUnavailable", "RemoteKeys", "StaticKeys", "Verifier"]

MAX_TOKEN: Final = 16 * 1024
"""Characters of the longest token that is looked at."""

_MODELS: Final = {model.name: model for model in JWS_ALGORITHMS if model.name in ALGORITHMS}
# Keys that the token brings along, and extensions that change what is signed (RFC 7515 section 4.1, RFC 7797).
_REFUSED_HEADERS: Final = frozenset(("b64", "crit", "jku", "jwk", "x5c", "x5u"))
# RFC 7519 section 5.1, RFC 9068 section 4; media types know no case.
_TYPES: Final = frozenset(("jwt", "at+jwt", "application/jwt", "application/at+jwt"))

# How backends mark what is no access token: Cognito, simplejwt, Flask-JWT-Extended, Keycloak.
_PURPOSE_CLAIMS: Final = ("token_use", "token_type", "type", "typ")
_OTHER_PURPOSES: Final = frozenset(("id", "id_token", "refresh", "refresh_token", "offline", "logout"))
# Only in ID tokens (OpenID Connect Core sections 3.1.3.6 and 3.3.2.11).
_ID_TOKEN_CLAIMS: Final = frozenset(("at_hash", "c_hash"))


class Verifier:
    """Says whether a token is a valid access token for us.

    :param algorithms: the only ones that count, whatever the token says: HS256 to HS512, RS, ES and PS likewise, EdDSA, Ed25519.
    :param issuer: what ``iss`` must be, to the letter; None: not looked at.
    :param audience: one of these must be in ``aud``; None: not looked at.
    :param leeway: seconds by which clocks may differ.
    :param clock: seconds since the epoch.
    :raises ValueError: for algorithms that are none, or that do not go with the keys: a public key used as the secret of an HS
        algorithm lets everybody sign (algorithm confusion, RFC 8725 section 2.1).
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        algorithms: tuple[str, ...],
        issuer: str | None,
        audience: tuple[str, ...] | None,
        leeway: float = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_algorithms(algorithms, keys)
        if not 0 <= leeway < math.inf:
            raise ValueError("leeway must be a number of seconds, 0 or more")
        self._keys = keys
        self._algorithms = frozenset(algorithms)
        self._issuer = issuer
        self._audience = None if audience is None else frozenset(audience)
        self._leeway = leeway
        self._clock = clock

    def verify(self, token: str) -> Mapping[str, Any] | None:
        """The claims, or None for a token that is not valid, whatever is wrong with it.

        Refused besides what is forged or expired: a token without ``exp``; one whose header names keys or extensions (``jku``,
        ``x5u``, ``jwk``, ``x5c``, ``crit``, ``b64``) or a ``typ`` other than JWT and at+jwt; one whose ``token_use``,
        ``token_type``, ``type`` or ``typ`` says id, refresh, offline or logout, or that has an ID token's ``at_hash`` or ``c_hash``.

        :raises KeysUnavailable: when the keys could not be fetched, which says nothing about the token.
        """
        try:
            claims = self._signed_claims(token)
        except ValueError:
            return None
        return claims if claims is not None and self._admits(claims) else None

    def _signed_claims(self, token: str) -> dict[str, Any] | None:
        """The claims, once the signature is good; ValueError for what has not even the shape of a token."""
        if len(token) > MAX_TOKEN:
            return None
        raw = token.encode("ascii")
        head, payload, signature = map(urlsafe_b64decode, raw.split(b"."))
        header = json_object(head)
        if not self._understands(header):
            return None
        key = self._keys.key_for(header)
        if key is None or not _is_signed(raw.rpartition(b".")[0], signature, key, header["alg"]):
            return None
        # Only now is it known who wrote them.
        return json_object(payload)

    def _understands(self, header: Mapping[str, Any]) -> bool:
        algorithm, kind = header.get("alg"), header.get("typ", "JWT")
        return (
            isinstance(algorithm, str)
            and algorithm in self._algorithms
            and _REFUSED_HEADERS.isdisjoint(header)
            and isinstance(kind, str)
            and kind.lower() in _TYPES
            and isinstance(header.get("kid", ""), str)
        )

    def _admits(self, claims: Mapping[str, Any]) -> bool:
        return (
            self._is_timely(claims)
            and (self._issuer is None or claims.get("iss") == self._issuer)
            and self._is_addressed(claims.get("aud"))
            and _is_access_token(claims)
            and _is_identifier(claims.get("sub", ""))
        )

    def _is_timely(self, claims: Mapping[str, Any]) -> bool:
        now = self._clock()
        exp, nbf, iat = claims.get("exp"), claims.get("nbf", 0), claims.get("iat", 0)
        if not (_is_number(exp) and _is_number(nbf) and _is_number(iat)):
            return False
        # Compared, never added to: a number of 400 digits does not fit into a float.
        return now - self._leeway < exp and max(nbf, iat) <= now + self._leeway

    def _is_addressed(self, aud: object) -> bool:
        if self._audience is None:
            return True
        names = [aud] if isinstance(aud, str) else aud
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return False
        return not self._audience.isdisjoint(names)


def _check_algorithms(algorithms: tuple[str, ...], keys: KeySource) -> None:
    if not algorithms:
        raise ValueError("algorithms must name at least one")
    for name in algorithms:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not one of {', '.join(ALGORITHMS)}")
        if not keys.fits(name):
            raise ValueError(f"{name!r} does not go with the keys")
    if len({is_symmetric(name) for name in algorithms}) > 1:
        raise ValueError("HS algorithms do not go with others")


def _is_signed(signed: bytes, signature: bytes, key: Key, algorithm: str) -> bool:
    model = _MODELS[algorithm]
    try:
        model.check_key(key)
        return model.verify(signed, signature, key)
    except Exception:
        # Whatever a library trips over, the signature has not been found good.
        return False


def _is_number(value: object) -> TypeGuard[float]:
    """A bool is none; NaN and infinities were refused with the JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_identifier(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_access_token(claims: Mapping[str, Any]) -> bool:
    purposes = (claims.get(name) for name in _PURPOSE_CLAIMS)
    named = {purpose.lower() for purpose in purposes if isinstance(purpose, str)}
    return _OTHER_PURPOSES.isdisjoint(named) and _ID_TOKEN_CLAIMS.isdisjoint(claims)
