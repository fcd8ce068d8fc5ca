"""Free-form features as hashed numbers: any JSON an application sends, without a schema, in a table of fixed size.

The hashing trick (Weinberger et al. 2009): a feature's place is a hash of its name, so nothing has to be declared and
nothing is kept by name. A text counts as the feature `name=text` of value 1, a number as the feature `name` of that
value, true as `name`, a list as its items, an object as its members under `name.member`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

FEATURES_MAX: Final = 1_000
DEPTH_MAX: Final = 8
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)

Places = NDArray[np.uint64]
Floats = NDArray[np.float64]


class Features(msgspec.Struct, frozen=True):
    """Hashes of 64 bits and their values; `measured` marks numbers, whose size is learned, apart from marks of 1."""

    hashes: Places
    values: Floats
    measured: NDArray[np.bool_]


class FeatureError(ValueError):
    """Features that cannot be read; `field` says where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def features_of(space: str, given: Sequence[Any] | Mapping[str, Any], field: str) -> Features:
    """The features of a list of objects (or of one), in a name space; FeatureError names what is too much or no JSON
    that can be learned from."""
    names: list[str] = []
    values: list[float] = []
    measured: list[bool] = []
    for name, value, number in _walk(space, given, field, 0):
        if value != 0.0:
            names.append(name)
            values.append(value)
            measured.append(number)
        if len(names) > FEATURES_MAX:
            raise FeatureError(field, f"at most {FEATURES_MAX} features: send fewer")
    hashes = b"".join([blake2b(name.encode(), digest_size=8).digest() for name in names])
    return Features(
        np.frombuffer(hashes, "<u8").astype(np.uint64), np.array(values, np.float64), np.array(measured, np.bool_)
    )


def crossed(one: Places, other: Places) -> Places:
    """A hash for every pair of features, the pairs of the first feature of `one` first."""
    with np.errstate(over="ignore"):
        mixed: Places = ((one[:, None] * _MIX) ^ other[None, :]) * _MIX
    return mixed.ravel()


def _walk(name: str, value: Any, field: str, depth: int) -> Iterator[tuple[str, float, bool]]:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        yield f"{name}={value}", 1.0, False
    elif isinstance(value, bool):
        yield name, 1.0 if value else 0.0, False
    elif isinstance(value, int | float):
        if not -1e15 <= value <= 1e15:
            raise FeatureError(field, "numbers lie between -1e15 and 1e15: leave this one out, or send it as a text")
        yield name, float(value), True
    elif isinstance(value, Mapping):
        if depth >= DEPTH_MAX:
            raise FeatureError(field, f"features are nested at most {DEPTH_MAX} deep")
        for key, inside in value.items():
            yield from _walk(f"{name}.{key}", inside, f"{field}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        if depth >= DEPTH_MAX:
            raise FeatureError(field, f"features are nested at most {DEPTH_MAX} deep")
        for place, inside in enumerate(value):
            # Items of a list of numbers are told apart by their place, those of other lists by what they are.
            at = f"{name}.{place}" if isinstance(inside, int | float) and not isinstance(inside, bool) else name
            yield from _walk(at, inside, f"{field}[{place}]", depth + 1)
    elif value is not None:
        raise FeatureError(field, f"{type(value).__name__} is no feature: send texts, numbers, true or false")
