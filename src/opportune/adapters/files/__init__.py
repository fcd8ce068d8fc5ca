"""Plain files as a product: the published log and its signing key."""

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.ledger import Entries, TileLog, TileNotFoundError

__all__ = ["Entries", "TileLog", "TileNotFoundError", "load_or_create_key"]
