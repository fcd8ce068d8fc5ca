"""Decision tables: rows of conditions and what follows, which become policies, one a row.

The hit policies are DMN's: `unique` (no two rows may apply together, which is checked), `first` (the topmost that
applies), `any` (several may apply when they say the same; it counts once), `collect` (every row that applies counts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from opportune.core.expressions import ExpressionError, parse
from opportune.core.wording import closest, listed, quoted

from .cells import FALSE, TRUE, CellError, Column, pieces
from .documents import Effect, Policy, PolicyClass, PolicyTest
from .exclusive_rows import exclusive
from .table_documents import (
    NOTES,
    OUTPUTS,
    REQUIRED,
    Cell,
    CompiledRow,
    CompiledTable,
    DecisionTable,
    Part,
    Path,
    TableProblem,
    TableTest,
)

ROWS_MAX = 500


def compile_table(table: DecisionTable, types: Mapping[str, str]) -> CompiledTable:
    """The table's rows as policies. types: variable -> its type."""
    if not table.rows:
        return CompiledTable((), (TableProblem(("rows",), "the table has no rows: write one for each rule"),))
    if len(table.rows) > ROWS_MAX:
        return CompiledTable((), (TableProblem(("rows",), f"more than {ROWS_MAX} rows: split the table"),))
    reading = _Reading(table, types)
    drafts = [draft for number in range(len(table.rows)) if (draft := reading.row(number)) is not None]
    if reading.problems:
        return CompiledTable((), tuple(reading.problems))
    tests = reading.tests([draft.policy.id for draft in drafts])
    drafts = [draft._replace(policy=_with_tests(draft.policy, tests)) for draft in drafts]
    rows, problems = (drafts, []) if table.hit_policy == "collect" else exclusive(table, types, drafts)
    return CompiledTable(tuple(rows), tuple(reading.problems + problems))


class _Reading:
    """Reads the rows of one table, noting problems."""

    def __init__(self, table: DecisionTable, types: Mapping[str, str]) -> None:
        self.table = table
        self.types = types
        self.problems: list[TableProblem] = []
        self.columns: dict[str, Column | None] = {}
        self.seen: dict[str, int] = {}

    def row(self, number: int) -> CompiledRow | None:
        """One row; None when it cannot be read, which is noted."""
        before = len(self.problems)
        said: dict[str, Any] = {}
        conditions: list[tuple[str, Path]] = []
        for name, cell in self.table.rows[number].items():
            path: Path = ("rows", number, name)
            heading = name.strip()
            if heading.lower() in OUTPUTS:
                value = self.output(heading.lower(), cell, path)
                said |= {} if value is None else {heading.lower(): value}
            elif heading.lower() not in NOTES and (text := self.condition(name, cell, path)) is not None:
                conditions.append((text, path))
        id_ = self.id_of(said.pop("id", str(number + 1)), number)
        policy = self.policy(id_, said, number)
        if policy is None or len(self.problems) > before:
            return None
        return _joined(policy, number, conditions)

    def id_of(self, row: str, number: int) -> str:
        first = self.seen.setdefault(row, number)
        if first != number:
            message = f"row {quoted(row)} is there twice, first as row {first + 1}: give it another id"
            self.problems.append(TableProblem(("rows", number, "id"), message))
        return f"{self.table.table}.{row}"

    def policy(self, id_: str, said: dict[str, Any], number: int) -> Policy | None:
        table = self.table
        fields = {name: getattr(table, "class_" if name == "class" else name) for name in OUTPUTS if name != "id"}
        fields |= said
        for name in REQUIRED:
            if not fields[name]:
                message = f"row {quoted(id_.removeprefix(table.table + '.'))} has no `{name}`: fill the cell, or say "
                self.problems.append(TableProblem(("rows", number), f"{message}it once for the whole table"))
                return None
        if fields["effect"] != "adjust" and "adjust" not in said:
            fields["adjust"] = None  # what the table says is meant for its levers
        fields["class_"] = fields.pop("class")
        return Policy(id=id_, **fields)

    def condition(self, name: str, cell: Cell, path: Path) -> str | None:
        column = self.column(name, path)
        if column is None or cell is None:
            return None
        try:
            return (
                column.one_of([_text(one) for one in cell])
                if isinstance(cell, tuple)
                else column.condition(_text(cell))
            )
        except CellError as error:
            self.problems.append(TableProblem(path, error.message, error.offset, error.nearest))
            return None

    def column(self, name: str, path: Path) -> Column | None:
        """The column under a heading; None when it means nothing, which is noted once."""
        if name not in self.columns:
            self.columns[name] = None
            subject = name.strip()
            try:
                type_ = self.types.get(subject) or parse(subject, self.types).type
            except ExpressionError as error:
                nearest = closest(subject, (*self.types, *OUTPUTS)) or error.nearest
                what = error.message if error.message.startswith("unknown name") else f"this heading: {error.message}"
                self.problems.append(TableProblem(path, what, error.column - 1, nearest, on_key=True))
                return None
            if type_.startswith("map(") or type_ in ("dyn", "null", "type", "bytes", "uint"):
                message = f"`{subject}` has no type that cells can be compared with: head the column with a value in it"
                self.problems.append(TableProblem(path, message, on_key=True))
                return None
            self.columns[name] = Column(subject, type_, self.types)
        return self.columns[name]

    def output(self, name: str, cell: Cell, path: Path) -> object:
        """What a row says of its own; None when the cell is empty or wrong, which is noted."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            return self._output(name, cell)
        except CellError as error:
            self.problems.append(TableProblem(path, error.message, error.offset, error.nearest))
            return None

    def _output(self, name: str, cell: Cell) -> object:
        if name == "obligations":
            items = [_text(one) for one in cell] if isinstance(cell, tuple) else [
                part for _, part in pieces(_text(cell), "|,;")
            ]  # fmt: skip
            return tuple(item.strip() for item in items if item.strip())
        if isinstance(cell, tuple):
            raise CellError(f"`{name}` is one value, not a list")
        text = _text(cell).strip()
        if name in ("effect", "class"):
            known = msgspec.inspect.type_info(Effect if name == "effect" else PolicyClass).values  # type: ignore[attr-defined]
            if text.lower() not in known:
                raise CellError(f"{quoted(text)} is not one of {listed(known)}", 0, closest(text, known))
            return text.lower()
        if name in ("priority", "version"):
            if not text.lstrip("+-").isdecimal() or len(text) > 18:
                raise CellError(f"{quoted(text)} is not a whole number such as `10`")
            return int(text)
        if name == "explore":
            if text.lower() not in TRUE | FALSE:
                raise CellError(f"{quoted(text)} is not `true` or `false`")
            return text.lower() in TRUE
        return self.adjustment(text) if name == "adjust" else text

    def adjustment(self, text: str) -> str:
        """A lever: a number of any form, or an expression of type double."""
        number = text.lstrip("+")
        if number.lstrip("-").isdecimal():
            number += ".0"
        try:
            parse(number, self.types, expect="double")
        except ExpressionError as error:
            raise CellError(error.message, error.column - 1 if error.line == 1 else 0, error.nearest) from None
        return number

    # --- tests ---------------------------------------------------------------------------------------------------

    def tests(self, ids: Sequence[str]) -> dict[str, list[PolicyTest]]:
        """The tests of each row: the rows that are expected apply, the others do not."""
        rows = [id_.removeprefix(f"{self.table.table}.") for id_ in ids]
        found: dict[str, list[PolicyTest]] = {id_: [] for id_ in ids}
        names: set[str] = set()
        for number, test in enumerate(self.table.tests):
            if test.name in names:
                self.problems.append(
                    TableProblem(("tests", number, "name"), f"two tests are named {quoted(test.name)}")
                )
            names.add(test.name)
            given = {name: self.given(name, value, number) for name, value in test.given.items()}
            for row, expected in self.expected(test, rows, number).items():
                one = PolicyTest(
                    name=test.name, given={k: v for k, v in given.items() if v is not None}, expect=expected
                )
                found[f"{self.table.table}.{row}"].append(one)
        return found

    def expected(self, test: TableTest, rows: Sequence[str], number: int) -> Mapping[str, bool | Literal["missing"]]:
        wanted = test.expect
        if isinstance(wanted, Mapping):
            named = [str(one) for one in wanted]
        else:
            named = [str(one).strip() for one in (wanted if isinstance(wanted, tuple) else (wanted,))]
            named = [] if named == ["none"] else named
        unknown = [one for one in named if one not in rows]
        if unknown:
            message = f"there is no row {quoted(unknown[0])}: say one of {listed(rows)}, or `none`"
            self.problems.append(TableProblem(("tests", number, "expect"), message, 0, closest(unknown[0], rows)))
            return {}
        if isinstance(wanted, Mapping):
            return {str(row): said for row, said in wanted.items()}
        if len(named) > 1 and self.table.hit_policy != "collect":
            message = f"with hit policy `{self.table.hit_policy}` one row applies at most: expect one, or `none`"
            self.problems.append(TableProblem(("tests", number, "expect"), message))
        return {row: row in named for row in rows}

    def given(self, name: str, value: object, number: int) -> object:
        """A value of a test; a text, as cells of a spreadsheet are, becomes what the variable holds."""
        path: Path = ("tests", number, "given", name)
        if name not in self.types:
            self.problems.append(TableProblem(path, f"unknown name {quoted(name)}", 0, closest(name, self.types), True))
            return None
        kind = self.types[name]
        if not isinstance(value, str) or kind not in ("int", "double", "bool"):
            return value
        if value.strip().lower() in ("", "missing"):
            return None
        try:
            condition = Column(name, kind, self.types).condition(value)
        except CellError as error:
            self.problems.append(TableProblem(path, error.message, error.offset, error.nearest))
            return None
        if kind == "bool":
            return condition == name
        try:
            return (int if kind == "int" else float)(str(condition).removeprefix(f"{name} == "))
        except ValueError:
            self.problems.append(TableProblem(path, f"{quoted(value)} is not a value: a test gives one of each"))
            return None


def _joined(policy: Policy, number: int, conditions: Sequence[tuple[str, Path]]) -> CompiledRow:
    when, parts = "", []
    for text, path in conditions:
        start = len(when) + (4 if when else 0)
        when += f" && {text}" if when else text
        parts.append(Part(start, start + len(text), path))
    when = when or "true"
    return CompiledRow(msgspec.structs.replace(policy, when=when), number, when, tuple(parts))


def _with_tests(policy: Policy, tests: Mapping[str, list[PolicyTest]]) -> Policy:
    return msgspec.structs.replace(policy, tests=tuple(tests[policy.id]))


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)
