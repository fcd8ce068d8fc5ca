"""Both shelves keep what they were given, and nothing that was altered; no name leads out of the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opportune.adapters.files.shelf import FileShelf
from opportune.adapters.memory.shelf import MemoryShelf
from opportune.ports import Shelf, ShelfError
from opportune.testing.contracts.shelf import ShelfContract


class TestMemoryShelf(ShelfContract):
    def make(self) -> MemoryShelf:
        return MemoryShelf()

    def alter(self, shelf: Shelf, kind: str, name: str, change: Callable[[bytes], bytes]) -> None:
        assert isinstance(shelf, MemoryShelf)
        shelf.kept[kind, name] = change(shelf.kept[kind, name])


class TestFileShelf(ShelfContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> FileShelf:
        return FileShelf(self.folder)

    def alter(self, shelf: Shelf, kind: str, name: str, change: Callable[[bytes], bytes]) -> None:
        file = self.folder / kind / name
        file.write_bytes(change(file.read_bytes()))

    def test_it_is_readable_by_its_owner_alone(self, shelf: Shelf) -> None:
        file = self.folder / "models" / shelf.put("models", b"one")
        assert file.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", "A" * 32, "." * 3])
    def test_no_name_leads_out_of_the_folder(self, shelf: Shelf, name: str) -> None:
        with pytest.raises(ShelfError, match="is not the name"):
            shelf.get("models", name)
