"""The promises of a playbook as tests of one's own suite: one per scenario, for `pytest.mark.parametrize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from opportune.adapters.playbook import load
from opportune.core.decisions.records import DecisionRecord
from opportune.core.decisions.scenarios import decided, run_scenario
from opportune.core.models import Scorecard
from opportune.core.playbook import Scenario
from opportune.core.releases import Release, compile_release, encode_manifest


class Promises(msgspec.Struct, frozen=True):
    """A compiled playbook with its scenarios by name."""

    release: Release
    scenarios: dict[str, Scenario]

    def broken(self, name: str) -> list[str]:
        """What came out other than promised, one sentence each; none when the promise holds."""
        return run_scenario(self.release.brain, self.scenarios[name], self.scenarios)

    def decided(self, name: str) -> DecisionRecord:
        """The scenario as a decision, whole."""
        return decided(self.release.brain, self.scenarios[name], self.scenarios)


def promises(folder: Path | str, cards: Sequence[Scorecard] = ()) -> Promises:
    """The promises of a playbook folder; `cards` score the scenarios that ask for a model."""
    release = compile_release(encode_manifest(load(folder).playbook, cards))
    return Promises(release, {one.scenario: one for one in release.playbook.scenarios})
