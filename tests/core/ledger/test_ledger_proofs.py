"""Proofs lead to the root they are for, and to no other; the .tlog-proof keeps exactly one spelling."""

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.core.ledger import (
    HashReader,
    LedgerError,
    LogProof,
    Tree,
    check_consistency,
    check_inclusion,
    check_proof,
    consistency_proof,
    encode_proof,
    inclusion_proof,
    leaf_hash,
    parse_proof,
    parse_vkey,
    perfect_root,
    sign_checkpoint,
    tile_hashes,
    vkey,
)

LEAVES = [leaf_hash(str(n).encode()) for n in range(1_200)]
ROOTS: dict[int, bytes] = {}


def root(size: int) -> bytes:
    if size not in ROOTS:
        ROOTS[size] = Tree().append(LEAVES[:size])[0].root()
    return ROOTS[size]


def plain_reader(height: int, index: int) -> bytes:
    return perfect_root(b"".join(LEAVES[index << height : (index + 1) << height]))


def tiled_reader(size: int) -> HashReader:
    tree, full = Tree().append(LEAVES[:size])
    tiles = {(tile.level, tile.index): tile.data for tile in [*full, *tree.partials()]}
    return tile_hashes(size, lambda level, index, width: tiles[level, index][: width * 32])


sizes = st.integers(1, len(LEAVES))


def changed(data: Any, path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A path with one thing wrong: a flipped bit, a missing, an added or a doubled hash, or two swapped."""
    kinds = ["add"] + (["flip", "drop"] if path else []) + (["swap"] if len(set(path)) > 1 else [])
    kind = data.draw(st.sampled_from(kinds))
    at = data.draw(st.integers(0, max(0, len(path) - 1)))
    if kind == "add":
        return (*path[:at], bytes(32), *path[at:])
    if kind == "drop":
        return path[:at] + path[at + 1 :]
    if kind == "swap":
        return tuple(reversed(path)) if tuple(reversed(path)) != path else (*path, path[0])
    bit = data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(path[at], "big") ^ (1 << bit)).to_bytes(32, "big")
    return (*path[:at], flipped, *path[at + 1 :])


@given(st.data(), sizes)
@settings(max_examples=150, deadline=None)
def test_inclusion(data: Any, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, tiled_reader(size))

    assert path == inclusion_proof(index, size, plain_reader)
    check_inclusion(LEAVES[index], index, size, root(size), path)
    with pytest.raises(LedgerError):
        check_inclusion(LEAVES[index], index, size, root(size), changed(data, path))
    with pytest.raises(LedgerError):
        check_inclusion(leaf_hash(b"another"), index, size, root(size), path)


@given(st.data(), sizes)
@settings(max_examples=150, deadline=None)
def test_consistency(data: Any, new: int) -> None:
    old = data.draw(st.integers(0, new))
    path = consistency_proof(old, new, tiled_reader(new))

    check_consistency(old, root(old), new, root(new), path)
    with pytest.raises(LedgerError):
        check_consistency(old, root(old), new, root(new), changed(data, path))
    with pytest.raises(LedgerError):
        check_consistency(old, bytes(32), new, root(new), path)
    with pytest.raises(LedgerError):
        check_consistency(new + 1, root(old), new, root(new), path)


def test_requests_beyond_the_tree_are_refused() -> None:
    for index, size in [(-1, 5), (5, 5), (0, 0)]:
        with pytest.raises(LedgerError, match="is not among"):
            inclusion_proof(index, size, plain_reader)
        with pytest.raises(LedgerError, match="is not among"):
            check_inclusion(LEAVES[0], index, size, root(5), ())
    with pytest.raises(LedgerError, match="no consistency proof"):
        consistency_proof(6, 5, plain_reader)


def test_a_tile_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(LedgerError, match="must hold 44 hashes"):
        inclusion_proof(0, 300, tile_hashes(300, lambda level, index, width: bytes(32 * 43)))


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "audit.example.com/test"
TRUSTED = parse_vkey(vkey(NAME, KEY))


def proof_of(index: int, size: int, extra: bytes = b"") -> bytes:
    note = sign_checkpoint(NAME, size, root(size), KEY).note
    return encode_proof(LogProof(index, inclusion_proof(index, size, plain_reader), note, extra))


def test_the_proof_file_is_spelled_as_specified() -> None:
    note = sign_checkpoint(NAME, 3, root(3), KEY).note
    top = b64encode(perfect_root(LEAVES[0] + LEAVES[1])).decode()

    expected = f"c2sp.org/tlog-proof@v1\nextra aGk=\nindex 2\n{top}\n\n".encode() + note
    assert proof_of(2, 3, b"hi") == expected
    assert proof_of(0, 1) == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + sign_checkpoint(NAME, 1, root(1), KEY).note


@given(st.integers(0, 299))
@settings(max_examples=30, deadline=None)
def test_a_proof_file_is_parsed_and_verified(index: int) -> None:
    proof = proof_of(index, 300, b"context")

    assert encode_proof(parse_proof(proof)) == proof
    assert check_proof(proof, str(index).encode(), TRUSTED).size == 300
    with pytest.raises(LedgerError, match="not under the root"):
        check_proof(proof, str(index + 1).encode(), TRUSTED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 7", "index 07"),
        ("index 7", "index +7"),
        ("index 7", "index 300"),
        ("index 7", "index 6"),
        ("index 7\n", ""),
        ("index 7\n", "index 7\nAAAA\n"),
        ("\n\n", "\n"),
        ("300", "301"),
    ],
)
def test_a_proof_file_with_anything_wrong_is_refused(old: str, new: str) -> None:
    proof = proof_of(7, 300)
    assert old.encode() in proof

    with pytest.raises(LedgerError):
        check_proof(proof.replace(old.encode(), new.encode(), 1), b"7", TRUSTED)


def test_a_proof_of_another_log_is_refused() -> None:
    stranger = parse_vkey(vkey(NAME, Ed25519PrivateKey.from_private_bytes(bytes(32))))

    with pytest.raises(LedgerError, match="not signed by"):
        check_proof(proof_of(7, 300), b"7", stranger)
