"""Draws and assignments: every chance in a decision is a hash, so that it can be repeated."""

from __future__ import annotations

import hashlib


def uniform(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts alone: the first 53 bits of BLAKE2b over them."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def in_holdout(salt: str, unit: str, share: float) -> bool:
    """Whether a unit belongs to the universal hold-out: the same answer for ever under the same salt."""
    return uniform(salt, "holdout", unit) < share
