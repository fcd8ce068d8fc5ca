"""Reservations: what a decision takes of everybody's attention and money, and how that is settled or given back.

1. room: what is left of the limits over everybody, read at the snapshot and again at the commit
2. reserve: contacts of the person and the account, and holds on the counters, in the decision's own transaction
3. move: delivered, seen or released; what a reservation held is settled once, with the person's contact
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from opportune.core.catalog import Candidate
from opportune.core.contacts import (
    Tally,
    TallyOf,
    VolumeRule,
    hold_end_ms,
    holding,
    holds_of,
    room_of,
    settled,
    used_at,
    with_contacts,
    with_state,
)
from opportune.core.customers import Account, Contact, ContactState, Hold, Person
from opportune.core.decisions.answers import granted_until_ms
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord
from opportune.flows.identify import lives_on
from opportune.ports import Action, StoredDecision, Transaction


def room_now(brain: Brain, tally_of: TallyOf, now_ms: int) -> Mapping[str, float]:
    """Step 1, at the snapshot: what is left of each limit over everybody that is nearly used up."""
    return room_of(brain.volumes, tally_of, now_ms) if brain.volumes else {}


def has_room(tx: Transaction, brain: Brain, record: DecisionRecord) -> bool:
    """Step 1, at the commit: is there still room for what was chosen? Only its counters are looked at.

    INVARIANT: others may have taken it since the snapshot; nobody takes it between this and the commit. A decision
    that waited for so long that the counters no longer know its time is made again.
    """
    if not brain.volumes:
        return True
    wanted: dict[str, int] = {}
    at_ms = record.seen.at_ms
    for candidate in _chosen(brain, record):
        for rule, id_, units in _takes(brain, candidate):
            wanted[id_] = wanted.get(id_, 0) + units
            tally = tx.tally(id_)
            if tally is not None and tally.since_ms > at_ms:
                return False
            if used_at(tally, rule.per_ms, at_ms) + wanted[id_] > rule.at_most:
                return False
    return True


def reserve(
    tx: Transaction, brain: Brain, record: DecisionRecord, person: Person, account: Account | None
) -> None:
    """Step 2. Does nothing for a decision that offers nothing."""
    chosen = _chosen(brain, record)
    if not chosen:
        return
    at_ms, channel = record.seen.at_ms, chosen[0].channel.channel
    expires_ms = granted_until_ms(brain, record, channel)
    made = tuple(Contact(record.id, one.offer.offer, channel, at_ms, expires_ms) for one in chosen)
    replace = msgspec.structs.replace
    if account is not None:
        contacts = with_contacts(account.contacts, made, brain.limits, brain.contact_keep_ms)
        tx.put_account(replace(account, contacts=contacts, guard=account.guard + 1))
    if brain.volumes:
        end_ms = hold_end_ms(expires_ms, brain.grant_ttl_ms[channel])
        # The person's contact alone says what is held: it is settled once, whoever the account is by then.
        made = tuple(
            replace(contact, holds=tuple(_held(tx, brain, one, end_ms, at_ms)))
            for one, contact in zip(chosen, made, strict=True)
        )
    contacts = with_contacts(person.contacts, made, brain.limits, brain.contact_keep_ms)
    tx.put_person(replace(person, contacts=contacts, guard=person.guard + 1))
    if brain.channels[channel].delivery == "outbox":
        offer = chosen[0].offer
        tx.put_action(
            Action(
                record.id, at_ms, person.id, None if account is None else account.id, channel, offer.offer,
                offer.purpose, at_ms, expires_ms,
            )
        )  # fmt: skip


def move_contact(
    tx: Transaction, decision: StoredDecision, state: ContactState, now_ms: int, offer: str | None = None,
    at_ms: int | None = None,
) -> None:  # fmt: skip
    """Step 3: moves what a decision reserved (for one of its offers, or all of them), of the person, of the account
    and of the counters for everybody. `at_ms` is when it happened, if that was not now.

    What arrives after the reservation ran out counts all the same: the customer was contacted.
    """
    if decision.disposition != "offered":
        return
    at_ms = now_ms if at_ms is None else min(at_ms, now_ms)
    replace = msgspec.structs.replace
    person = lives_on(tx.person, decision.customer)
    if person is not None:
        contacts = with_state(person.contacts, decision.id, state, offer, at_ms)
        if contacts != person.contacts:
            reached_ms = None if state == "released" else at_ms
            for hold in holds_of(person.contacts, decision.id, offer):
                _settle(tx, hold, now_ms, reached_ms)
            tx.put_person(replace(person, contacts=contacts, guard=person.guard + 1))
    account = None if decision.account is None else tx.account(decision.account)
    if account is not None:
        contacts = with_state(account.contacts, decision.id, state, offer, at_ms)
        if contacts != account.contacts:
            tx.put_account(replace(account, contacts=contacts, guard=account.guard + 1))


def room_without(brain: Brain, tally_of: TallyOf, now_ms: int, holds: tuple[Hold, ...]) -> Mapping[str, float]:
    """What is left for somebody whose own reservation does not count against them."""
    if not brain.volumes:
        return {}
    own = {hold.tally: hold for hold in holds}

    def without(id_: str) -> Tally | None:
        tally, hold = tally_of(id_), own.get(id_)
        return tally if tally is None or hold is None else settled(tally, hold.end_ms, hold.units, now_ms, None)

    return room_of(brain.volumes, without, now_ms)


def _chosen(brain: Brain, record: DecisionRecord) -> tuple[Candidate, ...]:
    """The candidates that a decision offers: the first, then those of its slate."""
    result = record.result
    if result.disposition != "offered" or result.offer is None or result.channel is None:
        return ()
    offers = (result.offer, *(pick.offer for pick in result.slate))
    return tuple(_candidate(brain, offer, result.channel) for offer in offers)


def _candidate(brain: Brain, offer: str, channel: str) -> Candidate:
    return brain.candidates[(brain.offer_masks[offer] & brain.channel_masks[channel]).bit_length() - 1]


def _takes(brain: Brain, candidate: Candidate) -> Iterator[tuple[VolumeRule, str, int]]:
    """(limit, tally, units) of everything that a contact with this candidate takes."""
    for rule in brain.volumes:
        if units := rule.units_of(candidate.index):
            yield rule, rule.part_of(candidate.offer.offer)[1], units


def _held(tx: Transaction, brain: Brain, candidate: Candidate, end_ms: int, now_ms: int) -> Iterator[Hold]:
    for rule, id_, units in _takes(brain, candidate):
        tx.put_tally(holding(tx.tally(id_), id_, rule.per_ms, end_ms, units, now_ms))
        yield Hold(id_, end_ms, units)


def _settle(tx: Transaction, hold: Hold, now_ms: int, delivered_ms: int | None) -> None:
    tally = tx.tally(hold.tally)
    if tally is not None:
        tx.put_tally(settled(tally, hold.end_ms, hold.units, now_ms, delivered_ms))
