"""The life of a model: from the signal log to a scorecard that a release may carry.

1. build the training set: what was known at each assignment, and who then bought
2. split it by time
3. fit: additive tables per offer, by the trainer
4. calibrate on a later slice
5. evaluate on the last slice, with the scores as they would be served
6. check the gates
7. register: a scorecard with its lineage, approved or not
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from opportune.core.customers import Account, Person
from opportune.core.decisions.records import decode_record
from opportune.core.durations import parse_duration_ms
from opportune.core.features import CompiledViews
from opportune.core.models import (
    CARD_VERSION,
    WEIGHT_MAX,
    Calibration,
    Example,
    Fit,
    LearnError,
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
    split_by_time,
)
from opportune.core.playbook import ModelSpec
from opportune.core.signals import Signal
from opportune.flows.ingest import fold
from opportune.ports import Records, StoredDecision, StoredSignal

PRESENTED = frozenset({"delivered", "seen", "clicked", "accepted", "declined", "dismissed", "converted"})
"""Outcomes that prove that an offer reached its customer."""

_Key = tuple[str, str]


class Assignment(msgspec.Struct, frozen=True):
    """Who was assigned which offer, by chance: `probability` is that of what was done. `values` as read then."""

    at_ms: int
    customer: str | None
    account: str | None
    offer: str
    treated: bool
    probability: float
    values: tuple[Any, ...]


def train(spec: ModelSpec, examples: TrainingSet, offers: Sequence[str], trainer: Trainer) -> Scorecard:
    """Steps 2 to 7 on a training set from step 1. The same arguments give the same card, to the byte.

    Raises LearnError when nothing can be learned. A card that fails a gate is returned all the same, not approved.
    """
    # 2. split by time
    slices = split_by_time(examples, spec.holdout_share)
    if not slices.evaluate.examples:
        raise LearnError(f"model `{spec.model}` has {len(examples.examples)} examples: none is left to judge it by")
    # 3. fit
    fit = trainer.fit(slices.fit, offers)
    # 4. calibrate
    draft = _card(spec, fit, _calibrate(spec, fit, slices.calibrate), _training(spec, examples, slices, trainer))
    # 5. evaluate
    model = compile_scorecard(draft, [heads.offer for heads in fit.offers], examples.feature_names)
    found = evaluate(model, slices.evaluate)
    # 6. check gates
    metrics = {"rows": float(len(examples.examples)), **found.metrics}
    gates = check_gates(spec.gates, metrics)
    # 7. register
    training = msgspec.structs.replace(
        draft.training, metrics=metrics, calibration_table=found.table, gates=gates
    )
    return msgspec.structs.replace(draft, training=training, approved=all(gate.passed for gate in gates))


def training_set(
    signals: Iterable[StoredSignal],
    views: CompiledViews,
    spec: ModelSpec,
    decided: Sequence[Assignment] = (),
) -> TrainingSet:
    """Step 1: every assignment in the log (and every one `decided` by the system itself) as an example.

    The log is replayed in time order (`at_ms`, then `seq`) through the fold that serves.
    INVARIANT: values are read before the assignment itself, or anything after it, is folded. Bought means a
    `converted` signal for the same offer from the same customer or account, after the assignment and within the
    label window. Assignments whose window is not over at the log's end are left out.
    """
    window_ms = parse_duration_ms(spec.label_window)
    chosen = _places(views, spec)
    log = sorted(signals, key=lambda one: (one.signal.at_ms, one.seq))
    found, bought, left_out = _replay(log, views, spec, chosen)
    end_ms = log[-1].signal.at_ms if log else 0
    examples = []
    for one in sorted([*found, *decided], key=lambda assignment: assignment.at_ms):
        if one.at_ms + window_ms > end_ms:
            left_out["label window not over"] += 1
        else:
            examples.append(_example(one, bought, window_ms))
    return TrainingSet(
        spec.features,
        tuple(views.types[name] for name in spec.features),
        tuple(examples),
        window_ms,
        {views.features[name].view: views.features[name].version for name in spec.features},
        dict(left_out),
    )


def decided_assignments(records: Records, spec: ModelSpec, last: int, holdout_share: float) -> list[Assignment]:
    """The system's own decisions as assignments, with the features exactly as they were seen.

    With the offer: `offered` and known to have reached the customer. Without: `held_out`, by the offer that would
    have been made. The rest (escalated, forced, never presented) is no experiment and is left out.
    """
    found = []
    for stored in records.decisions(last):
        if stored.disposition not in ("offered", "held_out"):
            continue
        treated = stored.disposition == "offered"
        if treated and not _presented(records, stored):
            continue
        record = decode_record(stored.record)
        offer = record.result.offer if treated else (record.result.would or "").partition("@")[0]
        if not offer or record.result.forced:
            continue
        chance = record.result.action_probability * ((1.0 - holdout_share) if treated else holdout_share)
        values = tuple(record.seen.features.get(name) for name in spec.features)
        customer = record.asked.customer
        found.append(Assignment(stored.at_ms, customer, stored.account, offer, treated, chance, values))
    return found[::-1]


def _presented(records: Records, stored: StoredDecision) -> bool:
    """Whether the offer that was chosen reached its customer; what stood beside it in a slate says nothing of it."""
    outcomes = records.outcomes(stored.id)
    return any(outcome.kind in PRESENTED and outcome.offer in (None, stored.offer) for outcome in outcomes)


def spec_hash(spec: ModelSpec) -> str:
    """32 hexadecimal characters over everything the playbook says about the model."""
    return hashlib.blake2b(msgspec.json.encode(spec, order="deterministic"), digest_size=16).hexdigest()


def _places(views: CompiledViews, spec: ModelSpec) -> tuple[int, ...]:
    for name in spec.features:
        if name not in views.features:
            raise LearnError(f"model `{spec.model}` asks for feature `{name}`, which no feature view gives")
    return tuple(views.features[name].index for name in spec.features)


def _replay(
    log: Sequence[StoredSignal], views: CompiledViews, spec: ModelSpec, chosen: tuple[int, ...]
) -> tuple[list[Assignment], dict[tuple[_Key, str], list[int]], Counter[str]]:
    """Assignments with what was known, the times of purchases per (who, offer), and what could not be used."""
    people: dict[str, Person] = {}
    accounts: dict[str, Account] = {}
    found: list[Assignment] = []
    bought: dict[tuple[_Key, str], list[int]] = {}
    left_out: Counter[str] = Counter()
    for stored in log:
        signal = stored.signal
        person = None if signal.customer is None else people.get(signal.customer) or Person(signal.customer)
        account_id = signal.account or (None if person is None else person.account)
        account = None if account_id is None else accounts.get(account_id) or Account(account_id)
        if signal.type == spec.assigned:
            vector = views.read(
                None if person is None else person.features,
                None if account is None else account.features,
                signal.at_ms,
            )
            one = _assigned(signal, account_id, tuple(vector.values[place] for place in chosen))
            if one is None:
                left_out["malformed assignment"] += 1
            else:
                found.append(one)
        elif signal.type == spec.converted and isinstance(offer := signal.data.get("offer"), str):
            for who in _who(signal.customer, account_id):
                bought.setdefault((who, offer), []).append(signal.at_ms)
        person, account = fold(views, signal, person, account)
        if person is not None:
            people[person.id] = person
        if account is not None:
            accounts[account.id] = account
    return found, bought, left_out


def _assigned(signal: Signal, account: str | None, values: tuple[Any, ...]) -> Assignment | None:
    offer, treated = signal.data.get("offer"), signal.data.get("treated")
    probability = signal.data.get("action_probability", 1.0)
    if not isinstance(offer, str) or not isinstance(treated, bool):
        return None
    if not isinstance(probability, float | int) or not 0.0 < probability <= 1.0:
        return None
    return Assignment(signal.at_ms, signal.customer, account, offer, treated, float(probability), values)


def _who(customer: str | None, account: str | None) -> list[_Key]:
    return [(kind, id_) for kind, id_ in (("person", customer), ("account", account)) if id_ is not None]


def _example(one: Assignment, bought: dict[tuple[_Key, str], list[int]], window_ms: int) -> Example:
    def within(times: list[int]) -> bool:
        at = bisect_right(times, one.at_ms)
        return at < len(times) and times[at] <= one.at_ms + window_ms

    got = any(within(bought.get((who, one.offer), [])) for who in _who(one.customer, one.account))
    unit = one.account or one.customer or ""
    return Example(one.at_ms, unit, one.offer, one.treated, one.probability, got, one.values)


def _calibrate(spec: ModelSpec, fit: Fit, later: TrainingSet) -> Calibration:
    """Platt scaling on the covered rows of a later slice, from the uncalibrated log-odds of the tables."""
    heads = {one.offer: one for one in fit.offers}
    rows = [row for row in later.examples if row.offer in heads]
    place = {name: index for index, name in enumerate(later.feature_names)}
    log_odds = []
    for row in rows:
        head = heads[row.offer].offered if row.treated else heads[row.offer].baseline
        parts = zip(fit.features, head.parts, strict=True)
        total = head.base + sum(part[table.bin_of(row.values[place[table.name]])] for table, part in parts)
        log_odds.append(total)
    return platt(
        np.array(log_odds, dtype=np.float64),
        np.array([row.treated for row in rows], dtype=np.bool_),
        np.array([row.bought for row in rows], dtype=np.float64),
        fit_weights(rows),
    )


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
    )


def _card(spec: ModelSpec, fit: Fit, calibration: Calibration, training: Training) -> Scorecard:
    return Scorecard(
        CARD_VERSION,
        spec.model,
        spec.owner,
        spec_hash(spec),
        fit.features,
        fit.offers,
        calibration,
        training,
        False,
    )
