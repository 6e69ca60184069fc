"""The rows of ``tests/corpus/csrf.json`` as whole requests: real sessions, real tokens, a real backend."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.wrappers import Response

from flask_api_layer import api
from flask_api_layer.sansio.csrf import make_token
from flask_api_layer.sessions import derive
from tests.processes import ShopBackend

from .visitors import CREDENTIALS, GUEST, SCRIPT, USER, Browser, MakeApp, SetCookie, set_cookies
from .wire import Answer, call

CSRF = "__Host-api-csrf"
SECRET_KEY = "a key for tests, long enough"
ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "corpus" / "csrf.json").read_text(encoding="utf-8")
)
OWN = {
    "wsgi.url_scheme": "https",
    "HTTP_HOST": "app.example",
    "SERVER_NAME": "app.example",
    "SERVER_PORT": "443",
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ENTRIES = ("login", "register", "guest", "logout", "refresh")
BODIES = {
    "text/plain": b"quantity=1",
    "application/x-www-form-urlencoded": b"quantity=1",
    "multipart/form-data; boundary=b": b"--b\r\nContent-Disposition: form-data; name=quantity\r\n\r\n1\r\n--b--\r\n",
    "application/json": b'{"quantity": 1}',
}
# B7.1: under the prefix the method's spelling is looked at before anything else.
OVERRIDDEN = {"isolation-get-script": "method_not_allowed"}
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Visitor:
    """What somebody's browser holds.

    :param cookies: by name.
    :param token: its CSRF token, in the cookie and for the header.
    """

    cookies: Mapping[str, str]
    token: str = field(repr=False)

    @property
    def id(self) -> str:
        return self.token.split(".")[1]

    @property
    def minted_at(self) -> int:
        return int(self.token.split(".")[2])


def visitor(desk: Flask, who: str) -> Visitor:
    """A browser after a login, after its first guest page or after none of both."""
    browser = Browser(desk)
    if who == "user":
        browser.log_in()
    elif who == "guest":
        assert browser.post("/api/auth/guest").status_code == 201
    token = browser.fetch("/api/auth/csrf").get_json()["data"]["csrf_token"]
    return Visitor(browser.cookies, token)


def who(row: Mapping[str, Any]) -> str:
    return {"user": "user", "guest": "guest", "unreadable": "user"}.get(row["cookies"], "anonymous")


def dated(token: str, at: int) -> str:
    """The same token, made at another time by the app itself."""
    _, id_, _, nonce, _ = token.split(".")
    return make_token(derive(SECRET_KEY.encode(), "csrf"), id=id_, nonce=nonce, now=at)


def token_text(name: str, me: Visitor, other: Visitor) -> str | None:
    """What the row's word for a token stands for; None when none is sent."""
    texts = {
        "valid": me.token,
        "forged": "a.b",
        "other-session": other.token,
        "expired": dated(me.token, me.minted_at - 12 * 3600 - 60),
        "future": dated(me.token, me.minted_at + 600),
        "flipped": me.token[:-1] + ("0" if me.token[-1] != "0" else "1"),
        "wrong-version": "2" + me.token[1:],
        "oversized": "1" * 10_240,
        "non-ascii": me.token + "\xe9",
        "empty": "",
    }
    assert name in texts or name in ("none", "query", "json-list")
    return texts.get(name)


def cookie_header(row: Mapping[str, Any], me: Visitor, other: Visitor) -> str:
    pairs = dict(me.cookies)
    if row["cookies"] == "unreadable":
        pairs = {USER: "unreadable"}
    if planted := token_text(row.get("csrf_cookie", "valid"), me, other):
        pairs[CSRF] = planted
    return "; ".join(f"{name}={value}" for name, value in pairs.items())


def headers(row: Mapping[str, Any], me: Visitor, other: Visitor) -> list[tuple[str, str]]:
    lines = [
        (name, line)
        for name, value in row["headers"].items()
        for line in (value if isinstance(value, list) else [value])
    ]
    if "Content-Type" not in row["headers"] and body(row, me):
        lines.append(("Content-Type", "application/json"))
    text = token_text(row["token"], me, other)
    if text is not None:
        lines.append(("X-CSRF-Token", text))
    lines.append(("Cookie", cookie_header(row, me, other)))
    return lines


def body(row: Mapping[str, Any], me: Visitor) -> bytes:
    if row["token"] == "json-list":
        return json.dumps({"csrf_token": [me.token]}).encode()
    if row["method"] != "POST":
        return b""
    if row["path"] == "/api/auth/login":
        return json.dumps(CREDENTIALS).encode()
    if row["path"] == "/api/auth/register":
        account = {"name": "Row", "email": f"row-{next(_numbers)}@example.com", "password": "long enough"}
        return json.dumps(account).encode()
    return BODIES.get(row["headers"].get("Content-Type", ""), b"")


def shop(make_app: MakeApp, backend: ShopBackend, row: Mapping[str, Any]) -> tuple[Flask, Counter[str]]:
    """The app that the row is sent to, and how often which of its views ran."""
    ran: Counter[str] = Counter()
    app = make_app(
        backend,
        guest_enabled=True,
        proxy_routes={"**": "*"},
        login_rate_limit="1000/second",
        csrf=row.get("mode", "both"),
        csrf_trusted_origins=row.get("trusted_origins", ()),
    )

    @app.route("/change", methods=METHODS)
    def change() -> dict[str, bool]:
        ran["/change"] += 1
        return {"ok": api.post("echo", auth=False).ok}

    @app.get("/apidocs")
    def apidocs() -> str:
        ran["/apidocs"] += 1
        return "docs"

    return app, ran


def changed_auth_cookies(answer: Answer) -> dict[str, SetCookie]:
    return set_cookies(Response(headers=answer.headers))


def code(answer: Answer) -> str | None:
    """The code of a problem of ours."""
    if answer.headers.get("Content-Type") != "application/problem+json":
        return None
    return str(answer.json()["code"])


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS])
def test_corpus(row: dict[str, Any], backend: ShopBackend, make_app: MakeApp) -> None:
    # CORPUS 5
    desk = make_app(backend, guest_enabled=True, login_rate_limit="1000/second")
    me, other = visitor(desk, who(row)), visitor(desk, who(row))
    app, ran = shop(make_app, backend, row)
    backend.reset()
    answer = call(
        app,
        row["path"].replace("{token}", me.token),
        method=row["method"],
        headers=headers(row, me, other),
        body=body(row, me),
        environ=OWN,
    )
    assert answer.status < 500
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
    if row["expect"] == "allow":
        assert_not_refused(row, answer, ran, backend)
    else:
        assert_refused(row, answer, ran, backend)


def assert_refused(
    row: Mapping[str, Any], answer: Answer, ran: Mapping[str, int], backend: ShopBackend
) -> None:
    assert not ran
    assert backend.calls() == {}
    assert "Set-Cookie" not in answer.headers
    if row.get("app_may_refuse") and answer.status in (400, 405, 501):
        return
    expected = OVERRIDDEN.get(row["id"], row["expect"])
    assert answer.status == (405 if expected == "method_not_allowed" else 403)
    if row["method"] != "HEAD":
        assert code(answer) == expected, row["rule"]


def assert_not_refused(
    row: Mapping[str, Any], answer: Answer, ran: Mapping[str, int], backend: ShopBackend
) -> None:
    """What the request was for has happened; nobody is content with a 404 that comes from elsewhere."""
    assert not str(code(answer)).startswith("csrf_"), row["rule"]
    path = urlsplit(row["path"]).path
    if row["method"] == "OPTIONS":
        assert answer.status in (200, 204)
        assert answer.headers["Allow"]
        assert backend.calls() == {}
    elif path in ("/change", "/apidocs"):
        assert answer.status == 200
        assert ran[path] == 1
    elif path == "/api/x":
        assert backend.calls(f"{row['method']} <unknown>") == 1
    else:
        assert_entered(path.rpartition("/")[2], row, answer, backend)


def assert_entered(name: str, row: Mapping[str, Any], answer: Answer, backend: ShopBackend) -> None:
    assert name in ENTRIES
    if row["cookies"] == "none" and name == "refresh":
        assert (answer.status, code(answer)) == (401, "login_required")
        return
    expected = {"login": 200, "register": 201, "guest": 201, "logout": 204}[name]
    assert answer.status == expected
    cookie = {"login": USER, "register": USER, "guest": GUEST}.get(name)
    assert set(changed_auth_cookies(answer)) == ({cookie} if cookie else set())
    if cookie:
        assert backend.calls(f"POST auth/{name}") == 1


def test_a_session_of_the_test_is_one(backend: ShopBackend, make_app: MakeApp) -> None:
    """The rows prove nothing if nobody was ever logged in."""
    desk = make_app(backend, guest_enabled=True, login_rate_limit="1000/second")
    user, guest, nobody = (visitor(desk, who) for who in ("user", "guest", "anonymous"))
    assert (set(user.cookies), set(guest.cookies), set(nobody.cookies)) == ({USER}, {GUEST}, set())
    assert len({user.id, guest.id, nobody.id}) == 3
    known = call(desk, "/api/auth/me", headers=[*SCRIPT.items(), ("Cookie", f"{USER}={user.cookies[USER]}")])
    assert known.json()["data"]["kind"] == "user"
