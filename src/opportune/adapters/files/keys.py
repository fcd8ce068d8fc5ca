"""The log's signing key as a file that only its owner can read (PKCS #8 PEM, mode 0600)."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from opportune.core.ledger import LedgerError


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The key in `path`, made and stored there if the file does not exist.

    Two processes that start together end with the same key. Raises `LedgerError` if the file can be read
    by others or holds something else.
    """
    if not path.exists():
        _create(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise LedgerError(f"signing key `{path}` can be read by others, run chmod 600 on it")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise LedgerError(f"signing key `{path}` is no unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerError(f"signing key `{path}` is not an Ed25519 key")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A hard link never replaces a key that another process made in the meantime.
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
