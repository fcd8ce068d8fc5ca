"""The contract of `Shelf`: artefacts by kind under the hash of their bytes, and nothing that was altered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from opportune.ports import Shelf, ShelfError


class ShelfContract:
    """Subclass it as `Test…` with `make`, and `alter`, which changes the bytes of an artefact behind its back."""

    def make(self) -> Shelf:
        raise NotImplementedError

    def alter(self, shelf: Shelf, kind: str, name: str, change: Callable[[bytes], bytes]) -> None:
        raise NotImplementedError

    @pytest.fixture
    def shelf(self) -> Shelf:
        return self.make()

    def test_what_was_put_is_got_by_the_hash_of_its_bytes(self, shelf: Shelf) -> None:
        name = shelf.put("models", b"one")
        assert name == hashlib.blake2b(b"one", digest_size=16).hexdigest()
        assert shelf.get("models", name) == b"one"
        assert shelf.put("models", b"one") == name
        assert shelf.names("models") == [name]

    def test_kinds_are_apart_and_the_newest_comes_first(self, shelf: Shelf) -> None:
        names = [shelf.put("models", b"%d" % number) for number in range(3)]
        other = shelf.put("proposals", b"0")
        assert set(shelf.names("models")) == set(names)
        assert shelf.names("proposals") == [other]
        assert shelf.names("reports") == []

    def test_what_is_not_there_is_said(self, shelf: Shelf) -> None:
        with pytest.raises(ShelfError, match="opportune models") as told:
            shelf.get("models", "0" * 32)
        assert not told.value.altered

    @pytest.mark.parametrize("change", [lambda data: data + b" ", lambda data: data[1:], lambda _: b""])
    def test_what_was_altered_is_refused_until_it_is_put_again(
        self, shelf: Shelf, change: Callable[[bytes], bytes]
    ) -> None:
        name = shelf.put("models", b"whole")
        self.alter(shelf, "models", name, change)
        with pytest.raises(ShelfError, match="altered after it was stored") as told:
            shelf.get("models", name)
        assert told.value.altered
        assert shelf.put("models", b"whole") == name
        assert shelf.get("models", name) == b"whole"
