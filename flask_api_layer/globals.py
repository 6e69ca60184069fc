"""``current_user`` and ``api``: whoever is asking, and calls to the backend on their behalf."""

from __future__ import annotations

from typing import cast

from werkzeug.local import LocalProxy

from .client import ApiClient
from .sansio.identity import Identity
from .state import request_state

# Typed as what they stand for, so that editors and type checkers see it.
current_user = cast(Identity, LocalProxy(lambda: request_state().identity))
api = cast(ApiClient, LocalProxy(lambda: request_state().api))
