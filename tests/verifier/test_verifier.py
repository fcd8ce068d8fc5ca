"""The verifier stands on its own, agrees with the writer on good logs, and can be run as a program."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import opportune.verifier
from opportune.adapters.files import TileLog
from opportune.core.ledger import commitment, entry
from opportune.verifier import main, verify_commit, verify_log

pytestmark = pytest.mark.slow

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "audit.example.com/opportune/eu-1/2026"
SALT = bytes(range(32))
SOURCE = Path(opportune.verifier.__file__)


def published(folder: Path, size: int) -> TileLog:
    entries = [f'{{"id":"{n}"}}'.encode() for n in range(size)]

    def source(start: int, stop: int) -> Sequence[bytes]:
        return entries[start:stop]

    log = TileLog(folder, ORIGIN, KEY)
    log.publish(source)
    return log


def test_it_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])

    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 512, 65_536, 65_793])
@pytest.mark.parametrize("missing", [False, True])
def test_it_reads_the_root_the_writer_signed(tmp_path: Path, size: int, missing: bool) -> None:
    log = published(tmp_path, size)
    report = verify_log(tmp_path, log.vkey, pinned=log.checkpoint().note)
    assert (report.ok, report.size, report.pinned_size) == (True, size, size)
    assert report.root == log.checkpoint().root.hex()
    if missing and size:
        next(path for path in (tmp_path / "tile/entries").rglob("*") if path.is_file()).unlink()
        assert not verify_log(tmp_path, log.vkey).ok


def test_every_older_checkpoint_is_continued(tmp_path: Path) -> None:
    pins = [published(tmp_path, size).checkpoint().note for size in (0, 1, 256, 300, 512, 65_536, 66_000)]
    log = published(tmp_path, 66_300)

    assert [verify_log(tmp_path, log.vkey, pinned=pin).first for pin in pins] == [None] * len(pins)


def test_commitments() -> None:
    record = entry(
        entry_id="1", ts_ms=1, kind="decision", region="eu", actor="system", commit=commitment(SALT, b"private")
    )

    assert verify_commit(record, SALT, b"private")
    assert not verify_commit(record, SALT, b"Private")
    assert not verify_commit(record, bytes(32), b"private")
    assert not verify_commit(b"{}", SALT, b"private")


@pytest.mark.parametrize("vkey", ["", "nonsense", f"{ORIGIN}+00000000+" + "A" * 44])
def test_a_key_that_is_none_is_reported(tmp_path: Path, vkey: str) -> None:
    published(tmp_path, 3)

    assert "verifier key" in str(verify_log(tmp_path, vkey).first)


def test_as_a_program_taken_out_of_the_package(tmp_path: Path) -> None:
    log = published(tmp_path / "log", 300)
    alone = tmp_path / "verifier.py"
    alone.write_text(SOURCE.read_text())
    command = [sys.executable, "-I", str(alone), str(tmp_path / "log"), log.vkey]
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    (tmp_path / "log/tile/entries/000").write_bytes(b"\x00\x02{}")
    bad = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (good.returncode, good.stdout[:5]) == (0, "good:")
    assert (bad.returncode, bad.stdout[:25]) == (1, "entry 0, tile/entries/000")


def test_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
