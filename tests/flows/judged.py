"""Customers with a response that is known, decided by one release, so that what another would earn is known too."""

from __future__ import annotations

from random import Random

import msgspec
from small import DAY_MS, consenting, playbook, question

from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Exploration, Playbook
from opportune.core.signals import format_time
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

BUYS = {"seats": 0.10, "addon": 0.25, None: 0.05}
"""The share that buys within the window, by what is offered."""


def exploring(margin: float = 500.0, floor: float = 0.3, holdout: float = 0.1) -> Playbook:
    """Two offers that are all tried; the better paid one is what the owners believe in."""
    book = playbook(holdout=holdout, margin=margin)
    app = msgspec.structs.replace(book.app, exploration=Exploration(floor=floor))
    return msgspec.structs.replace(book, app=app)


def lived(region: Region, clock: FrozenClock, customers: int, seed: int = 3) -> None:
    """Each customer is decided once and buys by BUYS some days later, whether something was offered or not."""
    chance = Random(seed)
    names = [f"c{number}" for number in range(customers)]
    consenting(region, *names)
    begun_ms = clock.at_ms
    for number, name in enumerate(names):
        clock.at_ms = begun_ms + number * 60_000
        answer = region.decide.run(question(name))
        offered = None if answer.offer is None else answer.offer.id
        if chance.random() < BUYS[offered]:
            at_ms = clock.at_ms + int(chance.uniform(1, 10) * DAY_MS)
            _bought(region, clock, name, answer.decision_id if offered else None, offered, at_ms)
    clock.at_ms = begun_ms + customers * 60_000 + 30 * DAY_MS


def _bought(
    region: Region, clock: FrozenClock, customer: str, decision: str | None, offer: str | None, at_ms: int
) -> None:
    now_ms, clock.at_ms = clock.at_ms, at_ms
    post = OutcomePost(
        kind="converted", decision=decision, customer=customer, offer=offer, amount=10.0, at=format_time(at_ms)
    )
    region.act.run([post])
    clock.at_ms = now_ms
