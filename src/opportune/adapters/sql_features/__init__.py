"""Features that a team keeps in a table of a SQLite or DuckDB file, read one row at a time."""

from opportune.adapters.sql_features.reader import SqlFeaturesError, SqlReader

__all__ = ["SqlFeaturesError", "SqlReader"]
