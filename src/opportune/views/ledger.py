"""How far the published log has come, read from its signed checkpoint."""

from __future__ import annotations

import msgspec

from opportune.core.ledger import LedgerError, open_checkpoint, parse_vkey
from opportune.ports import Ledger


class LedgerState(msgspec.Struct, frozen=True):
    """`entries` recorded so far and `published` of them under the last checkpoint (None: none was signed yet)."""

    origin: str
    vkey: str
    entries: int
    published: int | None
    root: str | None


def ledger_state(ledger: Ledger, entries: int) -> LedgerState:
    """Opens the checkpoint; one that does not verify counts as none."""
    try:
        checkpoint = open_checkpoint(ledger.checkpoint(), parse_vkey(ledger.vkey))
    except LedgerError:
        return LedgerState(ledger.origin, ledger.vkey, entries, None, None)
    return LedgerState(ledger.origin, ledger.vkey, entries, checkpoint.size, checkpoint.root.hex())
