"""Tokens out of what leaves the server."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

# header.payload.signature (JWS) or five parts (JWE); the header starts with '{"', which is "eyJ" in Base64. Every run of
# characters is read from its start, once, so that the time is linear in the text.
_JWT_HEADER = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{8,}+)(?=\.[A-Za-z0-9_-]{2,}+\.)")
_TOKEN_KEYS = frozenset(
    [
        "token",
        "jwt",
        "bearer",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "apitoken",
        "authtoken",
        "plaintexttoken",
        "remembertoken",
        "guesttoken",
        "authorization",
        "authorisation",
    ]
)
# Deeper than any record; what lies below is left out as well.
_MAX_DEPTH = 64
_ABSENT = object()


def without_tokens(value: Any, tokens: Collection[str] = ()) -> Any:
    """Decoded JSON without tokens: members and items that are one, hold one, or have the name of one are left out.

    :param tokens: tokens that were just received; any string that contains one goes too.
    """
    clean = _clean(value, [token for token in tokens if token], _MAX_DEPTH)
    return None if clean is _ABSENT else clean


def _clean(value: Any, tokens: Collection[str], depth: int) -> Any:
    if depth == 0:
        return _ABSENT
    if isinstance(value, str):
        return _ABSENT if holds_token(value, tokens) else value
    if isinstance(value, dict):
        return {
            key: clean
            for key, member in value.items()
            if not _names_token(key)
            and not holds_token(key, tokens)
            and (clean := _clean(member, tokens, depth - 1)) is not _ABSENT
        }
    if isinstance(value, list):
        return [clean for item in value if (clean := _clean(item, tokens, depth - 1)) is not _ABSENT]
    return value


def holds_token(text: str, tokens: Collection[str]) -> bool:
    if any(token in text for token in tokens):
        return True
    return "eyJ" in text and any("eyJ" in found[1] for found in _JWT_HEADER.finditer(text))


def _names_token(key: str) -> bool:
    return re.sub(r"[^a-z]", "", key.lower()) in _TOKEN_KEYS
