"""Time goes on as it began: what is done to the machine's clock is told, not followed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from machines import EPOCH_MS, Machine

from opportune.adapters.system.steady import STEP_NS, step_ms_since

pytestmark = pytest.mark.slow

HOUR_MS = 3_600_000


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_a_clock_that_is_set_is_not_followed(tmp_path: Path, hours: int) -> None:
    machine, file = Machine(), tmp_path / "clock.json"
    clock = machine.clock(file)
    assert clock.now_ms() == EPOCH_MS
    machine.off_ms += hours * HOUR_MS
    machine.true_ms += 5_000
    first = clock.new_id()
    assert clock.now_ms() == EPOCH_MS + 5_000
    assert clock.steady.step_ms == step_ms_since(file, machine.sources()) == hours * HOUR_MS
    # A restart on the same boot goes on from where it was.
    machine.true_ms += 5_000
    again = machine.clock(file)
    assert (again.now_ms(), again.steady.step_ms) == (EPOCH_MS + 10_000, hours * HOUR_MS)
    assert again.new_id() > first
    machine.off_ms = 0
    machine.true_ms += 1_000
    again.now_ms()
    assert again.steady.step_ms == 0
    assert step_ms_since(file, machine.sources()) == 0


def test_an_accepted_clock_is_followed_from_the_next_start(tmp_path: Path) -> None:
    machine, file = Machine(), tmp_path / "clock.json"
    machine.clock(file).now_ms()
    machine.off_ms = HOUR_MS
    file.unlink()  # what `opportune doctor --accept-time` does
    clock = machine.clock(file)
    assert (clock.now_ms(), clock.steady.step_ms) == (EPOCH_MS + HOUR_MS, 0)


def test_time_begins_no_earlier_than_what_is_recorded_and_then_waits_for_the_machine(tmp_path: Path) -> None:
    machine, file = Machine(), tmp_path / "clock.json"
    machine.boot()
    machine.off_ms = -HOUR_MS  # booted with a clock that lost an hour
    clock = machine.clock(file, not_before_ms=EPOCH_MS)
    assert clock.now_ms() == EPOCH_MS
    seen = []
    for _ in range(4 * HOUR_MS // 1_000):
        machine.true_ms += 1_000
        seen.append(clock.now_ms())
        if machine.true_ms % 900_000 == 0:
            clock = machine.clock(file, not_before_ms=seen[-1])  # restarts meanwhile change nothing
    assert seen == sorted(seen)
    assert seen[HOUR_MS // 1_000] - EPOCH_MS == pytest.approx(HOUR_MS / 2, rel=0.02)
    assert abs(seen[-1] - (machine.true_ms + machine.off_ms)) < 2_000
    assert clock.steady.step_ms == 0


def test_a_drift_is_followed_slowly_and_never_backwards(tmp_path: Path) -> None:
    machine, chance = Machine(), Random(5)
    clock = machine.clock(tmp_path / "clock.json")
    last_ms, drift = clock.now_ms(), 0.0
    for _ in range(20_000):
        step_ms = chance.choice((1, 7, 300, 900))
        machine.true_ms += step_ms
        drift -= step_ms * 0.0005
        machine.off_ms = int(drift)
        now_ms = clock.now_ms()
        assert now_ms >= last_ms
        last_ms = now_ms
    assert abs(last_ms - (machine.true_ms + machine.off_ms)) < 50
    assert clock.steady.step_ms == 0


def test_less_than_a_second_is_made_up_for_without_going_back(tmp_path: Path) -> None:
    machine = Machine()
    clock = machine.clock(tmp_path / "clock.json")
    machine.off_ms = -900
    seen = []
    for _ in range(20_000):
        machine.true_ms += 1
        seen.append(clock.now_ms())
    assert seen == sorted(seen)
    assert machine.true_ms - seen[-1] == pytest.approx(200, abs=10)  # a hundredth of twenty seconds
    assert clock.steady.step_ms == 0


def test_another_boot_believes_the_machine(tmp_path: Path) -> None:
    machine, file = Machine(), tmp_path / "clock.json"
    machine.clock(file).now_ms()
    machine.true_ms += HOUR_MS
    machine.boot()
    machine.off_ms = 7_000
    assert step_ms_since(file, machine.sources()) is None
    assert machine.clock(file).now_ms() == EPOCH_MS + HOUR_MS + 7_000


@pytest.mark.parametrize("text", ["", "{", '{"boot": 3}', '{"boot": "boot-1"}'])
def test_a_file_that_is_none_is_as_no_file(tmp_path: Path, text: str) -> None:
    machine, file = Machine(), tmp_path / "clock.json"
    file.write_text(text)
    assert machine.clock(file).now_ms() == EPOCH_MS
    assert step_ms_since(file, machine.sources()) == 0


def test_a_thousand_jumps_of_an_hour_change_nothing(tmp_path: Path) -> None:
    machine, chance, file = Machine(), Random(7), tmp_path / "clock.json"
    clock = machine.clock(file)
    names = [clock.new_id()]
    for _ in range(1_000):
        machine.off_ms = chance.choice((-HOUR_MS, HOUR_MS, 0))
        machine.true_ms += chance.randint(1, 2_000)
        if chance.random() < 0.2:
            clock = machine.clock(file, not_before_ms=clock.now_ms())
        assert abs(clock.now_ms() - machine.true_ms) <= STEP_NS // 1_000_000
        names.append(clock.new_id())
    assert names == sorted(set(names))


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Machine().clock(tmp_path / "not there" / "clock.json")
    assert clock.now_ms() == EPOCH_MS
    assert "cannot be written" in caplog.text
