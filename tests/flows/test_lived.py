"""Decisions lived through: all replay to the byte, and what is stated for losers makes them win."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from benchmarks.lived import Life, opened

from opportune.core.decisions.brain import Brain
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
from opportune.core.decisions.explain import why_not
from opportune.core.decisions.flips import Flips
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.playbook import Exploration, Holdout
from opportune.core.policies import Policy, compile_policies
from opportune.flows.probes import RecordedProbe
from opportune.flows.region import Region
from opportune.flows.replay import pages, replay_window

pytestmark = pytest.mark.slow


def replayed(folder: Path, decisions: int, seed: int) -> None:
    with opened(folder, memory=decisions < 5_000) as region:
        Life(region, seed, accounts=40).decide(decisions)

        found = replay_window(region.records, region.releases.brain_of, decisions)

        assert found.of >= decisions * 0.95  # a question about somebody merged away a moment ago is not one
        assert (found.of - found.same, found.different) == (0, ())


def test_a_thousand_decisions_of_every_kind_replay_to_the_byte(tmp_path: Path) -> None:
    replayed(tmp_path, 1_000, 3)


@pytest.mark.torture
def test_many_decisions_of_every_kind_replay_to_the_byte(tmp_path: Path) -> None:
    """The whole 100,000: `python -m benchmarks.replay`."""
    replayed(tmp_path, 20_000, 4)


# Why not: the change that is stated, applied by hand


def by_hand(brain: Brain, record: DecisionRecord, candidate: str, changes: tuple[Change, ...]) -> str:
    """Who wins with these changes: written apart from the code that states them."""
    asked, seen, faults = msgspec.to_builtins(record.asked), msgspec.to_builtins(record.seen), list(record.faults)
    for key, empty in (("contacts", []), ("room", {}), ("missing", []), ("context", {})):
        seen.setdefault(key, list(empty) if isinstance(empty, list) else {})
    context = dict(asked.get("context", {}))
    for one in changes:
        match one:
            case Fact(name="account_known"):
                seen["account"] = (seen.get("account") or "somebody") if one.value else None
            case Fact() if one.name.startswith("context."):
                context[one.name.removeprefix("context.")] = one.value
            case Fact():
                seen["features"][one.name] = one.value
            case Consent():
                seen["consents"][one.key] = one.status
            case OpenChannel():
                asked["channels"] = [*asked["channels"], one.channel]
            case FewerContacts():
                seen["contacts"] = [c for c in seen["contacts"] if (c[1], c[2], c[3]) not in set(one.contacts)]
            case Room():
                seen["room"] = {k: v for k, v in seen["room"].items() if k.split("/")[0] != one.limit}
            case NoFault():
                faults = [fault for fault in faults if fault.startswith("score:")]
            case Lever():
                brain = lifted(brain, candidate, one.amount)
            case At():
                later(seen, one.at_ms)
    asked["context"] = context
    changed = msgspec.convert({**msgspec.to_builtins(record), "asked": asked, "seen": seen}, DecisionRecord)
    result = run(brain, changed.asked, changed.seen, record.id, RecordedProbe(tuple(faults)))
    return f"{result.offer}@{result.channel}"


def later(seen: dict[str, Any], at_ms: int) -> None:
    passed = at_ms - seen["at_ms"]
    minutes = seen.get("local_day", 0) * 1440 + seen.get("local_minute", 0)
    minutes += (seen["at_ms"] % 60_000 + passed) // 60_000
    seen["contacts"] = [[*c[:3], c[3] + passed] for c in seen["contacts"] if c[3] + passed >= 0]
    seen |= {"at_ms": at_ms, "local_minute": minutes % 1440, "local_day": minutes // 1440 % 7}


def calm(brain: Brain) -> Brain:
    app = msgspec.structs.replace(
        brain.app, exploration=Exploration(method="off"), holdout=Holdout(share=0.0, salt="nobody")
    )
    return msgspec.structs.replace(brain, app=app)


def lifted(brain: Brain, candidate: str, amount: float) -> Brain:
    """A release with one policy more, by which the candidate is worth so much more."""
    offer, _, channel = candidate.partition("@")
    more = Policy(id="lifted", effect="adjust", class_="commercial", reason="r", owner="t", adjust=repr(amount),
                  when=f"offer.id == '{offer}' && channel.id == '{channel}'")  # fmt: skip
    old = brain.policies
    policies = compile_policies((*old.policies, more), old.variables, old.table)
    return msgspec.structs.replace(brain, policies=policies)


def losers(region: Region, rng: Random, count: int) -> Iterator[tuple[DecisionRecord, str, str]]:
    """Losing candidates of recorded decisions, as many of each stage as there are: (record, candidate, stage)."""
    by_stage: dict[str, list[tuple[DecisionRecord, str]]] = {}
    for page in pages(region.records, 100_000):
        for stored in page:
            record = decode_record(stored.record)
            fates = why_not(region.releases.brain_of(record.release), record)
            for fate in rng.sample(fates, 4):
                if not fate.won and fate.stage != "slate":
                    by_stage.setdefault(fate.stage, []).append((record, fate.candidate))
    for found in by_stage.values():
        rng.shuffle(found)
    while count > 0 and any(by_stage.values()):
        for stage, found in by_stage.items():
            if found and count > 0:
                count -= 1
                yield (*found.pop(), stage)


def stated(folder: Path, decisions: int, count: int, seed: int) -> Counter[str]:
    rng, counts = Random(seed), Counter[str]()
    with opened(folder, memory=True) as region:
        Life(region, seed, accounts=40).decide(decisions)
        flips: dict[str, Flips] = {}
        for record, candidate, stage in losers(region, rng, count):
            brain = region.releases.brain_of(record.release)
            found = flips.setdefault(record.release, Flips(brain)).of(record, candidate)
            if found.none_because is not None:
                counts[f"{stage}: none"] += 1
                print(stage, found.none_because)
                assert "tries" not in found.none_because, found
                continue
            for changes in (found.changes, *(other.changes for other in found.or_else)):
                assert by_hand(calm(brain), record, candidate, changes) == candidate, (stage, found)
            kinds = " + ".join(sorted(type(one).__name__ for one in found.changes)) or "nothing"
            counts[f"{stage}: {kinds}"] += 1
    for line, number in sorted(counts.items()):
        print(f"{number:5} {line}")
    return counts


def test_what_is_stated_for_a_hundred_losers_makes_them_win(tmp_path: Path) -> None:
    counts = stated(tmp_path, 400, 100, 1)

    assert sum(counts.values()) == 100
    assert len({line.split(":")[0] for line in counts}) >= 9


@pytest.mark.torture
def test_what_is_stated_for_a_thousand_losers_makes_them_win(tmp_path: Path) -> None:
    counts = stated(tmp_path, 2_500, 1_000, 2)

    assert sum(counts.values()) == 1_000
    assert len({line.split(":")[0] for line in counts}) >= 11
