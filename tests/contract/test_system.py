"""Clocks give names that sort by time, vaults give the same keys again and show them to nobody."""

import uuid
from pathlib import Path
from threading import Thread

import pytest

from opportune.adapters.system import FileVault, SystemClock
from opportune.adapters.system.vault import VaultError
from opportune.ports import Clock
from opportune.testing import FrozenClock


@pytest.mark.parametrize("clock", [SystemClock(), FrozenClock(seed=3)])
def test_ids_are_uuid7_of_now_and_always_grow(clock: Clock) -> None:
    before_ms = clock.now_ms()
    ids = [clock.new_id() for _ in range(5_000)]
    assert ids == sorted(set(ids))
    first = uuid.UUID(ids[0])
    assert str(first) == ids[0]
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert before_ms <= first.int >> 80 <= clock.now_ms()
    assert len({clock.salt() for _ in range(100)}) == 100
    assert clock.tick_us() <= clock.tick_us()


def test_threads_never_share_an_id() -> None:
    clock = SystemClock()
    ids: list[str] = []
    threads = [Thread(target=lambda: ids.extend([clock.new_id() for _ in range(2_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8_000


def test_a_frozen_clock_stands_and_repeats_itself() -> None:
    one, same, other = FrozenClock(seed=1), FrozenClock(seed=1), FrozenClock(seed=2)
    told = [(c.new_id(), c.new_id(), c.salt(), c.tick_us()) for c in (one, same, other)]
    assert told[0] == told[1] != told[2]
    earlier = one.new_id()
    one.at_ms -= 60_000
    assert one.new_id() > earlier
    one.at_ms += 120_000
    assert int(one.new_id().replace("-", "")[:12], 16) == one.now_ms()


def test_two_spellings_of_an_identifier_are_one(tmp_path: Path) -> None:
    vault = FileVault(tmp_path)
    assert vault.identifier("email", " Ann@Example.com ") == vault.identifier("email", "ann@example.com")
    assert vault.identifier("external", "A") != vault.identifier("external", "a")


def test_a_key_that_others_can_read_or_that_is_cut_is_refused(tmp_path: Path) -> None:
    FileVault(tmp_path)
    assert {key.stat().st_mode & 0o777 for key in tmp_path.iterdir()} == {0o600}
    (tmp_path / "region.key").chmod(0o640)
    with pytest.raises(VaultError, match="chmod"):
        FileVault(tmp_path)
    (tmp_path / "region.key").chmod(0o600)
    (tmp_path / "region.key").write_bytes(b"short")
    with pytest.raises(VaultError, match="backup"):
        FileVault(tmp_path)
