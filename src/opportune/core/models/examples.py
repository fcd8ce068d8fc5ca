"""Examples: who was assigned which offer, what was known at that instant, and whether they then bought."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

WEIGHT_MAX = 20.0
"""No row counts more than this many times a row that was certain to happen."""


class Example(msgspec.Struct, frozen=True, array_like=True):
    """One assignment. `probability` is that of what happened to this unit, given what was known; `values` are in
    the order of the set's `feature_names`, None where missing; `bought` is within the label window.

    Of a set with another target than uplift, `bought` is what is predicted (accepted, left, annoyed), and `amount`
    the money a purchase brought. `beside` are features that the model does not read, by which figures are broken
    down."""

    at_ms: int
    unit: str
    offer: str
    treated: bool
    probability: float
    bought: bool
    values: tuple[object, ...]
    amount: float = 0.0
    beside: tuple[object, ...] = ()


class TrainingSet(msgspec.Struct, frozen=True):
    """Examples in time order, with what is needed to find out later where they came from.

    `feature_types` are bool, int, double or string. `left_out` counts assignments that became no example,
    by reason. `target` is that of the model's spec: a trainer learns what it asks for. Of a target that does not
    speak of offers (churn_risk) every example has the offer EVERY_OFFER.
    """

    feature_names: tuple[str, ...]
    feature_types: tuple[str, ...]
    examples: tuple[Example, ...]
    label_window_ms: int
    feature_views: Mapping[str, int] = {}
    left_out: Mapping[str, int] = {}
    target: str = "uplift"
    beside_names: tuple[str, ...] = ()
    beside_types: tuple[str, ...] = ()


class Slices(msgspec.Struct, frozen=True):
    """A training set cut by time: fit on the first, calibrate on the next, evaluate on the last."""

    fit: TrainingSet
    calibrate: TrainingSet
    evaluate: TrainingSet


def data_hash(examples: TrainingSet) -> str:
    """32 hexadecimal characters over every example."""
    said = (examples.target, examples.feature_names, examples.label_window_ms, examples.examples)
    return hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).hexdigest()


def split_by_time(examples: TrainingSet, later_share: float) -> Slices:
    """The last `later_share` of the rows is set aside: its first third calibrates, the rest evaluates.

    A row is left out of an earlier slice when its unit was assigned the same offer again in a later slice while its
    label window ran: one purchase must not be seen on both sides of a cut.
    """
    rows = examples.examples
    evaluate_at = len(rows) - round(len(rows) * later_share * 2 / 3)
    calibrate_at = len(rows) - round(len(rows) * later_share)
    fit = _without_shared(rows[:calibrate_at], rows[calibrate_at:], examples.label_window_ms)
    calibrate = _without_shared(rows[calibrate_at:evaluate_at], rows[evaluate_at:], examples.label_window_ms)
    replace = msgspec.structs.replace
    return Slices(
        replace(examples, examples=fit),
        replace(examples, examples=calibrate),
        replace(examples, examples=rows[evaluate_at:]),
    )


def weights(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Inverse of each row's probability, at most WEIGHT_MAX: the rows then stand for all customers."""
    return np.array([min(1.0 / max(row.probability, 1e-9), WEIGHT_MAX) for row in examples], dtype=np.float64)


def fit_weights(examples: Sequence[Example]) -> NDArray[np.float64]:
    """`weights` scaled to a mean of 1 among the rows of each (offer, treated): what was assigned more often keeps
    its say, and within it, customers to whom it seldom happens count more."""
    found = weights(examples)
    cells: dict[tuple[str, bool], list[int]] = {}
    for index, row in enumerate(examples):
        cells.setdefault((row.offer, row.treated), []).append(index)
    for rows in cells.values():
        found[rows] /= found[rows].mean()
    return found


def _without_shared(
    earlier: Sequence[Example], later: Sequence[Example], window_ms: int
) -> tuple[Example, ...]:
    first_later: dict[tuple[str, str], int] = {}
    for row in later:
        first_later.setdefault((row.unit, row.offer), row.at_ms)
    never = 2**62
    return tuple(r for r in earlier if first_later.get((r.unit, r.offer), never) - r.at_ms > window_ms)
