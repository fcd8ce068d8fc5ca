"""Planted drift of every kind is found, in everybody and in one segment alone; without any, nothing is."""

from __future__ import annotations

import msgspec
import pytest
from benchmarks.drift import POLICY, card_of, run
from benchmarks.drift_streams import TWISTS, Stream, Twist, set_of, windowed

from opportune.core.drift import (
    DriftPolicy,
    SeenRows,
    Watched,
    against,
    alarm_of,
    decode_report,
    disagreement,
    encode_report,
    look_at_inputs,
    watched,
)
from opportune.core.models import ModelError, Scorecard, decode_card, encode_card

pytestmark = pytest.mark.slow

KINDS = {
    "other customers come (covariate shift)": {"input"},
    "a new category in a tenth of rows": {"unseen"},
    "a feature lost in a fifth of rows": {"missing"},
    "a number comes as text in a twentieth of rows": {"wrong_type"},
    "who buys is turned round (concept)": {"calibration", "outcome"},
    "half as many purchases (base rate)": {"outcome"},
    "twice as many purchases (base rate)": {"outcome"},
    "a third of the purchases in one segment only": {"outcome", "calibration"},
}


@pytest.fixture(scope="module")
def trained() -> tuple[Stream, Scorecard]:
    return card_of(31)


@pytest.fixture
def watch(trained: tuple[Stream, Scorecard]) -> Watched:
    return watched("card", trained[1], POLICY)


@pytest.mark.parametrize("name", TWISTS)
def test_planted_drift_is_found(name: str, trained: tuple[Stream, Scorecard], watch: Watched) -> None:
    found = run(watch, trained[0], 4_000, TWISTS[name])
    assert found, name
    events, report = found[0]
    assert events <= 4_000
    assert {one.kind for one in report.found} & KINDS[name]
    if "segment" in name:
        assert any(one.segment == "plan = team" for one in report.found)


def test_where_nothing_changes_nothing_is_found(trained: tuple[Stream, Scorecard], watch: Watched) -> None:
    assert run(watch, trained[0], 5_000) == []


def test_a_card_brings_its_snapshot_along(trained: tuple[Stream, Scorecard]) -> None:
    card = trained[1]
    assert card.training.snapshot is not None
    assert decode_card(encode_card(card)) == card
    without = msgspec.structs.replace(card, training=msgspec.structs.replace(card.training, snapshot=None))
    with pytest.raises(ModelError, match="train it again"):
        watched("card", without, POLICY)


def test_a_report_comes_back_from_its_bytes(trained: tuple[Stream, Scorecard], watch: Watched) -> None:
    report = run(watch, trained[0], 2_000, Twist(lost=0.4))[0][1]
    assert decode_report(encode_report(report)) == report
    assert b"account-" not in encode_report(report)


def test_what_follows_is_the_strongest_action_asked_for(trained: tuple[Stream, Scorecard]) -> None:
    policy = DriftPolicy(actions={"missing": "fall_back"})
    stream, card = trained
    report = run(watched("card", card, policy), stream, 1_000, Twist(lost=0.4))[0][1]
    alarm = alarm_of(report, policy)
    assert alarm is not None
    assert alarm.action == "fall_back"
    assert any("usage_trend" in words and "missing" in words for words in alarm.words)
    flagged = alarm_of(report, DriftPolicy())
    assert flagged is not None
    assert flagged.action == "flag"


def test_what_is_not_watched_is_not_measured(trained: tuple[Stream, Scorecard]) -> None:
    stream, card = trained
    only = watched("card", card, DriftPolicy(watch=("missing",)))
    seen = windowed(stream.rows(500, Twist(fuller=True)), tuple(t.name for t in card.features)).seen
    assert {one.kind for one in look_at_inputs(only, seen, 1, 5).measured} == {"missing"}


def test_the_first_window_can_be_what_everything_is_held_against(trained: tuple[Stream, Scorecard]) -> None:
    stream, card = trained
    names = tuple(table.name for table in card.features)
    usual = watched("card", card, DriftPolicy(reference="first_window"))
    fuller = Twist(fuller=True)
    first = look_at_inputs(usual, windowed(stream.rows(1_000, fuller), names).seen, 1, 5)
    later = look_at_inputs(against(usual, first), windowed(stream.rows(1_000, fuller), names).seen, 2, 6)
    assert first.found
    assert not later.found
    assert later.reference == "first window"


def test_a_few_accounts_say_nothing(watch: Watched, trained: tuple[Stream, Scorecard]) -> None:
    names = tuple(table.name for table in trained[1].features)
    seen = windowed(trained[0].rows(400, Twist(lost=1.0)), names).seen
    few = SeenRows(tuple(f"a{index % 10}" for index in range(400)), seen.values, seen.from_ms, seen.to_ms)
    assert look_at_inputs(watch, few, 1, 5).measured == ()


def test_disagreement_with_a_heavier_model_is_a_share_like_any_other(watch: Watched) -> None:
    assert disagreement(watch, (10, 40), (5, 100)) is None
    more = disagreement(watch, (50, 1_000), (80, 400))
    assert more is not None
    assert more.size > more.limit
    assert more.chance < 1e-6
    same = disagreement(watch, (50, 1_000), (21, 400))
    assert same is not None
    assert same.chance > 0.5


def test_a_training_set_gives_the_same_snapshot_again() -> None:
    one, other = (set_of(Stream(77).rows(50)) for _ in range(2))
    assert one == other
