"""What if: a past decision, or a customer as they are now, with something changed; and what would have flipped it.

1. read the recorded decision, or look at the customer as a preview does
2. decide again with what is supposed, under the same release or another
3. lay both answers beside each other; nothing is written, reserved or counted
"""

from __future__ import annotations

from collections.abc import Callable

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.flips import Flip, Flips
from opportune.core.decisions.questions import Question, QuestionError
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.decisions.whatif import Supposed, WhatIf, faults_left, what_if
from opportune.flows.probes import RecordedProbe
from opportune.flows.region import Region
from opportune.flows.replay import UnknownDecision
from opportune.ports import Records

FLIPS_MAX = 200
"""Candidates searched for one answer; name one for more."""



def what_if_decided(region: Region, id_: str, supposed: Supposed) -> WhatIf:
    """A recorded decision with what is supposed; raises UnknownDecision, QuestionError, LookupError for a release."""
    # 1. read
    return beside(region.releases.brain_of, record_of(region.records, id_), supposed)


def what_if_now(region: Region, question: Question, supposed: Supposed) -> WhatIf:
    """What a customer would be answered now, beside what they would be with what is supposed."""
    # 1. look
    return beside(region.releases.brain_of, region.decide.previewed(question), supposed)


def flips_of(region: Region, id_: str, candidate: str | None = None) -> tuple[Flip, ...]:
    """The smallest change that would have made each losing candidate of a decision win, or just one candidate.

    Raises UnknownDecision; QuestionError for a candidate that the decision's release does not have.
    """
    record = record_of(region.records, id_)
    return flips_in(Flips(region.releases.brain_of(record.release)), record, candidate)


def flips_in(flips: Flips, record: DecisionRecord, candidate: str | None = None) -> tuple[Flip, ...]:
    """Likewise for a record in hand; without a candidate those that are nearest, FLIPS_MAX at most."""
    brain, result = flips.brain, record.result
    if candidate is not None:
        if candidate not in brain.by_id:
            message = f"no candidate is called `{candidate[:128]}` in release {record.release}: write offer@channel"
            raise QuestionError("unknown_candidate", "candidate", message)
        return (flips.of(record, candidate),)
    won = result.would or f"{result.offer}@{result.channel}"
    asked = brain.mask_of(record.asked.channels)
    losing = [one for one in brain.candidates if one.id != won]
    losing.sort(key=lambda one: (not asked >> one.index & 1, one.index))
    return tuple(flips.of(record, one.id) for one in losing[:FLIPS_MAX])


def record_of(records: Records, id_: str) -> DecisionRecord:
    """The record of a decision; UnknownDecision when there is none of this id."""
    stored = records.decision(id_)
    if stored is None:
        raise UnknownDecision(id_)
    return decode_record(stored.record)


def beside(brain_of: Callable[[str], Brain], record: DecisionRecord, supposed: Supposed) -> WhatIf:
    """A record's decision and what it would be with what is supposed."""
    # 2. decide again and 3. lay beside each other
    brain = brain_of(record.release)
    other = brain if supposed.release is None else brain_of(supposed.release)
    return what_if(brain, record, other, supposed, RecordedProbe(faults_left(record, supposed)))
