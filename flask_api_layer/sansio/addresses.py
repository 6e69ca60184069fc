"""Client addresses as keys for limits."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network


def is_loopback(address: str) -> bool:
    """Whether a peer with this address is on the same machine."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def is_private(address: str) -> bool:
    """Whether a peer with this address is on a network of one's own; what is no address is (a Unix socket, a test client)."""
    try:
        return not ip_address(address.split("%", 1)[0]).is_global
    except ValueError:
        return True


def rate_key(address: str | None) -> str:
    """The address that counts as one client: an IPv6 host has a whole /64 to rotate through."""
    if not address:
        return "unknown"
    try:
        parsed = ip_address(address.split("%", 1)[0])
    except ValueError:
        # A Unix socket or a test client: whatever the server calls the peer, in one harmless spelling.
        return "".join(character for character in address if character.isalnum())[:64] or "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((parsed, 64), strict=False))
    return str(parsed)
