"""The life of a signal kept out: looked at, fixed, sent again, or discarded; every step is in the ledger.

1. find the entry; only an open one can be sent again or discarded
2. read its draft back, or take the fixed one
3. ingest it as any signal is, in the unit that also closes the entry
4. when something is still wrong that unit is dropped whole, and the entry is kept open with its new problems
5. note each step in the ledger: the entry's number, what happened, who did it, and nobody's name
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from opportune.core.customers import subject_of
from opportune.core.ledger import commitment, entry
from opportune.core.signals import Draft, Problem, Receipt
from opportune.flows.access import actor_code
from opportune.flows.identify import subject_of_draft
from opportune.flows.ingest import body_of, take
from opportune.flows.region import Region
from opportune.ports import Quarantined, Transaction

WHY_CHARS_MAX = 500
_DRAFT_FIELDS = ("source", "id", "type", "time", "subject", "account", "version", "data", "skew_ms", "region")


class QuarantineError(ValueError):
    """A step that cannot be taken; `code` is `unknown`, `closed`, `unreadable` or `invalid`."""

    def __init__(self, code: str, message: str, field: str = "seq") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class _StillWrong(Exception):
    """Ends a unit of work that must leave nothing."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.status)
        self.receipt = receipt


def draft_of(kept: Quarantined) -> Draft:
    """The draft of an entry as it came; QuarantineError when it was cut or could never be written as JSON."""
    try:
        found = msgspec.json.decode(kept.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        message = f"entry `{kept.seq}` was not kept whole: send the signal anew from its source, or give a whole draft"
        raise QuarantineError("unreadable", message)
    return draft_from(found)


def draft_from(document: object) -> Draft:
    """A draft of a JSON document, whose fields may still be wrong; QuarantineError when it is no object or names a
    field that drafts do not have."""
    if not isinstance(document, Mapping):
        raise QuarantineError("invalid", "the draft must be one JSON object with `source`, `id`, `type`", "draft")
    for name in document:
        if name not in _DRAFT_FIELDS:
            message = f"a draft has no field `{str(name)[:64]}`: it has {', '.join(_DRAFT_FIELDS)}"
            raise QuarantineError("invalid", message, str(name)[:64])
    skew_ms = document.get("skew_ms", 0)
    if not isinstance(skew_ms, int) or isinstance(skew_ms, bool):
        raise QuarantineError("invalid", "`skew_ms` must be a whole number of milliseconds", "skew_ms")
    get = document.get
    return Draft(
        get("source"), get("id"), get("type"), get("time"), get("subject"), get("account"), get("version"), get("data"),
        skew_ms=skew_ms, region=get("region"),
    )  # fmt: skip


def with_fields(draft: Draft, changes: Mapping[str, object]) -> Draft:
    """The draft with fields changed by their dotted names: `subject`, `data.count`, `data.price.amount`; None takes
    a field of `data` away. QuarantineError names a field that cannot be set."""
    document: dict[str, Any] = msgspec.to_builtins(draft)
    document.pop("problems", None)
    for path, value in changes.items():
        first, *rest = path.split(".")
        if first not in _DRAFT_FIELDS or (rest and first != "data") or not all(rest):
            message = f"`{path[:64]}` cannot be set: name a field of the draft, or one of its data as `data.count`"
            raise QuarantineError("invalid", message, path[:64])
        if rest:
            known = document.get("data")
            document["data"] = _with_value(known if isinstance(known, Mapping) else {}, rest, value)
        else:
            document[first] = value
    return draft_from(document)


def resubmit(region: Region, seq: int, draft: Draft | None, actor: str) -> Receipt:
    """Sends an open entry again, as it came or as `draft` has it; its receipt. QuarantineError when it cannot be.

    Accepted or a duplicate closes the entry; what is still wrong leaves it open with its new problems.
    """
    # 1. find
    kept = _open(region.records.quarantine_entry(seq), seq)
    # 2. read
    sent = draft_of(kept) if draft is None else draft
    release, now_ms = region.releases.live(), region.clock.now_ms()
    # What named no time happened when it was received first, not when somebody looked at it.
    received_ms = kept.received_ms if sent.time is None else now_ms
    taken = take(sent, release, region.vault, received_ms)
    changed = msgspec.structs.replace(
        kept, source=_short(sent.source), id=_short(sent.id), type=_short(sent.type), body=body_of(sent),
        customer=subject_of_draft(sent, region.vault),
    )  # fmt: skip

    # 3. ingest and close
    def close(tx: Transaction) -> Receipt:
        _open(tx.quarantined(seq), seq)
        receipt = region.ingest.within(tx, release, taken, received_ms)
        if receipt.status not in ("accepted", "duplicate"):
            raise _StillWrong(receipt)
        note = f"{actor_code(actor)}: signal {receipt.seq}" + (", a duplicate" if receipt.status == "duplicate" else "")
        tx.put_quarantined(msgspec.structs.replace(changed, status="resubmitted", note=note))
        _witness(tx, region, changed, "resubmitted", actor, now_ms)
        return receipt

    try:
        receipt = region.records.run(close)
    except _StillWrong as wrong:
        # 4. still wrong
        problems = wrong.receipt.problems
        region.records.run(lambda tx: _keep_open(tx, region, changed, problems, actor, now_ms))
        return wrong.receipt
    region.ingest.settled([taken])
    return receipt


def discard(region: Region, seq: int, why: str, actor: str) -> None:
    """Closes an open entry for good, with the reason; QuarantineError when it is not open or there is no reason."""
    reason = why.strip()
    if not reason or len(reason) > WHY_CHARS_MAX:
        raise QuarantineError("invalid", f"say why, in at most {WHY_CHARS_MAX} characters", "why")
    now_ms = region.clock.now_ms()

    def work(tx: Transaction) -> None:
        kept = _open(tx.quarantined(seq), seq)
        note = f"{actor_code(actor)}: {reason}"
        closed = msgspec.structs.replace(kept, status="discarded", note=note)
        tx.put_quarantined(closed)
        _witness(tx, region, closed, "discarded", actor, now_ms)

    region.records.run(work)


def _open(kept: Quarantined | None, seq: int) -> Quarantined:
    if kept is None:
        raise QuarantineError("unknown", f"nothing in quarantine has the number `{seq}`")
    if kept.status != "open":
        raise QuarantineError("closed", f"entry `{seq}` is not open any more: it was {kept.status}")
    return kept


def _keep_open(
    tx: Transaction, region: Region, changed: Quarantined, problems: tuple[Problem, ...], actor: str, at_ms: int
) -> None:
    kept = _open(tx.quarantined(changed.seq), changed.seq)
    tx.put_quarantined(msgspec.structs.replace(changed, problems=problems, note=kept.note))
    _witness(tx, region, changed, "still_wrong", actor, at_ms)


def _witness(tx: Transaction, region: Region, kept: Quarantined, what: str, actor: str, at_ms: int) -> None:
    # 5. note
    id_ = region.clock.new_id()
    salt = region.vault.commit_salt(f"quarantine/{id_}", subject_of(kept.customer, None))
    tx.append_leaf(
        entry(
            entry_id=id_, ts_ms=at_ms, kind="quarantine", region=region.name, actor=actor_code(actor),
            commit=commitment(salt, kept.body + kept.note.encode()), codes={"seq": kept.seq, "what": what},
        )
    )  # fmt: skip


def _with_value(data: Mapping[str, Any], path: list[str], value: object) -> dict[str, Any]:
    name, *rest = path
    changed = dict(data)
    if rest:
        inner = data.get(name)
        changed[name] = _with_value(inner if isinstance(inner, Mapping) else {}, rest, value)
    elif value is None:
        changed.pop(name, None)
    else:
        changed[name] = value
    return changed


def _short(value: object) -> str:
    return value[:64] if isinstance(value, str) else ""
