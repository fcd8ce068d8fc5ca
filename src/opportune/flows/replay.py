"""Replay: rebuild a recorded decision from what it saw, and compare it with the record to the byte.

1. read the record's exact bytes
2. check them against the ledger's commitment
3. run the kernel again with what was asked, seen and measured
4. compare the new bytes with the old

A window of decisions is replayed page by page; under another release, what would be answered otherwise is added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.differences import Differences, Pair, Tally
from opportune.core.decisions.kernel import ScoreFailed, run
from opportune.core.decisions.questions import QuestionError
from opportune.core.decisions.records import DecisionRecord, decode_record, encode_record
from opportune.core.ledger import commitment
from opportune.flows.decide import RecordedProbe
from opportune.ports import Records, StoredDecision

PAGE = 500
DIFFERENT_KEPT_MAX = 20


class Replayed(msgspec.Struct, frozen=True):
    """Whether a decision came out the same, and where it first differs if not."""

    id: str
    same: bool
    difference: str | None = None


class Window(msgspec.Struct, frozen=True):
    """So many decisions replayed, how many to the same byte, and the first that are not."""

    of: int
    same: int
    different: tuple[Replayed, ...]


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
    return _replayed(records, brain_of, stored, release)


def replay_window(
    records: Records, brain_of: Callable[[str], Brain], last: int, tell: Callable[[int], None] = lambda done: None
) -> Window:
    """Replays the newest decisions under their own releases; `tell` is called after each page. Keeps one page."""
    of = same = 0
    different: list[Replayed] = []
    for page in pages(records, last):
        found = [_replayed(records, brain_of, stored, None) for stored in page]
        of, same = of + len(found), same + sum(one.same for one in found)
        different += [one for one in found if not one.same][: DIFFERENT_KEPT_MAX - len(different)]
        tell(len(page))
    return Window(of, same, tuple(different))


def compare_window(
    records: Records, brain_of: Callable[[str], Brain], last: int, other: Brain, by: str | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Differences:  # fmt: skip
    """What the newest decisions would have been under `other`; writes nothing, keeps one page. QuestionError for a
    name in `by` that nothing is called."""
    if by is not None:
        check_segment(other, by)
    tally = Tally(by)
    for page in pages(records, last):
        for stored in page:
            record = decode_record(stored.record)
            if record.asked.moment not in other.moments:
                tally.refuse(record.id, f"the moment `{record.asked.moment}` is not in release {other.release}")
                continue
            tally.add(Pair(brain_of(record.release), record, other, rebuild(other, record)))
        tell(len(page))
    return tally.found()


def check_segment(brain: Brain, by: str) -> None:
    """QuestionError when `by` is neither `moment` nor a feature of the release."""
    known = (*brain.views.names, "moment")
    if by not in known:
        near = get_close_matches(by, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(known))}"
        message = f"decisions cannot be split by `{by[:64]}`: it is no feature of the release; {hint}"
        raise QuestionError("unknown_feature", "by", message)


def pages(records: Records, last: int) -> Iterator[list[StoredDecision]]:
    """The newest decisions, page by page, the newest first."""
    before: str | None = None
    while last > 0:
        page = records.decisions(min(PAGE, last), before=before)
        if not page:
            return
        yield page
        last -= len(page)
        before = page[-1].id


def rebuild(brain: Brain, record: DecisionRecord) -> DecisionRecord:
    """The record as the kernel makes it now from what was asked, seen and measured then.

    A model of another release that fails where the recorded one did not is replaced by priors, as it would be live.
    """
    try:
        result = run(brain, record.asked, record.seen, record.id, RecordedProbe(record.faults))
    except ScoreFailed:
        failed = RecordedProbe((*record.faults, "score:failed"))
        result = run(brain, record.asked, record.seen, record.id, failed)
    return msgspec.structs.replace(record, result=result, release=brain.release)


def first_difference(old: bytes, new: bytes) -> str:
    """The first field of two records that differs, with both values."""
    one, other = msgspec.msgpack.decode(old), msgspec.msgpack.decode(new)
    path = _differs(one, other, "")
    return "the bytes differ in form, not in content" if path is None else path


def _replayed(
    records: Records, brain_of: Callable[[str], Brain], stored: StoredDecision, release: str | None
) -> Replayed:
    # 2. check
    if release is None and (broken := _commitment_broken(records, stored)) is not None:
        return Replayed(stored.id, False, broken)
    # 3. run and 4. compare
    record = decode_record(stored.record)
    again = rebuild(brain_of(release or record.release), record)
    encoded = encode_record(again)
    if encoded == stored.record:
        return Replayed(stored.id, True)
    return Replayed(stored.id, False, first_difference(stored.record, encoded))


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
