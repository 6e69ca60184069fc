"""Signals: the one way in which the layer tells what happened. Audit and metrics only subscribe.

The sender is the Flask app; every signal has ``request_id`` where there is a request. None of them ever carries a token.

=====================  =====================================================================
identity_resolved      identity
guest_minted           identity
guest_upgraded         guest, user (identities; before the guest cookie is cleared)
logged_in              identity (None when the backend could not say who it is)
login_failed           status, error_code
registered             identity (None when a login is still needed)
logged_out             session_id (None when nobody was logged in)
token_refreshed        session_id, kind
refresh_failed         session_id, kind, reason: expired, revoked, network or unknown
token_reuse            session_id, kind
session_ended          session_id, reason
access_denied          identity, error_code
csrf_failed            error_code, why
rate_limited           limit (such as "10 per 1 minute"), scope
backend_unavailable    endpoint
=====================  =====================================================================
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import NamedSignal, Namespace

_log = logging.getLogger(__name__)
_signals = Namespace()

identity_resolved = _signals.signal("identity-resolved")
guest_minted = _signals.signal("guest-minted")
guest_upgraded = _signals.signal("guest-upgraded")
logged_in = _signals.signal("logged-in")
login_failed = _signals.signal("login-failed")
registered = _signals.signal("registered")
logged_out = _signals.signal("logged-out")
token_refreshed = _signals.signal("token-refreshed")
refresh_failed = _signals.signal("refresh-failed")
token_reuse = _signals.signal("token-reuse")
session_ended = _signals.signal("session-ended")
access_denied = _signals.signal("access-denied")
csrf_failed = _signals.signal("csrf-failed")
rate_limited = _signals.signal("rate-limited")
backend_unavailable = _signals.signal("backend-unavailable")


def emit(signal: NamedSignal, sender: object, **values: Any) -> None:
    """Tell every subscriber; what one of them raises is logged and breaks neither the others nor the request."""
    if not signal.receivers:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, **values)
        except Exception:
            _log.exception("a subscriber of %s failed", signal.name)
