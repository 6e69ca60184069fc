"""What views and templates use: ``current_user``, ``api``, and the CSRF token for forms."""

from __future__ import annotations

from typing import cast

from markupsafe import Markup
from werkzeug.local import LocalProxy

from .client import ApiClient
from .sansio.identity import Identity
from .state import request_state

# Typed as what they stand for, so that editors and type checkers see it.
current_user = cast(Identity, LocalProxy(lambda: request_state().identity))
api = cast(ApiClient, LocalProxy(lambda: request_state().api))


def csrf_token() -> str:
    """The CSRF token of this visitor, for scripts and forms; the CSRF cookie is set when it is missing."""
    return request_state().csrf_token()


def csrf_field() -> Markup:
    """The hidden input that a form of this app needs; empty where tokens mean nothing."""
    token = csrf_token()
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(token) if token else Markup("")
