# ruff: noqa: S608 - the text is made of names that the compiler of views accepted, never of data
"""Feature views as one relational expression: every feature of every asked row, as of its time, by range joins.

Two tables go in: `signals` (`facts.ENVELOPE` and the payload's columns) and `asked` (rid, person, account, at_ms, and
known_seq when bounded); one comes out: rid and a column `f_<feature>` each, NULL where a value is missing.

The meaning is that of the fold, without its tiles: the tiles of a window (tile(now) - n, tile(now)] are the times from
`now - now % hop - (n - 1) * hop`, and the open tile ends at `now`. Only what DuckDB and Spark SQL both have is used:
equi-joins with a range, FILTER, max_by, TRY_CAST. What differs is in `Dialect`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from opportune.core.features.cells import DISTINCT_MAX, SCALE
from opportune.core.features.plans import UNITS_MS

RELATIONAL: Final = frozenset(("count", "sum", "mean", "min", "max", "last", "first", "distinct", "time_since"))
"""Aggregates with a relational form; features with others are replayed."""


class Dialect(msgspec.Struct, frozen=True):
    """The words in which engines differ. `rounded`: a double to the nearest whole one, halves to even; `wide`: the
    type in which whole numbers are added up without overflow; `adds_wide`: SUM of BIGINT does that by itself."""

    name: str
    rounded: str
    wide: str
    adds_wide: bool


DUCKDB: Final = Dialect("duckdb", "round_even({}, 0)", "HUGEINT", adds_wide=True)
SPARK: Final = Dialect("spark", "rint({})", "DECIMAL(38,0)", adds_wide=False)
DIALECTS: Final[Mapping[str, Dialect]] = {"duckdb": DUCKDB, "spark": SPARK}


class Folded(msgspec.Struct, frozen=True):
    """A feature as the query has it. `share` is its part of a row of signals, `window` (hop_ms, tiles) or None;
    `default` a literal."""

    name: str
    entity: str
    type: str
    aggregate: str
    share: str
    signals: tuple[str, ...]
    window: tuple[int, int] | None
    unit_ms: int | None
    distinct_max: int
    default: str | None


class Group(msgspec.Struct, frozen=True):
    """Features that one join serves: of one entity, all with a window or all since ever."""

    name: str
    entity: str
    features: tuple[Folded, ...]

    @property
    def windowed(self) -> bool:
        return self.features[0].window is not None


def grouped(features: Sequence[Folded]) -> list[Group]:
    found: dict[tuple[str, bool], list[Folded]] = {}
    for feature in features:
        found.setdefault((feature.entity, feature.window is not None), []).append(feature)
    return [
        Group(f"{entity}_{'recent' if windowed else 'ever'}", entity, tuple(members))
        for (entity, windowed), members in found.items()
    ]


def folded_query(groups: Sequence[Group], dialect: Dialect, *, bounded: bool) -> str:
    """Text that gives `rid` and `f_<name>` of every folded feature, with `u_<name>` where a sum left 64 bits."""
    parts = [part for group in groups for part in _group_parts(group, dialect, bounded)]
    columns = ["q.rid"]
    for group in groups:
        for index, feature in enumerate(group.features):
            columns.append(f"{_finished(feature, f'{group.name}.a{index}')} AS f_{feature.name}")
            if overflows(feature):
                cell = f"{group.name}.a{index}"
                unknown = f"({cell} IS NOT NULL AND TRY_CAST({cell} AS BIGINT) IS NULL)"
                columns.append(f"{unknown} AS u_{feature.name}")
    joins = "".join(f"\n  LEFT JOIN {group.name} ON {group.name}.rid = q.rid" for group in groups)
    begin = "WITH " + ",\n".join(parts) + "\n" if parts else ""
    return begin + "SELECT " + ",\n  ".join(columns) + f"\nFROM asked q{joins}"


def overflows(feature: Folded) -> bool:
    return feature.aggregate == "sum" and feature.type == "int"


def _group_parts(group: Group, dialect: Dialect, bounded: bool) -> list[str]:
    windows = dict.fromkeys(feature.window for feature in group.features if feature.window is not None)
    floors = {window: f"low{index}" for index, window in enumerate(windows)}
    joined = _join_part(group, floors, dialect, bounded)
    return [_facts_part(group, bounded), _asked_part(group, floors, bounded), joined]


def _facts_part(group: Group, bounded: bool) -> str:
    """Each signal's share in each feature; features that take the same have it once."""
    entity = group.entity
    signals = sorted({signal for feature in group.features for signal in feature.signals})
    picks = sorted({feature.aggregate for feature in group.features} & {"last", "first"})
    columns = [f"{entity} AS entity", "at_ms", *(["seq"] if bounded else []), *(_order(entity, pick) for pick in picks)]
    columns += [f"{share} AS x{index}" for index, share in enumerate(_shares(group))]
    selected, named = ",\n    ".join(columns), ", ".join(f"'{signal}'" for signal in signals)
    return (
        f"{group.name}_facts AS (\n  SELECT {selected}\n  FROM signals\n  WHERE type IN ({named})\n"
        f"    AND {entity} IN (SELECT {entity} FROM asked WHERE {entity} IS NOT NULL)\n)"
    )


def _asked_part(group: Group, floors: Mapping[tuple[int, int], str], bounded: bool) -> str:
    """The rows with the first millisecond of each window."""
    lows = [f"at_ms - at_ms % {hop} - {(tiles - 1) * hop} AS {low}" for (hop, tiles), low in floors.items()]
    columns = ", ".join(["rid", f"{group.entity} AS entity", "at_ms", *(["known_seq"] if bounded else []), *lows])
    return f"{group.name}_asked AS (\n  SELECT {columns}\n  FROM asked WHERE {group.entity} IS NOT NULL\n)"


def _join_part(group: Group, floors: Mapping[tuple[int, int], str], dialect: Dialect, bounded: bool) -> str:
    on = ["s.entity = r.entity", "s.at_ms <= r.at_ms"]
    if group.windowed:
        on.append(f"s.at_ms >= {_least([f'r.{low}' for low in floors.values()])}")
    if bounded:
        on.append("s.seq <= r.known_seq")
    places = {share: f"s.x{index}" for index, share in enumerate(_shares(group))}
    aggregates = []
    for index, feature in enumerate(group.features):
        low = None if feature.window is None or len(floors) == 1 else f"r.{floors[feature.window]}"
        aggregates.append(f"{_aggregate(feature, places[feature.share], low, dialect)} AS a{index}")
    gathered = ",\n    ".join(aggregates)
    return (
        f"{group.name} AS (\n  SELECT r.rid,\n    {gathered}\n  FROM {group.name}_asked r\n"
        f"  JOIN {group.name}_facts s ON {' AND '.join(on)}\n  GROUP BY r.rid\n)"
    )


def _shares(group: Group) -> list[str]:
    return list(dict.fromkeys(feature.share for feature in group.features))


def _order(entity: str, pick: str) -> str:
    """Which signal is kept, as a number: the oldest or newest by (at_ms, id), and of equals the first to arrive."""
    arrival = "seq DESC" if pick == "last" else "seq"
    return f"ROW_NUMBER() OVER (PARTITION BY {entity} ORDER BY at_ms, id, {arrival}) AS {pick}_n"


def _least(lows: Sequence[str]) -> str:
    return lows[0] if len(lows) == 1 else f"LEAST({', '.join(lows)})"


def _aggregate(feature: Folded, cell: str, low: str | None, dialect: Dialect) -> str:
    within = "" if low is None else f" FILTER (WHERE s.at_ms >= {low})"
    double = feature.type == "double"
    match feature.aggregate:
        case "count":
            return f"COUNT({cell}){within}"
        case "distinct":
            return f"COUNT(DISTINCT {cell}){within}"
        case "min" | "max":
            return f"{feature.aggregate.upper()}({cell}){within}"
        case "sum":
            return f"{_sum(cell, double, dialect)}{within}"
        case "mean":
            total = f"{_sum(cell, True, dialect)}{within}"
            return f"CAST({total} AS DOUBLE) / CAST(COUNT({cell}){within} * CAST({SCALE} AS BIGINT) AS DOUBLE)"
        case "time_since":
            return f"MAX(CASE WHEN {cell} IS NOT NULL THEN s.at_ms END)"
    counts = f"{cell} IS NOT NULL" if low is None else f"{cell} IS NOT NULL AND s.at_ms >= {low}"
    pick = "max_by" if feature.aggregate == "last" else "min_by"
    return f"{pick}({cell}, s.{feature.aggregate}_n) FILTER (WHERE {counts})"


def _sum(cell: str, double: bool, dialect: Dialect) -> str:
    if not double:
        return f"SUM({cell})" if dialect.adds_wide else f"SUM(CAST({cell} AS {dialect.wide}))"
    scaled = dialect.rounded.format(f"{cell} * CAST('{SCALE}' AS DOUBLE)")
    return f"SUM(CAST({scaled} AS {dialect.wide}))"


def _finished(feature: Folded, cell: str) -> str:
    """The value from what the join gathered, with the default where nothing was seen."""
    value = cell
    match feature.aggregate:
        case "count":
            value = f"NULLIF({cell}, 0)"
        case "distinct":
            most = feature.distinct_max
            value = f"NULLIF(CASE WHEN {cell} > {most} THEN {most} ELSE {cell} END, 0)"
        case "sum" if feature.type == "double":
            value = f"CAST({cell} AS DOUBLE) / CAST('{SCALE}' AS DOUBLE)"
        case "sum":
            whole = f"TRY_CAST({cell} AS BIGINT)"
            if feature.default is None:
                return whole
            return f"CASE WHEN {cell} IS NULL THEN {feature.default} ELSE {whole} END"
        case "time_since":
            age = f"CAST(q.at_ms - {cell} AS DOUBLE) / CAST('{feature.unit_ms}' AS DOUBLE)"
            value = age if feature.type == "double" else f"CAST(FLOOR({age}) AS BIGINT)"
    return value if feature.default is None else f"COALESCE({value}, {feature.default})"


def unit_ms_of(unit: str | None) -> int | None:
    return None if unit is None else UNITS_MS[unit]


def distinct_max_of(count: int | None) -> int:
    return DISTINCT_MAX if count is None else count
