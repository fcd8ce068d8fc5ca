"""What happens to a model's artefact: one event each, kept for ever, bound to the hash of its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from opportune.core.catalog import Risk
from opportune.core.playbook import Role

EventKind = Literal["proposed", "validated", "approved", "refused", "retired", "voided"]
"""`proposed`: somebody trained or imported it. `validated`: every gate passed. `approved`, `refused`, `retired`: what
people decided. `voided`: its bytes were found altered. What was live when is not an event: the releases say that."""

APPROVING: frozenset[Role] = frozenset({"model_approver", "compliance"})
"""Who may approve."""
STOPPING: frozenset[Role] = frozenset({"model_approver", "compliance", "model_owner"})
"""Who may refuse or retire."""
REASON_MAX = 1_000
"""Characters of a reason."""
REFERENCE_MIN = 6
"""Characters by which the hash of an artefact may be named."""


class RegistryError(ValueError):
    """A step that cannot be taken with a model; says what to do. `code` names the kind of refusal: `unknown`,
    `person`, `role`, `reason`, `own`, `stage`, `gates`, `altered`, `unapproved` or `unreadable`."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class ModelEvent(msgspec.Struct, frozen=True):
    """One event of one artefact: `card` is the hash of its bytes. `risk` is that of its model's description then.

    `details` are short texts: where it came from (`source`), which data (`data_hash`), by which `role`.
    """

    id: str
    at_ms: int
    card: str
    model: str
    kind: EventKind
    actor: str
    reason: str = ""
    risk: Risk = "low"
    details: Mapping[str, str] = {}
