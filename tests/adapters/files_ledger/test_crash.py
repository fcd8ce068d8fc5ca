"""A publication may die at any write, sync or rename, by an error or by a power cut, and nothing is lost."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.adapters.files import TileLog
from opportune.adapters.files.disk import Disk
from opportune.core.ledger import Tree, leaf_hash
from opportune.verifier import verify_log

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

ORIGIN = "audit.example.com/opportune/eu-1/2026"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ALL = [f'{{"id":"{n}"}}'.encode() for n in range(1_000)]
# From an unfinished bundle, over the border of a tile that becomes full, to the next unfinished one.
STEPS = (200, 530, 800)


class Died(BaseException):
    """The process is gone; nobody may catch this."""


class FailingDisk(Disk):
    """A disk on which the n-th operation fails, and which after a power cut forgets what was not synced.

    `forget(rng)` undoes, as a file system may, what no fsync has made durable: content of files written,
    names of files renamed and of folders made, each with probability one half.
    """

    def __init__(self, fails_at: int, error: type[BaseException]) -> None:
        self.left = fails_at
        self.error = error
        self.unsynced_bytes: set[Path] = set()
        self.unsynced_names: list[tuple[Path, Path, bytes | None]] = []
        self.unsynced_folders: set[Path] = set()

    def _operation(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error("no more")

    def make_folder(self, path: Path) -> None:
        self._operation()
        super().make_folder(path)
        self.unsynced_folders.add(path)

    def write(self, path: Path, data: bytes) -> None:
        self.unsynced_bytes.add(path)
        try:
            self._operation()
        except BaseException:
            path.write_bytes(data[: len(data) // 2])
            raise
        super().write(path, data)

    def sync(self, path: Path) -> None:
        self._operation()
        super().sync(path)
        self.unsynced_bytes.discard(path)
        self.unsynced_names = [names for names in self.unsynced_names if names[1].parent != path]
        self.unsynced_folders = {folder for folder in self.unsynced_folders if folder.parent != path}

    def sync_all(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.sync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._operation()
        assert source not in self.unsynced_bytes, "renamed before its bytes were durable"
        self.unsynced_names.append((source, target, target.read_bytes() if target.exists() else None))
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._operation()
        super().remove(path)

    def forget(self, rng: random.Random) -> None:
        for _, target, before in reversed(self.unsynced_names):
            if rng.random() < 0.5:
                if before is None:
                    target.unlink()
                else:
                    target.write_bytes(before)
        for path in self.unsynced_bytes:
            if path.exists() and rng.random() < 0.5:
                path.write_bytes(b"")
        for folder in sorted(self.unsynced_folders):
            if rng.random() < 0.5:
                shutil.rmtree(folder, ignore_errors=True)


def source(size: int) -> Callable[[int, int], Sequence[bytes]]:
    return lambda start, stop: ALL[start : min(stop, size)]


def grown(folder: Path, steps: Sequence[int], disk: Disk | None = None) -> TileLog:
    log = TileLog(folder, ORIGIN, KEY, disk=disk)
    for size in steps:
        log.publish(source(size))
    return log


def operations(folder: Path, before: Sequence[int], size: int) -> int:
    grown(folder, before)
    disk = FailingDisk(0, Died)
    TileLog(folder, ORIGIN, KEY, disk=disk).publish(source(size))
    shutil.rmtree(folder)
    return -disk.left


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_power_cut_at_every_operation(tmp_path: Path, step: int) -> None:
    before, size = STEPS[:step], STEPS[step]
    count = operations(tmp_path / "count", before, size)
    assert count > 10
    for fails_at in range(1, count + 1):
        folder = tmp_path / str(fails_at)
        pinned = grown(folder, before).checkpoint() if before else None
        disk = FailingDisk(fails_at, Died)
        with pytest.raises(Died):
            TileLog(folder, ORIGIN, KEY, disk=disk).publish(source(size))
        disk.forget(random.Random(fails_at))
        reopened = TileLog(folder, ORIGIN, KEY)

        if pinned is not None:
            assert verify_log(folder, reopened.vkey, pinned=pinned.note).ok
        assert reopened.publish(source(900)).root == Tree().append(map(leaf_hash, ALL[:900]))[0].root()
        assert verify_log(folder, reopened.vkey, pinned=pinned.note if pinned else None).first is None


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_input_output_error_at_every_operation(tmp_path: Path, step: int) -> None:
    before, size = STEPS[:step], STEPS[step]
    count = operations(tmp_path / "count", before, size)
    for fails_at in range(1, count + 1):
        folder = tmp_path / str(fails_at)
        grown(folder, before)
        disk = FailingDisk(fails_at, OSError)
        log = TileLog(folder, ORIGIN, KEY, disk=disk)
        with pytest.raises(OSError, match="no more"):
            log.publish(source(size))

        assert log.publish(source(900)).size == 900
        assert verify_log(folder, log.vkey).first is None


def test_a_finished_publication_survives_every_power_cut(tmp_path: Path) -> None:
    for seed in range(20):
        folder = tmp_path / str(seed)
        disk = FailingDisk(0, Died)
        log = grown(folder, (300, 800), disk)
        disk.forget(random.Random(seed))

        assert verify_log(folder, log.vkey).size == 800
        assert verify_log(folder, log.vkey).first is None
        assert disk.unsynced_folders == set()


def test_what_was_signed_is_remembered_before_it_is_published(tmp_path: Path) -> None:
    written: list[str] = []

    class Watched(Disk):
        def rename(self, source: Path, target: Path) -> None:
            written.append(target.relative_to(tmp_path).as_posix())
            super().rename(source, target)

    grown(tmp_path, (300,), Watched())
    assert written[-2:] == ["state/signed", "checkpoint"]
    assert all(name.startswith("tile/") for name in written[:-2])
