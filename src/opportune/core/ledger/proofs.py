"""Inclusion and consistency proofs (RFC 6962 section 2.1), and the .tlog-proof that carries one."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from opportune.core.ledger.notes import (
    Checkpoint,
    VerifierKey,
    open_checkpoint,
    strict_base64,
    strict_decimal,
)
from opportune.core.ledger.tiles import tile_width
from opportune.core.ledger.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    LedgerError,
    fold_peaks,
    leaf_hash,
    node_hash,
    perfect_root,
)

HashReader = Callable[[int, int], bytes]
"""(height, index) -> root of the perfect subtree over leaves [index << height, (index + 1) << height)."""
TileReader = Callable[[int, int, int], bytes]
"""(level, index, width) -> the first `width` hashes of that tile, 32 bytes each."""

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
PROOF_HASHES_MAX: Final = 64


def tile_hashes(size: int, read_tile: TileReader) -> HashReader:
    """A hash reader over the tiles of a tree of `size` leaves; each tile is read once."""
    held: dict[tuple[int, int], bytes] = {}

    def read(height: int, index: int) -> bytes:
        level, rise = divmod(height, 8)
        tile, start = divmod(index << rise, TILE_WIDTH)
        if (level, tile) not in held:
            width = tile_width(size, level, tile)
            row = read_tile(level, tile, width)
            if len(row) != width * HASH_BYTES:
                raise LedgerError(f"tile {tile} of level {level} must hold {width} hashes")
            held[level, tile] = row
        row = held[level, tile][start * HASH_BYTES : (start + (1 << rise)) * HASH_BYTES]
        if len(row) != HASH_BYTES << rise:
            raise LedgerError(f"tree of size {size} has no subtree {index} of height {height}")
        return perfect_root(row)

    return read


def range_root(start: int, stop: int, read: HashReader) -> bytes:
    """MTH(D[start:stop]); `start` must be one of RFC 6962's split points."""
    peaks = []
    while start < stop:
        height = (stop - start).bit_length() - 1
        peaks.append(read(height, start >> height))
        start += 1 << height
    return fold_peaks(peaks)


def _split(width: int) -> int:
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """PATH(index, D[size]), from the leaf's sibling up to the root's child."""
    if not 0 <= index < size:
        raise LedgerError(f"entry `{index}` is not among the {size} of this checkpoint")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(range_root(middle, stop, read))
            stop = middle
        else:
            path.append(range_root(start, middle, read))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, read: HashReader) -> tuple[bytes, ...]:
    """PROOF(old, D[new]); empty for equal sizes and for `old` 0, which is consistent with everything."""
    if not 0 <= old <= new:
        raise LedgerError(f"no consistency proof from size `{old}` to {new}")
    if old in (0, new):
        return ()
    path: list[bytes] = []
    start, stop = 0, new
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append(range_root(middle, stop, read))
            stop = middle
        else:
            path.append(range_root(start, middle, read))
            start = middle
    if start:
        path.append(range_root(start, stop, read))
    return tuple(reversed(path))


def check_inclusion(leaf: bytes, index: int, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 section 2.1.3.2; raises `LedgerError` unless the path leads from `leaf` to `root`."""
    if not 0 <= index < size:
        raise LedgerError(f"entry `{index}` is not among the {size} of this checkpoint")
    position, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise LedgerError("inclusion proof has too many hashes")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise LedgerError("inclusion proof has too few hashes")
    if value != root:
        raise LedgerError(f"entry {index} is not under the root of this checkpoint")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 section 2.1.4.2; raises `LedgerError` unless the old log is a prefix of the new one."""
    if not 0 <= old <= new:
        raise LedgerError(f"log of size {new} is shorter than the older checkpoint of size {old}")
    if old in (0, new):
        same = old_root == (EMPTY_ROOT if old == 0 else new_root)
        if path or not same:
            raise LedgerError(f"two different logs of size {old}" if not same else "proof must be empty")
        return
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    if not hashes:
        raise LedgerError("consistency proof has too few hashes")
    first = second = hashes[0]
    for value in hashes[1:]:
        if last == 0:
            raise LedgerError("consistency proof has too many hashes")
        if position & 1 or position == last:
            first, second = node_hash(value, first), node_hash(value, second)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, value)
        position, last = position >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise LedgerError(f"log of size {new} does not continue the checkpoint of size {old}")


class LogProof(msgspec.Struct, frozen=True):
    """A .tlog-proof taken apart; `extra` is not authenticated, never trust it."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


def encode_proof(proof: LogProof) -> bytes:
    """The file an auditor or a customer receives (c2sp.org/tlog-proof)."""
    lines = [PROOF_HEADER]
    if proof.extra:
        lines.append(f"extra {b64encode(proof.extra).decode()}")
    lines.append(f"index {proof.index}")
    lines += [b64encode(value).decode() for value in proof.path]
    return "\n".join([*lines, "", ""]).encode() + proof.checkpoint


def parse_proof(data: bytes) -> LogProof:
    """The parts of a .tlog-proof; nothing in it is verified yet."""
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError as error:
        raise LedgerError("proof is not UTF-8") from error
    if not gap or lines.pop(0) != PROOF_HEADER:
        raise LedgerError(f"proof must begin with `{PROOF_HEADER}` and end in a checkpoint")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = strict_base64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise LedgerError("proof has no index line")
    index = strict_decimal(lines.pop(0).removeprefix("index "))
    path = tuple(strict_base64(line) for line in lines)
    if len(path) > PROOF_HASHES_MAX or any(len(value) != HASH_BYTES for value in path):
        raise LedgerError(f"proof must hold at most {PROOF_HASHES_MAX} hashes of 32 bytes")
    return LogProof(index, path, checkpoint, extra)


def check_proof(data: bytes, entry: bytes, trusted: VerifierKey) -> Checkpoint:
    """The checkpoint under which `entry` is proved to be; raises `LedgerError` if it is not."""
    proof = parse_proof(data)
    checkpoint = open_checkpoint(proof.checkpoint, trusted)
    check_inclusion(leaf_hash(entry), proof.index, checkpoint.size, checkpoint.root, proof.path)
    return checkpoint
