"""Every scenario of the sample and of the golden playbooks holds, and together they reach every reason there is."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from opportune.adapters.playbook import load
from opportune.core.decisions.records import Disposition, Reason, decode_record, encode_record
from opportune.core.decisions.scenarios import decided, run_scenario
from opportune.core.models import decode_card
from opportune.core.playbook import Scenario
from opportune.core.releases import Release, compile_release, encode_manifest

HERE = Path(__file__).parent
FOLDERS = {"saas": HERE.parents[1] / "samples/saas", "mobile": HERE / "mobile", "weighted": HERE / "weighted"}
LEAST_IN_ALL = 150


@cache
def release(name: str) -> Release:
    card = FOLDERS[name] / "card.json"
    cards = [decode_card(card.read_bytes())] if card.exists() else []
    return compile_release(encode_manifest(load(FOLDERS[name]).playbook, cards))


@cache
def known(name: str) -> dict[str, Scenario]:
    return {one.scenario: one for one in release(name).playbook.scenarios}


def everyone() -> list[tuple[str, str]]:
    return [(name, scenario) for name in FOLDERS for scenario in known(name)]


@pytest.mark.parametrize(("playbook", "name"), everyone())
def test_the_promise_holds(playbook: str, name: str) -> None:
    found = known(playbook)
    assert run_scenario(release(playbook).brain, found[name], found) == []


def test_every_reason_and_every_disposition_is_reached() -> None:
    expected: Counter[str] = Counter()
    for playbook, name in everyone():
        scenario = known(playbook)[name]
        result = decided(release(playbook).brain, scenario, known(playbook)).result
        # What a scenario only happens to reach it does not hold: only what it expects counts.
        if scenario.expect.disposition == result.disposition:
            expected[f"disposition {result.disposition}"] += 1
        if scenario.expect.reason == result.reason:
            expected[f"reason {result.reason}"] += 1
    wanted = {f"disposition {one}" for one in get_args(Disposition)} | {f"reason {one}" for one in get_args(Reason)}
    assert wanted - expected.keys() == set(), "no scenario expects these"
    assert sum(len(known(playbook)) for playbook in FOLDERS) >= LEAST_IN_ALL


@pytest.mark.parametrize("playbook", FOLDERS)
def test_no_scenario_says_the_same_as_another(playbook: str) -> None:
    """Copies would only make the count larger."""
    brain, found = release(playbook).brain, known(playbook)
    questions = Counter(
        repr((record.asked, record.seen, scenario.draw, scenario.holdout, scenario.faults, scenario.model))
        for scenario in found.values()
        for record in [decided(brain, scenario, found)]
    )
    assert [question for question, times in questions.items() if times > 1] == []


@pytest.mark.parametrize("playbook", FOLDERS)
def test_a_scenario_expects_something(playbook: str) -> None:
    for scenario in known(playbook).values():
        assert scenario.expect != type(scenario.expect)(), scenario.scenario


@pytest.mark.parametrize("playbook", FOLDERS)
def test_the_record_of_every_scenario_survives_its_bytes(playbook: str) -> None:
    for scenario in known(playbook).values():
        record = decided(release(playbook).brain, scenario, known(playbook))
        data = encode_record(record)
        assert encode_record(decode_record(data)) == data
