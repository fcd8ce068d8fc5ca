"""A card looked at on its latest rows: by segment, by protected group, by what moves it, and along its uplift curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from opportune.core.models import measures
from opportune.core.models.calibration import calibration_error, calibration_table
from opportune.core.models.card import Scorecard
from opportune.core.models.compiled import CompiledModel
from opportune.core.models.evaluation import Scored, score_examples
from opportune.core.models.examples import Example, TrainingSet
from opportune.core.models.report import CurvePoint, Disparity, FairnessRow, ReasonCode, Report, SegmentRow

GROUP_ROWS_MIN = 30
"""Of a smaller group nothing is said: chance would say it."""
GROUPS_MAX = 12
CURVE_POINTS = 40
REASON_ROWS_MAX = 400
REASONS_MAX = 5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def report_of(
    card: Scorecard, model: CompiledModel, examples: TrainingSet, segments: Sequence[str], protected: Sequence[str]
) -> Report:
    """Everything about `examples`, rows that the card has not learned from; groups with too few rows are left out."""
    scored = score_examples(model, examples)
    rows = [examples.examples[index] for index in scored.kept]
    effects = card.form in ("odds", "effect")
    found: list[SegmentRow] = []
    for name in segments:
        found += [_segment(name, group, scored, here, effects) for group, here in groups_of(examples, rows, name)]
    fairness: list[FairnessRow] = []
    gaps: list[Disparity] = []
    units = _numbers([row.unit for row in rows])
    for name in protected:
        groups = list(groups_of(examples, rows, name))
        score = scored.uplift if effects else scored.predicted
        chosen = (score > float(np.median(score))).astype(np.float64) if len(score) else score
        columns = {"selected": chosen, "calibration": scored.predicted - scored.outcome}
        if effects:
            columns["uplift"] = scored.uplift
        fairness += [_group(name, group, columns, here) for group, here in groups]
        gaps += [gap for measure, column in columns.items() if (gap := _widest(name, measure, column, groups, units))]
    return Report(
        tuple(found),
        tuple(fairness),
        tuple(gaps),
        _reasons(card, model, examples.feature_names, rows),
        _curve(scored) if effects else (),
    )


def groups_of(examples: TrainingSet, rows: Sequence[Example], name: str) -> Iterator[tuple[str, Bools]]:
    """(group, which rows) of a feature: its values, or quarters of its numbers; those with enough rows."""
    if name in examples.feature_names:
        place, type_ = examples.feature_names.index(name), examples.feature_types[examples.feature_names.index(name)]
        values = [row.values[place] for row in rows]
    else:
        place = examples.beside_names.index(name)
        type_, values = examples.beside_types[place], [row.beside[place] for row in rows]
    labels = _quarters(values) if type_ in ("int", "double") else [_label(value) for value in values]
    counts = Counter(labels)
    names = np.array(labels, dtype=object)
    for label, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:GROUPS_MAX]:
        if count >= GROUP_ROWS_MIN:
            yield label, names == label


def _label(value: object) -> str:
    if value is None:
        return "missing"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _quarters(values: Sequence[object]) -> list[str]:
    """The quarter of each number, in words; a number with few values gives those."""
    numbers = np.array([value for value in values if isinstance(value, int | float) and value == value], np.float64)
    if len(np.unique(numbers)) <= 6:
        return ["missing" if value is None else f"{value:g}" for value in values]
    edges = sorted({float(f"{edge:.4g}") for edge in np.quantile(numbers, (0.25, 0.5, 0.75))})
    ends = [f"below {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(edges)),
            f"{edges[-1]:g} and more"]  # fmt: skip
    return [
        ends[int(np.searchsorted(edges, value, side="right"))]
        if isinstance(value, int | float) and value == value else "missing"
        for value in values
    ]  # fmt: skip


def _segment(name: str, group: str, scored: Scored, here: Bools, effects: bool) -> SegmentRow:
    seen, said = scored.outcome[here], scored.predicted[here]
    row = SegmentRow(name, group, int(here.sum()), _round(float(said.mean())), _round(float(seen.mean())))
    ece = None if scored.outcome.max(initial=0.0) > 1.0 else calibration_error(calibration_table(said, seen))
    if not effects:
        return _with(row, ece, None, None, None, None)
    treated, weight = scored.treated[here], scored.weight[here]
    curve = measures.uplift_curve(scored.uplift[here], treated, seen, weight)
    return _with(
        row, ece, None if curve is None else measures.qini(curve),
        float(np.average(scored.uplift[here], weights=weight)),
        measures.effect(treated, seen, weight), measures.effect_error(treated, seen, weight),
    )  # fmt: skip


def _with(
    row: SegmentRow, ece: float | None, qini: float | None, predicted: float | None, observed: float | None,
    error: float | None,
) -> SegmentRow:  # fmt: skip
    figures = [None if value is None else _round(value) for value in (ece, qini, predicted, observed, error)]
    return SegmentRow(row.feature, row.group, row.rows, row.predicted, row.observed, *figures)


def _group(name: str, group: str, columns: dict[str, Floats], here: Bools) -> FairnessRow:
    means = {measure: _round(float(column[here].mean())) for measure, column in columns.items()}
    return FairnessRow(
        name, group, int(here.sum()), means["selected"], means.get("uplift"), means["calibration"]
    )


def _widest(
    name: str, measure: str, column: Floats, groups: Sequence[tuple[str, Bools]], units: NDArray[np.intp]
) -> Disparity | None:
    """The widest gap between two groups; its interval allows for having looked at every pair (Bonferroni), and for
    rows of one unit depending on each other."""
    if len(groups) < 2:
        return None
    means = [(float(column[here].mean()), group, here) for group, here in groups]
    high, low = max(means, key=lambda one: one[0]), min(means, key=lambda one: one[0])
    pairs = len(groups) * (len(groups) - 1) / 2
    sure = NormalDist().inv_cdf(1.0 - 0.025 / pairs)
    error = float(np.hypot(_error(column, high[2], units), _error(column, low[2], units)))
    gap = high[0] - low[0]
    low_end, high_end = gap - sure * error, gap + sure * error
    return Disparity(name, measure, high[1], low[1], _round(gap), _round(low_end), _round(high_end))


def _error(column: Floats, here: Bools, units: NDArray[np.intp]) -> float:
    """The standard error of a group's mean, its rows summed by unit first."""
    values = column[here] - column[here].mean()
    sums = np.bincount(units[here], values)
    return float(np.sqrt((sums**2).sum())) / int(here.sum())


def _reasons(
    card: Scorecard, model: CompiledModel, names: Sequence[str], rows: Sequence[Example]
) -> tuple[ReasonCode, ...]:
    """Of each offer, what moves its numbers most on average, from the reasons that decisions give."""
    if not rows:
        return ()
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), REASON_ROWS_MAX)).astype(int)).tolist()
    some = [rows[place].values for place in places]
    said = [model.explain_all(model.score(values), len(card.features)) for values in some]
    position = {table.name: names.index(table.name) for table in card.features}
    labels = {
        table.name: [table.bin_label(table.bin_of(values[position[table.name]])) for values in some]
        for table in card.features
    }
    found = []
    for index, offer in enumerate(model.offers):
        parts: dict[str, dict[str, list[float]]] = {}
        for row, reasons in enumerate(said):
            for name, part in reasons[index]:
                parts.setdefault(name, {}).setdefault(labels[name][row], []).append(part)
        weights = {
            name: sum(abs(part) for cell in cells.values() for part in cell) / len(some)
            for name, cells in parts.items()
        }
        strongest = sorted(weights.items(), key=lambda one: (-one[1], one[0]))[:REASONS_MAX]
        found += [_reason(card, offer, name, weight, parts[name]) for name, weight in strongest]
    return tuple(found)


def _reason(card: Scorecard, offer: str, name: str, weight: float, cells: dict[str, list[float]]) -> ReasonCode:
    ordered = sorted(cells, key=lambda label: (sum(cells[label]) / len(cells[label]), label))
    what = {"chance": "the chance", "amount": "the amount"}.get(card.form, "the effect")
    words = f"{name.replace('_', ' ')}: {what} is largest for {ordered[-1]} and smallest for {ordered[0]}"
    return ReasonCode(offer, name, _round(weight), ordered[-1], ordered[0], words)


def _curve(scored: Scored) -> tuple[CurvePoint, ...]:
    curve = measures.uplift_curve(scored.uplift, scored.treated, scored.outcome, scored.weight)
    if curve is None:
        return ()
    places = np.unique(np.linspace(0, len(curve) - 1, CURVE_POINTS).astype(int))
    points = [CurvePoint(_round((at + 1) / len(curve)), _round(float(curve[at]))) for at in places]
    return (CurvePoint(0.0, 0.0), *points)


def _numbers(units: Sequence[str]) -> NDArray[np.intp]:
    known: dict[str, int] = {}
    return np.array([known.setdefault(unit, len(known)) for unit in units], dtype=np.intp)


def _round(value: float) -> float:
    return round(float(value), 6)
