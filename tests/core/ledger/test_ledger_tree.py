"""The tree agrees with RFC 6962: published vectors, a naive recursive oracle, and the tile definition."""

from hashlib import sha256

import msgspec
import pytest

from opportune.core.ledger import (
    EMPTY_ROOT,
    LedgerError,
    TileRef,
    Tree,
    decode_bundle,
    encode_bundle,
    growth,
    leaf_hash,
    node_hash,
    parse_tile_path,
    tile_path,
    tile_width,
)

# The leaves and roots every Certificate Transparency implementation is tested with (RFC 6962 reference code).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def oracle(hashes: list[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 defines it, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + oracle(hashes[:split]) + oracle(hashes[split:])).digest()


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(count)]


def test_certificate_transparency_vectors() -> None:
    tree = Tree()
    roots = [tree.root().hex()]
    for leaf in CT_LEAVES:
        tree, _ = tree.append([leaf_hash(leaf)])
        roots.append(tree.root().hex())

    assert roots == CT_ROOTS


def test_every_small_size_has_the_root_of_the_definition() -> None:
    tree, row = Tree(), leaves(300)
    for size in range(300):
        assert tree.root() == oracle(row[:size])
        tree, _ = tree.append(row[size : size + 1])


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_sizes_around_a_full_second_level(size: int) -> None:
    row = leaves(size)
    tree, full = Tree().append(row)

    assert tree.root() == oracle(row)
    assert sum(tile.level == 0 for tile in full) == size // 256
    assert sum(tile.level == 1 for tile in full) == size // 65_536


def test_it_does_not_matter_in_which_portions_leaves_arrive() -> None:
    row = leaves(1_500)
    whole, tiles = Tree().append(row)
    tree, written = Tree(), []
    for start, stop in [(0, 1), (1, 255), (255, 256), (256, 256), (256, 900), (900, 1_500)]:
        tree, full = tree.append(row[start:stop])
        written += full

    assert tree == whole
    assert sorted(written, key=lambda t: (t.level, t.index)) == tiles


def test_a_tree_resumes_from_its_stored_state() -> None:
    row = leaves(70_000)
    stored = msgspec.json.encode(Tree().append(row[:66_000])[0])
    resumed, _ = msgspec.json.decode(stored, type=Tree).append(row[66_000:])

    assert resumed == Tree().append(row)[0]


def test_a_state_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(LedgerError, match="must hold 3 hashes"):
        Tree(3, (bytes(64),))
    with pytest.raises(LedgerError, match="needs 2 edge tiles"):
        Tree(256, (b"",))
    with pytest.raises(LedgerError, match="32 bytes each"):
        Tree().append([b"short"])


def test_tiles_of_the_specification_example() -> None:
    """c2sp.org/tlog-tiles: the tiles of a tree of size 70,000."""
    row = leaves(70_000)
    tree, full = Tree().append(row)
    counts = [sum(tile.level == level for tile in full) for level in range(3)]

    assert counts == [273, 1, 0]
    assert [(t.level, t.index, t.width) for t in tree.partials()] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert tree.partials()[1].data[:32] == oracle(row[65_536 : 65_536 + 256])
    assert tree.partials()[2].data == oracle(row[:65_536])


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1_234_067, 12, "tile/0/x001/x234/067.p/12"),
        (63, 999, 1, "tile/63/999.p/1"),
        (1, 1_000, 256, "tile/1/x001/000"),
        (None, 273, 112, "tile/entries/273.p/112"),
        (None, 1_234_067, 256, "tile/entries/x001/x234/067"),
    ],
)
def test_tile_paths(level: int | None, index: int, width: int, path: str) -> None:
    assert tile_path(level, index, width) == path
    assert parse_tile_path(path) == TileRef(level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/64/000", "tile/00/000", "/tile/0/000",
        "tile/0/000/", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/999",
        "tile/0/x000/001", "tile/0/001/067", "tile/0/x001/x067", "tile/0/../0/000",
        "tile/entries/../../state/signed",
        "tile/0/%2e%2e/000", "tile/0/000\n", "tile/0/\u0660\u0660\u0660", "tile/data/000", "checkpoint",
    ],
)  # fmt: skip
def test_what_is_not_a_tile_path_is_refused(path: str) -> None:
    with pytest.raises(LedgerError):
        parse_tile_path(path)


def test_tile_widths() -> None:
    widths = [tile_width(70_000, *at) for at in [(0, 272), (0, 273), (0, 274), (None, 273), (1, 1), (2, 0)]]

    assert widths == [256, 112, 0, 112, 17, 1]


def test_bundles_keep_exact_bytes() -> None:
    entries = [b"", b"{}", b"x" * 65_535]

    assert encode_bundle([b"{}"]) == b"\x00\x02{}"
    assert decode_bundle(encode_bundle(entries)) == entries
    with pytest.raises(LedgerError, match="ends inside its entry 2"):
        decode_bundle(encode_bundle(entries)[:-1])
    with pytest.raises(LedgerError, match="entry 513 has 65536 bytes"):
        encode_bundle([b"", b"x" * 65_536], start=512)


def test_growth_writes_full_and_partial_files() -> None:
    entries = [str(n).encode() for n in range(600)]
    tree, files = growth(Tree(), entries[:300], partials=True)
    assert sorted(files) == [
        "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44",
    ]  # fmt: skip

    grown, files = growth(tree, entries[256:], partials=True)
    assert sorted(files) == [
        "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88",
    ]  # fmt: skip
    assert files["tile/entries/001"] == encode_bundle(entries[256:512])
    assert grown.root() == oracle(leaves(600))


def test_growth_refuses_entries_that_contradict_the_tree() -> None:
    entries = [str(n).encode() for n in range(300)]
    tree, _ = growth(Tree(), entries, partials=True)

    with pytest.raises(LedgerError, match="entry 260 is missing or is not"):
        growth(tree, [*entries[256:260], b"another", *entries[261:]], partials=True)
    with pytest.raises(LedgerError, match="entry 290 is missing or is not"):
        growth(tree, entries[256:290], partials=True)


def test_leaves_cannot_pass_for_nodes() -> None:
    left, right = leaves(2)

    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"") != EMPTY_ROOT
