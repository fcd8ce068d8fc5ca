"""API keys: what a caller may do. Only hashes are kept in memory."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping

Scopes = frozenset[str]
ALL_SCOPES: Scopes = frozenset({"signals", "decisions", "outcomes", "customers", "govern", "read"})
WRITE_KEY_SCOPES: Scopes = frozenset({"signals"})


class Keyring:
    """Keys by hash with their scopes; the same look-up time for known and unknown keys."""

    def __init__(self, keys: Mapping[str, Scopes]) -> None:
        self._scopes = {_hash(key): scopes for key, scopes in keys.items()}

    def scopes(self, key: str | None) -> Scopes | None:
        """What this key may do; None for a key nobody gave out."""
        return None if not key else self._scopes.get(_hash(key))


def key_of(authorization: str | None) -> str | None:
    """The key in an Authorization header: Bearer, or Basic with the key as user (Segment's way)."""
    if not authorization:
        return None
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest.strip(), validate=True).decode().partition(":")[0]
        except ValueError:
            return None
    return None


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
