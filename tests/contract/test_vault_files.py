"""A vault in files keeps the contract of vaults; what it destroyed stands in no file."""

import os
import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from opportune.adapters.system.subject_keys import SubjectKeys
from opportune.adapters.system.vault import FileVault, VaultError
from opportune.core.customers import person_subject
from opportune.ports import Erased, Vault
from opportune.testing.contracts.vault import ANN, BEN, VaultContract


class TestFileVault(VaultContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folders = (tmp_path / f"keys{number}" for number in count())
        self.made: dict[Vault, Path] = {}

    def make(self) -> Vault:
        return self._opened(next(self.folders))

    def reopen(self, vault: Vault) -> Vault:
        """The old one stays open, as the file of a process that died would be left."""
        return self._opened(self.made[vault])

    def _opened(self, folder: Path) -> Vault:
        vault = FileVault(folder)
        self.made[vault] = folder
        return vault


def wrapped_keys(folder: Path) -> dict[bytes, bytes]:
    """Hashed subject to wrapped key, as they stand in the file."""
    connection = sqlite3.connect(folder / "subjects.db")
    try:
        return dict(connection.execute("SELECT subject, wrapped FROM keys").fetchall())
    finally:
        connection.close()


def all_bytes(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_destroyed_key_is_in_no_file(tmp_path: Path) -> None:
    """In a file of many pages, made and destroyed in many steps, after which SQLite has moved what it wants to."""
    vault = FileVault(tmp_path)
    destroyed: set[bytes] = set()
    for start in range(0, 3_000, 300):
        subjects = [person_subject(f"{number}") for number in range(start, start + 300)]
        for subject in subjects:
            vault.seal(subject, "p", b"plain")
        vault.flush()
        before = wrapped_keys(tmp_path)
        assert all(wrapped in all_bytes(tmp_path) for wrapped in list(before.values())[-3:])
        assert vault.destroy(subjects[::3]) == 100
        after = set(wrapped_keys(tmp_path).values())
        destroyed |= set(before.values()) - after
        content = all_bytes(tmp_path)
        assert [wrapped for wrapped in destroyed if wrapped in content] == []
        assert all(wrapped in content for wrapped in after)
    assert len(destroyed) == 1_000
    assert vault.open(person_subject("1"), "p", vault.seal(person_subject("1"), "p", b"here")) == b"here"


def test_no_subject_and_no_key_stands_there_in_clear(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    vault.seal(person_subject("ann@example.com"), "p", b"a plain text")
    vault.flush()
    content = all_bytes(tmp_path)
    assert b"ann" not in content
    assert b"plain" not in content
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_destroying_is_not_said_to_be_done_while_a_reader_holds_the_log(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    sealed = vault.seal(ANN, "p", b"plain")
    vault.flush()
    reading = sqlite3.connect(tmp_path / "subjects.db", isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT * FROM keys").fetchall()
    vault._subjects._for_writing().execute("PRAGMA busy_timeout = 1")
    with pytest.raises(sqlite3.OperationalError, match="try again"):
        vault.destroy([ANN])
    with pytest.raises(Erased):
        vault.open(ANN, "p", sealed)
    reading.close()
    assert vault.destroy([ANN]) == 0
    assert (tmp_path / "subjects.db-wal").stat().st_size == 0


def test_another_process_finds_keys_that_were_made_later(tmp_path: Path) -> None:
    vault, reader = FileVault(tmp_path), FileVault(tmp_path)
    sealed = vault.seal(ANN, "p", b"plain")
    with pytest.raises(Erased):
        reader.open(ANN, "p", sealed)
    vault.flush()
    assert reader.open(ANN, "p", sealed) == b"plain"
    later = vault.seal(BEN, "p", b"later")
    vault.flush()
    code = (
        "import sys; from opportune.adapters.system import FileVault;"
        "print(FileVault(sys.argv[1]).open('person/ben', 'p', bytes.fromhex(sys.argv[2])).decode())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), later.hex()], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "later"


def test_two_that_make_a_key_for_one_subject_are_noticed(tmp_path: Path) -> None:
    one, other = FileVault(tmp_path), FileVault(tmp_path)
    one.seal(ANN, "p", b"plain")
    other.seal(ANN, "p", b"plain")
    one.flush()
    with pytest.raises(sqlite3.IntegrityError):
        other.flush()


def test_keys_beyond_the_cache_are_read_again(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path / "subjects.db", os.urandom(32), cached_max=8)
    salts = {name: keys.find_or_make(name).salting for name in map(str, range(100))}
    keys.flush()
    for _ in range(2):
        for name, salt in salts.items():
            assert keys.find_or_make(name).salting == salt
    assert len(keys._young) + len(keys._old) <= 8
    keys.flush()
    assert keys.destroy(salts) == 100
    assert [keys.find(name) for name in salts] == [None] * 100


def test_a_failed_sync_leaves_the_keys_for_the_next(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    vault.seal(BEN, "p", b"first")
    vault.flush()
    sealed = vault.seal(ANN, "p", b"plain")
    blocking = sqlite3.connect(tmp_path / "subjects.db", isolation_level=None)
    blocking.execute("BEGIN IMMEDIATE")
    vault._subjects._for_writing().execute("PRAGMA busy_timeout = 1")
    with pytest.raises(sqlite3.OperationalError):
        vault.flush()
    blocking.execute("ROLLBACK")
    blocking.close()
    vault.flush()
    assert FileVault(tmp_path).open(ANN, "p", sealed) == b"plain"


def test_opening_goes_on_while_keys_are_destroyed(tmp_path: Path) -> None:
    """Every answer is either what was sealed or `Erased`, and after the call only the latter."""
    vault = FileVault(tmp_path)
    subjects = [person_subject(str(number)) for number in range(200)]
    sealed = {subject: vault.seal(subject, "p", subject.encode()) for subject in subjects}
    vault.flush()
    odd: list[object] = []

    def read() -> None:
        for subject in subjects * 5:
            try:
                if vault.open(subject, "p", sealed[subject]) != subject.encode():
                    odd.append(subject)
            except Erased:
                pass
            except BaseException as error:  # noqa: BLE001 - a thread has nobody to tell
                odd.append(error)

    threads = [Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 200, 20):
        assert vault.destroy(subjects[start : start + 20]) == 20
    for thread in threads:
        thread.join(60)
    assert odd == []
    for subject in subjects:
        with pytest.raises(Erased):
            vault.open(subject, "p", sealed[subject])


def test_keys_of_another_region_are_refused_instead_of_looking_erased(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    vault.seal(ANN, "p", b"plain")
    vault.flush()
    (tmp_path / "region.key").write_bytes(os.urandom(32))
    with pytest.raises(VaultError, match="backup"):
        FileVault(tmp_path)


def test_a_file_of_keys_that_others_can_read_is_refused(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    vault.seal(ANN, "p", b"plain")
    vault.flush()
    (tmp_path / "subjects.db").chmod(0o640)
    with pytest.raises(VaultError, match="chmod"):
        FileVault(tmp_path)


def test_looking_without_a_file_makes_none(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    with pytest.raises(Erased):
        vault.open(ANN, "p", b"\xc1" + bytes(40))
    assert vault.destroy([ANN]) == 0
    vault.flush()
    assert not (tmp_path / "subjects.db").exists()
