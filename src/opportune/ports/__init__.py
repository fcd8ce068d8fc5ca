"""The roles the flows rely on: adapters implement them, wiring chooses, tests hold them to one contract."""

from opportune.ports.records import (
    Duplicate,
    Records,
    StoreBroken,
    StoreFull,
    Transaction,
)
from opportune.ports.roles import (
    Clock,
    Erased,
    Ledger,
    Pulse,
    PulseWindow,
    Seal,
    TableReader,
    Vault,
)
from opportune.ports.stored import (
    Access,
    Action,
    Merge,
    Proposal,
    Quarantined,
    Review,
    StoredDecision,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
)

__all__ = [
    "Access",
    "Action",
    "Clock",
    "Duplicate",
    "Erased",
    "Ledger",
    "Merge",
    "Proposal",
    "Pulse",
    "PulseWindow",
    "Quarantined",
    "Records",
    "Review",
    "Seal",
    "StoreBroken",
    "StoreFull",
    "StoredDecision",
    "StoredOutcome",
    "StoredRelease",
    "StoredSignal",
    "TableReader",
    "Transaction",
    "Vault",
]
