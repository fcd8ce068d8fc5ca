"""A source compiles or says what is wrong where; its rows become drafts in time order, without the future."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from ruamel.yaml import YAML

from opportune.adapters.duckdb.tables import DuckTables
from opportune.core.playbook import Source
from opportune.core.sources import (
    CompiledSource,
    Drafted,
    SourceError,
    cel_type,
    columns_of,
    compile_source,
    drafts,
    locate,
)

SAMPLE = Path(__file__).parents[3] / "samples/saas/sources/ravenstack.yaml"
RAVENSTACK = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[4] / "shared")) / "data/ravenstack_saas"


def ravenstack() -> Source:
    document = YAML(typ="safe", pure=True).load(SAMPLE)
    return msgspec.convert(document["sources"][0], Source)


def source(*signals: dict[str, Any], optional: tuple[str, ...] = ()) -> Source:
    tables = {"orders": "orders.csv", "shops": "shops.csv"}
    document = {"source": "s", "title": "S", "owner": "o", "tables": tables, "optional": optional}
    return msgspec.convert({**document, "signals": signals}, Source)


MAPPING: dict[str, Any] = {"rows": "orders", "type": "t", "id": "row.id", "time": "row.at"}
COLUMNS = {
    "orders": {"id": "string", "at": "timestamp", "shop": "int", "amount": "double"},
    "shops": {"shop": "int", "name": "string"},
}


class Tables:
    """The tables of a test in DuckDB, with their columns as the compiler wants them."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.columns: dict[str, dict[str, str]] = {}

    def add(self, name: str, query: str) -> None:
        self.connection.execute(f'CREATE VIEW "{name}" AS {query}')
        described = self.connection.execute(f'DESCRIBE "{name}"').fetchall()
        self.columns[name] = {row[0]: cel_type(row[1]) for row in described}

    def rows(self, sql: str) -> Iterator[dict[str, Any]]:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        while chunk := cursor.fetchmany(1000):
            for row in chunk:
                yield dict(zip(names, row, strict=True))

    def read(self, what: Source) -> list[Drafted]:
        return list(drafts(compile_source(what, self.columns), self.rows))


@pytest.fixture
def tables() -> Tables:
    found = Tables()
    found.add(
        "orders",
        "SELECT * FROM (VALUES ('b', DATE '2026-01-02', 1, 5.0), ('a', DATE '2026-01-01', 2, NULL), "
        "('c', DATE '2026-01-03', 9, 0.0)) AS t(id, \"at\", shop, amount)",
    )
    found.add("shops", "SELECT * FROM (VALUES (1, 'north'), (2, 'south')) AS t(shop, name)")
    return found


def test_rows_become_drafts_in_time_order_with_looked_up_values(tables: Tables) -> None:
    mapping = {
        **MAPPING, "subject": "shops.name", "lookup": {"shops": "shop"},
        "data": {"amount": "row.amount", "at": "row.at"},
    }  # fmt: skip
    found = [drafted.draft for drafted in tables.read(source(mapping))]
    assert [(draft.id, draft.subject) for draft in found] == [("a", "south"), ("b", "north"), ("c", None)]
    assert found[0].data == {"at": "2026-01-01T00:00:00.000Z"}  # a missing amount leaves its key out
    assert found[1].data == {"amount": 5.0, "at": "2026-01-02T00:00:00.000Z"}
    assert {draft.source for draft in found} == {"s/orders"}


def test_mappings_are_merged_by_time_and_conditions_leave_rows_out(tables: Tables) -> None:
    later = {**MAPPING, "type": "later", "time": "row.at + duration('36h')", "when": "row.amount >= 0.0"}
    found = [(drafted.draft.type, drafted.draft.id) for drafted in tables.read(source(MAPPING, later))]
    assert found == [("t", "a"), ("t", "b"), ("t", "c"), ("later", "b"), ("later", "c")]


def test_what_cannot_be_worked_out_is_a_problem_and_not_a_guess(tables: Tables) -> None:
    mapping = {**MAPPING, "data": {"each": "10 / (row.shop - 1)"}}
    found = {drafted.draft.id: drafted for drafted in tables.read(source(mapping))}
    assert [problem.field for problem in found["b"].problems] == ["data.each"]
    assert found["a"].problems == ()
    assert found["a"].draft.data == {"each": 10}


def test_a_row_without_a_time_is_a_problem_but_a_follow_up_without_one_is_none() -> None:
    tables = Tables()
    tables.add("orders", "SELECT * FROM (VALUES ('a', DATE '2026-01-01'), ('b', NULL)) AS t(id, \"at\")")
    first = tables.read(source(MAPPING))
    assert [(drafted.draft.id, bool(drafted.problems)) for drafted in first] == [("b", True), ("a", False)]
    assert [d.draft.id for d in tables.read(source({**MAPPING, "follow_up": True}))] == ["a"]


def test_a_lookup_that_names_a_key_twice_is_refused_before_the_first_row(tables: Tables) -> None:
    tables.connection.execute("CREATE OR REPLACE VIEW shops AS SELECT 1 AS shop, 'x' AS name FROM range(2)")
    with pytest.raises(SourceError, match=r"lookup\.shops.*one row per key, but `1` is in 2 rows"):
        tables.read(source({**MAPPING, "lookup": {"shops": "shop"}}))


@pytest.mark.parametrize(
    ("change", "field", "nearest"),
    [
        ({"id": "row.idd"}, "signals[0] t.id", "row.id"),
        ({"data": {"a": "row.amout"}}, "signals[0] t.data.a", "row.amount"),
        ({"rows": "order"}, "signals[0] t.rows", "orders"),
        ({"lookup": {"shops": "shp"}}, "signals[0] t.lookup", "shop"),
        ({"time": "row.amount"}, "signals[0] t.time", None),
        ({"when": "row.shop"}, "signals[0] t.when", None),
        ({"subject": "row.amount"}, "signals[0] t.subject", None),
    ],
)
def test_errors_name_the_mapping_the_field_and_the_nearest_column(
    change: dict[str, Any], field: str, nearest: str | None
) -> None:
    with pytest.raises(SourceError) as caught:
        compile_source(source({**MAPPING, **change}), COLUMNS)
    assert caught.value.field == field
    assert caught.value.nearest == nearest


def test_an_optional_table_that_is_absent_leaves_its_mappings_out() -> None:
    mapping = {**MAPPING, "rows": "shops", "type": "u", "id": "row.name", "time": "row.opened"}
    compiled = compile_source(source(MAPPING, mapping, optional=("shops",)), {"orders": COLUMNS["orders"]})
    assert compiled.left_out == ("signals[1] u",)
    with pytest.raises(SourceError, match="`shops` has no file"):
        compile_source(source(MAPPING, mapping), {"orders": COLUMNS["orders"]})


def test_files_are_found_also_compressed_and_a_missing_one_is_named() -> None:
    assert locate(source(MAPPING), ["orders.csv.gz", "shops.parquet"]) == {
        "orders": "orders.csv.gz",
        "shops": "shops.parquet",
    }
    with pytest.raises(SourceError, match=r"`shops\.csv` is not in the folder.*did you mean `shop\.csv`"):
        locate(source(MAPPING), ["orders.csv", "shop.csv"])


def test_columns_with_odd_names_can_be_read() -> None:
    tables = Tables()
    tables.add("orders", "SELECT 'a' AS id, DATE '2026-01-01' AS \"at\", 3 AS \"Amount in €\"")
    found = tables.read(source({**MAPPING, "data": {"amount": "row.Amount_in__"}}))
    assert found[0].draft.data == {"amount": 3}


def raven(tables: Tables, folder: Path = RAVENSTACK) -> CompiledSource:
    what = ravenstack()
    for table, file in locate(what, [path.name for path in folder.iterdir()]).items():
        tables.add(table, f"SELECT * FROM '{folder / file}'")
    return compile_source(what, tables.columns)


needs_ravenstack = pytest.mark.skipif(
    not RAVENSTACK.exists() and os.environ.get("CI") != "true", reason="the RavenStack files are not here"
)


@pytest.fixture(scope="module")
def everything() -> list[Drafted]:
    """Read as the product reads it: by the DuckDB adapter."""
    what, reader = ravenstack(), DuckTables()
    found = locate(what, [path.name for path in RAVENSTACK.iterdir()])
    files = {table: str(RAVENSTACK / file) for table, file in found.items()}

    def rows(sql: str) -> Iterator[dict[str, Any]]:
        return reader.rows(sql, files)

    return list(drafts(compile_source(what, columns_of(files, rows)), rows))


@pytest.mark.slow
@needs_ravenstack
def test_ravenstack_gives_every_row_once_and_no_two_facts_one_name(everything: list[Drafted]) -> None:
    found = everything
    assert Counter(drafted.draft.type for drafted in found) == {
        "usage.recorded": 25_000,
        "subscription.started": 5_000,
        "subscription.ended": 486,
        "ticket.opened": 2_000,
        "ticket.closed": 2_000,
        "account.churned": 600,
        "account.updated": 500,
    }
    assert not any(drafted.problems for drafted in found)
    assert len({(drafted.draft.source, drafted.draft.id) for drafted in found}) == len(found)
    times = [drafted.at_ms for drafted in found]
    assert times == sorted(times)


@pytest.mark.slow
@needs_ravenstack
def test_no_ravenstack_signal_says_what_was_not_known_yet(everything: list[Drafted]) -> None:
    known = {
        "account.updated": {"new", "name", "industry", "country", "plan", "seats", "trial"},
        "subscription.started": {"subscription", "plan", "seats", "mrr", "billing", "trial"},
        "ticket.opened": {"ticket", "priority"},
    }
    ended: dict[object, int] = {}
    for drafted in everything:
        draft = drafted.draft
        assert isinstance(draft.data, dict)
        if isinstance(draft.type, str) and draft.type in known:
            assert set(draft.data) <= known[draft.type]
        if draft.type == "subscription.ended":
            ended[draft.data["subscription"]] = drafted.at_ms
        if draft.type == "subscription.started":
            assert draft.data["subscription"] not in ended


@pytest.mark.slow
@needs_ravenstack
def test_consents_of_ones_own_come_along(tmp_path: Path) -> None:
    for path in RAVENSTACK.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "consents.csv").write_text(
        "account_id,purpose,channel,status,at\n"
        "A-2e4581,marketing,email,given,2024-11-01T09:00:00Z\n"
        "A-2e4581,marketing,email,withdrawn,2024-12-01T09:00:00Z\n"
    )
    tables = Tables()
    compiled = raven(tables, tmp_path)
    assert compiled.left_out == ()
    consents = tuple(reading for reading in compiled.readings if reading.mapping.rows == "consents")
    only = msgspec.structs.replace(compiled, readings=consents)
    said = [drafted.draft for drafted in drafts(only, tables.rows)]
    assert [(draft.type, draft.time, draft.subject) for draft in said] == [
        ("consent.given", "2024-11-01T09:00:00.000Z", "A-2e4581"),
        ("consent.withdrawn", "2024-12-01T09:00:00.000Z", "A-2e4581"),
    ]
    assert said[0].data == {"purpose": "marketing", "channels": ["email"]}


def test_times_with_a_zone_are_read_as_the_instant_they_name(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        "id,at,shop\na,2026-01-01T00:00:00+02:00,1\nb,2025-12-31T23:00:00Z,2\nc,2026-01-01T00:00:00+00:00,3\n"
    )
    reader, files = DuckTables(), {"orders": str(tmp_path / "orders.csv")}

    def rows(sql: str) -> Iterator[dict[str, Any]]:
        return reader.rows(sql, files)

    what = source(MAPPING, optional=("shops",))
    found = list(drafts(compile_source(what, columns_of(files, rows)), rows))
    assert [(drafted.draft.id, drafted.draft.time) for drafted in found] == [
        ("a", "2025-12-31T22:00:00.000Z"),
        ("b", "2025-12-31T23:00:00.000Z"),
        ("c", "2026-01-01T00:00:00.000Z"),
    ]
