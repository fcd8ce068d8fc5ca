"""`opportune adaptive`: what is believed of offers, by channel and segment; bad input names the fix."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from opportune.core.outcomes import OutcomePost
from opportune.doors.cli.workbench import Workbench
from opportune.main import Machine

from .called import call

pytestmark = pytest.mark.slow


def test_beliefs_are_listed_once_offers_arrived(company: Path, tmp_path: Path) -> None:
    playbook = tmp_path / "company"
    copytree(company, playbook)
    before = call("adaptive", "--playbook", playbook, "--json").json
    # Nobody was shown anything yet; who is held out is watched from the decision on.
    assert not any(one["shown"] for one in before["beliefs"])
    workbench: Workbench = Machine()
    with workbench.writing(workbench.place(playbook, None)) as region:
        region.start()
        made = region.records.decisions(50, disposition="offered")
        posts = [OutcomePost("delivered", decision=one.id) for one in made]
        region.act.run([*posts, OutcomePost("converted", decision=made[0].id, amount=9.0)])
    found = call("adaptive", "--playbook", playbook, "--json").json
    assert found["ready"]
    assert sum(one["shown"] for one in found["beliefs"]) == len(made)
    assert sum(one["bought"] for one in found["beliefs"]) >= 1
    offer = found["beliefs"][0]["offer"]
    shown = call("adaptive", offer, "--playbook", playbook)
    assert shown.code == 0
    assert offer in shown.out
    assert "purchases of kind" in shown.out
    wrong = call("adaptive", "nothing", "--playbook", playbook)
    assert wrong.code == 2
    assert "has no offer `nothing`" in wrong.err


def test_settings_that_cannot_work_are_found_with_their_place(playbook: Path) -> None:
    file = playbook / "opportune.yaml"
    text = file.read_text() + "\nadaptive:\n  window: 14d\n  segments: {plam: [team], seats: [20, 5]}\n"
    file.write_text(text)
    said = call("check", "--playbook", playbook)
    line = len(text.splitlines())
    assert said.code == 1
    assert f"opportune.yaml:{line}" in said.out + said.err
    assert "`plam` is no feature" in said.out + said.err
