"""The role of whoever learns tables from examples; adapters implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from opportune.core.models.card import Fit
from opportune.core.models.examples import TrainingSet


class LearnError(ValueError):
    """Examples from which nothing can be learned; says what is missing and what to do."""


class Trainer(Protocol):
    """Learns additive tables per offer. The same examples give the same tables."""

    @property
    def name(self) -> str:
        """The algorithm, its settings and the version of the library behind it, for the card."""

    def fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        """Tables for those of `offers` with enough rows; raises LearnError when there are none."""
