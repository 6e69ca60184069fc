"""Where the proxy may lead: the backend, further upstreams under names of their own, and the routes to all of them."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ConfigError
from .sansio.proxy_routes import ProxyRoute, ProxyRoutes
from .transport import Transport

BACKEND = ""


class Upstreams:
    """The route table of one app, and the transports that its routes use.

    :param token_endpoints: of the backend, as paths below its base URL; no route ever leads there, through whatever upstream.
    """

    def __init__(
        self, backend: Transport, routes: Iterable[ProxyRoute], *, token_endpoints: Iterable[str]
    ) -> None:
        self._token_paths = [f"{backend.base_path}/{path.strip('/')}" for path in token_endpoints]
        self._transports = {BACKEND: backend}
        self._declared: list[ProxyRoute] = []
        self.add(routes)

    def add(self, routes: Iterable[ProxyRoute]) -> None:
        """Further routes; of two that match a path equally well, the first one declared counts.

        :raises ConfigError: for a pattern that is there already.
        """
        declared = [*self._declared, *routes]
        refuse_duplicates(declared)
        self._declared = declared
        self.routes = ProxyRoutes(
            declared, sealed={name: self._sealed(transport) for name, transport in self._transports.items()}
        )

    def add_upstream(self, name: str, transport: Transport, routes: Iterable[ProxyRoute]) -> None:
        """A further upstream under ``<prefix>/<name>/``."""
        self._transports[name] = transport
        self.add(routes)

    def transport(self, name: str) -> Transport:
        return self._transports[name]

    def close(self) -> None:
        """Close the idle connections to all upstreams."""
        for transport in self._transports.values():
            transport.close()

    @property
    def has_streams(self) -> bool:
        return any(route.stream for route in self._declared)

    def _sealed(self, transport: Transport) -> list[str]:
        """The backend's token endpoints, as paths below this transport's base: two base URLs may overlap."""
        backend, other = self._transports[BACKEND].origin, transport.origin
        if (backend.host, backend.port) != (other.host, other.port):
            return []
        base = f"{transport.base_path}/".casefold()
        paths = [path.casefold() for path in self._token_paths]
        return [path.removeprefix(base) for path in paths if path.startswith(base)]


def refuse_duplicates(routes: Iterable[ProxyRoute]) -> None:
    """Refuse routes of which two have one pattern: the second would never count.

    :raises ConfigError: with every such pattern.
    """
    patterns = [route.public_pattern for route in routes]
    if twice := sorted({pattern for pattern in patterns if patterns.count(pattern) > 1}):
        raise ConfigError([f"the proxy route {pattern!r} is declared twice; keep one" for pattern in twice])
