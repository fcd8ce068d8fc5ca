"""Merging against deciding, in seeded orders: a limit holds across the merge, a refusal of either holds for both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from linked import linked_playbook
from schedules import Schedule, ScheduledRecords
from small import question

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.system.vault import FileVault
from opportune.core.decisions.answers import Answer
from opportune.core.features import EntityFeatures
from opportune.core.signals import Draft, format_time
from opportune.flows.decide import Decide
from opportune.flows.identify import lives_on
from opportune.flows.merges import retold
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

SEEDS = 500
SEEDS_LONG = 10_000


class Race:
    """One region for all seeds; each seed has customers of its own."""

    def __init__(self, folder: Path) -> None:
        self.records = ScheduledRecords()
        key = load_or_create_key(folder / "keys" / "ledger.key")
        self.region = Region(
            name="eu", records=self.records, ledger=PublishedLedger(folder / "ledger", "tests/eu", key, self.records),
            vault=FileVault(folder / "keys"), clock=FrozenClock(), pulse=MemoryPulse(),
        )  # fmt: skip
        self.region.promote(self.region.release(linked_playbook()).hash, "tests", "first")

    def send(self, type_: str, customer: str, **data: object) -> None:
        region = self.region
        at = format_time(region.clock.now_ms())
        receipt = region.ingest.run([Draft("tests", region.clock.new_id(), type_, at, customer, data=data)])[0]
        assert receipt.status == "accepted", receipt

    def run(self, seed: int) -> tuple[list[Answer], bool, str]:
        """(answers, did one of them refuse before the merge?, what happened) of one order."""
        one, other = f"a-{seed}", f"b-{seed}"
        chance = Random(seed)
        refusing = chance.random() < 0.3
        self.send("consent.given", one, channels=["*"])
        self.send("consent.refused" if refusing else "consent.given", other, channels=["*"])
        self.send("person.updated", one, email=f"x{seed}@example.com")
        schedule = self.records.schedule = Schedule(seed)
        answers: list[Answer] = []
        left = [0]

        def decide(customer: str) -> Callable[[], None]:
            def act() -> None:
                schedule.point()
                self.region.decide.submit(question(customer), done)
                schedule.point()

            return act

        def done(answer: Answer | BaseException) -> None:
            assert isinstance(answer, Answer), answer
            answers.append(answer)

        def merge() -> None:
            schedule.point()
            self.send("person.updated", other, email=f"x{seed}@example.com")

        def ended(actor: Callable[[], None]) -> Callable[[], None]:
            def act() -> None:
                try:
                    actor()
                finally:
                    left[0] -= 1

            return act

        actors = [ended(decide(one)), ended(decide(other)), ended(merge), ended(decide(one))]
        left[0] = len(actors)
        schedule.run(*actors, lambda: self.records.write(lambda: left[0] == 0))
        self.records.schedule = None
        return answers, refusing, other


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Race]:
    found = Race(tmp_path_factory.mktemp("race"))
    yield found
    found.region.close()


def held(race: Race, seed: int) -> int:
    """Runs one order and holds it to the rules; returns how many offers were made after the merge was known."""
    records = race.region.records
    leaves_before = records.leaf_count()
    answers, refusing, other = race.run(seed)
    person = lives_on(records.person, other)
    assert person is not None
    assert person.id == f"a-{seed}"
    assert len(answers) == 3
    stored = [records.decision(answer.decision_id) for answer in answers]
    (merge,) = records.merges_of(other)
    offered = [one for one in stored if one is not None and one.disposition == "offered"]
    # Each record could have had its one offer before they met; whoever lives on keeps count of both.
    leaves = records.leaves(leaves_before, records.leaf_count())
    leaf_of_merge = leaves_before + next(at for at, leaf in enumerate(leaves) if merge.id.encode() in leaf)
    after = [one for one in offered if one.leaf > leaf_of_merge]
    before = [one for one in offered if one.leaf < leaf_of_merge]
    assert len({one.customer for one in before}) == len(before), "one offer for each record at most"
    assert len(after) + len(before) <= max(1, len(before)), "no offer after the merge when there was one before"
    assert all(one.customer == person.id for one in stored if one is not None and one.leaf > leaf_of_merge)
    assert {one.decision for one in person.contacts} == {one.id for one in offered}
    if refusing:
        assert not after, "a refusal of either holds for both"
        assert all(one.customer == person.id for one in before)
    return len(before)


def test_limits_and_refusals_hold_across_a_merge(race: Race) -> None:
    found = [held(race, seed) for seed in range(SEEDS)]
    assert {0, 1, 2} <= set(found), "the orders are not different enough to show anything"


@pytest.mark.torture
def test_ten_thousand_orders(race: Race) -> None:
    for seed in range(SEEDS, SEEDS + int(os.environ.get("OPPORTUNE_SCHEDULES", SEEDS_LONG))):
        held(race, seed)


def test_looking_at_the_commit_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking again for whom a decision is, an offer gets out that must not."""
    record = Decide._record

    def blind(self, tx, brain, asked, named, made, answer, probe):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        person = lives_on(tx.person, named)
        assert person is not None
        account = None if person.account is None else tx.account(person.account)
        self._reserve(tx, brain, made.record, person, account)
        self._write(tx, made)
        return answer

    assert record is not blind
    monkeypatch.setattr(Decide, "_record", blind)
    race = Race(tmp_path)
    try:
        with pytest.raises(AssertionError):
            all(held(race, seed) >= 0 for seed in range(SEEDS))
    finally:
        race.region.close()


@pytest.mark.parametrize("seed", range(12))
def test_a_merged_record_is_what_all_signals_say_and_two_again_what_their_own_say(tmp_path: Path, seed: int) -> None:
    """Random signals of four people, random merges: the state kept is the state told anew from the log."""
    chance = Random(seed)
    race = Race(tmp_path)
    region, clock = race.region, race.region.clock
    assert isinstance(clock, FrozenClock)
    names = ["p", "q", "r", "s"]
    try:
        for _ in range(60):
            clock.at_ms += chance.choice([0, 1, 5_000])
            name = chance.choice(names)
            kind = chance.random()
            if kind < 0.5:
                race.send("usage.recorded", name, count=chance.randint(1, 50))
            elif kind < 0.7:
                type_ = chance.choice(["consent.given", "consent.refused", "consent.withdrawn"])
                race.send(type_, name, channels=[chance.choice(["*", "in_app", "email"])])
            elif kind < 0.85:
                race.send("person.updated", name, city=chance.choice(["Rome", "Oslo"]))
            else:
                clock.at_ms += 1
                race.send("person.updated", name, email=f"m{chance.randint(1, 3)}@example.com")
                clock.at_ms += 1
        compare(race, names)
        rows = {row.id: row for name in names for row in region.records.merges_of(name)}
        for row in rows.values():
            clock.at_ms += 1
            region.merging.unmerge(row.id, "tests", "two")
        for name in names:
            person = region.records.person(name)
            if person is not None:
                signals = region.records.run(lambda tx, name=name: tx.signals_of([name]))  # type: ignore[misc]
                alone = retold(region.releases.live().views, [name], [], signals)
                assert (person.features, person.traits, person.merged_into) == (alone.features, alone.traits, None)
                for key, word in alone.consents.items():
                    if word.status != "given":
                        assert person.consents[key].status != "given"
    finally:
        region.close()


def compare(race: Race, names: list[str]) -> None:
    records, views = race.region.records, race.region.releases.live().views
    rows = {row.id: row for name in names for row in records.merges_of(name)}
    for person in list(records.people()):
        members = [person.id, *person.absorbed]
        signals = records.run(lambda tx, members=members: tx.signals_of(members))  # type: ignore[misc]
        told = retold(views, members, rows.values(), signals)
        assert isinstance(person.features, EntityFeatures | None)
        assert person.features == told.features
        assert person.traits == told.traits
        assert person.consents == told.consents
        assert (person.signals, set(person.absorbed)) == (told.signals, set(told.absorbed))


