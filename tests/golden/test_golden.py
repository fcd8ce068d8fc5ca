"""Every scenario of the sample and of the golden playbooks holds, and together they reach every reason there is."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from opportune.core.decisions.records import Disposition, Reason, decode_record, encode_record
from opportune.core.models import decode_card
from opportune.testing.scenarios import Promises, promises

HERE = Path(__file__).parent
FOLDERS = {"saas": HERE.parents[1] / "samples/saas", "mobile": HERE / "mobile", "weighted": HERE / "weighted"}
LEAST_IN_ALL = 150


@cache
def playbook_of(name: str) -> Promises:
    card = FOLDERS[name] / "card.json"
    return promises(FOLDERS[name], [decode_card(card.read_bytes())] if card.exists() else [])


def everyone() -> list[tuple[str, str]]:
    return [(playbook, name) for playbook in FOLDERS for name in playbook_of(playbook).scenarios]


@pytest.mark.parametrize(("playbook", "name"), everyone())
def test_the_promise_holds(playbook: str, name: str) -> None:
    assert playbook_of(playbook).broken(name) == []


def test_every_reason_and_every_disposition_is_reached() -> None:
    expected: Counter[str] = Counter()
    for playbook, name in everyone():
        result, expect = playbook_of(playbook).decided(name).result, playbook_of(playbook).scenarios[name].expect
        # What a scenario only happens to reach it does not hold: only what it expects counts.
        if expect.disposition == result.disposition:
            expected[f"disposition {result.disposition}"] += 1
        if expect.reason == result.reason:
            expected[f"reason {result.reason}"] += 1
    wanted = {f"disposition {one}" for one in get_args(Disposition)} | {f"reason {one}" for one in get_args(Reason)}
    assert wanted - expected.keys() == set(), "no scenario expects these"
    assert len(everyone()) >= LEAST_IN_ALL


@pytest.mark.parametrize("playbook", FOLDERS)
def test_no_scenario_says_the_same_as_another(playbook: str) -> None:
    """Copies would only make the count larger."""
    found = playbook_of(playbook)
    questions = Counter(
        repr((record.asked, record.seen, scenario.draw, scenario.holdout, scenario.faults, scenario.model))
        for name, scenario in found.scenarios.items()
        for record in [found.decided(name)]
    )
    assert [question for question, times in questions.items() if times > 1] == []


@pytest.mark.parametrize("playbook", FOLDERS)
def test_a_scenario_expects_something(playbook: str) -> None:
    for scenario in playbook_of(playbook).scenarios.values():
        assert scenario.expect != type(scenario.expect)(), scenario.scenario


@pytest.mark.parametrize("playbook", FOLDERS)
def test_the_record_of_every_scenario_survives_its_bytes(playbook: str) -> None:
    for name in playbook_of(playbook).scenarios:
        data = encode_record(playbook_of(playbook).decided(name))
        assert encode_record(decode_record(data)) == data
