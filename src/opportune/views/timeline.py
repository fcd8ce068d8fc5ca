"""Everything that happened to one customer, merged by time: each entry says where it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from opportune.core.consents import CONSENT_SIGNALS
from opportune.core.releases import Release
from opportune.core.signals import FieldClass, Signal, format_time
from opportune.ports import Access, Merge, Records, StoredDecision, StoredOutcome, StoredSignal
from opportune.views.classes import classes_of, shown_fields
from opportune.views.live import glimpse

MomentKind = Literal["signal", "decision", "outcome", "consent", "merge", "access"]
KINDS: tuple[MomentKind, ...] = get_args(MomentKind)
_AT_ONCE = {"signal": 1, "consent": 2, "merge": 3, "decision": 4, "outcome": 5, "access": 6}
"""What happened at the same instant: causes before effects."""
SIGNALS_READ_MAX = 2_000
DECISIONS_READ_MAX = 500
DECISIONS_FOLLOWED_MAX = 100
ACCESSES_READ_MAX = 500
OWN_SOURCE = "opportune"
OUTCOME_ID = "outcome-"


class Happening(msgspec.Struct, frozen=True):
    """One entry. `key` orders entries and is the cursor; `source` is the system it came from, `ref` its id there.

    `detail` is its data as this reader sees it, `hidden` the fields of which something is kept back. `decision` is
    the decision it belongs to.
    """

    key: str
    at_ms: int
    kind: MomentKind
    title: str
    source: str
    ref: str
    detail: Mapping[str, Any] = {}
    hidden: tuple[str, ...] = ()
    decision: str | None = None
    disposition: str | None = None
    flags: tuple[str, ...] = ()


class Timeline(msgspec.Struct, frozen=True):
    """The newest entries first. `before` asks for the older ones, None at the end; `counts` is of all that was read.

    `cut_off`: there is more than is read at once, and the oldest entries are not among these.
    """

    rows: tuple[Happening, ...]
    before: str | None
    counts: Mapping[str, int]
    cut_off: bool


class Read(msgspec.Struct, frozen=True):
    """What the records hold about a customer under all its ids, as far as it is read at once."""

    signals: tuple[StoredSignal, ...]
    decisions: tuple[StoredDecision, ...]
    outcomes: tuple[StoredOutcome, ...]
    merges: tuple[Merge, ...]
    accesses: tuple[Access, ...]
    cut_off: bool


def read_all(records: Records, ids: Collection[str]) -> Read:
    """Everything of these customers (one person under all its ids), the newest of each kind."""
    signals = records.signals_of(ids, SIGNALS_READ_MAX)
    decisions = [one for id_ in ids for one in records.decisions(DECISIONS_READ_MAX, customer=id_)]
    decisions.sort(key=lambda one: one.id, reverse=True)
    outcomes = [one for each in decisions[:DECISIONS_FOLLOWED_MAX] for one in records.outcomes(each.id)]
    merges = {one.id: one for id_ in ids for one in records.merges_of(id_)}
    accesses = [one for id_ in ids for one in records.accesses(ACCESSES_READ_MAX, customer=id_)]
    cut = (
        len(signals) >= SIGNALS_READ_MAX or len(decisions) >= DECISIONS_READ_MAX or len(accesses) >= ACCESSES_READ_MAX
    )
    return Read(
        tuple(signals), tuple(decisions), tuple(outcomes), tuple(merges.values()), tuple(accesses), cut
    )


def timeline(
    read: Read,
    release: Release,
    clear: Collection[FieldClass],
    *,
    last: int = 20,
    before: str | None = None,
    kinds: Collection[str] = (),
) -> Timeline:
    """The newest `last` entries of these kinds (all when none is named) that come before the cursor `before`."""
    found = sorted(_happenings(read, release, clear), key=lambda one: one.key, reverse=True)
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    for one in found:
        counts[one.kind] += 1
    wanted = [
        one for one in found if (before is None or one.key < before) and (not kinds or one.kind in kinds)
    ]
    rows = tuple(wanted[:last])
    return Timeline(rows, rows[-1].key if len(wanted) > last else None, counts, read.cut_off)


def cursor_of(at_ms: int) -> str:
    """The cursor that comes before everything at this time and later."""
    return f"{max(0, at_ms):014d}"


def _happenings(read: Read, release: Release, clear: Collection[FieldClass]) -> Iterator[Happening]:
    titles = {one.offer.offer: one.offer.title for one in release.brain.candidates}
    told = {one.id for one in read.outcomes}
    for stored in read.signals:
        signal = stored.signal
        if signal.source == OWN_SOURCE and signal.id.removeprefix(OUTCOME_ID) in told:
            continue
        yield _of_signal(stored, release, clear)
    for decision in read.decisions:
        yield _of_decision(decision, titles)
    for outcome in read.outcomes:
        yield _of_outcome(outcome, titles)
    for merge in read.merges:
        yield from _of_merge(merge)
    for access in read.accesses:
        detail = {"what": access.what, "in clear": list(access.classes), "purpose": access.purpose or None}
        title = f"{access.actor} read {_article(access.what)}"
        yield _made("access", access.at_ms, access.id, title, "opportune", detail)


def _of_signal(stored: StoredSignal, release: Release, clear: Collection[FieldClass]) -> Happening:
    signal = stored.signal
    class_of = classes_of(release, signal.type, signal.version)
    data, hidden = shown_fields(signal.data, class_of, clear)
    detail: dict[str, Any] = dict(data)
    if signal.repairs:
        detail["repaired"] = [f"{one.field} by {one.rule}" for one in signal.repairs]
    if signal.flags:
        detail["flagged by"] = list(signal.flags)
    kind: MomentKind = "signal"
    title = signal.type
    if signal.type in CONSENT_SIGNALS:
        kind, title = "consent", _consent_words(signal)
    elif signal.source == OWN_SOURCE and signal.type.startswith("offer."):
        kind, title = "outcome", signal.type.removeprefix("offer.").capitalize()
    decision = signal.data.get("decision") if kind == "outcome" else None
    found = _made(kind, signal.at_ms, f"{stored.seq:012d}", title, signal.source, detail, ref=signal.id)
    return msgspec.structs.replace(
        found, hidden=hidden, flags=signal.flags, decision=decision if isinstance(decision, str) else None
    )


def _of_decision(decision: StoredDecision, titles: Mapping[str, str]) -> Happening:
    offer = decision.offer
    title = titles.get(offer, offer) if offer is not None else "nothing was offered"
    detail = {"moment": decision.moment, "channel": decision.channel, "reason": glimpse(decision).reason}
    found = _made("decision", decision.at_ms, decision.id, str(title), "opportune", detail)
    return msgspec.structs.replace(found, decision=decision.id, disposition=decision.disposition)


def _of_outcome(outcome: StoredOutcome, titles: Mapping[str, str]) -> Happening:
    detail: dict[str, Any] = {"offer": None if outcome.offer is None else titles.get(outcome.offer, outcome.offer)}
    if outcome.amount:
        detail["amount"] = outcome.amount
    if outcome.detail:
        detail["said"] = outcome.detail
    place = f"{max(0, outcome.leaf):012d}.{outcome.id}"
    title = outcome.kind.capitalize()
    found = _made("outcome", outcome.at_ms, place, title, "opportune", detail, ref=outcome.id)
    return msgspec.structs.replace(found, decision=outcome.decision)


def _of_merge(merge: Merge) -> Iterator[Happening]:
    detail = {"linked by": merge.rule, "actor": merge.actor, "reason": merge.reason or None}
    title = f"{merge.merged} became one with {merge.kept}"
    yield _made("merge", merge.at_ms, merge.id, title, "opportune", detail)
    if merge.undone_ms is not None:
        undone = f"{merge.merged} was taken apart from {merge.kept}"
        yield _made("merge", merge.undone_ms, f"{merge.id}-undone", undone, "opportune", {"actor": merge.undone_by})


def _made(
    kind: MomentKind, at_ms: int, id_: str, title: str, source: str, detail: Mapping[str, Any], ref: str | None = None
) -> Happening:
    said = {name: value for name, value in detail.items() if value is not None}
    return Happening(f"{cursor_of(at_ms)}.{_AT_ONCE[kind]}.{id_}", at_ms, kind, title, source, ref or id_, said)


def _consent_words(signal: Signal) -> str:
    channels = signal.data.get("channels") or ["*"]
    named = [channels] if isinstance(channels, str) else [str(one) for one in channels]
    purpose = str(signal.data.get("purpose") or "marketing")
    where = "every channel" if "*" in named else ", ".join(named)
    what = "everything" if purpose == "*" else purpose
    until = signal.data.get("expires_at")
    word = CONSENT_SIGNALS[signal.type]
    return f"Consent {word}: {what}, {where}" + (f", until {until}" if until and word == "given" else "")


_READ: Final[Mapping[str, str]] = {
    "account": "the account's page", "consent_receipt": "a consent receipt", "consents": "the consents",
    "customer": "the customer's page", "decision": "a decision", "export": "an export",
    "lineage": "where a value came from", "quarantine": "a quarantined signal", "replay": "a replayed decision",
}  # fmt: skip


def _article(what: str) -> str:
    return _READ.get(what, what.replace("_", " "))


def times_said(rows: Collection[Happening]) -> list[dict[str, Any]]:
    """The entries as the API writes them: times as RFC 3339."""
    return [
        {
            "at": format_time(one.at_ms),
            "kind": one.kind,
            "title": one.title,
            "source": one.source,
            "id": one.ref,
            **({"decision": one.decision} if one.decision else {}),
            "data": one.detail,
            **({"hidden": one.hidden} if one.hidden else {}),
            **({"flags": one.flags} if one.flags else {}),
        }
        for one in rows
    ]
