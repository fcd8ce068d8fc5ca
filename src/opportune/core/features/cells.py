"""Cells without tiles: what a feature keeps, as bytes that come out the same for any order of arrival.

Every cell starts with the time of the newest signal that fed it (8 bytes, little endian). A read at a time before
that cannot know the value then, and answers UNKNOWN: never a value with the future in it.
"""

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Final

Fold = Callable[[bytes | None, int, str, object], bytes]
"""(cell or None, at_ms, signal id, value) -> the new cell, or the very same object when nothing changed."""

Read = Callable[[bytes, int], tuple[object, int]]
"""(cell, now_ms) -> (value or None, age in ms of the newest signal), or UNKNOWN."""

UNKNOWN: Final[tuple[object, int]] = (None, -1)
TIME_MS_MAX: Final = 2**46
"""Signals and reads live between 1970 and the year 4199."""
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
SCALE: Final = 1_000_000
"""Doubles are added up as whole millionths: decimal sums are exact, and the order of arrival cannot show."""
DOUBLE_SUM_MAX: Final = 1e18
TEXT_BYTES_MAX: Final = 255
DISTINCT_MAX: Final = 64

UNREADABLE_CELL: Final = Struct("<qI28x").pack(2**62, 2**32 - 1)
"""A cell from beyond all time: every reader answers UNKNOWN."""

_TIME = Struct("<q")
_COUNT = Struct("<qQ")
_SUM = Struct("<qQqQ")  # newest, count, high and low half of a 128-bit sum
_PAIR = Struct("<qqQqQ")  # newest, high and low half of the part, of the whole
_INT = Struct("<qq")
_DOUBLE = Struct("<qd")
_PICKED = Struct("<qB")
_LOW = 2**64 - 1


def scaled(value: object) -> int:
    """The double `value` in whole millionths."""
    return round(value * SCALE)  # type: ignore[operator]  # the taker of the feature checked the type


def fold_time(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
    """Keeps the time of the newest signal only (`time_since`)."""
    if cell is not None and _TIME.unpack(cell)[0] >= at_ms:
        return cell
    return _TIME.pack(at_ms)


def time_reader(unit_ms: int, whole: bool) -> Read:
    """Units elapsed since the newest signal: whole ones, or with their fraction."""

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        age_ms = now_ms - _TIME.unpack_from(cell)[0]
        if age_ms < 0:
            return UNKNOWN
        return (age_ms // unit_ms if whole else age_ms / unit_ms), age_ms

    return read


def fold_count(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
    """Counts signals."""
    if cell is None:
        return _COUNT.pack(at_ms, 1)
    newest_ms, count = _COUNT.unpack(cell)
    return _COUNT.pack(newest_ms if newest_ms > at_ms else at_ms, count + 1)


def read_count(cell: bytes, now_ms: int) -> tuple[object, int]:
    newest_ms, count = _COUNT.unpack_from(cell)
    return UNKNOWN if newest_ms > now_ms else (count, now_ms - newest_ms)


def sum_folder(double: bool) -> Fold:
    """Adds values up in 128 bits, with their count (`sum`, `mean`)."""

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        amount = scaled(value) if double else value
        if cell is None:
            return _SUM.pack(at_ms, 1, amount >> 64, amount & _LOW)  # type: ignore[operator]  # an int here
        newest_ms, count, high, low = _SUM.unpack(cell)
        total = (high << 64 | low) + amount
        return _SUM.pack(newest_ms if newest_ms > at_ms else at_ms, count + 1, total >> 64, total & _LOW)

    return fold


def sum_reader(aggregate: str, double: bool) -> Read:
    """The sum or the mean; an int sum beyond 64 bits is UNKNOWN, since no int of an expression can hold it."""
    mean = aggregate == "mean"
    scale = SCALE if double else 1

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        age_ms = now_ms - _TIME.unpack_from(cell)[0]
        if age_ms < 0:
            return UNKNOWN
        _, count, high, low = _SUM.unpack(cell)
        value = finish(high << 64 | low, count, mean, double, scale)
        return UNKNOWN if value is None else (value, age_ms)

    return read


def share(part: int, whole: int, up: int, down: int) -> float | None:
    """`part / whole` of sums kept in units of 1/down and 1/up; None where the whole is 0."""
    return None if whole == 0 else part * up / (whole * down) + 0.0  # the 0.0 turns -0.0 into 0.0


def fold_ratio(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
    """Adds up a pair of ints, (part, whole), each in 128 bits (`ratio`)."""
    part: int
    whole: int
    part, whole = value  # type: ignore[misc]  # the taker of the feature made the pair
    if cell is not None:
        newest_ms, part_high, part_low, whole_high, whole_low = _PAIR.unpack(cell)
        at_ms = newest_ms if newest_ms > at_ms else at_ms
        part += part_high << 64 | part_low
        whole += whole_high << 64 | whole_low
    return _PAIR.pack(at_ms, part >> 64, part & _LOW, whole >> 64, whole & _LOW)


def ratio_reader(up: int, down: int) -> Read:
    """The sum of the parts over the sum of the wholes; missing where that is 0. `up`, `down` as for `share`."""

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        age_ms = now_ms - _TIME.unpack_from(cell)[0]
        if age_ms < 0:
            return UNKNOWN
        _, part_high, part_low, whole_high, whole_low = _PAIR.unpack(cell)
        return share(part_high << 64 | part_low, whole_high << 64 | whole_low, up, down), age_ms

    return read


def finish(total: int, count: int, mean: bool, double: bool, scale: int) -> object:
    """The value of a sum kept as an int: correctly rounded division, None for an int that does not fit 64 bits."""
    if mean:
        return total / (count * scale)
    if double:
        return total / scale
    return total if INT_MIN <= total <= INT_MAX else None


def extreme_folder(aggregate: str, double: bool) -> Fold:
    """Keeps the smallest or largest value."""
    form = _DOUBLE if double else _INT
    pick: Callable[..., object] = min if aggregate == "min" else max

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        if cell is None:
            return form.pack(at_ms, value)
        newest_ms, best = form.unpack(cell)
        return form.pack(newest_ms if newest_ms > at_ms else at_ms, pick(best, value))

    return fold


def extreme_reader(double: bool) -> Read:
    form = _DOUBLE if double else _INT

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        age_ms = now_ms - _TIME.unpack_from(cell)[0]
        return UNKNOWN if age_ms < 0 else (form.unpack(cell)[1], age_ms)

    return read


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def value_codec(type_: str) -> tuple[Callable[[object], bytes], Callable[[bytes], object]]:
    """How a value of a type becomes bytes and comes back."""
    if type_ == "string":
        return lambda value: value.encode("utf-8", "surrogatepass"), _text
    form = Struct({"bool": "<?", "int": "<q", "double": "<d"}[type_])
    return form.pack, lambda raw: form.unpack(raw)[0]


def _name(signal_id: str) -> bytes:
    return signal_id.encode("utf-8", "surrogatepass")[:255]


def picked_folder(aggregate: str, type_: str) -> Fold:
    """Keeps the value of the newest (`last`) or oldest (`first`) signal by (at_ms, signal id), not by arrival.

    Layout: newest time; length of the id; id; for `first` the time of the signal kept; the value.
    """
    encode, _ = value_codec(type_)
    first = aggregate == "first"

    def fold_last(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        if cell is not None:
            newest_ms, size = _PICKED.unpack_from(cell)
            if newest_ms > at_ms or (newest_ms == at_ms and cell[9 : 9 + size] >= _name(signal_id)):
                return cell
        name = _name(signal_id)
        return _PICKED.pack(at_ms, len(name)) + name + encode(value)

    def fold_first(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        newest_ms, name = at_ms, _name(signal_id)
        if cell is not None:
            newest_ms, size = _PICKED.unpack_from(cell)
            kept_ms = _TIME.unpack_from(cell, 9 + size)[0]
            if (kept_ms, cell[9 : 9 + size]) <= (at_ms, name):
                return cell if at_ms <= newest_ms else _TIME.pack(at_ms) + cell[8:]
        return _PICKED.pack(max(newest_ms, at_ms), len(name)) + name + _TIME.pack(at_ms) + encode(value)

    return fold_first if first else fold_last


def picked_reader(aggregate: str, type_: str, window: tuple[int, int] | None) -> Read:
    """The value kept; with a window (hop_ms, tiles), `last` is missing once its signal has left the window."""
    _, decode = value_codec(type_)
    skip = 17 if aggregate == "first" else 9

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        newest_ms, size = _PICKED.unpack_from(cell)
        age_ms = now_ms - newest_ms
        if age_ms < 0:
            return UNKNOWN
        if window is not None and newest_ms // window[0] <= now_ms // window[0] - window[1]:
            return None, age_ms
        return decode(cell[skip + size :]), age_ms

    return read


def fingerprint(value: object) -> int:
    """64 bits that stand for a value in a `distinct` cell, so that the value itself is not kept."""
    text = f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def distinct_folder(hop_ms: int | None, distinct_max: int) -> Fold:
    """Keeps up to `distinct_max` fingerprints, each with the newest tile it was seen in.

    INVARIANT: those kept are the largest by (tile, fingerprint), whatever the order of arrival: a pair's tile
    only ever grows, so one that has been pushed out stays out unless it is seen in a newer tile.
    """

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        newest_ms, seen = (at_ms, {}) if cell is None else _distinct_parts(cell)
        tile = at_ms // hop_ms if hop_ms else 0
        mark = fingerprint(value)
        if at_ms <= newest_ms and seen.get(mark, -1) >= tile:
            assert cell is not None
            return cell
        seen[mark] = max(tile, seen.get(mark, 0))
        kept = sorted(((tile, mark) for mark, tile in seen.items()), reverse=True)[:distinct_max]
        return Struct(f"<q{len(kept)}Q{len(kept)}I").pack(
            max(newest_ms, at_ms), *(mark for _, mark in kept), *(tile for tile, _ in kept)
        )

    return fold


def _distinct_parts(cell: bytes) -> tuple[int, dict[int, int]]:
    size = (len(cell) - 8) // 12
    newest_ms, *rest = Struct(f"<q{size}Q{size}I").unpack(cell)
    return newest_ms, dict(zip(rest[:size], rest[size:], strict=True))


def distinct_reader(window: tuple[int, int] | None) -> Read:
    """How many different values; at most the feature's `distinct_max`."""

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        age_ms = now_ms - _TIME.unpack_from(cell)[0]
        if age_ms < 0:
            return UNKNOWN
        size = (len(cell) - 8) // 12
        if window is None:
            return size, age_ms
        floor = now_ms // window[0] - window[1]
        tiles = Struct(f"<{size}I").unpack_from(cell, 8 + 8 * size)
        return sum(tile > floor for tile in tiles) or None, age_ms

    return read
