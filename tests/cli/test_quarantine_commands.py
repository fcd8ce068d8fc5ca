"""Quarantine by command: listed, shown with personal values masked, fixed, sent again, discarded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .called import call

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

BOB = {"timezone": 7, "email": "bob@example.com"}


@pytest.fixture
def full(playbook: Path) -> Path:
    """A playbook with three signals kept out: a wrong type, an unknown type, an unknown type."""
    events = [
        {"specversion": "1.0", "source": "crm", "id": str(number), "type": type_, "subject": "bob", "data": data}
        for number, (type_, data) in enumerate((("person.updated", BOB), ("coffee.drunk", {}), ("coffee.drunk", {})))
    ]
    file = playbook.parent / "events.ndjson"
    file.write_text("\n".join(json.dumps(one) for one in events))
    assert call("ingest", file, "-p", playbook).code == 0
    return playbook


def test_listing_and_showing(full: Path) -> None:
    listed = call("quarantine", "-p", full, "--json").json
    assert [one["seq"] for one in listed] == [3, 2, 1]
    assert [one["seq"] for one in call("quarantine", "-p", full, "--reason", "schema", "--json").json] == [1]
    assert "data.timezone" in call("quarantine", "-p", full).out
    assert call("quarantine", "--status", "lost", "-p", full).code == 2

    masked, clear = call("quarantine", "show", 1, "-p", full), call("quarantine", "show", 1, "--clear", "-p", full)

    assert "bob@example.com" not in masked.out
    assert "masked: data.email" in masked.out
    assert "bob@example.com" in clear.out
    assert call("quarantine", "show", 99, "-p", full).code == 2


def test_fixing_a_field(full: Path) -> None:
    wrong = call("quarantine", "fix", 1, "--set", "data.timezone=8", "-p", full)
    assert wrong.code == 1
    assert "still wrong: data.timezone" in wrong.out

    fixed = call("quarantine", "fix", 1, "--set", "data.timezone=Europe/Oslo", "-p", full, "--json")

    assert fixed.code == 0, fixed
    assert fixed.json[0]["status"] == "accepted"
    again = call("quarantine", "fix", 1, "--set", "data.timezone=x", "-p", full)
    assert (again.code, again.err) == (2, "entry `1` is not open any more: it was resubmitted\n")
    assert call("quarantine", "fix", 2, "-p", full).code == 2
    assert call("quarantine", "fix", 2, "--set", "nonsense", "-p", full).code == 2
    assert "nonsense" in call("quarantine", "fix", 2, "--set", "nonsense=1", "-p", full).err


def test_fixing_with_a_file(full: Path) -> None:
    file = full.parent / "draft.json"
    file.write_text(json.dumps({"source": "crm", "id": "9", "type": "person.updated", "subject": "eve", "data": {}}))

    assert call("quarantine", "fix", 2, "--body", file, "-p", full).code == 0

    file.write_text("{")
    assert call("quarantine", "fix", 3, "--body", file, "-p", full).code == 2
    assert call("quarantine", "fix", 3, "--body", full / "none.json", "-p", full).code == 2


def test_sending_again_after_the_schema_was_added(full: Path) -> None:
    assert call("quarantine", "resubmit", "-p", full).code == 2
    early = call("quarantine", "resubmit", "--all", "--reason", "unknown_type", "-p", full, "--json")
    assert (early.code, [one["status"] for one in early.json]) == (1, ["quarantined"] * 2)
    (full / "schemas/coffee.yaml").write_text(
        "schemas:\n  - {signal: coffee.drunk, owner: kitchen, about: person, schema: {type: object}}\n"
    )
    made = call("release", "-p", full, "--json").json
    assert call("promote", made["release"], "--why", "coffee counts", "-p", full).code == 0

    done = call("quarantine", "resubmit", "--all", "--reason", "unknown_type", "-p", full, "--json")

    assert (done.code, [one["status"] for one in done.json]) == (0, ["accepted"] * 2)
    assert [one["seq"] for one in call("quarantine", "--status", "open", "-p", full, "--json").json] == [1]
    assert call("quarantine", "resubmit", 1, "-p", full).code == 1


def test_discarding(full: Path) -> None:
    assert call("quarantine", "discard", 2, "-p", full).code == 2
    assert call("quarantine", "discard", 2, "--why", "a test", "-p", full).code == 0
    found = call("quarantine", "--status", "discarded", "-p", full, "--json").json
    assert found[0]["note"].endswith(": a test")
    assert call("audit", "verify", "-p", full).code == 0
