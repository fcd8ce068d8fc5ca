"""What a playbook says about drift of a model: what is watched, in which windows, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from opportune.core.catalog import Document

Kind = Literal["input", "unseen", "missing", "wrong_type", "score", "calibration", "outcome", "disagreement"]
"""`input`: the distribution of a feature; `unseen`: categories that training did not see; `missing`: how often a
feature is; `wrong_type`: a value of another type than the feature's; `score`: what the model says; `calibration`: what
happens where the model says so much, by its predictions; `outcome`: how much more or less happens than it says;
`disagreement`: with the heavier model that is asked afterwards."""

Action = Literal["flag", "fall_back", "propose_retraining"]
"""`flag`: said in the ledger, the log and the console; `fall_back`: what was live before the card is made live again;
`propose_retraining`: a case for a person, who approves or refuses. The last two are flagged as well."""

KINDS: tuple[Kind, ...] = (
    "input", "unseen", "missing", "wrong_type", "score", "calibration", "outcome", "disagreement",
)  # fmt: skip

LIMITS: Mapping[Kind, float] = {
    "input": 0.2, "unseen": 0.02, "missing": 0.05, "wrong_type": 0.005, "score": 0.2, "calibration": 0.05,
    "outcome": 0.3, "disagreement": 0.05,
}  # fmt: skip
"""What a change must reach before anything follows, however certain it is. `input`, `score`: PSI (0.2 is the usual
bound of a change that matters, Siddiqi 2006), without what chance adds to it; `unseen`, `missing`, `wrong_type`,
`disagreement`: more of all rows; `calibration`: between predicted and observed share, as the root of its mean square,
without what chance adds; `outcome`: part of what was expected."""

ACTIONS: Mapping[Kind, Action] = {"calibration": "propose_retraining", "outcome": "propose_retraining"}


class DriftPolicy(Document, frozen=True, kw_only=True):
    """How a model is watched.

    Every `window` decisions and every `answers` of which the label window is over are held against `reference`: the
    training snapshot of the card, or the first window after it went live (for moments at which other customers come
    than those it was trained on). `false_alarm` is the chance of ever raising one alarm, over all features, segments
    and windows of a card, while nothing changes. `limits` and `actions` are by kind; what is not named has its default
    (see `opportune drift`), and is flagged. `look_early` is the least number of decisions a check on demand takes.
    """

    watch: tuple[Kind, ...] = KINDS
    window: Annotated[int, msgspec.Meta(ge=100, le=100_000)] = 1000
    answers: Annotated[int, msgspec.Meta(ge=50, le=100_000)] = 500
    look_early: Annotated[int, msgspec.Meta(ge=50, le=100_000)] = 200
    reference: Literal["training", "first_window"] = "training"
    false_alarm: Annotated[float, msgspec.Meta(gt=0.0, le=0.1)] = 0.002
    limits: Mapping[Kind, Annotated[float, msgspec.Meta(gt=0.0)]] = {}
    actions: Mapping[Kind, Action] = {}

    def limit(self, kind: Kind) -> float:
        return self.limits.get(kind, LIMITS[kind])

    def action(self, kind: Kind) -> Action:
        return self.actions.get(kind, ACTIONS.get(kind, "flag"))
