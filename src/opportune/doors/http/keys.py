"""API keys: what a caller may do and see, and by which name the access log knows it. Only hashes are in memory."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.connection import ASGIConnection

Scopes = frozenset[str]
ALL_SCOPES: Scopes = frozenset(
    {"signals", "decisions", "outcomes", "customers", "govern", "read", "personal", "sensitive", "erase", "approve"}
)
"""`personal` and `sensitive` show fields of these classes in clear; `erase` may erase customers; `approve` decides on
models, for a key that is called like one of the playbook's `people`."""

BODY_KEYS = ("writeKey", "api_key", "token")
WRITE_KEY_SCOPES: Scopes = frozenset({"signals"})
USUAL: Mapping[str, Scopes] = {"api_key": ALL_SCOPES - {"approve"}, "write_key": WRITE_KEY_SCOPES}
"""The keys made on first use, which stand in their file without scopes."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the name of the key, and what it may do."""

    name: str
    scopes: Scopes


class Named(msgspec.Struct, frozen=True):
    """One key of the file of keys."""

    name: str
    key: str
    scopes: Scopes


class KeysError(ValueError):
    """The file of keys is not what it must be."""


class Keyring:
    """Keys by hash with their scopes; the same look-up time for known and unknown keys."""

    def __init__(self, keys: Mapping[str, Scopes], names: Mapping[str, str] | None = None) -> None:
        """`keys` gives the scopes of each key, `names` its name."""
        called = names or {}
        self._callers = {_hash(key): Caller(called.get(key, "key"), scopes) for key, scopes in keys.items()}

    def caller(self, key: str | None) -> Caller | None:
        """Whose key this is; None for a key nobody gave out."""
        return None if not key else self._callers.get(_hash(key))

    def scopes(self, key: str | None) -> Scopes | None:
        """What this key may do; None for a key nobody gave out."""
        caller = self.caller(key)
        return None if caller is None else caller.scopes

    def become(self, other: Keyring) -> None:
        """Takes over the keys of another ring: added ones work and revoked ones do not, from the next call on."""
        self._callers = other._callers


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Whoever asks, as the guard of the application found them."""
    caller: Caller = connection.scope["state"]["caller"]
    return caller


def named_keys(document: Any) -> list[Named]:  # noqa: ANN401 - whatever the file holds
    """The keys of the file `api_keys.json`: `"name": "key"` for the two usual ones, else `"name": {"key", "scopes"}`.

    Raises KeysError naming the entry that is neither.
    """
    if not isinstance(document, dict):
        raise KeysError("`api_keys.json` must hold one object: name to key")
    return [_named(name, value) for name, value in document.items()]


def ring_of(keys: list[Named]) -> Keyring:
    return Keyring({one.key: one.scopes for one in keys}, {one.key: one.name for one in keys})


def _named(name: str, value: object) -> Named:
    if isinstance(value, str) and value and name in USUAL:
        return Named(name, value, USUAL[name])
    if isinstance(value, dict) and isinstance(value.get("key"), str) and value["key"]:
        return Named(name, value["key"], scopes_of(name, value.get("scopes", ())))
    message = f"key `{name}` of `api_keys.json` must be written as {{\"key\": …, \"scopes\": […]}}"
    raise KeysError(message)


def scopes_of(name: str, scopes: object) -> Scopes:
    """Scopes by their names; KeysError names the one that does not exist."""
    known = isinstance(scopes, (list, tuple)) and scopes and all(one in ALL_SCOPES for one in scopes)
    if not known:
        raise KeysError(f"the scopes of key `{name}` must be some of {', '.join(sorted(ALL_SCOPES))}")
    assert isinstance(scopes, (list, tuple))
    return frozenset(scopes)


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
