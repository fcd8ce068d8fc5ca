"""The smallest change is the smallest: tried by hand, and against every change and pair of changes there is."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random
from typing import Any

import pytest
from finite import ByHand, all_singles, brain_of, playbook, record

from opportune.core.decisions.changes import (
    At,
    Change,
    Consent,
    Fact,
    FewerContacts,
    Lever,
    NoFault,
    OpenChannel,
    Room,
)
from opportune.core.decisions.flips import CHANGES_MAX, Flips


def plain(change: Change) -> dict[str, Any]:
    """A stated change as data for `ByHand`."""
    match change:
        case At():
            return {"kind": "time", "at_ms": change.at_ms}
        case FewerContacts():
            return {"kind": "contacts", "gone": set(change.contacts)}
        case Consent():
            return {"kind": "consent", "channel": change.key.split("/")[1], "status": change.status}
        case Fact():
            return {"kind": "fact", "name": change.name, "value": change.value}
        case OpenChannel():
            return {"kind": "channel", "channel": change.channel}
        case Room():
            return {"kind": "room", "limit": change.limit}
        case NoFault():
            return {"kind": "fault"}
        case Lever():
            return {"kind": "value", "amount": change.amount}


def place(change: dict[str, Any]) -> str:
    return str(change["name"] if change["kind"] == "fact" else change["kind"])


def smallest(hand: ByHand, record: Any, candidate: str, singles: list[dict[str, Any]]) -> int | None:
    """The size of the smallest of all sets of up to two changes that make it win; None when no such set does."""
    if hand.wins(record, candidate, []):
        return 0
    if any(hand.wins(record, candidate, [one]) for one in singles):
        return 1
    pairs = ((one, other) for one, other in combinations(singles, 2) if place(one) != place(other))
    return 2 if any(hand.wins(record, candidate, list(pair)) for pair in pairs) else None


def tried(seed: int, every_hours: int) -> Counter[str]:
    """One drawn playbook: what is stated for each losing candidate, held against all singles and pairs."""
    rng = Random(seed)
    book = playbook(rng)
    brain = brain_of(book)
    one = record(rng, brain)
    hand, flips = ByHand(book, brain), Flips(brain)
    counts: Counter[str] = Counter()
    for candidate in brain.candidates:
        found = flips.of(one, candidate.id)
        least = smallest(hand, one, candidate.id, all_singles(brain, one, candidate.id, every_hours))
        told = f"seed {seed}: {candidate.id}: {found.words} (smallest by hand: {least})"
        if found.none_because is not None:
            assert least is None, told
            counts["none"] += 1
            continue
        assert found.verified, told
        for changes in (found.changes, *(other.changes for other in found.or_else)):
            assert hand.wins(one, candidate.id, [plain(change) for change in changes]), told
            assert len(changes) == len(found.changes), told
        assert len(found.changes) == least or (least is None and len(found.changes) == CHANGES_MAX), told
        counts[str(len(found.changes))] += 1
    return counts


@pytest.mark.slow
def test_no_smaller_change_exists_than_the_one_stated() -> None:
    counts = sum((tried(seed, 6) for seed in (3, 4, 110, 123, 159, 317)), Counter[str]())

    print(counts)
    assert sum(counts.values()) == 36


@pytest.mark.torture
def test_no_smaller_change_exists_in_many_playbooks() -> None:
    counts = sum((tried(seed, 2) for seed in range(100, 220)), Counter[str]())

    print(counts)
    assert counts["none"] > 20
    assert min(counts[size] for size in "123") > 20
