"""Erasure: nothing is left, nothing comes back, what was interrupted is finished, nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import small

from opportune.adapters.files.scan import scan
from opportune.core.customers import person_subject
from opportune.core.decisions.questions import QuestionError
from opportune.core.decisions.records import Asked
from opportune.core.signals import Draft, Receipt, SignalContract, format_time
from opportune.flows.access import Gone, seen_by
from opportune.flows.decide import LiveProbe
from opportune.flows.erase import ErasureReport, Unknown, erase, finish, unfinished
from opportune.flows.region import Region
from opportune.ports import Erased, Hit, Merge, Scanned
from opportune.verifier import verify_commit, verify_log


class Interrupted(Exception):
    """The process ends here."""


def book() -> Any:
    plain = small.playbook()
    described = SignalContract(
        signal="person.updated", owner="tests", about="person", identifiers={"email": "email", "crm": "external:crm"},
        schema={
            "type": "object", "additionalProperties": True,
            "properties": {
                "plan": {"type": "string", "class": "public"}, "email": {"type": "string"}, "crm": {"type": "string"},
            },
        },
        class_="internal",
    )  # fmt: skip
    return msgspec.structs.replace(plain, contracts=(*plain.contracts, described))


@pytest.fixture(params=["memory", "sqlite"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    with small.region_of(tmp_path / "eu", book(), kind=request.param) as region:
        region.scan = lambda texts, also=(), discard=False: scan([tmp_path], texts)
        yield region


def draft(region: Region, customer: object, **data: Any) -> Draft:
    at = format_time(region.clock.now_ms())
    return Draft("tests", region.clock.new_id(), "person.updated", at, customer, data=data)


def send(region: Region, one: Draft) -> Receipt:
    return region.ingest.run([one])[0]


def lived(region: Region, who: str = "canary-ada") -> str:
    """A customer with a history of every kind."""
    small.consenting(region, who)
    mail = f"{who}@example.com"
    small.say(region, "person.updated", who, name=f"Name {who}", email=mail, crm=f"crm-{who}", plan="pro")
    answer = region.decide.run(small.question(who, idempotency_key=f"key-{who}"))
    assert answer.disposition == "offered"
    send(region, draft(region, who, plan=7, note=f"note {who}"))
    seen_by(region.records, region.vault, region.clock, "eu", "tests", "customer", who)
    return who


def done(region: Region, who: str = "canary-ada") -> ErasureReport:
    return erase(region, who, "tests", "asked for it")


def kinds(region: Region) -> list[str]:
    return [msgspec.json.decode(leaf)["type"] for leaf in region.records.leaves(0, region.records.leaf_count())]


def test_nothing_is_left_and_the_ledger_verifies(region: Region, tmp_path: Path) -> None:
    who = lived(region)
    other = lived(region, "canary-bob")
    subject = person_subject(who)
    sealed = region.vault.seal(subject, "somewhere", b"kept elsewhere")
    report = done(region)
    assert report.clean, report
    assert report.status == "erased"
    assert report.removed["signals"] == 2
    assert report.removed["decisions"] == report.removed["people"] == report.removed["quarantined"] == 1
    assert report.keys_destroyed == 1
    assert report.files > 0
    with pytest.raises(Erased):
        region.vault.open(subject, "somewhere", sealed)
    records = region.records
    assert records.person(who) is None
    assert not records.signals_of([who], 10)
    assert not records.decisions(10, customer=who)
    assert not records.accesses(10, customer=who)
    assert [one.customer for one in records.quarantined(10)] == [other]
    assert scan([tmp_path], [f"Name {who}", who, f"{who}@example.com", f"key-{who}"]).hits == ()
    assert verify_log(tmp_path / "eu" / "ledger", region.ledger.vkey).ok
    entry = next(leaf for leaf in records.leaves(0, records.leaf_count()) if b'"erasure"' in leaf)
    assert msgspec.json.decode(entry)["identifiers"] == 2
    assert records.person(other) is not None
    assert len(records.decisions(10, customer=other)) == 1


def test_whoever_was_erased_is_refused_whatever_they_are_called(region: Region) -> None:
    who = lived(region)
    done(region)
    before = dict(region.records.counts())
    refused = [
        draft(region, who, plan="pro"),
        draft(region, "another-id", email=f"{who.upper()}@Example.com"),
        draft(region, f"{who}@example.com", plan="pro"),
        draft(region, f"crm-{who}", plan="pro"),
        draft(region, who, plan=7),
        draft(region, None, plan=7, who=[{"mail": f"{who}@example.com"}]),
        draft(region, f" crm-{who}", plan=7),
    ]
    for one in refused:
        receipt = send(region, one)
        assert receipt.status == "rejected", one
        assert (receipt.problems[0].code, receipt.problems[0].field) == ("erased", "subject")
    assert dict(region.records.counts()) == before
    assert send(region, draft(region, "somebody-else", plan="pro")).status == "accepted"


def test_everybody_who_was_merged_into_one_is_erased(region: Region) -> None:
    who, twin, apart = lived(region), lived(region, "canary-twin"), lived(region, "canary-apart")
    clock = region.clock

    def work(tx: Any) -> None:
        merge = Merge(clock.new_id(), clock.now_ms(), who, twin, "person", "tests")
        tx.put_merge(merge)
        tx.put_person(msgspec.structs.replace(tx.person(twin), merged_into=who))
        undone = Merge(clock.new_id(), clock.now_ms(), who, apart, "person", "tests", undone_ms=clock.now_ms())
        tx.put_merge(undone)

    region.records.run(work)
    report = done(region, twin)
    assert report.ids == 2
    assert report.keys_destroyed == 2
    assert region.records.person(who) is region.records.person(twin) is None
    assert region.records.person(apart) is not None
    assert region.records.merges_of(who) == []


def test_quarantined_bodies_that_name_them_go_too(region: Region) -> None:
    who = lived(region)
    stays = send(region, draft(region, None, plan=7, who="somebody"))
    goes = send(region, draft(region, None, plan=7, who={"deep": [f"mail {who}@example.com now"]}))
    assert stays.status == goes.status == "quarantined"
    report = done(region)
    assert report.removed["quarantined"] == 2
    assert [one.customer for one in region.records.quarantined(10)] == [None]


STEPS: list[tuple[str, Callable[[Region], tuple[Any, str]], bool]] = [
    ("before the rows go", lambda region: (region.records, "erase"), True),
    ("after the rows went", lambda region: (region.records, "erase"), False),
    ("before the keys go", lambda region: (region.vault, "destroy"), True),
    ("after the keys went", lambda region: (region.vault, "destroy"), False),
    ("before the log is emptied", lambda region: (region.records, "scrub"), True),
    ("after the log was emptied", lambda region: (region.records, "scrub"), False),
]


@pytest.mark.parametrize(("step", "where", "before"), STEPS, ids=[step for step, _, _ in STEPS])
@pytest.mark.parametrize("again", ["run again", "started again"])
def test_an_interrupted_erasure_is_finished(
    region: Region, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, where: Any, before: bool, again: str
) -> None:
    who = lived(region)
    target, name = where(region)
    real = getattr(target, name)

    def interrupted(*given: Any, **named: Any) -> Any:
        if not before:
            real(*given, **named)
        raise Interrupted(step)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, interrupted)
        with pytest.raises(Interrupted):
            done(region)
    if again == "run again":
        report = done(region)
        assert report.clean
    else:
        finish(region)
    assert unfinished(region) == []
    assert kinds(region).count("erasure") == 1
    assert region.records.person(who) is None
    assert region.vault.destroy([person_subject(who)]) == 0
    assert send(region, draft(region, who, plan="pro")).status == "rejected"
    assert scan([tmp_path], [f"Name {who}", who, f"{who}@example.com"]).hits == ()
    assert done(region).status == "completed"


def test_what_a_file_still_holds_is_said(region: Region, tmp_path: Path) -> None:
    who = lived(region)
    (tmp_path / "export.csv").write_text(f"{who};pro")
    report = done(region)
    assert not report.clean
    assert report.hits == (Hit(str(tmp_path / "export.csv"), "utf-8"),)
    (tmp_path / "export.csv").unlink()
    again = done(region)
    assert again.clean
    assert again.status == "completed"


def test_words_of_the_playbook_and_other_customers_are_not_looked_for(region: Region) -> None:
    asked: list[set[str]] = []
    region.scan = lambda texts, also=(), discard=False: asked.append(set(texts)) or Scanned()  # type: ignore[func-returns-value]
    other = lived(region, "canary-bob")
    who = lived(region)
    small.say(region, "person.updated", who, referred_by=other, says="usage.recorded", town="Springfield")
    done(region)
    assert {who, f"{who}@example.com", f"crm-{who}", f"Name {who}", "Springfield"} <= asked[0]
    assert not asked[0] & {other, "usage.recorded", "pro"}


def test_nobody_is_erased_who_never_was(region: Region) -> None:
    lived(region)
    with pytest.raises(Unknown):
        done(region, "never-was")
    assert kinds(region).count("erasure") == 0


def test_reading_about_whoever_was_erased_writes_nothing(region: Region) -> None:
    who = lived(region)
    done(region)
    leaves = region.records.leaf_count()
    with pytest.raises(Gone):
        seen_by(region.records, region.vault, region.clock, "eu", "tests", "customer", who)
    assert region.records.leaf_count() == leaves
    assert region.vault.destroy([person_subject(who)]) == 0


def test_a_decision_under_way_is_not_written_after_the_erasure(region: Region) -> None:
    who = lived(region)
    made = region.decide
    named, person, account = made.who(small.question(who))
    done(region)
    brain = region.releases.brain()
    asked = Asked(who, "limit", ("in_app",))
    probe = LiveProbe(region.clock, 0, 10_000)
    late = made._make(brain, asked, person, account, region.clock.new_id(), probe)
    with pytest.raises(QuestionError):
        region.records.run(lambda tx: made._record(tx, brain, asked, named, late, None, probe))  # type: ignore[arg-type]
    assert region.records.decisions(5, customer=who) == []


def test_each_read_is_a_row_and_an_entry_that_names_nobody(region: Region) -> None:
    who = lived(region)
    id_ = seen_by(
        region.records, region.vault, region.clock, "eu", "Ops <ann@example.com>", "export", who, {"personal"}, "asked"
    )
    row = region.records.accesses(1, customer=who)[0]
    assert (row.id, row.what, row.classes, row.purpose) == (id_, "export", ("personal",), "asked")
    leaf = region.records.leaves(region.records.leaf_count() - 1, region.records.leaf_count())[0]
    said = msgspec.json.decode(leaf)
    assert (said["type"], said["what"], said["id"]) == ("access", "export", id_)
    assert who.encode() not in leaf
    assert b"@" not in leaf
    salt = region.vault.commit_salt(f"access/{id_}", person_subject(who))
    assert verify_commit(leaf, salt, msgspec.json.encode(row))
