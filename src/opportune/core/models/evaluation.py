"""Evaluation: a card judged by its own served scores on the last rows of a training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models import measures
from opportune.core.models.calibration import calibration_error, calibration_table
from opportune.core.models.card import CalibrationBin
from opportune.core.models.compiled import CompiledModel
from opportune.core.models.examples import TrainingSet, weights


class Evaluation(msgspec.Struct, frozen=True):
    """Metrics by name (`qini`; `uplift.<offer>` for one offer's own), and predicted against observed shares."""

    metrics: Mapping[str, float]
    table: tuple[CalibrationBin, ...]


class Scored(msgspec.Struct, frozen=True):
    """The covered rows with what the card says of each: one entry per row.

    `best` is the place of the offer with the highest uplift for that customer, -1 where no offer's is above 0.
    """

    place: NDArray[np.intp]
    treated: NDArray[np.bool_]
    bought: NDArray[np.float64]
    weight: NDArray[np.float64]
    predicted: NDArray[np.float64]
    uplift: NDArray[np.float64]
    best: NDArray[np.intp]


def evaluate(model: CompiledModel, examples: TrainingSet) -> Evaluation:
    """AUC, log loss, calibration, uplift ranking and the gain of acting on it, without what cannot be measured.

    Rows are weighted by the inverse of their probability where effects are compared. `values` of the examples must
    be in the order the model was compiled for.
    """
    scored = score_examples(model, examples)
    table = calibration_table(scored.predicted, scored.bought)
    found: dict[str, float | None] = {
        "auc": measures.auc(scored.predicted, scored.bought),
        "log_loss": measures.log_loss(scored.predicted, scored.bought),
        "ece": calibration_error(table) if table else None,
        "bought_share": float(scored.bought.mean()) if table else None,
    }
    curve = measures.uplift_curve(scored.uplift, scored.treated, scored.bought, scored.weight)
    if curve is not None:
        found["qini"] = measures.qini(curve)
        found["auuc"] = measures.auuc(curve)
        found["auuc_random"] = float(curve[-1]) / 2.0
    found |= _policy(scored)
    for place, offer in enumerate(model.offers):
        found |= _per_offer(offer, scored, scored.place == place)
    return Evaluation({name: round(value, 6) for name, value in found.items() if value is not None}, table)


def score_examples(model: CompiledModel, examples: TrainingSet) -> Scored:
    """Every row whose offer the card covers, scored as it would be served."""
    number = {offer: i for i, offer in enumerate(model.offers) if model.covered[i]}
    rows = [row for row in examples.examples if row.offer in number]
    scores = [model.score(row.values) for row in rows]
    place = [number[row.offer] for row in rows]
    best = []
    for one in scores:
        top = max(number.values(), key=one.uplift.__getitem__)
        best.append(top if one.uplift[top] > 0.0 else -1)
    chosen: list[tuple[Any, Any, int]] = list(zip(rows, scores, place, strict=True))
    return Scored(
        np.array(place, dtype=np.intp),
        np.array([row.treated for row in rows], dtype=np.bool_),
        np.array([row.bought for row in rows], dtype=np.float64),
        weights(rows),
        np.array([s.p_accept[at] if row.treated else s.p_base[at] for row, s, at in chosen], dtype=np.float64),
        np.array([s.uplift[at] for _, s, at in chosen], dtype=np.float64),
        np.array(best, dtype=np.intp),
    )


def _policy(scored: Scored) -> dict[str, float | None]:
    """What one presentation gains: with the logged choice of offer, and with the card's.

    The second is seen on the rows where the log happened to choose what the card would; inverse probability
    weights make them stand for all customers.
    """
    match = scored.place == scored.best
    return {
        "gain_logged": measures.effect(scored.treated, scored.bought, scored.weight),
        "gain_policy": measures.effect(scored.treated[match], scored.bought[match], scored.weight[match]),
        "rows_policy": float(match.sum()),
    }


def _per_offer(offer: str, scored: Scored, here: NDArray[np.bool_]) -> dict[str, float | None]:
    treated = scored.treated[here]
    if not here.any():
        return {}
    return {
        f"rows_offered.{offer}": float(treated.sum()),
        f"rows_baseline.{offer}": float((~treated).sum()),
        f"uplift_observed.{offer}": measures.effect(treated, scored.bought[here], scored.weight[here]),
        f"uplift_predicted.{offer}": float(scored.uplift[here].mean()),
    }
