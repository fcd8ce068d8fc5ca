"""Quality end to end: what each remedy leaves in the stores, and how a flag travels into the decision it may touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import DAY_MS, ask, playbook, question, region_of, say

from opportune.core.compatibility import changed
from opportune.core.decisions.flagged import flag_text, flagged
from opportune.core.decisions.records import decode_record
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft, QualityRule, Receipt, SignalContract, format_time
from opportune.flows.govern import GovernError
from opportune.flows.region import Region

COUNT = {"count": {"type": "integer", "class": "sensitive"}, "order": {"type": "string"}}


def book(*rules: QualityRule, **more: Any) -> Playbook:
    usage = SignalContract(
        signal="usage.recorded", owner="product", schema={"type": "object", "properties": COUNT}, quality=rules, **more
    )
    plain = playbook()
    rest = tuple(one for one in plain.contracts if one.signal != "usage.recorded")
    return msgspec.structs.replace(plain, contracts=(usage, *rest))


def rule(kind: Any, remedy: Any, **more: Any) -> QualityRule:
    return QualityRule(rule=more.pop("rule", "sane"), kind=kind, remedy=remedy, **more)


def send(region: Region, id_: str, age_ms: int = 0, **data: Any) -> Receipt:
    at = format_time(region.clock.now_ms() - age_ms)
    return region.ingest.run([Draft("tests", id_, "usage.recorded", at, "ada", data=data)])[0]


def kept(region: Region) -> tuple[int, int, int]:
    """How many signals and quarantine entries there are, and ledger entries."""
    counts = region.records.counts()
    return counts.get("signals", 0), counts.get("quarantined", 0), region.records.leaf_count()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_each_remedy_leaves_behind(tmp_path: Path, kind: str) -> None:
    for remedy in ("reject", "quarantine", "repair", "accept_and_flag"):
        folder = tmp_path / remedy
        folder.mkdir()
        limit = rule("range", remedy, field="count", max=100)
        with region_of(folder, book(limit), kind=kind) as region:
            signals, quarantined, leaves = kept(region)
            receipt = send(region, "u1", count=700)
            if remedy == "reject":
                assert (receipt.status, receipt.problems[0].field) == ("rejected", "data.count")
                assert kept(region) == (signals, quarantined, leaves)
                assert region.records.person("ada") is None
                continue
            if remedy == "quarantine":
                assert (receipt.status, receipt.problems[0].code) == ("quarantined", "quality")
                assert kept(region) == (signals, quarantined + 1, leaves)
                continue
            person = region.records.person("ada")
            assert person is not None
            assert [(flag.rule, flag.type, flag.count) for flag in person.flags] == [("sane", "usage.recorded", 1)]
            (stored,) = region.records.signals()
            if remedy == "repair":
                assert receipt.repaired == ("data.count",)
                assert stored.signal.data == {"count": 100}
                assert stored.signal.repairs[0].before == 700
            else:
                assert receipt.flags == stored.signal.flags == ("sane",)
                assert stored.signal.data == {"count": 700}
            assert send(region, "u1", count=700).status == "duplicate"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_value_is_claimed_once_and_never_by_what_was_kept_out(tmp_path: Path, kind: str) -> None:
    once = rule("uniqueness", "quarantine", rule="once", fields=("order",))
    limit = rule("range", "quarantine", rule="limit", field="count", max=100)
    with region_of(tmp_path, book(once, limit), kind=kind) as region:
        assert send(region, "a", order="o-1", count=700).status == "quarantined"
        assert send(region, "b", order="o-1", count=7).status == "accepted"
        assert send(region, "b", order="o-1", count=7).status == "duplicate"
        second = send(region, "c", order="o-1", count=7)
        assert (second.status, second.problems[0].field) == ("quarantined", "data.order")
        both = region.ingest.run(
            [Draft("tests", id_, "usage.recorded", subject="ada", data={"order": "o-2"}) for id_ in ("d", "e")]
        )
        assert [one.status for one in both] == ["accepted", "quarantined"]
        assert send(region, "f", count=7).status == "accepted"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_references_are_looked_up_in_the_store_and_the_release(tmp_path: Path, kind: str) -> None:
    buyer = rule("referential", "quarantine", rule="buyer", field="order", refers="customer")
    with region_of(tmp_path, book(buyer), kind=kind) as region:
        assert send(region, "a", order="grace").status == "quarantined"
        say(region, "consent.given", "grace", purpose="marketing", channels=["*"])
        assert send(region, "b", order="grace").status == "accepted"
    other = tmp_path / "offers"
    other.mkdir()
    with region_of(other, book(rule("referential", "reject", field="order", refers="offer")), kind=kind) as region:
        assert send(region, "a", order="seets").status == "rejected"
        assert send(region, "b", order="seats").status == "accepted"


def test_a_flag_travels_into_the_decision_and_its_explanation(tmp_path: Path) -> None:
    late = rule("freshness", "accept_and_flag", rule="in_time", within="7d")
    with region_of(tmp_path, book(late, rule("range", "repair", field="count", max=10))) as region:
        say(region, "consent.given", "ada", purpose="marketing", channels=["*"])
        assert send(region, "a", 30 * DAY_MS, count=3).flags == ("in_time",)
        assert send(region, "b", 20 * DAY_MS, count=30).repaired == ("data.count",)
        answer = ask(region, question()).result(60)
        stored = region.records.decision(answer.decision_id)
        assert stored is not None
        record = decode_record(stored.record)
        assert sorted(record.seen.flags) == [
            ("person", "in_time", "usage.recorded", 20 * DAY_MS, 2),
            ("person", "sane", "usage.recorded", 20 * DAY_MS, 1),
        ]
        found = {one.rule: one for one in flagged(region.releases.brain(), record)}
        assert found["in_time"].features == found["sane"].features == ("used",)
        assert (found["sane"].repaired, found["in_time"].repaired) == (True, False)
        assert (found["sane"].owner, found["sane"].class_) == ("product", "sensitive")
        assert flag_text(found["in_time"]) == (
            "2 signals usage.recorded of the person were accepted all the same (the newest 20 days old): rule in_time, "
            "the signal must reach us within 7d; may affect used (owner product, class internal)"
        )
        assert "Data quality: 2 signals usage.recorded" in answer.explanation["auditor"]
        assert "Data quality" not in answer.explanation["customer"] + answer.explanation["agent"]
        assert region.replay(answer.decision_id).same


def test_an_upcast_delivery_stays_the_same_fact(tmp_path: Path) -> None:
    first = book()
    with region_of(tmp_path, first) as region:
        assert send(region, "a", count=3).status == "accepted"
        newer = SignalContract(
            signal="usage.recorded", version=2, owner="product",
            schema={"type": "object", "properties": {"count": {"type": "integer"}, "size": {"type": "integer"}}},
            upcast={"1": {"count": "data.count * 10"}},
        )  # fmt: skip
        second = msgspec.structs.replace(first, contracts=(*first.contracts, newer))
        region.promote(region.release(second, ()).hash, "tests", "second")
        at = format_time(region.clock.now_ms())
        old = Draft("tests", "a", "usage.recorded", at, "ada", version=1, data={"count": 3})
        assert region.ingest.run([old])[0].status == "duplicate"
        fresh = Draft("tests", "b", "usage.recorded", at, "ada", version="1", data={"count": 4})
        assert region.ingest.run([fresh])[0].status == "accepted"
        stored = [one.signal for one in region.records.signals()]
        assert [(one.version, one.data) for one in stored] == [(1, {"count": 3}), (2, {"count": 40})]


def test_a_released_schema_cannot_change_under_its_number(tmp_path: Path) -> None:
    with region_of(tmp_path, book()) as region:
        other = {"type": "object", "properties": {"count": {"type": "integer", "minimum": 0}}}
        altered = book()
        usage = msgspec.structs.replace(altered.contracts[0], schema=other)
        altered = msgspec.structs.replace(altered, contracts=(usage, *altered.contracts[1:]))
        with pytest.raises(GovernError, match=r"differs from the one live as version 1.*as version 2"):
            region.release(altered, ())
        words = msgspec.structs.replace(
            book().contracts[0], schema={"type": "object", "description": "other words", "properties": COUNT}
        )
        assert not changed(book().contracts[0].schema, words.schema)
        region.release(msgspec.structs.replace(book(), contracts=(words, *book().contracts[1:])), ())
