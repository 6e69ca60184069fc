from __future__ import annotations

from dataclasses import replace
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_api_layer.sansio.access import (
    ALLOW,
    AUTH,
    GUEST,
    OPEN,
    PUBLIC,
    USER,
    Allow,
    Client,
    DenialCode,
    Deny,
    Manner,
    Policy,
    login_target,
    negotiate,
    prefers_html,
)
from flask_api_layer.sansio.cascade import Resolution
from flask_api_layer.sansio.identity import ANONYMOUS_DEGRADED, Identity
from flask_api_layer.sansio.paths import local_target

USER_IDENTITY = Identity("user", 1, roles=("editor", "superadmin"))
GUEST_IDENTITY = Identity("guest", 2)

WHO = {
    "user": Resolution(USER_IDENTITY, bearer="user"),
    "user, degraded": Resolution(replace(USER_IDENTITY, degraded=True), bearer="user"),
    "guest": Resolution(GUEST_IDENTITY, bearer="guest"),
    "guest, degraded": Resolution(replace(GUEST_IDENTITY, degraded=True), bearer="guest"),
    "guest in the user cookie": Resolution(GUEST_IDENTITY, bearer="user"),
    "nobody": Resolution(),
    "outage": Resolution(ANONYMOUS_DEGRADED),
    "forbidden": Resolution(forbidden="access_denied"),
    "wrong token type": Resolution(forbidden="token_type_refused"),
    "expired": Resolution(clear_user=True, ended="expired"),
    "revoked": Resolution(clear_user=True, ended="revoked"),
    "reuse": Resolution(clear_user=True, clear_guest=True, ended="reuse"),
    "expired, guest now": Resolution(GUEST_IDENTITY, bearer="guest", clear_user=True, ended="expired"),
    "no guest to be had": Resolution(mint="failed"),
    "too many guests": Resolution(mint="limited"),
}


def verdict(policy: Policy, who: str, *, guests_enabled: bool = True, fallback: bool = True) -> str:
    """ "allow", or the problem code."""
    found = policy.check(WHO[who], guests_enabled=guests_enabled, fallback=fallback)
    return found.code if isinstance(found, Deny) else "allow"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("policy", [OPEN, PUBLIC, AUTH], ids=lambda policy: policy.access)
@pytest.mark.parametrize("guests_enabled", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_ungated_views_let_everybody_in(
    policy: Policy, who: str, guests_enabled: bool, fallback: bool
) -> None:
    # B4.2
    assert verdict(policy, who, guests_enabled=guests_enabled, fallback=fallback) == "allow"
    assert not policy.gates


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("user", "allow"),
        ("user, degraded", "allow"),
        ("guest", "login_required"),
        ("guest, degraded", "login_required"),
        ("guest in the user cookie", "login_required"),
        ("nobody", "login_required"),
        ("outage", "backend_unavailable"),
        ("forbidden", "access_denied"),
        ("wrong token type", "token_type_refused"),
        ("expired", "session_expired"),
        ("revoked", "session_expired"),
        ("reuse", "session_expired"),
        ("expired, guest now", "session_expired"),
        ("no guest to be had", "login_required"),
        ("too many guests", "login_required"),
    ],
)
@pytest.mark.parametrize("guests_enabled", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_user_views_want_a_user(
    who: str, expected: DenialCode | Literal["allow"], guests_enabled: bool, fallback: bool
) -> None:
    # B4, B4.1, B4.2
    assert verdict(USER, who, guests_enabled=guests_enabled, fallback=fallback) == expected


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("user", "allow"),
        ("user, degraded", "allow"),
        ("guest", "allow"),
        ("guest, degraded", "allow"),
        ("guest in the user cookie", "allow"),
        ("nobody", "allow"),
        ("outage", "backend_unavailable"),
        ("forbidden", "access_denied"),
        ("wrong token type", "token_type_refused"),
        ("reuse", "session_expired"),
        ("expired, guest now", "allow"),
        ("no guest to be had", "allow"),
        ("too many guests", "allow"),
    ],
)
def test_guest_views_let_guests_in(who: str, expected: str) -> None:
    # B4, B5.1, B5.2
    assert verdict(GUEST, who) == expected


@pytest.mark.parametrize("who", ["expired", "revoked", "reuse"])
def test_guest_views_ask_for_a_login_after_the_end_without_fallback(who: str) -> None:
    # DESIGN 5: GUEST_FALLBACK
    assert verdict(GUEST, who, fallback=False) == "session_expired"


@pytest.mark.parametrize("who", ["user", "guest", "nobody", "no guest to be had", "too many guests"])
def test_fallback_is_nothing_to_those_who_had_no_session(who: str) -> None:
    assert verdict(GUEST, who, fallback=False) == "allow"


@pytest.mark.parametrize("mint", ["failed", "limited"])
def test_guest_views_are_shown_after_the_end_though_no_guest_is_to_be_had(
    mint: Literal["failed", "limited"],
) -> None:
    # B5.2
    who = Resolution(clear_user=True, ended="expired", mint=mint)
    assert GUEST.check(who, guests_enabled=True, fallback=True) == ALLOW


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("user", "allow"),
        ("nobody", "login_required"),
        ("expired", "session_expired"),
        ("outage", "backend_unavailable"),
        ("forbidden", "access_denied"),
    ],
)
def test_guest_views_ask_for_a_login_with_guests_off(who: str, expected: str) -> None:
    # B4.2
    assert verdict(GUEST, who, guests_enabled=False) == expected


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"editor"}, "allow"),
        ({"admin", "editor"}, "allow"),
        ({"superadmin"}, "allow"),
        ({"admin"}, "access_denied"),
        ({"Editor"}, "access_denied"),
        ({"edit"}, "access_denied"),
        (set(), "allow"),
    ],
)
@pytest.mark.parametrize("who", ["user", "user, degraded"])
def test_roles_are_any_of_these(who: str, roles: set[str], expected: str) -> None:
    # B4.2, B4.3
    assert verdict(Policy("user", frozenset(roles)), who) == expected


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("guest", "login_required"),
        ("nobody", "login_required"),
        ("outage", "backend_unavailable"),
        ("expired", "session_expired"),
    ],
)
def test_roles_do_not_change_what_strangers_are_told(who: str, expected: str) -> None:
    assert verdict(Policy("user", frozenset({"admin"})), who) == expected


def test_a_guest_with_the_role_is_still_no_user() -> None:
    # B4.1
    guest = Resolution(replace(GUEST_IDENTITY, roles=("admin",)), bearer="user")
    found = Policy("user", frozenset({"admin"})).check(guest, guests_enabled=True, fallback=True)
    assert found == Deny("login_required")


def test_user_and_guest_views_gate() -> None:
    assert USER.gates
    assert GUEST.gates
    assert Allow() == ALLOW


# How it is said

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("client", "for_login", "otherwise"),
    [
        (Client(hx_request="true"), Manner.HTMX, Manner.PROBLEM),
        (Client(hx_request="true", fetch_mode="navigate"), Manner.HTMX, Manner.PROBLEM),
        (Client(hx_request="true", under_prefix=True), Manner.HTMX, Manner.PROBLEM),
        (Client(hx_request="true", fetch_mode="cors", accept="*/*"), Manner.HTMX, Manner.PROBLEM),
        (Client(hx_request="false", accept=BROWSER), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate"), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate", accept=BROWSER), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate", accept="application/json"), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate", under_prefix=True), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate", sends_json=True), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="navigate", requested_with="XMLHttpRequest"), Manner.REDIRECT, Manner.PAGE),
        (Client(fetch_mode="cors", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(fetch_mode="same-origin", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(fetch_mode="no-cors", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(fetch_mode="websocket", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(fetch_mode="nonsense", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(requested_with="XMLHttpRequest", accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(sends_json=True, accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(under_prefix=True, accept=BROWSER), Manner.PROBLEM, Manner.PROBLEM),
        (Client(accept="application/json"), Manner.PROBLEM, Manner.PROBLEM),
        (Client(accept="*/*"), Manner.PROBLEM, Manner.PROBLEM),
        (Client(), Manner.PROBLEM, Manner.PROBLEM),
        (Client(accept=BROWSER), Manner.REDIRECT, Manner.PAGE),
        (Client(accept="text/html"), Manner.REDIRECT, Manner.PAGE),
    ],
)
def test_denials_are_said_in_the_way_that_the_client_understands(
    client: Client, for_login: Manner, otherwise: Manner
) -> None:
    # B1.4
    assert negotiate(client, asks_for_login=True) is for_login
    assert negotiate(client, asks_for_login=False) is otherwise


@given(
    client=st.builds(
        Client,
        under_prefix=st.booleans(),
        sends_json=st.booleans(),
        accept=st.none() | st.sampled_from(["", BROWSER, "application/json", "*/*"]) | st.text(),
        fetch_mode=st.none() | st.sampled_from(["navigate", "cors"]) | st.text(),
        requested_with=st.none() | st.text(),
        hx_request=st.none() | st.sampled_from(["true", "false"]) | st.text(),
    )
)
def test_only_a_login_is_ever_a_redirect(client: Client) -> None:
    # B1.4
    assert negotiate(client, asks_for_login=False) in (Manner.PAGE, Manner.PROBLEM)
    assert negotiate(client, asks_for_login=True) is not Manner.PAGE


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/html", True),
        ("TEXT/HTML", True),
        (BROWSER, True),
        ("text/html;q=0.5", True),
        ("text/html;q=0", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html, application/json", False),
        ("text/html, application/json;q=0.9", True),
        ("application/json;q=0.9, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("application/json, */*", False),
        ("text/html, */*", False),
        ("text/html, */*;q=0.1", True),
        ("application/problem+json", False),
        ("image/avif,image/webp,*/*;q=0.8", False),
        ("text/plain", False),
        ("text/htmlx", False),
        ("text/html;q=nonsense, application/json", False),
        ("application/xhtml+xml, application/json;q=0.5", True),
    ],
)
def test_html_is_preferred_only_when_rated_above_json(accept: str | None, prefers: bool) -> None:
    # B1.4
    assert prefers_html(accept) is prefers


@given(st.text())
def test_any_accept_header_gives_an_answer(accept: str) -> None:
    assert prefers_html(accept) in (True, False)


# Where the login is

_PATH = st.text(st.sampled_from("abz09-._~!$&'()*+,;=:@/"), max_size=30)
_TAIL = st.text(st.sampled_from("abz09-._~!$&'()*+,;=:@/?%20%2F%26"), max_size=30)
local_targets = (
    st.builds(
        lambda path, query, tail: f"/{path}{query}{tail}", _PATH, st.sampled_from(["", "?", "#"]), _TAIL
    )
    .map(local_target)
    .filter(bool)
)


@given(local_targets, st.sampled_from(["/login", "/login?from=gate", "/konto/anmelden?a=b&c=d"]))
def test_next_comes_back_exactly(target: str, login_url: str) -> None:
    # B9.1
    found = urlsplit(login_target(login_url, target))
    query = parse_qs(found.query, keep_blank_values=True, strict_parsing=True)
    assert query["next"] == [target]
    assert (found.scheme, found.netloc, found.path) == ("", "", urlsplit(login_url).path)
    assert found.fragment == ""
    assert login_target(login_url, target).startswith(login_url)


@pytest.mark.parametrize(
    ("login_url", "target", "expected"),
    [
        ("/login", None, "/login"),
        ("/login", "/admin", "/login?next=/admin"),
        ("/login?x=1", "/admin", "/login?x=1&next=/admin"),
        ("/login?x=1", None, "/login?x=1"),
    ],
)
def test_login_url_stays_readable(login_url: str, target: str | None, expected: str) -> None:
    assert login_target(login_url, target) == expected


@pytest.mark.parametrize("target", ["/a b", "/x\r\nSet-Cookie: a=b", "/caf\u00e9", "/a&next=//evil.com"])
def test_odd_targets_break_no_header(target: str) -> None:
    found = login_target("/login", target)
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found
    assert found.count("next=") == 1 or "%26next%3D" in found
