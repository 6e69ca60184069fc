"""The rows of tests/corpus/tokens.json: what a token from the backend makes of whoever has it."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import Key, OctKey

from flask_api_layer import current_user, login_required
from tests.corpus import Case, cases
from tests.raw_server import Peer, RawServer
from tests.signing import ATTACKER, MODELS, RSA, encoded, public

from .visitors import (
    CREDENTIALS,
    USER,
    Browser,
    StubBackend,
    assert_problem,
    grant,
    layered,
    record,
    set_cookies,
)

ROWS = cases("tokens")
WEEK = 604_800
HEADER = {"alg": '"RS256"', "typ": '"JWT"'}
CLAIMS = {
    "sub": '"7"',
    "type": '"user"',
    "exp": "NOW+600",
    "iss": '"https://id.example.test"',
    "aud": '"shop"',
}
LOCAL: dict[str, Any] = {
    "validate": "local",
    "jwt_algorithms": ["RS256"],
    "jwt_issuer": "https://id.example.test",
    "jwt_audience": "shop",
}
PAIR = {"keys": [public(RSA, kid="1"), public(ATTACKER, kid="2")]}
KEYS: dict[str, Key] = {
    "backend": RSA,
    "attacker": ATTACKER,
    **{
        f"public {form}": OctKey(secret, secret)
        for form, secret in {
            "pem": RSA.as_pem(private=False),
            "der": RSA.as_der(private=False),
            "jwk": json.dumps(public(RSA)).encode(),
            "n": public(RSA)["n"].encode(),
        }.items()
    },
}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


# From a row to a token


def _object(members: dict[str, Any]) -> str:
    return "{" + ", ".join(f'"{name}": {text}' for name, text in members.items() if text is not None) + "}"


def _filled(text: str, canary: str) -> bytes:
    """The JSON text with the time, the listener and the attacker's key in it."""
    now = int(time.time())
    text = re.sub(r"NOW([+-]\d+)?(\.\d+)?", lambda found: f"{now + int(found[1] or 0)}{found[2] or ''}", text)
    text = re.sub(r"PAD(\d+)", lambda found: "x" * int(found[1]), text)
    return text.replace("CANARY", canary).replace("ATTACKER_JWK", json.dumps(public(ATTACKER))).encode()


def _token(case: Case, canary: str = "") -> str:
    given = case.given
    head = _filled(_object(HEADER | given.get("header", {})), canary)
    payload = _filled(given.get("payload") or _object(CLAIMS | given.get("claims", {})), canary)
    signed = f"{encoded(head)}.{encoded(payload)}"
    signature = given.get("signature")
    if signature is None:
        key = KEYS[given.get("key", "backend")]
        signature = encoded(MODELS[given.get("sign_as", "RS256")].sign(signed.encode(), key))
    return _BROKEN[given.get("broken", "not")](f"{signed}.{signature}")


def _flip(segment: int) -> Callable[[str], str]:
    def change(token: str) -> str:
        parts = token.split(".")
        raw = bytearray(base64.urlsafe_b64decode(parts[segment] + "=="))
        raw[len(raw) // 2] ^= 1
        parts[segment] = encoded(bytes(raw))
        return ".".join(parts)

    return change


def _without(segment: int) -> Callable[[str], str]:
    return lambda token: ".".join(
        "" if place == segment else part for place, part in enumerate(token.split("."))
    )


_BROKEN: dict[str, Callable[[str], str]] = {
    "not": lambda token: token,
    "flip header": _flip(0),
    "flip payload": _flip(1),
    "flip signature": _flip(2),
    "padded": lambda token: f"{token}==",
    "other alphabet": lambda token: f"{token[:-2]}+/",
    "newline": lambda token: f"{token[:-9]}\n{token[-9:]}",
    # 256 bytes leave 4 bits of the last character unused: the next one stands for the same bytes.
    "last character": lambda token: token[:-1] + ALPHABET[ALPHABET.index(token[-1]) + 1],
    "two parts": lambda token: token.rpartition(".")[0],
    "four parts": lambda token: f"{token}.AAAA",
    "empty header": _without(0),
    "empty payload": _without(1),
    "trailing dot": lambda token: f"{token}.",
    "leading blank": lambda token: f" {token}",
}

# The apps


def _shop(app: Flask) -> Flask:
    app.add_url_rule("/open", view_func=lambda: current_user.kind, endpoint="open")
    app.add_url_rule("/account", view_func=login_required(lambda: current_user.kind), endpoint="account")
    app.add_url_rule("/admin", view_func=login_required("admin")(lambda: "report"), endpoint="admin")
    return app


class Shops:
    """A backend that hands out what a row says, and apps with one key in front of it.

    ``lax`` asks the backend about tokens, which says yes to all; the others verify them and know one key or a pair.
    """

    def __init__(self, stub: StubBackend, canary: RawServer, apps: dict[str, Flask]) -> None:
        self.stub, self.canary = stub, canary
        self.lax, self._strict = apps["lax"], apps

    def strict(self, case: Case) -> Flask:
        return self._strict[case.given.get("keys", "one")]

    def hand_out(self, token: str) -> None:
        # The record has no roles and no type, so that those of the token count.
        self.stub.answers["POST auth/login"] = [grant(token)]
        self.stub.calls.clear()

    def sealed(self, token: str) -> dict[str, str]:
        """Cookies with this token in them, as from the time before tokens were verified."""
        self.hand_out(token)
        browser = Browser(self.lax)
        browser.log_in()
        self.stub.calls.clear()
        return browser.cookies


@pytest.fixture(scope="module")
def shops() -> Iterator[Shops]:
    keys: dict[str, object] = {"one": RSA.as_pem(private=False).decode(), "pair": PAIR}
    with (
        RawServer(Peer.keep_answering) as canary,
        StubBackend({"GET auth/me": record()}) as stub,
        layered(stub.url, endpoints={"refresh": None}, login_rate_limit=None) as (lax, layer),
        layered(stub.url, **_strictly(keys["one"])) as (one, first),
        layered(stub.url, **_strictly(keys["pair"])) as (pair, second),
    ):
        for app, its_layer in ((lax, layer), (one, first), (pair, second)):
            app.register_blueprint(its_layer.blueprint)
            _shop(app)
        yield Shops(stub, canary, {"lax": lax, "one": one, "pair": pair})


def _strictly(key: object) -> dict[str, Any]:
    return {"endpoints": {"refresh": None}, "login_rate_limit": None, "jwt_key": key, **LOCAL}


def _fits(case: Case) -> bool:
    """Whether the token can be sealed at all: those that are no header value or too large never reach a cookie."""
    return case.row != "too large" and case.given.get("broken") not in ("newline", "leading blank")


# DESIGN 3, validation; corpus 3
@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.id)
def test_a_login_lets_in_whose_token_is_good(shops: Shops, case: Case) -> None:
    token = _token(case, shops.canary.url)
    shops.hand_out(token)
    browser = Browser(shops.strict(case))
    answer = browser.post("/api/auth/login", json=CREDENTIALS)
    assert token not in answer.text
    account = browser.fetch("/account").status_code
    match case.given["expect"]:
        case "user":
            assert (answer.status_code, account) == (200, 200)
            assert 0 < int(set_cookies(answer)[USER].attributes["Max-Age"]) <= WEEK
        case "nobody":
            assert answer.status_code in ([500, 502] if case.given.get("login") else [502])
            assert (set_cookies(answer), account) == ({}, 401)
        case "guest":
            assert account == 401
        case _:
            assert (answer.status_code, account) in ((200, 200), (200, 401), (502, 401))
    assert shops.canary.connections == 0


# DESIGN 3, validation; B3.3, B4 row 3; corpus 3
@pytest.mark.parametrize("case", [case for case in ROWS if _fits(case)], ids=lambda case: case.id)
def test_a_cookie_lets_in_whose_token_is_good(shops: Shops, case: Case) -> None:
    token = _token(case, shops.canary.url)
    browser = Browser(shops.strict(case), cookies=shops.sealed(token))
    answer, page = browser.fetch("/account"), browser.fetch("/open")
    match case.given["expect"]:
        case "user":
            assert (answer.status_code, answer.text, page.text) == (200, "user", "user")
            assert set_cookies(answer) == {}
        case "nobody":
            assert_problem(answer, 401, "session_expired")
            assert set_cookies(answer)[USER].is_deletion
            assert page.text == "anonymous"
        case "guest":
            assert_problem(answer, 401, "login_required")
        case _:
            assert (answer.status_code, page.text) in ((200, "user"), (401, "anonymous"))
    assert shops.stub.calls == []
    assert shops.canary.connections == 0


# B4.3
@pytest.mark.parametrize("case", [row for row in ROWS if "admin" in row.given], ids=lambda case: case.id)
def test_a_role_is_had_only_to_the_letter(shops: Shops, case: Case) -> None:
    browser = Browser(shops.strict(case), cookies=shops.sealed(_token(case)))
    assert (browser.fetch("/admin").status_code == 200) is case.given["admin"]


# B2.8, B3.3: where the backend judges, a token is any text, and its `exp` a number or nothing
@pytest.mark.parametrize("case", [case for case in ROWS if _fits(case)], ids=lambda case: case.id)
def test_a_backend_that_judges_its_tokens_may_write_what_it_likes(shops: Shops, case: Case) -> None:
    shops.hand_out(_token(case))
    browser = Browser(shops.lax)
    login = browser.log_in()
    age = int(set_cookies(login)[USER].attributes["Max-Age"])
    assert 0 <= age <= WEEK
    me = browser.fetch("/api/auth/me")
    assert me.status_code in ((200, 401) if case.row in ("times", "odd exp") else (200,))
    if me.status_code == 200:
        left = me.get_json()["data"]["expires_in"]
        assert left is None or (isinstance(left, int) and left >= 0)
