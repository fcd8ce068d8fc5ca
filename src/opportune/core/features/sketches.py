"""Counts of different values that may be many: exact while few, then a HyperLogLog of 1,024 registers.

A cell holds the time of the newest signal (8 bytes) and either up to 127 fingerprints of 8 bytes, sorted, or 1,024
registers of one byte: at most 1,032 bytes. Both are functions of the set of fingerprints, so the order of arrival
and repetition cannot show, and two cells merge into the cell of all their signals. Up to 127 different values the
count is exact (but for two of them sharing all 64 bits of their fingerprints); beyond, its standard error is
1.04 / sqrt(1024) = 3.25%.

Registers and estimate: P. Flajolet and others, "HyperLogLog", 2007; O. Ertl, "New cardinality estimation algorithms
for HyperLogLog sketches", 2017 (algorithm 6, which needs no tables and no correction at either end).
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import log, sqrt
from struct import Struct
from typing import Final

from opportune.core.features.cells import UNKNOWN, fingerprint

FEW_MAX: Final = 127
INDEX_BITS: Final = 10
REGISTERS: Final = 1 << INDEX_BITS
STANDARD_ERROR: Final = 0.0325
CELL_BYTES_MAX: Final = 8 + REGISTERS

_TIME = Struct("<q")
_RANK_MAX: Final = 64 - INDEX_BITS + 1
_SCALE: Final = REGISTERS * REGISTERS / (2 * log(2))


def fold_sketch(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
    """Adds a value; the very same cell when neither it nor the time is news."""
    mark = fingerprint(value)
    if cell is None:
        return _TIME.pack(at_ms) + mark.to_bytes(8, "little")
    newest_ms = _TIME.unpack_from(cell)[0]
    kept = cell[8:]
    after = _with_rank(kept, mark) if len(kept) == REGISTERS else _with_mark(kept, mark)
    if after is kept and at_ms <= newest_ms:
        return cell
    return _TIME.pack(max(newest_ms, at_ms)) + after


def read_sketch(cell: bytes, now_ms: int) -> tuple[object, int]:
    """How many different values, exact up to 127."""
    age_ms = now_ms - _TIME.unpack_from(cell)[0]
    if age_ms < 0:
        return UNKNOWN
    kept = cell[8:]
    return (_estimate(kept) if len(kept) == REGISTERS else len(kept) // 8), age_ms


def merge_sketches(one: bytes, other: bytes) -> bytes:
    """The cell of the signals of both."""
    newest_ms = max(_TIME.unpack_from(one)[0], _TIME.unpack_from(other)[0])
    small, large = sorted((one[8:], other[8:]), key=lambda kept: len(kept) == REGISTERS)
    if len(small) == REGISTERS:
        return _TIME.pack(newest_ms) + bytes(map(max, small, large))
    for mark in _marks(small):
        large = _with_rank(large, mark) if len(large) == REGISTERS else _with_mark(large, mark)
    return _TIME.pack(newest_ms) + large


def count_distinct(values: Iterable[object]) -> int:
    """What the cell of a feature fed with `values` would say."""
    marks = {fingerprint(value) for value in values}
    return len(marks) if len(marks) <= FEW_MAX else _estimate(_registers(marks))


def _marks(kept: bytes) -> tuple[int, ...]:
    return Struct(f"<{len(kept) // 8}Q").unpack(kept)


def _with_mark(kept: bytes, mark: int) -> bytes:
    marks = _marks(kept)
    place = bisect_left(marks, mark)
    if place < len(marks) and marks[place] == mark:
        return kept
    if len(marks) == FEW_MAX:
        return _registers((*marks, mark))
    return kept[: 8 * place] + mark.to_bytes(8, "little") + kept[8 * place :]


def _with_rank(registers: bytes, mark: int) -> bytes:
    index, rank = _place(mark)
    if registers[index] >= rank:
        return registers
    return registers[:index] + bytes((rank,)) + registers[index + 1 :]


def _registers(marks: Iterable[int]) -> bytes:
    registers = bytearray(REGISTERS)
    for mark in marks:
        index, rank = _place(mark)
        if registers[index] < rank:
            registers[index] = rank
    return bytes(registers)


def _place(mark: int) -> tuple[int, int]:
    """(register, rank): the lowest 10 bits, and one more than the leading zeros of the other 54."""
    return mark & (REGISTERS - 1), _RANK_MAX - (mark >> INDEX_BITS).bit_length()


def _estimate(registers: bytes) -> int:
    total = REGISTERS * _tau(1 - registers.count(_RANK_MAX) / REGISTERS)
    for rank in range(_RANK_MAX - 1, 0, -1):
        total = 0.5 * (total + registers.count(rank))
    return round(_SCALE / (total + REGISTERS * _sigma(registers.count(0) / REGISTERS)))


def _sigma(share: float) -> float:
    """Ertl's sigma of the share of registers never touched, below 1 here."""
    power, total, before = 1.0, share, -1.0
    while total != before:
        share *= share
        before = total
        total += share * power
        power += power
    return total


def _tau(share: float) -> float:
    """Ertl's tau of the share of registers that are not full."""
    if share in (0.0, 1.0):
        return 0.0
    power, total, before = 1.0, 1 - share, -1.0
    while total != before:
        share = sqrt(share)
        before = total
        power *= 0.5
        total -= (1 - share) ** 2 * power
    return total / 3
