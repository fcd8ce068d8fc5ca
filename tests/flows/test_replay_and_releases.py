"""A decision is rebuilt from what it saw, under the release it was made with; whoever changed it is found out."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest
from small import card, consenting, kept, playbook, question, region_of, say

from opportune.core.decisions.records import decode_record, encode_record
from opportune.core.playbook import Playbook
from opportune.flows.govern import GovernError
from opportune.flows.region import Region
from opportune.flows.replay import UnknownDecision, rebuild

FIFTY = [f"c{n}" for n in range(50)]


def decide_fifty(region: Region, seed: int) -> list[str]:
    """Fifty customers of every kind: with and without consent, more and less active, some asked twice."""
    rng = Random(seed)
    ids = []
    for who in FIFTY:
        say(region, "usage.recorded", who, count=rng.randrange(100))
        if rng.random() < 0.8:
            consenting(region, who)
        ids.append(region.decide.run(question(who)).decision_id)
        if rng.random() < 0.3:
            ids.append(region.decide.run(question(who)).decision_id)
    return ids[-50:]


def mixed() -> Playbook:
    return playbook(holdout=0.2, explore=True)


@pytest.mark.parametrize("cards", [(), (card(),)], ids=["priors", "model"])
def test_a_record_read_back_gives_the_same_decision(tmp_path: Path, cards: tuple[()]) -> None:
    with region_of(tmp_path, mixed(), cards=cards) as region:
        ids = decide_fifty(region, 7)
        mix: Counter[str] = Counter()
        for id_ in ids:
            stored, record = kept(region, id_)
            mix[record.result.disposition] += 1
            assert encode_record(record) == stored.record
            again = rebuild(region.releases.brain_of(record.release), decode_record(stored.record))
            assert encode_record(again) == stored.record
        assert {"offered", "held_out", "no_offer"} <= mix.keys()


def test_an_unknown_decision_is_not_replayed(tmp_path: Path) -> None:
    with region_of(tmp_path) as region, pytest.raises(UnknownDecision):
        region.replay("01940000-0000-7000-8000-000000000000")


def changed(folder: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(folder / "records.db") as file:
        assert file.execute(sql, values).rowcount == 1
    file.close()


def test_a_tampered_record_is_named(tmp_path: Path) -> None:
    with region_of(tmp_path, kind="sqlite") as region:
        consenting(region, "ada", "bob")
        good, bad = (region.decide.run(question(who)).decision_id for who in ("ada", "bob"))
        stored, record = kept(region, bad)
    result = msgspec.structs.replace(record.result, value=record.result.value + 1)
    forged = encode_record(msgspec.structs.replace(record, result=result))
    changed(tmp_path, "UPDATE decisions SET record = ? WHERE id = ?", forged, bad)
    with region_of(tmp_path, kind="sqlite") as region:
        assert region.replay(good).same
        found = region.replay(bad)
        assert not found.same
        assert found.difference == f"the stored record is not the one that ledger entry {stored.leaf} commits to"


def test_a_decision_that_points_to_the_entry_of_another_is_named(tmp_path: Path) -> None:
    with region_of(tmp_path, kind="sqlite") as region:
        consenting(region, "ada", "bob")
        first, second = (region.decide.run(question(who)).decision_id for who in ("ada", "bob"))
        leaf = kept(region, first)[0].leaf
    changed(tmp_path, "UPDATE decisions SET leaf = ? WHERE id = ?", leaf, second)
    with region_of(tmp_path, kind="sqlite") as region:
        assert region.replay(first).same
        assert region.replay(second).difference == f"ledger entry {leaf} belongs to another record"


def test_a_kernel_that_decides_otherwise_is_shown_the_first_field(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        answer = region.decide.run(question())
        other = region.release(playbook(margin=700.0))
        found = region.replay(answer.decision_id, other.hash)
        assert not found.same
        assert found.difference is not None
        assert found.difference.startswith("`release` was `")


def test_rolling_back_restores_the_release_and_its_decisions(tmp_path: Path) -> None:
    with region_of(tmp_path, mixed(), kind="sqlite", cards=[card()]) as region:
        before = region.releases.live().hash
        ids = decide_fifty(region, 11)
        earlier = {id_: kept(region, id_)[0].record for id_ in ids}
        after = region.release(playbook(margin=5.0), note="worse").hash
        region.promote(after, "tests", "try")
        assert region.records.live() == region.decide.run(question("c0")).release == after
        assert all(region.replay(id_).same for id_ in ids)
        assert not any(region.replay(id_, after).same for id_ in ids)

        assert region.rollback("tests", "it was worse") == before
        assert region.records.live() == region.decide.run(question("c1")).release == before
        assert [region.replay(id_).difference for id_ in ids] == [None] * 50
        assert {id_: kept(region, id_)[0].record for id_ in ids} == earlier
        history = region.records.live_history()
        assert [hash_ for _, hash_, _, _ in history] == [before, after, before]
        assert history[0][2:] == ("tests", "it was worse")
    with region_of(tmp_path, kind="sqlite") as region:
        assert region.records.live() == before
        assert all(region.replay(id_).same for id_ in ids)


def test_there_is_no_way_back_from_the_first_release(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        live = region.records.live()
        with pytest.raises(GovernError, match="no earlier release"):
            region.rollback("tests", "nothing before")
        with pytest.raises(LookupError):
            region.promote("r0000000000000000", "tests", "not there")
        assert region.records.live() == live
