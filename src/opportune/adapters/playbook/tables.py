"""Decision tables of a playbook become policies, each still knowing the cells it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from opportune.adapters.playbook.marks import Located, place_within
from opportune.adapters.playbook.nodes import Entries, Entry, Items, Node, Scalar
from opportune.adapters.playbook.problems import PlaybookProblem
from opportune.adapters.playbook.shapes import child
from opportune.core.builtin_contracts import with_builtins
from opportune.core.features import FeatureError, compile_views
from opportune.core.playbook import Playbook
from opportune.core.policies import Policy
from opportune.core.policies.decision_tables import compile_table
from opportune.core.policies.table_documents import OUTPUTS, CompiledRow, DecisionTable, TableProblem
from opportune.core.releases import ReleaseError, variables_of
from opportune.core.schemas import fields_by_signal
from opportune.core.wording import dotted, quoted

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")


class TabledRows(msgspec.Struct, frozen=True):
    """The rows as policies, where each stands, what is wrong; `own` and `tables` are as in `LoadedPlaybook`."""

    policies: tuple[Policy, ...] = ()
    located: tuple[Located, ...] = ()
    problems: tuple[PlaybookProblem, ...] = ()
    own: Mapping[str, str] = {}
    tables: Mapping[str, str] = {}


def rows_of(playbook: Playbook, tables: Sequence[DecisionTable], located: Sequence[Located]) -> TabledRows:
    """Everything the tables say, in their order; nothing while the variables they read cannot be known."""
    problems = list(_names(tables, located))
    types = types_of(playbook) if tables else None
    if types is None:
        return TabledRows(problems=tuple(problems))
    policies: list[Policy] = []
    places: list[Located] = []
    own: dict[str, str] = {}
    tables_of: dict[str, str] = {}
    for position, (table, place) in enumerate(zip(tables, located, strict=True)):
        compiled = compile_table(table, types)
        problems += (_placed(one, place, position) for one in compiled.problems)
        for row in compiled.rows:
            policies.append(row.policy)
            places.append(_row_at(row, place))
            tables_of[row.policy.id] = table.table
            if table.hit_policy in ("first", "any"):
                own[row.policy.id] = row.own
    return TabledRows(tuple(policies), tuple(places), tuple(problems), own, tables_of)


def types_of(playbook: Playbook) -> dict[str, str] | None:
    """The type of everything a table may read; None while views or moments do not compile, which is told elsewhere."""
    try:
        views = compile_views(playbook.views, fields_by_signal(with_builtins(playbook.contracts)))
        return {one.name: one.type for one in variables_of(playbook, views)}
    except (FeatureError, ReleaseError):
        return None


def _names(tables: Sequence[DecisionTable], located: Sequence[Located]) -> Iterator[PlaybookProblem]:
    first: dict[str, Located] = {}
    for table, place in zip(tables, located, strict=True):
        found = child(place.node, "table")
        at = found.value.start if isinstance(found, Entry) and isinstance(found.value, Scalar) else place.node.start
        if not _NAME.fullmatch(table.table):
            message = f"{quoted(table.table)} cannot name a table: use letters, digits and `_ . - : /` in the name of "
            yield place.text.problem(at, "tables", f"{message}the file, or write `table: another_name` above")
        elif table.table in first:
            other = first[table.table].text.file
            yield place.text.problem(at, "tables", f"table {quoted(table.table)} is defined twice, first in {other}")
        first.setdefault(table.table, place)


def _placed(problem: TableProblem, located: Located, position: int) -> PlaybookProblem:
    """A table's problem at its cell, or at the nearest thing around it."""
    node: Node = located.node
    index = node.start
    for step in problem.path:
        found = child(node, step)
        if found is None:
            break
        last = step == problem.path[-1]
        if isinstance(found, Entry) and last and problem.on_key:
            index = place_within(located.text.text, found.key, 1, problem.offset + 1)
            break
        node = found.value if isinstance(found, Entry) else found
        index = node.start
        if isinstance(node, Scalar) and last:
            index = place_within(located.text.text, node, 1, problem.offset + 1)
    path = dotted(("tables", position, *problem.path))
    place = located.text.place(index)
    return PlaybookProblem(place.file, place.line, place.column, path, problem.message, problem.nearest)


def _row_at(row: CompiledRow, located: Located) -> Located:
    """Where the fields of a row's policy stand: in its cells, or else in what the table says for all rows."""
    rows = child(located.node, "rows")
    items = rows.value.items if isinstance(rows, Entry) and isinstance(rows.value, Items) else ()
    node = items[row.number]
    entries: dict[str, Entry] = {}
    if isinstance(located.node, Entries):
        entries = {one.name: one for one in located.node.entries if one.name in (*OUTPUTS, "tests")}
    if isinstance(node, Entries):
        said = {one.name.strip().lower(): one for one in node.entries if _is_said(one.value)}
        entries |= {name: one for name, one in said.items() if name in OUTPUTS}
    blank = Scalar(None, node.start, node.start, "")
    entries["when"] = Entry(blank, "when", blank)
    parts = []
    for part in row.parts:
        found = child(node, str(part.path[-1]))
        if isinstance(found, Entry):
            parts.append((part.start, part.end, found.value.start))
    return Located(located.text, Entries(tuple(entries.values()), node.start), tuple(parts))


def _is_said(node: Node) -> bool:
    return not isinstance(node, Scalar) or node.value not in (None, "")
