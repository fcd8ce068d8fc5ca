"""What a decision asks of a model, whoever made it, and how its numbers must look."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Protocol

from opportune.core.models.compiled import Reasons, Scores


class Model(Protocol):
    """A model of one release: all its offers in one call. The built-in one is `CompiledModel`."""

    def score(self, values: Sequence[object]) -> Scores:
        """Of every offer in the release's order; `values` in the order of its features."""

    def explain(self, scores: Scores, offer_index: int) -> Reasons:
        """The features that moved the uplift of one offer most, for values already scored."""


class GarbageScores(ValueError):
    """What a model said are no scores."""


def check_scores(scores: object, offers: int) -> Scores:
    """The scores, of as many offers and with numbers that can be; GarbageScores says what is wrong."""
    if not isinstance(scores, Scores):
        raise GarbageScores(f"a model answered with `{type(scores).__name__}`, not with scores")
    for name, low in (("p_accept", 0.0), ("uplift", -1.0), ("uplift_se", 0.0)):
        numbers = getattr(scores, name)
        if len(numbers) != offers:
            raise GarbageScores(f"a model gave {len(numbers)} numbers `{name}` for {offers} offers")
        for number in numbers:
            if not isinstance(number, float | int) or not isfinite(number) or number < low:
                raise GarbageScores(f"a model gave a number `{name}` that cannot be")
            if number > 1.0 and name != "uplift_se":
                raise GarbageScores(f"a model gave a number `{name}` above 1")
    if len(scores.covered) != offers:
        raise GarbageScores(f"a model covers {len(scores.covered)} of {offers} offers")
    return scores
