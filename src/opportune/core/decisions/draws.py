"""Draws and assignments: every chance in a decision is a hash, so that it can be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def uniform(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts alone: the first 53 bits of BLAKE2b over them."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def uniforms(ids: Iterable[str], draw: str) -> NDArray[np.float64]:
    """`uniform(id, draw)` for many ids."""
    end = f"\x1f{draw}"
    digests = b"".join([hashlib.blake2b(f"{id_}{end}".encode(), digest_size=8).digest() for id_ in ids])
    return (np.frombuffer(digests, ">u8") >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def in_holdout(salt: str, unit: str, share: float) -> bool:
    """Whether a unit belongs to the universal hold-out: the same answer for ever under the same salt."""
    return uniform(salt, "holdout", unit) < share
