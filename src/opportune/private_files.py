"""Small files that their owner alone may read, written whole or not at all.

It stands next to the ports because several adapters keep keys and settings in files, and may not import each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Replaces the file durably; mode 0600 from its first byte on."""
    with _written(path, data) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def make_private(path: Path, data: bytes) -> None:
    """Makes the file durably, unless it is there: a hard link never replaces what another process made meanwhile."""
    with _written(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    sync_folder(path.parent)


def is_private(path: Path) -> bool:
    """May nobody but its owner read the file? Systems without such modes always say yes."""
    return os.name != "posix" or not path.stat().st_mode & 0o077


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
