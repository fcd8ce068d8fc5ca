"""What compiling refuses, with the place and the fix; what changes from release to release; tests in views."""

from typing import Any

import msgspec
import pytest

from opportune.core.features import (
    CompiledViews,
    FeatureError,
    FeatureView,
    check_views,
    compile_views,
    joint_fold,
    run_view_tests,
)

FIELDS = {"a": {"n": "int", "d": "double", "s": "string", "b": "int"}, "b": {"n": "string"}, "c": {"b": "bool"}}
LAST = {"from": "a", "value": "data.n", "aggregate": "last", "type": "int"}
MANY = {"from": "a", "value": "data.s", "aggregate": "distinct", "approximate": True}
T_MS = 1_767_225_600_000


def view_of(*features: dict[str, Any], **fields: Any) -> FeatureView:
    base = {"view": "v", "version": 1, "entity": "account", "owner": "o", "purposes": ["marketing", "service"]}
    return msgspec.convert({**base, "features": features, **fields}, FeatureView)


def compiled_of(*features: dict[str, Any], **fields: Any) -> CompiledViews:
    return compile_views([view_of(*features, **fields)], FIELDS)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({**LAST, "id": "Bad-Name"}, "id", "cannot name a feature"),
    ({**LAST, "id": "in"}, "id", "cannot name a feature"),
    ({**LAST, "from": "seat"}, "from", "there is no contract for signal `seat`"),
    ({**LAST, "from": ["a", "a"]}, "from", "named twice"),
    ({"aggregate": "count"}, "from", "at least one signal type"),
    ({"from": "a"}, "aggregate", "say how signals are folded"),
    ({**LAST, "value": "data.nn"}, "value", "did you mean `data.n`"),
    ({**LAST, "value": "data.n +"}, "value", "over the fields of `a`"),
    ({**LAST, "value": "data.s"}, "value", "`data.s` is string in `a`, but the feature folds int"),
    ({**LAST, "from": ["a", "b"]}, "value", "is string in `b`"),
    ({**LAST, "where": "data.n"}, "where", "bool"),
    ({**LAST, "value": None}, "value", "`last` needs a `value`"),
    ({"from": "a", "aggregate": "count", "value": "data.n"}, "value", "`count` takes no `value`"),
    ({"from": "a", "aggregate": "time_since"}, "unit", "needs a `unit`"),
    ({**LAST, "unit": "d"}, "unit", "`last` has no `unit`"),
    ({"from": "a", "aggregate": "time_since", "unit": "d", "window": "7d"}, "window", "remove the window"),
    ({**LAST, "type": None}, "type", "say the type of `last`"),
    ({"from": "a", "aggregate": "count", "type": "double"}, "type", "`count` gives int, not double"),
    ({**LAST, "window": "7 days"}, "window", "`7 days` is not a duration"),
    ({**LAST, "window": "30m"}, "window", "outside 1h to 365d"),
    ({**LAST, "window": "366d"}, "window", "outside 1h to 365d"),
    ({**LAST, "window": "7d", "hop": "5h"}, "hop", "divide the window"),
    ({**LAST, "window": "1h", "hop": "30s"}, "hop", "whole minutes"),
    ({**LAST, "window": "30d", "hop": "1h"}, "hop", "720 tiles are more than 400"),
    ({**LAST, "hop": "1h"}, "hop", "belongs to a `window`"),
    ({**LAST, "default": "none"}, "default", "`none` is no int"),
    ({**LAST, "default": True}, "default", "`True` is no int"),
    ({**LAST, "distinct_max": 5}, "distinct_max", "`last` has no `distinct_max`"),
    ({"from": "a", "value": "data.s", "aggregate": "distinct", "distinct_max": 65}, "distinct_max", "1 to 64"),
    ({"from": "a", "aggregate": "ratio"}, "value", "`ratio` needs a `value`"),
    ({"from": "a", "aggregate": "ratio", "value": "data.n", "over": "data.s"}, "over", "folds double"),
    ({"from": "a", "aggregate": "ratio", "value": "data.n", "over": "data.nn"}, "over", "did you mean `data.n`"),
    ({"from": ["a", "c"], "aggregate": "ratio", "value": "data.b"}, "value", "is a condition in `c`, but int in `a`"),
    ({"from": "a", "aggregate": "ratio", "value": "data.n", "type": "int"}, "type", "`ratio` gives double, not int"),
    ({**LAST, "over": "data.n"}, "over", "`last` has no `over`"),
    ({"from": "a", "aggregate": "slope", "value": "data.n"}, "window", "looks back over a `window`"),
    ({"from": "a", "aggregate": "slope", "value": "data.s", "window": "7d"}, "value", "folds double"),
    ({"from": "a", "aggregate": "slope", "window": "7d", "of": "mean"}, "value", "a slope of means needs a `value`"),
    ({"from": "a", "aggregate": "slope", "window": "7d", "hop": "7d"}, "hop", "two hops or more"),
    ({**LAST, "of": "sum"}, "of", "`last` has no `of`"),
    ({"from": "a", "aggregate": "streak"}, "window", "looks back over a `window`"),
    ({"from": "a", "aggregate": "streak", "window": "7d", "value": "data.n"}, "value", "takes no `value`"),
    ({**LAST, "approximate": True}, "approximate", "`last` has no `approximate`"),
    ({**MANY, "window": "7d"}, "window", "counts since ever"),
    ({**MANY, "distinct_max": 9}, "distinct_max", "remove `distinct_max`"),
    ({"derive": "1 + 1", "type": "int", "over": "data.n"}, "over", "has no `over`"),
    ({"derive": "1 + 1"}, "type", "says its `type`"),
    ({"derive": "1 + 1", "type": "int", "from": "a"}, "from", "either folded"),
    ({"derive": "1 + 1", "type": "int", "window": "7d"}, "window", "has no `window`"),
    ({"derive": "1 + 1", "type": "double"}, "derive", "double"),
    ({"derive": "odher + 1", "type": "int"}, "derive", "did you mean `other`"),
    ({"derive": "x + 1", "type": "int"}, "derive", "derived from each other: x -> x"),
]


@pytest.mark.parametrize(("document", "field", "message"), REFUSED, ids=lambda part: str(part)[:60])
def test_a_feature_that_cannot_work_is_refused_with_place_and_fix(
    document: dict[str, Any], field: str, message: str
) -> None:
    view = view_of({"id": "x", **document}, {**LAST, "id": "other"})
    (error, *_) = check_views([view], FIELDS)

    assert (error.view, error.feature, error.field) == ("v", document.get("id", "x"), field)
    assert message in error.message
    assert error.message[0].islower() or error.message[0] in "`0123456789"
    assert not error.message.endswith(".")
    with pytest.raises(FeatureError, match="v"):
        compile_views([view], FIELDS)


def test_every_error_is_listed() -> None:
    view = view_of({**LAST, "id": "x", "type": "string"}, {**LAST, "id": "y", "window": "x"}, purposes=[])

    assert [(error.feature, error.field) for error in check_views([view], FIELDS)] == [
        (None, "purposes"),
        ("x", "value"),
        ("y", "window"),
    ]


def test_a_cycle_is_named() -> None:
    view = view_of(
        {"id": "x", "derive": "y + 1", "type": "int"},
        {"id": "y", "derive": "z + 1", "type": "int"},
        {"id": "z", "derive": "x + 1", "type": "int"},
    )
    (error,) = check_views([view], FIELDS)

    assert error.message in {
        f"these features are derived from each other: {cycle}"
        for cycle in ("x -> y -> z -> x", "y -> z -> x -> y", "z -> x -> y -> z")
    }


def test_names_of_views_and_features_are_unique() -> None:
    views = [view_of({**LAST, "id": "x"}), view_of({**LAST, "id": "x"})]

    assert [error.field for error in check_views(views, FIELDS)] == ["view", "id"]


def test_a_derived_feature_may_not_widen_the_purposes_of_its_inputs() -> None:
    """What was collected for service does not become marketing by arithmetic."""
    views = [
        view_of({**LAST, "id": "tickets"}, view="care", purposes=["service"]),
        view_of({"id": "twice", "derive": "tickets * 2", "type": "int"}, view="offers"),
    ]
    (error,) = check_views(views, FIELDS)

    assert (error.view, error.feature) == ("offers", "twice")
    assert "`tickets` (view `care`) is not for purpose `marketing`" in error.message


def test_an_account_feature_may_not_rest_on_a_person() -> None:
    views = [
        view_of({**LAST, "id": "mine"}, view="p", entity="person"),
        view_of({"id": "ours", "derive": "mine * 2", "type": "int"}),
    ]
    (error,) = check_views(views, FIELDS)

    assert "cannot feed an account's feature" in error.message


def test_lineage_goes_all_the_way_down() -> None:
    compiled = compiled_of(
        {"id": "top", "derive": "middle > 2", "type": "bool"},
        {"id": "middle", "derive": "low + lower", "type": "int"},
        {**LAST, "id": "low"},
        {"id": "lower", "from": ["a", "b"], "aggregate": "count"},
    )
    lineage = compiled.lineage("top")

    assert (lineage.signals, lineage.features) == (("a", "b"), ("low", "lower", "middle"))
    assert compiled.types == {"top": "bool", "middle": "int", "low": "int", "lower": "int"}


def test_adding_and_removing_features_leaves_the_others_alone() -> None:
    """A cell belongs to view, version, feature and definition; the rest of the release does not matter."""
    kept = {"id": "kept", "from": "a", "aggregate": "count"}
    old = compiled_of({**LAST, "id": "gone"}, kept)
    state = old.fold("account", None, "a", "1", T_MS, {"n": 5})
    new = compiled_of({"id": "added", "from": "a", "aggregate": "count", "default": 0}, kept)
    assert new.read(None, state, T_MS).values == (0, 1)

    state = new.fold("account", state, "a", "2", T_MS, {"n": 6})
    assert new.read(None, state, T_MS).values == (1, 2)
    assert state is not None
    assert len(state.cells) == 3

    pruned = new.prune(state)
    assert sorted(key.split(".")[2] for key in pruned.cells) == ["added", "kept"]
    assert new.prune(pruned) is pruned


@pytest.mark.parametrize("change", [{"where": "data.n > 1"}, {"window": "7d"}, {"from": ["a", "b"]}])
def test_another_definition_starts_afresh_instead_of_mixing_two_meanings(change: dict[str, Any]) -> None:
    feature = {"id": "x", "from": "a", "aggregate": "count"}
    state = compiled_of(feature).fold("account", None, "a", "1", T_MS, {"n": 5})
    fields = {"a": {"n": "int"}, "b": {"n": "int"}}

    assert compile_views([view_of({**feature, **change})], fields).read(None, state, T_MS).values == (None,)
    assert compiled_of({**feature, "default": 0}, freshness="1d").read(None, state, T_MS).values == (1,)


@pytest.mark.parametrize(
    ("lateness", "message"),
    [("soon", "`soon` is not a duration"), ("30d", "`30d` are 720 hops, more than 400: shorten it")],
)
def test_a_lateness_that_cannot_be_kept_is_refused(lateness: str, message: str) -> None:
    view = view_of({"id": "x", "from": "a", "aggregate": "count", "window": "7d", "hop": "1h"}, lateness=lateness)
    (error,) = check_views([view], FIELDS)

    assert (error.view, error.feature, error.field) == ("v", "x", "lateness")
    assert message in error.message


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ({"aggregate": "ratio", "value": "data.n"}, {"over": "data.b"}),
        ({"aggregate": "ratio", "value": "data.n"}, {"value": "data.d"}),
        ({"aggregate": "slope", "value": "data.n", "window": "7d"}, {"of": "mean"}),
        ({"aggregate": "distinct", "value": "data.s"}, {"approximate": True}),
    ],
)
def test_another_way_of_adding_up_is_another_cell(feature: dict[str, Any], change: dict[str, Any]) -> None:
    def key(document: dict[str, Any]) -> str | None:
        return compiled_of({"id": "x", "from": "a", **document}).features["x"].key

    assert key(feature) != key({**feature, **change})
    assert key(feature) == key({**feature, "default": 1})


def test_a_lateness_starts_windows_afresh_and_leaves_what_counts_since_ever() -> None:
    """Rings of another length are other cells; without a declared lateness the cells keep the names they had."""
    count = {"from": "a", "aggregate": "count"}
    features = ({"id": "x", **count}, {"id": "w", **count, "window": "7d"})
    plain, late, short = (compiled_of(*features, **more) for more in ({}, {"lateness": "2d"}, {"lateness": "1m"}))

    assert plain.features["x"].key == late.features["x"].key == "v.1.x.0d804c"
    assert plain.features["w"].key != late.features["w"].key
    assert plain.features["w"].key == short.features["w"].key == "v.1.w.d1105f"


def test_a_ratio_reads_all_of_its_fields() -> None:
    ratio = {"aggregate": "ratio", "where": "data.d > 0.0", "value": "data.n", "over": "data.b"}
    compiled = compiled_of({"id": "x", "from": "a", **ratio})

    assert compiled.features["x"].fields == (("a", "b"), ("a", "d"), ("a", "n"))


def test_two_releases_that_share_states_fold_a_common_feature_once() -> None:
    live = compiled_of({"id": "x", "from": "a", "aggregate": "count"})
    canary = compiled_of({"id": "x", "from": "a", "aggregate": "count"}, {**LAST, "id": "y"})
    fold = joint_fold([live, canary])
    state = fold("account", None, "a", "1", T_MS, {"n": 5})

    assert live.read(None, state, T_MS).values == (1,)
    assert canary.read(None, state, T_MS).values == (1, 5)


def test_a_signal_from_outside_all_time_is_ignored() -> None:
    compiled = compiled_of({"id": "x", "from": "a", "aggregate": "count", "window": "1h"})

    assert compiled.fold("account", None, "a", "1", -1, {}) is None
    assert compiled.fold("account", None, "a", "1", 2**46, {}) is None
    assert compiled.fold("account", None, "a", "1", 2**46 - 1, {}) is not None


def test_the_tests_of_a_view_run_and_say_what_failed() -> None:
    """Later signals than the read do not count, whatever their place in the list; null expects a missing value."""
    tests = [
        {
            "name": "two signals",
            "signals": [
                {"type": "a", "at": "2026-01-03T00:00:00Z", "data": {"n": 9}},
                {"type": "a", "at": "2026-01-01T10:00:00Z", "data": {"n": 3}},
                {"type": "a", "at": "2026-01-01T12:00:00+01:00", "data": {"n": 4}},
            ],
            "read_at": "2026-01-02T00:00:00Z",
            "expect": {"x": 7, "share": 0.1, "y": None},
        },
        {"name": "nothing", "read_at": "2026-01-02T00:00:00Z", "expect": {"x": 1, "nope": 2, "share": 0.0}},
    ]
    compiled = compiled_of(
        {
            "id": "x",
            "from": "a",
            "value": "data.n",
            "aggregate": "sum",
            "window": "7d",
            "type": "int",
            "default": 0,
        },
        {"id": "share", "derive": "double(x) / 70.0", "type": "double"},
        {"id": "y", "from": "b", "aggregate": "count"},
        tests=tests,
    )

    assert [(one.test, one.feature, one.expected, one.got) for one in run_view_tests(compiled)] == [
        ("nothing", "x", 1, 0),
        ("nothing", "nope", 2, None),
    ]
