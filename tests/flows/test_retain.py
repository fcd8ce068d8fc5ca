"""Retention: what outlived its period is gone from every file, and the ledger says how much that was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import small

from opportune.adapters.files.scan import scan
from opportune.core.playbook import Privacy
from opportune.core.signals import Draft, SignalContract, format_time
from opportune.flows.access import seen_by
from opportune.flows.region import Region
from opportune.flows.retain import retain
from opportune.testing.clock import FrozenClock

NAME = "canary-name"


def book(**periods: str) -> Any:
    plain = small.playbook()
    described = tuple(
        SignalContract(
            signal=type_, owner="tests", class_="internal",
            schema={
                "type": "object", "additionalProperties": True,
                "properties": {"name": {"type": "string", "class": "personal"}, "plan": {"type": "string"}},
            },
        )
        for type_ in ("person.updated", "account.updated")
    )  # fmt: skip
    app = msgspec.structs.replace(plain.app, privacy=Privacy(retention=periods))  # type: ignore[arg-type]
    return msgspec.structs.replace(plain, app=app, contracts=(*plain.contracts, *described))


@pytest.fixture(params=["memory", "sqlite"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    kept = book(personal="30d", quarantine="10d", access="20d")
    with small.region_of(tmp_path, kept, kind=request.param, clock=FrozenClock()) as region:
        yield region


def later(region: Region, days: int) -> None:
    assert isinstance(region.clock, FrozenClock)
    region.clock.at_ms += days * small.DAY_MS


def lived(region: Region) -> None:
    small.say(region, "person.updated", "ada", "acme", name=NAME, plan="pro")
    small.say(region, "account.updated", "ada", "acme", name=f"{NAME} Ltd", plan="pro")
    small.say(region, "usage.recorded", "ada", "acme", count=3)
    at = format_time(region.clock.now_ms())
    draft = Draft("tests", "wrong", "usage.recorded", at, "ada", None, data={"count": "many"})
    assert region.ingest.run([draft])[0].status == "quarantined"
    seen_by(region.records, region.vault, region.clock, "eu", "tests", "customer", "ada")


def test_what_outlived_its_period_is_gone_and_the_rest_stays(region: Region, tmp_path: Path) -> None:
    lived(region)
    later(region, 31)
    small.say(region, "person.updated", "bob", name="bobby", plan="pro")
    would = retain(region, dry_run=True)
    assert (would.fields, would.traits, would.quarantine, would.access) == (2, 2, 1, 1)
    assert len(list(region.records.people())) == 2
    assert region.records.quarantined(5)
    done = retain(region)
    assert done == would
    first, second, third, bob = (one.signal.data for one in region.records.signals())
    assert (first, second, third) == ({"plan": "pro"}, {"plan": "pro"}, {"count": 3})
    assert bob["name"] == "bobby"
    person, account = region.records.person("ada"), region.records.account("acme")
    assert person is not None
    assert account is not None
    assert (person.traits, account.traits) == ({"plan": "pro"}, {"plan": "pro"})
    assert set(person.origins) == {"plan"}
    assert not region.records.quarantined(5)
    assert not region.records.accesses(5)
    leaf = region.records.leaves(region.records.leaf_count() - 1, region.records.leaf_count())[0]
    said = msgspec.json.decode(leaf)
    assert (said["type"], said["fields"], said["traits"]) == ("retention", 2, 2)
    assert scan([tmp_path], [NAME]).hits == ()
    assert retain(region).removed == 0


def test_what_grows_old_later_is_found_later(region: Region) -> None:
    lived(region)
    assert retain(region).removed == 0
    later(region, 29)
    small.say(region, "person.updated", "bob", name="bobby")
    assert retain(region).fields == 0
    later(region, 2)
    assert retain(region).fields == 2
    later(region, 29)
    report = retain(region)
    assert (report.fields, report.traits) == (1, 1)


def test_facts_that_are_old_when_they_come_go_at_once(region: Region) -> None:
    later(region, 60)
    assert retain(region).removed == 0
    old = format_time(region.clock.now_ms() - 40 * small.DAY_MS)
    draft = Draft("tests", "old", "person.updated", old, "ada", None, data={"name": NAME})
    assert region.ingest.run([draft])[0].status == "accepted"
    assert retain(region).fields == 1


def test_without_periods_nothing_is_removed(tmp_path: Path) -> None:
    with small.region_of(tmp_path, book(), clock=FrozenClock()) as region:
        lived(region)
        later(region, 4_000)
        leaves = region.records.leaf_count()
        assert retain(region).removed == 0
        assert region.records.leaf_count() == leaves
