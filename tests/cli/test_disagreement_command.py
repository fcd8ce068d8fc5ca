"""`models disagreement`: what heavier models say of the decisions that were made, beside a server or without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from opportune.main import Machine

from .called import call

pytestmark = pytest.mark.slow



def test_before_anything_was_asked_it_says_so(playbook: Path) -> None:
    assert call("models", "disagreement", "--playbook", playbook).out == (
        "no heavier model was asked about a decision yet\n"
    )
    assert call("models", "disagreement", "--playbook", playbook, "--json").json == []


def test_days_are_shown_with_their_figures(playbook: Path) -> None:
    from opportune.core.models.disagreement import Disagreement, encode_disagreement
    from opportune.ports import StoredDrift

    found = Disagreement("a@1", "b@2", 1_795_514_400_000, 1_795_514_400_000, 4, 8, -0.4, 0.4, 0.1, 2, 1, (("d1", 0.2),))
    entry = StoredDrift("x", found.from_ms, "disagreement", "a", "b@2", "disagreement", 0, encode_disagreement(found))
    machine = Machine()
    place = machine.place(playbook, None)
    with machine.writing(place) as region:
        region.records.run(lambda tx: tx.put_drift(entry))
    line = call("models", "disagreement", "a", "--playbook", playbook, "--json").json[0]
    assert (line["day"], line["decisions"], line["mean_gap"], line["mean_distance"]) == ("2026-11-24", 4, -5.0, 5.0)
    assert (line["other_sign"], line["other_best"], line["worst"]) == (0.25, 0.25, ["d1"])
    told = call("models", "disagreement", "--playbook", playbook).out
    assert "-5.00 pt" in told
    assert "25.0%" in told
    assert call("models", "disagreement", "other", "--playbook", playbook, "--json").json == []
