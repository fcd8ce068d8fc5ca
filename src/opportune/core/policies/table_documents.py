"""The documents of decision tables: the table and its tests, and what becomes of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from .documents import Effect, Policy, PolicyClass

HitPolicy = Literal["unique", "first", "any", "collect"]
Scalar = bool | int | float | str
Cell = Scalar | tuple[Scalar, ...] | None
Path = tuple[str | int, ...]

REQUIRED = ("effect", "class", "reason", "owner")
OUTPUTS = (
    "id", *REQUIRED, "adjust", "obligations", "priority", "version", "explore", "valid_from", "valid_to",
)  # fmt: skip
NOTES = ("note", "comment", "annotation", "description")


class TableTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Values, and the row that must apply: its id or number, several, `none`, or row -> true, false or `missing`."""

    name: str
    given: Mapping[str, Any] = {}
    expect: int | str | tuple[int | str, ...] | Mapping[str, bool | Literal["missing"]]


class DecisionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"class_": "class"}):
    """Rules as a table. A key of a row is a variable, an expression, or one of the fields of a policy; the fields here
    hold for every row that does not say otherwise. A row is the policy `<table>.<id>`, or `<table>.<number>`.

    hit_policy: `unique` (no two rows apply together), `first` (the topmost), `any` (all that apply say the same), or
    `collect` (every row counts).
    """

    table: str
    rows: tuple[Mapping[str, Cell], ...]
    hit_policy: HitPolicy = "unique"
    effect: Effect | None = None
    class_: PolicyClass | None = None
    reason: str | None = None
    owner: str | None = None
    version: int = 1
    priority: int = 0
    adjust: str | None = None
    obligations: tuple[str, ...] = ()
    explore: bool = True
    valid_from: str | None = None
    valid_to: str | None = None
    tests: tuple[TableTest, ...] = ()
    description: str | None = None


class TableProblem(msgspec.Struct, frozen=True):
    """What is wrong: the field by its path in the table, `offset` in its text; `on_key` when the heading is."""

    path: Path
    message: str
    offset: int = 0
    nearest: str | None = None
    on_key: bool = False


class Part(NamedTuple):
    """A piece of a row's `when`: from where to where, and the cell it comes from."""

    start: int
    end: int
    path: Path


class CompiledRow(NamedTuple):
    """A row as a policy; `own` is its condition before others were excluded."""

    policy: Policy
    number: int
    own: str
    parts: tuple[Part, ...]


class CompiledTable(NamedTuple):
    """The rows that are sound, and everything that is not."""

    rows: tuple[CompiledRow, ...]
    problems: tuple[TableProblem, ...]
