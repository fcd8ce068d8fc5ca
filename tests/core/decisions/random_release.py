"""Seeded random releases and customers: every effect and class, limits, quiet hours, odd values, models or none."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from opportune.core.beliefs import Believed
from opportune.core.catalog import Channel, ContactLimit, Limit, Moment, Offer, Price, Prior, QuietHours, Treatment
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Asked, Seen
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.models import (
    EVERY_OFFER,
    AdditiveHead,
    Calibration,
    FeatureTable,
    Form,
    OfferHeads,
    PairTable,
    Scorecard,
    Training,
    Tree,
)
from opportune.core.playbook import App, Arbitration, Exploration, Holdout, ModelSpec, Playbook, Target
from opportune.core.policies import Policy
from opportune.core.policies.documents import CLASS_ORDER
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import SignalContract

AT_MS = 1_790_000_000_000
MOMENTS = ("usage.limit_reached", "support.chat_opened")
CHANNELS = ("in_app", "email", "phone")
PURPOSES = ("marketing", "service")
STATUSES = ("given", "given", "given", "refused", "withdrawn", "unknown")
PLANS = ("team", "business", "enterprise", "trial")
WHEN = (
    "consent.status != 'given'", "true", "seats > 20", "ratio > 0.8", "plan == 'trial'", "!active",
    "offer.price > spend", "offer.tier >= 3 && seats < 40", "plan in ['team', 'trial'] || offer.kind == 'seats'",
    "has(ratio) && ratio > 0.5", "seats * 1000000000000 * 1000000 > 0", "spend / ratio > 100.0",
    "local_hour < 9", "account_known", "context.used > 3", "offer.price * ratio > 20.0", "channel.kind == 'push'",
    "plan.startsWith('t') && offer.risk == 'low'", "seats / (seats - 7) > 1", "moment.id == 'support.chat_opened'",
    "offer.family == 'f1' ? seats > 5 : active", "now > timestamp('2026-01-01T00:00:00Z')",
)  # fmt: skip
LEVERS = ("25.0", "-40.0", "ratio * 30.0", "offer.price * 0.5", "1.0 / (ratio - ratio)", "spend - 50.0")
REQUIRES = (
    "true", "true", "seats > 10", "active", "ratio < 0.9 && plan != 'trial'", "offer.tier < 4 || spend > 100.0"
)  # fmt: skip


BESIDE: tuple[Target, ...] = ("acceptance", "value", "fatigue")
LEAVING = ModelSpec(model="leaving", target="churn_risk", owner="o", features=("seats",))
LIMITS = (
    Limit(limit="volume", of="everyone", kinds=("plan", "seats"), at_most=100, per="1d"),
    Limit(limit="money", of="everyone", channels=("email", "in_app"), amount=50.0, per="30d"),
    Limit(limit="each", of="everyone", count="offer", at_most=10, per="7d"),
)


def brain(seed: int) -> Brain:
    """A release of its own for each seed."""
    return _compiled(seed)


@lru_cache(maxsize=4)
def _compiled(seed: int) -> Brain:
    rng = random.Random(seed)
    book = playbook(rng, seed)
    cards = [scorecard(rng, book)] if rng.random() < 0.8 else []
    if book.models:
        cards += further_cards(rng, book)
    return compile_release(encode_manifest(book, cards)).brain


def playbook(rng: random.Random, seed: int = 0) -> Playbook:
    moments = tuple(
        Moment(
            moment=name, title=name, channels=CHANNELS, context={"used": "int"},
            weights={"plan": 1.5, "offer_01": 0.25},
        )
        for name in MOMENTS
    )  # fmt: skip
    return Playbook(
        app=App(
            project="random",
            moments=moments,
            holdout=Holdout(share=rng.choice([0.0, 0.2]), salt="salt"),
            exploration=Exploration(
                method=rng.choice(["inverse_gap", "inverse_gap", "floor_only", "off"]), gamma=rng.choice([1.0, 20.0]),
                floor=rng.choice([0.0, 0.02, 0.3]),
            ),
            arbitration=Arbitration(method=rng.choice(["value", "value", "pcvl"])),
            confidence_min={"low": rng.choice([0.0, 0.5]), "medium": 0.7, "high": rng.choice([0.9, 1.0])},
            offer_attributes={"tier": "int", "family": "string"},
            limits=LIMITS[: rng.randrange(4)],
        ),
        offers=tuple(_offer(rng, number) for number in range(rng.choice([1, 5, 24, 40]))),
        channels=tuple(_channel(rng, name) for name in CHANNELS),
        views=(_view(),),
        policies=(_policy(rng, 0, "permit"), *(_policy(rng, n) for n in range(1, rng.randint(2, 12))), *_leaving(seed)),
        models=(LEAVING,) if seed % 3 == 2 else (),
        contracts=(
            SignalContract(
                signal="usage.recorded",
                owner="o",
                schema={
                    "type": "object",
                    "properties": {
                        "count": {"type": "integer"}, "plan": {"type": "string"}, "spend": {"type": "number"},
                        "active": {"type": "boolean"},
                    },
                },
            ),
        ),
    )  # fmt: skip


def room(rng: random.Random, brain: Brain) -> dict[str, float]:
    """What is left of some limits over everybody."""
    names = [name for rule in brain.volumes for _, name, _ in rule.parts]
    return {name: rng.choice([0.0, 0.0, 0.4, 3.0]) for name in names if rng.random() < 0.4}


def beliefs(rng: random.Random, brain: Brain) -> Believed | None:
    """What may be believed in one segment: of some candidates, alone or beside a model, and of one that is gone."""
    ids = ["gone@email", *(one.id for one in brain.candidates if rng.random() < 0.4)]
    rng.shuffle(ids)
    p_accept = tuple(rng.randrange(1_000, 500_000) for _ in ids)
    return Believed(
        tuple(ids), p_accept, tuple(round(p * rng.uniform(-0.4, 1.0)) for p in p_accept),
        tuple(rng.choice([0, 10_000, 200_000]) for _ in ids), tuple(rng.choice([1000, 900, 250]) for _ in ids),
        tuple(rng.randrange(50) for _ in ids), tuple(rng.randrange(50) for _ in ids),
    ) if rng.random() < 0.8 else None  # fmt: skip


def seen(
    rng: random.Random, number: int, left: Mapping[str, float] | None = None,
    believed: Sequence[Believed | None] = (None,),
) -> Seen:  # fmt: skip
    """A customer: features that are missing now and then, consents, contacts, an hour of the day."""
    features: dict[str, Any] = {
        "seats": rng.choice([0, 3, 7, 8, 15, 30, 60, 2**53 + 1, -(2**63)]),
        "plan": rng.choice([*PLANS, "never_seen"]),
        "spend": rng.choice([0.0, 12.5, 49.0, 99.0, 250.0, float(rng.randrange(500))]),
        "active": rng.random() < 0.6,
        "ratio": rng.choice([0.0, 0.3, 0.85, 1.0, rng.random()]),
    }
    for name in features:
        if rng.random() < 0.08:
            features[name] = None
    account = f"a{number % 50}" if rng.random() < 0.8 else None
    contacts = tuple(
        (rng.choice(["person", "account"]), f"offer_{rng.randrange(5):02}", rng.choice(CHANNELS),
         rng.randrange(10 * 86_400_000))
        for _ in range(rng.choice([0, 0, 0, 1, 4]))
    )  # fmt: skip
    return Seen(
        at_ms=AT_MS, account=account, unit=account or f"c{number}", features=features, ages_ms={},
        consents={f"{purpose}/{channel}": rng.choice(STATUSES) for purpose in PURPOSES for channel in CHANNELS},
        contacts=contacts, local_minute=rng.randrange(24 * 60),
        local_day=rng.randrange(7), room=left or {}, beliefs=believed[number % len(believed)],
    )  # fmt: skip


def asked(rng: random.Random, number: int, moment: str, channels: tuple[str, ...]) -> Asked:
    context = {"used": rng.randrange(6)} if rng.random() < 0.9 else {}
    return Asked(customer=f"c{number}", moment=moment, channels=channels, context=context)


def _leaving(seed: int) -> tuple[Policy, ...]:
    """In some releases, what a policy makes of the chance that the customer leaves."""
    if seed % 3 != 2:
        return ()
    when = ("score.churn_risk > 0.2", "score.churn_risk < 0.1 && offer.kind == 'plan'")[seed % 2]
    return (
        Policy(id="leaving", effect="forbid", class_="commercial", when=when, reason="r", owner="o"),
        Policy(
            id="keep", effect="adjust", class_="commercial", when="seats > 3", adjust="score.churn_risk * 40.0",
            reason="r", owner="o",
        ),
    )  # fmt: skip


def further_cards(rng: random.Random, book: Playbook) -> list[Scorecard]:
    """Models beside that of the uplift: whether customers leave, and two more of what there can be."""
    found = [scorecard(rng, book, LEAVING.target)]
    return found + [scorecard(rng, book, target) for target in rng.sample(BESIDE, 2)]


def scorecard(rng: random.Random, book: Playbook, target: Target = "uplift") -> Scorecard:
    """Random tables, pairs and trees over features of all kinds; an offer in ten is not covered."""
    tables = (
        FeatureTable("seats", "numeric", edges=(1.0, 7.0, 20.0)),
        FeatureTable("plan", "category", categories=("business", "enterprise", "team")),
        FeatureTable("active", "bool"),
        FeatureTable("ratio", "numeric", edges=(0.3, 0.8)),
        FeatureTable("spend", "numeric", edges=(12.5, 100.0, 400.0)),
    )
    joint = target != "uplift" or rng.random() < 0.5
    form: Form = {"uplift": rng.choice(("odds", "odds", "effect")), "value": "amount"}.get(target, "chance")

    def head(base: float) -> AdditiveHead:
        parts = tuple(tuple(rng.uniform(-0.8, 0.8) for _ in range(table.bin_count)) for table in tables)
        if form == "effect" and base == -2.0:
            parts = tuple(tuple(part / 10.0 for part in one) for one in parts)
            return AdditiveHead(0.05, parts, (), (_stump(rng, 0.1),) if joint else ())
        base = 4.0 if form == "amount" else base
        pair = PairTable(0, 3, tuple(tuple(rng.uniform(-0.3, 0.3) for _ in range(4)) for _ in range(5)))
        return AdditiveHead(base, parts, *(((pair,), (_stump(rng, 0.5), _stump(rng, 0.5))) if joint else ()))

    if target == "churn_risk":
        every = (OfferHeads(EVERY_OFFER, head(-1.8), head(-1.8), head(-4.0), 500, 500, 60, 25),)
        scaling = Calibration()
        return Scorecard(1, "leaving", "random", "0" * 32, tables, every, scaling, _training(), True, form, target)

    heads = tuple(
        OfferHeads(one.offer, head(-2.0), head(-2.6), head(-4.0), 500, 500, 60, 25)
        for one in book.offers
        if rng.random() < 0.9
    )
    training = _training()
    return Scorecard(1, "random", "random", "0" * 32, tables, heads, Calibration(), training, True, form, target)


def _stump(rng: random.Random, reach: float) -> Tree:
    """Seats, then the plan or the spend."""
    first = rng.randrange(1, 4)
    leaves = tuple(rng.uniform(-reach, reach) for _ in range(4))
    runs = (((0, first),), ((1, 2),), ((2, 3),))
    return Tree((0, 1, 4), runs, (1, -1, -3), (2, -2, -4), leaves, (0.4, 0.1, 0.3, 0.2))


def _training() -> Training:
    return Training(
        data_hash="0" * 32, rows=1000, rows_fit=500, rows_calibrate=250, rows_evaluate=250, from_ms=0, to_ms=0,
        evaluated_from_ms=0, label_window="14d", weight_max=20.0, feature_views={}, left_out={}, metrics={},
        calibration_table=(), gates=(), trainer="random",
    )  # fmt: skip


def _offer(rng: random.Random, number: int) -> Offer:
    open_ = [name for name in CHANNELS if rng.random() < 0.7] or ["in_app"]
    return Offer(
        offer=f"offer_{number:02}",
        title=f"Offer {number}",
        kind=("plan", "seats", "addon")[number % 3],
        price=Price(amount=float(rng.randrange(1, 120))),
        margin=float(rng.randrange(0, 400)),
        treatments={name: Treatment(headline="x") for name in open_},
        owner="o",
        prior=Prior(p_accept=0.1, uplift=rng.choice([-0.01, 0.0, 0.05])),
        risk=rng.choice(["low", "low", "medium", "high"]),
        purpose=rng.choice(PURPOSES),
        requires=rng.choice(REQUIRES),
        contact_cost=rng.choice([0.0, 0.5]),
        spend=rng.choice([0.0, 0.5, 2.0]),
        valid_from="2030-01-01T00:00:00Z" if rng.random() < 0.1 else None,
        valid_to="2026-01-01T00:00:00Z" if rng.random() < 0.1 else None,
        attributes={"tier": number % 5} | ({"family": f"f{number % 3}"} if number == 0 or rng.random() < 0.8 else {}),
        lever=rng.choice([1.0, 1.0, 2.0]),
    )


def _channel(rng: random.Random, name: str) -> Channel:
    limits = (
        ContactLimit(limit="weekly", at_most=2, per="7d"),
        ContactLimit(limit="same", at_most=1, per="3d", count="offer"),
        ContactLimit(limit="house", at_most=3, per="7d", of="account", count="all"),
    )
    return Channel(
        channel=name, title=name, kind={"in_app": "pull", "email": "push", "phone": "agent"}[name],  # type: ignore[arg-type]
        contact_cost=0.2, fatigue_cost=rng.choice([0.0, 1.0, 7.0]), limits=limits[: rng.randrange(4)],
        quiet_hours=QuietHours(start="21:00", end="07:30") if rng.random() < 0.5 else None,
    )  # fmt: skip


def _policy(rng: random.Random, number: int, effect: Any = None) -> Policy:
    effect = effect or rng.choice(["forbid", "forbid", "forbid", "permit", "require_review", "adjust", "force"])
    rare = effect in ("force", "require_review")
    when = " && ".join(rng.sample(WHEN, 3)) if rare else "true" if number == 0 else rng.choice(WHEN)
    return Policy(
        id=f"p{number}", effect=effect, class_=rng.choice(CLASS_ORDER) if number else "commercial", when=when,
        adjust=rng.choice(LEVERS) if effect == "adjust" else None, reason="r", owner="o",
        priority=rng.randrange(2), explore=rng.random() < 0.8,
        obligations=("review",) if rng.random() < 0.05 else (),
        valid_to=rng.choice([None, None, None, "2026-01-01"]),
    )  # fmt: skip


def _view() -> FeatureView:
    def last(name: str, field: str, type_: str) -> FeatureSpec:
        return FeatureSpec(id=name, sources="usage.recorded", value=f"data.{field}", aggregate="last", type=type_)  # type: ignore[arg-type]

    return FeatureView(
        view="v", version=1, entity="account", owner="o", purposes=PURPOSES,
        features=(
            last("seats", "count", "int"), last("plan", "plan", "string"), last("spend", "spend", "double"),
            last("active", "active", "bool"), last("ratio", "spend", "double"),
        ),
    )  # fmt: skip
