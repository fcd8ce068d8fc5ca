"""DuckDB as a reader of tables: files of a source as rows."""

from opportune.adapters.duckdb.tables import DuckTables

__all__ = ["DuckTables"]
