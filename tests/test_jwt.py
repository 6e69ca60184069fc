from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key, OctKey, RSAKey

from flask_api_layer.jwt import MAX_TOKEN, RemoteKeys, StaticKeys

from .raw_server import Peer, RawServer
from .signing import (
    ABSENT,
    ATTACKER,
    CLAIMS,
    CURVES,
    ED25519,
    GOOD,
    NOW,
    RSA,
    SECRET,
    SHARED,
    SIGNERS,
    VERIFIER,
    encoded,
    make_verifier,
    public,
    sign,
)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_every_algorithm(algorithm: str) -> None:
    key = SIGNERS[algorithm]
    jwk = key.as_dict(private=isinstance(key, OctKey))
    named = {**jwk, "kid": "1", "use": "sig", "alg": algorithm, "key_ops": ["verify"]}
    written: list[object] = [jwk, json.dumps(jwk), {"keys": [named]}, json.dumps({"keys": [named]})]
    written += [SECRET, SECRET.encode()] if isinstance(key, OctKey) else [key.as_pem(), key.as_pem().decode()]
    token = sign(CLAIMS, key=key, sign_as=algorithm)
    forged = f"{token[:-8]}{'A' * 8}"
    for value in written:
        verifier = make_verifier(StaticKeys(value), algorithms=(algorithm,))
        assert verifier.verify(token) == CLAIMS
        assert verifier.verify(forged) is None


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_only_the_configured_algorithms_count(algorithm: str) -> None:
    key = SIGNERS[algorithm]
    keys = StaticKeys(key.as_dict(private=isinstance(key, OctKey)))
    others = tuple(name for name, signer in SIGNERS.items() if signer is key and name != algorithm)
    token = sign(CLAIMS, key=key, sign_as=algorithm)
    assert not others or make_verifier(keys, algorithms=others).verify(token) is None


SHAPES = [
    *("", "garbage", "null", ".", "..", "...", "a.b", "a.b.c.d", "a.b.c.d.e", f"{GOOD}.", f".{GOOD}"),
    *(
        f"{GOOD}.a.b",
        f" {GOOD}",
        f"{GOOD}\n",
        GOOD.replace(".", "\n.", 1),
        f"{GOOD}=",
        GOOD.replace(".", "=.", 1),
    ),
    *(f"Bearer {GOOD}", GOOD.rpartition(".")[0], f"{GOOD.rpartition('.')[0]}.", f"{GOOD}é", f"{GOOD}\ud800"),
]


@pytest.mark.parametrize("token", SHAPES)
def test_what_has_not_the_shape_of_a_token(token: str) -> None:
    assert VERIFIER.verify(token) is None


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_one_flipped_byte(segment: int) -> None:
    parts = GOOD.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[segment] + "=="))
    raw[len(raw) // 2] ^= 1
    parts[segment] = encoded(bytes(raw))
    assert VERIFIER.verify(".".join(parts)) is None


def test_base64url_is_canonical() -> None:
    head, payload, signature = sign(CLAIMS, key=SHARED, sign_as="HS256").split(".")
    verifier = make_verifier(StaticKeys(SECRET), algorithms=("HS256",))
    # 32 bytes leave 2 bits of the last character unused: the next character stands for the same bytes.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    assert base64.urlsafe_b64decode(f"{twin}=") == base64.urlsafe_b64decode(f"{signature}=")
    assert verifier.verify(f"{head}.{payload}.{signature}")
    for other in (twin, f"{signature}=", f"{signature[:9]}\n{signature[9:]}"):
        assert verifier.verify(f"{head}.{payload}.{other}") is None


@pytest.mark.parametrize("characters", ["+/", "-_"])
def test_only_the_url_alphabet(characters: str) -> None:
    # A signature with both characters in it, spelled in either alphabet.
    tokens = (sign({**CLAIMS, "jti": number}, key=SHARED, sign_as="HS256") for number in count())
    token = next(token for token in tokens if {"-", "_"} <= set(token.rpartition(".")[2]))
    head, _, signature = token.rpartition(".")
    spelled = signature.translate(str.maketrans("-_", characters))
    found = make_verifier(StaticKeys(SECRET), algorithms=("HS256",)).verify(f"{head}.{spelled}")
    assert (found is not None) is (characters == "-_")


@pytest.mark.parametrize("size", [MAX_TOKEN + 1, 2**20])
def test_large_tokens_are_not_looked_at(size: int) -> None:
    assert VERIFIER.verify("." * size) is None
    assert VERIFIER.verify(sign({**CLAIMS, "padding": "x" * size})) is None


def test_token_of_twelve_kilobytes() -> None:
    assert VERIFIER.verify(sign({**CLAIMS, "groups": ["g" * 90] * 90}))


PAYLOADS = [
    *(b"", b"null", b"[]", b'"x"', b"7", b"{", b"\xff", b"[" * 9000, b'{"exp":' * 1500, b'{"exp": 1e999}'),
    json.dumps([CLAIMS]).encode(),
    json.dumps(CLAIMS).encode("utf-16"),
    b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode(),
    b'{"exp": 1, "exp": %d}' % (NOW + 600),
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload_is_a_json_object(payload: bytes) -> None:
    assert make_verifier(issuer=None, audience=None).verify(sign(payload)) is None


def each(name: str, *values: object) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


HEADERS: list[dict[str, Any]] = [
    *each("alg", "none", "NoNe", "", "rs256", "RS512", "HS256", ["RS256"], 256, None, True, ABSENT),
    *each("kid", ["1"], 1, None, {}, True),
    *each("crit", ["bork"], ["exp"], [], None, "exp", ["b64"]),
    *each("typ", "logout+jwt", "secevent+jwt", "dpop+jwt", "id+jwt", "JOSE", "", None, ["JWT"], 1),
    *each("b64", False, True, None),
    {"b64": False, "crit": ["b64"]},
    {"jwk": public(ATTACKER)},
    {"x5c": [base64.b64encode(ATTACKER.as_der()).decode()]},
]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_are_refused_though_rightly_signed(header: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign(CLAIMS, header=header)) is None


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", ABSENT])
def test_types_of_access_tokens(kind: object) -> None:
    assert (
        VERIFIER.verify(sign(CLAIMS, header={"typ": kind, "x5t": "abc", "cty": "x", "nonce": "n"})) == CLAIMS
    )


def test_unsigned_token() -> None:
    for alg in ("none", "NoNe", "RS256"):
        head = encoded(json.dumps({"alg": alg}).encode())
        assert VERIFIER.verify(f"{head}.{GOOD.split('.')[1]}.") is None
        assert VERIFIER.verify(f"{head}.{GOOD.split('.')[1]}.AA") is None


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_no_key_is_fetched_for_a_header(name: str) -> None:
    with RawServer(Peer.keep_answering) as canary:
        for key in (RSA, ATTACKER):
            assert VERIFIER.verify(sign(CLAIMS, header={name: f"{canary.url}/jwks"}, key=key)) is None
        assert canary.connections == 0


def test_embedded_key_is_not_used() -> None:
    header = {"jwk": public(ATTACKER), "kid": "1"}
    assert VERIFIER.verify(sign(CLAIMS, header=header, key=ATTACKER)) is None
    assert VERIFIER.verify(sign(CLAIMS, key=ATTACKER)) is None


@pytest.mark.parametrize(
    "secret",
    [
        RSA.as_pem(),
        RSA.as_pem().strip(),
        RSA.as_der(),
        json.dumps(public(RSA)).encode(),
        public(RSA)["n"].encode(),
    ],
)
def test_public_key_as_hmac_secret(secret: bytes) -> None:
    forged = sign(CLAIMS, key=OctKey(secret, secret), sign_as="HS256")
    assert VERIFIER.verify(forged) is None
    assert make_verifier(StaticKeys(public(RSA))).verify(forged) is None


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (RSA.as_pem(), ("HS256",)),
        (RSA.as_pem(), ("RS256", "HS256")),
        (public(ED25519), ("HS512",)),
        ({"keys": [public(CURVES["P-256"])]}, ("HS256",)),
        (RSA.as_pem(), ("none",)),
        (RSA.as_pem(), ("RS256", "none")),
        (RSA.as_pem(), ()),
        (RSA.as_pem(), ("ES256",)),
        (public(CURVES["P-256"]), ("ES384",)),
        (RSA.as_pem(), ("ES256K",)),
        (RSA.as_pem(), ("RS256", "dir")),
        (SECRET, ("RS256",)),
        (SECRET, ("HS256", "RS256")),
    ],
)
def test_algorithms_that_do_not_go_with_the_keys(key: object, algorithms: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"algorithms? |go with|is not one of") as caught:
        make_verifier(StaticKeys(key), algorithms=algorithms)
    assert SECRET not in str(caught.value)


def test_hmac_does_not_go_with_a_key_set_from_the_web() -> None:
    with pytest.raises(ValueError, match="'HS256' does not go with the keys"):
        make_verifier(RemoteKeys("https://id.example.com/jwks"), algorithms=("RS256", "HS256"))


class OwnKeys:
    """A key source of somebody's own that gives one key, whatever the token says."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def key_for(self, header: Mapping[str, Any]) -> Key | None:
        return self._key

    def fits(self, algorithm: str) -> bool:
        return True


def test_own_key_source() -> None:
    with pytest.raises(ValueError, match="HS algorithms do not go with others"):
        make_verifier(OwnKeys(RSA), algorithms=("HS256", "RS256"))
    assert make_verifier(OwnKeys(RSA)).verify(GOOD) == CLAIMS


@pytest.mark.parametrize("key", [SHARED, ED25519, RSAKey.import_key(public(RSA, alg="PS256")), ATTACKER])
def test_key_that_does_not_go_with_the_token(key: Key) -> None:
    assert make_verifier(OwnKeys(key)).verify(GOOD) is None


@pytest.mark.parametrize("leeway", [-1, math.nan, math.inf])
def test_leeway_is_a_number_of_seconds(leeway: float) -> None:
    with pytest.raises(ValueError, match="leeway"):
        make_verifier(leeway=leeway)


VALID_TIMES = [
    *each("exp", NOW + 1, NOW - 1, NOW - 29, NOW - 29.5, NOW + 600.5, 253_402_300_799, 1e308, 10**400),
    *each("nbf", NOW, NOW + 10, NOW + 30, 0, -(10**400)),
    *each("iat", NOW, NOW + 10, NOW + 30, 0, -(10**400)),
]
INVALID_TIMES = [
    *each("exp", NOW - 30, NOW - 31, NOW - 59, 0, -(10**400)),
    *each("exp", ABSENT, None, True, "", str(NOW + 600), [NOW + 600], {}, math.nan, math.inf),
    *each("nbf", NOW + 31, NOW + 600, 10**400, None, True, "0", [], math.nan, -math.inf),
    *each("iat", NOW + 31, NOW + 600, 10**400, None, True, "0", [], math.nan, -math.inf),
]


@pytest.mark.parametrize("claims", VALID_TIMES)
def test_times_within_the_leeway(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims})) == {**CLAIMS, **claims}


@pytest.mark.parametrize("claims", INVALID_TIMES)
def test_times_beyond_the_leeway(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims})) is None


def test_leeway_can_be_none() -> None:
    verifier = make_verifier(leeway=0)
    assert verifier.verify(sign({**CLAIMS, "exp": NOW + 1, "nbf": NOW}))
    assert verifier.verify(sign({**CLAIMS, "exp": NOW})) is None
    assert verifier.verify(sign({**CLAIMS, "nbf": NOW + 1})) is None


OTHER_ISSUERS = [
    *(
        "https://id.example.com/",
        "https://id.example.com/tenant",
        "https://id.example",
        "HTTPS://id.example.com",
    ),
    *(None, "", 1, True, ["https://id.example.com"], {"https://id.example.com": 1}),
]


@pytest.mark.parametrize("issuer", OTHER_ISSUERS)
def test_issuer_is_compared_to_the_letter(issuer: object) -> None:
    token = sign({**CLAIMS, "iss": issuer})
    assert VERIFIER.verify(token) is None
    assert make_verifier(issuer=None).verify(token)


@pytest.mark.parametrize("aud", ["shop", "api", ["shop"], ["other", "api"], ["shop", "api"]])
def test_audience(aud: object) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, "aud": aud}))


OTHER_AUDIENCES = [
    *("", "sho", "shop ", "shops", "Shop", "shop api", "shop,api", None, 1, True, [], ["sho"], ["Shop"]),
    *([["shop"]], ["shop", 1], ["shop", None], {"shop": 1}, {"0": "shop"}),
]


@pytest.mark.parametrize("aud", OTHER_AUDIENCES)
def test_audience_is_compared_to_the_letter(aud: object) -> None:
    token = sign({**CLAIMS, "aud": aud})
    assert VERIFIER.verify(token) is None
    assert make_verifier(audience=None).verify(token)


def test_issuer_and_audience_are_required_where_configured() -> None:
    for name in ("iss", "aud"):
        assert VERIFIER.verify(sign({key: CLAIMS[key] for key in CLAIMS if key != name})) is None


OTHER_PURPOSES = [
    *each("token_use", "id", "refresh", "ID"),
    *each("token_type", "refresh", "id_token"),
    *each("type", "refresh", "Refresh", "refresh_token"),
    *each("typ", "refresh", "Refresh", "ID", "Offline", "Logout"),
    *each("at_hash", "x"),
    *each("c_hash", "x"),
]


@pytest.mark.parametrize("claims", OTHER_PURPOSES)
def test_tokens_for_other_purposes(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims})) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"token_use": "access"},
        {"token_type": "access", "type": "guest"},
        {"type": "user", "typ": "Bearer"},
        {"type": ["refresh"], "typ": None},
        {"nonce": "x", "refresh": True, "id": "refresh"},
    ],
)
def test_access_tokens_by_other_names(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims})) == {**CLAIMS, **claims}


@pytest.mark.parametrize("claims", each("sub", "7", 7, "", "x" * 10_000, "a\r\nb", ABSENT))
def test_subject(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims}))


@pytest.mark.parametrize("claims", each("sub", None, True, 7.5, {"id": 7}, ["7"]))
def test_subject_is_text_or_a_number(claims: dict[str, Any]) -> None:
    assert VERIFIER.verify(sign({**CLAIMS, **claims})) is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
HEADER_NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku", "jwk", "x5c", "zip", "enc"])


@given(st.text() | st.text("AZaz09-_.=+/ \n", max_size=60))
def test_text_never_raises_and_never_verifies(text: str) -> None:
    assert VERIFIER.verify(text) is None


@given(place=st.integers(0, len(GOOD) - 1), cut=st.integers(0, 2), put=st.text(max_size=2))
def test_changed_token_never_raises_and_never_verifies(place: int, cut: int, put: str) -> None:
    token = GOOD[:place] + put + GOOD[place + cut :]
    assert VERIFIER.verify(token) == (CLAIMS if token == GOOD else None)


@given(st.dictionaries(HEADER_NAMES, JSON_VALUES), JSON_VALUES, st.binary(max_size=300))
def test_forged_token_never_raises_and_never_verifies(header: Any, claims: Any, signature: bytes) -> None:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    assert VERIFIER.verify(".".join(map(encoded, parts))) is None


@given(st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "iat", "typ", "type"]), JSON_VALUES, min_size=1))
def test_signed_nonsense_never_raises(claims: dict[str, Any]) -> None:
    verifier = make_verifier(StaticKeys(SECRET), algorithms=("HS256",))
    found = verifier.verify(sign({**CLAIMS, **claims}, key=SHARED, sign_as="HS256"))
    assert found is None or found["iss"] == CLAIMS["iss"]
