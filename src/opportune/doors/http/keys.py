"""API keys: what a caller may do. Only hashes are kept in memory."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping

Scopes = frozenset[str]
ALL_SCOPES: Scopes = frozenset({"signals", "decisions", "outcomes", "customers", "govern", "read"})
BODY_KEYS = ("writeKey", "api_key", "token")
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


def keys_sent(authorization: str | None, body: object, path_key: str | None = None) -> list[str]:
    """Every key a sender's call carries: in the header, the URL, or the body (`writeKey`, `api_key`, `token`).

    SDKs differ in where they put it, and browsers cannot set headers; PostHog's puts it into an event's properties.
    """
    found = [key_of(authorization), path_key]
    first = body[0] if isinstance(body, list) and body else body
    if isinstance(first, dict):
        found += [first.get(name) for name in BODY_KEYS]
        batch, properties = first.get("batch"), first.get("properties")
        if isinstance(batch, list) and batch and isinstance(batch[0], dict):
            properties = batch[0].get("properties") if properties is None else properties
            found += [batch[0].get(name) for name in BODY_KEYS]
        if isinstance(properties, dict):
            found.append(properties.get("token"))
    return [key for key in found if isinstance(key, str) and key]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
