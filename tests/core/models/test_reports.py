"""Segments, groups, reasons and curves of a card say what its latest rows say, and no more."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from opportune.core.models import (
    CARD_VERSION,
    AdditiveHead,
    Calibration,
    Example,
    FeatureTable,
    Fit,
    OfferHeads,
    Report,
    Scorecard,
    Training,
    TrainingSet,
    compile_scorecard,
    evaluate,
    model_card,
    plots_of,
    report_of,
)
from opportune.core.models.reports import GROUP_ROWS_MIN, groups_of

NAMES, TYPES = ("use", "plan"), ("double", "string")
TABLES = (FeatureTable("use", "numeric", edges=(0.5,)), FeatureTable("plan", "category", categories=("pro", "team")))
TRAINING = Training("0" * 32, 1, 1, 1, 1, 0, 0, 0, "14d", 20.0, {}, {}, {}, (), (), "by hand")


def head(base: float, *use: float) -> AdditiveHead:
    return AdditiveHead(base, (use or (0.0, 0.0, 0.0), (0.0,) * 4))


def card_of(form: Any, offered: AdditiveHead, baseline: AdditiveHead, target: str = "uplift") -> Scorecard:
    heads = OfferHeads("seats", offered, baseline, head(-6.0), 500, 500, 60, 30)
    fit = Fit(TABLES, (heads,), form)
    return Scorecard(CARD_VERSION, "m", "o", "x", fit.features, fit.offers, Calibration(), TRAINING, True, form, target)


UPLIFT = card_of("effect", head(0.1, 0.0, -0.1, 0.1), head(float(np.log(0.1 / 0.9))))
"""Without the offer one in ten buys; with it, twice as many more of those who use it, and none more of the others."""


def rows(count: int = 4000, seed: int = 1, uses: float = 0.5, gap: float = 0.0) -> TrainingSet:
    """Rows for which UPLIFT is true, but for those of group `b`, whose chances are lower by `gap`."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        use, group = float(random.random() < uses), "ab"[int(random.random() < 0.5)]
        treated = bool(random.random() < 0.5)
        chance = 0.1 + 0.2 * use * treated - (gap if group == "b" else 0.0)
        bought = bool(random.random() < chance)
        plan = ("pro", "team")[number % 2]
        found.append(Example(number, f"u{number}", "seats", treated, 0.5, bought, (use, plan), 0.0, (group,)))
    return TrainingSet(NAMES, TYPES, tuple(found), 10, beside_names=("group",), beside_types=("string",))


def report(
    card: Scorecard, examples: TrainingSet, segments: tuple[str, ...] = (), protected: tuple[str, ...] = ()
) -> Report:
    return report_of(card, compile_scorecard(card, ["seats"], NAMES), examples, segments, protected)


def test_each_segment_has_its_own_figures() -> None:
    found = {(row.feature, row.group): row for row in report(UPLIFT, rows(), ("use", "plan")).segments}
    assert set(found) == {("use", "0"), ("use", "1"), ("plan", "pro"), ("plan", "team")}
    users, others = found["use", "1"], found["use", "0"]
    assert users.uplift_predicted == pytest.approx(0.2)
    assert others.uplift_predicted == pytest.approx(0.0)
    for row in (users, others):
        assert row.uplift_observed is not None
        assert row.uplift_se is not None
        assert abs(row.uplift_observed - (row.uplift_predicted or 0.0)) < 3.0 * row.uplift_se < 0.09
        assert abs(row.predicted - row.observed) < 0.03
        assert (row.ece or 0.0) < 0.05
    assert sum(row.rows for row in (users, others)) == 4000


def test_small_groups_are_left_out_and_numbers_are_cut_into_quarters() -> None:
    examples = rows(200)
    odd = msgspec.structs.replace(examples.examples[0], beside=("rare",))
    kept = [odd, *examples.examples[1:]]
    assert {label for label, _ in groups_of(examples, kept, "group")} == {"a", "b"}
    numbers = msgspec.structs.replace(examples, beside_names=("age",), beside_types=("int",))
    ages = [msgspec.structs.replace(row, beside=(index,)) for index, row in enumerate(examples.examples)]
    found = {label: int(here.sum()) for label, here in groups_of(numbers, ages, "age")}
    assert sum(found.values()) == 200
    assert len(found) == 4
    assert min(found.values()) >= GROUP_ROWS_MIN


@pytest.mark.slow
def test_a_group_that_is_treated_alike_shows_no_gap_that_is_certain() -> None:
    certain = 0
    for seed in range(20):
        gaps = report(UPLIFT, rows(1500, seed), protected=("group",)).disparities
        assert {gap.measure for gap in gaps} == {"selected", "uplift", "calibration"}
        certain += sum(gap.low > 0.0 for gap in gaps)
    assert certain <= 8  # 60 intervals of 95 %: 3 are expected


def test_a_group_whose_chances_are_overstated_is_found_and_can_be_gated() -> None:
    found = report(UPLIFT, rows(gap=0.08), protected=("group",))
    gap = next(one for one in found.disparities if one.measure == "calibration")
    assert (gap.group, gap.other) == ("b", "a")
    assert gap.low > 0.0
    assert gap.low < 0.08 < gap.high
    figures = found.figures()
    assert figures["fairness_calibration"] == gap.value
    assert figures["fairness_calibration_low"] == gap.low
    by_group = {row.group: row for row in found.fairness}
    assert by_group["b"].calibration_gap == pytest.approx(by_group["a"].calibration_gap + gap.value, abs=1e-6)


def test_reasons_say_what_moves_it_and_for_which_values() -> None:
    reasons = report(UPLIFT, rows()).reasons
    assert [one.feature for one in reasons] == ["use"]
    (one,) = reasons
    assert one.weight == pytest.approx(0.1, abs=0.01)
    assert one.words == "use: the effect is largest for 0.5 and more and smallest for below 0.5"


def test_the_slope_of_the_effect_is_one_when_the_card_is_right_and_less_when_it_exaggerates() -> None:
    double = card_of("effect", head(0.2, 0.0, -0.2, 0.2), head(float(np.log(0.1 / 0.9))))
    for card, true in ((UPLIFT, 1.0), (double, 0.5)):
        metrics = evaluate(compile_scorecard(card, ["seats"], NAMES), rows(8000), "effect").metrics
        assert abs(metrics["uplift_slope"] - true) < 3.0 * metrics["uplift_slope_se"] < 0.6


def test_amounts_are_judged_as_money() -> None:
    card = card_of("amount", head(5.0, 0.0, -1.0, 1.0), head(0.0), "value")
    examples = rows(500)
    bought = tuple(
        msgspec.structs.replace(row, treated=True, amount=round(float(np.exp(6.0 if row.values[0] else 4.0)), 2))
        for row in examples.examples
    )
    paid = msgspec.structs.replace(examples, examples=bought, target="value")
    metrics = evaluate(compile_scorecard(card, ["seats"], NAMES), paid, "amount").metrics
    assert metrics["amount_ratio"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["mae"] < 0.01 < metrics["mae_of_mean"]
    assert "qini" not in metrics


def test_the_card_in_words_and_pictures_says_what_was_found() -> None:
    found = report(UPLIFT, rows(gap=0.08), ("use",), ("group",))
    model = compile_scorecard(UPLIFT, ["seats"], NAMES)
    table = evaluate(model, rows(), "effect").table
    training = msgspec.structs.replace(TRAINING, report=found, calibration_table=table)
    card = msgspec.structs.replace(UPLIFT, training=training)
    plots = plots_of(card)
    assert set(plots) == {"calibration.svg", "uplift.svg", "effects.svg", "segments.svg"}
    for text in plots.values():
        assert text.startswith("<svg ")
        assert "<title>" in text
        assert "<desc>" in text
        assert "<script" not in text
        assert "nan" not in text
    text = model_card(card, plots)
    assert "![calibration](calibration.svg)" in text
    assert "| use | 1 | " in text
    assert "predicted less observed differs most between b and a" in text
    assert "more than chance would do" in text
    assert "| seats | use | " in text


def test_names_from_the_playbook_cannot_break_a_picture() -> None:
    heads = msgspec.structs.replace(UPLIFT.offers[0], offer="<b>&")
    card = msgspec.structs.replace(UPLIFT, offers=(heads,))
    examples = rows(300)
    odd = tuple(msgspec.structs.replace(row, offer="<b>&") for row in examples.examples)
    named = msgspec.structs.replace(examples, examples=odd)
    found = report_of(card, compile_scorecard(card, ["<b>&"], NAMES), named, (), ())
    training = msgspec.structs.replace(TRAINING, report=found)
    text = plots_of(msgspec.structs.replace(card, training=training))["effects.svg"]
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text
