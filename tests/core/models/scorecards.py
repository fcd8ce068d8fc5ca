"""Scorecards made up for tests: any shape, from Hypothesis or from a seed."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from opportune.core.models import (
    AdditiveHead,
    Calibration,
    FeatureTable,
    Form,
    OfferHeads,
    PairTable,
    Scorecard,
    Training,
    Tree,
)

PARTS = st.floats(-3.0, 3.0, allow_nan=False).map(lambda x: round(x, 6))
TRAINING = Training("d", 10, 6, 2, 2, 0, 1, 1, "14d", 20.0, {"account": 1}, {}, {"auc": 0.7}, (), (), "test")


@st.composite
def feature_tables(draw: st.DrawFn, name: str) -> FeatureTable:
    """One feature of any type, also a numeric one without an edge."""
    kind = draw(st.sampled_from(["numeric", "category", "bool"]))
    if kind == "numeric":
        edges = draw(st.lists(st.floats(-100, 100, allow_nan=False), max_size=5, unique=True))
        return FeatureTable(name, "numeric", edges=tuple(sorted(set(edges))))
    if kind == "category":
        found = draw(st.lists(st.sampled_from(["team", "pro", "a b", ""]), max_size=3, unique=True))
        return FeatureTable(name, "category", categories=tuple(found))
    return FeatureTable(name, "bool")


@st.composite
def heads(draw: st.DrawFn, tables: list[FeatureTable]) -> AdditiveHead:
    """One additive head for the tables."""
    parts = tuple(
        tuple(draw(st.lists(PARTS, min_size=t.bin_count, max_size=t.bin_count))) for t in tables
    )
    return AdditiveHead(draw(PARTS), parts)


@st.composite
def cards(draw: st.DrawFn) -> Scorecard:
    """A card with up to five features and three offers."""
    tables = [draw(feature_tables(f"f{i}")) for i in range(draw(st.integers(0, 5)))]
    offers = tuple(
        OfferHeads(f"o{i}", draw(heads(tables)), draw(heads(tables)), draw(heads(tables)), 5, 5, 1, 1)
        for i in range(draw(st.integers(1, 3)))
    )
    scaling = Calibration(draw(st.floats(0.25, 3.0)), draw(PARTS), draw(PARTS))
    return Scorecard(1, "m", "o", "s", tuple(tables), offers, scaling, TRAINING, True)


@st.composite
def pair_tables(draw: st.DrawFn, tables: list[FeatureTable]) -> PairTable:
    """A table of two of the features."""
    first, second = draw(st.permutations(range(len(tables))))[:2]
    width = tables[second].bin_count
    rows = [draw(st.lists(PARTS, min_size=width, max_size=width)) for _ in range(tables[first].bin_count)]
    return PairTable(first, second, tuple(map(tuple, rows)))


@st.composite
def trees(draw: st.DrawFn, tables: list[FeatureTable], leaves_max: int = 12) -> Tree:
    """A tree of any shape: leaves are split one after the other, numbered as it happens to come."""
    count = draw(st.integers(1, leaves_max)) if tables else 1
    children: list[list[int]] = []
    open_: list[tuple[int, int]] = [(-1, 0)]
    for node in range(count - 1):
        parent, side = open_.pop(draw(st.integers(0, len(open_) - 1)))
        if parent >= 0:
            children[parent][side] = node
        children.append([0, 0])
        open_ += [(node, 0), (node, 1)]
    for leaf, (parent, side) in enumerate(draw(st.permutations(open_))):
        if parent >= 0:
            children[parent][side] = ~leaf
    features = tuple(draw(st.integers(0, len(tables) - 1)) for _ in children)
    runs = tuple(_runs(draw, tables[feature].bin_count) for feature in features)
    numbers = st.lists(PARTS, min_size=count, max_size=count)
    shares = draw(st.lists(st.sampled_from([0.0, 0.0, 0.125, 0.5, 0.3]), min_size=count, max_size=count))
    lefts, rights = (tuple(child[side] for child in children) for side in (0, 1))
    return Tree(features, runs, lefts, rights, tuple(draw(numbers)), tuple(shares))


def _runs(draw: st.DrawFn, bins: int) -> tuple[tuple[int, int], ...]:
    left = draw(st.lists(st.booleans(), min_size=bins, max_size=bins))
    return tuple((bin_, bin_) for bin_, goes in enumerate(left) if goes)


@st.composite
def joint_cards(draw: st.DrawFn, prefix: str = "o", leaves_max: int = 12) -> Scorecard:
    """A card of any form whose heads have pairs and trees, some of them shared between heads."""
    tables = [draw(feature_tables(f"f{i}")) for i in range(draw(st.integers(0, 4)))]
    shared = draw(st.lists(trees(tables, leaves_max), max_size=3))

    def head() -> AdditiveHead:
        alone = draw(heads(tables))
        pairs = draw(st.lists(pair_tables(tables), max_size=2)) if len(tables) > 1 else []
        own = draw(st.lists(trees(tables, leaves_max), max_size=2))
        again = [tree for tree in shared if draw(st.booleans())]
        return AdditiveHead(alone.base, alone.parts, tuple(pairs), (*own, *again))

    offers = tuple(
        OfferHeads(f"{prefix}{i}", head(), head(), head(), 5, 5, 1, 1) for i in range(draw(st.integers(1, 3)))
    )
    scaling = Calibration(draw(st.floats(0.25, 3.0)), draw(PARTS), draw(PARTS))
    form: Form = draw(st.sampled_from(get_args(Form)))
    return Scorecard(1, "m" + prefix, "o", "s", tuple(tables), offers, scaling, TRAINING, True, form)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-200, 200),
    st.integers(),
    st.floats(),
    st.sampled_from(["team", "pro", "a b", "", "elsewhere"]),
    st.just([1]),
)
