"""Files of 32 random bytes that only their owner can read, made when they are first asked for."""

import os
from pathlib import Path
from typing import Final

from opportune.private_files import is_private, make_private

KEY_BYTES: Final = 32


class VaultError(Exception):
    """A key file is not what it must be."""


def load_or_make(path: Path) -> bytes:
    """Raises VaultError when others can read the file, or it has another length."""
    if not path.exists():
        make_private(path, os.urandom(KEY_BYTES))
    check_private(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise VaultError(f"key `{path}` holds {len(key)} bytes, not {KEY_BYTES}: restore it from a backup")
    return key


def check_private(path: Path) -> None:
    """Raises VaultError when others can read the file."""
    if not is_private(path):
        raise VaultError(f"key `{path}` can be read by others: run chmod 600 on it")
