"""Watching: a window of decisions, or of what became of them, held against what training looked like."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.drift.alarms import share_of_look, surprising
from opportune.core.drift.policy import Action, DriftPolicy, Kind
from opportune.core.drift.reports import EVERYBODY, Alarm, Evidence, Measured, Report, Series
from opportune.core.drift.statistics import (
    RATIOS,
    bets,
    chance_of,
    homogeneity,
    kolmogorov_smirnov,
    least_chance,
    miscalibration,
    more_often,
    proportions,
    psi,
)
from opportune.core.models import CompiledModel, ModelError, Scorecard, compile_scorecard
from opportune.core.models.card import MISSING_BIN, UNSEEN_BIN, FeatureTable
from opportune.core.models.populations import Answers, Bins, Cell, Population, Snapshot
from opportune.core.models.snapshot import answers_of, bins_of, numbered, population_of, scores_of

UNITS_MIN = 30
"""Nothing is said of fewer accounts: how much their rows resemble each other cannot be told."""
SEGMENT_ROWS_MIN = 100
ANSWERS_MIN = 50
KS_GAP_MAX = 0.17
"""A gap between two distributions that counts as much as a PSI at its limit: that of normal distributions whose PSI is
about 0.2."""
OFFERED, HELD_BACK, BOTH = "offered", "held back", "all answers"
SCALES = (1, 3, 7)
"""So many windows before the newest are added to it, to find what changed only a little."""
LEEWAY_MIN = 0.15
"""How much more or less may happen than predicted before it is held against the model: that of a chosen offer is
always somewhat overestimated, because it was chosen for its estimate."""
LEEWAY_SPREADS = 2.58
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Watched(msgspec.Struct, frozen=True):
    """A card with what is needed to watch it; `whole` and `answers` are what everything is held against."""

    name: str
    card: Scorecard
    model: CompiledModel
    snapshot: Snapshot
    policy: DriftPolicy
    whole: Population
    answers: Answers
    reference: str = "training"


class SeenRows(msgspec.Struct, frozen=True):
    """Decisions in order of time: whose (account, or person without one), and values in the order of the features of
    the card's tables, None where missing."""

    units: tuple[str, ...]
    values: tuple[tuple[object, ...], ...]
    from_ms: int
    to_ms: int


class AnsweredRows(msgspec.Struct, frozen=True):
    """What became of decisions, in order of time; `offers` are those that were made, or would have been."""

    seen: SeenRows
    offers: tuple[str, ...]
    treated: tuple[bool, ...]
    happened: tuple[bool, ...]


def watched(name: str, card: Scorecard, policy: DriftPolicy) -> Watched:
    """The card, ready to be watched; ModelError when it has no snapshot."""
    snapshot = card.training.snapshot
    if snapshot is None:
        raise ModelError(f"model `{card.model}` has no training snapshot to hold anything against: train it again")
    model = compile_scorecard(card, [heads.offer for heads in card.offers], [table.name for table in card.features])
    return Watched(name, card, model, snapshot, policy, snapshot.whole, snapshot.answers)


def against(watch: Watched, first: Report) -> Watched:
    """The same card, held against its first window."""
    replace = msgspec.structs.replace
    if first.population is not None:
        watch = replace(watch, whole=first.population)
    if first.answers is not None:
        watch = replace(watch, answers=first.answers)
    return replace(watch, reference="first window")


def look_at_inputs(
    watch: Watched, rows: SeenRows, look: int, at_ms: int, more: Sequence[Measured] = (), *, early: bool = False
) -> Report:
    """Features and scores of a window, for everybody and for each segment of the snapshot; and what else was measured
    of it, such as `disagreement`."""
    tables, layout = watch.card.features, watch.snapshot.layout
    bins, units = bins_of(tables, rows.values), numbered(rows.units)
    scores = scores_of(watch.card, watch.model, rows.values)
    whole = population_of(tables, layout, rows.values, bins, units, scores, units)
    found = [*_inputs(watch, watch.whole, whole, EVERYBODY), *more]
    if watch.reference == "training":
        places = {table.name: place for place, table in enumerate(tables)}
        for segment in watch.snapshot.segments:
            here = bins[:, places[segment.feature]] == segment.bin
            if int(here.sum()) < SEGMENT_ROWS_MIN:
                continue
            some = [row for row, yes in zip(rows.values, here, strict=True) if yes]
            part = population_of(tables, layout, some, bins[here], units[here], scores[here], units[here])
            found += _inputs(watch, segment.population, part, f"{segment.feature} = {segment.label}", segment.feature)
    return _report(watch, "inputs", look, at_ms, rows, found, population=whole, early=early)


def look_at_answers(
    watch: Watched, rows: AnsweredRows, look: int, at_ms: int, past: Sequence[Report] = (), *, early: bool = False
) -> Report:
    """What happened against what was predicted, for offered and held back, everybody and each segment.

    `past` are the reports of the windows before, the newest last: what changed a little is found over several.
    """
    tables, layout = watch.card.features, watch.snapshot.layout
    place = {offer: index for index, offer in enumerate(watch.model.offers)}
    predicted = np.empty(len(rows.offers))
    for index, (values, offer, treated) in enumerate(zip(rows.seen.values, rows.offers, rows.treated, strict=True)):
        scores = watch.model.score(values)
        predicted[index] = (scores.p_accept if treated else scores.p_base)[place[offer]]
    happened, arms = np.array(rows.happened, np.float64), np.array(rows.treated, np.bool_)
    units, bins = numbered(rows.seen.units), bins_of(tables, rows.seen.values)
    whole = answers_of(layout, predicted, happened, arms, units)
    found, evidence = _answers(watch, watch.answers, whole, (predicted, happened, arms), EVERYBODY, past)
    if watch.reference == "training":
        places = {table.name: index for index, table in enumerate(tables)}
        for segment in watch.snapshot.segments:
            here = bins[:, places[segment.feature]] == segment.bin
            part = answers_of(layout, predicted[here], happened[here], arms[here], units[here])
            name = f"{segment.feature} = {segment.label}"
            numbers = (predicted[here], happened[here], arms[here])
            more, proof = _answers(watch, segment.answers, part, numbers, name, past)
            found, evidence = found + more, evidence + proof
    report = _report(watch, "answers", look, at_ms, rows.seen, found, answers=whole, early=early)
    return msgspec.structs.replace(report, evidence=tuple(evidence))


def disagreement(
    watch: Watched, before: tuple[int, int], now: tuple[int, int], segment: str = EVERYBODY
) -> Measured | None:
    """How often a heavier model disagreed: (disagreed, asked) in the reference and now; None while too few were
    asked."""
    (few, many), (some, asked) = before, now
    if min(many, asked) < ANSWERS_MIN:
        return None
    p, q = few / many, some / asked
    return Measured(
        "disagreement", "heavier model", segment, q - p, watch.policy.limit("disagreement"),
        proportions(p, many, q, asked), before=p, now=q,
    )  # fmt: skip


def alarm_of(report: Report, policy: DriftPolicy) -> Alarm | None:
    """What follows from a report; None when nothing was found. A retraining is proposed also where something is
    found that asks to fall back."""
    if not report.found:
        return None
    asked = {policy.action(one.kind) for one in report.found}
    strongest: tuple[Action, ...] = ("fall_back", "propose_retraining", "flag")
    return Alarm(next(action for action in strongest if action in asked), tuple(one.words for one in report.found))


def decide_found(measured: Sequence[Measured], alpha: float) -> tuple[Measured, ...]:
    """Which changes are alarms: certain enough among all that were looked at, and large enough."""
    certain = surprising([one.chance for one in measured], alpha)
    return tuple(
        msgspec.structs.replace(one, found=sure and abs(one.size) >= one.limit)
        for one, sure in zip(measured, certain, strict=True)
    )


def _report(
    watch: Watched, series: Series, look: int, at_ms: int, rows: SeenRows, found: Sequence[Measured], *,
    population: Population | None = None, answers: Answers | None = None, early: bool,
) -> Report:  # fmt: skip
    """Each of the two series may spend half of the chance of a false alarm."""
    alpha = watch.policy.false_alarm / 2.0 * share_of_look(look)
    rounded = [
        msgspec.structs.replace(
            one, size=round(one.size, 6), chance=float(f"{one.chance:.4g}"),
            before=None if one.before is None else round(one.before, 6),
            now=None if one.now is None else round(one.now, 6),
        )
        for one in found
        if one.kind in watch.policy.watch
    ]  # fmt: skip
    return Report(
        watch.name, watch.card.model, series, look, at_ms, rows.from_ms, rows.to_ms, len(rows.values),
        len(set(rows.units)), alpha, watch.reference, decide_found(rounded, alpha), population, answers, early,
    )  # fmt: skip


def _inputs(watch: Watched, before: Population, now: Population, name: str, own: str = "") -> list[Measured]:
    """Everything about features and scores. `own` is the feature that makes the segment: it cannot change in it."""
    if min(before.units, now.units) < UNITS_MIN:
        return []

    def measured(kind: Kind, what: str, size: float, chance: float, shares: tuple[float, float] | None = None) -> None:
        was, is_ = shares or (None, None)
        found.append(Measured(kind, what, name, size, watch.policy.limit(kind), chance, before=was, now=is_))

    found: list[Measured] = []
    for place, table in enumerate(watch.card.features):
        if table.name == own:
            continue
        _feature(measured, table, place, before, now, watch.policy.limit("input"))
    for offer, was, is_ in zip(watch.snapshot.layout.offers, before.scores, now.scores, strict=True):
        measured("score", offer, psi(was, is_), homogeneity(was, is_))
    return found


def _feature(
    measured: Callable[..., None], table: FeatureTable, place: int, before: Population, now: Population, limit: float
) -> None:
    was, is_ = before.bins[place], now.bins[place]
    known = _without(was, MISSING_BIN), _without(is_, MISSING_BIN)
    size, chance = psi(*known), homogeneity(*known)
    if table.type == "numeric":
        # The finer look sees what stays within a bin. Two looks at one thing: each may spend half.
        gap, unlikely = kolmogorov_smirnov(before.values[place], now.values[place])
        looks = ((size, min(1.0, 2.0 * chance)), (gap * limit / KS_GAP_MAX, min(1.0, 2.0 * unlikely)))
        size, chance = min(looks, key=lambda one: (one[0] < limit, one[1], -one[0]))
    measured("input", table.name, size, chance)
    shares = tuple(side.counts[MISSING_BIN] / max(side.rows, 1) for side in (was, is_))
    measured("missing", table.name, *more_often(was, is_, MISSING_BIN), shares)
    if table.type == "category":
        unseen = tuple(side.counts[UNSEEN_BIN] / max(side.rows, 1) for side in (was, is_))
        measured("unseen", table.name, *more_often(was, is_, UNSEEN_BIN), unseen)
    wrong_before, wrong_now = before.wrong[place] / max(before.rows, 1), now.wrong[place] / max(now.rows, 1)
    chance = proportions(wrong_before, before.rows / was.spread, wrong_now, now.rows / is_.spread)
    measured("wrong_type", table.name, wrong_now - wrong_before, chance, (wrong_before, wrong_now))


def _answers(
    watch: Watched, before: Answers, now: Answers, rows: tuple[Floats, Floats, Bools], name: str,
    past: Sequence[Report],
) -> tuple[list[Measured], list[Evidence]]:  # fmt: skip
    """Calibration and outcomes, by whether something was offered; outcomes also of both together."""
    predicted, happened, treated = rows
    found: list[Measured] = []
    evidence: list[Evidence] = []
    gains = np.zeros((len(predicted), 2 * len(RATIOS)))
    arms = ((OFFERED, before.offered, now.offered, treated), (HELD_BACK, before.baseline, now.baseline, ~treated))
    for what, was, is_, arm in arms:
        if int(arm.sum()) < ANSWERS_MIN or sum(cell.rows for cell in was) < ANSWERS_MIN:
            continue
        size, chance = miscalibration(was, is_, before.spread, now.spread)
        found.append(Measured("calibration", what, name, size, watch.policy.limit("calibration"), chance))
        factor, leeway = _usual(was, before.spread)
        expected = np.clip(predicted[arm] * factor, 0.0, 1.0)
        gains[arm] = bets(expected, happened[arm], leeway)
        evidence.append(_evidence(what, name, expected, happened[arm], gains[arm]))
    if len(evidence) == len(arms):
        one, other = evidence
        both = one.expected + other.expected, one.happened + other.happened, one.rows + other.rows
        evidence.append(Evidence(BOTH, name, *both, _rounded(gains.sum(0))))
    kept = {OFFERED: treated, HELD_BACK: ~treated, BOTH: np.ones(len(treated), np.bool_)}
    found += [_outcome(watch, one, gains[kept[one.what]], past) for one in evidence]
    return found, evidence


def _evidence(what: str, name: str, expected: Floats, happened: Floats, gains: Floats) -> Evidence:
    sums = round(float(expected.sum()), 6), round(float(happened.sum()), 6)
    return Evidence(what, name, *sums, len(expected), _rounded(gains.sum(0)))


def _outcome(watch: Watched, own: Evidence, gains: Floats, past: Sequence[Report]) -> Measured:
    """The test over this window, and over it with the 1, 3 and 7 before it: the clearest of the looks, each of which
    may spend its part. Only evidence that was held against the same reference is added up."""
    earlier = [
        next((e for e in one.evidence if (e.what, e.segment) == (own.what, own.segment)), None)
        for one in reversed(past)
        if one.reference == watch.reference
    ]  # fmt: skip
    looks = [(least_chance(gains), own)]
    for more in SCALES:
        some = [one for one in earlier[:more] if one is not None]
        if len(some) == more:
            looks.append(_added([own, *some]))
    chance, over = min(looks, key=lambda one: one[0])
    return Measured(
        "outcome", own.what, own.segment, over.happened / over.expected - 1.0 if over.expected else 0.0,
        watch.policy.limit("outcome"), min(1.0, chance * (1 + len(SCALES))),
        before=over.expected / over.rows, now=over.happened / over.rows,
    )  # fmt: skip


def _added(some: Sequence[Evidence]) -> tuple[float, Evidence]:
    total = np.array([one.gains for one in some]).sum(0)
    expected, happened = sum(one.expected for one in some), sum(one.happened for one in some)
    rows = sum(one.rows for one in some)
    return chance_of(total), Evidence(some[0].what, some[0].segment, expected, happened, rows, tuple(total.tolist()))


def _rounded(gains: Floats) -> tuple[float, ...]:
    return tuple(round(float(one), 6) for one in gains)


def _usual(cells: Sequence[Cell], spread: float) -> tuple[float, float]:
    """(observed over predicted on rows that the card did not learn from, how unsure that is, as a part)."""
    predicted, seen = sum(cell.predicted for cell in cells), sum(cell.happened for cell in cells)
    if seen < 1.0 or predicted <= 0.0:
        return 1.0, 1.0
    return seen / predicted, max(LEEWAY_MIN, LEEWAY_SPREADS * float(np.sqrt(spread / seen)))


def _without(bins: Bins, place: int) -> Bins:
    counts = bins.counts
    return Bins((*counts[:place], *counts[place + 1 :]), bins.spread)
