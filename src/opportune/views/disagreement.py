"""What heavier models say of decisions that were made, for people: by day, in words and figures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from opportune.core.models.disagreement import Disagreement
from opportune.core.signals import format_time


class DisagreementLine(msgspec.Struct, frozen=True):
    """One day of one pair of models. Distances are in points of uplift (1.0 is one purchase in 100 offers); shares are
    of pairs of decision and offer (`other_sign`) and of decisions (`other_best`)."""

    day: str
    fast: str
    heavy: str
    decisions: int
    mean_gap: float
    mean_distance: float
    root_mean_square: float
    other_sign: float
    other_best: float
    worst: tuple[str, ...]


def disagreement_lines(found: Sequence[Disagreement]) -> list[DisagreementLine]:
    """As they are shown, the newest first."""
    return [
        DisagreementLine(
            format_time(one.from_ms)[:10], one.fast, one.heavy, one.decisions, round(one.mean_gap * 100.0, 4),
            round(one.mean_distance * 100.0, 4), round(one.root_mean_square * 100.0, 4),
            round(one.other_sign / one.offers, 4) if one.offers else 0.0,
            round(one.other_best / one.decisions, 4) if one.decisions else 0.0, tuple(id_ for id_, _ in one.worst),
        )
        for one in found
    ]  # fmt: skip
