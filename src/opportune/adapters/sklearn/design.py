"""The design of a fit: bins from data, and the columns whose coefficients become a scorecard's tables."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models import FeatureTable, TrainingSet

BINS_MAX = 6
CATEGORIES_MAX = 16


class Spread(msgspec.Struct, frozen=True):
    """How far one block of coefficients may be from 0, as standard deviations of a normal prior in log-odds.

    `constant` is of the block's base, `rank` of a numeric feature's trend over its bins, `bin` of its single bins,
    `level` of the levels of a feature that is no number.
    """

    constant: float
    rank: float
    bin: float
    level: float


class Columns(msgspec.Struct, frozen=True):
    """Columns shared by all blocks: a constant, a trend per numeric feature, an indicator per (feature, bin).

    `values` is (rows, columns), before scaling; `kinds` says for each column which part of a Spread it takes;
    `bins` is (rows, features); `shares` are the shares of rows per bin of each feature.
    """

    tables: tuple[FeatureTable, ...]
    values: NDArray[np.float64]
    kinds: tuple[str, ...]
    bins: NDArray[np.intp]
    ranks: tuple[NDArray[np.float64] | None, ...]
    shares: tuple[NDArray[np.float64], ...]

    def scales(self, spread: Spread) -> NDArray[np.float64]:
        """One standard deviation per column."""
        of = {"constant": spread.constant, "rank": spread.rank, "bin": spread.bin, "level": spread.level}
        return np.array([of[kind] for kind in self.kinds])


def columns_of(tables: Sequence[FeatureTable], examples: TrainingSet) -> Columns:
    """The rows as columns; one trend column per numeric feature with three bins or more."""
    place = {name: index for index, name in enumerate(examples.feature_names)}
    rows = examples.examples
    parts: list[NDArray[np.float64]] = [np.ones((len(rows), 1))]
    kinds, ranks, shares = ["constant"], [], []
    bins = np.zeros((len(rows), len(tables)), dtype=np.intp)
    for index, table in enumerate(tables):
        at = place[table.name]
        bins[:, index] = [table.bin_of(row.values[at]) for row in rows]
        share = np.bincount(bins[:, index], minlength=table.bin_count) / len(rows)
        rank = _rank(share) if table.type == "numeric" and len(table.edges) > 1 else None
        if rank is not None:
            parts.append(rank[bins[:, index]][:, None])
            kinds.append("rank")
        parts.append(np.eye(table.bin_count)[bins[:, index]])
        kinds.extend(["bin" if table.type == "numeric" else "level"] * table.bin_count)
        ranks.append(rank)
        shares.append(share)
    return Columns(tuple(tables), np.hstack(parts), tuple(kinds), bins, tuple(ranks), tuple(shares))


def tables_from(columns: Columns, coefficients: NDArray[np.float64]) -> tuple[float, list[NDArray[np.float64]]]:
    """A block's coefficients (scaled back) as a base and parts per bin, centred on the average row.

    A bin without rows gets 0: whoever falls into it is taken for the average.
    """
    base, at = float(coefficients[0]), 1
    parts = []
    for table, rank, share in zip(columns.tables, columns.ranks, columns.shares, strict=True):
        part = np.zeros(table.bin_count)
        if rank is not None:
            part += coefficients[at] * rank
            at += 1
        part += coefficients[at : at + table.bin_count]
        at += table.bin_count
        middle = float(share @ part)
        base += middle
        parts.append(np.where(share > 0, part - middle, 0.0))
    return base, parts


def _rank(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each bin's place among the known values, from about -1.7 to 1.7 and 0 on average; missing is in the middle.

    Divided by the deviation of even quantiles (the square root of 1/12), not by its own: a rare bin would else be
    far out and take any effect its few rows suggest.
    """
    known = share.copy()
    known[0] = 0.0
    total = float(known.sum())
    if total <= 0.0:
        return np.zeros_like(share)
    known /= total
    place = np.cumsum(known) - known / 2.0
    found: NDArray[np.float64] = (place - float(known @ place)) * np.sqrt(12.0)
    found[0] = 0.0
    return found
