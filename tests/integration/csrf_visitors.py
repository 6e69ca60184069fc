"""Browsers from before Fetch Metadata, and an app with forms for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, render_template_string, request
from werkzeug.test import TestResponse

from flask_api_layer import (
    current_user,
    guest_allowed,
    login_required,
)
from tests.processes import ShopBackend

from .visitors import (
    CREDENTIALS,
    NAVIGATION,
    PASSWORD,
    USER,
    Browser,
    MakeApp,
    SetCookie,
    set_cookies,
)

if TYPE_CHECKING:
    pass

CSRF = "__Host-api-csrf"
OWN = "https://localhost"
EVIL = "https://evil.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": EVIL}
CSRF_ATTRIBUTES = {"Secure": "", "Path": "/", "SameSite": "Lax", "Max-Age": "43200"}
FIELD = re.compile(r'<input type="hidden" name="csrf_token" value="([^"]+)">')
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


class OldBrowser(Browser):
    """A browser from before Fetch Metadata: what it writes has an Origin, and that is all it says."""

    def _open(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> TestResponse:
        kept = {name: value for name, value in headers.items() if not name.startswith("Sec-Fetch-")}
        if method not in ("GET", "HEAD"):
            kept = {"Origin": self._url} | kept
        return super()._open(method, path, kept, **content)

    @property
    def token(self) -> str:
        """Its token, as a script gets it."""
        return str(self.fetch("/api/auth/csrf").get_json()["data"]["csrf_token"])

    @property
    def csrf_cookie(self) -> str | None:
        cookie = self.client.get_cookie(CSRF)
        return cookie.value if cookie else None

    def open_form(self, path: str = "/form") -> str:
        """The token in the form of a page."""
        page = self.visit(path)
        assert page.status_code == 200
        return field_of(page)

    def send(self, token: str | None, *, path: str = "/save", kind: str = URLENCODED) -> TestResponse:
        """Send that form."""
        fields = {"name": "Ada"} | ({"csrf_token": token} if token is not None else {})
        return self._open("POST", path, {"Accept": NAVIGATION["Accept"]}, data=fields, content_type=kind)

    def log_in(self, email: str = CREDENTIALS["email"]) -> TestResponse:
        response = self.send_login(self.token, email=email)
        assert response.status_code == 303
        assert USER in set_cookies(response)
        return response

    def send_login(
        self, token: str | None, *, kind: str = URLENCODED, email: str = CREDENTIALS["email"]
    ) -> TestResponse:
        fields = {"email": email, "password": PASSWORD} | ({"csrf_token": token} if token else {})
        return self._open(
            "POST", "/api/auth/login", {"Accept": NAVIGATION["Accept"]}, data=fields, content_type=kind
        )


def field_of(page: TestResponse) -> str:
    [token] = FIELD.findall(page.text)
    return str(token)


def csrf_set(response: TestResponse, name: str = CSRF) -> SetCookie | None:
    """What an answer makes of the CSRF cookie."""
    found = [line for line in response.headers.getlist("Set-Cookie") if line.startswith(f"{name}=")]
    if not found:
        return None
    [line] = found
    pair, *rest = line.split("; ")
    attributes = {name: value for name, _, value in (item.partition("=") for item in rest)}
    attributes.pop("Expires", None)
    return SetCookie(pair.partition("=")[2], attributes)


def assert_page(response: TestResponse, status: int) -> None:
    """A page that says no, and leads nowhere else."""
    assert response.status_code == status
    assert response.mimetype == "text/html"
    assert "Location" not in response.headers


@dataclass(slots=True)
class Saved:
    """What reached the view, request by request."""

    bodies: list[Any] = field(default_factory=list)

    def __call__(self) -> str:
        self.bodies.append(dict(request.form))
        return "saved"


def with_views(app: Flask) -> Saved:
    saved = Saved()
    app.add_url_rule("/save", "save", saved, methods=["POST"])

    @app.get("/form")
    def form() -> str:
        return render_template_string("<form>{{ csrf_field() }}</form>")

    @app.get("/cart")
    @guest_allowed
    def cart() -> str:
        return str(current_user.kind)

    @app.get("/account")
    @login_required
    def account() -> str:
        return str(current_user.kind)

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return saved


def shop(make_app: MakeApp, backend: ShopBackend, **settings: Any) -> tuple[Flask, Saved]:
    """An app with a few pages and forms, and what its view ``/save`` was sent."""
    app = make_app(backend, **{"login_rate_limit": "1000/second"} | settings)
    return app, with_views(app)
