"""Scorecards in words: a few lines for a terminal, and a model card in Markdown."""

from __future__ import annotations

from opportune.core.models.card import AdditiveHead, OfferHeads, Scorecard, card_hash
from opportune.core.signals import format_time

_STRONGEST = 3


def describe(card: Scorecard) -> str:
    """What it covers, how good it is and what moves it, in a few lines."""
    training = card.training
    lines = [
        f"{card.model} {card_hash(card)[:12]} · {'approved' if card.approved else 'NOT approved'} · {card.owner}",
        f"learned from {training.rows} assignments, {format_time(training.from_ms)[:10]} to "
        f"{format_time(training.to_ms)[:10]}, {len(card.features)} features, label window {training.label_window}",
        "on the latest rows: "
        + ", ".join(f"{name} {training.metrics[name]:.4g}" for name in _shown(card, ("auc", "ece", "qini"))),
    ]
    lines += [f"gate {gate.gate}: {'ok' if gate.passed else 'FAILED'}, {gate.message}" for gate in training.gates]
    for heads in card.offers:
        moves = ", ".join(f"{name} ({low:+.2f} to {high:+.2f})" for name, low, high in strongest(card, heads))
        lines.append(f"{heads.offer}: {heads.rows_offered} offered, {heads.rows_baseline} not; moved by {moves}")
    return "\n".join(lines)


def model_card(card: Scorecard) -> str:
    """Markdown for people who must answer for the model: purpose, data, figures, gates, limits, tables."""
    training = card.training
    parts = [
        f"# Model card: {card.model}\n",
        f"Card `{card_hash(card)}` · owner {card.owner} · **{'approved' if card.approved else 'not approved'}**\n",
        "## What it does\n",
        "For each offer it estimates how likely a customer is to buy within "
        f"{training.label_window} with the offer and without it; the difference is the uplift. It is a sum of "
        "table entries, one per feature: the entries are the explanation.\n",
        "## What it learned from\n",
        f"{training.rows} assignments from {format_time(training.from_ms)} to {format_time(training.to_ms)}: "
        f"{training.rows_fit} to fit, {training.rows_calibrate} later ones to calibrate, "
        f"{training.rows_evaluate} later still (from {format_time(training.evaluated_from_ms)}) to evaluate. "
        f"Data `{training.data_hash}`, {training.trainer}. Rows count by the inverse of the probability of their "
        f"offer, at most {training.weight_max:g}.\n",
        _left_out(card),
        "## Figures on the latest rows\n",
        _rows(("measure", "value"), [(n, f"{v:.6g}") for n, v in training.metrics.items() if "." not in n]),
        "## Gates\n",
        _rows(
            ("gate", "result", "figure"),
            [(gate.gate, "ok" if gate.passed else "failed", gate.message) for gate in training.gates],
        ),
        "## Calibration\n",
        _rows(
            ("rows", "predicted", "observed"),
            [(str(b.rows), f"{b.predicted:.4f}", f"{b.observed:.4f}") for b in training.calibration_table],
        ),
        "## Offers\n",
        _rows(
            ("offer", "offered", "bought", "not offered", "bought", "predicted uplift", "observed"), _offers(card)
        ),
        "## What moves the uplift most (log-odds, against the average customer)\n",
        _rows(("offer", "feature", "lowest", "highest"), _moves(card)),
        _LIMITS,
    ]
    return "\n".join(parts)


_LIMITS = """## Limits

- Effects are causal as far as who was offered what was drawn at random, given what was known.
- Features act one by one; only the offer changes how they act.
- An offer without enough rows is not covered: its owner's prior is used, and the decision says so.
"""


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


def _offers(card: Scorecard) -> list[tuple[str, ...]]:
    metrics = card.training.metrics
    rows = []
    for heads in card.offers:
        figures = [metrics.get(f"{what}.{heads.offer}") for what in ("uplift_predicted", "uplift_observed")]
        counts = (heads.rows_offered, heads.bought_offered, heads.rows_baseline, heads.bought_baseline)
        shown = ["" if figure is None else f"{figure:+.4f}" for figure in figures]
        rows.append((heads.offer, *map(str, counts), *shown))
    return rows


def _moves(card: Scorecard) -> list[tuple[str, ...]]:
    return [
        (heads.offer, name, f"{low:+.3f}", f"{high:+.3f}")
        for heads in card.offers
        for name, low, high in strongest(card, heads)
    ]


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
