"""Files of 32 random bytes that only their owner can read, made when they are first asked for."""

import os
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32


class VaultError(Exception):
    """A key file is not what it must be."""


def load_or_make(path: Path) -> bytes:
    """Raises VaultError when others can read the file, or it has another length."""
    if not path.exists():
        _make(path)
    check_private(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise VaultError(f"key `{path}` holds {len(key)} bytes, not {KEY_BYTES}: restore it from a backup")
    return key


def check_private(path: Path) -> None:
    """Raises VaultError when others can read the file."""
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise VaultError(f"key `{path}` can be read by others: run chmod 600 on it")


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make(path: Path) -> None:
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
    sync_folder(path.parent)
