"""DuckDB: files of a source as rows, and the offline engine of features."""

from opportune.adapters.duckdb.columns import DuckColumns
from opportune.adapters.duckdb.offline import DuckOffline
from opportune.adapters.duckdb.tables import DuckTables

__all__ = ["DuckColumns", "DuckOffline", "DuckTables"]
