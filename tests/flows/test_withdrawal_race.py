"""Withdrawing consent against deciding and sending, in thousands of seeded orders: after the acknowledgement nothing
leaves, neither as an answer nor from the outbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace
from schedules import Schedule, ScheduledRecords
from small import playbook, question

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Channel, Moment, Treatment
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Asked
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft, Receipt, SignalContract
from opportune.flows.decide import Decide, Made
from opportune.flows.outgoing import Outgoing
from opportune.flows.region import Region
from opportune.flows.send import Send
from opportune.ports import Courier, Delivery, Parcel, Transaction
from opportune.testing.clock import FrozenClock

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

Event = tuple[str, str]


def sending_playbook() -> Playbook:
    """In the product the caller shows the offer; an e-mail goes through the outbox."""
    book = playbook(limits=())
    by_mail = Channel(channel="email", title="E-mail", kind="push", delivery="outbox")
    offers = tuple(
        replace(offer, treatments={**offer.treatments, "email": Treatment(headline=f"More {offer.offer}")})
        for offer in book.offers
    )
    moments = (*book.app.moments, Moment(moment="renewal", title="it renews", channels=("email",)))
    described = SignalContract(
        signal="person.updated", owner="tests", identifiers={"email": "email"},
        schema={"type": "object", "properties": {"email": {"type": "string"}}},
    )  # fmt: skip
    return replace(
        book, app=replace(book.app, moments=moments), offers=offers, channels=(*book.channels, by_mail),
        contracts=(*book.contracts, described),
    )  # fmt: skip


class WatchedCourier(Courier):
    """Notes what leaves, and lets others go on before and after the step that cannot be taken back."""

    address_kind = "email"

    def __init__(self) -> None:
        self.point: Callable[[], None] = lambda: None
        self.events: list[Event] = []

    def deliver(self, parcel: Parcel, may_go: Callable[[], bool]) -> Delivery:
        self.point()
        if not may_go():
            return Delivery("held")
        self.point()
        self.events.append(("left", parcel.to.partition("@")[0]))
        self.point()
        return Delivery("sent")


class Race:
    """One region for all seeds; each seed has a customer of its own."""

    def __init__(self, folder: Path) -> None:
        self.records = ScheduledRecords()
        self.courier = WatchedCourier()
        key = load_or_create_key(folder / "keys" / "ledger.key")
        self.region = Region(
            name="eu", records=self.records, ledger=PublishedLedger(folder / "ledger", "tests/eu", key, self.records),
            vault=FileVault(folder / "keys"), clock=FrozenClock(), pulse=MemoryPulse(),
            couriers={"email": self.courier},
        )  # fmt: skip
        self.region.promote(self.region.release(sending_playbook()).hash, "tests", "first")

    def draft(self, type_: str, customer: str, **data: object) -> Draft:
        return Draft("tests", self.region.clock.new_id(), type_, subject=customer, data=data)

    def events_of(self, seed: int) -> list[Event]:
        """What happened, in order: `answered`, `left`, `acknowledged`."""
        customer, region, records = f"c{seed}", self.region, self.records
        region.ingest.run(
            [
                self.draft("person.updated", customer, email=f"{customer}@example.com"),
                self.draft("consent.given", customer, purpose="marketing", channels=["*"]),
            ]
        )
        schedule = Schedule(seed)
        events: list[Event] = []
        open_ends = ["withdraw", "limit", "renewal", "send"]
        records.schedule, self.courier.point, self.courier.events = schedule, schedule.point, events

        def withdraw() -> None:
            for _ in range(schedule.random.randint(0, 12)):
                schedule.point()

            def acknowledged(_: list[Receipt] | BaseException) -> None:
                events.append(("acknowledged", customer))
                open_ends.remove("withdraw")

            said = self.draft("consent.withdrawn", customer, purpose="marketing", channels=["*"])
            region.ingest.submit([said], acknowledged)

        def decide(moment: str) -> None:
            def answered(answer: Answer | BaseException) -> None:
                assert isinstance(answer, Answer), answer
                if answer.disposition == "offered" and answer.channel == "in_app":
                    events.append(("answered", customer))
                open_ends.remove(moment)

            schedule.point()
            region.decide.submit(question(customer, moment), answered)

        def send() -> None:
            while {"withdraw", "limit", "renewal"} & set(open_ends):
                region.send.step()
                schedule.point()
            region.send.step()
            open_ends.remove("send")

        schedule.run(
            withdraw, lambda: decide("limit"), lambda: decide("renewal"), send,
            lambda: records.write(lambda: not open_ends),
        )  # fmt: skip
        records.schedule = None
        return events


def violated(events: list[Event]) -> bool:
    return any(name in ("left", "answered") for name, _ in events[events.index(("acknowledged", events[-1][1])) + 1 :])


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """The code with one of its safeguards taken out."""
    if fault == "nobody waits for what is leaving":
        with patch.object(Outgoing, "after", lambda _, __, then: then()):
            yield
    elif fault == "nobody looks again":
        with patch.object(Send, "_refused_now", lambda *_: None):
            yield
    else:
        record = Decide._record

        def as_made(
            self: Decide, tx: Transaction, brain: Brain, asked: Asked, named: str, made: Made, *rest: Any
        ) -> Answer:
            person = tx.person(asked.customer)
            assert person is not None
            return record(self, tx, brain, asked, named, replace(made, guards=(person.guard, 0)), *rest)

        with patch.object(Decide, "_record", as_made):
            yield


def run(folder: Path, seeds: range) -> tuple[int, int, int, int]:
    """(violations, orders in which an answer left, in which the outbox sent, in which nothing did)"""
    race = Race(folder)
    bad = answers = sent = nothing = 0
    for seed in seeds:
        events = race.events_of(seed)
        assert events.count(("acknowledged", f"c{seed}")) == 1
        assert events.count(("left", f"c{seed}")) <= 1
        bad += violated(events)
        answers += any(name == "answered" for name, _ in events)
        sent += any(name == "left" for name, _ in events)
        nothing += len(events) == 1
    return bad, answers, sent, nothing


def test_nothing_leaves_after_an_acknowledged_withdrawal(tmp_path: Path) -> None:
    count = int(os.environ.get("OPPORTUNE_SEEDS", "600"))
    bad, answers, sent, nothing = run(tmp_path, range(count))
    print(f"{count:,} schedules: {bad} violations; {answers:,} with an answer, {sent:,} sent, {nothing:,} with neither")
    assert bad == 0
    assert min(answers, sent, nothing) > count * 0.03, "the schedules do not reach all three ends"


@pytest.mark.torture
def test_ten_thousand_schedules(tmp_path: Path) -> None:
    bad, answers, sent, nothing = run(tmp_path, range(10_000))
    print(f"10,000 schedules: {bad} violations; {answers:,} with an answer, {sent:,} sent, {nothing:,} with neither")
    assert bad == 0


@pytest.mark.parametrize(
    "fault", ["nobody waits for what is leaving", "nobody looks again", "nobody looks at the commit"]
)
def test_each_safeguard_is_needed(tmp_path: Path, fault: str) -> None:
    with planted(fault):
        bad, *_ = run(tmp_path, range(400))
    assert bad > 0
