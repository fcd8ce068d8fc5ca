"""A published log verifies with code that shares nothing with its writer, and never contradicts itself."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.adapters.files import TileLog, TileNotFoundError, load_or_create_key
from opportune.core.ledger import LedgerError, Tree, check_consistency, encode_bundle, leaf_hash, parse_proof
from opportune.verifier import verify_log, verify_proof

pytestmark = pytest.mark.slow

ORIGIN = "audit.example.com/opportune/eu-1/2026"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ALL = [f'{{"id":"{n}"}}'.encode() for n in range(80_000)]


def source(size: int, entries: Sequence[bytes] = ALL) -> Callable[[int, int], Sequence[bytes]]:
    """What the system of record answers when it holds `size` entries."""
    return lambda start, stop: entries[start : min(stop, size)]


def root(size: int) -> bytes:
    return Tree().append(map(leaf_hash, ALL[:size]))[0].root()


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(found)}


@pytest.fixture
def log(tmp_path: Path) -> TileLog:
    return TileLog(tmp_path / "log", ORIGIN, KEY)


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_log_grows_through_every_kind_of_boundary(log: TileLog, tmp_path: Path) -> None:
    pinned: bytes | None = None
    for size in [
        0,
        1,
        2,
        255,
        256,
        257,
        511,
        512,
        700,
        1_024,
        25_600,
        25_601,
        51_200,
        65_535,
        65_536,
        65_537,
        80_000,
    ]:
        checkpoint = log.publish(source(size))
        report = verify_log(folder_of(tmp_path), log.vkey, pinned=pinned)

        assert (checkpoint.size, checkpoint.root) == (size, root(size))
        assert (report.ok, report.size, report.unsigned, report.strays) == (True, size, (), ())
        pinned = checkpoint.note


def test_one_publication_and_many_end_in_the_same_files(tmp_path: Path) -> None:
    at_once, by_steps = (TileLog(tmp_path / name, ORIGIN, KEY) for name in ("a", "b"))
    at_once.publish(source(70_000))
    for size in (256, 65_536, 70_000):
        by_steps.publish(source(size))

    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_publishing_again_changes_nothing(log: TileLog, tmp_path: Path) -> None:
    first = log.publish(source(300))
    before = files(folder_of(tmp_path))

    assert log.publish(source(300)) == first
    assert TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(300)) == first
    assert files(folder_of(tmp_path)) == before


def test_partial_tiles_stay_until_the_full_one_is_there(log: TileLog, tmp_path: Path) -> None:
    for size in (3, 7, 300):
        log.publish(source(size))

    names = [name for name in files(folder_of(tmp_path)) if name.startswith("tile/")]
    assert names == [
        "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44",
    ]  # fmt: skip


def test_reads(log: TileLog) -> None:
    with pytest.raises(LedgerError, match="has not been published"):
        log.checkpoint()
    signed = log.publish(source(300))

    assert log.checkpoint() == signed
    assert log.tile("tile/entries/001.p/44") == encode_bundle(ALL[256:300])
    assert len(log.tile("tile/0/000")) == 8_192
    with pytest.raises(TileNotFoundError, match=r"no `tile/0/001.p/43`"):
        log.tile("tile/0/001.p/43")
    for path in ("../log/state/signed", "tile/../state/signed", "tile/0/../../state/signed", "state/signed"):
        with pytest.raises(LedgerError, match="no tile path"):
            log.tile(path)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1_000, 66_000])
def test_proofs_verify_on_their_own(log: TileLog, size: int) -> None:
    log.publish(source(size))
    for index in {0, size // 2, max(0, size - 257), size - 1}:
        proof = log.proof(index, b"context")

        assert verify_proof(proof, ALL[index], log.vkey).ok
        assert parse_proof(proof).extra == b"context"
    with pytest.raises(LedgerError, match=f"entry `{size}` is not among the {size}"):
        log.proof(size)


def test_consistency_for_a_witness(log: TileLog) -> None:
    new = log.publish(source(66_000))
    for old in (0, 1, 256, 5_000, 65_536, 66_000):
        check_consistency(old, root(old), new.size, new.root, log.consistency(old))


def test_a_damaged_tile_does_not_become_a_proof(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(300))
    tile = folder_of(tmp_path) / "tile/0/000"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])

    with pytest.raises(LedgerError, match="not under the root"):
        log.proof(5)


@pytest.mark.parametrize("state", ["missing", "older"])
def test_state_is_taken_from_what_is_published(log: TileLog, tmp_path: Path, state: str) -> None:
    signed = folder_of(tmp_path) / "state/signed"
    older = log.publish(source(300)).note
    log.publish(source(700))
    signed.unlink()
    if state == "older":
        signed.write_bytes(older)

    assert TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(700)).root == root(700)
    assert TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(900)).root == root(900)
    assert verify_log(folder_of(tmp_path), log.vkey, pinned=older).ok


def test_damaged_edge_tiles_are_rebuilt_from_the_source(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(66_000))
    folder = folder_of(tmp_path)
    whole = files(folder)
    (folder / "tile/0/257.p/208").unlink()
    (folder / "tile/1/001.p/1").write_bytes(bytes(32))
    (folder / "tile/entries/100").unlink()

    TileLog(folder, ORIGIN, KEY).publish(source(66_000))
    assert files(folder) == whole


@pytest.mark.parametrize("name", ["tile/0/257.p/208", "tile/1/001.p/1", "tile/2/000.p/1"])
def test_an_altered_edge_tile_is_never_built_on(log: TileLog, tmp_path: Path, name: str) -> None:
    log.publish(source(66_000))
    whole = files(folder_of(tmp_path))
    (folder_of(tmp_path) / name).write_bytes(bytes(len(whole[name])))

    TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(66_000))
    assert files(folder_of(tmp_path)) == whole


def test_repair_writes_everything_anew(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(1_000))
    whole = files(folder_of(tmp_path))
    (folder_of(tmp_path) / "tile/entries/001").write_bytes(b"rot")
    (folder_of(tmp_path) / "tile/0/000").unlink()

    log.repair(source(1_000))
    assert files(folder_of(tmp_path)) == whole


@pytest.mark.parametrize("size", [300, 512, 1_024])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_source_that_lost_or_changed_logged_entries_is_refused(
    log: TileLog, tmp_path: Path, size: int, reopened: bool
) -> None:
    log.publish(source(size))
    before = files(folder_of(tmp_path))
    if reopened:
        log = TileLog(folder_of(tmp_path), ORIGIN, KEY)

    with pytest.raises(LedgerError, match=rf"missing entry {size - 10}"):
        log.publish(source(size - 10))
    with pytest.raises(LedgerError, match=rf"missing entry {size - 1} or holds another"):
        log.publish(source(size + 50, [*ALL[: size - 1], b"another", *ALL[size : size + 50]]))
    assert files(folder_of(tmp_path)) == before


def test_nothing_is_rebuilt_from_a_source_that_tells_another_story(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(300))
    (folder_of(tmp_path) / "tile/0/001.p/44").unlink()
    before = files(folder_of(tmp_path))

    with pytest.raises(LedgerError, match="its source holds other entries than the 300"):
        TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(300, [b"another", *ALL[1:300]]))
    assert files(folder_of(tmp_path)) == before


def test_two_signed_histories_stop_the_log(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(300))
    other = TileLog(tmp_path / "other", ORIGIN, KEY)
    fork = other.publish(source(300, [b"another", *ALL[1:300]]))
    (folder_of(tmp_path) / "checkpoint").write_bytes(fork.note)

    with pytest.raises(LedgerError, match="two signed roots for size 300"):
        TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(300))


def test_a_damaged_memory_of_what_was_signed_stops_the_log(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(300))
    (folder_of(tmp_path) / "state/signed").write_bytes(b"rot")

    with pytest.raises(LedgerError, match="state/signed` cannot be trusted"):
        log.publish(source(400))


def test_a_damaged_public_checkpoint_is_written_again(log: TileLog, tmp_path: Path) -> None:
    signed = log.publish(source(300))
    (folder_of(tmp_path) / "checkpoint").write_bytes(b"rot")

    assert log.publish(source(300)) == signed == log.checkpoint()


def test_another_key_cannot_continue_the_log(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(300))
    stranger = TileLog(folder_of(tmp_path), ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))

    with pytest.raises(LedgerError, match="not signed by"):
        stranger.publish(source(400))


def test_two_logs_on_one_folder_take_turns(log: TileLog, tmp_path: Path) -> None:
    second = TileLog(folder_of(tmp_path), ORIGIN, KEY)
    log.publish(source(100))
    second.publish(source(300))

    assert log.publish(source(700)).root == root(700)
    assert second.publish(source(701)).root == root(701)


def test_a_second_publisher_is_turned_away(log: TileLog, tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(start: int, stop: int) -> Sequence[bytes]:
        inside.set()
        leave.wait()
        return ALL[start : min(stop, 10)]

    thread = threading.Thread(target=log.publish, args=(slow,))
    thread.start()
    inside.wait()
    try:
        with pytest.raises(LedgerError, match="another process is publishing"):
            TileLog(folder_of(tmp_path), ORIGIN, KEY).publish(source(10))
    finally:
        leave.set()
        thread.join()


def test_an_entry_of_65535_bytes_is_the_largest(log: TileLog, tmp_path: Path) -> None:
    log.publish(source(2, [b"x" * 65_535, b""]))

    assert verify_log(folder_of(tmp_path), log.vkey).ok
    with pytest.raises(LedgerError, match="entry 2 has 65536 bytes"):
        log.publish(source(3, [b"x" * 65_535, b"", b"x" * 65_536]))


def test_a_source_that_gives_too_much_is_refused(log: TileLog) -> None:
    with pytest.raises(LedgerError, match="source gave 80000 entries"):
        log.publish(lambda start, stop: ALL)


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "log.pem"
    made = load_or_create_key(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path).private_bytes_raw() == made.private_bytes_raw()
    assert [file.name for file in path.parent.iterdir()] == ["log.pem"]
    path.chmod(0o644)
    with pytest.raises(LedgerError, match="run chmod 600"):
        load_or_create_key(path)


def test_a_file_that_is_no_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    path.write_bytes(b"something else")
    path.chmod(0o600)

    with pytest.raises(LedgerError, match="no unencrypted PEM"):
        load_or_create_key(path)
    assert path.read_bytes() == b"something else"
