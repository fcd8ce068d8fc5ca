"""SIGKILL in the middle of a backfill, again and again, while signals come in: each goes into each cell once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from backfilling import COUNT
from evolved import cells_of, next_playbook, random_drafts, tell_both
from small import region_of

from opportune.flows.backfill import current
from opportune.testing.clock import FrozenClock

PROCESS = Path(__file__).with_name("backfilling.py")


def killed_after(folder: Path, seed: int, lines: int) -> bool:
    """Runs the process until it has said so many lines, then kills it; True when it came to its end before."""
    with subprocess.Popen([sys.executable, PROCESS, folder, str(seed)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(lines):
            line = process.stdout.readline()
            if line == b"done\n":
                process.wait()
                return True
            assert line, "the process failed"
        process.kill()
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_backfill_that_is_killed_goes_on_and_counts_nothing_twice(tmp_path: Path, seed: int) -> None:
    chance, kills = Random(seed), 0
    while not killed_after(tmp_path / "one", seed, chance.randint(1, 12)):
        kills += 1
        assert kills < 60
    assert kills >= 3
    with (
        region_of(tmp_path / "one", kind="sqlite", clock=FrozenClock()) as region,
        region_of(tmp_path / "two", next_playbook(), clock=FrozenClock()) as other,
    ):
        for one in random_drafts(seed, COUNT):
            tell_both((other,), one)
        live = region.releases.live().hash
        assert region.records.counts()["signals"] == other.records.counts()["signals"]
        assert cells_of(region, live) == cells_of(other, live)
        assert current(region).owed == ()
