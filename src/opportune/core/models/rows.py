"""Scoring many customers at once: the same look-ups and sums as one at a time, joined over features."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.expressions.columns import Column, coded
from opportune.core.models.compiled import CompiledModel, finish
from opportune.core.models.joint import Floats, Ints

JOINED_BYTES_MAX = 2 << 20
"""What one table of several features may take: it is read once per customer, so it should stay near the processor."""
ROWS_AT_ONCE = 1024
CELLS_AT_ONCE = 1 << 20
"""How many pairs and trees x rows are looked at together."""
DOUBLES_EXACT_MAX = 2**53


class RowScores(msgspec.Struct, frozen=True):
    """Per row and offer, as `Scores` has them; `failed` marks rows that a model said nothing of.
    `money` and `tiring` as in `Estimate`."""

    p_accept: Floats
    uplift: Floats
    uplift_se: Floats
    failed: NDArray[np.bool_] | None = None
    money: Floats | None = None
    tiring: Floats | None = None


class RowModel:
    """A scorecard over tables. INVARIANT: sums of its entries are exact in any order (see CompiledModel), so that
    features may be joined beforehand and the results are the same to the bit."""

    def __init__(self, model: CompiledModel, names: Sequence[str]) -> None:
        """`names`: the features in the order that the model was compiled for."""
        matrix, numeric, named = model.layout()
        self.offers = len(model.offers)
        self.covered = np.array(model.covered, np.bool_)
        self._base = matrix[0]
        self._straight, self._joint = model.straight, model.joint
        looks: list[Look] = []
        for position, missing, edges in numeric:
            looks.append(Look(names[position], missing, len(edges) + 2, _numeric(edges)))
        for position, missing, other, rows in named:
            size = max([missing, other, *rows.values()]) - missing + 1
            looks.append(Look(names[position], missing, size, _named(missing, other, rows)))
        self._looks = looks
        self._groups = _joined(matrix, looks)

    def score(self, columns: Mapping[str, Column], count: int) -> RowScores:
        """p_accept, uplift and its standard error of every offer in every row; a feature without a column is
        missing."""
        offers = self.offers
        found = np.empty((count, 3 * offers))
        uplift = np.empty((count, offers))
        bins = [_bins(look, columns, count) for look in self._looks]
        places = [_places([(self._looks[at].size, bins[at]) for at in looks], count) for looks, _ in self._groups]
        at_once = ROWS_AT_ONCE if self._joint is None else self._joint.rows_at_once(CELLS_AT_ONCE, ROWS_AT_ONCE)
        for start in range(0, count, at_once):
            rows = slice(start, min(start + at_once, count))
            total = found[rows]
            total[:] = self._base
            for place, (_, table) in zip(places, self._groups, strict=True):
                total += table.take(place[rows], 0)
            if self._joint is not None:
                tables = self._table_rows(bins, rows, len(total))
                self._joint.add(total, self._joint.cells(tables))
            finish(total, offers, self._straight, uplift[rows])
        return RowScores(found[:, :offers], uplift, found[:, 2 * offers :])

    def _table_rows(self, bins: Sequence[Ints], rows: slice, count: int) -> Ints:
        """What `CompiledModel.bins_of` gives, per row."""
        found = np.zeros((count, 1 + len(bins)), np.int64)
        for at, (look, own) in enumerate(zip(self._looks, bins, strict=True), 1):
            found[:, at] = own[rows] + look.first
        return found


class Look(msgspec.Struct, frozen=True):
    """How a feature's column becomes bins, the first of its rows in the tables, and how many it has."""

    name: str
    first: int
    size: int
    bins: Callable[[Column], Ints]


def _bins(look: Look, columns: Mapping[str, Column], count: int) -> Ints:
    column = columns.get(look.name)
    if column is None:
        return np.zeros(count, np.int64)  # the bin of what is missing is the first
    bins = look.bins(column)
    for mask in (column.missing, column.failed):
        if mask is not None:
            bins = np.where(mask, 0, bins)
    return bins


def _places(parts: Sequence[tuple[int, Ints]], count: int) -> Ints:
    """Each row's place in the table of some features, from their sizes and bins."""
    place = np.zeros(count, np.int64)
    for size, bins in parts:
        place *= size
        place += bins
    return place


def _numeric(edges: tuple[float, ...]) -> Callable[[Column], Ints]:
    bounds = np.array(edges, np.float64)

    def look(column: Column) -> Ints:
        values = column.values
        if column.table is not None:
            return _by_value(column, lambda value: _bin(edges, value))
        if values.dtype == np.int64 and len(values) and max(-int(values.min()), int(values.max())) > DOUBLES_EXACT_MAX:
            return _by_value(column, lambda value: _bin(edges, value))
        numbers = values.astype(np.float64, copy=False)
        bins = np.searchsorted(bounds, numbers, side="right") + 1
        return np.where(np.isnan(numbers), 0, bins)

    return look


def _bin(edges: tuple[float, ...], value: object) -> int:
    return 1 + bisect_right(edges, value) if isinstance(value, float | int) and value == value else 0


def _named(missing: int, other: int, rows: Mapping[object, int]) -> Callable[[Column], Ints]:
    def bin_of(value: object) -> int:
        try:
            return rows.get(value, other if isinstance(value, str) else missing) - missing
        except TypeError:
            return 0

    def look(column: Column) -> Ints:
        if column.table is None and column.values.dtype == np.bool_:
            no, yes = bin_of(False), bin_of(True)
            return np.where(column.values, yes, no)
        return _by_value(column, bin_of)

    return look


def _by_value(column: Column, bin_of: Callable[[object], int]) -> Ints:
    codes, table = coded(column)
    return np.array([bin_of(value) for value in table], np.int64)[codes]


def _joined(matrix: Floats, looks: Sequence[Look]) -> list[tuple[list[int], Floats]]:
    """Features joined while their table stays small: its rows are the sums of all combinations of their bins."""
    groups: list[tuple[list[int], Any]] = []
    for number, look in enumerate(looks):
        own = matrix[look.first : look.first + look.size]
        if groups and len(groups[-1][1]) * own.nbytes <= JOINED_BYTES_MAX:
            members, table = groups[-1]
            joint = (table[:, None, :] + own[None, :, :]).reshape(-1, matrix.shape[1])
            groups[-1] = ([*members, number], joint)
        else:
            groups.append(([number], np.ascontiguousarray(own)))
    return groups
