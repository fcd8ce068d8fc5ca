"""Scorecards in words: a few lines for a terminal, and a model card in Markdown."""

from __future__ import annotations

from collections.abc import Collection

from opportune.core.models.card import EVERY_OFFER, AdditiveHead, OfferHeads, Scorecard, card_hash
from opportune.core.models.report import Disparity, SegmentRow
from opportune.core.signals import format_time

_STRONGEST = 3


def describe(card: Scorecard) -> str:
    """What it covers, how good it is and what moves it, in a few lines."""
    training = card.training
    lines = [
        f"{card.model} {card_hash(card)[:12]} · gates {'passed' if card.approved else 'NOT passed'} · {card.owner}",
        f"learned {TARGETS.get(card.target, card.target)} from {training.rows} rows, "
        f"{format_time(training.from_ms)[:10]} to {format_time(training.to_ms)[:10]}, {len(card.features)} features, "
        f"label window {training.label_window}, algorithm {training.algorithm}",
        "on the latest rows: "
        + ", ".join(f"{name} {training.metrics[name]:.4g}" for name in _shown(card, _HEADLINES)),
    ]
    lines += [f"gate {gate.gate}: {'ok' if gate.passed else 'FAILED'}, {gate.message}" for gate in training.gates]
    for heads in card.offers:
        moves = "; ".join(one.words for one in training.report.reasons if one.offer == heads.offer)
        counts = f"{heads.rows_offered} offered, {heads.rows_baseline} not" if _has_effects(card) else (
            f"{heads.rows_offered} rows")
        lines.append(f"{_named(heads.offer)}: {counts}" + (f"; {_first(moves)}" if moves else ""))
    for gap in training.report.disparities:
        lines.append(f"{gap.feature}: {_gap(gap)}")
    return "\n".join(lines)


def model_card(card: Scorecard, plots: Collection[str] = ()) -> str:
    """Markdown for people who must answer for the model: purpose, data, figures, gates, groups, reasons, limits.

    `plots` are the names of files that lie beside it, which it shows where they belong.
    """
    training = card.training
    parts = [
        f"# Model card: {card.model}\n",
        f"Card `{card_hash(card)}` · owner {card.owner} · "
        f"**{'passed' if card.approved else 'did not pass'} its gates**\n",
        "## What it does\n",
        _DOES[card.target if card.target in _DOES else "uplift"].format(window=training.label_window) + "\n",
        f"Algorithm `{training.algorithm}`{_settings(card)}, served as {_FORMS[card.form]}.\n",
        "## What it learned from\n",
        f"{training.rows} rows from {format_time(training.from_ms)} to {format_time(training.to_ms)}: "
        f"{training.rows_fit} to fit, {training.rows_calibrate} later ones to calibrate, "
        f"{training.rows_evaluate} later still (from {format_time(training.evaluated_from_ms)}) to evaluate. "
        f"Data `{training.data_hash}`, spec `{card.spec_hash}`, {training.trainer}. Rows count by the inverse of the "
        f"probability of what was done, at most {training.weight_max:g}.\n",
        "Feature views: " + (", ".join(f"`{view}` version {v}" for view, v in training.feature_views.items()) or "none")
        + ".\n",
        _left_out(card),
        "## Figures on the latest rows\n",
        _rows(("measure", "value"), [(n, f"{v:.6g}") for n, v in training.metrics.items() if "." not in n]),
        "## Gates\n",
        _rows(
            ("gate", "result", "figure"),
            [(gate.gate, "ok" if gate.passed else "failed", gate.message) for gate in training.gates],
        ),
        "## Calibration\n",
        _plot("calibration.svg", plots),
        _rows(
            ("rows", "predicted", "observed"),
            [(str(b.rows), f"{b.predicted:.4f}", f"{b.observed:.4f}") for b in training.calibration_table],
        ),
        "## Offers\n" if card.offers and card.offers[0].offer != EVERY_OFFER else "## Rows\n",
        _plot("uplift.svg", plots),
        _offers_table(card),
        _report(card, plots),
        _LIMITS[card.form],
    ]
    return "\n".join(part for part in parts if part)


TARGETS = {
    "uplift": "what offers cause", "acceptance": "whether offers are accepted", "value": "what purchases bring",
    "churn_risk": "who leaves", "fatigue": "whom contacts annoy",
}  # fmt: skip
"""What a model of each target learns, in words."""

_HEADLINES = ("auc", "ece", "qini", "uplift_slope", "mae", "amount_ratio")

_DOES = {
    "uplift": "For each offer it estimates how likely a customer is to buy within {window} with the offer and without "
    "it; the difference is the uplift.",
    "acceptance": "For each offer it estimates how likely a customer whom it reaches is to accept it within {window}.",
    "value": "For each offer it estimates how much money a purchase brings, if there is one within {window}.",
    "churn_risk": "It estimates how likely a customer is to leave within {window}.",
    "fatigue": "For each offer it estimates how likely it is that being contacted with it annoys: that the customer "
    "dismisses it, complains or withdraws their consent within {window}.",
}
_FORMS = {
    "odds": "log-odds with the offer and without it", "effect": "the difference an offer makes, and the chance without",
    "chance": "log-odds", "amount": "the logarithm of an amount",
}  # fmt: skip

_CAUSAL = """## Limits

- Effects are causal as far as the recorded chances of who was offered what are right, and rows with hardly any chance
  of the other side say little.
"""
_COVERED = """- An offer without enough rows is not covered: its owner's prior is used, and the decision says so.
"""
_LIMITS = {
    "odds": _CAUSAL + _COVERED,
    "effect": _CAUSAL + "- What it says of effects is not calibrated: no effect of one customer is ever seen.\n"
    + _COVERED,
    "chance": "## Limits\n\n- It says what will probably be, not what would change it: that is what uplift is for.\n"
    + _COVERED,
    "amount": "## Limits\n\n- It speaks of purchases that are made, and not of whether they are.\n" + _COVERED,
}


def strongest(card: Scorecard, heads: OfferHeads, top: int = _STRONGEST) -> list[tuple[str, float, float]]:
    """The features with the widest reach in an offer's uplift: (name, lowest, highest part in log-odds)."""
    found = []
    for index, table in enumerate(card.features):
        parts = [card.calibration.slope * part for part in _effect(heads.offered, heads.baseline, index)]
        found.append((table.name, min(parts), max(parts)))
    return sorted(found, key=lambda one: one[1] - one[2])[:top]


def _effect(offered: AdditiveHead, baseline: AdditiveHead, feature: int) -> list[float]:
    return [a - b for a, b in zip(offered.parts[feature], baseline.parts[feature], strict=True)]


def _shown(card: Scorecard, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in card.training.metrics]


def _left_out(card: Scorecard) -> str:
    left = card.training.left_out
    if not left:
        return ""
    return "Left out: " + ", ".join(f"{count} ({reason})" for reason, count in left.items()) + ".\n"


def _offers_table(card: Scorecard) -> str:
    if _has_effects(card):
        head = ("offer", "offered", "bought", "not offered", "bought", "predicted uplift", "observed")
        return _rows(head, _offers(card))
    return _rows(
        ("offer", "rows", "of them with an outcome"),
        [(_named(one.offer), str(one.rows_offered), str(one.bought_offered)) for one in card.offers],
    )


def _offers(card: Scorecard) -> list[tuple[str, ...]]:
    metrics = card.training.metrics
    rows = []
    for heads in card.offers:
        figures = [metrics.get(f"{what}.{heads.offer}") for what in ("uplift_predicted", "uplift_observed")]
        counts = (heads.rows_offered, heads.bought_offered, heads.rows_baseline, heads.bought_baseline)
        shown = ["" if figure is None else f"{figure:+.4f}" for figure in figures]
        rows.append((heads.offer, *map(str, counts), *shown))
    return rows


def _report(card: Scorecard, plots: Collection[str]) -> str:
    """Reasons, segments and groups; what there is none of is left out."""
    report, parts = card.training.report, []
    if report.reasons:
        parts += [
            "## What moves it most\n",
            _plot("effects.svg", plots),
            _rows(
                ("offer", "feature", "mean size of its part", "largest for", "smallest for"),
                [(_named(r.offer), r.feature, f"{r.weight:.4f}", r.highest, r.lowest) for r in report.reasons],
            ),
        ]
    else:
        parts += ["## What moves it most\n", _rows(("offer", "feature", "lowest", "highest"), _moves(card))]
    if report.segments:
        head = ("feature", "segment", "rows", "predicted", "observed", "ece", "qini", "uplift predicted", "observed",
                "± 95 %")  # fmt: skip
        rows = [_segment(row) for row in report.segments]
        parts += ["## Segments\n", _plot("segments.svg", plots), _rows(head, rows)]
    if report.fairness:
        parts += [
            "## Treatment of groups\n",
            "Protected features are looked at here; the model reads them only where its spec lists them as features.\n",
            _rows(
                ("feature", "group", "rows", "in the upper half of scores", "mean uplift", "predicted less observed"),
                [(r.feature, r.group, str(r.rows), f"{r.selected:.3f}", _number(r.uplift), _number(r.calibration_gap))
                 for r in report.fairness],
            ),
            *(f"- **{gap.feature}**: {_gap(gap)}" for gap in report.disparities),
            "",
        ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _segment(row: SegmentRow) -> tuple[str, ...]:
    error = None if row.uplift_se is None else 1.96 * row.uplift_se
    numbers = (row.ece, row.qini, row.uplift_predicted, row.uplift_observed, error)
    return (row.feature, row.group, str(row.rows), f"{row.predicted:.4g}", f"{row.observed:.4g}",
            *map(_number, numbers))  # fmt: skip


def _gap(gap: Disparity) -> str:
    """A gap between two groups as a sentence, with what is certain of it."""
    sure = "more than chance would do" if gap.low > 0.0 else "no more than chance could do"
    return (
        f"{_MEASURES.get(gap.measure, gap.measure)} differs most between {gap.group} and {gap.other}, by "
        f"{gap.value:.3f} (95 %: {gap.low:.3f} to {gap.high:.3f}): {sure}"
    )


_MEASURES = {
    "selected": "the share in the upper half of scores", "uplift": "the mean predicted uplift",
    "calibration": "predicted less observed",
}  # fmt: skip


def _has_effects(card: Scorecard) -> bool:
    return card.form in ("odds", "effect")


def _named(offer: str) -> str:
    return "everybody" if offer == EVERY_OFFER else offer


def _first(moves: str) -> str:
    return moves.partition("; ")[0]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _settings(card: Scorecard) -> str:
    settings = card.training.settings
    return f" with {', '.join(f'{name} {value}' for name, value in settings.items())}" if settings else ""


def _plot(name: str, plots: Collection[str]) -> str:
    return f"![{name.removesuffix('.svg')}]({name})\n" if name in plots else ""


def _moves(card: Scorecard) -> list[tuple[str, ...]]:
    return [
        (heads.offer, name, f"{low:+.3f}", f"{high:+.3f}")
        for heads in card.offers
        for name, low, high in strongest(card, heads)
    ]


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
