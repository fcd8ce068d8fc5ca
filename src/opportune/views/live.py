"""The live page as data: what is decided now, how fast, with what outcome, and what needs a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.ports import Clock, Ledger, Pulse, PulseWindow, Records, StoredDecision
from opportune.views.ledger import LedgerState, ledger_state
from opportune.views.revenue import Revenue

DISPOSITIONS = ("offered", "no_offer", "escalated", "held_out", "fallback", "shed")
OUTCOMES = ("delivered", "seen", "clicked", "accepted", "declined", "dismissed", "converted")
ROWS = 50
BUDGET_MS = 50


class DecisionRow(msgspec.Struct, frozen=True):
    """One line of the list of decisions. `total_us` is what the record measured, up to the write; `whole_us` the
    whole of it, while the pulse remembers."""

    id: str
    at_ms: int
    customer: str
    account: str | None
    moment: str
    moment_title: str
    disposition: str
    reason: str
    offer: str | None
    title: str | None
    channel: str | None
    value: float
    total_us: int
    whole_us: int | None
    budget_ms: int
    degraded: tuple[str, ...]


class Share(msgspec.Struct, frozen=True):
    """One disposition: how often in the window, and since the beginning."""

    disposition: str
    recent: int
    ever: int


class LiveView(msgspec.Struct, frozen=True):
    """Everything the live page shows. `budget_ms` is the tightest of the live release's moments; `degraded` are
    (component, what is wrong); `release` is None before the first one goes live."""

    now_ms: int
    project: str | None
    currency: str
    release: str | None
    model: str | None
    budget_ms: int
    disposition: str | None
    customer: str | None
    rows: tuple[DecisionRow, ...]
    pulse: PulseWindow
    mix: tuple[Share, ...]
    counts: Mapping[str, int]
    outcomes: tuple[tuple[str, int], ...]
    ledger: LedgerState
    revenue: Revenue | None
    degraded: tuple[tuple[str, str], ...]


class _Glimpsed(msgspec.Struct, frozen=True):
    reason: str
    value: float = 0.0
    would: str | None = None
    degraded: tuple[str, ...] = ()


class _GlimpsedQuestion(msgspec.Struct, frozen=True):
    budget_ms: int = BUDGET_MS


class _Glimpse(msgspec.Struct, frozen=True):
    """The few fields of a record that a list needs: the rest is skipped, not decoded."""

    asked: _GlimpsedQuestion
    result: _Glimpsed


_GLIMPSE = msgspec.msgpack.Decoder(_Glimpse)


def glimpse(decision: StoredDecision) -> _Glimpsed:
    """The reason, value and what it went without, of a recorded decision."""
    return _GLIMPSE.decode(decision.record).result


def live_view(
    records: Records,
    ledger: Ledger,
    pulse: Pulse,
    clock: Clock,
    brain: Brain | None,
    *,
    disposition: str | None = None,
    customer: str | None = None,
    last: int = ROWS,
    revenue: Revenue | None = None,
    degraded: Sequence[tuple[str, str]] = (),
) -> LiveView:
    """The newest `last` decisions, narrowed to a disposition or a customer, and the figures of all of them."""
    now_ms = clock.now_ms()
    counts = records.counts()
    window = pulse.window(now_ms)
    rows = live_rows(records, pulse, brain, disposition=disposition, customer=customer, last=last)
    return LiveView(
        now_ms=now_ms,
        project=None if brain is None else brain.app.project,
        currency="EUR" if brain is None else brain.app.currency,
        release=None if brain is None else brain.release,
        model=None if brain is None else brain.model_name,
        budget_ms=BUDGET_MS if brain is None else _budget_ms(brain),
        disposition=disposition,
        customer=customer,
        rows=rows,
        pulse=window,
        mix=tuple(
            Share(each, window.mix.get(each, 0), counts.get(f"decisions.{each}", 0)) for each in DISPOSITIONS
        ),
        counts=counts,
        outcomes=tuple((kind, counts.get(f"outcomes.{kind}", 0)) for kind in OUTCOMES),
        ledger=ledger_state(ledger, counts.get("leaves", 0)),
        revenue=revenue,
        degraded=(*degraded, *_degraded(rows, window)),
    )


def live_rows(
    records: Records,
    pulse: Pulse,
    brain: Brain | None,
    *,
    disposition: str | None = None,
    customer: str | None = None,
    last: int = ROWS,
) -> tuple[DecisionRow, ...]:
    """The newest decisions first, with titles from the live release."""
    titles: dict[str, str] = {}
    if brain is not None:
        titles = {candidate.offer.offer: candidate.offer.title for candidate in brain.candidates}
    moments = {} if brain is None else brain.moments
    found = records.decisions(last, disposition=disposition, customer=customer)
    took = pulse.took([one.id for one in found])
    names = {id_: moment.title for id_, moment in moments.items()}
    return tuple(_row(one, titles, names, took.get(one.id)) for one in found)


def _row(
    decision: StoredDecision, titles: Mapping[str, str], moments: Mapping[str, str], took: tuple[int, int] | None
) -> DecisionRow:
    glimpse = _GLIMPSE.decode(decision.record)
    offer, channel = decision.offer, decision.channel
    if offer is None and glimpse.result.would is not None:
        offer, _, channel = glimpse.result.would.partition("@")
    return DecisionRow(
        id=decision.id,
        at_ms=decision.at_ms,
        customer=decision.customer,
        account=decision.account,
        moment=decision.moment,
        moment_title=moments.get(decision.moment, decision.moment),
        disposition=decision.disposition,
        reason=glimpse.result.reason,
        offer=offer,
        title=None if offer is None else titles.get(offer, offer),
        channel=channel,
        value=glimpse.result.value,
        total_us=decision.total_us,
        whole_us=None if took is None else took[0],
        budget_ms=glimpse.asked.budget_ms,
        degraded=glimpse.result.degraded,
    )


def _budget_ms(brain: Brain) -> int:
    return min((moment.budget_ms for moment in brain.moments.values()), default=BUDGET_MS)


def _degraded(rows: Sequence[DecisionRow], window: PulseWindow) -> list[tuple[str, str]]:
    """What the decisions themselves say: parts that were done without, safe defaults and refused ones."""
    parts: dict[str, int] = {}
    for row in rows:
        for part in row.degraded:
            parts[part] = parts.get(part, 0) + 1
    found = [(part, f"in {count} of the last {len(rows)} decisions") for part, count in sorted(parts.items())]
    if fell := window.mix.get("fallback", 0):
        found.append(("decisions", f"{fell} answered with the safe default in the last {window.seconds} s"))
    if shed := window.mix.get("shed", 0):
        found.append(("load", f"{shed} refused for overload in the last {window.seconds} s"))
    return found
