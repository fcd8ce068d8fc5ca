"""Pairs and trees are scored as they read: every form, several cards at once, one by one and in tables, exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scorecards import TRAINING, VALUES, joint_cards

from opportune.core.expressions.columns import Column
from opportune.core.models import (
    AdditiveHead,
    Calibration,
    FeatureTable,
    ModelError,
    OfferHeads,
    PairTable,
    Scorecard,
    Tree,
    compile_scorecard,
    compile_scorecards,
)
from opportune.core.models.rows import RowModel

CARD = joint_cards()
LARGE = joint_cards(leaves_max=64)


def leaf_of(tree: Tree, bins: list[int]) -> int:
    """Down the tree, node by node."""
    at = 0 if tree.features else -1
    while at >= 0:
        bin_ = bins[tree.features[at]]
        left = any(low <= bin_ <= high for low, high in tree.left_bins[at])
        at = tree.left[at] if left else tree.right[at]
    return ~at


def naive(card: Scorecard, head: AdditiveHead, known: dict[str, object]) -> float:
    bins = [table.bin_of(known[table.name]) for table in card.features]
    alone = sum(parts[bin_] for parts, bin_ in zip(head.parts, bins, strict=True))
    together = sum(pair.parts[bins[pair.first]][bins[pair.second]] for pair in head.pairs)
    return head.base + alone + together + sum(tree.leaves[leaf_of(tree, bins)] for tree in head.trees)


def chance(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


def expected(card: Scorecard, heads: OfferHeads, known: dict[str, object]) -> tuple[float, float, float, float]:
    """(p_accept, p_base, uplift, effect in the unit of reasons), the slow way."""
    scaling = card.calibration
    raw = naive(card, heads.offered, known)
    baseline = scaling.slope * naive(card, heads.baseline, known) + scaling.shift_baseline
    if card.form == "amount":
        return math.exp(raw), math.exp(raw), 0.0, raw
    if card.form == "chance":
        both = scaling.slope * raw + scaling.shift_offered
        return chance(both), chance(both), 0.0, both
    if card.form == "effect":
        uplift = min(max(raw, -1.0), 1.0)
        return min(max(chance(baseline) + uplift, 0.0), 1.0), chance(baseline), uplift, raw
    offered = scaling.slope * raw + scaling.shift_offered
    return chance(offered), chance(baseline), chance(offered) - chance(baseline), offered - baseline


@settings(max_examples=200, deadline=None)
@given(st.one_of(CARD, LARGE), st.data())
def test_scores_and_reasons_are_what_pairs_and_trees_say(card: Scorecard, data: st.DataObject) -> None:
    names = data.draw(st.permutations([*(table.name for table in card.features), "other"]))
    values = [data.draw(VALUES) for _ in names]
    known = dict(zip(names, values, strict=True))
    model = compile_scorecard(card, [heads.offer for heads in card.offers], names)
    scores = model.score(values)
    every = model.explain_all(scores, top=99)
    for index, heads in enumerate(card.offers):
        p_accept, p_base, uplift, effect = expected(card, heads, known)
        assert scores.p_accept[index] == pytest.approx(p_accept, rel=1e-7, abs=2e-9)
        assert scores.p_base[index] == pytest.approx(p_base, rel=1e-7, abs=2e-9)
        assert scores.uplift[index] == pytest.approx(uplift, abs=4e-9)
        reasons = model.reasons(values, index, top=99)
        whole = model.effect_base(index) + sum(part for _, part in reasons)
        assert whole == pytest.approx(effect, abs=1e-7)
        assert reasons == model.explain(scores, index, top=99) == every[index]


@settings(max_examples=100, deadline=None)
@given(CARD, st.data())
def test_reasons_and_base_are_the_sum_that_was_scored_to_a_billionth(card: Scorecard, data: st.DataObject) -> None:
    names = [table.name for table in card.features]
    values = [data.draw(VALUES) for _ in names]
    model = compile_scorecard(card, [heads.offer for heads in card.offers], names)
    scores = model.score(values)
    joint = model.joint
    matrix, _, _ = model.layout()
    sums = matrix.take(scores.bins, 0).sum(0)
    if joint is not None:
        joint.add(sums, joint.cells(np.array(scores.bins)))
    count = len(card.offers)
    sign = 1.0 if card.form in ("effect", "amount") else -1.0
    for index in range(count):
        effect = sign * sums[index] - (sign * sums[count + index] if card.form == "odds" else 0.0)
        parts = sum(part for _, part in model.explain(scores, index, top=99))
        assert model.effect_base(index) + parts == pytest.approx(effect, abs=1e-8)


@settings(max_examples=100, deadline=None)
@given(joint_cards("a"), joint_cards("b"), st.data())
def test_several_cards_are_one_model_one_by_one_in_part_and_in_tables(
    one: Scorecard, other: Scorecard, data: st.DataObject
) -> None:
    """The same numbers, whether other offers, other cards or other customers are scored beside them."""
    names = sorted({table.name for card in (one, other) for table in card.features} | {"other"})
    offers = data.draw(st.permutations(["nobodys", *(h.offer for card in (one, other) for h in card.offers)]))
    model = compile_scorecards((one, other), offers, names)
    rows = [[data.draw(VALUES) for _ in names] for _ in range(3)]
    places = sorted(data.draw(st.sets(st.integers(0, len(offers) - 1), min_size=1)))
    scored = [model.score(values) for values in rows]
    for values, scores in zip(rows, scored, strict=True):
        some = model.score_some(values, places)
        for name in ("p_accept", "p_base", "uplift", "uplift_se", "covered"):
            assert [getattr(scores, name)[place] for place in places] == list(getattr(some, name))
        assert [model.explain(some, place) for place in places] == [model.explain(scores, p) for p in places]
        for card in (one, other):
            alone = compile_scorecard(card, offers, names).score(values)
            for place, covered in enumerate(alone.covered):
                if covered:
                    assert alone.uplift[place] == scores.uplift[place]
                    assert alone.p_accept[place] == scores.p_accept[place]
    columns = {name: column([row[at] for row in rows]) for at, name in enumerate(names)}
    table = RowModel(model, names).score(columns, len(rows))
    assert table.p_accept.tolist() == [scores.p_accept for scores in scored]
    assert table.uplift.tolist() == [scores.uplift for scores in scored]
    assert table.uplift_se.tolist() == [scores.uplift_se for scores in scored]


def column(values: list[object]) -> Column:
    """Values of any type as a column, as those of a feature that changed its type would be."""
    kept = [value if isinstance(value, bool | int | float | str) else None for value in values]
    table: tuple[Any, ...] = (None, *kept)
    missing = np.array([value is None for value in kept])
    return Column("dyn", np.arange(1, 1 + len(kept)), missing=missing if missing.any() else None, table=table)


def card(trees: tuple[Tree, ...] = (), pairs: tuple[PairTable, ...] = (), model: str = "m") -> Scorecard:
    plan = FeatureTable("plan", "category", categories=("pro",))
    tables = (FeatureTable("seats", "numeric", edges=(10.0, 20.0)), plan)
    flat = AdditiveHead(0.0, ((0.0,) * 4, (0.0,) * 3))
    heads = OfferHeads("seats", AdditiveHead(0.0, flat.parts, pairs, trees), flat, flat, 1, 1, 1, 1)
    return Scorecard(1, model, "o", "s", tables, (heads,), Calibration(), TRAINING, True)


SPLIT = Tree(
    (0, 1), (((0, 1),), ((2, 2),)), (-1, -2), (1, -3), (-0.6, 0.2, 1.0), (0.5, 0.25, 0.25)
)  # seats below 10 or missing: -0.6; else plan pro: 0.2, any other: 1.0


def test_a_trees_reasons_follow_its_path() -> None:
    """At the root the average row gets 0.0; whoever has 10 seats and more is 0.6 further, and the plan adds 0.4."""
    model = compile_scorecard(card((SPLIT,)), ["seats"], ["plan", "seats"])
    assert model.effect_base(0) == 0.0
    assert model.reasons(["team", 12], 0) == (("seats", 0.6), ("plan", 0.4))
    assert model.reasons(["pro", 12], 0) == (("seats", 0.6), ("plan", -0.4))
    assert model.reasons(["pro", None], 0) == (("seats", -0.6),)


def test_a_pairs_part_is_half_that_of_each_feature() -> None:
    table = PairTable(0, 1, ((0.0,) * 3, (0.0,) * 3, (0.0, 0.5, 0.0), (0.0,) * 3))
    model = compile_scorecard(card(pairs=(table,)), ["seats"], ["plan", "seats"])
    assert model.reasons(["team", 12], 0) == (("seats", 0.25), ("plan", 0.25))
    assert model.score(["team", 12]).uplift[0] == pytest.approx(chance(0.5) - 0.5, abs=1e-9)


def test_only_values_at_which_a_score_changes_are_levels() -> None:
    model = compile_scorecard(card((SPLIT,)), ["seats"], ["plan", "seats"])
    assert model.levels() == {"seats": (10.0,), "plan": ("pro",)}


def test_two_models_of_one_offer_do_not_compile() -> None:
    with pytest.raises(ModelError, match="`one` and `two` both predict uplift for `seats`: release one of them"):
        compile_scorecards((card(model="one"), card(model="two")), ["seats"], ["plan", "seats"])


def test_a_tree_that_could_overflow_does_not_compile() -> None:
    wild = Tree((), (), (), (), (501.0,), (1.0,))
    with pytest.raises(ModelError, match="can leave ±500 for `seats`"):
        compile_scorecard(card((wild,)), ["seats"], ["plan", "seats"])
