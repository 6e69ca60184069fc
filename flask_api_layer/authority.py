"""Who decides about tokens."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from .calls import BackendCalls
from .errors import StoreDown
from .identities import Identities
from .renewals import Renewals
from .sansio.session import Session
from .sessions import Ledger
from .tokens import Tokens

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who decides about tokens: the backend, and what workers told each other."""

    calls: BackendCalls
    identities: Identities
    renewals: Renewals
    tokens: Tokens
    ledger: Ledger

    def bury(self, session: Session) -> None:
        """The session is over by request of its owner, and can never come back."""
        self.identities.forget(session)
        try:
            self.ledger.bury(session)
        except StoreDown:
            # The cookie is gone at once all the same; only a request that is under way right now could bring it back.
            _log.warning("the store is down: the tombstone of a session could not be written")
