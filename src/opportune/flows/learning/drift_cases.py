"""What follows from drift: falling back at once, and retraining that waits for people; each step is kept when done.

- **fall back**: a release with the earlier artefact of the model, or without the model where it had none, is made and
  promoted by `drift`; rolling back undoes it.
- **retrain**: a person approves the case; the model is trained; its artefact waits in the registry for its own
  approval; the case is done when a release that holds it is live.

Every step looks first at what is there, so that one that was interrupted is taken up again and one that was done is
not done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from opportune.core.customers import REGION_SUBJECT
from opportune.core.drift.cases import CaseError, DriftCase, Status, advanced, decode_case
from opportune.core.ledger import commitment, entry
from opportune.core.models import LearnError, ModelError, Scorecard, card_hash
from opportune.core.playbook import Role
from opportune.core.registry import RegistryError
from opportune.core.releases import ReleaseError, decode_manifest
from opportune.flows.govern import GovernError
from opportune.flows.learning.drift import Drift, stored_case
from opportune.flows.region import Region
from opportune.ports import ShelfError, Transaction

DECIDING: frozenset[Role] = frozenset({"model_owner", "model_approver", "compliance"})
"""Who may say that a model is to be trained again."""
ACTOR = "drift"
_REFUSALS = (GovernError, ReleaseError, ModelError, RegistryError, ShelfError)


class Retrained(msgspec.Struct, frozen=True):
    """What training gave: the artefact's hash, and why its gates were not passed where they were not."""

    artefact: str
    failed: str = ""


Retrain = Callable[[str], Retrained]
"""Trains a model of the playbook by its name and puts the artefact into the registry; LearnError when it cannot."""


def decide(region: Region, id_: str, *, approve: bool, by: str, why: str) -> DriftCase:
    """A person's answer to a case; CaseError says who may, or what the case waits for."""
    people = region.releases.live().playbook.app.people
    _allowed(by, people)
    return _advance(region, id_, "approved" if approve else "refused", by, why)


def retrain(region: Region, id_: str, train: Retrain) -> DriftCase:
    """Trains for an approved case. What cannot be trained, or fails a gate, leaves the case `failed`, with why."""
    case = case_named(region, id_)
    if case.status != "approved":
        return _advance(region, id_, "trained", ACTOR, "trained")
    try:
        found = train(case.model)
    except LearnError as error:
        return _advance(region, id_, "failed", ACTOR, str(error))
    if found.failed:
        return _advance(region, id_, "failed", ACTOR, found.failed, artefact=found.artefact)
    return _advance(region, id_, "trained", ACTOR, "its gates are passed", artefact=found.artefact)


def follow(region: Region, drift: Drift) -> list[DriftCase]:
    """Everything that needs no person: falls back, and closes cases whose artefact is live; the cases that moved."""
    moved = []
    for case in drift.cases():
        if case.status == "falling_back":
            moved.append(_fall_back(region, case))
        elif case.status == "trained" and (release := _live_with(region, case.artefact)):
            moved.append(_advance(region, case.id, "done", ACTOR, f"release {release} is live", release=release))
    return moved


def approved_cases(drift: Drift) -> list[DriftCase]:
    """Cases that wait for training, the oldest first."""
    return drift.cases(status="approved")[::-1]


def waiting_cases(drift: Drift) -> list[DriftCase]:
    """Cases that wait for a person's decision, the newest first."""
    return [case for case in drift.cases() if case.status in ("proposed", "failed", "stuck")]


def case_named(region: Region, id_: str) -> DriftCase:
    """The case with this id, or whose id begins so; CaseError for none or several."""
    every = [decode_case(one.body) for one in region.records.drift("case", 10_000)]
    found = [case for case in every if case.id == id_] or [case for case in every if case.id.startswith(id_)]
    if len(found) != 1:
        known = ", ".join(f"`{case.id}`" for case in every[:10]) or "none"
        word = "no case is" if not found else "several cases are"
        raise CaseError("unknown", f"{word} called `{id_}`: there are {known}")
    return found[0]


def _fall_back(region: Region, case: DriftCase) -> DriftCase:
    """Makes live what was before the card, unless that has happened already."""
    why = f"drift of model {case.model}: {'; '.join(case.words)}"[:900]
    live = region.releases.live()
    if case.card not in {card_hash(card) for card in live.cards}:
        return _advance(region, case.id, "fallen_back", ACTOR, f"release {live.hash} is live", release=live.hash)
    last = "nothing that was live before may take its place"
    for cards, named in _instead(region, live.cards, case):
        try:
            made = region.release(live.playbook, cards, f"falls back after drift of {case.model}: {named}")
            region.promote(made.hash, ACTOR, why, backfill=False)
        except _REFUSALS as error:
            last = str(error)
            continue
        return _advance(region, case.id, "fallen_back", ACTOR, f"{named} is live", release=made.hash)
    return _advance(region, case.id, "stuck", ACTOR, last)


def _instead(
    region: Region, live: Sequence[Scorecard], case: DriftCase
) -> Iterator[tuple[tuple[Scorecard, ...], str]]:
    """What may take the card's place, the best first: its model's earlier artefacts that were live, then none."""
    tried = {case.card}
    for _, hash_, _, _ in region.records.live_history():
        stored = region.records.release(hash_)
        for card in () if stored is None else decode_manifest(stored.manifest).cards:
            name = card_hash(card)
            if card.model == case.model and name not in tried:
                tried.add(name)
                yield tuple(card if card_hash(one) == case.card else one for one in live), f"artefact {name[:12]}"
    yield tuple(one for one in live if card_hash(one) != case.card), "the owners' priors, without the model"


def _live_with(region: Region, artefact: str) -> str:
    """The live release when it holds this artefact; else empty."""
    live = region.releases.live()
    return live.hash if artefact and any(card_hash(card) == artefact for card in live.cards) else ""


def _advance(
    region: Region, id_: str, status: Status, by: str, why: str, *, artefact: str | None = None,
    release: str | None = None,
) -> DriftCase:  # fmt: skip
    """One step of a case with its ledger entry, as it stands when it is written."""
    id_ = case_named(region, id_).id
    at_ms = region.clock.now_ms()

    def work(tx: Transaction) -> DriftCase:
        stored = tx.drift(id_)
        assert stored is not None
        case = advanced(decode_case(stored.body), status, at_ms, by, why, artefact=artefact, release=release)
        tx.put_drift(stored_case(case))
        salt = region.vault.commit_salt(f"drift-case/{id_}/{len(case.steps)}", REGION_SUBJECT)
        tx.append_leaf(
            entry(
                entry_id=f"{id_}-{len(case.steps)}", ts_ms=at_ms, kind="drift_case", region=region.name, actor=by,
                commit=commitment(salt, why.encode()),
                codes={"case": id_, "step": status, "model": case.model, "card": case.card},
            )
        )
        return case

    return region.records.run(work)


def _allowed(by: str, people: Mapping[str, Sequence[Role]]) -> None:
    roles = " or ".join(sorted(DECIDING))
    if by not in people:
        known = ", ".join(f"`{one}`" for one in people) or "nobody"
        raise CaseError(
            "person", f"`{by}` is not under `people` of the live release's opportune.yaml, which has {known}: "
            f"add them, with {roles} among their roles"
        )
    if not DECIDING & set(people[by]):
        raise CaseError("person", f"`{by}` may not decide this: it takes {roles}")
