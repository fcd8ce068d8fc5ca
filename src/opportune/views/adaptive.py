"""What is believed of offers without a model: counts, estimates with their intervals, and how late purchases come."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opportune.core.beliefs import EDGES, BeliefTable, Row, form_of
from opportune.core.beliefs.table import ELSEWHERE
from opportune.core.releases import Release, beliefs_of
from opportune.ports import Records

COUNTED = "adaptive"
"""The position that says which form is counted; see `flows.learning.adapt`."""


class Belief(msgspec.Struct, frozen=True):
    """What is believed of one offer in one channel and segment. Counts are of whole history.

    shown, bought: who got the offer, and of them who bought within the window; withheld, bought_anyway: who would have
    got it and did not. counted: for how many of the shown the time that passed speaks. p_accept, p_base, uplift:
    chances of a purchase with the offer, without it, and their difference; intervals hold 95 %. own: how much of the
    acceptance is this row's own evidence, from 0 to 1; the rest is its relatives' and the owner's. share: how much of
    a decision rests on the belief and not on a model.
    """

    offer: str
    channel: str
    segment: str
    shown: int
    bought: int
    withheld: int
    bought_anyway: int
    counted: float
    p_accept: float
    p_accept_interval: tuple[float, float]
    p_base: float
    uplift: float
    uplift_interval: tuple[float, float]
    own: float
    share: float


class Delays(msgspec.Struct, frozen=True):
    """How late purchases of a kind of offers come: by each day after the offer, which share of those within the window
    has come. `refunds`: the share of purchases that is taken back within a window."""

    kind: str
    purchases: int
    refunds: float
    by_day: tuple[tuple[float, float], ...]


class Adaptation(msgspec.Struct, frozen=True):
    """Everything believed. `enabled` and `ready` say whether outcomes are counted, and whether the log was counted
    whole; `strength`, `window`, `success`, `segments` and `handover` are the playbook's settings."""

    enabled: bool
    ready: bool
    strength: float
    window: str
    success: str
    handover: int
    segments: tuple[str, ...]
    beliefs: tuple[Belief, ...]
    delays: tuple[Delays, ...]


def adaptation(records: Records, release: Release, now_ms: int, offer: str | None = None) -> Adaptation:
    """What is believed under a release now; of one offer, if named. LookupError for an offer that is not in it."""
    if offer is not None and offer not in release.brain.offers:
        raise LookupError(offer)
    adaptive = release.playbook.app.adaptive
    form = form_of(adaptive)
    table = beliefs_of(release, records.beliefs() if adaptive.enabled else (), now_ms)
    position = records.position(f"{COUNTED}:{form.key}") if records.position(COUNTED) == form.key else None
    rows = sorted(table.rows.items(), key=lambda item: (item[0][0], item[0][1] == ELSEWHERE, item[0][1]))
    beliefs = [_belief(release, table, row) for (_, segment), row in rows if _told(table, row, segment)]
    ends = (EDGES * form.window_ms / 86_400_000).tolist()
    delays = tuple(
        Delays(
            kind, curve.purchases, round(curve.refunds, 4),
            tuple((round(day, 2), round(share, 4)) for day, share in zip(ends, curve.share, strict=True)),
        )
        for kind, curve in sorted(table.curves.items())
    )  # fmt: skip
    return Adaptation(
        adaptive.enabled, position == "ready", adaptive.strength, adaptive.window, adaptive.success, adaptive.handover,
        tuple(adaptive.segments), tuple(one for one in beliefs if offer in (None, one.offer)), delays,
    )  # fmt: skip


def _told(table: BeliefTable, row: Row, segment: str) -> bool:
    """Rows with something in them, and what is believed of everybody else where there are segments."""
    return row.shown > 0 or row.control > 0 or (segment == ELSEWHERE and bool(table.adaptive.segments))


def _belief(release: Release, table: BeliefTable, row: Row) -> Belief:
    candidate = release.brain.candidates[row.place]
    intervals: Mapping[str, tuple[float, float]] = {
        name: (round(low, 6), round(high, 6)) for name, low, high in row.intervals()
    }
    return Belief(
        candidate.offer.offer, candidate.channel.channel,
        "anybody else" if row.segment == ELSEWHERE else row.segment or "everybody",
        row.shown, row.bought, row.control, row.organic, round(row.counted, 2), round(row.p_accept, 6),
        intervals["p_accept"], round(row.p_base, 6), round(row.uplift, 6), intervals["uplift"], round(row.own, 3),
        round(table.share_of(candidate.offer.offer), 3),
    )  # fmt: skip
