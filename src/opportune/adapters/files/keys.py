"""The log's signing key as a file that only its owner can read (PKCS #8 PEM, mode 0600)."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from opportune.core.ledger import LedgerError
from opportune.private_files import is_private, make_private


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The key in `path`, made and stored there if the file does not exist.

    Two processes that start together end with the same key. Raises `LedgerError` if the file can be read
    by others or holds something else.
    """
    if not path.exists():
        _create(path)
    if not is_private(path):
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
    make_private(path, Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
