"""Disagreement: how far a heavier model, asked after the answer, is from the model that answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, Protocol

import msgspec
import numpy as np

from opportune.core.models.card import Scorecard, card_hash
from opportune.core.models.compiling import compile_scorecard
from opportune.core.models.joint import Floats

WORST_KEPT = 5


class HeavyModel(Protocol):
    """A model that is too slow to be waited for. `name` holds its hash."""

    @property
    def name(self) -> str: ...

    def uplifts(self, rows: Sequence[Mapping[str, Any]], offers: Sequence[str]) -> Floats:
        """(rows, offers): the uplift of each offer for features by name; not a number where it knows nothing."""


class CardModel:
    """A scorecard as a heavy model."""

    def __init__(self, card: Scorecard) -> None:
        self.name = f"{card.model}@{card_hash(card)[:12]}"
        self._card = card
        self._names = tuple(table.name for table in card.features)

    def uplifts(self, rows: Sequence[Mapping[str, Any]], offers: Sequence[str]) -> Floats:
        model = compile_scorecard(self._card, offers, self._names)
        found = np.array([model.score([row.get(name) for name in self._names]).uplift for row in rows])
        return np.where(model.covered, found.reshape(len(rows), len(offers)), np.nan)


class Disagreement(msgspec.Struct, frozen=True):
    """Sums over decisions, so that two of them add up. No customer's data.

    `offers` are the (decision, offer) pairs that both models know; `gap` is heavy less fast, in uplift; `other_sign`
    counts pairs of which one says gain and the other loss, `other_best` decisions for which the heavy one has another
    offer first. `worst` are the decisions with the largest mean distance.
    """

    fast: str
    heavy: str
    from_ms: int
    to_ms: int
    decisions: int = 0
    offers: int = 0
    gap: float = 0.0
    gap_abs: float = 0.0
    gap_squared: float = 0.0
    other_sign: int = 0
    other_best: int = 0
    worst: tuple[tuple[str, float], ...] = ()

    def plus(self, other: Disagreement) -> Disagreement:
        """Both together."""
        worst = sorted((*self.worst, *other.worst), key=lambda one: (-one[1], one[0]))[:WORST_KEPT]
        return msgspec.structs.replace(
            self, from_ms=min(self.from_ms, other.from_ms), to_ms=max(self.to_ms, other.to_ms),
            decisions=self.decisions + other.decisions, offers=self.offers + other.offers, gap=self.gap + other.gap,
            gap_abs=self.gap_abs + other.gap_abs, gap_squared=self.gap_squared + other.gap_squared,
            other_sign=self.other_sign + other.other_sign, other_best=self.other_best + other.other_best,
            worst=tuple(worst),
        )  # fmt: skip

    @property
    def mean_gap(self) -> float:
        return self.gap / self.offers if self.offers else 0.0

    @property
    def mean_distance(self) -> float:
        return self.gap_abs / self.offers if self.offers else 0.0

    @property
    def root_mean_square(self) -> float:
        return sqrt(self.gap_squared / self.offers) if self.offers else 0.0


def disagreement(
    fast: str, heavy: str, decisions: Sequence[tuple[str, int]], said: Sequence[Floats], other: Sequence[Floats]
) -> Disagreement:
    """Of decisions (id, at_ms), from what both models said of the same offers; not a number: nothing."""
    times = [at_ms for _, at_ms in decisions]
    found = Disagreement(fast, heavy, min(times), max(times))
    for (id_, at_ms), one, two in zip(decisions, said, other, strict=True):
        both = ~(np.isnan(one) | np.isnan(two))
        if not both.any():
            continue
        ours, theirs = one[both], two[both]
        gaps = theirs - ours
        distance = round(float(np.abs(gaps).mean()), 9)
        found = found.plus(
            Disagreement(
                fast, heavy, at_ms, at_ms, 1, len(gaps), float(gaps.sum()), float(np.abs(gaps).sum()),
                float((gaps**2).sum()), int(((ours > 0.0) != (theirs > 0.0)).sum()),
                int(ours.argmax() != theirs.argmax()), ((id_, distance),),
            )
        )  # fmt: skip
    return found


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Disagreement)


def encode_disagreement(found: Disagreement) -> bytes:
    """The bytes that are kept."""
    return _ENCODER.encode(found)


def decode_disagreement(data: bytes) -> Disagreement:
    """Back from its bytes; msgspec.ValidationError when they are not one."""
    return _DECODER.decode(data)
