"""The shelf: versioned artefacts as files named by their content; a file that was altered is refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from opportune.ports import Shelf, ShelfError
from opportune.private_files import write_private

__all__ = ["FileShelf", "ShelfError"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class FileShelf(Shelf):
    """`<folder>/<kind>/<hash>`; put is atomic and durable, get checks the hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, kind: str, content: bytes) -> str:
        """Stores an artefact once; returns its name, 32 hexadecimal digits of BLAKE2b over its bytes.

        A file of that name with other content is replaced.
        """
        name = _hash(content)
        path = self._path(kind, name)
        if path.is_file() and _hash(path.read_bytes()) == name:
            return name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, content)
        return name

    def get(self, kind: str, name: str) -> bytes:
        """The artefact's bytes; ShelfError when it is absent or was altered."""
        path = self._path(kind, name)
        try:
            content = path.read_bytes()
        except OSError:
            raise ShelfError(f"no {kind} is called `{name}`: see `opportune models`") from None
        if _hash(content) != name:
            raise ShelfError(
                f"the artefact `{path}` was altered after it was stored, and no approval of `{name}` holds for it: "
                "restore the file from a backup, or remove it and train or import the model again", altered=True
            )  # fmt: skip
        return content

    def names(self, kind: str) -> list[str]:
        """All artefacts of a kind, the newest first."""
        folder = self._folder / kind
        if not folder.is_dir():
            return []
        paths = [path for path in folder.iterdir() if path.suffix == "" and _NAME.fullmatch(path.name)]
        return [path.name for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)]

    def _path(self, kind: str, name: str) -> Path:
        if not (_NAME.fullmatch(kind) and _NAME.fullmatch(name)):
            raise ShelfError(f"`{name[:64]}` is not the name of a {kind[:64]}")
        return self._folder / kind / name


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
