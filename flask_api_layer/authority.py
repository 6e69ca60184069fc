"""Who decides about tokens."""

from __future__ import annotations

from dataclasses import dataclass

from .calls import BackendCalls
from .identities import Identities
from .renewals import Renewals
from .sessions import Ledger
from .tokens import Tokens


@dataclass(frozen=True, slots=True)
class Authority:
    """Who decides about tokens: the backend, and what workers told each other."""

    calls: BackendCalls
    identities: Identities
    renewals: Renewals
    tokens: Tokens
    ledger: Ledger
