"""The life of an artefact in the registry: proposed, validated, approved by people, released, retired.

1. propose: its bytes go to the shelf under their hash; who made it waits beside them until a writer takes it in
2. validate: every gate of its description has passed, by the figures that the card holds
3. approve: people with the right role, none of whom made it; two of them where the risk is high
4. release: `govern` asks `unreleasable` before it makes or promotes a release
5. end: refused or retired by a person, voided when its bytes are not what they were

Every step is an event in the record and an entry in the ledger, in one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from opportune.core.catalog import Risk
from opportune.core.customers import REGION_SUBJECT
from opportune.core.ledger import commitment, entry
from opportune.core.models import Scorecard, card_hash, decode_card, encode_card
from opportune.core.playbook import ModelSpec, Playbook, Role
from opportune.core.registry import (
    APPROVING,
    REFERENCE_MIN,
    STOPPING,
    EventKind,
    ModelEvent,
    Proposal,
    RegistryError,
    Standing,
    decode_proposal,
    encode_proposal,
    fold,
    out_of_turn,
    spans_of,
    unmet_gates,
)
from opportune.core.releases import decode_manifest, release_hash
from opportune.ports import Clock, Records, Shelf, ShelfError, Transaction, Vault

CARDS = "models"
PROPOSALS = "proposals"
People = Mapping[str, Sequence[Role]]

_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Registry:
    """The artefacts of one region. Reading needs no right to write; `take_in` and everything after it does."""

    def __init__(self, records: Records, vault: Vault, clock: Clock, region: str, shelf: Shelf) -> None:
        self._records, self._vault, self._clock, self._region = records, vault, clock, region
        self.shelf = shelf
        self._carried: dict[str, tuple[str, ...]] = {}
        self._proposals: dict[str, Proposal] = {}

    # Coming in

    def offer(
        self, card: Scorecard, by: str, spec: ModelSpec | None = None, *, source: str = "trained", reason: str = ""
    ) -> str:
        """Step 1 without the right to write: the artefact's hash. It is proposed once a writer takes it in."""
        if _ACTOR.fullmatch(by) is None:
            raise RegistryError("person", f"`{by}` cannot be a name here: letters, digits, `_`, `.` and `-`", "by")
        name = self.shelf.put(CARDS, encode_card(card))
        event = ModelEvent(
            self._clock.new_id(), self._clock.now_ms(), name, card.model, "proposed", by, reason,
            "low" if spec is None else spec.risk, {"source": source, "data_hash": card.training.data_hash},
        )  # fmt: skip
        self.shelf.put(PROPOSALS, encode_proposal(Proposal(event, spec)))
        return name

    def propose(
        self, card: Scorecard, by: str, spec: ModelSpec | None = None, *, source: str = "trained", reason: str = ""
    ) -> Standing:
        """Steps 1 and 2: on the shelf and in the record. What was proposed already stays as it stands."""
        name = self.offer(card, by, spec, source=source, reason=reason)
        self.take_in()
        return self.standing(name)

    def take_in(self) -> tuple[str, ...]:
        """Steps 1 and 2 for every proposal that waits; the hashes of those that were new. An artefact that was
        altered meanwhile stays where it is, and one that was approved loses its approval."""
        for standing in self.every():
            if standing.validated_ms is not None and standing.ended is None:
                self._void_if_altered(standing)
        found = []
        for proposal in self._waiting():
            try:
                card = self.card(proposal.event.card)
            except (ShelfError, ValueError):
                continue
            name, model = proposal.event.card, proposal.event.model
            events = [proposal.event]
            if not unmet_gates(card, proposal.spec):
                events.append(self._event(name, model, "validated", "gates"))
            if self._records.run(partial(self._write_all, events=events)):
                found.append(name)
        return tuple(found)

    # What people decide

    def approve(self, card: str, by: str, people: People, reason: str) -> Standing:
        """Step 3. RegistryError says who may, or what is missing; an altered artefact is voided instead."""
        return self._decide(card, "approved", by, people, reason)

    def refuse(self, card: str, by: str, people: People, reason: str) -> Standing:
        """Step 5: no release may hold it from now on; what is live stays live until another takes its place."""
        return self._decide(card, "refused", by, people, reason)

    def retire(self, card: str, by: str, people: People, reason: str) -> Standing:
        """Step 5, for one that served well: not while it is live."""
        return self._decide(card, "retired", by, people, reason)

    def _decide(self, card: str, kind: EventKind, by: str, people: People, reason: str) -> Standing:
        self.take_in()
        held = _role_of(by, people, APPROVING if kind == "approved" else STOPPING)
        if kind == "approved":
            self._approved(card)
        live = self.standing(card).live
        event = self._event(card, self.standing(card).model, kind, by, reason.strip(), {"role": held})

        def work(tx: Transaction) -> None:
            why = out_of_turn(fold(card, tx.model_events(card), live), event)
            if why is not None:
                raise why
            self._write(tx, event)

        self._records.run(work)
        return self.standing(card)

    def _void_if_altered(self, standing: Standing) -> None:
        """An artefact whose bytes are not what they were loses every approval, on the record."""
        try:
            self.shelf.get(CARDS, standing.card)
        except ShelfError as error:
            if error.altered:
                event = self._event(standing.card, standing.model, "voided", "registry", "its file was altered")
                self._records.run(lambda tx: self._write(tx, event))

    # Reading

    def card(self, name: str) -> Scorecard:
        """An artefact whose bytes are what its name says; ShelfError or ModelError for any other."""
        return decode_card(self.shelf.get(CARDS, name))

    def standing(self, card: str) -> Standing:
        """Where an artefact stands; one that waits to be taken in counts as proposed."""
        waiting = [one.event for one in self._waiting() if one.event.card == card]
        return self._folded(card, [*self._records.model_events(card), *waiting])

    def every(self) -> list[Standing]:
        """Every artefact, the newest proposed first."""
        events: dict[str, list[ModelEvent]] = {}
        for event in (*self._records.model_events(), *(one.event for one in self._waiting())):
            events.setdefault(event.card, []).append(event)
        found = [self._folded(card, mine) for card, mine in events.items()]
        return sorted(found, key=lambda one: (one.proposed_ms or 0, one.card), reverse=True)

    def history(self, card: str) -> list[ModelEvent]:
        """What happened to an artefact, the oldest first, with what waits to be taken in."""
        waiting = [one.event for one in self._waiting() if one.event.card == card]
        return [*self._records.model_events(card), *waiting]

    def named(self, reference: str, *, open_: bool = False) -> str:
        """The hash of the artefact that is meant: by hash, its beginning, `model@beginning`, or the model's newest.

        With `open_`, the newest that still waits for an approval is meant by a model's name, if there is one.
        """
        every = self.every()
        name = reference.rpartition("@")[2]
        if len(name) >= REFERENCE_MIN:
            begins = [one.card for one in every if one.card.startswith(name)]
            if len(begins) == 1:
                return begins[0]
            if begins:
                message = f"`{reference}` is the beginning of {len(begins)} models: give more of it"
                raise RegistryError("unknown", message)
        mine = [one for one in every if one.model == reference]
        waits = [one.card for one in mine if one.stage in ("proposed", "validated")] if open_ else []
        if not mine:
            models = ", ".join(dict.fromkeys(f"`{one.model}`" for one in every)) or "none"
            message = f"no model is called `{reference}`: the registry has {models}; see `opportune models`"
            raise RegistryError("unknown", message)
        return (waits or [one.card for one in mine])[0]

    def releasable(self, playbook: Playbook, other_than: Collection[str] = ()) -> list[Scorecard]:
        """The newest artefact of each model of a playbook that a release of it may hold, in the playbook's order.

        RegistryError `altered` when its file is not what was approved; a file that is gone is passed over.
        """
        every = self.every()
        found = {}
        for spec in playbook.models:
            for standing in () if spec.model in other_than or spec.validates is not None else every:
                if standing.model == spec.model and standing.releasable(spec.risk):
                    card = self._approved(standing.card)
                    if card is not None and not unmet_gates(card, spec):
                        found[spec.model] = card
                        break
        return [found[spec.model] for spec in playbook.models if spec.model in found]

    def newest_passed(self, model: str) -> Scorecard | None:
        """The newest artefact of a model that passed its gates and was not refused or retired, whoever approved it."""
        for standing in self.every():
            if standing.model == model and standing.ended is None and self.passed(standing.card):
                return self.card(standing.card)
        return None

    def _approved(self, card: str) -> Scorecard | None:
        try:
            return self.card(card)
        except ShelfError as error:
            if error.altered:
                raise RegistryError("altered", str(error)) from None
            return None

    def left_out(self, playbook: Playbook, held: Sequence[Scorecard]) -> list[tuple[Standing, str]]:
        """The newest artefact of each model of a playbook that is not among those held, and why it may not be."""
        names = {card_hash(card) for card in held}
        found = []
        for spec in playbook.models:
            newest = next((one for one in self.every() if one.model == spec.model), None)
            if spec.validates is not None or newest is None or newest.card in names or newest.stage == "retired":
                continue
            try:
                why = unreleasable([self.card(newest.card)], playbook, self.history, was_live=False)
            except (ShelfError, ValueError) as error:
                why = str(error)
            found.append((newest, why or "another one was asked for"))
        return found

    def waiting_for_people(self, playbook: Playbook) -> list[Standing]:
        """The newest artefact of each model that passed its gates and that nobody has decided on yet."""
        found = []
        for spec in playbook.models:
            mine = [one for one in self.every() if one.model == spec.model]
            if mine and mine[0].stage in ("validated", "proposed") and self.passed(mine[0].card):
                found.append(mine[0])
        return found

    def passed(self, card: str) -> bool:
        """Whether an artefact has passed its gates, also when a writer has not taken it in yet."""
        standing = self.standing(card)
        if standing.validated_ms is not None:
            return True
        waiting = [one for one in self._waiting() if one.event.card == card]
        return any(not unmet_gates(self.card(card), one.spec) for one in waiting)

    def _folded(self, card: str, events: Sequence[ModelEvent]) -> Standing:
        return fold(card, events, spans_of(card, self._records.live_history(), self._cards_of_releases()))

    def _cards_of_releases(self) -> Mapping[str, Sequence[str]]:
        """The hashes of the artefacts in every release that was live."""
        for hash_ in {one[1] for one in self._records.live_history()} - self._carried.keys():
            stored = self._records.release(hash_)
            whole = stored is not None and release_hash(stored.manifest) == hash_
            cards = decode_manifest(stored.manifest).cards if stored is not None and whole else ()
            self._carried[hash_] = tuple(card_hash(card) for card in cards)
        return self._carried

    def _waiting(self) -> list[Proposal]:
        """Proposals on the shelf that would change the record, the oldest first."""
        written: dict[str, list[ModelEvent]] = {}
        for event in self._records.model_events():
            written.setdefault(event.card, []).append(event)
        found = []
        for name in self.shelf.names(PROPOSALS):
            proposal = self._proposal(name)
            if proposal is not None:
                card = proposal.event.card
                if out_of_turn(fold(card, written.get(card, ())), proposal.event) is None:
                    found.append(proposal)
        return sorted(found, key=lambda one: (one.event.at_ms, one.event.id))

    def _proposal(self, name: str) -> Proposal | None:
        """None for one that was altered or cannot be read: it is nobody's."""
        if name not in self._proposals:
            try:
                self._proposals[name] = decode_proposal(self.shelf.get(PROPOSALS, name))
            except (ShelfError, RegistryError):
                return None
        return self._proposals[name]

    # Writing

    def _event(
        self, card: str, model: str, kind: EventKind, actor: str, reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> ModelEvent:  # fmt: skip
        risk, at_ms = self.standing(card).risk, self._clock.now_ms()
        return ModelEvent(self._clock.new_id(), at_ms, card, model, kind, actor, reason, risk, details or {})

    def _write_all(self, tx: Transaction, events: Sequence[ModelEvent]) -> bool:
        """All or, when the first is out of turn, none."""
        return all(self._write(tx, event) for event in events)

    def _write(self, tx: Transaction, event: ModelEvent) -> bool:
        """The event and its ledger entry, unless it is out of turn."""
        if out_of_turn(fold(event.card, tx.model_events(event.card)), event) is not None:
            return False
        tx.put_model_event(event)
        salt = self._vault.commit_salt(f"model/{event.id}", REGION_SUBJECT)
        tx.append_leaf(
            entry(
                entry_id=f"model-{event.id}", ts_ms=event.at_ms, kind="model", region=self._region, actor=event.actor,
                commit=commitment(salt, event.reason.encode()),
                codes={"step": event.kind, "card": event.card, "model": event.model, "risk": event.risk},
            )
        )
        return True


def _role_of(by: str, people: People, allowed: frozenset[Role]) -> str:
    """The role in which somebody acts; RegistryError for a person nobody knows, or one who may not."""
    if by not in people:
        known = ", ".join(f"`{one}`" for one in people) or "nobody"
        raise RegistryError(
            "person", f"`{by}` is not under `people` of opportune.yaml, which has {known}: add them, with "
            f"{' or '.join(sorted(allowed))} among their roles", "by"
        )  # fmt: skip
    held = next((role for role in people[by] if role in allowed), None)
    if held is None:
        mine = ", ".join(people[by]) or "none"
        raise RegistryError(
            "role", f"`{by}` may not do this: it takes {' or '.join(sorted(allowed))}, and the roles of `{by}` under "
            f"`people` of opportune.yaml are {mine}", "by"
        )  # fmt: skip
    return held


def unreleasable(
    cards: Sequence[Scorecard], playbook: Playbook, events_of: Callable[[str], Sequence[ModelEvent]], *, was_live: bool
) -> str | None:
    """Why a release may not hold these cards, and what to run; None when it may.

    What was live before may be live again, unless a person has refused it since.
    """
    specs = {spec.model: spec for spec in playbook.models}
    for card in cards:
        name = card_hash(card)
        standing = fold(name, events_of(name))
        said = f"model `{card.model}` ({name[:12]})"
        if standing.ended is not None and standing.ended.kind == "refused":
            return (
                f"{said} was refused by `{standing.ended.actor}` ({standing.ended.reason}) and cannot be released: "
                "train another, or promote a release without it"
            )
        if was_live:
            continue
        spec = specs.get(card.model)
        unmet = unmet_gates(card, spec)
        if unmet:
            return f"{said} does not pass its gates and cannot be released: {'; '.join(unmet)}"
        risk: Risk = "low" if spec is None else spec.risk
        if not standing.releasable(risk):
            return f"{said} is not approved and cannot be released: {_missing(standing, risk)}"
    return None


def _missing(standing: Standing, risk: Risk) -> str:
    """What has to happen before it may be released."""
    ref = standing.card[:12]
    if standing.stage == "unknown":
        return "nobody has proposed it; `opportune train` does, and so does `opportune models import FILE --by PERSON`"
    if standing.ended is not None:
        return f"it is {standing.stage} ({standing.ended.reason}); train it again, or import it and have it approved"
    lacking = standing.needed(risk) - len(standing.approvals)
    who = "a person" if lacking == 1 else f"{lacking} different people"
    if standing.approvals:
        who = f"{lacking} more, other than {', '.join(f'`{one.by}`' for one in standing.approvals)},"
    return f"{who} must run `opportune approve {ref} --by PERSON --reason TEXT` (none of them its author)"
