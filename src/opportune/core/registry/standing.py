"""Where an artefact stands: its events folded, in order; what is not allowed changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from opportune.core.catalog import Risk
from opportune.core.registry.events import APPROVING, REASON_MAX, STOPPING, ModelEvent, RegistryError

Stage = Literal["unknown", "proposed", "validated", "approved", "live", "retired", "refused", "voided"]

NEEDED: Mapping[Risk, int] = {"low": 1, "medium": 1, "high": 2}
"""How many different people have to approve."""
RISKS: tuple[Risk, ...] = ("low", "medium", "high")


class Approval(msgspec.Struct, frozen=True):
    """Who approved, when, in which role and why."""

    by: str
    at_ms: int
    role: str
    reason: str


class Span(msgspec.Struct, frozen=True):
    """A time in which an artefact was live, with the release that held it; `to_ms` None: it still is."""

    release: str
    from_ms: int
    to_ms: int | None
    actor: str
    why: str


class Standing(msgspec.Struct, frozen=True):
    """An artefact as its events leave it.

    `authors` trained or proposed it and may not approve it. `approvals` are those that count. `ended` is the last
    refusal, retirement or voiding that still holds. `live` are the times in which it was live, the oldest first.
    """

    card: str
    model: str = ""
    risk: Risk = "low"
    proposed_ms: int | None = None
    authors: tuple[str, ...] = ()
    source: str = ""
    validated_ms: int | None = None
    approvals: tuple[Approval, ...] = ()
    ended: ModelEvent | None = None
    live: tuple[Span, ...] = ()

    @property
    def stage(self) -> Stage:
        """`retired` is what was live and is not any more, or was retired by somebody."""
        if self.live and self.live[-1].to_ms is None:
            return "live"
        if self.ended is not None:
            return "refused" if self.ended.kind == "refused" else "voided" if self.ended.kind == "voided" else "retired"
        if self.live:
            return "retired"
        if self.approved:
            return "approved"
        if self.validated_ms is not None:
            return "validated"
        return "unknown" if self.proposed_ms is None else "proposed"

    @property
    def approved(self) -> bool:
        """Whether enough people have approved, and nobody has refused, retired or voided it since."""
        return self.releasable(self.risk)

    def releasable(self, risk: Risk) -> bool:
        """Whether a release of a playbook that gives its model this risk may hold it."""
        return self.ended is None and self.validated_ms is not None and len(self.approvals) >= self.needed(risk)

    def needed(self, risk: Risk) -> int:
        """How many approvals it takes: by the higher of this risk and the one it was proposed with."""
        return NEEDED[higher(self.risk, risk)]


def higher(one: Risk, other: Risk) -> Risk:
    return max(one, other, key=RISKS.index)


def fold(card: str, events: Iterable[ModelEvent], live: Sequence[Span] = ()) -> Standing:
    """The standing of the artefact with this hash. Events of other artefacts, and those that are out of turn, change
    nothing: whatever their order, what was not validated and approved by enough people is not `approved`."""
    standing = Standing(card, live=tuple(live))
    for event in events:
        if event.card == card and out_of_turn(standing, event) is None:
            standing = _after(standing, event)
    return standing


def out_of_turn(standing: Standing, event: ModelEvent) -> RegistryError | None:
    """Why an event may not follow what is there; None when it may."""
    if event.kind == "proposed":
        return _not_proposed(standing, event)
    if standing.proposed_ms is None:
        return RegistryError(
            "unknown", f"`{event.card}` is no model in the registry: `opportune models import FILE --by PERSON`"
        )
    if event.kind == "voided":
        return None
    if event.kind == "validated":
        if standing.validated_ms is not None or standing.ended is not None:
            return RegistryError("stage", f"`{_named(standing)}` is {standing.stage}: it is not validated again")
        return None
    return _no_decision(standing, event)


def _not_proposed(standing: Standing, event: ModelEvent) -> RegistryError | None:
    if standing.ended is not None and event.at_ms <= standing.ended.at_ms:
        # Written down before the end, and only found now: it asks for nothing that was not decided on.
        return RegistryError("stage", f"`{_named(standing)}` was {standing.stage} after this was proposed")
    if standing.proposed_ms is not None and standing.ended is None:
        return RegistryError("stage", f"`{_named(standing)}` is {standing.stage} already: there is nothing to propose")
    return None


def _no_decision(standing: Standing, event: ModelEvent) -> RegistryError | None:
    """What stands against what a person decided: the role, the reason, or where the artefact stands."""
    role, allowed = event.details.get("role", ""), APPROVING if event.kind == "approved" else STOPPING
    if role not in allowed:
        return RegistryError(
            "role", f"`{event.actor}` has no role that may do this: it takes {' or '.join(sorted(allowed))} "
            "under `people` of opportune.yaml", "by"
        )  # fmt: skip
    if not event.reason.strip() or len(event.reason) > REASON_MAX:
        return RegistryError("reason", f"say why, in 1 to {REASON_MAX:,} characters: `--reason TEXT`", "reason")
    if event.kind == "approved":
        return _no_approval(standing, event)
    if standing.ended is not None:
        return RegistryError("stage", f"`{_named(standing)}` is {standing.stage} already")
    if event.kind == "retired" and standing.stage == "live":
        return RegistryError(
            "stage", f"`{_named(standing)}` is live: put another release in its place first (`opportune promote` or "
            "`opportune rollback`), then retire it"
        )  # fmt: skip
    return None


def _no_approval(standing: Standing, event: ModelEvent) -> RegistryError | None:
    if standing.ended is not None:
        return RegistryError(
            "stage", f"`{_named(standing)}` is {standing.stage}: train it again, or `opportune models import` it, "
            "and it can be looked at anew"
        )  # fmt: skip
    if standing.validated_ms is None:
        return RegistryError(
            "gates", f"`{_named(standing)}` has not passed its gates: see `opportune models show {standing.card[:12]}`"
        )
    if event.actor in standing.authors:
        return RegistryError(
            "own", f"`{event.actor}` trained or proposed `{_named(standing)}`: somebody else has to approve it", "by"
        )
    if event.actor in {one.by for one in standing.approvals}:
        return RegistryError(
            "stage", f"`{event.actor}` has approved `{_named(standing)}` already: it takes another person", "by"
        )
    return None


def _after(standing: Standing, event: ModelEvent) -> Standing:
    replace = msgspec.structs.replace
    if event.kind == "proposed":
        # Proposed again after its end: it is looked at anew, and whoever made it once stays its author.
        return replace(
            standing, model=event.model, risk=higher(standing.risk, event.risk), proposed_ms=event.at_ms,
            authors=tuple(dict.fromkeys((*standing.authors, event.actor))), source=event.details.get("source", ""),
            validated_ms=None, approvals=(), ended=None,
        )  # fmt: skip
    if event.kind == "validated":
        return replace(standing, validated_ms=event.at_ms)
    if event.kind == "approved":
        approval = Approval(event.actor, event.at_ms, event.details.get("role", ""), event.reason)
        return replace(standing, approvals=(*standing.approvals, approval))
    return replace(standing, approvals=(), ended=event)


def _named(standing: Standing) -> str:
    return f"{standing.model}@{standing.card[:12]}"


def spans_of(
    card: str, history: Sequence[tuple[int, str, str, str]], cards_of: Mapping[str, Sequence[str]]
) -> tuple[Span, ...]:
    """When the artefact was live: `history` is (at_ms, release, actor, why), the newest first; `cards_of` gives the
    hashes in each release. A release that follows another with the same artefact begins a span of its own."""
    found: list[Span] = []
    ends: int | None = None
    for at_ms, release, actor, why in history:
        if card in cards_of.get(release, ()):
            found.append(Span(release, at_ms, ends, actor, why))
        ends = at_ms
    return tuple(reversed(found))
