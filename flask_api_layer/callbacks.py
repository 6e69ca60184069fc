"""What an app may say at fixed points of a request: the functions that it hangs on its :class:`~flask_api_layer.ApiLayer`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from flask import Request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers

from .errors import Denial
from .sansio.identity import Identity

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProxyCall:
    """A request on its way to an upstream.

    :param path: below the prefix, decoded and checked.
    :param upstream: the name that ``add_upstream`` gave it; "" is the backend.
    :param headers: what goes along, to be changed in place. Not there yet: the bearer, which no callback sees; and the framing of
        the body, which none can change.
    """

    method: str
    path: str
    upstream: str
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """An upstream's answer on its way to the browser.

    :param headers: what the browser gets, to be changed in place. What may never come back (``Set-Cookie``, hop-by-hop headers) is
        taken out again, and the body's framing stays as it is.
    """

    call: ProxyCall
    status: int
    headers: Headers = field(repr=False)


BeforeAuth = Callable[[Request], ResponseReturnValue | None]
AfterAuth = Callable[[Identity], ResponseReturnValue | None]
OnDenied = Callable[[Denial], ResponseReturnValue | None]
OnError = Callable[[BaseException], object]
RateLimitKey = Callable[[], str | None]
BeforeProxy = Callable[[ProxyCall], object]
AfterProxy = Callable[[ProxyAnswer], object]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The functions of one layer, in the order in which they were given."""

    before_auth: list[BeforeAuth] = field(default_factory=list)
    after_auth: list[AfterAuth] = field(default_factory=list)
    on_denied: list[OnDenied] = field(default_factory=list)
    on_error: list[OnError] = field(default_factory=list)
    rate_limit_key: list[RateLimitKey] = field(default_factory=list)
    before_proxy: list[BeforeProxy] = field(default_factory=list)
    after_proxy: list[AfterProxy] = field(default_factory=list)

    def answer_before_auth(self, request: Request) -> ResponseReturnValue | None:
        """The first answer of the ``before_auth`` callbacks, an empty one too; None when the request goes on."""
        return _first_answer(self.before_auth, request) if self.before_auth else None

    def answer_after_auth(self, identity: Identity) -> ResponseReturnValue | None:
        """The first answer of the ``after_auth`` callbacks; None when the request goes on."""
        return _first_answer(self.after_auth, identity) if self.after_auth else None

    def answer_to(self, error: Denial) -> ResponseReturnValue | None:
        """What the ``on_denied`` callbacks say to a refusal; None to leave it to the layer."""
        return _first_answer(self.on_denied, error) if self.on_denied else None

    def tell_of_error(self, error: BaseException) -> None:
        """Tell the ``on_error`` callbacks; what one of them raises is logged and changes nothing."""
        for callback in self.on_error:
            try:
                callback(error)
            except Exception:
                _log.exception("an on_error callback failed")


def _first_answer(
    callbacks: Iterable[Callable[[T], ResponseReturnValue | None]], value: T
) -> ResponseReturnValue | None:
    answers = (callback(value) for callback in callbacks)
    return next((answer for answer in answers if answer is not None), None)
