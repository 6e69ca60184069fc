"""What an app may say at fixed points of a request: the functions that it hangs on its :class:`~flask_api_layer.ApiLayer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from werkzeug.datastructures import Headers


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


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The functions of one layer, in the order in which they were given."""

    before_proxy: list[Callable[[ProxyCall], object]] = field(default_factory=list)
    after_proxy: list[Callable[[ProxyAnswer], object]] = field(default_factory=list)
