"""The life of a model: from the signal log to a scorecard that a release may carry.

1. build the training set: what was known at each instant, and what came of it (flows/training_rows, flows/decided)
2. split it by time
3. fit: tables per offer, by the trainer
4. calibrate on a later slice
5. evaluate on the last slice, with the scores as they would be served: figures, segments, groups, reasons
6. check the gates
7. register: a scorecard with its lineage, approved or not
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from math import log as logarithm

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.decisions.brain import Brain
from opportune.core.models import (
    CARD_VERSION,
    EVERY_OFFER,
    WEIGHT_MAX,
    AdditiveHead,
    Calibration,
    Fit,
    LearnError,
    OfferHeads,
    Scorecard,
    Slices,
    Trainer,
    Training,
    TrainingSet,
    check_gates,
    compile_scorecard,
    data_hash,
    evaluate,
    fit_weights,
    platt,
    report_of,
    score_examples,
    snapshot_of,
    split_by_time,
)
from opportune.core.playbook import ModelSpec
from opportune.core.releases import Release
from opportune.flows.ingest import newest
from opportune.flows.learning.decided import PRESENTED, Assignment, Decided, decided_assignments
from opportune.flows.learning.training_rows import training_set
from opportune.ports import Records

__all__ = [
    "PRESENTED",
    "Assignment",
    "Decided",
    "decided_assignments",
    "learn",
    "spec_hash",
    "train",
    "training_set",
]

DECISIONS_MAX = 100_000
"""How many of the newest decisions are learned from."""

AMOUNT_ROWS = 25.0
"""How many purchases' worth of trust there is, before data, in an amount that needs no correcting."""


def train(
    spec: ModelSpec,
    examples: TrainingSet,
    offers: Sequence[str],
    trainer: Trainer,
    tell: Callable[[str], None] = lambda step: None,
) -> Scorecard:
    """Steps 2 to 7 on a training set from step 1. The same arguments give the same card, to the byte.

    `tell` hears which step begins, in words. Raises LearnError when nothing can be learned. A card that fails a gate
    is returned all the same, not approved.
    """
    # 2. split by time
    slices = split_by_time(examples, spec.holdout_share)
    if not slices.evaluate.examples:
        raise LearnError(f"model `{spec.model}` has {len(examples.examples)} examples: none is left to judge it by")
    # 3. fit
    tell(f"fitting on {len(slices.fit.examples)} rows")
    asked = (EVERY_OFFER,) if spec.target == "churn_risk" else offers
    fit = trainer.fit(slices.fit, asked)
    # 4. calibrate
    tell(f"calibrating on {len(slices.calibrate.examples)} later rows")
    draft = _calibrated(_card(spec, fit, _training(spec, examples, slices, trainer)), slices.calibrate)
    # 5. evaluate
    tell(f"judging it on {len(slices.evaluate.examples)} rows later still")
    model = compile_scorecard(draft, [heads.offer for heads in fit.offers], examples.feature_names)
    found = evaluate(model, slices.evaluate, draft.form)
    report = report_of(draft, model, slices.evaluate, spec.segments, spec.protected)
    snapshot = snapshot_of(draft, model, examples, slices.evaluate, spec.segments)
    # 6. check gates
    metrics = {"rows": float(len(examples.examples)), **found.metrics, **report.figures()}
    gates = check_gates(spec.gates, metrics)
    # 7. register
    training = msgspec.structs.replace(
        draft.training, metrics=metrics, calibration_table=found.table, gates=gates, report=report, snapshot=snapshot
    )
    return msgspec.structs.replace(draft, training=training, approved=all(gate.passed for gate in gates))


def learn(
    records: Records,
    release: Release,
    spec: ModelSpec,
    trainer: Trainer,
    brain_of: Callable[[str], Brain],
    tell: Callable[[str], None] = lambda step: None,
) -> Scorecard:
    """Steps 1 to 7 from what a region has recorded, read through a release's features and contracts.

    `brain_of` gives the brain of a release by its hash (`Region.releases.brain_of`). It takes seconds to minutes of
    one core: call it in a process of its own, never where decisions are made.
    """
    # 1. build
    tell("reading what was decided")
    playbook = release.playbook
    decided = decided_assignments(records, spec, DECISIONS_MAX, playbook.app.holdout.share, brain_of)
    tell(f"replaying {records.counts().get('signals', 0)} signals")
    log = newest(records.signals(), release.contracts)
    examples = training_set(log, release.views, spec, decided.assignments, decided.left_out)
    return train(spec, examples, [offer.offer for offer in playbook.offers], trainer, tell)


def spec_hash(spec: ModelSpec) -> str:
    """32 hexadecimal characters over everything the playbook says about the model."""
    return hashlib.blake2b(msgspec.json.encode(spec, order="deterministic"), digest_size=16).hexdigest()


def _calibrated(draft: Scorecard, later: TrainingSet) -> Scorecard:
    """The card corrected on a later slice: log-odds by Platt scaling, amounts by one factor for each offer.

    Of a card of form `effect` only what happens without an offer is corrected: what it says of effects is no
    probability of anything seen.
    """
    offers = [heads.offer for heads in draft.offers]
    kept = [row for row in later.examples if draft.form != "effect" or not row.treated]
    rows = msgspec.structs.replace(later, examples=tuple(kept))
    scored = score_examples(compile_scorecard(draft, offers, later.feature_names), rows)
    if draft.form == "amount":
        heads = tuple(
            _with_amount(one, scored.outcome[scored.place == place], scored.predicted[scored.place == place])
            for place, one in enumerate(draft.offers)
        )
        return msgspec.structs.replace(draft, offers=heads)
    chance = np.clip(scored.predicted, 1e-9, 1.0 - 1e-9)
    log_odds = np.log(chance / (1.0 - chance))
    used = [row for row in rows.examples if row.offer in set(offers)]
    found = platt(log_odds, scored.treated, scored.outcome, fit_weights(used))
    return msgspec.structs.replace(draft, calibration=found)


def _with_amount(heads: OfferHeads, seen: NDArray[np.float64], predicted: NDArray[np.float64]) -> OfferHeads:
    """The offer with its amounts raised or lowered as a whole, as far as its purchases say so."""
    if not len(seen) or not predicted.sum() or not seen.sum():
        return heads
    more = logarithm(float(seen.sum()) / float(predicted.sum())) * len(seen) / (len(seen) + AMOUNT_ROWS)
    offered: AdditiveHead = msgspec.structs.replace(heads.offered, base=round(heads.offered.base + more, 6))
    return msgspec.structs.replace(heads, offered=offered)


def _training(spec: ModelSpec, examples: TrainingSet, slices: Slices, trainer: Trainer) -> Training:
    rows = examples.examples
    return Training(
        data_hash(examples),
        len(rows),
        len(slices.fit.examples),
        len(slices.calibrate.examples),
        len(slices.evaluate.examples),
        rows[0].at_ms,
        rows[-1].at_ms,
        slices.evaluate.examples[0].at_ms,
        spec.label_window,
        WEIGHT_MAX,
        examples.feature_views,
        examples.left_out,
        {},
        (),
        (),
        trainer.name,
        spec.algorithm,
        spec.settings,
    )


def _card(spec: ModelSpec, fit: Fit, training: Training) -> Scorecard:
    return Scorecard(
        CARD_VERSION,
        spec.model,
        spec.owner,
        spec_hash(spec),
        fit.features,
        fit.offers,
        Calibration(),
        training,
        False,
        fit.form,
        spec.target,
    )
