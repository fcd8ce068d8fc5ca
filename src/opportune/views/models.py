"""Models as data: every artefact with where it stands, and one with its figures, its history and what was live when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from opportune.core.models import Scorecard, model_card
from opportune.core.registry import REFERENCE_MIN, ModelEvent, RegistryError, Span, Stage, Standing, unmet_gates
from opportune.core.signals import format_time
from opportune.ports import ShelfError

SHOWN = ("auc", "ece", "qini", "brier", "rmse", "mae")
"""Figures of the list, where a card has them."""


class Registry(Protocol):
    """What is read of a registry; see flows.approve."""

    def every(self) -> Sequence[Standing]: ...

    def standing(self, card: str) -> Standing: ...

    def history(self, card: str) -> Sequence[ModelEvent]: ...

    def card(self, name: str) -> Scorecard: ...

    def named(self, reference: str) -> str: ...


class ApprovalLine(msgspec.Struct, frozen=True):
    """Who approved, when, in which role and why."""

    by: str
    at: str
    role: str
    reason: str


class EventLine(msgspec.Struct, frozen=True):
    """One event of an artefact; `details` as kept."""

    at: str
    kind: str
    actor: str
    reason: str
    details: Mapping[str, str]


class LiveLine(msgspec.Struct, frozen=True):
    """A time in which an artefact was live; `to` is null while it is."""

    release: str
    since: str
    to: str | None
    actor: str
    why: str


class ModelLine(msgspec.Struct, frozen=True):
    """One artefact in the list. `unmet` are the gates it did not pass, in words; `needed` approvals it takes.

    `trouble` says why its file cannot be used; then the figures are missing.
    """

    card: str
    model: str
    stage: Stage
    live: bool
    approved: bool
    risk: str
    needed: int
    approvals: tuple[ApprovalLine, ...]
    authors: tuple[str, ...]
    source: str
    proposed_at: str | None
    ended: str
    unmet: tuple[str, ...]
    target: str = ""
    algorithm: str = ""
    owner: str = ""
    rows: int = 0
    data_to: str = ""
    metrics: Mapping[str, float] = {}
    trouble: str = ""

    @property
    def next(self) -> str:
        """What a person may do now, in words."""
        if self.trouble:
            return "restore its file, or train it again"
        if self.stage in ("refused", "voided", "retired") or self.live:
            return ""
        if self.unmet:
            return "train another: it has not passed its gates"
        lacking = self.needed - len(self.approvals)
        return "make a release with it" if self.approved else f"{lacking} more approval{'s' if lacking > 1 else ''}"


class ModelView(msgspec.Struct, frozen=True):
    """One artefact whole: what the list says, everything its card says, and its history."""

    line: ModelLine
    history: tuple[EventLine, ...]
    live: tuple[LiveLine, ...]
    card: Scorecard | None
    document: str
    """The model card in Markdown; empty when the file cannot be used."""


def models_view(registry: Registry) -> tuple[ModelLine, ...]:
    """Every artefact, the newest proposed first."""
    return tuple(_line(registry, standing) for standing in registry.every())


def model_view(registry: Registry, reference: str) -> ModelView:
    """One artefact by its hash, the beginning of it, `model@beginning` or its model's name; RegistryError `unknown`."""
    name = registry.named(reference)
    standing = registry.standing(name)
    card, _ = _card(registry, name)
    return ModelView(
        _line(registry, standing), history_of(registry, name), tuple(_live(span) for span in standing.live), card,
        "" if card is None else model_card(card),
    )  # fmt: skip


def history_of(registry: Registry, name: str) -> tuple[EventLine, ...]:
    """What happened to an artefact, the oldest first."""
    return tuple(_event(event) for event in registry.history(name))


def live_of(registry: Registry, name: str) -> tuple[LiveLine, ...]:
    """When it was live, the oldest first."""
    return tuple(_live(span) for span in registry.standing(name).live)


def by_hash(registry: Registry, text: str) -> str:
    """The artefact whose hash this is, or begins with this; RegistryError `unknown` for anything else."""
    found = [one.card for one in registry.every() if len(text) >= REFERENCE_MIN and one.card.startswith(text)]
    if len(found) != 1:
        raise RegistryError("unknown", f"no model has the hash `{text}`: GET /v1/models lists them")
    return found[0]


def _line(registry: Registry, standing: Standing) -> ModelLine:
    card, trouble = _card(registry, standing.card)
    line = ModelLine(
        standing.card, standing.model, standing.stage, standing.stage == "live", standing.approved, standing.risk,
        standing.needed(standing.risk),
        tuple(ApprovalLine(one.by, format_time(one.at_ms), one.role, one.reason) for one in standing.approvals),
        standing.authors, standing.source,
        None if standing.proposed_ms is None else format_time(standing.proposed_ms),
        "" if standing.ended is None else f"{standing.ended.kind} by {standing.ended.actor}: {standing.ended.reason}",
        () if card is None else unmet_gates(card, None), trouble=trouble,
    )  # fmt: skip
    if card is None:
        return line
    training = card.training
    return msgspec.structs.replace(
        line, target=card.target, algorithm=training.algorithm, owner=card.owner, rows=training.rows,
        data_to=format_time(training.to_ms)[:10],
        metrics={name: training.metrics[name] for name in SHOWN if name in training.metrics},
    )  # fmt: skip


def _card(registry: Registry, name: str) -> tuple[Scorecard | None, str]:
    try:
        return registry.card(name), ""
    except (ShelfError, ValueError) as error:
        return None, str(error)


def _event(event: ModelEvent) -> EventLine:
    return EventLine(format_time(event.at_ms), event.kind, event.actor, event.reason, event.details)


def _live(span: Span) -> LiveLine:
    ends = None if span.to_ms is None else format_time(span.to_ms)
    return LiveLine(span.release, format_time(span.from_ms), ends, span.actor, span.why)
