"""A small world for the console: a playbook, a model that is easy to follow, and decisions of every kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import Litestar

from opportune.adapters.files import TileLog
from opportune.adapters.memory import MemoryRecords
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.core.catalog import Channel, ContactLimit, Moment, Offer, Price, Prior, QuietHours, Treatment
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import STEPS, Asked, DecisionRecord, Seen, encode_record
from opportune.core.features import FeatureSpec, FeatureView, compile_views
from opportune.core.ledger import commitment, entry
from opportune.core.models import (
    AdditiveHead,
    Calibration,
    FeatureTable,
    OfferHeads,
    Scorecard,
    Training,
)
from opportune.core.playbook import App, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.releases import compile_brain
from opportune.doors.console import ConsoleDeps, Sessions, console_handlers
from opportune.flows.decide import RecordedProbe
from opportune.ports import Clock, StoredDecision, StoredOutcome, StoredRelease, Transaction
from opportune.testing.clock import FrozenClock

RELEASE = "r6f1c0a94be27d358"
NAMES = (
    "seats_used_share", "usage_trend", "active_days_7d", "tenure_days", "open_tickets", "pricing_views_7d", "plan",
)  # fmt: skip
DAY_MS = 86_400_000


def card(offers: Sequence[str]) -> Scorecard:
    """A model that knows every offer: people who use their seats and look at prices gain from being asked."""
    tables = (
        FeatureTable("seats_used_share", "numeric", (0.5, 0.9)),
        FeatureTable("pricing_views_7d", "numeric", (1.0, 3.0)),
        FeatureTable("open_tickets", "numeric", (1.0, 3.0)),
        FeatureTable("usage_trend", "numeric", (0.8, 1.2)),
    )
    flat = tuple((0.0,) * table.bin_count for table in tables)
    lifts = ((0.0, -0.5, 0.1, 0.62), (0.0, -0.2, 0.05, 0.31), (0.0, 0.1, -0.18, -0.6), (0.0, -0.4, 0.0, 0.12))
    heads = tuple(
        OfferHeads(
            offer,
            AdditiveHead(-3.1 + 0.22 * ((place * 7) % 5), lifts),
            AdditiveHead(-3.3, flat),
            AdditiveHead(-9.0, flat),
            900, 880, 61, 38,
        )
        for place, offer in enumerate(offers)
    )
    training = Training(
        "0" * 32, 14_240, 9_000, 2_000, 3_240, 0, 1, 1, "14d", 20.0, {"account_usage": 3}, {}, {}, (), (), "by hand"
    )
    return Scorecard(1, "expansion", "growth", "0" * 32, tables, heads, Calibration(), training, True)


def _offer(id_: str, title: str, kind: str, amount: float, margin: float, headline: str, **more: Any) -> Offer:
    words = {channel: Treatment(headline=headline) for channel in more.pop("channels", ("in_app", "email", "desk"))}
    return Offer(
        offer=id_, title=title, kind=kind, price=Price(amount=amount), margin=margin, treatments=words,
        owner="growth", prior=Prior(p_accept=0.08, uplift=0.03), **more,
    )


def playbook() -> Playbook:
    offers = (
        _offer("seats_10", "Ten more seats", "seats", 90, 980, "Your team has nearly used all its seats"),
        _offer("seats_25", "Twenty-five more seats", "seats", 210, 2200, "Room for the whole department"),
        _offer(
            "plan_business", "Upgrade from Team to Business", "plan", 240, 2200, "Your team is outgrowing Team",
            requires="plan == 'team'", requires_reason="only teams on the Team plan can move to Business",
        ),
        _offer(
            "plan_enterprise", "Upgrade from Business to Enterprise", "plan", 1200, 11000, "A plan for auditors",
            risk="high", channels=("email", "desk"), requires="plan == 'business'",
            requires_reason="Enterprise is for accounts on Business",
        ),
        _offer("annual", "Pay yearly and save ten percent", "billing", 0, 700, "Two months for nothing"),
        _offer("analytics", "Analytics add-on", "addon", 60, 620, "See what slows your projects down"),
        _offer("storage", "Storage for large files", "addon", 25, 260, "Your files need more room"),
        _offer("onboarding", "Onboarding with a specialist", "service", 400, 310, "An hour with a specialist"),
    )
    channels = (
        Channel(
            channel="in_app", title="Banner in the product", kind="pull", fatigue_cost=0.5,
            limits=(ContactLimit(limit="daily", at_most=3, per="1d", reason="three banners a day are enough"),),
        ),
        Channel(
            channel="email", title="E-mail", kind="push", contact_cost=0.02, fatigue_cost=4.0,
            quiet_hours=QuietHours(start="20:00", end="08:00"),
            limits=(ContactLimit(limit="weekly", at_most=1, per="7d", reason="one e-mail a week is enough"),),
        ),
        Channel(channel="desk", title="A note for the colleague", kind="agent", contact_cost=1.5, fatigue_cost=2.0),
    )
    moments = (
        Moment(
            moment="usage.limit_reached", title="The account ran into a limit",
            channels=("in_app", "email"), context={"limit": "string", "used": "int"},
        ),
        Moment(moment="page.pricing_viewed", title="Somebody is looking at prices", channels=("in_app",)),
        Moment(moment="support.chat_opened", title="A support chat is open", channels=("desk",)),
    )
    return Playbook(
        app=App(
            project="larkfield", holdout=Holdout(share=0.1, salt="larkfield"), moments=moments,
            confidence_min={"high": 0.9},
        ),
        offers=offers, channels=channels, views=_views(), policies=_policies(), contracts=(),
    )


def _views() -> tuple[FeatureView, ...]:
    return (
        FeatureView(
            view="account_usage", version=3, entity="account", owner="data", purposes=("marketing",),
            freshness="2d",
            features=(
                FeatureSpec(
                    id="seats_used_share", sources="usage", value="data.share", aggregate="last", type="double"
                ),
                FeatureSpec(id="usage_trend", sources="usage", value="data.trend", aggregate="last", type="double"),
                FeatureSpec(id="active_days_7d", sources="usage", aggregate="count", window="7d", hop="1d"),
                FeatureSpec(id="tenure_days", sources="signup", aggregate="time_since", unit="d"),
            ),
        ),
        FeatureView(
            view="contact_person", version=1, entity="person", owner="growth", purposes=("marketing",),
            features=(
                FeatureSpec(id="open_tickets", sources="ticket", aggregate="count", window="30d", hop="1d"),
                FeatureSpec(id="pricing_views_7d", sources="page", aggregate="count", window="7d", hop="1d"),
                FeatureSpec(id="plan", sources="usage", value="data.plan", aggregate="last", type="string"),
            ),
        ),
    )


def _policies() -> tuple[Policy, ...]:
    return (
        Policy(id="permit.customers", effect="permit", class_="commercial", when="tenure_days >= 14",
               reason="a customer for {tenure_days} days", owner="growth"),
        Policy(id="consent.marketing", effect="forbid", class_="consent", when="consent.status != 'given'",
               reason="no consent to {offer.purpose} in this channel: consent is {consent.status}",
               owner="compliance"),
        Policy(id="suitability.open_tickets", effect="forbid", class_="suitability", when="open_tickets > 2",
               reason="{open_tickets} tickets are open: help first", owner="support"),
        Policy(id="suitability.shrinking", effect="forbid", class_="suitability",
               when="offer.kind == 'seats' && usage_trend < 0.5",
               reason="usage is {usage_trend} of what it was: more seats would not help", owner="growth"),
        Policy(id="review.high_risk", effect="require_review", class_="commercial", when="offer.risk == 'high'",
               reason="a contract of its own: an account manager looks first", owner="sales",
               obligations=("review",)),
        Policy(id="lever.analytics", effect="adjust", class_="commercial", when="offer.id == 'analytics'",
               adjust="15.0", reason="the line we want to grow", owner="analytics"),
    )


def brain(release: str = RELEASE) -> Brain:
    book = playbook()
    fields = {
        "usage": {"share": "double", "trend": "double", "plan": "string"},
        "signup": {}, "ticket": {}, "page": {},
    }
    cards = (card([offer.offer for offer in book.offers]),)
    return compile_brain(release, book, cards, compile_views(book.views, fields))


class FolderLedger:
    """The published log of `records` in a folder."""

    def __init__(self, records: MemoryRecords, folder: Path) -> None:
        self._records = records
        self._log = TileLog(folder, "larkfield.example/eu", Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.origin = self._log.origin
        self.vkey = self._log.vkey

    def publish(self) -> int:
        return self._log.publish(self._records.leaves).size

    def checkpoint(self) -> bytes:
        return self._log.checkpoint().note

    def tile(self, path: str) -> bytes:
        return self._log.tile(path)

    def proof(self, index: int) -> bytes:
        return self._log.proof(index)


class Scene:
    """Records, pulse, ledger and clock with a door; `decide` adds one decision, exactly as the flow records it."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.clock: Any = clock or FrozenClock()
        self.records = MemoryRecords()
        self.pulse = MemoryPulse()
        self.ledger = FolderLedger(self.records, folder)
        self.brain = brain()
        self.sessions = Sessions(self.clock)
        self.random = Random(7)
        self.records.run(self._release)

    def _release(self, tx: Transaction) -> None:
        tx.put_release(StoredRelease(self.brain.release, self.clock.now_ms(), "first", b"{}"))
        tx.set_live(self.brain.release, self.clock.now_ms(), "tests", "first")

    def app(self, **more: Any) -> Litestar:
        return Litestar(console_handlers(self.deps(**more)), openapi_config=None)

    def deps(self, **more: Any) -> ConsoleDeps:
        return ConsoleDeps(
            records=self.records, ledger=self.ledger, pulse=self.pulse, clock=self.clock,
            brain=lambda: self.brain, brain_of=self.brain_of, sessions=self.sessions, **more,
        )

    def brain_of(self, release: str) -> Brain:
        if release != self.brain.release:
            raise LookupError(release)
        return self.brain

    def decide(
        self, customer: str = "ada", *, at_ms: int | None = None, moment: str = "usage.limit_reached",
        unit: str | None = None, faults: tuple[str, ...] = (), slow: float = 1.0, release: str | None = None,
        **seen: Any,
    ) -> str:
        now_ms = self.clock.now_ms() if at_ms is None else at_ms
        id_: str = self.clock.new_id()
        channels = self.brain.moments[moment].channels
        asked = Asked(customer, moment, channels, {"limit": "seats", "used": 48} if "limit" in moment else {})
        what = self._seen(now_ms, customer, unit, channels, seen)
        result = run(self.brain, asked, what, id_, RecordedProbe(faults))
        timings = tuple(
            (step, round(slow * base * self.random.uniform(0.8, 1.6)))
            for step, base in zip(STEPS[:6], (9, 41, 6, 33, 58, 47), strict=True)
        )
        record = DecisionRecord(
            1, id_, release or self.brain.release, "eu", asked, what, faults, timings, result
        )
        self._keep(record, timings)
        return id_

    def _seen(self, now_ms: int, customer: str, unit: str | None, channels: Sequence[str], more: Any) -> Seen:
        features = {
            "seats_used_share": 0.96, "usage_trend": 1.31, "active_days_7d": 6, "tenure_days": 412,
            "open_tickets": 1, "pricing_views_7d": 3, "plan": "team", **more.pop("features", {}),
        }
        status = more.pop("consent", {})
        return Seen(
            at_ms=now_ms, account=f"acct_{customer}", unit=unit or f"acct_{customer}", features=features,
            ages_ms={
                name: (place * 7 + 1) * 5_400_000 for place, name in enumerate(NAMES) if features[name] is not None
            },
            consents={f"marketing/{channel}": status.get(channel, "given") for channel in channels},
            local_minute=more.pop("local_minute", 11 * 60 + 20), **more,
        )

    def _keep(self, record: DecisionRecord, timings: tuple[tuple[str, int], ...]) -> None:
        data, salt = encode_record(record), hashlib.sha256(record.id.encode()).digest()
        total_us = sum(micros for _, micros in timings)
        result = record.result

        def work(tx: Transaction) -> None:
            leaf = tx.append_leaf(
                entry(entry_id=record.id, ts_ms=record.seen.at_ms, kind="decision", region="eu", actor="decide",
                      release=record.release, commit=commitment(salt, data))
            )
            tx.put_decision(
                StoredDecision(
                    record.id, record.seen.at_ms, record.asked.customer, record.seen.account, record.seen.unit,
                    record.asked.moment, record.release, result.disposition, result.offer, result.channel,
                    result.holdout, total_us, data, salt, leaf,
                )
            )

        self.records.run(work)
        self.pulse.record(record.seen.at_ms, total_us + 3_400, result.disposition, record.id, 3_250)

    def outcome(self, decision: str, kind: str, later_ms: int, amount: float = 0.0) -> None:
        stored = self.records.decision(decision)
        assert stored is not None
        one = StoredOutcome(
            f"{decision}-{kind}", stored.at_ms + later_ms, kind, stored.customer, stored.unit, decision,
            stored.offer, amount,
        )
        self.records.run(lambda tx: tx.put_outcome(one))

    def held_unit(self) -> str:
        """A unit that the hold-out takes."""
        from opportune.core.decisions.draws import in_holdout

        holdout = self.brain.app.holdout
        return next(f"acct_{n}" for n in range(1000) if in_holdout(holdout.salt, f"acct_{n}", holdout.share))

    def populate(self, count: int = 60) -> list[str]:
        """Decisions of every disposition over the last 50 seconds, the last one an offer."""
        now_ms = self.clock.now_ms()
        people = ("ada", "grace", "linus", "margaret", "edsger", "barbara", "alan", "hedy", "katherine", "tim")
        kinds: list[dict[str, Any]] = [
            {}, {"moment": "page.pricing_viewed"}, {"features": {"plan": "business"}},
            {"consent": {"in_app": "unknown", "email": "withdrawn"}}, {"features": {"open_tickets": 4}},
            {"unit": self.held_unit()}, {"moment": "support.chat_opened", "features": {"plan": "business"}},
            {"faults": ("score:late",), "slow": 40.0}, {"features": {"usage_trend": 0.3}}, {},
            {"faults": ("shortlist:late",), "slow": 300.0}, {"faults": ("assign:open",)}, {}, {},
        ]
        made = []
        for number in range(count):
            kind = dict(kinds[number % len(kinds)])
            at_ms = now_ms - (count - number) * 50_000 // count
            slow = kind.pop("slow", self.random.lognormvariate(0.0, 0.35))
            made.append(self.decide(people[number * 7 % len(people)], at_ms=at_ms, slow=slow, **kind))
        last = self.decide("ada", at_ms=now_ms - 400)
        while (stored := self.records.decision(last)) is None or stored.disposition != "offered":
            last = self.decide("ada", at_ms=now_ms - 400)
        self.outcome(made[0], "delivered", 90_000)
        return [*made, last]
