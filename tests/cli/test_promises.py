"""`opportune test`: what a failing promise says, and recorded decisions as scenarios without who they were about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opportune.adapters.playbook import load
from opportune.core.decisions.records import decode_record
from opportune.main import Machine

from .called import call, change

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def own(company: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The company, to write to."""
    folder = tmp_path_factory.mktemp("own") / "playbook"
    shutil.copytree(company, folder)
    return folder


def test_recorded_decisions_become_scenarios_that_hold(own: Path) -> None:
    bench = Machine()
    with bench.reading(bench.place(own)) as region:
        stored = region.records.decisions(400)
        records = [decode_record(one.record) for one in stored]
        mails = {
            identifier.value
            for record in records
            if (person := region.records.person(record.asked.customer)) is not None
            for identifier in person.identifiers
        }
    by_reason = {(record.result.disposition, record.result.reason): record for record in records}
    assert len(by_reason) >= 5
    for record in by_reason.values():
        said = call("test", "--from-decision", record.id, "--playbook", own, "--json")
        assert said.code == 0, said
        assert Path(said.json["file"]) == own / "scenarios/recorded.yaml"
    text = (own / "scenarios/recorded.yaml").read_text()
    for record in by_reason.values():
        assert record.asked.customer not in text
        assert record.seen.account is None or record.seen.account not in text
        assert record.id not in text
    assert not [mail for mail in mails if mail in text]
    made = {one.scenario: one for one in load(own).playbook.scenarios if one.scenario in text}
    assert {(one.expect.disposition, one.expect.reason) for one in made.values()} == set(by_reason)
    tested = call("test", "--playbook", own, "--json")
    assert (tested.code, tested.json["failures"]) == (0, [])
    assert tested.json["counts"]["scenario"] >= 11 + len(by_reason)
    assert call("check", "--playbook", own).code == 0


def test_the_same_decision_twice_makes_two_names(own: Path) -> None:
    bench = Machine()
    with bench.reading(bench.place(own)) as region:
        id_ = region.records.decisions(1)[0].id
    names = [call("test", "--from-decision", id_, "--playbook", own, "--json").json["scenario"] for _ in range(2)]
    assert names[1] != names[0]
    assert call("check", "--playbook", own).code == 0


def test_a_decision_that_is_not_there_is_refused_in_a_sentence(own: Path) -> None:
    said = call("test", "--from-decision", "nonsense", "--playbook", own)
    assert said.code == 2
    assert "no decision has the id `nonsense`" in said.err


def test_a_broken_promise_says_where_it_stands_and_what_became_of_the_offer(playbook: Path) -> None:
    file = playbook / "scenarios/saas.yaml"
    change(file, "offer: seats_10\n", "offer: seats_25\n")
    name = "a full team that said yes sees something useful"
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if name in text)
    said = call("test", "--playbook", playbook)
    assert said.code == 1
    assert f"FAILED scenario {name} (scenarios/saas.yaml:{line}:5)" in said.out
    assert "expected offer `seats_25`, got `seats_10` (OFFERED)" in said.out
    assert "`seats_25@in_app`: eligibility, `offer.seats_25.requires`" in said.out


def test_a_scenario_that_asks_for_a_model_runs_with_a_card_and_is_not_counted_without(playbook: Path) -> None:
    expecting = "    expect:\n      offer: seats_10"
    change(playbook / "scenarios/saas.yaml", expecting, f"    model: true\n{expecting}")
    without = call("test", "--playbook", playbook, "--json").json
    assert without["ok"]
    assert without["not_run"] == ["a full team that said yes sees something useful"]
    file = playbook / "no.json"
    file.write_text("{}")
    refused = call("test", "--playbook", playbook, "--card", file)
    assert refused.code == 2
    assert "not a scorecard" in refused.err


@pytest.mark.parametrize("name", ["mobile", "weighted"])
def test_the_golden_playbooks_hold_on_the_command_line(name: str) -> None:
    folder = GOLDEN / name
    card = folder / "card.json"
    said = call("test", "--playbook", folder, "--json", *(("--card", card) if card.exists() else ()))
    assert (said.code, said.json["failures"], said.json["not_run"]) == (0, [], [])
    assert said.json["counts"]["scenario"] == len(load(folder).playbook.scenarios)
