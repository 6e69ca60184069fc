"""Who somebody is, and what the backend may answer when it is asked about a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["user", "guest", "anonymous"]
Reason = Literal["expired", "revoked", "reuse", "logged_out"]

NO_DATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, as the backend describes them; ``current_user`` is always one of these.

    :param kind: "user", "guest" or "anonymous".
    :param id: the backend's identifier, None when it gave none.
    :param roles: compared exactly, as list members.
    :param token_type: the ``type`` of the token, never a role.
    :param data: the backend's record, without tokens; ``identity["email"]`` reads it.
    :param degraded: the backend could not be asked; this is the last that is known, or nobody.
    """

    kind: Kind = "anonymous"
    id: str | int | None = None
    roles: tuple[str, ...] = ()
    token_type: str | None = None
    data: Mapping[str, Any] = field(default_factory=lambda: NO_DATA, repr=False)
    degraded: bool = False

    @property
    def is_authenticated(self) -> bool:
        return self.kind == "user"

    @property
    def is_guest(self) -> bool:
        return self.kind == "guest"

    @property
    def is_anonymous(self) -> bool:
        return self.kind == "anonymous"

    def has_any_role(self, roles: frozenset[str]) -> bool:
        return not roles.isdisjoint(self.roles)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.data.get(key, default)


ANONYMOUS = Identity()
ANONYMOUS_DEGRADED = Identity(degraded=True)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The backend said no to this credential, for good."""

    reason: Reason = "expired"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The backend knows the token and does not let it in here; the session stays."""

    code: Literal["access_denied", "token_type_refused"] = "access_denied"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The backend could not be asked, or answered nonsense; nothing is known about the token.

    :param limited: it was not asked because a limit of ours was reached.
    """

    limited: bool = False


@dataclass(frozen=True, slots=True)
class Trusted:
    """Nobody was asked: the token is not known to be bad, and the backend will judge it when it is used."""


Answer = Identity | Rejected | Forbidden | Unreachable | Trusted
