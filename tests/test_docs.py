"""docs/ tells what is there: every key with its default, and every shape of the backend as the demo's answers."""

from __future__ import annotations

import ast
import json
import re
import shlex
from argparse import ArgumentParser
from contextlib import closing
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import pytest
import requests
from flask import Flask
from limits import parse_many

from flask_api_layer import audit
from flask_api_layer.config import SETTINGS
from flask_api_layer.rate_limits import RedisCounts
from flask_api_layer.sansio.events import EVENT_TYPES, LONGEST_PATH, LONGEST_TEXT
from flask_api_layer.stores.redis import RedisStore

from .processes import ROOT, ShopBackend
from .quickstart import code_blocks
from .stores.servers import RedisServer

CONFIGURATION = (ROOT / "docs/configuration.md").read_text("utf-8")
BACKEND = (ROOT / "docs/backend.md").read_text("utf-8")
SECURITY = (ROOT / "docs/security.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", CONFIGURATION, re.MULTILINE)
SECTIONS = ("login", "me", "refresh", "guest", "register", "logout")
# What an app or its surroundings decide, so that a table can only describe it.
BY_APP = {
    "BACKEND_URL": "required",
    "COOKIE_SECURE": "`true`; `false` in debug mode and in tests",
    "STORE_URL": "a SQLite file in `app.instance_path`",
}


def curl(command: str, **variables: str) -> requests.Response:
    """The answer to a printed ``curl`` call."""
    words = shlex.split(Template(command).substitute(variables))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    call = parser.parse_args(words[1:])
    method = call.method or ("GET" if call.body is None else "POST")
    headers = dict(header.split(": ", 1) for header in call.headers)
    return requests.request(method, call.url, headers=headers, data=call.body, timeout=30)


def section(name: str) -> str:
    return BACKEND.split(f"\n## {name}\n")[1].split("\n## ")[0]


def missing(documented: Any, answered: Any, path: str = "") -> list[str]:
    """The members that the document shows without a question mark, or with another type, and the answer does not have."""
    if type(documented) is not type(answered):
        return [path]
    if not isinstance(documented, dict):
        return []
    return [
        fault
        for name, value in documented.items()
        if name.rstrip("?") in answered or not name.endswith("?")
        for fault in missing(value, answered.get(name.rstrip("?")), f"{path}/{name}")
    ]


def test_every_key_has_one_row_and_no_row_is_about_nothing() -> None:
    assert sorted(name for name, _ in ROWS) == sorted(setting.name for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_default_in_the_table_is_the_default(setting: Any) -> None:
    expected = BY_APP.get(setting.name) or f"`{json.dumps(setting.default)}`"
    assert dict(ROWS)[setting.name] == expected


def test_every_shape_of_the_backend_is_what_the_demo_answers(backend: ShopBackend) -> None:
    variables = {"BACKEND": backend.base_url}
    for name in SECTIONS:
        (command,) = code_blocks("sh", section(name))
        answer = curl(command, **variables)
        assert answer.ok, name
        for documented in code_blocks("json", section(name))[:1]:
            data = answer.json()["data"]
            assert missing(json.loads(documented), answer.json()) == [], name
            if name in ("login", "refresh"):
                variables |= {"ACCESS": data["accessToken"], "REFRESH": data["refreshToken"]}
    assert {call: count for call, count in backend.calls().items() if count} == {
        **{f"POST auth/{name}": 1 for name in SECTIONS if name != "me"},
        "GET auth/me": 1,
    }


def test_the_documented_refusal_is_what_the_demo_answers(backend: ShopBackend) -> None:
    refusal = code_blocks("json", section("login"))[1]
    body = {"email": "ada@example.com", "password": "wrong"}
    answer = requests.post(f"{backend.base_url}/auth/login", json=body, timeout=30)
    assert answer.status_code == 401
    assert missing(json.loads(refusal), answer.json()) == []


def test_the_search_for_missing_members_finds_them() -> None:
    documented = {"success": True, "data": {"accessToken": "", "user?": {"id": ""}}}
    assert missing(documented, {"success": True, "data": {"accessToken": "a"}}) == []
    assert missing(documented, {"success": True, "data": {"user": {}}}) == [
        "/data/accessToken",
        "/data/user?/id",
    ]


def defined_in(file: Path) -> set[str]:
    """The functions of a module."""
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def unknown_tests(text: str) -> list[str]:
    """The test ids in a text that name no test."""
    tests = cache(defined_in)
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)
    return [f"{file}::{name}" for file, name in named if not is_file(file) or name not in tests(ROOT / file)]


def is_file(path: str) -> bool:
    return (ROOT / path).is_file()


def unknown_keys(text: str) -> list[str]:
    """The words in the shape of a setting that are neither a key of the layer nor one of Flask's."""
    known = {setting.name for setting in SETTINGS} | set(Flask(__name__).config)
    named = re.findall(r"`(?:API_LAYER_)?([A-Z][A-Z_]+)`", text)
    named += re.findall(r"\b(?:FLASK_)?API_LAYER_([A-Z][A-Z_]*)\b", text)
    return [name for name in named if name not in known]


def broken_links(document: Path) -> list[str]:
    """The relative links of a document that lead to no file or no heading."""
    found = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text("utf-8"))
    places = [((document.parent / path if path else document).resolve(), anchor) for path, anchor in found]
    return [f"{place}#{anchor}" for place, anchor in places if not leads_somewhere(place, anchor)]


def leads_somewhere(place: Path, anchor: str) -> bool:
    if not place.exists():
        return False
    return not anchor or anchor in anchors(place.read_text("utf-8"))


def anchors(text: str) -> set[str]:
    """The headings of a document, as hosting sites spell them in links."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_is_named_exists() -> None:
    assert SECURITY.count("::test_") > 30
    assert unknown_tests(SECURITY) == []


@pytest.mark.parametrize("name", ["SECURITY.md", "docs/security.md"])
def test_every_key_and_file_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert unknown_keys(text) == []
    assert broken_links(ROOT / name) == []
    files = re.findall(r"`((?:tests|docs|example_app|flask_api_layer)/[\w/]+\.\w+)", text)
    assert [file for file in files if not is_file(file)] == []


def test_the_searches_find_what_does_not_exist(tmp_path: Path) -> None:
    assert unknown_tests("`tests/test_docs.py::test_nothing`, `tests/none.py::test_x`") == [
        "tests/test_docs.py::test_nothing",
        "tests/none.py::test_x",
    ]
    assert unknown_keys("`STALE_TTL`, `STALE_TTI`, `API_LAYER_X_Y` and FLASK_API_LAYER_NO") == [
        *("STALE_TTI", "X_Y"),
        *("X_Y", "NO"),
    ]
    document = tmp_path / "a.md"
    document.write_text(
        "# One, two\n[a](#one-two) [b](#three) [c](gone.md) [d](https://example.com/gone)", "utf-8"
    )
    assert broken_links(document) == [f"{document}#three", f"{tmp_path / 'gone.md'}#"]


def test_the_defaults_with_a_reason_are_the_defaults() -> None:
    section = SECURITY.split("\n## Defaults, and why\n")[1].split("\n## ")[0]
    told = re.findall(r"`([A-Z_]+)` `([^`]+)`", section)
    assert len(told) > 8
    defaults = {setting.name: json.dumps(setting.default) for setting in SETTINGS}
    assert [(name, value) for name, value in told if defaults[name] != value] == []


def test_the_types_of_the_audit_log_are_all_there_are() -> None:
    section = SECURITY.split("\n## The audit log\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| ", section, re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(EVENT_TYPES)


def test_the_line_of_the_audit_log_is_what_a_login_writes(
    backend: ShopBackend, make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (documented,) = (json.loads(block) for block in code_blocks("json", SECURITY))
    login = {"email": "ada@example.com", "password": "demo-password"}
    make_app(backend).test_client().post("/api/auth/login", json=login)
    (written,) = (json.loads(found.message) for found in caplog.records if found.name.endswith(".audit"))
    varying = {"timestamp", "ip", "request_id"}
    assert list(documented) == list(written)
    assert {name: documented[name] for name in documented.keys() - varying} == {
        name: written[name] for name in written.keys() - varying
    }


def test_the_numbers_of_the_audit_log_are_those_of_the_code() -> None:
    assert (LONGEST_TEXT, LONGEST_PATH) == (256, 1024)
    assert (audit._MOST_WAITING, audit._EXIT_SECONDS, audit._REPORT_SECONDS) == (1000, 1, 60)


def test_the_permissions_for_redis_are_enough_and_none_is_spare(tmp_path: Path) -> None:
    (command,) = re.findall(r"^```\n(ACL .+?)^```$", SECURITY, re.MULTILINE | re.DOTALL)
    words = command.split()
    server = RedisServer(tmp_path)
    server.start()
    try:
        assert redis_works(server, words) == []
        for right in (word for word in words if word.startswith("+")):
            assert redis_works(server, [word for word in words if word != right]) != [], right
    finally:
        server.stop()


def redis_works(server: RedisServer, acl: list[str]) -> list[str]:
    """What a user with these permissions cannot do for the layer."""
    with server.client() as client:
        client.flushall()
        client.script_flush()
        client.execute_command(*acl)  # type: ignore[no-untyped-call]
    password = next(word[1:] for word in acl if word.startswith(">"))
    url = f"{server.url}&username=shop&password={password}"
    with closing(RedisStore(url, timeout=10)) as store, closing(RedisCounts(url, timeout=10)) as counts:
        return [*failure_of(use_store, store), *failure_of(use_counts, counts, server)]


def failure_of(use: Any, *arguments: object) -> list[str]:
    try:
        use(*arguments)
    except Exception as error:
        return [str(error)]
    return []


def use_store(store: RedisStore) -> None:
    assert store.put_if_absent("lease", b"mine", 60)
    assert store.get("lease") == b"mine"
    assert store.delete_if_equal("lease", b"mine")


def use_counts(counts: RedisCounts, server: RedisServer) -> None:
    """Twice in one window, and once in the next."""
    (item,) = parse_many("5/minute")
    keyed = [(item, item.key_for("app", "somebody"))]
    assert [counts.count(keyed)[0].remaining for _ in range(2)] == [4, 3]
    server.elapse(61)
    assert not counts.count(keyed)[0].exceeded
