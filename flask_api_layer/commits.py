"""What the answer does to the cookies, once nobody has overtaken it."""

from __future__ import annotations

import logging
from dataclasses import replace

from . import signals
from .authority import Authority
from .errors import StoreDown
from .sansio.session import Session
from .signals import emit
from .wallet import Change, Wallet

_log = logging.getLogger(__name__)

TOO_LARGE = (
    "the tokens of this session do not fit into a cookie; let the backend issue smaller tokens "
    "(fewer claims, or an opaque refresh token)"
)


def set_cookies(wallet: Wallet, authority: Authority, *, now: float, sender: object) -> list[str]:
    """The ``Set-Cookie`` values of all changes so far; each is given out once.

    A change that the backend decided is dropped when a login or logout ended its session in the meantime: the cookie that the browser
    has by now is somebody else's, or was deleted for good.
    """
    lines = []
    for change in wallet.take_changes():
        if change.replaces is not None and _is_overtaken(authority, change, change.replaces):
            if change.session is not None:
                authority.calls.logout(change.session)
            continue
        lines.append(wallet.set_cookie(_fitting(wallet, authority, change, sender), now))
    return [line for line in lines if line is not None]


def _is_overtaken(authority: Authority, change: Change, old: Session) -> bool:
    try:
        return authority.ledger.is_buried(old.id)
    except StoreDown:
        # Nobody knows: do not delete what may be somebody else's, do not lose what was just handed out.
        return change.session is None


def _fitting(wallet: Wallet, authority: Authority, change: Change, sender: object) -> Change:
    """The change, or the deletion of a session that has grown too large for a cookie."""
    if change.session is None or wallet.has_room(change.session):
        return change
    _log.error("%s", TOO_LARGE)
    authority.calls.logout(change.session)
    emit(signals.session_ended, sender, session_id=change.session.id, reason="too_large")
    return replace(change, session=None)
