"""Keys of one region in a folder that only its owner can read."""

import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.ports import Vault

KEY_BYTES: Final = 32
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class VaultError(Exception):
    """A key file is not what it must be."""


class FileVault(Vault):
    """Three keys of 32 random bytes, one file each (mode 0600), made when the folder is first used.

    `identifier` and `salt` keys are for HMAC-SHA256 (RFC 2104), `signing` is an Ed25519 seed (RFC 8032).
    """

    def __init__(self, path: Path | str, secrets: Path | None = None) -> None:
        """`secrets` is the folder of webhook secrets, read when they are asked for: one file per source, a secret a
        line. Raises VaultError when a key can be read by others or has another length."""
        self._secrets = secrets
        folder = Path(path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._identifier_key = _key(folder / "identifier.key")
        self._salt_key = _key(folder / "salt.key")
        self._signer = Ed25519PrivateKey.from_private_bytes(_key(folder / "signing.key"))

    def identifier(self, kind: str, value: str) -> bytes:
        """HMAC-SHA256 over kind, a zero byte and the normalised value: 32 bytes."""
        message = kind.encode() + b"\0" + normalised(kind, value).encode()
        return hmac.digest(self._identifier_key, message, hashlib.sha256)

    def commit_salt(self, name: str) -> bytes:
        return hmac.digest(self._salt_key, name.encode(), hashlib.sha256)

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)

    def public_key(self) -> bytes:
        """32 raw bytes."""
        return self._signer.public_key().public_bytes_raw()

    def hook_secrets(self, source: str) -> tuple[str, ...]:
        """The lines of the file of this source; OSError when it cannot be read, or others can read it too."""
        if self._secrets is None or not _FILE_NAME.fullmatch(source):
            return ()
        path = self._secrets / source
        try:
            mode, content = path.stat().st_mode, path.read_bytes()
        except FileNotFoundError:
            return ()
        if os.name == "posix" and mode & 0o077:
            raise PermissionError(f"secrets `{path}` can be read by others: run chmod 600 on it")
        if not content.isascii():
            raise OSError(f"secrets `{path}` hold more than ASCII: one secret a line")
        text = content.decode("ascii")
        return tuple(line.strip() for line in text.splitlines() if line.strip())


def normalised(kind: str, value: str) -> str:
    """What two spellings of one identifier have in common: no outer blanks; e-mail addresses in lower case."""
    value = value.strip()
    return value.lower() if kind == "email" else value


def _key(path: Path) -> bytes:
    if not path.exists():
        _create(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise VaultError(f"key `{path}` can be read by others: run chmod 600 on it")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise VaultError(f"key `{path}` holds {len(key)} bytes, not {KEY_BYTES}: restore it from a backup")
    return key


def _create(path: Path) -> None:
    """Durable before it is used; a hard link never replaces a key that another process made meanwhile."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
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
