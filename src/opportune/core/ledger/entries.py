"""What one entry of the log says: codes, identifiers and a commitment, never a personal value."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from opportune.core.ledger.tree import LedgerError

ENTRY_VERSION: Final = 1
ENTRY_OWN_BYTES_MAX: Final = 4_096
SALT_BYTES: Final = 32
COMMIT_DOMAIN: Final = b"opportune/audit/v1"

Code = str | int | bool | Sequence[str]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+=~-]{0,199}")
_EMAIL: Final = re.compile(r"[^@]+@[^@]*\.[A-Za-z]{2,}")
_COMMIT: Final = re.compile(r"[0-9a-f]{64}")
_OWN: Final = frozenset({"v", "id", "ts", "type", "region", "actor", "release", "commit"})
_encoder: Final = msgspec.json.Encoder(order="sorted")


def commitment(salt: bytes, private: bytes) -> str:
    """Hex of SHA-256("opportune/audit/v1" || salt || private); raises unless the salt has 32 bytes.

    The salt is random, fresh for each entry, and kept with the private bytes under the customer's key:
    destroying the key leaves a value that says nothing.
    """
    if len(salt) != SALT_BYTES:
        raise LedgerError(f"salt must have {SALT_BYTES} bytes, not {len(salt)}")
    return sha256(COMMIT_DOMAIN + salt + private).hexdigest()


def entry(
    *,
    entry_id: str,
    ts_ms: int,
    kind: str,
    region: str,
    actor: str,
    release: str | None = None,
    commit: str | None = None,
    codes: Mapping[str, Code] | None = None,
) -> bytes:
    """The exact bytes of one entry: compact JSON, keys sorted, ASCII. Store and hash these bytes as they are.

    Written as `v, id, ts, type, region, actor, release, commit` and the `codes`, further flat fields:
    identifiers, counts and enumerations. Texts are limited to tokens (no spaces, no e-mail addresses);
    what is personal or free text belongs under `commit`.
    Raises `LedgerError` naming the field, or if the entry exceeds 4,096 bytes.
    """
    if not isinstance(ts_ms, int) or ts_ms < 0:
        raise LedgerError("entry field `ts` must be milliseconds since 1970 as an integer")
    document: dict[str, Code] = {"v": ENTRY_VERSION, "ts": ts_ms}
    named = {"id": entry_id, "type": kind, "region": region, "actor": actor, "release": release}
    for name, text in named.items():
        if text is not None:
            document[name] = _token(name, text)
    if commit is not None:
        if not _COMMIT.fullmatch(commit):
            raise LedgerError("entry field `commit` must be 64 hex digits, use `commitment`")
        document["commit"] = commit
    for name, value in (codes or {}).items():
        if not _is_field(name):
            raise LedgerError(f"entry field `{name[:64]}` is reserved or not in snake case")
        document[name] = _code(name, value)
    data = _encoder.encode(document)
    if len(data) > ENTRY_OWN_BYTES_MAX:
        raise LedgerError(f"entry has {len(data)} bytes, the limit is {ENTRY_OWN_BYTES_MAX}: commit to the rest")
    return data


def _code(name: str, value: Code) -> Code:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _token(name, value)
    if isinstance(value, (list, tuple)):
        return [_token(name, item) for item in value]
    raise LedgerError(f"entry field `{name}` must be text, integer, boolean or a list of texts")


def _token(name: str, text: str) -> str:
    # The value itself is not quoted: it may be the personal value this check exists to keep out.
    if not isinstance(text, str) or not _is_token(text):
        raise LedgerError(f"entry field `{name}` must be a code, put private values under the commitment")
    return text


# Most fields hold one of few codes; an id is looked at once, and soon forgotten.
@lru_cache(maxsize=1024)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None and _EMAIL.fullmatch(text) is None


@lru_cache(maxsize=1024)
def _is_field(name: str) -> bool:
    return name not in _OWN and _NAME.fullmatch(name) is not None
