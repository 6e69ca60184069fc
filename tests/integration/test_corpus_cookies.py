"""The rows of tests/corpus/cookies.json: what a cookie header makes of whoever sends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import current_user, login_required
from tests.corpus import Case, cases
from tests.signing import SECRET, SHARED, sign

from .visitors import GUEST, SCRIPT, USER, Browser, StubBackend, grant, layered, record
from .wire import Answer, call

CSRF = "__Host-api-csrf"
LOCAL = {"validate": "local", "jwt_key": SECRET, "jwt_algorithms": ["HS256"]}


def _token(subject: str, kind: str) -> str:
    claims = {"sub": subject, "type": kind, "exp": int(time.time()) + 3600}
    return sign(claims, key=SHARED, sign_as="HS256")


@dataclass(frozen=True, slots=True)
class Shop:
    """An app that knows its visitors, and what the rows speak of."""

    app: Flask
    stub: StubBackend
    words: Mapping[str, str]

    def ask(self, path: str, cookie: str) -> Answer:
        return call(self.app, path, headers=[*SCRIPT.items(), ("Cookie", cookie)])


def _names(app: Flask) -> Flask:
    app.add_url_rule("/open", view_func=lambda: f"{current_user.kind} {current_user.id}", endpoint="open")
    app.add_url_rule("/account", view_func=login_required(lambda: str(current_user.id)), endpoint="account")
    return app


@pytest.fixture(scope="module", params=["backend", "local"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The same rows where the backend judges tokens and where their signature does."""
    user, other, guest = _token("7", "user"), _token("8", "user"), _token("g", "guest")
    answers: dict[str, Any] = {
        "POST auth/login": [grant(user, user=_user(7)), grant(other, user=_user(8))],
        "POST auth/guest": grant(guest, user={"id": "g", "type": "guest"}),
        "GET auth/me": record(),
    }
    settings: dict[str, Any] = LOCAL if request.param == "local" else {"validate_ttl": 3600}
    with StubBackend(answers) as stub, layered(stub.url, guest_enabled=True, **settings) as (app, layer):
        app.register_blueprint(layer.blueprint)
        yield Shop(_names(app), stub, _words(app) | {"token": user})


def _user(number: int) -> dict[str, Any]:
    return {"id": number, "type": "user"}


def _words(app: Flask) -> dict[str, str]:
    user, other, guest = (Browser(app) for _ in range(3))
    user.log_in()
    other.log_in()
    guest.post("/api/auth/guest")
    good = user.cookies[USER]
    csrf = user.client.get_cookie(CSRF)
    assert csrf is not None
    sealed = {"good": good, "other": other.cookies[USER], "good guest": guest.cookies[GUEST]}
    names = {"user": USER, "guest": GUEST, "csrf": CSRF, "USER": USER.upper(), "user lower": USER.lower()}
    return sealed | names | {"csrf value": csrf.value} | {key: _BROKEN[key](good) for key in _BROKEN}


def _with(value: str, place: int) -> str:
    return value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]


_BROKEN: dict[str, Callable[[str], str]] = {
    "flipped first": lambda value: _with(value, 0),
    "flipped middle": lambda value: _with(value, len(value) // 2),
    "flipped last": lambda value: _with(value, len(value) - 3),
    "cut": lambda value: value[:-4],
    "longer": lambda value: value + "AAAA",
    "swapped case": lambda value: value.swapcase(),
}


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, meaning in words.items():
        text = text.replace(f"{{{word}}}", meaning)
    return text


# B3.5, B4.1
@pytest.mark.parametrize("case", cases("cookies"), ids=lambda case: case.id)
def test_a_cookie_header_makes_nobody_somebody_else(shop: Shop, case: Case) -> None:
    header = _filled(case.text("cookie"), shop.words)
    before = len(shop.stub.calls)
    page, gated = shop.ask("/open", header), shop.ask("/account", header)
    kind = page.body.decode().split()[0]
    assert (page.status, {"anonymous": "nobody"}.get(kind, kind)) == (200, case.given["expect"])
    if case.given["expect"] == "user":
        assert (gated.status, gated.body) == (200, b"7")
    else:
        assert (gated.status, gated.json()["code"]) == (401, "login_required")
    _assert_left_alone(case.given["expect"], page, gated)
    assert len(shop.stub.calls) == before
    good = shop.ask("/account", f"{USER}={shop.words['good']}")
    assert (good.status, good.body) == (200, b"7")


def _assert_left_alone(who: str, *answers: Answer) -> None:
    """No cookie is touched, but that a user needs no guest cookie (B4, first row)."""
    for answer in answers:
        touched = [line.partition("=")[0] for line in answer.headers.getlist("Set-Cookie")]
        assert [name for name in touched if name != CSRF and (who, name) != ("user", GUEST)] == []
