"""Decisions of the sample playbook as a company would make them over months: every kind of answer, every trouble."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Semaphore

import msgspec

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory import MemoryRecords
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.memory.shelf import MemoryShelf
from opportune.adapters.playbook import load
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Limit
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, QuestionError, Who
from opportune.core.models import AdditiveHead, Calibration, FeatureTable, OfferHeads, Scorecard, Training
from opportune.core.outcomes import OutcomeKind, OutcomePost
from opportune.core.playbook import Arbitration, Playbook
from opportune.core.policies import Policy
from opportune.core.signals import Draft, format_time
from opportune.doors.http.cloudevents import draft_of
from opportune.flows.merges import IdentityError
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.testing.clock import FrozenClock
from opportune.testing.world import World

SAMPLE = Path(__file__).parents[1] / "samples/saas"
UNDER_WAY_MAX = 6
"""As many as the gate always has places for, whatever it has met; now and then there is a crowd instead."""
CROWD = 30
AMPLE_MS = 10_000
TICK_US = 300
"""Where there is hardly any time, each look at the stopwatch takes so long: budgets run out at any step."""

CONTEXTS: dict[str, tuple[str, ...]] = {
    "usage.limit_reached": ("limit", "used"), "page.pricing_viewed": ("page",), "support.chat_opened": ("intent",),
    "renewal.approaching": ("days_left",), "feature.blocked": ("feature",),
}  # fmt: skip


def playbooks() -> tuple[tuple[Playbook, tuple[Scorecard, ...]], ...]:
    """Four releases: with limits over everybody and dates, with an override, by P x C x V x L, and with a model."""
    book = load(SAMPLE).playbook
    replace = msgspec.structs.replace
    everybody = (
        Limit(limit="banners", at_most=400, per="1d", of="everyone", channels=("in_app",), reason="banners for all"),
        Limit(limit="money", amount=40.0, per="1d", of="everyone", reason="the day's money"),
        Limit(limit="yearly_each", at_most=30, per="1d", of="everyone", count="offer", reason="thirty of each"),
    )
    dated = tuple(
        replace(one, spend=0.2, valid_to="2027-02-01T00:00:00Z") if number == 0
        else replace(one, valid_from="2026-12-20T00:00:00Z") if number == 3 else one
        for number, one in enumerate(book.offers)
    )  # fmt: skip
    limited = replace(book, app=replace(book.app, limits=everybody), offers=dated)
    promise = Policy(id="force.promise", effect="force", class_="commercial", owner="sales", version=3,
                     when="offer.id == 'annual_switch' && mrr > 900.0", reason="promised at {mrr} EUR")  # fmt: skip
    forced = replace(limited, policies=(*limited.policies, promise))
    pcvl = replace(book, app=replace(book.app, arbitration=Arbitration(method="pcvl", same_kind_max=2)))
    # A model by chance has nothing to be measured by.
    modelled = replace(limited, models=tuple(replace(spec, gates={}) for spec in limited.models))
    return (limited, ()), (forced, ()), (pcvl, ()), (modelled, (model_for(limited),))


def model_for(book: Playbook, seed: int = 5) -> Scorecard:
    """A model of random tables over features of the sample, for all offers but the last."""
    rng = Random(seed)
    tables = (
        FeatureTable("seat_ratio", "numeric", (0.4, 0.6, 0.8, 0.95)), FeatureTable("mrr", "numeric", (200.0, 800.0)),
        FeatureTable("usage_trend", "numeric", (0.5, 0.9, 1.2)), FeatureTable("tenure_days", "numeric", (30.0, 200.0)),
    )  # fmt: skip

    def head(base: float) -> AdditiveHead:
        return AdditiveHead(base, tuple(tuple(rng.uniform(-0.6, 0.6) for _ in range(one.bin_count)) for one in tables))

    heads = tuple(
        OfferHeads(one.offer, head(-2.2), head(-3.0), head(-6.0), 500, 500, 60, 25) for one in book.offers[:-1]
    )
    training = Training(
        data_hash="0" * 32, rows=1000, rows_fit=500, rows_calibrate=250, rows_evaluate=250, from_ms=0, to_ms=0,
        evaluated_from_ms=0, label_window="14d", weight_max=20.0, feature_views={}, left_out={}, metrics={},
        calibration_table=(), gates=(), trainer="by chance",
    )  # fmt: skip
    return Scorecard(1, "expansion", "bench", "0" * 32, tables, heads, Calibration(), training, True)


@contextmanager
def opened(folder: Path, *, memory: bool = False) -> Iterator[Region]:
    """A region whose clock stands until it is moved; in memory, or as files that are made durable."""
    vault = FileVault(folder / "keys")
    records = MemoryRecords() if memory else SqliteRecords(folder / "records.db", seal=vault)
    key = load_or_create_key(folder / "keys" / "ledger.key")
    region = Region(
        name="eu", records=records, ledger=PublishedLedger(folder / "ledger", "lived/eu", key, records), vault=vault,
        clock=FrozenClock(step_us=1), pulse=MemoryPulse(), under_way_max=64, shelf=MemoryShelf(),
    )  # fmt: skip
    try:
        yield region
    finally:
        region.close()


class Life:
    """A region lived in: a history of signals, then questions while time goes on and the unexpected happens."""

    def __init__(self, region: Region, seed: int = 1, accounts: int = 120) -> None:
        self.region = region
        self.random = Random(seed)
        self.clock: FrozenClock = region.clock  # type: ignore[assignment]  # as `opened` made it
        for _, cards in playbooks():
            approve_all(region, cards)
        self.releases = [region.release(book, cards).hash for book, cards in playbooks()]
        region.promote(self.releases[0], "lived", "first")
        events = list(World(seed, accounts=accounts, days=60, end_ms=self.clock.now_ms()).history())
        for start in range(0, len(events), 1000):
            region.ingest.run([draft_of(event) for event in events[start : start + 1000]])
        self.customers = sorted({event["subject"] for event in events if "subject" in event})
        self.merges = 0
        self._number = 0

    def decide(self, count: int, releases: int = 4) -> None:
        """So many questions; the live release changes `releases` - 1 times on the way."""
        self._places, self._places_max = Semaphore(UNDER_WAY_MAX), UNDER_WAY_MAX
        answers: list[Answer] = []
        for number in range(count):
            if number and number % -(-count // releases) == 0:
                self._settle(UNDER_WAY_MAX)
                live = self.releases[number // -(-count // releases)]
                self.region.promote(live, "lived", "next")
            if number % 40 == 0:
                self._settle(CROWD if self.random.random() < 0.03 else UNDER_WAY_MAX)
                self._happen(answers)
                # Nobody is under way: time that passes between questions is no latency.
                self.clock.at_ms += self.random.randrange(40_000, 8 * 3_600_000)
            self._ask(answers)
        self._settle(UNDER_WAY_MAX)

    def _ask(self, answers: list[Answer]) -> None:
        places = self._places

        def done(outcome: Answer | BaseException) -> None:
            if isinstance(outcome, Answer):
                answers.append(outcome)
            places.release()

        places.acquire()
        question = self.question()
        self.clock.step_us = 1 if question.budget_ms == AMPLE_MS else TICK_US
        try:
            self.region.decide.submit(question, done)
        except QuestionError:
            places.release()

    def _settle(self, next_max: int) -> None:
        """Waits for all that are under way; from then on so many may be."""
        for _ in range(self._places_max):
            self._places.acquire()
        self._places, self._places_max = Semaphore(next_max), next_max

    def question(self) -> Question:
        """Somebody, at some moment, for one offer or several; now and then with hardly any time."""
        rng = self.random
        moment = rng.choice(sorted(CONTEXTS))
        declared = self.region.releases.brain().moments[moment].context
        context = {name: rng.randrange(60) if declared[name] == "int" else rng.choice(("seats", "boards"))
                   for name in CONTEXTS[moment] if rng.random() < 0.8}  # fmt: skip
        budget = rng.choice((3, 4, 5)) if rng.random() < 0.03 else AMPLE_MS
        return Question(
            Who(id=rng.choice(self.customers)), moment, context=context, limit=rng.choice((1, 1, 1, 2, 3)),
            budget_ms=budget, gpc=rng.random() < 0.05,
        )  # fmt: skip

    def _happen(self, answers: list[Answer]) -> None:
        """Outcomes of the last answers, a few signals, and now and then two records that are one person."""
        rng = self.random
        offered = [one for one in answers if one.disposition == "offered"]
        answers.clear()
        kinds: tuple[OutcomeKind, ...] = ("delivered", "seen", "accepted", "declined", "dismissed")
        self.region.act.run(
            [OutcomePost(rng.choice(kinds), decision=one.decision_id) for one in offered if rng.random() < 0.6]
        )
        at = format_time(self.clock.now_ms())
        drafts = []
        for _ in range(4):
            self._number += 1
            type_, data = rng.choice((
                ("consent.withdrawn", {"purpose": "marketing", "channels": ["*"]}),
                ("consent.given", {"purpose": "marketing", "channels": ["*"]}),
                ("consent.given", {"purpose": "marketing", "channels": ["email", "in_app"]}),
                ("consent.given", {"purpose": "marketing", "channels": ["*"]}),
                ("consent.given", {"purpose": "marketing", "channels": ["*"]}),
                ("ticket.opened", {"ticket": f"T{self._number}", "priority": "urgent"}),
                ("ticket.closed", {"ticket": f"T{self._number - 3}", "priority": "urgent", "satisfaction": 2}),
            ))  # fmt: skip
            drafts.append(Draft("lived", f"lived-{self._number}", type_, at, rng.choice(self.customers), data=data))
        self.region.ingest.run(drafts)
        if rng.random() < 0.1:
            one, other = rng.sample(self.customers, 2)
            # Two that are one already are refused.
            with suppress(IdentityError):
                self.region.merging.merge(one, other, "lived", "the same person")
                self.merges += 1
