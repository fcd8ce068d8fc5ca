"""Signed notes and checkpoints: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, with Ed25519 keys."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from opportune.core.ledger.tree import HASH_BYTES, LedgerError

NOTE_BYTES_MAX: Final = 65_536
SIGNATURES_MAX: Final = 64
_ED25519: Final = b"\x01"
_DASH: Final = "\u2014 "
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class VerifierKey(msgspec.Struct, frozen=True):
    """Whom to trust: key name, 4-byte key id, 32-byte Ed25519 public key."""

    name: str
    key_id: bytes
    public: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """A signed statement that log `origin` holds `size` entries under `root`; `note` is its exact bytes."""

    origin: str
    size: int
    root: bytes
    note: bytes


def strict_base64(text: str) -> bytes:
    """RFC 4648 section 4, canonical only: spare bits zero, so one value has one spelling."""
    try:
        data = b64decode(text, validate=True)
    except ValueError as error:
        raise LedgerError(f"`{text[:60]}` is not base64") from error
    if b64encode(data).decode() != text:
        raise LedgerError(f"`{text[:60]}` is not canonical base64")
    return data


def strict_decimal(text: str) -> int:
    """ASCII decimal without sign or leading zeros, below 10**19."""
    if not _DECIMAL.fullmatch(text):
        raise LedgerError(f"`{text[:40]}` is not a plain decimal number")
    return int(text)


def check_name(name: str) -> str:
    """A key name or origin: not empty, no spaces, no plus, no control character."""
    if not name or "+" in name or not name.isprintable() or any(c.isspace() for c in name):
        raise LedgerError(f"`{name[:80]}` is no key name: use a schema-less URL such as audit.example.com/eu-1")
    return name


def key_id(name: str, public: bytes) -> bytes:
    """SHA-256(name || 0x0A || 0x01 || public key)[:4]."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def vkey(name: str, key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The verifier key to publish: `<name>+<hex key id>+<base64(0x01 || public key)>`."""
    public = (key.public_key() if isinstance(key, Ed25519PrivateKey) else key).public_bytes_raw()
    return f"{check_name(name)}+{key_id(name, public).hex()}+{b64encode(_ED25519 + public).decode()}"


def parse_vkey(text: str) -> VerifierKey:
    """The parts of a verifier key; raises `LedgerError` if its id does not belong to its key."""
    name, _, rest = text.partition("+")
    shown, _, encoded = rest.partition("+")
    raw = strict_base64(encoded)
    if len(raw) != 1 + HASH_BYTES or raw[:1] != _ED25519:
        raise LedgerError(f"verifier key of `{name[:80]}` is not an Ed25519 key")
    if shown != key_id(check_name(name), raw[1:]).hex():
        raise LedgerError(f"verifier key of `{name[:80]}` carries the id `{shown[:16]}` of another key")
    return VerifierKey(name, key_id(name, raw[1:]), raw[1:])


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """The whole note: text, empty line, one signature line. Deterministic (RFC 8032)."""
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise LedgerError("note text must end in a newline and hold no other control character")
    message = text.encode()
    signature = key_id(name, key.public_key().public_bytes_raw()) + key.sign(message)
    return message + f"\n{_DASH}{check_name(name)} {b64encode(signature).decode()}\n".encode()


def open_note(note: bytes, trusted: VerifierKey) -> str:
    """The text of a note signed by `trusted`; signatures of unknown keys are ignored.

    Raises `LedgerError` if the note is malformed, unsigned, or the known key's signature is wrong.
    """
    text, lines = _split_note(note)
    verified = False
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        signature = strict_base64(encoded)
        if not line.startswith(_DASH) or len(signature) < 5:
            raise LedgerError(f"`{line[:60]}` is no signature line")
        if (check_name(name), signature[:4]) != (trusted.name, trusted.key_id):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(trusted.public).verify(signature[4:], text.encode())
        except InvalidSignature as error:
            raise LedgerError(f"signature of `{name}` does not fit the text") from error
        verified = True
    if not verified:
        raise LedgerError(f"note is not signed by `{trusted.name}` with key {trusted.key_id.hex()}")
    return text


def _split_note(note: bytes) -> tuple[str, list[str]]:
    if len(note) > NOTE_BYTES_MAX:
        raise LedgerError(f"note has {len(note)} bytes, the limit is {NOTE_BYTES_MAX}")
    try:
        decoded = note.decode()
    except UnicodeDecodeError as error:
        raise LedgerError("note is not UTF-8") from error
    if any(c < " " and c != "\n" for c in decoded):
        raise LedgerError("note holds a control character")
    text, gap, signatures = decoded.rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise LedgerError("note must be text, an empty line and signature lines")
    lines = signatures[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise LedgerError(f"note has {len(lines)} signatures, the limit is {SIGNATURES_MAX}")
    return text + "\n", lines


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """Three lines: origin, size in decimal, root in base64."""
    return f"{check_name(origin)}\n{size}\n{b64encode(root).decode()}\n"


def sign_checkpoint(origin: str, size: int, root: bytes, key: Ed25519PrivateKey) -> Checkpoint:
    """A checkpoint whose key name is its origin."""
    return Checkpoint(origin, size, root, sign_note(checkpoint_body(origin, size, root), origin, key))


def open_checkpoint(note: bytes, trusted: VerifierKey) -> Checkpoint:
    """The checkpoint in a note signed by `trusted`, whose name must be its origin."""
    lines = open_note(note, trusted).split("\n")
    if len(lines) != 4 or lines[3]:
        raise LedgerError("checkpoint body must be exactly three lines: origin, size, root")
    root = strict_base64(lines[2])
    if lines[0] != trusted.name or len(root) != HASH_BYTES:
        raise LedgerError(f"checkpoint of `{lines[0][:80]}` is not one of log `{trusted.name}`")
    return Checkpoint(lines[0], strict_decimal(lines[1]), root, note)
