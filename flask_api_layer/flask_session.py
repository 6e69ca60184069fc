"""Flask's own session, which visitors who have none do not pay for."""

from __future__ import annotations

from flask import Flask, Request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface


class SparingSessions(SecureCookieSessionInterface):
    """Flask's sessions; a visitor without the cookie gets the same empty one as ever, but sooner.

    The layer needs a SECRET_KEY, and with one Flask opens a session for every request: it parses all cookies and makes a signer,
    which takes nearly as long as the rest of a small view. The name is looked for as such, so that every spelling of the cookie is
    found.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if app.secret_key and self.get_cookie_name(app) not in request.environ.get("HTTP_COOKIE", ""):
            return self.session_class()
        return super().open_session(app, request)


def spare_sessions(app: Flask) -> None:
    """In place of Flask's default; sessions that the app has chosen itself stay as they are."""
    if app.session_interface is Flask.session_interface and not vars(app.session_interface):
        app.session_interface = SparingSessions()
