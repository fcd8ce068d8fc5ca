"""Who is who at the command line: found by Splink, decided by a person, undone."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from benchmarks.identity import recorded

from opportune.core.linking import LinkRecord

from .called import call

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def events_of(records: list[LinkRecord]) -> list[dict[str, object]]:
    """Descriptions of people without ids in common: only what they are called and where they live."""
    return [
        {
            "specversion": "1.0", "source": "crm", "id": f"d-{one.id}", "type": "person.updated", "subject": one.id,
            "time": "2026-11-02T10:00:00Z",
            "data": {
                name: value
                for name in ("first_name", "last_name", "birth_date", "street", "postcode", "city", "company")
                if (value := getattr(one, name)) is not None
            },
        }
        for one in records
    ]  # fmt: skip


def test_proposed_accepted_refused_and_undone(playbook: Path, tmp_path: Path) -> None:
    drawn = list(recorded(Random(3), 600))
    whose = {record.id: number for record, number in drawn}
    history = tmp_path / "people.ndjson"
    history.write_text("\n".join(json.dumps(event) for event in events_of([record for record, _ in drawn])))
    here = ("--playbook", playbook, "--json")
    assert call("ingest", history, *here).code == 0

    found = call("identity", "propose", "--min", "0.9", *here)
    assert found.code == 0, found.err
    assert found.json["new"] == found.json["pairs"] > 20
    listed = call("identity", "proposals", *here).json["proposals"]
    assert [one["probability"] for one in listed] == sorted((one["probability"] for one in listed), reverse=True)
    assert set(listed[0]["evidence"].values()) <= {"same", "alike", "different", "unknown"}
    right = [whose[one["one"]] == whose[one["other"]] for one in listed]
    assert sum(right) / len(right) > 0.8, "most of what is proposed is true"

    first, second = listed[:2]
    merge = call("identity", "accept", first["id"], "--why", "the same person", *here).json["merge"]
    assert (merge["rule"], {merge["kept"], merge["merged"]}) == ("proposal", {first["one"], first["other"]})
    refused = call("identity", "refuse", second["id"], "--why", "two people", *here)
    assert refused.json["proposal"]["status"] == "refused"
    again = call("identity", "propose", *here).json
    assert (again["new"], again["decided_before"]) == (0, 1)
    shown = call("identity", "merges", merge["merged"], *here).json
    assert (shown["customer"], shown["absorbed"]) == (merge["kept"], [merge["merged"]])
    assert call("identity", "unmerge", merge["id"], "--why", "not after all", *here).json["merge"]["undone_by"]
    assert call("identity", "unmerge", merge["id"], "--why", "twice", *here).code == 2
    text = call("identity", "merges", merge["merged"], "--playbook", playbook)
    assert "not" not in text.err
    assert merge["id"] in text.out

    by_hand = call("identity", "merge", merge["kept"], merge["merged"], "--why", "yes, they are", *here)
    assert by_hand.json["merge"]["rule"] == "person"
    nobody = call("identity", "merges", "nobody", "--playbook", playbook)
    assert nobody.code == 2
    assert "no signal has named this customer" in nobody.err
