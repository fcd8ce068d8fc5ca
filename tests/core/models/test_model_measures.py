"""Measures, calibration, weights, splits and gates give the figures a person can check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from opportune.core.models import (
    Example,
    LearnError,
    TrainingSet,
    calibration_error,
    calibration_table,
    check_gates,
    data_hash,
    fit_weights,
    measures,
    platt,
    sigmoid,
    split_by_time,
    weights,
)


def test_auc_counts_pairs_and_halves_ties() -> None:
    assert measures.auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(3.5 / 4)
    assert measures.auc(np.array([0.1, 0.2]), np.array([1.0, 1.0])) is None


def test_log_loss_is_in_nats() -> None:
    assert measures.log_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])) == pytest.approx(np.log(2.0))


def test_a_perfect_ranking_of_effects_beats_random_and_the_reverse_loses() -> None:
    treated = np.tile([True, False], 100)
    persuadable = np.arange(200) < 100
    bought = (persuadable & treated).astype(float)
    curve = measures.uplift_curve(persuadable.astype(float), treated, bought, np.ones(200))
    worst = measures.uplift_curve(-persuadable.astype(float), treated, bought, np.ones(200))
    assert curve is not None
    assert worst is not None
    assert curve[-1] == pytest.approx(0.5)
    assert measures.qini(curve) == pytest.approx(0.125, abs=0.01)
    assert measures.qini(worst) == pytest.approx(-0.125, abs=0.01)
    assert measures.auuc(curve) > curve[-1] / 2


def test_effects_need_both_sides() -> None:
    one_sided = np.array([True, True])
    assert measures.effect(one_sided, np.array([1.0, 0.0]), np.ones(2)) is None
    assert measures.uplift_curve(np.ones(2), one_sided, np.ones(2), np.ones(2)) is None


def test_weights_undo_how_rows_were_chosen() -> None:
    treated, bought = np.array([True, True, False]), np.array([1.0, 0.0, 0.0])
    assert measures.effect(treated, bought, np.array([1.0, 3.0, 1.0])) == pytest.approx(0.25)


def test_calibration_error_is_the_mean_gap() -> None:
    table = calibration_table(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]), bins=2)
    assert [(part.rows, part.observed) for part in table] == [(2, 0.0), (2, 1.0)]
    assert calibration_error(table) == pytest.approx(0.2)


def test_platt_finds_a_known_distortion_and_leaves_honest_scores_alone() -> None:
    random = np.random.default_rng(3)
    log_odds = random.normal(-1.0, 1.0, 20_000)
    treated = random.random(20_000) < 0.5
    bought = (random.random(20_000) < sigmoid(log_odds)).astype(float)
    honest = platt(log_odds, treated, bought, np.ones(20_000))
    assert honest.slope == pytest.approx(1.0, abs=0.06)
    assert honest.shift_offered == pytest.approx(0.0, abs=0.1)
    loud = platt(2.0 * log_odds + 1.0, treated, bought, np.ones(20_000))
    assert loud.slope == pytest.approx(0.5, abs=0.04)
    assert loud.shift_baseline == pytest.approx(-0.5, abs=0.1)
    nothing = platt(np.zeros(0), np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0))
    assert (nothing.slope, nothing.shift_offered) == (1.0, 0.0)


def row(at_ms: int, unit: str, probability: float = 0.5, treated: bool = True) -> Example:
    return Example(at_ms, unit, "o", treated, probability, False, ())


def test_row_weights_are_clipped_and_even_within_a_side() -> None:
    rows = [row(0, "a", 0.5), row(1, "b", 0.001), row(2, "c", 0.25, treated=False)]
    assert weights(rows).tolist() == [2.0, 20.0, 4.0]
    assert fit_weights(rows).tolist() == pytest.approx([2 / 11, 20 / 11, 1.0])


def test_the_split_is_by_time_and_no_purchase_is_on_both_sides() -> None:
    rows = (*(row(10 * index, f"u{index}") for index in range(9)), row(90, "u6"))
    slices = split_by_time(TrainingSet((), (), rows, label_window_ms=40), later_share=0.3)
    assert [one.at_ms for one in slices.fit.examples] == [0, 10, 20, 30, 40, 50]
    assert [one.at_ms for one in slices.calibrate.examples] == [70]
    assert [one.at_ms for one in slices.evaluate.examples] == [80, 90]


def test_the_data_has_a_name() -> None:
    one = TrainingSet((), (), (row(0, "a"),), 10)
    assert data_hash(one) == data_hash(TrainingSet((), (), (row(0, "a"),), 10))
    assert data_hash(one) != data_hash(TrainingSet((), (), (row(0, "b"),), 10))


def test_gates_report_figures_and_fail_on_what_is_unknown() -> None:
    found = check_gates({"ece_max": 0.05, "qini_min": 0.0, "auc_min": 0.6}, {"ece": 0.07, "qini": 0.01})
    assert [gate.gate for gate in found] == ["ece_max", "qini_min", "auc_min"]
    assert [gate.passed for gate in found] == [False, True, False]
    assert found[0].message == "ece is 0.07, above 0.05"
    assert found[2].message == "auc could not be measured: known here are ece, qini"
    with pytest.raises(LearnError, match="gate `ece` must end in _min or _max"):
        check_gates({"ece": 0.05}, {"ece": 0.01})
