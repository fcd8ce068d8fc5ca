"""Scorecards made up for tests: any shape, from Hypothesis or from a seed."""

from __future__ import annotations

from hypothesis import strategies as st

from opportune.core.models import (
    AdditiveHead,
    Calibration,
    FeatureTable,
    OfferHeads,
    Scorecard,
    Training,
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


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-200, 200),
    st.integers(),
    st.floats(),
    st.sampled_from(["team", "pro", "a b", "", "elsewhere"]),
    st.just([1]),
)
