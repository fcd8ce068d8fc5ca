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
    type in which whole numbers are added up without overflow; `adds_wide`: SUM of BIGINT does that by itself;
    `row`: values compared one after the other."""

    name: str
    rounded: str
    wide: str
    adds_wide: bool
    row: str


DUCKDB: Final = Dialect("duckdb", "round_even({}, 0)", "HUGEINT", adds_wide=True, row="row({})")
SPARK: Final = Dialect("spark", "rint({})", "DECIMAL(38,0)", adds_wide=False, row="struct({})")
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
    """Features that one join serves: of one entity, all with a window or all since ever, telling apart one thing.

    `told_apart` is the share that its `distinct` features count: rows are gathered by it first, and then together,
    so that counting different values is counting rows.
    """

    name: str
    entity: str
    windowed: bool
    features: tuple[Folded, ...]
    told_apart: str | None

    @property
    def shares(self) -> tuple[str, ...]:
        """Each once: features that take the same of a row have one column of it."""
        return tuple(dict.fromkeys(feature.share for feature in self.features))


def grouped(features: Sequence[Folded]) -> list[Group]:
    """As few groups as there can be: a second thing to tell apart needs a join of its own."""
    found: dict[tuple[str, bool], dict[str | None, list[Folded]]] = {}
    for feature in features:
        apart = feature.share if feature.aggregate == "distinct" else None
        found.setdefault((feature.entity, feature.window is not None), {}).setdefault(apart, []).append(feature)
    groups = []
    for (entity, windowed), by_share in found.items():
        plain = by_share.pop(None, [])
        sets: list[tuple[str | None, list[Folded]]] = list(by_share.items()) or [(None, [])]
        for number, (apart, members) in enumerate(sets):
            name = f"{entity}_{'recent' if windowed else 'ever'}{number or ''}"
            groups.append(Group(name, entity, windowed, (*(plain if number == 0 else ()), *members), apart))
    return groups


def folded_query(groups: Sequence[Group], dialect: Dialect, *, bounded: bool) -> str:
    """Text that gives `rid` and `f_<name>` of every folded feature, with `u_<name>` where a sum left 64 bits."""
    parts = [part for group in groups for part in _group_parts(group, dialect, bounded)]
    columns = ["q.rid"]
    for group in groups:
        for feature in group.features:
            columns.append(f"{_finished(feature, group)} AS f_{feature.name}")
            if overflows(feature):
                cell = f"{group.name}.{_parts(feature, group, dialect)[0].name}"
                unknown = f"({cell} IS NOT NULL AND TRY_CAST({cell} AS BIGINT) IS NULL)"
                columns.append(f"{unknown} AS u_{feature.name}")
    tables = [name for group in groups for name in (group.name, *([f"{group.name}_picked"] if _picks(group) else []))]
    joins = "".join(f"\n  LEFT JOIN {name} ON {name}.rid = q.rid" for name in tables)
    begin = "WITH " + ",\n".join(parts) + "\n" if parts else ""
    return begin + "SELECT " + ",\n  ".join(columns) + f"\nFROM asked q{joins}"


def overflows(feature: Folded) -> bool:
    return feature.aggregate == "sum" and feature.type == "int"


def _group_parts(group: Group, dialect: Dialect, bounded: bool) -> list[str]:
    """The group's rows, its signals, both joined and gathered, and the values that were picked by their time."""
    floors = _floors(group)
    joined = _join_part(group, floors, dialect, bounded)
    picked = _picked_parts(group, dialect, bounded) if _picks(group) else []
    return [f"{group.name}_facts AS (\n  {_facts(group, bounded)}\n)", _asked_part(group, floors, bounded), *joined,
            *picked]  # fmt: skip


def _picks(group: Group) -> list[tuple[str, int]]:
    """(last | first, number of the share) of each value that is picked by its time."""
    return list(dict.fromkeys(
        (feature.aggregate, group.shares.index(feature.share))
        for feature in group.features
        if feature.aggregate in ("last", "first")
    ))  # fmt: skip


def _named(group: Group) -> str:
    """The signal types of a group, as a list of texts."""
    signals = sorted({signal for feature in group.features for signal in feature.signals})
    return ", ".join(f"'{signal}'" for signal in signals)


def _facts(group: Group, known: bool, extra: str = "") -> str:
    """Each signal's share in each feature."""
    columns = [f"{group.entity} AS entity", "at_ms", *(["seq"] if known else [])]
    columns += [f"{share} AS x{index}" for index, share in enumerate(group.shares)]
    selected = ",\n    ".join(columns)
    return f"SELECT {extra}{selected}\n  FROM signals\n  WHERE type IN ({_named(group)}) AND {group.entity} IS NOT NULL"


def _picked_parts(group: Group, dialect: Dialect, bounded: bool) -> list[str]:
    """The values of the moments that the join found: few rows, so that only they are told apart by more than time.

    Of signals of one moment the greatest id is the last and the least the first; of equal ids the one that came first.
    """
    known = ", r.known_seq" if bounded else ""
    picks = _picks(group)
    wanted = "\n  UNION ALL ".join(
        f"SELECT r.rid, r.entity{known}, {place} AS pick, g.{_moment(*pick)} AS at_ms\n  FROM {group.name} g "
        f"JOIN {group.name}_asked r ON r.rid = g.rid WHERE g.{_moment(*pick)} IS NOT NULL"
        for place, pick in enumerate(picks)
    )
    values = []
    for place, (pick, number) in enumerate(picks):
        word, order = ("max_by", "s.id, -s.seq") if pick == "last" else ("min_by", "s.id, s.seq")
        key = dialect.row.format(order)
        here = f"FILTER (WHERE w.pick = {place} AND s.x{number} IS NOT NULL)"
        values.append(f"{word}(s.x{number}, {key}) {here} AS {pick}{number}")
    columns = ",\n    ".join(values)
    before = " AND s.seq <= w.known_seq" if bounded else ""
    return [
        f"{group.name}_moments AS (\n  {wanted}\n)",
        f"{group.name}_picked AS (\n  SELECT w.rid,\n    {columns}\n  FROM {group.name}_moments w JOIN (\n  "
        f"{_facts(group, True, 'id, ')}\n  ) s ON s.entity = w.entity AND s.at_ms = w.at_ms{before}\n"
        "  GROUP BY w.rid\n)",
    ]


def _moment(pick: str, number: int) -> str:
    return f"at{number}" if pick == "last" else f"from{number}"


def _floors(group: Group) -> dict[tuple[int, int], str]:
    windows = dict.fromkeys(feature.window for feature in group.features if feature.window is not None)
    return {window: f"low{index}" for index, window in enumerate(windows)}


def _asked_part(group: Group, floors: Mapping[tuple[int, int], str], bounded: bool) -> str:
    """The rows with the first millisecond of each window."""
    lows = [f"{_low('at_ms', window)} AS {low}" for window, low in floors.items()]
    columns = ", ".join(["rid", f"{group.entity} AS entity", "at_ms", *(["known_seq"] if bounded else []), *lows])
    return f"{group.name}_asked AS (\n  SELECT {columns}\n  FROM asked WHERE {group.entity} IS NOT NULL\n)"


def _low(now: str, window: tuple[int, int]) -> str:
    hop, tiles = window
    return f"{now} - {now} % {hop} - {(tiles - 1) * hop}"


def _join_part(
    group: Group, floors: Mapping[tuple[int, int], str], dialect: Dialect, bounded: bool
) -> list[str]:
    on = ["s.entity = r.entity", "s.at_ms <= r.at_ms"]
    if group.windowed:
        lows = ", ".join(f"r.{low}" for low in floors.values())
        on.append(f"s.at_ms >= {lows if len(floors) == 1 else f'LEAST({lows})'}")
    if bounded:
        on.append("s.seq <= r.known_seq")
    parts = {part.name: part for feature in group.features for part in _parts(feature, group, dialect)}
    inner = ",\n    ".join(f"{part.gathered} AS {part.name}" for part in parts.values())
    source = f"{group.name}_asked r\n  JOIN {group.name}_facts s ON {' AND '.join(on)}"
    if group.told_apart is None:
        return [f"{group.name} AS (\n  SELECT r.rid,\n    {inner}\n  FROM {source}\n  GROUP BY r.rid\n)"]
    outer = ",\n    ".join(f"{part.merged} AS {part.name}" for part in parts.values())
    apart = f"s.x{group.shares.index(group.told_apart)}"
    return [
        f"{group.name}_apart AS (\n  SELECT r.rid, {apart} AS apart,\n    {inner}\n  FROM {source}\n"
        f"  GROUP BY r.rid, {apart}\n)",
        f"{group.name} AS (\n  SELECT rid,\n    {outer}\n  FROM {group.name}_apart\n  GROUP BY rid\n)",
    ]


class _Part(msgspec.Struct, frozen=True):
    """A column of what is gathered: over signals, and over what was gathered by the thing told apart."""

    name: str
    gathered: str
    merged: str


def _parts(feature: Folded, group: Group, dialect: Dialect) -> list[_Part]:
    """What a feature needs of its signals; features that need the same share it by its name."""
    number = group.shares.index(feature.share)
    floors = _floors(group)
    window = "" if feature.window is None else floors[feature.window]
    cell, end = f"s.x{number}", f"{number}{window and '_'}{window}"
    within = f" FILTER (WHERE s.at_ms >= r.{window})" if len(floors) > 1 else ""
    double = feature.type == "double"
    count = _Part(f"n{end}", f"COUNT({cell}){within}", f"SUM(n{end})")
    match feature.aggregate:
        case "count":
            return [count]
        case "distinct":
            return [_Part(f"d{end}", f"COUNT({cell}){within}", f"COUNT(CASE WHEN d{end} > 0 THEN 1 END)")]
        case "min" | "max" as extreme:
            name = f"{extreme}{end}"
            return [_Part(name, f"{extreme.upper()}({cell}){within}", f"{extreme.upper()}({name})")]
        case "sum" | "mean":
            name = f"{'total' if double else 'sum'}{end}"
            summed = _Part(name, f"{_sum(cell, double, dialect)}{within}", f"SUM({name})")
            return [summed] if feature.aggregate == "sum" else [summed, count]
    newest = _Part(f"at{number}", f"MAX(CASE WHEN {cell} IS NOT NULL THEN s.at_ms END)", f"MAX(at{number})")
    if feature.aggregate == "first":
        oldest = f"MIN(CASE WHEN {cell} IS NOT NULL THEN s.at_ms END)"
        return [_Part(f"from{number}", oldest, f"MIN(from{number})")]
    return [newest]


def _sum(cell: str, double: bool, dialect: Dialect) -> str:
    if not double:
        return f"SUM({cell})" if dialect.adds_wide else f"SUM(CAST({cell} AS {dialect.wide}))"
    scaled = dialect.rounded.format(f"{cell} * CAST('{SCALE}' AS DOUBLE)")
    return f"SUM(CAST({scaled} AS {dialect.wide}))"


def _finished(feature: Folded, group: Group) -> str:
    """The value from what the join gathered, with the default where nothing was seen."""
    parts = [f"{group.name}.{part.name}" for part in _parts(feature, group, DUCKDB)]
    value = cell = parts[0]
    scale = f"CAST('{SCALE}' AS DOUBLE)"
    match feature.aggregate:
        case "count":
            value = f"CAST(NULLIF({cell}, 0) AS BIGINT)"
        case "distinct":
            most = feature.distinct_max
            value = f"NULLIF(CASE WHEN {cell} > {most} THEN {most} ELSE {cell} END, 0)"
        case "mean":
            value = f"CAST({cell} AS DOUBLE) / (CAST({parts[1]} AS DOUBLE) * {scale})"
        case "sum" if feature.type == "double":
            value = f"CAST({cell} AS DOUBLE) / {scale}"
        case "sum":
            whole = f"TRY_CAST({cell} AS BIGINT)"
            if feature.default is None:
                return whole
            return f"CASE WHEN {cell} IS NULL THEN {feature.default} ELSE {whole} END"
        case "time_since":
            age = f"CAST(q.at_ms - {cell} AS DOUBLE) / CAST('{feature.unit_ms}' AS DOUBLE)"
            value = age if feature.type == "double" else f"CAST(FLOOR({age}) AS BIGINT)"
        case "last" | "first" as pick:
            value = f"{group.name}_picked.{pick}{group.shares.index(feature.share)}"
            if feature.window is not None:
                value = f"CASE WHEN {cell} >= {_low('q.at_ms', feature.window)} THEN {value} END"
    return value if feature.default is None else f"COALESCE({value}, {feature.default})"


def unit_ms_of(unit: str | None) -> int | None:
    return None if unit is None else UNITS_MS[unit]


def distinct_max_of(count: int | None) -> int:
    return DISTINCT_MAX if count is None else count
