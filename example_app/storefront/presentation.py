"""How the shop looks from outside: prices, pictures, security headers and error pages."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from flask import Flask, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

PICTURES = Path(__file__).parent / "static" / "pictures.svg"
DRAWN = frozenset(re.findall(r'<symbol id="([a-z-]+)"', PICTURES.read_text("utf-8")))

# referrer: "no-referrer" would turn the Origin of every form into "null", which no CSRF check can accept.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

UNREACHABLE = (
    "We cannot reach the shop right now",
    "Nothing is lost: your cart is safe, and if you were logged in, you still are. Please try again in a moment.",
)
ERRORS = {
    400: (
        "That did not look right",
        "Something in the request was missing or malformed. Go back and try again.",
    ),
    403: (
        "This door is closed",
        "Your account may not open this page. If you came from a form, it was open too long: reload it and try again.",
    ),
    404: ("Nothing on this shelf", "The page or product you are looking for is not here, or not any more."),
    429: ("A little too fast", "There were too many requests from here. Wait a moment and try again."),
    500: ("Something broke", "The fault is ours. Your cart and your login are unharmed; please try again."),
    502: UNREACHABLE,
    503: UNREACHABLE,
    504: UNREACHABLE,
}


def init_app(app: Flask) -> None:
    """Register filters, headers and error pages on ``app``."""
    app.add_template_filter(price)
    app.add_template_filter(day)
    app.add_template_filter(picture)
    app.add_template_global(api_url)
    app.after_request(secure)
    app.register_error_handler(HTTPException, error_page)


def price(cents: int) -> str:
    """``123456`` as ``€1,234.56``."""
    return f"€{cents / 100:,.2f}"


def day(moment: str) -> str:
    """``2026-03-01T12:00:00Z`` as ``1 March 2026``."""
    when = datetime.fromisoformat(moment)
    return f"{when.day} {when:%B %Y}"


def api_url(path: str) -> str:
    """The address of ``path`` (``auth/login``, ``cart``) under the layer's prefix, wherever the shop is mounted."""
    return f"{request.script_root}/api/{path}"


def picture(key: str) -> str:
    """The id of the drawing for ``key``; a parcel stands for what nobody has drawn."""
    return key if key in DRAWN else "parcel"


def secure(response: Response) -> Response:
    """Add the security headers that ``response`` has not set itself (the proxy sandboxes what it forwards)."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def error_page(error: HTTPException) -> Response:
    """The error's own answer, with the shop's page in it when that answer is a page.

    Whoever asked for JSON keeps the problem document, a redirect to the login stays one, and every answer keeps its
    status and headers (Retry-After). The page asks no backend anything: it has to work during an outage.
    """
    response = error.get_response(request.environ)
    if response.mimetype == "text/html" and response.status_code in ERRORS:
        title, text = ERRORS[response.status_code]
        response.data = render_template("error.html", title=title, text=text, code=response.status_code)
    return response
