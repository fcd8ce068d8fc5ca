"""A view that is for some regions: elsewhere nothing is folded for it, and what rests on it is missing."""

from __future__ import annotations

from opportune.core.features import CompiledViews, FeatureSpec, FeatureView, compile_views

FIELDS = {"usage.recorded": {"count": "int"}}


def views() -> CompiledViews:
    local = FeatureView(
        view="local", version=1, entity="person", owner="tests", purposes=("marketing",), regions=("eu",),
        features=(
            FeatureSpec(id="used", sources="usage.recorded", value="data.count", aggregate="sum", type="int",
                        default=0),
        ),
    )  # fmt: skip
    common = FeatureView(
        view="common", version=1, entity="person", owner="tests", purposes=("marketing",),
        features=(
            FeatureSpec(id="seen", sources="usage.recorded", aggregate="count", type="int", default=0),
            FeatureSpec(id="mean_use", derive="used / seen", type="int", default=0),
        ),
    )  # fmt: skip
    return compile_views([local, common], FIELDS)


def folded(compiled: CompiledViews) -> tuple[dict[str, object], tuple[str, ...], set[str]]:
    state = compiled.fold("person", None, "usage.recorded", "s1", 1_000, {"count": 6})
    assert state is not None
    vector = compiled.read(state, None, 2_000)
    return dict(zip(compiled.names, vector.values, strict=True)), vector.missing, set(state.cells)


def test_at_home_a_view_is_folded_and_read() -> None:
    at_home = views().within("eu")
    values, missing, cells = folded(at_home)
    assert values == {"used": 6, "seen": 1, "mean_use": 6}
    assert missing == ()
    assert len(cells) == 2
    assert at_home.abroad == frozenset()


def test_elsewhere_nothing_is_kept_for_it_and_no_default_is_given() -> None:
    elsewhere = views().within("us")
    values, missing, cells = folded(elsewhere)
    assert values == {"used": None, "seen": 1, "mean_use": None}
    assert set(missing) == {"used", "mean_use"}
    assert len(cells) == 1
    assert elsewhere.abroad == {"used", "mean_use"}


def test_a_state_that_was_brought_along_is_not_read_either() -> None:
    state = views().fold("person", None, "usage.recorded", "s1", 1_000, {"count": 6})
    vector = views().within("us").read(state, None, 2_000)
    assert vector.values == (None, 1, None)
    unheard = views().within("us").read(None, None, 2_000)
    assert unheard.values == (None, 0, None)


def test_it_stays_so_when_cells_are_withheld_or_narrowed() -> None:
    elsewhere = views().within("us")
    for further in (elsewhere.withholding(()), elsewhere.only(elsewhere.keys)):
        assert folded(further)[0]["used"] is None
        assert further.abroad == elsewhere.abroad
