"""The shelf in memory: artefacts named by their content, gone with the process."""

from __future__ import annotations

import hashlib

from opportune.ports import Shelf, ShelfError


class MemoryShelf(Shelf):
    """Keeps what is put there in the order of putting; bytes that were altered are refused, as a file's would be."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def put(self, kind: str, content: bytes) -> str:
        name = hashlib.blake2b(content, digest_size=16).hexdigest()
        self.kept[kind, name] = content
        return name

    def get(self, kind: str, name: str) -> bytes:
        content = self.kept.get((kind, name))
        if content is None:
            raise ShelfError(f"no {kind} is called `{name}`: see `opportune models`")
        if hashlib.blake2b(content, digest_size=16).hexdigest() != name:
            message = f"the artefact `{kind}/{name}` was altered after it was stored: train it again"
            raise ShelfError(message, altered=True)
        return content

    def names(self, kind: str) -> list[str]:
        return [name for one, name in reversed(self.kept) if one == kind]
