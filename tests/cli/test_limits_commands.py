"""`limits`, and what `doctor` says when the machine's clock was set and is not followed."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from opportune.adapters.system.steady import machine
from opportune.wiring import CLOCK

from .called import call

pytestmark = pytest.mark.slow


def test_a_clock_that_was_set_is_told_until_it_is_accepted(company: Path, tmp_path: Path) -> None:
    playbook = tmp_path / "set"
    copytree(company, playbook)
    sources = machine()
    # As a process left it that began before somebody set the clock back by an hour.
    ahead_ns = sources.wall_ns() - sources.counter_ns() + 3_600_000_000_000
    file = playbook / ".opportune/eu" / CLOCK
    file.write_text(json.dumps({"boot": sources.boot, "ahead_ns": ahead_ns}))
    said = call("doctor", "--playbook", playbook, "--json")
    clock = next(one for one in said.json["checks"] if one["name"] == "clock")
    assert said.code == 1
    assert clock["status"] == "bad"
    assert "set back by 3,600 s and is not followed" in clock["found"]
    assert "--accept-time" in clock["fix"]
    assert call("doctor", "--playbook", playbook, "--accept-time").code == 0
    assert not file.exists()


def test_limits_are_listed_with_what_is_left(company: Path) -> None:
    said = call("limits", "--playbook", company, "--json")
    found = {one["limit"]: one for one in said.json["limits"]}
    assert found["email.weekly"]["at_most"] == 1
    assert found["email.account_weekly"]["of"] == "account"
    shown = call("limits", "--playbook", company).out
    assert "7 days" in shown
    assert "in_app.same_offer" in shown
