"""What a server does beside answering: publishes the ledger, sends the outbox, keeps periods, follows outcomes."""

from __future__ import annotations

from opportune.doors.cli.background import Background, Rest
from opportune.doors.cli.watching import Train, watcher
from opportune.flows.backfill import resume
from opportune.flows.erase import finish
from opportune.flows.region import Region
from opportune.flows.retain import retain

PUBLISH_EVERY_S = 1.0
SEND_EVERY_S = 0.2
VALIDATE_EVERY_S = 5.0
KEEP_EVERY_S = 60.0
REST_S = 0.05
"""After every few hundred signals, so that decisions need not wait for the interpreter."""

DAY_MS = 86_400_000


def chores(region: Region, train: Train | None = None) -> tuple[Background, ...]:
    """In the order in which they are stopped. `train` serves approved cases of drift, where there is a playbook."""
    return (
        sender(region), keeper(region), watcher(region, train), validator(region), follower(region), publisher(region),
    )  # fmt: skip


def publisher(region: Region) -> Background:
    """The ledger, every second."""

    def turn(_: Rest) -> None:
        region.refusals.flush()
        region.ledger.publish()

    return Background("ledger", PUBLISH_EVERY_S, turn)


def follower(region: Region) -> Background:
    """What is believed of offers, from what became of them: looked at every second."""

    def turn(_: Rest) -> None:
        region.beliefs.refresh()

    return Background("beliefs", PUBLISH_EVERY_S, turn)


def validator(region: Region) -> Background:
    """Heavier models are asked about what was decided: some decisions at a time, until there are no more."""

    def turn(rest: Rest) -> None:
        while region.validate.step():
            rest(REST_S)

    return Background("validation", VALIDATE_EVERY_S, turn)


def sender(region: Region) -> Background:
    """The outbox, five times a second, until nothing is due."""

    def turn(rest: Rest) -> None:
        while region.send.step():
            rest(0.0)

    return Background("outbox", SEND_EVERY_S, turn)


def keeper(region: Region, every_s: float = KEEP_EVERY_S) -> Background:
    """Erasures and backfills that were interrupted, and what outlived its period: at the start, then every day by
    the clock; a day that failed is tried again in a minute."""
    kept_ms: int | None = None

    def turn(rest: Rest) -> None:
        nonlocal kept_ms
        now_ms = region.clock.now_ms()
        if kept_ms is None or now_ms - kept_ms >= DAY_MS:
            finish(region)
            resume(region, lambda: rest(REST_S))
            retain(region, rest=lambda: rest(REST_S))
            kept_ms = now_ms

    return Background("retention", every_s, turn, at_once=True)
