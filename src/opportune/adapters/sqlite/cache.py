"""The newest committed value per key, bounded by count, read by any thread without a lock."""

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """Two generations of dicts: a hit in the old one moves to the young one; a full young one becomes the old.

    That keeps what was used last without a write per read. INVARIANT: the youngest dict that has a key has its
    newest committed value. So a reader takes hold of the young dict *before* it reads anything older, and only
    ever adds to that dict what is not there; only the writer overwrites, under the lock that guards the change
    of generations.
    """

    __slots__ = ("_changing", "_half", "_load", "_old", "_young")

    def __init__(self, load: Callable[[str], V | None], size_max: int) -> None:
        """`load` reads a committed value from the store."""
        self._load = load
        self._half = max(1, size_max // 2)
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}
        self._changing = Lock()

    def get(self, key: str) -> V | None:
        """The value, from memory if it is there, otherwise from the store."""
        young = self._young
        found = young.get(key)
        return found if found is not None else self._find(young, key, self._load)

    def get_with(self, key: str, load: Callable[[str], V | None]) -> V | None:
        """`get` through another reader of the store."""
        young = self._young
        found = young.get(key)
        return found if found is not None else self._find(young, key, load)

    def replace(self, values: Iterable[tuple[str, V]]) -> None:
        """Called by the writer after a commit."""
        with self._changing:
            self._young.update(values)
            self._turn()

    def remove(self, keys: Iterable[str]) -> None:
        """Called by the writer after a commit that removed them.

        Both dicts are replaced, the old one first: a slow reader adds what it read before the commit to a dict that
        nobody reads any more.
        """
        with self._changing:
            young, old = self._young.copy(), self._old.copy()
            for key in keys:
                young.pop(key, None)
                old.pop(key, None)
            self._old = old
            self._young = young

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _find(self, young: dict[str, V], key: str, load: Callable[[str], V | None]) -> V | None:
        found = self._old.get(key)
        if found is None:
            found = load(key)
            if found is None:
                return None
        found = young.setdefault(key, found)
        if len(young) > self._half:
            with self._changing:
                self._turn()
        return found

    def _turn(self) -> None:
        if len(self._young) > self._half:
            self._old = self._young
            self._young = {}
