"""What was kept out is fixed and sent again as any signal is: closed only when it is in, and never by half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
import small

from opportune.core.signals import Draft, format_time
from opportune.flows.quarantine import QuarantineError, discard, draft_from, draft_of, resubmit, with_fields
from opportune.flows.region import Region
from opportune.ports import Quarantined


@pytest.fixture(params=["memory", "sqlite"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    with small.region_of(tmp_path, kind=request.param) as found:
        yield found


def kept_out(region: Region, data: Any, id_: str = "bad", **more: Any) -> Quarantined:
    draft = Draft("tests", id_, "usage.recorded", more.pop("time", None), "ada", None, data=data, **more)
    receipt = region.ingest.run([draft])[0]
    assert receipt.status == "quarantined", receipt
    return region.records.quarantined(1)[0]


def steps(region: Region) -> list[tuple[str, str, int]]:
    """(what, actor, seq) of the ledger's entries on quarantine."""
    entries = [json.loads(one) for one in region.records.leaves(0, region.records.leaf_count())]
    return [(one["what"], one["actor"], one["seq"]) for one in entries if one["type"] == "quarantine"]


def entry(region: Region, seq: int) -> Quarantined:
    found = region.records.quarantine_entry(seq)
    assert found is not None
    return found


def used(region: Region) -> Any:
    person = region.records.person("ada")
    views = region.releases.live().views
    return views.read(None if person is None else person.features, None, region.clock.now_ms()).values[0]


def test_a_fixed_signal_is_in_and_its_entry_says_which_it_became(region: Region) -> None:
    kept = kept_out(region, {"count": "many"})

    receipt = resubmit(region, kept.seq, with_fields(draft_of(kept), {"data.count": 3}), "grace")

    assert receipt.status == "accepted"
    closed = entry(region, kept.seq)
    assert (closed.status, closed.note) == ("resubmitted", f"grace: signal {receipt.seq}")
    assert json.loads(closed.body)["data"] == {"count": 3}
    assert used(region) == 3
    assert steps(region) == [("resubmitted", "grace", kept.seq)]
    with pytest.raises(QuarantineError, match="was resubmitted"):
        resubmit(region, kept.seq, None, "grace")


def test_what_is_still_wrong_stays_open_with_its_new_problems_and_nothing_else(region: Region) -> None:
    kept = kept_out(region, {"count": "many"})
    before = region.records.counts()

    receipt = resubmit(region, kept.seq, with_fields(draft_of(kept), {"data.count": 1.5, "subject": 7}), "grace")

    assert receipt.status == "quarantined"
    still = entry(region, kept.seq)
    assert still.status == "open"
    assert {one.field for one in still.problems} == {"subject"}
    assert json.loads(still.body)["data"] == {"count": 1.5}
    after = region.records.counts()
    assert after["quarantined"] == before["quarantined"]
    assert after["signals"] == before["signals"]
    assert steps(region) == [("still_wrong", "grace", kept.seq)]
    assert region.records.quarantined(10, status="open") == [still]


def test_a_conflict_is_sent_again_under_another_id(region: Region) -> None:
    small.say(region, "usage.recorded", "ada", count=1)
    first = Draft("tests", "twice", "usage.recorded", None, "ada", None, data={"count": 1})
    region.ingest.run([first])
    kept = kept_out(region, {"count": 5}, "twice")

    assert resubmit(region, kept.seq, None, "grace").problems[0].code == "conflict"
    assert resubmit(region, kept.seq, with_fields(draft_of(kept), {"id": "thrice"}), "grace").status == "accepted"

    assert used(region) == 7


def test_a_duplicate_closes_it_too(region: Region) -> None:
    kept = kept_out(region, {"count": "x"})
    good = with_fields(draft_of(kept), {"data.count": 2})
    region.ingest.run([good])

    receipt = resubmit(region, kept.seq, good, "grace")

    assert receipt.status == "duplicate"
    assert entry(region, kept.seq).note == f"grace: signal {receipt.seq}, a duplicate"
    assert used(region) == 2


def test_what_named_no_time_happened_when_it_was_received_first(region: Region) -> None:
    kept = kept_out(region, {"count": "x"})
    region.clock.at_ms += small.DAY_MS  # type: ignore[attr-defined]

    receipt = resubmit(region, kept.seq, with_fields(draft_of(kept), {"data.count": 2}), "grace")

    stored = next(one for one in region.records.signals() if one.seq == receipt.seq)
    assert stored.signal.at_ms == kept.received_ms


def test_what_lay_in_the_future_may_come_in_when_its_time_has_come(region: Region) -> None:
    later = format_time(region.clock.now_ms() + small.DAY_MS)
    kept = kept_out(region, {"count": 2}, time=later)
    assert resubmit(region, kept.seq, None, "grace").problems[0].code == "future"

    region.clock.at_ms += 2 * small.DAY_MS  # type: ignore[attr-defined]

    assert resubmit(region, kept.seq, None, "grace").status == "accepted"


def test_a_large_one_is_kept_whole_and_what_cannot_be_read_back_says_so(region: Region) -> None:
    kept = kept_out(region, {"text": "x" * 300_000})
    assert draft_of(kept).data == {"text": "x" * 300_000}

    odd = Quarantined(1, "tests", "odd", "usage.recorded", (), b'{"source": "te')
    seq = region.records.run(lambda tx: tx.quarantine(odd))

    with pytest.raises(QuarantineError, match="not kept whole"):
        resubmit(region, seq, None, "grace")
    whole = Draft("tests", "odd", "usage.recorded", None, "ada", None, data={"count": 1})
    assert resubmit(region, seq, whole, "grace").status == "accepted"


def test_discarding_keeps_the_reason_out_of_the_ledger(region: Region) -> None:
    kept = kept_out(region, {"count": "x"})

    with pytest.raises(QuarantineError, match="say why"):
        discard(region, kept.seq, "  ", "grace")
    discard(region, kept.seq, "a test by Ada Lovelace", "grace h@example.com")

    assert entry(region, kept.seq).status == "discarded"
    assert entry(region, kept.seq).note.endswith(": a test by Ada Lovelace")
    assert [what for what, _, _ in steps(region)] == ["discarded"]
    leaves = b"".join(region.records.leaves(0, region.records.leaf_count()))
    assert b"Lovelace" not in leaves
    assert b'"ada"' not in leaves
    with pytest.raises(QuarantineError) as refused:
        discard(region, 99, "why", "grace")
    assert refused.value.code == "unknown"


def test_a_withdrawal_sent_again_is_acknowledged_when_nothing_is_on_its_way(region: Region) -> None:
    small.consenting(region, "ada")
    draft = Draft("tests", "w", "consent.withdrawn", "never", "ada", None, data={"purpose": "marketing"})
    assert region.ingest.run([draft])[0].status == "quarantined"
    seq = region.records.quarantined(1)[0].seq
    waits, done = Event(), Event()
    after = region.outgoing.after

    def watched(customers: Any, then: Any) -> None:
        after(customers, then)
        waits.set()

    def again() -> None:
        resubmit(region, seq, with_fields(draft, {"time": None}), "grace")
        done.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region.outgoing, "after", watched)
        assert region.outgoing.begin("ada", lambda: True)
        thread = Thread(target=again)
        thread.start()
        assert waits.wait(30)
        person = region.records.person("ada")
        assert person is not None
        assert person.consents["marketing/*"].status == "withdrawn"
        assert not done.is_set()
        region.outgoing.end("ada")
        thread.join(30)
    assert done.is_set()


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"nonsense": 1}, "nonsense"), ({"data..x": 1}, "data..x"), ({"subject.id": 1}, "subject.id"),
     ({"problems": []}, "problems"), ({"skew_ms": "x"}, "skew_ms")],
)  # fmt: skip
def test_only_fields_of_a_draft_can_be_set(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(QuarantineError) as refused:
        with_fields(Draft("a", "b", "c", data={"x": {"y": 1}}), changes)
    assert refused.value.field == field


def test_fields_are_set_inside_and_taken_away() -> None:
    draft = Draft("a", "b", "c", data={"x": {"y": 1, "z": 2}, "gone": 1})

    changed = with_fields(draft, {"data.x.y": [1], "data.new.deep": True, "data.gone": None, "subject": "u1"})

    assert changed.data == {"x": {"y": [1], "z": 2}, "new": {"deep": True}}
    assert changed.subject == "u1"
    assert draft_from(msgspec.to_builtins(draft)) == draft
    with pytest.raises(QuarantineError, match="one JSON object"):
        draft_from([1])
