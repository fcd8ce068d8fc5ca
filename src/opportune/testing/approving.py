"""Approves models for tests and benchmarks as people do: in the registry, by somebody else than the author."""

from __future__ import annotations

from collections.abc import Iterable

from opportune.core.models import Scorecard, card_hash
from opportune.core.playbook import ModelSpec
from opportune.flows.approve import People
from opportune.flows.region import Region

APPROVERS: People = {"approver-one": ("model_approver",), "approver-two": ("compliance",)}
AUTHOR = "author"


def approve_all(region: Region, cards: Iterable[Scorecard], specs: Iterable[ModelSpec] = ()) -> None:
    """Every card proposed by an author and approved by as many others as its risk takes; once is enough."""
    described = {spec.model: spec for spec in specs}
    for card in cards:
        standing = region.registry.propose(card, AUTHOR, described.get(card.model))
        for person in APPROVERS:
            if not standing.approved:
                standing = region.registry.approve(card_hash(card), person, APPROVERS, "made for a test")
