"""SQLite as the system of record: one file, one writer thread, group commit, every acknowledgement synced."""

from opportune.adapters.sqlite.records import SqliteRecords

__all__ = ["SqliteRecords"]
