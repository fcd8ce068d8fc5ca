"""Replay: rebuild a recorded decision from what it saw, and compare it with the record to the byte.

1. read the record's exact bytes
2. check them against the ledger's commitment
3. run the kernel again with what was asked, seen and measured
4. compare the new bytes with the old
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import DecisionRecord, decode_record, encode_record
from opportune.core.ledger import commitment
from opportune.flows.decide import RecordedProbe
from opportune.ports import Records, StoredDecision


class Replayed(msgspec.Struct, frozen=True):
    """Whether a decision came out the same, and where it first differs if not."""

    id: str
    same: bool
    difference: str | None = None


class UnknownDecision(LookupError):
    """No decision has this id."""


def replay(
    records: Records, brain_of: Callable[[str], Brain], id_: str, release: str | None = None
) -> Replayed:
    """Replays one decision, under its own release or another; raises UnknownDecision."""
    # 1. read
    stored = records.decision(id_)
    if stored is None:
        raise UnknownDecision(id_)
    # 2. check
    if release is None and (broken := _commitment_broken(records, stored)) is not None:
        return Replayed(id_, False, broken)
    # 3. run and 4. compare
    record = decode_record(stored.record)
    again = rebuild(brain_of(release or record.release), record)
    encoded = encode_record(again)
    if encoded == stored.record:
        return Replayed(id_, True)
    return Replayed(id_, False, first_difference(stored.record, encoded))


def rebuild(brain: Brain, record: DecisionRecord) -> DecisionRecord:
    """The record as the kernel makes it now from what was asked, seen and measured then."""
    result = run(brain, record.asked, record.seen, record.id, RecordedProbe(record.faults))
    return msgspec.structs.replace(record, result=result, release=brain.release)


def first_difference(old: bytes, new: bytes) -> str:
    """The first field of two records that differs, with both values."""
    one, other = msgspec.json.decode(old), msgspec.json.decode(new)
    path = _differs(one, other, "")
    return "the bytes differ in form, not in content" if path is None else path


def _differs(one: object, other: object, path: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            found = _differs(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            found = _differs(left, right, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    return None if one == other else f"`{path}` was `{one}` and is now `{other}`"


def _commitment_broken(records: Records, stored: StoredDecision) -> str | None:
    leaves = records.leaves(stored.leaf, stored.leaf + 1)
    if not leaves:
        return f"the ledger has no entry {stored.leaf} for this decision"
    said = msgspec.json.decode(leaves[0])
    if said.get("id") != stored.id:
        return f"ledger entry {stored.leaf} belongs to another record"
    if said.get("commit") != commitment(stored.salt, stored.record):
        return f"the stored record is not the one that ledger entry {stored.leaf} commits to"
    return None
