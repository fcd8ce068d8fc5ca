"""What models say of a customer, whatever is offered: numbers that policies read like features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opportune.core.decisions.brain import Brain

CUSTOMER_TARGETS = ("churn_risk",)


def score_name(target: str) -> str:
    """What policies call a model's number about the customer."""
    return f"score.{target}"


def customer_scores(brain: Brain, features: Mapping[str, Any]) -> dict[str, float]:
    """What models say of the customer, by the names that policies read; what no model says is not there."""
    found: dict[str, float] = {}
    for target in CUSTOMER_TARGETS:
        known = brain.further.get(target)
        if known is not None:
            scores = known.model.score(list(map(features.get, brain.views.names)))
            if scores.covered[0]:
                found[score_name(target)] = scores.p_accept[0]
    return found
