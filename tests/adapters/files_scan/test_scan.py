"""The scan finds a text however it is written, wherever it stands, and says nothing of it."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from opportune.adapters.files import scan as scanning
from opportune.adapters.files.scan import FileScanner, scan

NAME = "Zoë Müller-Straße"
WRITTEN = {
    "utf-8": NAME.encode(),
    "json": json.dumps(NAME)[1:-1].encode(),
    "url": quote(NAME, safe="").encode(),
    "utf-16": NAME.encode("utf-16-le"),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_every_way_of_writing_is_found(tmp_path: Path, form: str) -> None:
    noise = random.Random(7).randbytes(50_000)
    for shift in range(4):
        file = tmp_path / f"at-{shift}.bin"
        file.write_bytes(noise + b"x" * shift + WRITTEN[form] + noise)
    (tmp_path / "clean").write_bytes(noise)
    found = scan([tmp_path], [NAME, "somebody-else"])
    assert {(Path(hit.path).name, hit.form) for hit in found.hits} == {(f"at-{n}.bin", form) for n in range(4)}
    assert found.files == 5
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_what_lies_across_two_chunks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "CHUNK_BYTES", 64)
    for before in range(40, 70):
        (tmp_path / "file").write_bytes(b"." * before + b"canary-0001" + b"." * 200)
        assert scan([tmp_path], ["canary-0001"]).hits, before
    (tmp_path / "file").write_bytes(b"." * 60 + b"canary-0002" + b"." * 200)
    assert not scan([tmp_path], ["canary-0001"]).hits


def test_another_process_scans_what_is_named_too(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.log"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "f").write_text("nothing")
    outside.write_text("said: CANARY-0001")
    scanner = FileScanner(lambda: [inside])
    assert scanner(["canary-0001"]).hits == ()
    assert [hit.path for hit in scanner(["CANARY-0001"], [str(outside)]).hits] == [str(outside)]
    assert scanner(["canary-0001"], [str(tmp_path / "missing")]).unread == (str(tmp_path / "missing"),)


def test_locks_of_an_open_store_outlive_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (v)")
    holder.execute("BEGIN IMMEDIATE")
    FileScanner(lambda: [tmp_path])(["canary-0001"])
    # Locks of one process do not bind itself: only another one can tell whether they still hold.
    code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    holder.execute("ROLLBACK")
    holder.close()
    assert "locked" in tried.stderr


def test_an_export_that_holds_one_is_removed_on_demand(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "hers.json").write_text("canary-0001")
    (exports / "his.json").write_text("canary-0002")
    (tmp_path / "log").write_text("canary-0001")
    scanner = FileScanner(lambda: [tmp_path], exports)
    assert scanner(["canary-0001"]).discarded == ()
    found = scanner(["canary-0001"], discard=True)
    assert found.discarded == (str(exports / "hers.json"),)
    assert [hit.path for hit in found.hits] == [str(tmp_path / "log")]
    assert [path.name for path in exports.iterdir()] == ["his.json"]
