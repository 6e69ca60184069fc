from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from flask_api_layer.sansio.identity import (
    ANONYMOUS,
    ANONYMOUS_DEGRADED,
    Forbidden,
    Identity,
    Kind,
    Rejected,
    Unreachable,
)


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        ("user", (True, False, False)),
        ("guest", (False, True, False)),
        ("anonymous", (False, False, True)),
    ],
)
def test_exactly_one_kind_is_claimed(kind: Kind, claims: tuple[bool, bool, bool]) -> None:
    identity = Identity(kind)
    assert (identity.is_authenticated, identity.is_guest, identity.is_anonymous) == claims


def test_degraded_changes_nothing_about_who_somebody_is() -> None:
    assert Identity("user", degraded=True).is_authenticated
    assert Identity("guest", degraded=True).is_guest


def test_nobody_is_anonymous_and_not_degraded() -> None:
    assert Identity() == ANONYMOUS
    assert ANONYMOUS.is_anonymous
    assert not ANONYMOUS.degraded
    assert (ANONYMOUS.id, ANONYMOUS.roles, ANONYMOUS.token_type, dict(ANONYMOUS.data)) == (None, (), None, {})


def test_nobody_in_an_outage_is_anonymous_and_degraded() -> None:
    assert ANONYMOUS_DEGRADED.is_anonymous
    assert ANONYMOUS_DEGRADED.degraded


@pytest.mark.parametrize(
    ("roles", "wanted", "has"),
    [
        (("admin",), {"admin"}, True),
        (("editor", "admin"), {"admin", "owner"}, True),
        (("superadmin",), {"admin"}, False),
        (("admin",), {"min"}, False),
        (("admin",), {"a"}, False),
        (("Admin",), {"admin"}, False),
        (("admin ",), {"admin"}, False),
        ((), {"admin"}, False),
    ],
)
def test_roles_are_compared_exactly_as_members(roles: tuple[str, ...], wanted: set[str], has: bool) -> None:
    # B4.3
    assert Identity("user", roles=roles).has_any_role(frozenset(wanted)) is has


def test_token_type_is_never_a_role() -> None:
    # B4.3
    assert not Identity("user", token_type="admin").has_any_role(frozenset({"admin"}))


def test_record_is_read_like_a_mapping() -> None:
    identity = Identity("user", data={"email": "ann@example.com", "age": None})
    assert identity["email"] == identity.get("email") == "ann@example.com"
    assert identity.get("age", 7) is None
    assert identity.get("phone") is None
    assert identity.get("phone", "-") == "-"
    with pytest.raises(KeyError):
        identity["phone"]


def test_record_of_nobody_cannot_be_filled_by_accident() -> None:
    data: Any = ANONYMOUS.data
    with pytest.raises(TypeError):
        data["email"] = "ann@example.com"


def test_identity_cannot_be_changed() -> None:
    identity: Any = Identity("guest")
    with pytest.raises(FrozenInstanceError):
        identity.kind = "user"


def test_record_is_not_in_the_repr() -> None:
    assert "ann@example.com" not in repr(Identity("user", data={"email": "ann@example.com"}))


def test_answers_have_harmless_defaults() -> None:
    assert Rejected().reason == "expired"
    assert Forbidden().code == "access_denied"
    assert not Unreachable().limited
