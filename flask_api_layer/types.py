"""Protocols at the seams of the package, and aliases for the callables that users hand in."""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """Short-lived coordination shared by workers: ledger entries, leases and tombstones.

    Keys are ASCII strings, values opaque bytes (already sealed or hashed: a reader of the store learns no token), times to live
    are seconds. Every method raises :exc:`flask_api_layer.errors.StoreDown` when the store cannot answer, and nothing else.
    """

    def get(self, key: str) -> bytes | None:
        """The value that was put under ``key`` and has not expired, else None."""
        ...

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds, over whatever was there."""
        ...

    def put_if_absent(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` unless a living value is there already; True when it was written. Atomic across all users of the store."""
        ...

    def delete_if_equal(self, key: str, value: bytes) -> bool:
        """Delete ``key`` only if it still holds ``value``; True when it did. Atomic across all users of the store."""
        ...
