"""Splink as a linker: the same records give the same pairs, most are true, and what is missing is left out."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from benchmarks.identity import recorded

from opportune.adapters.splink import SplinkLinker
from opportune.core.customers import Identifier, Person
from opportune.core.linking import LinkRecord, link_record

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def test_pairs_are_mostly_true_ordered_and_the_same_every_time() -> None:
    drawn = list(recorded(Random(5), 1_200))
    whose = {record.id: number for record, number in drawn}
    records = [record for record, _ in drawn]
    pairs = list(SplinkLinker().pairs(records, 0.9))
    right = [whose[pair.one] == whose[pair.other] for pair in pairs]
    assert len(pairs) > 200
    assert sum(right) / len(right) > 0.85
    assert [pair.probability for pair in pairs] == sorted((pair.probability for pair in pairs), reverse=True)
    assert len({frozenset((pair.one, pair.other)) for pair in pairs}) == len(pairs)
    assert min(pair.probability for pair in pairs) >= 0.9
    values = {value for record in records for value in msgspec.structs.astuple(record)[1:] if value}
    assert not values & {said for pair in pairs for said in pair.evidence.values()}
    assert {(pair.one, pair.other) for pair in SplinkLinker().pairs(records, 0.9)} == {
        (pair.one, pair.other) for pair in pairs
    }


def test_too_few_records_and_records_without_anything_give_no_pairs() -> None:
    assert list(SplinkLinker().pairs([LinkRecord("a", "ada"), LinkRecord("b", "ada")], 0.5)) == []
    assert list(SplinkLinker().pairs([LinkRecord(f"r{at}") for at in range(80)], 0.5)) == []


def test_a_customer_as_a_linker_sees_it() -> None:
    traits = {"firstName": " Zo\u00eb ", "surname": "O'Neill", "zip": "10115", "address": "Hauptstr. 5", "seats": 4}
    mails = tuple(Identifier("email", f"{name}@x.de", name.encode(), "a", at) for at, name in enumerate("ab"))
    found = link_record(Person("p1", traits=traits, identifiers=mails))
    assert found == LinkRecord(
        "p1", first_name="zoe", last_name="o neill", street="hauptstr. 5", postcode="10115", email="b@x.de"
    )
    assert link_record(Person("p2", traits={"name": "Ada M. King"})) == LinkRecord("p2", "ada", "king")
