"""Settings of a playbook that do nothing under its way of weighing offers: legal, but hardly meant."""

from __future__ import annotations

from collections.abc import Iterator

from opportune.adapters.playbook.marks import Marks
from opportune.adapters.playbook.problems import PlaybookProblem
from opportune.core.playbook import Playbook

_PCVL_ONLY = "is used only where `arbitration` says `method: pcvl`: remove it, or change the method"


def idle_settings(playbook: Playbook, marks: Marks) -> Iterator[PlaybookProblem]:
    """Warnings, each at its place."""
    if playbook.app.arbitration.method == "pcvl":
        return
    for moment in playbook.app.moments:
        if moment.weights:
            yield marks.problem("moments", moment.moment, ("weights",), f"`weights` {_PCVL_ONLY}")
    for offer in playbook.offers:
        if offer.lever != 1.0:
            yield marks.problem("offers", offer.offer, ("lever",), f"`lever` {_PCVL_ONLY}")
