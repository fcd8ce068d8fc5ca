"""What was meant for another region is kept nowhere, and told to the ledger in few entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import playbook, question, region_of

from opportune.core.signals import Draft
from opportune.flows.govern import GovernError
from opportune.flows.refuse import Sender
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

CANARY = "canary-of-another-region"


def two_regions() -> Any:
    book = playbook()
    return msgspec.structs.replace(book, app=msgspec.structs.replace(book.app, regions=("eu", "us")))


def refusals(region: Region) -> list[dict[str, Any]]:
    entries = [json.loads(leaf) for leaf in region.records.leaves(0, region.records.leaf_count())]
    return [one for one in entries if one["type"] == "refusal"]


def draft(region: object, id_: str = "1", **more: Any) -> Draft:
    return Draft("crm", id_, "usage.recorded", subject="ada", data={"count": 1, "note": CANARY}, region=region, **more)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_signal_of_another_region_is_rejected_and_kept_nowhere(tmp_path: Path, kind: str) -> None:
    with region_of(tmp_path, two_regions(), kind=kind) as region:
        sent = [
            draft("us"),
            draft("eu", "2"),
            draft("", "3"),
            draft(None, "4"),
            draft(7, "5"),
            draft("us", "6", version=99),
        ]
        receipts = region.ingest.run(sent, Sender("signals", "key-shop"))

        assert [one.status for one in receipts] == [
            "rejected",
            "accepted",
            "accepted",
            "accepted",
            "rejected",
            "rejected",
        ]
        assert {(p.code, p.field) for one in receipts for p in one.problems} == {("wrong_region", "region")}
        assert "`opportune serve --region us`" in receipts[0].problems[0].message
        assert [stored.signal.id for stored in region.records.signals()] == ["2", "3", "4"]
        assert region.records.quarantined(10) == []
        assert [(one["asked"], one["count"], one["door"], one["actor"], one["region"]) for one in refusals(region)] == [
            ("us", 2, "signals", "key-shop", "eu"), ("unlisted", 1, "signals", "key-shop", "eu")
        ]  # fmt: skip
        assert all("ada" not in str(one) and CANARY not in str(one) for one in refusals(region))


def test_a_flood_gives_few_entries_and_leaves_nobody_out(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, two_regions(), clock=clock) as region:
        asked = 0
        for _ in range(600):
            for _ in range(50):
                region.refusals.note("us", Sender("signals", "key-shop"))
                asked += 1
            clock.at_ms += 1_000
            region.refusals.flush()
        in_ten_minutes = len(refusals(region))
        region.refusals.flush(final=True)

        assert in_ten_minutes <= 1 + 6 + 10
        assert sum(one["count"] for one in refusals(region)) == asked


def test_the_first_attempt_of_each_caller_is_told_at_once_and_after_a_rest_again(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, two_regions(), clock=clock) as region:
        for sender in ("key-a", "key-b", "key-a"):
            region.refusals.note("us", Sender("signals", sender))
        assert [(one["actor"], one["count"]) for one in refusals(region)] == [("key-a", 1), ("key-b", 1)]
        clock.at_ms += 1_000
        region.refusals.flush()
        assert [(one["actor"], one["count"]) for one in refusals(region)][2:] == [("key-a", 1)]
        clock.at_ms += 10_000
        region.refusals.flush()
        region.refusals.note("us", Sender("signals", "key-a"))
        assert len(refusals(region)) == 4


def test_endless_different_callers_are_counted_as_one(tmp_path: Path) -> None:
    with region_of(tmp_path, two_regions()) as region:
        for index in range(1_500):
            region.refusals.note("us", Sender("signals", f"key-{index}"))
        told = refusals(region)
        assert len(told) == 1_025
        region.refusals.flush(final=True)
        assert sum(one["count"] for one in refusals(region)) == 1_500
        assert told[-1]["actor"] == "others"


def test_everything_in_a_region_says_which_one_it_is(tmp_path: Path) -> None:
    """The release's home is `eu`; at work in `us`, its entries, decisions and answers say `us`, and replay."""
    with region_of(tmp_path, two_regions(), name="us") as region:
        region.ingest.run([draft("us"), draft("eu", "2")])
        answer = region.decide.run(question())
        entries = [json.loads(leaf) for leaf in region.records.leaves(0, region.records.leaf_count())]

        assert {one["region"] for one in entries} == {"us"}
        assert {one["type"] for one in entries} == {"release", "promotion", "signal", "decision", "refusal"}
        assert answer.region == "us"
        assert region.replay(answer.decision_id).same
        assert [stored.signal.id for stored in region.records.signals()] == ["1"]


def test_a_release_of_other_regions_cannot_be_made_or_promoted_here(tmp_path: Path) -> None:
    with region_of(tmp_path / "eu") as eu:
        stored = eu.records.release(eu.releases.live().hash)
        assert stored is not None
    with region_of(tmp_path / "us", two_regions(), name="us") as us:
        live = us.records.live()
        with pytest.raises(GovernError, match=r"is for `eu` and cannot be used in region `us`"):
            us.release(playbook())
        us.records.run(lambda tx: tx.put_release(stored))
        with pytest.raises(GovernError, match=r"is for `eu` and cannot be used in region `us`"):
            us.promote(stored.hash, "tests", "smuggled")
        assert us.records.live() == live
