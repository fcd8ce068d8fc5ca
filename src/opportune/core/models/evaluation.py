"""Evaluation: a card judged by its own served scores on the last rows of a training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models import measures
from opportune.core.models.calibration import calibration_error, calibration_table
from opportune.core.models.card import CalibrationBin, Form
from opportune.core.models.compiled import CompiledModel
from opportune.core.models.examples import TrainingSet, weights


class Evaluation(msgspec.Struct, frozen=True):
    """Metrics by name (`qini`; `uplift.<offer>` for one offer's own), and predicted against observed shares."""

    metrics: Mapping[str, float]
    table: tuple[CalibrationBin, ...]


class Scored(msgspec.Struct, frozen=True):
    """The covered rows with what the card says of each: one entry per row.

    `outcome` is 0 or 1, or money; `predicted` the same as it was expected; `kept` are the rows' places among the
    examples. `best` is the place of the offer with the highest uplift for that customer, -1 where no offer's is
    above 0. `base` and `offered` are what was expected without the offer and with it.
    """

    place: NDArray[np.intp]
    treated: NDArray[np.bool_]
    outcome: NDArray[np.float64]
    weight: NDArray[np.float64]
    predicted: NDArray[np.float64]
    uplift: NDArray[np.float64]
    best: NDArray[np.intp]
    base: NDArray[np.float64]
    offered: NDArray[np.float64]
    kept: NDArray[np.intp]


def evaluate(model: CompiledModel, examples: TrainingSet, form: Form = "odds") -> Evaluation:
    """How good a card is, without what cannot be measured: AUC, log loss and calibration of chances; errors of
    amounts; uplift ranking, whether effects are as large as they are said to be, and the gain of acting on it.

    Rows are weighted by the inverse of their probability where effects are compared. `values` of the examples must
    be in the order the model was compiled for.
    """
    scored = score_examples(model, examples)
    table = calibration_table(scored.predicted, scored.outcome)
    found: dict[str, float | None] = _amounts(scored) if form == "amount" else _chances(scored, table)
    if form in ("odds", "effect"):
        curve = measures.uplift_curve(scored.uplift, scored.treated, scored.outcome, scored.weight)
        if curve is not None:
            found["qini"] = measures.qini(curve)
            found["auuc"] = measures.auuc(curve)
            found["auuc_random"] = float(curve[-1]) / 2.0
        found |= _policy(scored) | _slope(scored)
        for place, offer in enumerate(model.offers):
            found |= _per_offer(offer, scored, scored.place == place)
    else:
        for place, offer in enumerate(model.offers):
            found[f"rows.{offer}"] = float((scored.place == place).sum())
    return Evaluation({name: round(value, 6) for name, value in found.items() if value is not None}, table)


def _chances(scored: Scored, table: tuple[CalibrationBin, ...]) -> dict[str, float | None]:
    return {
        "auc": measures.auc(scored.predicted, scored.outcome),
        "log_loss": measures.log_loss(scored.predicted, scored.outcome),
        "ece": calibration_error(table) if table else None,
        "bought_share": float(scored.outcome.mean()) if table else None,
    }


def _amounts(scored: Scored) -> dict[str, float | None]:
    """In money: the mean seen and predicted, the mean size of the error, and that of saying an offer's mean to all.

    `amount_ratio` is the sum predicted for each unit of money that came in.
    """
    if not len(scored.outcome):
        return {}
    seen, said = scored.outcome, scored.predicted
    middle = np.array([seen[scored.place == place].mean() for place in scored.place])
    return {
        "amount_mean": float(seen.mean()),
        "amount_predicted": float(said.mean()),
        "amount_ratio": float(said.sum() / seen.sum()) if seen.sum() > 0 else None,
        "mae": float(np.abs(seen - said).mean()),
        "mae_of_mean": float(np.abs(seen - middle).mean()),
    }


def _slope(scored: Scored) -> dict[str, float | None]:
    """How much the effect grows where the card says that it grows by one: 1 where effects are as large as it says, less
    where it makes too much of them; with its standard error.

    The doubly robust regression of the effect on what is said of it (after Kennedy 2023): 1 plus what is left in the
    residuals of both sides, each weighted by the inverse of its probability.
    """
    if not scored.treated.any() or scored.treated.all():
        return {}
    spread = scored.uplift - np.average(scored.uplift, weights=scored.weight)
    total = float((scored.weight * spread**2).sum())
    if total <= 0.0:
        return {}
    left = np.where(scored.treated, scored.outcome - scored.offered, scored.base - scored.outcome)
    pulls = 2.0 * scored.weight * spread * left
    return {
        "uplift_slope": 1.0 + float(pulls.sum()) / total,
        "uplift_slope_se": float(np.sqrt((pulls**2).sum())) / total,
    }


def score_examples(model: CompiledModel, examples: TrainingSet) -> Scored:
    """Every row whose offer the card covers, scored as it would be served."""
    number = {offer: i for i, offer in enumerate(model.offers) if model.covered[i]}
    kept = [index for index, row in enumerate(examples.examples) if row.offer in number]
    rows = [examples.examples[index] for index in kept]
    scores = [model.score(row.values) for row in rows]
    place = [number[row.offer] for row in rows]
    best = []
    for one in scores:
        top = max(number.values(), key=one.uplift.__getitem__)
        best.append(top if one.uplift[top] > 0.0 else -1)
    chosen: list[tuple[Any, Any, int]] = list(zip(rows, scores, place, strict=True))
    money = examples.target == "value"
    return Scored(
        np.array(place, dtype=np.intp),
        np.array([row.treated for row in rows], dtype=np.bool_),
        np.array([row.amount if money else row.bought for row in rows], dtype=np.float64),
        weights(rows),
        np.array([s.p_accept[at] if row.treated else s.p_base[at] for row, s, at in chosen], dtype=np.float64),
        np.array([s.uplift[at] for _, s, at in chosen], dtype=np.float64),
        np.array(best, dtype=np.intp),
        np.array([s.p_base[at] for _, s, at in chosen], dtype=np.float64),
        np.array([s.p_accept[at] for _, s, at in chosen], dtype=np.float64),
        np.array(kept, dtype=np.intp),
    )


def _policy(scored: Scored) -> dict[str, float | None]:
    """What one presentation gains: with the logged choice of offer, and with the card's.

    The second is seen on the rows where the log happened to choose what the card would; inverse probability
    weights make them stand for all customers.
    """
    match = scored.place == scored.best
    return {
        "gain_logged": measures.effect(scored.treated, scored.outcome, scored.weight),
        "gain_policy": measures.effect(scored.treated[match], scored.outcome[match], scored.weight[match]),
        "rows_policy": float(match.sum()),
    }


def _per_offer(offer: str, scored: Scored, here: NDArray[np.bool_]) -> dict[str, float | None]:
    treated = scored.treated[here]
    if not here.any():
        return {}
    return {
        f"rows_offered.{offer}": float(treated.sum()),
        f"rows_baseline.{offer}": float((~treated).sum()),
        f"uplift_observed.{offer}": measures.effect(treated, scored.outcome[here], scored.weight[here]),
        f"uplift_predicted.{offer}": float(scored.uplift[here].mean()),
    }
