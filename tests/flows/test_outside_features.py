"""Decisions over features that somebody else keeps: read in time, or done without and said so."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from small import DAY_MS, ask, busy_writer, consenting, kept, playbook, question, region_of, say

from opportune.adapters.duckdb import DuckOffline
from opportune.core.decisions.records import decode_record
from opportune.core.features import FeatureSpec, FeatureView, ReaderSpec
from opportune.core.playbook import Playbook
from opportune.core.policies import Policy
from opportune.flows.parity import parity
from opportune.flows.region import Region
from opportune.ports import FeatureReader
from opportune.testing.clock import FrozenClock
from opportune.views.customer import features_now
from opportune.views.features import feature_lines
from opportune.views.lineage import lineage_view
from opportune.wiring import reader_of

NOW_MS = 1_795_514_400_000
PATIENT_MS = 5_000
"""A machine under load may take its time: half of this is waited for a reader that answers."""
SQL = ReaderSpec(kind="sql", path="features.db", table="f", entity="account_id", time="at")


def book() -> Playbook:
    """The small playbook with an account's features from outside, one derived from them, and a policy on it."""
    made = playbook(limits=())
    view = FeatureView(
        view="warehouse", version=1, entity="account", owner="data", purposes=("marketing",), freshness="2d",
        reader=SQL,
        features=(
            FeatureSpec(id="ltv", column="ltv_eur", type="double"),
            FeatureSpec(id="segment", column="segment", type="string", default="none"),
            FeatureSpec(id="rich", derive="ltv > 1000.0", type="bool"),
        ),
    )  # fmt: skip
    rule = Policy(id="poor", effect="forbid", class_="commercial", when="!rich", reason="too little", owner="tests")
    return msgspec.structs.replace(made, views=(*made.views, view), policies=(*made.policies, rule))


class Fake(FeatureReader):
    """Gives `values`, or raises `error`; with `hold` only once that is set."""

    def __init__(self, values: Mapping[str, tuple[Any, int | None]]) -> None:
        self.values = values
        self.error: Exception | None = None
        self.hold: Event | None = None
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    def read(
        self, entity: str, id_: str, names: Sequence[str], now_ms: int, left_s: float
    ) -> Mapping[str, tuple[Any, int | None]]:
        self.asked.append((entity, id_, tuple(names)))
        if self.hold is not None:
            assert self.hold.wait(60)
        if self.error is not None:
            raise self.error
        return self.values


RICH = {"ltv_eur": (5000.0, NOW_MS - 1000), "segment": ("gold", NOW_MS - 1000)}


def ready(region: Region) -> None:
    consenting(region, "ada", account="acme")


def test_values_are_read_kept_in_the_decision_and_replayed_whatever_the_reader_says_later(tmp_path: Path) -> None:
    fake = Fake(RICH)
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        answer = region.decide.run(question(budget_ms=PATIENT_MS))
        assert answer.offer is not None
        assert (answer.disposition, answer.offer.id) == ("offered", "seats")
        fake.values = {}
        _, record = kept(region, answer.decision_id)  # replays to the byte
        seen = record.seen
        assert (seen.features["ltv"], seen.features["segment"], seen.features["rich"]) == (5000.0, "gold", True)
        assert (seen.ages_ms["ltv"], seen.ages_ms["rich"], seen.stale, seen.unread) == (1000, 1000, (), ())
        assert fake.asked == [("account", "acme", ("ltv_eur", "segment"))]
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert [(policy, names) for policy, _, names in record.result.skipped] == [("poor", ("rich",))]
        assert "poor" in str(region.decide.preview(question(budget_ms=PATIENT_MS)).explanation)


def test_a_policy_forbids_by_a_value_from_outside(tmp_path: Path) -> None:
    fake = Fake({"ltv_eur": (1, NOW_MS), "segment": ("none", NOW_MS)})  # a whole number is a double too
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert (record.result.disposition, record.seen.features["rich"]) == ("no_offer", False)


def test_no_row_gives_defaults_and_a_value_of_the_future_does_not_count(tmp_path: Path) -> None:
    fake = Fake({})
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert (record.seen.features["segment"], record.seen.features["ltv"]) == ("none", None)
        fake.values = {"ltv_eur": (5000.0, NOW_MS + 1), "segment": ("gold", NOW_MS + 1)}
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert (record.seen.features["segment"], record.seen.features["ltv"]) == (None, None)
        assert record.seen.unread == ()


def test_old_values_are_stale_by_the_view_and_so_is_what_is_derived(tmp_path: Path) -> None:
    old = NOW_MS - 2 * DAY_MS - 1
    fake = Fake({"ltv_eur": (5000.0, old), "segment": ("gold", NOW_MS - 2 * DAY_MS)})
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert record.seen.stale == ("ltv", "rich")


def test_a_reader_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    fake = Fake(RICH)
    fake.hold = Event()
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        try:
            answer = region.decide.run(question())
            _, record = kept(region, answer.decision_id)
            assert {"ltv", "segment", "rich"} <= set(record.seen.missing)  # no default: nobody knows
            assert record.seen.unread == (("warehouse", "late"),)
            assert record.result.degraded == ("warehouse.late",)
            assert "warehouse.late" in str(answer.explanation)
        finally:
            fake.hold.set()


@pytest.mark.parametrize("wrong", [OSError("gone"), {"ltv_eur": ("much", NOW_MS), "segment": ("gold", NOW_MS)}])
def test_a_broken_reader_or_a_value_of_another_type_is_missing_and_said(tmp_path: Path, wrong: Any) -> None:
    fake = Fake(RICH)
    if isinstance(wrong, Exception):
        fake.error = wrong
    else:
        fake.values = wrong
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert (record.seen.features["segment"], record.seen.unread) == (None, (("warehouse", "failed"),))
        assert record.result.degraded == ("warehouse.failed",)


def test_a_region_without_readers_says_so_and_a_customer_without_account_has_defaults(tmp_path: Path) -> None:
    with region_of(tmp_path, book()) as region:
        ready(region)
        consenting(region, "solo")
        _, record = kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)
        assert record.result.degraded == ("warehouse.failed",)
        _, record = kept(region, region.decide.run(question("solo")).decision_id)
        assert (record.seen.features["segment"], record.result.degraded) == ("none", ())


def test_the_writer_does_not_read_again_when_a_decision_is_made_again_in_the_commit(tmp_path: Path) -> None:
    fake = Fake(RICH)
    with region_of(tmp_path, book(), readers=lambda _: fake) as region:
        ready(region)
        with busy_writer(region):
            under_way = [ask(region, question(budget_ms=PATIENT_MS)), ask(region, question(budget_ms=PATIENT_MS))]
        answers = [one.result(60) for one in under_way]
        assert [kept(region, one.decision_id)[1].seen.features["ltv"] for one in answers] == [5000.0, 5000.0]
        assert len(fake.asked) == 2
        assert region.gate.under_way == 0


def test_a_refused_question_reaches_who_asked(tmp_path: Path) -> None:
    with region_of(tmp_path, book(), readers=lambda _: Fake(RICH)) as region:
        with pytest.raises(ValueError, match="no signal has named this customer"):
            region.decide.run(question("nobody"))
        assert region.gate.under_way == 0


def test_without_readers_decisions_are_made_by_who_asks(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        record = decode_record(kept(region, region.decide.run(question(budget_ms=PATIENT_MS)).decision_id)[0].record)
        assert (record.seen.unread, region.releases.live().views.outside) == ((), ())
        assert not region.outside._deciding._threads


def test_parity_leaves_out_what_is_read_from_outside(tmp_path: Path) -> None:
    with region_of(tmp_path, book(), readers=lambda _: Fake(RICH)) as region:
        ready(region)
        say(region, "usage.recorded", "ada", "acme", count=3)
        region.decide.run(question(budget_ms=PATIENT_MS))
        found = {one.feature: one for one in parity(region, DuckOffline(), 10).features}
        for name in ("ltv", "segment", "rich"):
            assert (dict(found[name].explained), found[name].equal) == ({"read from outside": 1}, 0)
        assert (found["used"].equal, found["used"].different) == (1, 0)


def test_pages_and_lists_say_that_a_value_is_read_from_outside(tmp_path: Path) -> None:
    with region_of(tmp_path, book(), readers=lambda _: Fake(RICH)) as region:
        ready(region)
        say(region, "usage.recorded", "ada", "acme", count=3)
        answer = region.decide.run(question(budget_ms=PATIENT_MS))
        release, now_ms = region.releases.live(), region.clock.now_ms()
        lines = {one.name: one for one in feature_lines(region.records, release, now_ms)}
        assert {name: (one.outside, one.stats is None) for name, one in lines.items()} == {
            "used": (False, False), "ltv": (True, True), "segment": (True, True), "rich": (True, True),
        }  # fmt: skip
        person, account = region.records.person("ada"), region.records.account("acme")
        rows, _ = features_now(release.views, person, account, now_ms)
        assert {one.name: (one.outside, one.missing) for one in rows} == {
            "used": (False, False), "ltv": (True, False), "segment": (True, False), "rich": (True, False),
        }  # fmt: skip
        stored = region.records.decision(answer.decision_id)
        assert stored is not None
        for name, outside, reproduced in (("rich", True, None), ("used", False, True)):
            found = lineage_view(region.records, release, stored, name, (), lambda _: "acme")
            assert (found.outside, found.reproduced) == (outside, reproduced)


def test_a_real_file_beside_the_playbook(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    with closing(sqlite3.connect(tmp_path / "book/features.db")) as connection, connection:
        connection.execute("CREATE TABLE f (account_id TEXT, at INTEGER, ltv_eur REAL, segment TEXT)")
        connection.execute("INSERT INTO f VALUES ('acme', ?, 2000.5, 'silver')", (NOW_MS - 5,))
    make = lambda spec: reader_of(tmp_path / "book", spec)  # noqa: E731
    patient = question(budget_ms=2000)
    with region_of(tmp_path / "data", book(), clock=FrozenClock(NOW_MS), readers=make) as region:
        ready(region)
        _, record = kept(region, region.decide.run(patient).decision_id)
        assert (record.seen.features["ltv"], record.seen.ages_ms["ltv"]) == (2000.5, 5)


def test_a_link_does_not_lead_out_of_the_playbook(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book/features.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(ValueError, match="leads out of the playbook"):
        reader_of(tmp_path / "book", SQL)
