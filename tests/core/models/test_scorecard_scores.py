"""Scoring does what the tables say: for any offer and value, to the bit, with parts that sum to the whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scorecards import TRAINING, VALUES, cards

from opportune.core.models import (
    AdditiveHead,
    Calibration,
    CompiledModel,
    FeatureTable,
    ModelError,
    OfferHeads,
    Scorecard,
    compile_scorecard,
    decode_card,
    encode_card,
)


def naive(card: Scorecard, head: AdditiveHead, known: dict[str, object]) -> float:
    """A head looked up the slow way."""
    return head.base + sum(
        parts[table.bin_of(known[table.name])] for table, parts in zip(card.features, head.parts, strict=True)
    )


def chance(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


@settings(max_examples=150, deadline=None)
@given(cards(), st.data())
def test_compiled_scores_equal_the_tables(card: Scorecard, data: st.DataObject) -> None:
    names = data.draw(st.permutations([*(table.name for table in card.features), "other"]))
    values = [data.draw(VALUES) for _ in names]
    known = dict(zip(names, values, strict=True))
    model = compile_scorecard(card, [heads.offer for heads in card.offers], names)
    scores = model.score(values)
    cal = card.calibration
    for index, heads in enumerate(card.offers):
        offered = cal.slope * naive(card, heads.offered, known) + cal.shift_offered
        baseline = cal.slope * naive(card, heads.baseline, known) + cal.shift_baseline
        assert scores.p_accept[index] == pytest.approx(chance(offered), abs=2e-9)
        assert scores.p_base[index] == pytest.approx(chance(baseline), abs=2e-9)
        assert scores.uplift[index] == pytest.approx(chance(offered) - chance(baseline), abs=2e-9)
        error = cal.slope * math.exp(naive(card, heads.log_variance, known) / 2.0)
        assert scores.uplift_se[index] == pytest.approx(error, rel=1e-7, abs=2e-9)
        reasons = model.reasons(values, index, top=99)
        whole = model.effect_base(index) + sum(part for _, part in reasons)
        assert whole == pytest.approx(offered - baseline, abs=1e-7)
        assert reasons == model.explain(scores, index, top=99)


@settings(max_examples=50, deadline=None)
@given(cards(), st.data())
def test_scores_are_the_same_bytes_after_a_round_trip(card: Scorecard, data: st.DataObject) -> None:
    names = [table.name for table in card.features]
    offers = [heads.offer for heads in card.offers]
    values = [data.draw(VALUES) for _ in names]
    first = compile_scorecard(card, offers, names).score(values)
    again = compile_scorecard(decode_card(encode_card(card)), offers, names).score(list(values))
    assert repr(first) == repr(again)
    assert all(round(x, 9) == x for x in (*first.p_accept, *first.p_base, *first.uplift, *first.uplift_se))


@pytest.fixture
def small() -> Scorecard:
    tables = (
        FeatureTable("seats", "numeric", edges=(10.0, 20.0)),
        FeatureTable("plan", "category", categories=("pro", "team")),
    )
    flat = AdditiveHead(-6.0, ((0.0,) * 4, (0.0,) * 4))
    offered = AdditiveHead(-1.0, ((-0.5, -0.2, 0.1, 0.9), (-0.4, 0.3, 0.2, -0.7)))
    baseline = AdditiveHead(-2.0, ((0.0, 0.0, 0.0, 0.1), (0.0, 0.0, 0.0, 0.0)))
    offers = (OfferHeads("more_seats", offered, baseline, flat, 1, 1, 1, 1),)
    return Scorecard(1, "m", "o", "s", tables, offers, Calibration(), TRAINING, True)


def compiled(card: Scorecard) -> CompiledModel:
    return compile_scorecard(card, ["unknown", "more_seats"], ["plan", "seats"])


def test_an_offer_the_card_does_not_know_is_said_to_be_uncovered(small: Scorecard) -> None:
    scores = compiled(small).score(["pro", 12])
    assert scores.covered == (False, True)
    assert (scores.p_accept[0], scores.p_base[0], scores.uplift[0], scores.uplift_se[0]) == (0.0, 0.0, 0.0, 1.0)
    assert compiled(small).reasons(["pro", 12], 0) == ()


def test_missing_and_unseen_values_have_their_own_bins(small: Scorecard) -> None:
    model = compiled(small)
    assert model.reasons([None, None], 1) == (("seats", -0.5), ("plan", -0.4))
    assert model.reasons(["gold", 20], 1) == (("seats", 0.8), ("plan", 0.3))
    assert model.reasons(["gold", math.nan], 1)[0] == ("seats", -0.5)
    assert model.reasons([3, "many"], 1) == (("seats", -0.5), ("plan", -0.4))


def test_reasons_come_by_size_and_number(small: Scorecard) -> None:
    assert compiled(small).reasons(["team", 9.99], 1, top=1) == (("plan", -0.7),)


def test_a_feature_nobody_gives_does_not_compile(small: Scorecard) -> None:
    with pytest.raises(ModelError, match="reads feature `plan`, which no feature view gives"):
        compile_scorecard(small, ["more_seats"], ["seats"])


def test_a_card_that_could_overflow_does_not_compile(small: Scorecard) -> None:
    wild = decode_card(encode_card(small).replace(b"-0.7", b"-999.0"))
    with pytest.raises(ModelError, match="can leave ±500 for `more_seats`"):
        compiled(wild)
