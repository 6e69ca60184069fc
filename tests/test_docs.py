"""docs/ tells what is there: every key with its default, and every shape of the backend as the demo's answers."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser
from string import Template
from typing import Any

import pytest
import requests

from flask_api_layer.config import SETTINGS

from .processes import ROOT, ShopBackend
from .quickstart import code_blocks

CONFIGURATION = (ROOT / "docs/configuration.md").read_text("utf-8")
BACKEND = (ROOT / "docs/backend.md").read_text("utf-8")
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
