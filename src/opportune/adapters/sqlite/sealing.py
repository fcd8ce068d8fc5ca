"""The sealed form of a blob: told apart from what a store written before sealing holds by its first byte."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from opportune.ports import Erased, Seal

T = TypeVar("T")

SEALED: Final = b"\xc1"
"""MessagePack never uses this byte, and no JSON text starts with it."""


def shut(seal: Seal, subject: str, place: str, plain: bytes) -> bytes:
    """The blob to store for these bytes."""
    return SEALED + seal.seal(subject, place, plain)


def opened(seal: Seal, subject: str, place: str, blob: bytes) -> bytes | None:
    """What was shut; None for a blob that never was. Raises Erased, and ValueError for damaged bytes."""
    return seal.open(subject, place, blob[1:]) if blob[:1] == SEALED else None


def known(make: Callable[[Any], T], row: Any) -> T | None:  # noqa: ANN401 - a row is what the query says
    """What a row holds; None when there is no row, or its subject was erased."""
    if row is None:
        return None
    try:
        return make(row)
    except Erased:
        return None


def every_known(make: Callable[[Any], T], rows: Iterable[Any]) -> Iterator[T]:
    """What the rows hold, in order, without those whose subject was erased."""
    for row in rows:
        try:
            value = make(row)
        except Erased:
            continue
        yield value
