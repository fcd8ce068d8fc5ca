"""The registry of models: events of artefacts, and where each stands: proposed, validated, approved, live, retired."""

from opportune.core.registry.boosters import BoosterTrainer, read_booster
from opportune.core.registry.events import (
    APPROVING,
    REASON_MAX,
    REFERENCE_MIN,
    STOPPING,
    EventKind,
    ModelEvent,
    RegistryError,
)
from opportune.core.registry.formats import Format, format_of, only_python
from opportune.core.registry.gates import unmet_gates
from opportune.core.registry.standing import (
    NEEDED,
    Approval,
    Span,
    Stage,
    Standing,
    fold,
    higher,
    out_of_turn,
    spans_of,
)
from opportune.core.registry.waiting import Proposal, decode_proposal, encode_proposal

__all__ = [
    "APPROVING",
    "NEEDED",
    "REASON_MAX",
    "REFERENCE_MIN",
    "STOPPING",
    "Approval",
    "BoosterTrainer",
    "EventKind",
    "Format",
    "ModelEvent",
    "Proposal",
    "RegistryError",
    "Span",
    "Stage",
    "Standing",
    "decode_proposal",
    "encode_proposal",
    "fold",
    "format_of",
    "higher",
    "only_python",
    "out_of_turn",
    "read_booster",
    "spans_of",
    "unmet_gates",
]
