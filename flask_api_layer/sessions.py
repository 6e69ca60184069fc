"""Sessions at rest: sealed in cookies, and in the store as a ledger of refreshes, leases and tombstones."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import StoreDown
from .sansio.refresh import Ended, LedgerEntry, Successor
from .sansio.session import Session
from .types import Store

_VERSION = "v1"
_NONCE_BYTES = 12
_MAX_SEALED = 16_384
_REMEMBERED_COOKIES = 1_024
# A successor that was refreshed itself is found through its own entry; longer chains do not fit into one grace.
_MAX_CHAIN = 16
_MOST_UNWRITTEN = 1_000
# A day: a copy of a logged-out cookie is not refreshed by us, even if the backend never heard of the logout.
TOMBSTONE_SECONDS = 86_400.0


class Sealer:
    """Seals values with AES-256-GCM under keys derived from the app's secret keys.

    :param secret_keys: SECRET_KEY first, then SECRET_KEY_FALLBACKS; all of them open, the first one seals.
    """

    def __init__(self, secret_keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(derive(key, "seal")) for key in secret_keys]

    def seal(self, value: bytes, purpose: str) -> str:
        """``value`` as text that is readable by nobody else, and worthless for any other purpose."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, value, _associated(purpose))
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, text: str, purpose: str) -> bytes | None:
        """What was sealed for this purpose; None for anything else, whatever it is."""
        raw = _decode(text)
        if raw is None:
            return None
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _associated(purpose))
        return None


def digest(value: str, purpose: str) -> str:
    """A name for ``value`` that tells nothing about it, as long as it cannot be guessed: tokens and session ids cannot.

    Without a key on purpose: workers before and after a rotation of SECRET_KEY must agree on the names of ledger entries, or each
    of them would spend the same credential.
    """
    return sha256(f"flask-api-layer {purpose}\n{value}".encode()).hexdigest()


def derive(secret_key: bytes, label: str) -> bytes:
    """A key of its own for each purpose."""
    info = f"flask-api-layer {_VERSION} {label}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret_key)


def _associated(purpose: str) -> bytes:
    return f"{purpose}|{_VERSION}".encode()


def _decode(text: str) -> bytes | None:
    if len(text) > _MAX_SEALED or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    # Base64 has several spellings of one value; only ours counts.
    spelled = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text
    return raw if spelled and len(raw) > _NONCE_BYTES else None


def pack(session: Session) -> bytes:
    """A session as compact bytes, to be sealed."""
    fields: list[Any] = [
        session.kind,
        session.id,
        session.access_token,
        session.refresh_token,
        session.expires_at,
        session.refresh_expires_at,
        session.started_at,
        session.obtained_at,
        session.checked_at,
        session.renewed,
    ]
    return json.dumps(fields, separators=(",", ":")).encode()


def unpack(value: bytes) -> Session | None:
    try:
        return Session(*json.loads(value))
    except (ValueError, TypeError, RecursionError):
        return None


class CookieSeal:
    """Sessions as cookie values and back.

    Opening is remembered for the cookies seen last: the same one comes with every request of its browser.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._open = lru_cache(maxsize=_REMEMBERED_COOKIES)(self._open_once)

    def seal(self, session: Session, name: str) -> str:
        """The value of a cookie of this name; in a cookie of any other name it is garbage."""
        return self._sealer.seal(pack(session), name)

    def open(self, text: str, name: str) -> Session | None:
        """The session in a cookie's value; None for anything that was not sealed for this name."""
        return self._open(text, name) if len(text) <= _MAX_SEALED else None

    def _open_once(self, text: str, name: str) -> Session | None:
        opened = self._sealer.open(text, name)
        return unpack(opened) if opened is not None else None


class Ledger:
    """What workers tell each other about sessions, through the store.

    Every method raises :exc:`StoreDown` when the store cannot answer, except :meth:`release`.

    :param grace: seconds for which a late old cookie still finds its successor.
    """

    def __init__(self, store: Store, sealer: Sealer, *, grace: float) -> None:
        self._store = store
        self._sealer = sealer
        self._grace = grace
        self._unwritten: dict[str, tuple[bytes, float]] = {}

    def find(self, session: Session) -> LedgerEntry | None:
        """The newest entry for this credential; a successor that was refreshed itself leads on to its own."""
        entry: LedgerEntry | None = None
        seen = {session.credential}
        for _ in range(_MAX_CHAIN):
            following = self._read(session)
            if following is None:
                return entry
            entry = following
            if not isinstance(entry, Successor) or entry.session.credential in seen:
                return entry
            session = entry.session
            seen.add(session.credential)
        return entry

    def record(self, session: Session, entry: LedgerEntry) -> LedgerEntry:
        """Write what became of this credential, unless that was decided before; the entry that stands.

        While the store is down it is kept here, as tombstones are.
        """
        value = self._sealer.seal(_pack_entry(entry), "ledger").encode()
        if self._keep(self._key("ledger", session), value, self._grace):
            return entry
        return self.find(session) or entry

    def lease(self, session: Session, seconds: float) -> str | None:
        """The holder's mark when the right to refresh this credential is now ours, else None."""
        mark = secrets.token_hex(16)
        taken = self._store.put_if_absent(self._key("lease", session), mark.encode(), seconds)
        return mark if taken else None

    def release(self, session: Session, mark: str) -> None:
        """Give the lease back if it is still ours; a store that is down lets it run out."""
        with suppress(StoreDown):
            self._store.delete_if_equal(self._key("lease", session), mark.encode())

    def bury(self, session: Session) -> None:
        """Write the tombstone of a session that was ended by a login or a logout.

        While the store is down it is kept here, and written as soon as this process reaches the store again.
        """
        self._keep(self._tombstone(session.id), b"1", TOMBSTONE_SECONDS)

    def is_buried(self, session_id: str) -> bool:
        return self._look_up(self._tombstone(session_id)) is not None

    def idempotency_key(self, session: Session) -> str:
        """The same for every attempt to spend this credential, so that a backend can tell a repetition from a theft."""
        return digest(session.credential, "idempotency")

    def _read(self, session: Session) -> LedgerEntry | None:
        value = self._look_up(self._key("ledger", session))
        if value is None:
            return None
        opened = self._sealer.open(value.decode("ascii", "replace"), "ledger")
        entry = _unpack_entry(opened) if opened is not None else None
        if entry is None:
            # Decided by a worker with a key that we do not have (yet): never spend the credential again.
            raise StoreDown("a ledger entry cannot be opened; do all workers have the same SECRET_KEY?")
        return entry

    def _keep(self, key: str, value: bytes, ttl: float) -> bool:
        """Put it into the store if nothing is there; what the store cannot take now is not forgotten."""
        try:
            return self._store.put_if_absent(key, value, ttl)
        except StoreDown:
            self._unwritten[key] = (value, ttl)
            while len(self._unwritten) > _MOST_UNWRITTEN:
                self._unwritten.pop(next(iter(self._unwritten)), None)
            raise

    def _look_up(self, key: str) -> bytes | None:
        if unwritten := self._unwritten.get(key):
            return unwritten[0]
        for late, (value, ttl) in list(self._unwritten.items()):
            self._store.put_if_absent(late, value, ttl)
            self._unwritten.pop(late, None)
        return self._store.get(key)

    def _key(self, kind: str, session: Session) -> str:
        return f"{kind}:{digest(session.credential, 'credential')}"

    def _tombstone(self, session_id: str) -> str:
        return f"tombstone:{digest(session_id, 'session')}"


def _pack_entry(entry: LedgerEntry) -> bytes:
    if isinstance(entry, Successor):
        return b"S" + pack(entry.session)
    return b"E" + entry.reason.encode()


def _unpack_entry(value: bytes) -> LedgerEntry | None:
    if value[:1] == b"S":
        session = unpack(value[1:])
        return Successor(session) if session else None
    for reason in ("expired", "revoked", "reuse"):
        if value == b"E" + reason.encode():
            return Ended(reason)
    return None
