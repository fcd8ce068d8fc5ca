"""Keys of one region in a folder that only its owner can read."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from opportune.adapters.system.key_files import VaultError, load_or_make
from opportune.adapters.system.randomness import take_random
from opportune.adapters.system.subject_keys import SubjectKeys, derived
from opportune.ports import Erased, Vault
from opportune.private_files import is_private

__all__ = ["FileVault", "VaultError"]

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")

SEALED: Final = b"\xc1"
"""What everything sealed begins with: MessagePack never uses this byte, and no JSON text can start with it."""
_TOKEN_FORM: Final = b"\1"
_NONCE_BYTES: Final = 12
_SHORTEST: Final = 1 + _NONCE_BYTES + 16


class FileVault(Vault):
    """Three keys of 32 random bytes, one file each (mode 0600), made when the folder is first used.

    `identifier` is for HMAC-SHA256 (RFC 2104), `signing` is an Ed25519 seed (RFC 8032), `region` wraps the keys of
    `subjects.db` and makes tokens. Losing `region.key` or `subjects.db` loses everything that is sealed.
    """

    def __init__(self, path: Path | str, secrets: Path | None = None) -> None:
        """`secrets` is the folder of webhook secrets, read when they are asked for: one file per source, a secret a
        line. Raises VaultError when a key can be read by others or has another length."""
        self._secrets = secrets
        folder = Path(path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._identifier_key = load_or_make(folder / "identifier.key")
        self._signer = Ed25519PrivateKey.from_private_bytes(load_or_make(folder / "signing.key"))
        region_key = load_or_make(folder / "region.key")
        self._subjects = SubjectKeys(folder / "subjects.db", region_key)
        self._tokens = AESSIV(derived(region_key, b"token mac") + derived(region_key, b"token cipher"))

    def seal(self, subject: str, place: str, plain: bytes) -> bytes:
        """The byte 0xC1, a random nonce of 96 bits, then AES-256-GCM with `place` as associated data."""
        nonce = take_random(_NONCE_BYTES)
        return SEALED + nonce + self._subjects.find_or_make(subject).cipher.encrypt(nonce, plain, place.encode())

    def open(self, subject: str, place: str, sealed: bytes) -> bytes:
        if len(sealed) < _SHORTEST or sealed[:1] != SEALED:
            raise ValueError(f"what stands at `{place}` is not sealed")
        key = self._subjects.find(subject)
        if key is None:
            raise Erased(f"the key of what stands at `{place}` was destroyed")
        body = memoryview(sealed)
        try:
            return key.cipher.decrypt(body[1 : 1 + _NONCE_BYTES], body[1 + _NONCE_BYTES :], place.encode())
        except InvalidTag:
            raise ValueError(f"what stands at `{place}` was altered, or sealed for another place") from None

    def flush(self) -> None:
        """Raises sqlite3.Error when the new keys could not be made durable."""
        self._subjects.flush()

    def destroy(self, subjects: Collection[str]) -> int:
        """Raises sqlite3.Error when a key may still be in a file: then call it again."""
        return self._subjects.destroy(subjects)

    def commit_salt(self, name: str, subject: str) -> bytes:
        """Keyed BLAKE2b (RFC 7693): one for each signal, and twenty times quicker than OpenSSL's HMAC."""
        key = self._subjects.find_or_make(subject).salting
        return hashlib.blake2b(name.encode(), digest_size=32, key=key).digest()

    def token(self, purpose: str, text: str) -> str:
        """AES-SIV (RFC 5297): the same text gives the same token, so a link in a message sent twice is one link."""
        sealed = self._tokens.encrypt(_TOKEN_FORM + text.encode(), [purpose.encode()])
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read_token(self, purpose: str, token: str) -> str | None:
        try:
            sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            if urlsafe_b64encode(sealed).rstrip(b"=").decode() != token:
                return None
            return self._tokens.decrypt(sealed, [purpose.encode()])[len(_TOKEN_FORM) :].decode()
        except (ValueError, InvalidTag):
            return None

    def close(self) -> None:
        """Closes the file of keys; those that were not flushed are lost."""
        self._subjects.close()

    def identifier(self, kind: str, value: str) -> bytes:
        """HMAC-SHA256 over kind, a zero byte and the normalised value: 32 bytes."""
        message = kind.encode() + b"\0" + normalised(kind, value).encode()
        return hmac.digest(self._identifier_key, message, hashlib.sha256)

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
            alone, content = is_private(path), path.read_bytes()
        except FileNotFoundError:
            return ()
        if not alone:
            raise PermissionError(f"secrets `{path}` can be read by others: run chmod 600 on it")
        if not content.isascii():
            raise OSError(f"secrets `{path}` hold more than ASCII: one secret a line")
        text = content.decode("ascii")
        return tuple(line.strip() for line in text.splitlines() if line.strip())


def normalised(kind: str, value: str) -> str:
    """What two spellings of one identifier have in common: no outer blanks; e-mail addresses in lower case."""
    value = value.strip()
    return value.lower() if kind == "email" else value
