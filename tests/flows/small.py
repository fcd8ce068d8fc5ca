"""A playbook of two offers, a region over it with a clock that stands, and a way to keep its writer busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory import MemoryRecords
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.memory.shelf import MemoryShelf
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Channel, ContactLimit, Moment, Offer, Price, Prior, Treatment
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, Who
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.features import FeatureSpec, FeatureView, ReaderSpec
from opportune.core.models import AdditiveHead, Calibration, FeatureTable, OfferHeads, Scorecard, Training
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.signals import Draft, Receipt, SignalContract, format_time
from opportune.flows.region import Region
from opportune.ports import Clock, Courier, FeatureReader, StoredDecision
from opportune.testing.approving import approve_all
from opportune.testing.clock import FrozenClock

MINUTE_MS = 60_000
DAY_MS = 86_400_000
DAILY = ContactLimit(limit="daily", at_most=1, per="1d", reason="once a day is enough")


def playbook(
    *, holdout: float = 0.0, limits: tuple[ContactLimit, ...] = (DAILY,), margin: float = 500.0,
    explore: bool = False,
) -> Playbook:  # fmt: skip
    """Consent is needed, everything else is permitted; the best offer is `seats`, worth `margin` x 0.1 - 1."""
    return Playbook(
        app=App(
            project="small", holdout=Holdout(share=holdout, salt="small"),
            exploration=Exploration() if explore else Exploration(method="off"),
            moments=(
                Moment(moment="limit", title="a limit was met", channels=("in_app",)),
                Moment(moment="chat", title="a chat is open", channels=("in_app",), priority="critical"),
                Moment(moment="nightly", title="a batch", channels=("in_app",), priority="batch"),
            ),
        ),
        offers=(_offer("seats", margin), _offer("addon", 300.0)),
        channels=(Channel(channel="in_app", title="Banner", kind="pull", limits=limits),),
        views=(
            FeatureView(
                view="usage", version=1, entity="person", owner="tests", purposes=("marketing",),
                features=(
                    FeatureSpec(id="used", sources="usage.recorded", value="data.count", aggregate="sum",
                                type="int", default=0),
                ),
            ),
        ),
        policies=(
            Policy(id="permit", effect="permit", class_="commercial", reason="open to all", owner="tests"),
            Policy(id="consent", effect="forbid", class_="consent", when="consent.status != 'given'",
                   reason="consent is {consent.status}", owner="tests"),
        ),
        contracts=tuple(
            SignalContract(signal=name, owner="tests", schema={"type": "object", "properties": properties})
            for name, properties in (
                ("usage.recorded", {"count": {"type": "integer"}}), ("consent.given", {}),
                ("consent.withdrawn", {}),
            )
        ),
    )  # fmt: skip


def card() -> Scorecard:
    """A model by which more use means more interest, and that thinks better of both offers than their owners do."""
    table = FeatureTable("used", "numeric", edges=(5.0, 50.0))
    offered = AdditiveHead(-1.0, ((-0.5, 0.0, 0.5, 0.0)[: table.bin_count],))
    baseline = AdditiveHead(-3.0, ((0.0,) * table.bin_count,))
    heads = tuple(OfferHeads(one, offered, baseline, baseline, 500, 500, 60, 25) for one in ("seats", "addon"))
    training = Training(
        data_hash="0" * 32, rows=1000, rows_fit=500, rows_calibrate=250, rows_evaluate=250, from_ms=0, to_ms=0,
        evaluated_from_ms=0, label_window="14d", weight_max=20.0, feature_views={}, left_out={}, metrics={},
        calibration_table=(), gates=(), trainer="by hand",
    )  # fmt: skip
    return Scorecard(1, "small", "tests", "0" * 32, (table,), heads, Calibration(), training, True)


def _offer(name: str, margin: float) -> Offer:
    return Offer(
        offer=name, title=name, kind="addon", price=Price(amount=10), margin=margin, owner="tests",
        treatments={"in_app": Treatment(headline=f"More {name}")}, contact_cost=1.0,
        prior=Prior(p_accept=0.2, uplift=0.1),
    )  # fmt: skip


def records_of(kind: str, folder: Path, vault: FileVault) -> MemoryRecords | SqliteRecords:
    return MemoryRecords() if kind == "memory" else SqliteRecords(folder / "records.db", seal=vault)


@contextmanager
def region_of(
    folder: Path, book: Playbook | None = None, *, clock: Clock | None = None, kind: str = "memory",
    cards: Sequence[Scorecard] = (), under_way_max: int = 512,
    name: str = "eu", couriers: Mapping[str, Courier] | None = None,
    readers: Callable[[ReaderSpec], FeatureReader] | None = None,
) -> Iterator[Region]:  # fmt: skip
    """A region at work whose live release is `book` with `cards`."""
    vault = FileVault(folder / "keys")
    records = records_of(kind, folder, vault)
    key = load_or_create_key(folder / "keys" / "ledger.key")
    region = Region(
        name=name, records=records, ledger=PublishedLedger(folder / "ledger", "tests/eu", key, records),
        vault=vault, clock=clock or FrozenClock(), pulse=MemoryPulse(),
        under_way_max=under_way_max, couriers=couriers, readers=readers, shelf=MemoryShelf(),
    )  # fmt: skip
    try:
        if book is not None or records.live() is None:
            approve_all(region, cards)
            region.promote(region.release(book or playbook(), cards).hash, "tests", "first")
        yield region
    finally:
        region.close()


def say(region: Region, type_: str, customer: str, account: str | None = None, **data: Any) -> Receipt:
    """One signal, now."""
    at = format_time(region.clock.now_ms())
    draft = Draft("tests", region.clock.new_id(), type_, at, customer, account, data=data)
    receipt = region.ingest.run([draft])[0]
    assert receipt.status == "accepted", receipt
    return receipt


def consenting(region: Region, *customers: str, account: str | None = None) -> None:
    for customer in customers:
        say(region, "consent.given", customer, account, channels=["*"])


def question(customer: str = "ada", moment: str = "limit", **more: Any) -> Question:
    return Question(Who(id=customer), moment, **more)


def ask(region: Region, asked: Question) -> Future[Answer]:
    """A decision under way: the future has its answer once it is recorded."""
    found: Future[Answer] = Future()

    def done(outcome: Answer | BaseException) -> None:
        if isinstance(outcome, BaseException):
            found.set_exception(outcome)
        else:
            found.set_result(outcome)

    region.decide.submit(asked, done)
    return found


@contextmanager
def busy_writer(region: Region) -> Iterator[None]:
    """While the block runs nothing is recorded: what is submitted waits, in order, until its end."""
    begun, end = Event(), Event()

    def work(_: object) -> None:
        begun.set()
        assert end.wait(60)

    thread = Thread(target=lambda: region.records.submit(work, lambda _: None))
    thread.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        end.set()
        thread.join(60)


def kept(region: Region, id_: str) -> tuple[StoredDecision, DecisionRecord]:
    """A decision as recorded; it has a ledger leaf of its own and replays to the byte."""
    stored = region.records.decision(id_)
    assert stored is not None
    assert msgspec.json.decode(region.records.leaves(stored.leaf, stored.leaf + 1)[0])["id"] == id_
    replayed = region.replay(id_)
    assert replayed.same, replayed
    return stored, decode_record(stored.record)
