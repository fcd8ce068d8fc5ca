"""A small region whose model has a training snapshot, and customers who come again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import small

from opportune.core.decisions.records import decode_record
from opportune.core.drift import DriftPolicy
from opportune.core.models import Example, Scorecard, TrainingSet, compile_scorecard, snapshot_of
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import ModelSpec, Playbook
from opportune.core.signals import SignalContract
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.testing.clock import FrozenClock

PEOPLE = [f"person-{number}" for number in range(120)]
HOUR_MS = 3_600_000
POLICY = DriftPolicy(window=300, answers=150, look_early=100)


def book(policy: DriftPolicy = POLICY) -> Playbook:
    """The small playbook with a description of its model, two people, and no limit on contacts."""
    made = small.playbook(holdout=0.2, limits=(), explore=True)
    spec = ModelSpec(model="small", owner="tests", features=("used",), label_window="1h", drift=policy)
    people = {"ada": ("model_owner",), "lee": ("reviewer",)}
    bought = SignalContract(signal="offer.converted", owner="tests", schema={"type": "object", "properties": {
        name: {"type": "string"} for name in ("offer", "decision", "channel")} | {"amount": {"type": "number"}}},
    )  # fmt: skip
    return msgspec.structs.replace(
        made, models=(spec,), contracts=(*made.contracts, bought), app=msgspec.structs.replace(made.app, people=people)
    )


def card(seed: int = 1, owner: str = "tests") -> Scorecard:
    """The small model with a snapshot of customers who use little or much, by chance, and buy as it says."""
    one = msgspec.structs.replace(small.card(), owner=owner)
    offers = [heads.offer for heads in one.offers]
    model = compile_scorecard(one, offers, ["used"])
    random = Random(seed)
    rows = []
    for number in range(2_000):
        used, offer, treated = random.choice((0, 3, 8, 20, 60)), random.choice(offers), random.random() < 0.5
        scores = model.score([used])
        place = offers.index(offer)
        bought = random.random() < (scores.p_accept if treated else scores.p_base)[place]
        rows.append(Example(number, f"unit-{number}", offer, treated, 0.25, bought, (used,)))
    examples = TrainingSet(("used",), ("int",), tuple(rows), HOUR_MS)
    snapshot = snapshot_of(one, model, examples, examples)
    return msgspec.structs.replace(one, training=msgspec.structs.replace(one.training, snapshot=snapshot))


@contextmanager
def watched_region(
    folder: Path, policy: DriftPolicy = POLICY, cards: tuple[Scorecard, ...] = (), kind: str = "memory"
) -> Iterator[Region]:
    """A region whose model is live, and 120 customers whose use is that of training."""
    with small.region_of(folder, book(policy), clock=FrozenClock(), kind=kind) as region:
        for one in cards or (card(),):
            approve_all(region, [one])
            region.promote(region.release(book(policy), (one,)).hash, "tests", "the model")
            region.clock.at_ms += 1  # type: ignore[attr-defined]  # a FrozenClock
        small.consenting(region, *PEOPLE)
        for number, person in enumerate(PEOPLE):
            small.say(region, "usage.recorded", person, count=(0, 3, 8, 20, 60)[number % 5])
        yield region


def ask_all(region: Region, rounds: int, buys: float | None = None, seed: int = 3) -> None:
    """Everybody in turn, an hour and a half apart; a minute later some have bought, with or without an offer. `buys`
    is the chance to; None: that which the model says."""
    random, clock = Random(seed), region.clock
    assert isinstance(clock, FrozenClock)
    model, offers = region.releases.brain().model, region.releases.brain().offers
    for _ in range(rounds):
        answers = [region.decide.run(small.question(person)) for person in PEOPLE]
        clock.at_ms += 60_000
        for answer in answers:
            stored = region.records.decision(answer.decision_id)
            if model is None or stored is None:
                continue
            scores = model.score([decode_record(stored.record).seen.features.get("used")])
            shown = answer.offer if answer.disposition == "offered" else None
            for place, offer in enumerate(offers):
                if shown is not None and shown.id != offer:
                    continue
                chance = (scores.p_base if shown is None else scores.p_accept)[place]
                if random.random() >= (chance if buys is None else buys):
                    continue
                alone = {"customer": answer.customer, "offer": offer}
                who = alone if shown is None else {"decision": answer.decision_id}
                region.act.run([OutcomePost("converted", amount=10.0, **who)])
        clock.at_ms += HOUR_MS * 3 // 2


def use_more(region: Region) -> None:
    """Everybody becomes a heavy user."""
    for person in PEOPLE:
        small.say(region, "usage.recorded", person, count=70)
