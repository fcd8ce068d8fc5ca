"""Learning from people: their answers with what came of them, how right each was, and the rules they speak for.

1. read every answer from the signal log, and the decision it is about
2. join what the customer then did
3. compare: each person's overrides and confidence with what happened
4. propose: rules for what is overridden again and again
5. accept or refuse: a person says so; a rule that is accepted is a file for the playbook, compiled and counted first
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.feedback import (
    FEEDBACK_SIGNAL,
    FeedbackError,
    Person,
    RuleProposal,
    Said,
    people,
    policy_of,
    rule_proposals,
    yaml_of,
)
from opportune.core.ledger import entry
from opportune.core.playbook import Playbook
from opportune.core.releases import compile_release, encode_manifest
from opportune.flows.answer import SOURCE, reasons_of
from opportune.flows.region import Region
from opportune.flows.replay import pages, rebuild
from opportune.ports import StoredDecision, Transaction

ACCEPTED = frozenset({"accepted", "converted"})
ANSWERED = frozenset({"accepted", "converted", "declined", "dismissed"})
KEPT_AT = "feedback/proposal/"
"""Where the record keeps what became of a proposal."""


class ReasonCount(msgspec.Struct, frozen=True):
    """How often a reason of the catalog was given, by verdict."""

    reason: str
    title: str
    suggests: str
    given: Mapping[str, int]


class Standing(msgspec.Struct, frozen=True):
    """What a person decided about a proposal, and why."""

    status: Literal["open", "accepted", "refused"] = "open"
    by: str = ""
    why: str = ""
    at_ms: int = 0


class Proposed(msgspec.Struct, frozen=True):
    """A proposal with what became of it; `yaml` is the policy file it would be."""

    proposal: RuleProposal
    standing: Standing
    yaml: str


class Tried(msgspec.Struct, frozen=True):
    """What a proposal would have changed: of `decisions`, `changed` would be answered otherwise."""

    decisions: int
    changed: int


def answers(region: Region) -> list[Said]:
    """Steps 1 and 2: everything people said, in the order of the log."""
    found = []
    release = region.releases.live()
    for stored in region.records.signals():
        # What a sender says under this type is a fact for features; an answer is only what `flows.answer` wrote.
        if stored.signal.type == FEEDBACK_SIGNAL and stored.signal.source == SOURCE:
            data = stored.signal.data
            decision = region.records.decision(str(data.get("decision", "")))
            if decision is not None:
                found.append(_said(region, decision, data, stored.signal.at_ms, release.views.names))
    return found


def _said(
    region: Region, decision: StoredDecision, data: Mapping[str, Any], at_ms: int, names: tuple[str, ...]
) -> Said:
    record = decode_record(decision.record)
    kinds = {outcome.kind for outcome in region.records.outcomes(decision.id)}
    verdict = str(data.get("verdict", ""))
    known = verdict in ("approve", "change") and bool(kinds & ANSWERED)
    confidence = data.get("confidence")
    return Said(
        decision.id, at_ms, str(data.get("by", "")), verdict,  # type: ignore[arg-type]  # written by flows.answer alone
        tuple(map(str, data.get("reasons", ()))), str(data.get("offer", "")),
        {name: record.seen.features.get(name) for name in names},
        _expected(region, record), float(confidence) if isinstance(confidence, int | float) else None,
        bool(kinds & ACCEPTED) if known else None,
    )  # fmt: skip


def _expected(region: Region, record: DecisionRecord) -> float | None:
    """The acceptance that the decision predicted for what it chose."""
    try:
        brain = region.releases.brain_of(record.release)
    except LookupError:
        return None
    scored = record.result.scored
    if record.result.offer not in brain.offers:
        return None
    place = brain.offers.index(str(record.result.offer))
    return scored.p_accept[scored.offers.index(place)] if place in scored.offers else None


def reason_counts(region: Region, said: list[Said] | None = None) -> tuple[ReasonCount, ...]:
    """How often each reason of the live catalog was given."""
    said = answers(region) if said is None else said
    found = []
    for one in reasons_of(region.releases.live()):
        given: dict[str, int] = {}
        for answer in said:
            if one.reason in answer.reasons:
                given[answer.verdict] = given.get(answer.verdict, 0) + 1
        found.append(ReasonCount(one.reason, one.title, one.suggests, given))
    return tuple(found)


def people_of(region: Region) -> tuple[Person, ...]:
    """Step 3."""
    return people(answers(region))


def proposals_of(region: Region) -> tuple[Proposed, ...]:
    """Step 4, with what became of each; the same answers give the same proposals."""
    release = region.releases.live()
    found = rule_proposals(answers(region), reasons_of(release), release.views.types)
    return tuple(Proposed(one, _standing(region, one.id), yaml_of(one)) for one in found)


def proposal_named(region: Region, id_: str) -> Proposed:
    """The proposal with this id; FeedbackError when there is none now."""
    found = proposals_of(region)
    for one in found:
        if one.proposal.id == id_:
            return one
    known = ", ".join(one.proposal.id for one in found) or "none"
    raise FeedbackError("unknown_proposal", "id", f"no proposal is called `{id_[:64]}`: there are {known}")


def tried(
    region: Region, playbook: Playbook, proposal: RuleProposal, last: int,
    tell: Callable[[int], None] = lambda done: None,
) -> Tried:  # fmt: skip
    """Step 5: the playbook with the rule, compiled, over the newest decisions. Raises what does not compile."""
    cards = region.releases.live().cards
    # Models of the live release stay as they are: what is tried is the rule alone.
    used = tuple(card for card in cards if card.model in {spec.model for spec in playbook.models})
    with_rule = msgspec.structs.replace(playbook, policies=(*playbook.policies, policy_of(proposal)))
    before = compile_release(encode_manifest(playbook, used)).brain
    after = compile_release(encode_manifest(with_rule, used)).brain
    of = changed = 0
    for page in pages(region.records, last):
        for stored in page:
            record = decode_record(stored.record)
            if record.asked.moment in before.moments:
                of += 1
                one, other = rebuild(before, record).result, rebuild(after, record).result
                changed += (one.disposition, one.offer, one.channel) != (other.disposition, other.offer, other.channel)
        tell(len(page))
    return Tried(of, changed)


def settle(region: Region, id_: str, status: Literal["accepted", "refused"], by: str, why: str) -> Proposed:
    """Step 5: writes what a person decided about a proposal, with a ledger entry; FeedbackError where it cannot be."""
    found = proposal_named(region, id_)
    if found.standing.status == status:
        return found
    standing = Standing(status, by, why, region.clock.now_ms())
    leaf = entry(
        entry_id=region.clock.new_id(), ts_ms=standing.at_ms, kind="feedback_proposal", region=region.name,
        actor=by, codes={"proposal": id_, "status": status},
    )  # fmt: skip

    def write(tx: Transaction) -> None:
        tx.set_position(KEPT_AT + id_, msgspec.json.encode(standing).decode())
        tx.append_leaf(leaf)

    region.records.run(write)
    return msgspec.structs.replace(found, standing=standing)


def _standing(region: Region, id_: str) -> Standing:
    text = region.records.position(KEPT_AT + id_)
    return Standing() if text is None else msgspec.json.decode(text.encode(), type=Standing)
