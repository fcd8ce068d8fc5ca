"""One key, one decision: for many at once in every order, after a restart, under another release, when shed or late."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import msgspec
import pytest
from schedules import Schedule, ScheduledRecords
from small import ask, busy_writer, card, consenting, kept, playbook, question, region_of

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.system.vault import FileVault
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import QuestionError
from opportune.flows.region import Region
from opportune.ports import StoredDecision
from opportune.testing.approving import approve_all
from opportune.testing.clock import FrozenClock

pytestmark = pytest.mark.slow

ENCODE = msgspec.json.encode


def with_key(region: Region, customer: str, key: str) -> list[StoredDecision]:
    stored = (region.records.decision_by_key(f"{customer}/{key}"),)
    return [one for one in stored if one is not None]


def contacts(region: Region, customer: str) -> int:
    person = region.records.person(customer)
    assert person is not None
    return len(person.contacts)


def test_64_duplicates_at_once_are_one_decision_and_one_reservation_with_equal_answers(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(limits=())) as region:
        consenting(region, "ada")
        with busy_writer(region):
            under_way = [ask(region, question(idempotency_key="k")) for _ in range(64)]
            assert region.gate.under_way == 1  # those who wait for the same need no place
        answers = [one.result(60) for one in under_way]
        assert answers[0].disposition == "offered"
        assert len({ENCODE(one) for one in answers}) == 1
        assert region.records.counts()["decisions"] == 1
        assert contacts(region, "ada") == 1
        assert ENCODE(region.decide.run(question(idempotency_key="k"))) == ENCODE(answers[0])
        assert region.gate.under_way == 0


def test_the_grant_of_a_key_is_signed_alone_so_that_it_never_changes(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(limits=())) as region:
        consenting(region, "ada", "bob")
        with busy_writer(region):
            company, keyed = ask(region, question("bob")), ask(region, question(idempotency_key="k"))
        first = region.decide.granted([company.result(60), keyed.result(60)])[1]
        assert first.grant is not None
        assert region.decide.run(question(idempotency_key="k")).grant == first.grant


def test_another_question_under_the_same_key_is_refused_while_it_is_under_way_and_after(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada", "bob")
        with busy_writer(region):
            first = ask(region, question(idempotency_key="k"))
            with pytest.raises(QuestionError) as refused:
                region.decide.submit(question(moment="chat", idempotency_key="k"), lambda _: None)
            other = ask(region, question("bob", idempotency_key="k"))  # a key is the customer's
        assert refused.value.code == "idempotency_conflict"
        assert first.result(60).decision_id != other.result(60).decision_id
        with pytest.raises(QuestionError, match="used for another question"):
            region.decide.run(question(moment="chat", idempotency_key="k"))


def test_who_waits_for_the_same_hears_of_its_error_too(tmp_path: Path) -> None:
    with region_of(tmp_path) as region, busy_writer(region):
        wrong = [ask(region, question("nobody", idempotency_key="k")) for _ in range(3)]
        for one in wrong:
            with pytest.raises(QuestionError, match="no signal has named this customer"):
                one.result(60)
        assert region.gate.under_way == 0


def test_a_shed_answer_leaves_the_key_free_and_the_real_one_keeps_it(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(limits=()), under_way_max=1) as region:
        consenting(region, "ada", "bob")
        with busy_writer(region):
            ask(region, question("bob"))
            shed = ask(region, question(idempotency_key="k"))
        first = shed.result(60)
        assert (first.disposition, first.recorded) == ("shed", True)
        kept(region, first.decision_id)
        assert with_key(region, "ada", "k") == []
        real = region.decide.run(question(idempotency_key="k"))
        assert real.disposition == "offered"
        assert [one.id for one in with_key(region, "ada", "k")] == [real.decision_id]
        with busy_writer(region):
            ask(region, question("bob"))
            again = ask(region, question(idempotency_key="k"))
        assert ENCODE(again.result(60)) == ENCODE(real)  # also while there is no place
        assert contacts(region, "ada") == 1


def test_a_recorded_safe_default_is_the_answer_of_its_key(tmp_path: Path) -> None:
    class Late(FrozenClock):
        def tick_us(self) -> int:
            self._ticks_us += 20_000
            return super().tick_us()

    with region_of(tmp_path, clock=Late()) as region:
        consenting(region, "ada")
        first = region.decide.run(question(idempotency_key="k"))
        assert (first.disposition, first.reason, first.recorded) == ("fallback", "TIMEOUT", True)
        assert ENCODE(region.decide.run(question(idempotency_key="k"))) == ENCODE(first)
        assert region.records.counts()["decisions"] == 1


def test_a_key_outlives_a_restart_and_another_release(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(limits=()), kind="sqlite") as region:
        consenting(region, "ada")
        first = region.decide.run(question(idempotency_key="k"))
    with region_of(tmp_path, kind="sqlite", clock=FrozenClock(seed=1)) as region:
        assert ENCODE(region.decide.run(question(idempotency_key="k"))) == ENCODE(first)
        approve_all(region, [card()])
        region.promote(region.release(playbook(limits=(), margin=900.0), [card()]).hash, "tests", "second")
        again = region.decide.run(question(idempotency_key="k"))
        assert (again.decision_id, again.release) == (first.decision_id, first.release)
        assert ENCODE(again) == ENCODE(first)
        assert region.decide.run(question()).release != first.release
        assert contacts(region, "ada") == 2


class Race:
    """One region for all seeds; each seed has a customer of its own, and few places."""

    def __init__(self, folder: Path) -> None:
        self.records = ScheduledRecords()
        key = load_or_create_key(folder / "keys" / "ledger.key")
        self.region = Region(
            name="eu", records=self.records, ledger=PublishedLedger(folder / "ledger", "tests/eu", key, self.records),
            vault=FileVault(folder / "keys"), clock=FrozenClock(), pulse=MemoryPulse(), under_way_max=3,
        )  # fmt: skip
        self.region.promote(self.region.release(playbook(limits=())).hash, "tests", "first")

    def answers(self, seed: int, duplicates: int, others: int) -> list[Answer]:
        """The answers to the duplicates, in the order in which they came, while others fill the places."""
        random, customer = Random(seed), f"c{seed}"
        consenting(self.region, customer)
        schedule = self.records.schedule = Schedule(seed)
        found: list[Answer] = []
        left = [duplicates + others]

        def act(keyed: bool) -> None:
            def done(answer: Answer | BaseException) -> None:
                assert isinstance(answer, Answer), answer
                if keyed:
                    found.append(answer)
                left[0] -= 1

            for _ in range(random.randint(0, 4)):
                schedule.point()
            self.region.decide.submit(question(customer, idempotency_key="k" if keyed else None), done)
            schedule.point()

        actors = [lambda: act(True)] * duplicates + [lambda: act(False)] * others
        schedule.run(*actors, lambda: self.records.write(lambda: left[0] == 0))
        self.records.schedule = None
        return found


def test_in_every_order_there_is_one_decision_and_all_who_are_not_shed_get_it(tmp_path: Path) -> None:
    race = Race(tmp_path)
    seeds = int(os.environ.get("OPPORTUNE_SEEDS", "300"))
    shed = joined = 0
    for seed in range(seeds):
        before = race.region.records.counts().get("decisions", 0)
        answers = race.answers(seed, duplicates=8, others=4)
        real = [one for one in answers if one.disposition != "shed"]
        assert len(answers) == 8
        assert len({ENCODE(one) for one in real}) <= 1
        stored = with_key(race.region, f"c{seed}", "k")
        assert [one.id for one in stored] == [one.decision_id for one in real[:1]]
        made = {one.decision_id for one in answers}
        assert race.region.records.counts()["decisions"] - before <= len(made) + 4
        assert contacts(race.region, f"c{seed}") <= len({one.decision_id for one in real}) + 4
        shed += len(real) < len(answers)
        joined += len(real) > 1
    assert min(shed, joined) > seeds * 0.05, "the schedules do not reach both ends"
    assert race.region.gate.under_way == 0
