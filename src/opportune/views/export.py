"""Everything known about one customer as one JSON document, piece by piece, for access and portability requests.

The schema is in docs/privacy.md; `format` names its version. Long histories are read in pages: no more than one page
is in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from opportune.core.customers import Person
from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.masking import masked
from opportune.core.releases import Release
from opportune.core.signals import FieldClass, Signal, format_time
from opportune.ports import Access, Merge, Records, StoredDecision, StoredOutcome
from opportune.views.classes import classes_of, shown_fields

FORMAT: Final = "opportune/export/v1"
PAGE: Final = 200

Clear = Collection[FieldClass]


def export_document(
    records: Records,
    release: Release,
    brain_of: Callable[[str], Brain],
    region: str,
    person: Person,
    ids: Collection[str],
    now_ms: int,
    clear: Clear,
) -> Iterator[bytes]:
    """The document in pieces that together are one JSON object; what is not in `clear` is masked.

    `ids` are all ids that are this one person.
    """
    head = {
        "format": FORMAT,
        "exported_at": format_time(now_ms),
        "region": region,
        "shown_in_clear": sorted(clear),
        "customer": _customer(person, ids, clear),
        "traits": _traits(release, person, clear),
        "consents": _consents(person),
    }
    yield msgspec.json.encode(head)[:-1]
    parts: tuple[tuple[str, Iterator[object]], ...] = (
        ("merges", _merges(records, ids)),
        ("signals", (_signal(release, one, clear) for one in _signals(records, ids))),
        ("decisions", (_decision(records, brain_of, one, clear) for one in _decisions(records, ids))),
        ("accesses", (access_line(one) for one in _accesses(records, ids))),
    )
    for name, items in parts:
        yield f',"{name}":'.encode()
        yield from _listed(items)
    yield b"}\n"


def access_line(one: Access) -> dict[str, Any]:
    """One entry of the access log as JSON."""
    return {
        "id": one.id,
        "at": format_time(one.at_ms),
        "actor": one.actor,
        "what": one.what,
        "customer": one.customer or None,
        "classes_in_clear": one.classes,
        "purpose": one.purpose,
    }


def masked_record(record: DecisionRecord, clear: Clear) -> dict[str, Any]:
    """A decision's record as JSON: what the caller said about the customer is personal, and so is the caller's key."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    asked = plain["asked"]
    for name in ("context", "key"):
        if name in asked:
            asked[name] = masked(asked[name], "personal", clear)
    return plain


def outcome_line(one: StoredOutcome, clear: Clear) -> dict[str, Any]:
    """One outcome as JSON; what somebody wrote about it is personal."""
    return {
        "id": one.id,
        "at": format_time(one.at_ms),
        "kind": one.kind,
        "decision": one.decision,
        "offer": one.offer,
        "amount": one.amount,
        "detail": masked(one.detail, "personal", clear),
    }


def _customer(person: Person, ids: Collection[str], clear: Clear) -> dict[str, Any]:
    return {
        "id": person.id,
        "ids": sorted(ids),
        "account": person.account,
        "identifiers": [
            {
                "kind": one.kind, "value": masked(one.value, "personal", clear), "source": one.source,
                "since": format_time(one.at_ms),
            }
            for one in person.identifiers
        ],
        "first_seen": format_time(person.first_ms) if person.first_ms else None,
        "last_seen": format_time(person.last_ms) if person.last_ms else None,
    }  # fmt: skip


def _traits(release: Release, person: Person, clear: Clear) -> list[dict[str, Any]]:
    class_of = classes_of(release, "person.updated")
    seen, _ = shown_fields(person.traits, class_of, clear)
    found = []
    for name, value in seen.items():
        origin = person.origins.get(name)
        found.append(
            {
                "name": name,
                "value": value,
                "class": class_of(name),
                "source": None if origin is None else origin.source,
                "signal": None if origin is None else origin.signal,
                "since": None if origin is None else format_time(origin.at_ms),
            }
        )
    return found


def _consents(person: Person) -> list[dict[str, Any]]:
    return [
        {
            "for": key,
            "status": one.status,
            "at": format_time(one.at_ms),
            "source": one.source,
            "expires_at": None if one.expires_ms is None else format_time(one.expires_ms),
            "basis": one.basis,
            "controller": one.controller,
            "evidence": one.evidence,
            "notice": one.notice,
        }
        for key, one in sorted(person.consents.items())
    ]


def _signal(release: Release, signal: Signal, clear: Clear) -> dict[str, Any]:
    data, _ = shown_fields(signal.data, classes_of(release, signal.type, signal.version), clear)
    return {
        "source": signal.source,
        "id": signal.id,
        "type": signal.type,
        "version": signal.version,
        "at": format_time(signal.at_ms),
        "received_at": format_time(signal.received_ms),
        "customer": signal.customer,
        "account": signal.account,
        "data": data,
        "flags": signal.flags,
    }


def _decision(
    records: Records, brain_of: Callable[[str], Brain], stored: StoredDecision, clear: Clear
) -> dict[str, Any]:
    record = decode_record(stored.record)
    asked = masked_record(record, clear)["asked"]
    return {
        "id": stored.id,
        "at": format_time(stored.at_ms),
        "moment": stored.moment,
        "channels": record.asked.channels,
        "context": asked.get("context", {}),
        "disposition": stored.disposition,
        "reason": record.result.reason,
        "offer": stored.offer,
        "channel": stored.channel,
        "explanation": _explanation(brain_of, record),
        "release": stored.release,
        "features": record.seen.features,
        "consents": record.seen.consents,
        "outcomes": [outcome_line(one, clear) for one in records.outcomes(stored.id)],
    }


def _explanation(brain_of: Callable[[str], Brain], record: DecisionRecord) -> Mapping[str, str] | None:
    """In words, for the customer, the agent and the auditor; None when the release is not on the shelf any more."""
    try:
        brain = brain_of(record.release)
    except LookupError:
        return None
    return answer_of(brain, record).explanation


def _merges(records: Records, ids: Collection[str]) -> Iterator[object]:
    found: dict[str, Merge] = {one.id: one for id_ in ids for one in records.merges_of(id_)}
    for one in sorted(found.values(), key=lambda merge: merge.at_ms):
        yield {
            "at": format_time(one.at_ms), "kept": one.kept, "merged": one.merged, "rule": one.rule,
            "actor": one.actor, "reason": one.reason,
            "undone_at": None if one.undone_ms is None else format_time(one.undone_ms),
        }  # fmt: skip


def _signals(records: Records, ids: Collection[str]) -> Iterator[Signal]:
    before: int | None = None
    while page := records.signals_of(ids, PAGE, before):
        yield from (one.signal for one in page)
        before = page[-1].seq


def _decisions(records: Records, ids: Iterable[str]) -> Iterator[StoredDecision]:
    for id_ in ids:
        before: str | None = None
        while page := records.decisions(PAGE, before=before, customer=id_):
            yield from page
            before = page[-1].id


def _accesses(records: Records, ids: Iterable[str]) -> Iterator[Access]:
    for id_ in ids:
        before: str | None = None
        while page := records.accesses(PAGE, customer=id_, before=before):
            yield from page
            before = page[-1].id


def _listed(items: Iterable[object]) -> Iterator[bytes]:
    opening = b"["
    for item in items:
        yield opening + msgspec.json.encode(item)
        opening = b","
    yield b"[]" if opening == b"[" else b"]"
