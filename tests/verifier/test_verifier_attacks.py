"""Every attack on a published log is refused, and the report names the entry and the file (RELIABILITY 1.4)."""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.adapters.files import TileLog
from opportune.core.ledger import decode_bundle, encode_bundle, leaf_hash, sign_checkpoint
from opportune.verifier import Report, verify_log, verify_proof

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

ORIGIN = "audit.example.com/opportune/eu-1/2026"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SIZE = 1_500
LAST = SIZE // 256
WIDE = 66_000
ALL = [f'{{"id":"{n}"}}'.encode() for n in range(WIDE + 300)]
SEEDS = range(6)


def source(size: int, entries: Sequence[bytes] = ALL) -> Callable[[int, int], Sequence[bytes]]:
    return lambda start, stop: entries[start : min(stop, size)]


def published(
    folder: Path, size: int = SIZE, entries: Sequence[bytes] = ALL, key: Ed25519PrivateKey = KEY
) -> TileLog:
    log = TileLog(folder, ORIGIN, key)
    log.publish(source(size, entries))
    return log


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks") / "log"
    published(folder)
    return folder


@pytest.fixture(scope="module")
def wide_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks") / "wide"
    published(folder, WIDE)
    return folder


VKEY = TileLog(Path("unused"), ORIGIN, KEY).vkey


class Victim:
    """A log whose files an attack may change; put back, and verified clean, when the attack is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: dict[Path, bytes | None] = {}

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes | None) -> None:
        path = self.folder / name
        self._before.setdefault(path, path.read_bytes() if path.exists() else None)
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def flip(self, name: str, rng: random.Random, start: int = 0, stop: int | None = None) -> int:
        """Flip one random bit; the position of its byte."""
        data = bytearray(self.read(name))
        at = rng.randrange(start, len(data) if stop is None else stop)
        data[at] ^= 1 << rng.randrange(8)
        self.write(name, bytes(data))
        return at

    def report(self) -> Report:
        return verify_log(self.folder, VKEY)

    def put_back(self) -> None:
        for path, data in self._before.items():
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(data)


@pytest.fixture
def victim(original: Path) -> Iterator[Victim]:
    yield from attacked(original, SIZE)


@pytest.fixture
def wide_victim(wide_original: Path) -> Iterator[Victim]:
    """As `victim`, with three levels of tiles."""
    yield from attacked(wide_original, WIDE)


def attacked(folder: Path, size: int) -> Iterator[Victim]:
    victim = Victim(folder)
    yield victim
    victim.put_back()
    clean = victim.report()
    assert (clean.ok, clean.size, clean.unsigned, clean.strays) == (True, size, (), ())


def first(report: Report) -> tuple[str, int | None]:
    assert report.first is not None, "the attack was not noticed"
    return report.first.file, report.first.index


def bundle_name(number: int) -> str:
    return f"tile/entries/{number:03d}" + (f".p/{SIZE % 256}" if number == LAST else "")


def numbers() -> list[int]:
    """Bundles at both ends and somewhere between."""
    return [0, LAST, *[random.Random(seed).randrange(1, LAST) for seed in SEEDS]]


def start_of(entries: Sequence[bytes], position: int) -> int:
    return sum(2 + len(entry) for entry in entries[:position])


@pytest.mark.parametrize("number", numbers())
def test_bit_flip_in_an_entry(victim: Victim, number: int) -> None:
    rng, name = random.Random(number), bundle_name(number)
    entries = decode_bundle(victim.read(name))
    at = rng.randrange(len(entries))
    start = start_of(entries, at) + 2
    victim.flip(name, rng, start, start + len(entries[at]))

    assert first(victim.report()) == (name, number * 256 + at)
    assert len(victim.report().findings) == 1


@pytest.mark.parametrize("number", [0, 100, 255, 256])
def test_bit_flip_in_an_entry_under_two_levels_of_tiles(wide_victim: Victim, number: int) -> None:
    wide_victim.flip(bundle_name(number), random.Random(number), 2, 9)

    assert [(found.file, found.index) for found in wide_victim.report().findings] == [
        (bundle_name(number), number * 256)
    ]


@pytest.mark.parametrize("number", numbers())
def test_bit_flip_in_the_length_of_an_entry(victim: Victim, number: int) -> None:
    rng, name = random.Random(number), bundle_name(number)
    entries = decode_bundle(victim.read(name))
    at = rng.randrange(len(entries))
    start = start_of(entries, at)
    victim.flip(name, rng, start, start + 2)

    assert first(victim.report()) == (name, number * 256 + at)


@pytest.mark.parametrize("number", numbers())
def test_bit_flip_in_a_leaf_tile(victim: Victim, number: int) -> None:
    name = bundle_name(number).replace("entries", "0")
    at = victim.flip(name, random.Random(number))

    assert first(victim.report()) == (name, number * 256 + at // 32)
    assert len(victim.report().findings) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "level"), [("tile/1/000", 1), ("tile/1/001.p/1", 1), ("tile/2/000.p/1", 2)])
def test_bit_flip_in_an_inner_tile(wide_victim: Victim, name: str, level: int, seed: int) -> None:
    at = wide_victim.flip(name, random.Random(seed))
    number = int(name[7:10])
    report = wide_victim.report()

    assert first(report) == (name, (number * 256 + at // 32) << 8 * level)
    assert len(report.findings) == 1


@pytest.mark.parametrize("seed", range(60))
def test_bit_flip_in_the_checkpoint(original: Path, tmp_path: Path, seed: int) -> None:
    """Body, signature and key id: at the first doubt about the signature nothing else is believed."""
    copy = Victim(tmp_path)
    copy.write("checkpoint", (original / "checkpoint").read_bytes())
    copy.flip("checkpoint", random.Random(seed))

    assert first(copy.report()) == ("checkpoint", None)
    assert copy.report().size == 0


def test_a_signature_has_one_spelling(victim: Victim) -> None:
    """Two bits of the last base64 character carry nothing; changing them is noticed all the same."""
    note = victim.read("checkpoint")
    victim.write("checkpoint", note[:-3] + bytes([note[-3] + 1]) + b"=\n")

    assert first(victim.report()) == ("checkpoint", None)
    assert "one spelling" in str(victim.report().first)


EDITS: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "insert": lambda entries, at: [*entries[:at], b"{}", *entries[at:]],
    "delete": lambda entries, at: [*entries[:at], *entries[at + 1 :]],
    "duplicate": lambda entries, at: [*entries[:at], entries[at + 1], *entries[at:]],
    "swap": lambda entries, at: [*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]],
    "replace": lambda entries, at: [*entries[:at], b"{}", *entries[at + 1 :]],
    "truncate": lambda entries, at: entries[:at],
    "empty": lambda entries, at: [*entries[:at], b"", *entries[at + 1 :]],
}


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("number", numbers()[:4])
def test_edited_bundle(victim: Victim, number: int, kind: str) -> None:
    name = bundle_name(number)
    at = random.Random(f"{kind}{number}").randrange(200)
    victim.write(name, encode_bundle(EDITS[kind](decode_bundle(victim.read(name)), at)))

    assert first(victim.report()) == (name, number * 256 + at)


@pytest.mark.parametrize("number", [0, 3, LAST])
@pytest.mark.parametrize("tail", [b"\x00", b"\x00\x02{}", b"\xff" * 70])
def test_bytes_after_the_last_entry(victim: Victim, number: int, tail: bytes) -> None:
    name = bundle_name(number)
    victim.write(name, victim.read(name) + tail)
    last = min(SIZE, number * 256 + 256) - 1

    assert first(victim.report()) == (name, last)
    assert "follow the last entry" in str(victim.report().first)


def test_entries_moved_across_bundles(victim: Victim) -> None:
    here, there = (decode_bundle(victim.read(bundle_name(n))) for n in (2, 3))
    victim.write(bundle_name(2), encode_bundle([*here, there[0]]))
    victim.write(bundle_name(3), encode_bundle(there[1:]))

    assert {(f.file, f.index) for f in victim.report().findings} == {(bundle_name(2), 767), (bundle_name(3), 768)}


@pytest.mark.parametrize("number", [0, 3, LAST])
def test_entry_and_leaf_hash_changed_together(victim: Victim, number: int) -> None:
    name = bundle_name(number)
    tile = name.replace("entries", "0")
    entries = decode_bundle(victim.read(name))
    victim.write(name, encode_bundle([*entries[:9], b"{}", *entries[10:]]))
    row = victim.read(tile)
    victim.write(tile, row[: 9 * 32] + leaf_hash(b"{}") + row[10 * 32 :])
    file, index = first(victim.report())

    # Which of the 256 cannot be known any more, except that it is in this bundle; at the edge not even that.
    assert (file, index) == ((name, number * 256) if number < LAST else ("checkpoint", None))


LAST_TILE = bundle_name(LAST).replace("entries", "0")
FILES = ["tile/entries/003", bundle_name(LAST), "tile/0/003", LAST_TILE, "tile/1/000.p/5", "checkpoint"]
WIDE_FILES = ["tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"]
LENGTHS: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda data: None,
    "empty": lambda data: b"",
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\x00",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", LENGTHS)
def test_files_of_the_wrong_length(victim: Victim, name: str, change: str) -> None:
    victim.write(name, LENGTHS[change](victim.read(name)))

    assert first(victim.report())[0] == name


@pytest.mark.parametrize("name", WIDE_FILES)
@pytest.mark.parametrize("change", LENGTHS)
def test_inner_tiles_of_the_wrong_length(wide_victim: Victim, name: str, change: str) -> None:
    wide_victim.write(name, LENGTHS[change](wide_victim.read(name)))

    assert first(wide_victim.report())[0] == name


def test_a_bundle_and_its_leaf_tile_are_both_gone(victim: Victim) -> None:
    victim.write("tile/entries/003", None)
    victim.write("tile/0/003", None)

    assert [(f.file, f.index) for f in victim.report().findings] == [("tile/entries/003", 768), ("tile/0/003", 768)]


@pytest.mark.parametrize("name", [bundle_name(LAST), LAST_TILE])
@pytest.mark.parametrize("width", [SIZE % 256 - 1, SIZE % 256 + 1])
def test_partial_file_under_another_width(victim: Victim, name: str, width: int) -> None:
    victim.write(name.replace(str(SIZE % 256), str(width)), victim.read(name))
    victim.write(name, None)

    assert name in {finding.file for finding in victim.report().findings}


def test_two_tiles_exchanged(victim: Victim) -> None:
    one, two = victim.read("tile/0/003"), victim.read("tile/0/004")
    victim.write("tile/0/003", two)
    victim.write("tile/0/004", one)

    assert first(victim.report()) == ("tile/0/003", 768)


@pytest.mark.parametrize("change", [-1, 1, 256, -SIZE])
def test_size_edited(victim: Victim, change: int) -> None:
    victim.write(
        "checkpoint", victim.read("checkpoint").replace(f"\n{SIZE}\n".encode(), f"\n{SIZE + change}\n".encode())
    )

    assert first(victim.report()) == ("checkpoint", None)


@pytest.mark.parametrize("change", [-1, 1, 256])
def test_size_edited_and_signed_with_the_real_key(victim: Victim, original: Path, change: int) -> None:
    root = TileLog(original, ORIGIN, KEY).checkpoint().root
    victim.write("checkpoint", sign_checkpoint(ORIGIN, SIZE + change, root, KEY).note)

    assert not victim.report().ok


def test_signed_with_another_key(victim: Victim, tmp_path: Path) -> None:
    stranger = published(tmp_path / "stranger", key=OTHER_KEY)
    victim.write("checkpoint", stranger.checkpoint().note)

    assert first(victim.report()) == ("checkpoint", None)
    assert "no signature by" in str(victim.report().first)


def test_another_log_of_the_same_key(victim: Victim) -> None:
    root = bytes(32)
    victim.write("checkpoint", sign_checkpoint("other.example/log", SIZE, root, KEY).note)

    assert first(victim.report()) == ("checkpoint", None)


def test_no_signature_at_all(victim: Victim) -> None:
    victim.write("checkpoint", victim.read("checkpoint").partition(b"\n\n")[0] + b"\n\n")

    assert first(victim.report()) == ("checkpoint", None)


def test_rollback_with_the_real_key(original: Path, tmp_path: Path) -> None:
    pinned = (original / "checkpoint").read_bytes()
    published(tmp_path / "log", SIZE - 300)

    assert verify_log(tmp_path / "log", VKEY).ok, "without a pinned checkpoint it cannot be seen"
    report = verify_log(tmp_path / "log", VKEY, pinned=pinned)
    assert first(report) == ("checkpoint", None)
    assert "rollback" in str(report.first)


@pytest.mark.parametrize("size", [SIZE, SIZE + 300])
@pytest.mark.parametrize("at", [0, 700, SIZE - 1])
def test_fork_with_the_real_key(original: Path, tmp_path: Path, size: int, at: int) -> None:
    pinned = (original / "checkpoint").read_bytes()
    published(tmp_path / "log", size, [*ALL[:at], b"{}", *ALL[at + 1 :]])

    assert verify_log(tmp_path / "log", VKEY).ok, "without a pinned checkpoint it cannot be seen"
    report = verify_log(tmp_path / "log", VKEY, pinned=pinned)
    assert first(report) == ("checkpoint", None)
    assert "fork" in str(report.first)


def test_a_pinned_checkpoint_of_another_log_is_not_accepted(original: Path) -> None:
    pinned = sign_checkpoint("other.example/log", 1, bytes(32), KEY).note

    assert first(verify_log(original, VKEY, pinned=pinned)) == ("pinned checkpoint", None)


def test_proof_of_another_log_and_another_entry(original: Path, tmp_path: Path) -> None:
    other = published(tmp_path / "other", 500, key=OTHER_KEY)
    proof = TileLog(original, ORIGIN, KEY).proof(123)

    assert verify_proof(proof, ALL[123], VKEY).ok
    assert not verify_proof(proof, ALL[124], VKEY).ok
    assert not verify_proof(proof, ALL[123], other.vkey).ok
    assert not verify_proof(other.proof(123), ALL[123], VKEY).ok


@pytest.mark.parametrize("seed", range(100))
def test_bit_flip_in_a_proof(original: Path, seed: int) -> None:
    proof = bytearray(TileLog(original, ORIGIN, KEY).proof(123))
    rng = random.Random(seed)
    proof[rng.randrange(len(proof))] ^= 1 << rng.randrange(8)

    assert not verify_proof(bytes(proof), ALL[123], VKEY).ok


@pytest.mark.parametrize("kind", ["more", "fewer", "swapped", "trailing", "index"])
def test_proof_with_other_hashes(original: Path, kind: str) -> None:
    lines = TileLog(original, ORIGIN, KEY).proof(123).split(b"\n")
    changed = {
        "more": [*lines[:2], lines[2], *lines[2:]],
        "fewer": [*lines[:2], *lines[3:]],
        "swapped": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "trailing": [*lines, b""],
        "index": [lines[0], b"index 1500", *lines[2:]],
    }[kind]

    assert not verify_proof(b"\n".join(changed), ALL[123], VKEY).ok


def test_the_last_entry_does_not_pass_for_one_after_it(original: Path) -> None:
    proof = TileLog(original, ORIGIN, KEY).proof(SIZE - 1)
    beyond = proof.replace(f"index {SIZE - 1}".encode(), f"index {SIZE}".encode())

    assert verify_proof(proof, ALL[SIZE - 1], VKEY).ok
    assert "beyond" in str(verify_proof(beyond, ALL[SIZE - 1], VKEY).first)


def test_an_inner_node_does_not_pass_for_an_entry(tmp_path: Path) -> None:
    log = published(tmp_path / "log", 2)
    forged = log.proof(0).split(b"\n")
    nodes = leaf_hash(ALL[0]) + leaf_hash(ALL[1])

    assert not verify_proof(b"\n".join([*forged[:2], *forged[3:]]), nodes, log.vkey).ok


def test_files_beyond_the_checkpoint_are_not_part_of_the_log(victim: Victim) -> None:
    victim.write("tile/entries/006", encode_bundle(ALL[:256]))
    victim.write("tile/notes.txt", b"hello")
    report = victim.report()

    assert report.ok
    assert (report.unsigned, report.strays) == (("tile/entries/006",), ("tile/notes.txt",))


@pytest.mark.parametrize("name", ["tile/entries/005.p/3", "tile/0/005.p/3", "tile/entries/002.p/3"])
def test_an_older_partial_file_must_begin_the_one_that_replaced_it(victim: Victim, name: str) -> None:
    victim.write(name, b"another story")
    assert first(victim.report()) == (name, None)

    start = 256 * (2 if "002" in name else LAST)
    three = ALL[start : start + 3]
    victim.write(name, b"".join(map(leaf_hash, three)) if "/0/" in name else encode_bundle(three))
    assert victim.report().ok


def test_a_partial_file_may_be_replaced_by_the_full_one(tmp_path: Path) -> None:
    """As after a publication between reading `checkpoint` and reading the tiles."""
    log = published(tmp_path / "log", 300)
    old = (tmp_path / "log" / "checkpoint").read_bytes()
    log.publish(source(600))
    (tmp_path / "log" / "checkpoint").write_bytes(old)

    assert verify_log(tmp_path / "log", log.vkey).ok
    shutil.rmtree(tmp_path / "log")
    assert first(verify_log(tmp_path / "log", log.vkey)) == ("checkpoint", None)
