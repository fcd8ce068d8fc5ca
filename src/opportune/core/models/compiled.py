"""Scoring: scorecards folded into one matrix, all offers in one call, and the parts of a score as its reasons."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models.joint import Floats, Ints, Joint

DIGITS = 1e9
NEAR = 1e-3
"""A number this near to where its last digit turns is rounded exactly."""
_NUMBERS = (int, float)

Reasons = tuple[tuple[str, float], ...]
Numeric = tuple[int, int, tuple[float, ...]]
"""Position of the value, row of the missing bin, edges."""
Named = tuple[int, int, int, dict[object, int]]
"""Position of the value, row of the missing bin, row of an unknown text, value → row."""


class Scores(msgspec.Struct, frozen=True):
    """One customer, every offer in the order compiled: probabilities with 9 decimals.

    Where `covered` is False the card knows nothing (0, 0, 0, and a standard error of 1): the caller uses the
    offer's declared prior and says so. Of cards of form `chance` or `amount`, `p_accept` and `p_base` are both the
    number that was asked for, and the uplift is 0. `bins` are what the values became, `cells` what pairs and trees
    made of these: `CompiledModel.explain` reads them.
    """

    p_accept: list[float]
    p_base: list[float]
    uplift: list[float]
    uplift_se: list[float]
    covered: tuple[bool, ...]
    bins: list[int]
    cells: bytes = b""


class Straight(msgspec.Struct, frozen=True):
    """The columns whose sums are no log-odds: uplifts as they are, and logarithms of amounts."""

    effects: Ints
    amounts: Ints

    def some(self, places: Sequence[int]) -> Straight | None:
        """Those among some of the offers, by their place there."""
        asked = np.asarray(places, np.int64)
        found = [np.flatnonzero(np.isin(asked, part)) for part in (self.effects, self.amounts)]
        return Straight(*found) if any(map(len, found)) else None


def finish(sums: Floats, offers: int, straight: Straight | None, uplift: Floats | None = None) -> Floats:
    """Makes of sums of columns, in place and along the last axis: p_accept, p_base and the standard error. Gives the
    uplift, in `uplift` if there is one.

    Everything is rounded to billionths. One customer or many: the same numbers.
    """
    raw = None if straight is None else sums[..., straight.effects]
    np.exp(sums, out=sums)
    if straight is not None:
        both = np.concatenate([straight.amounts, offers + straight.amounts])
        amounts = sums[..., both]
    chances = sums[..., : 2 * offers]
    chances += 1.0
    np.divide(1.0, chances, out=chances)
    if straight is not None:
        sums[..., both] = amounts
    sums *= DIGITS
    np.rint(sums, out=sums)
    found = np.subtract(sums[..., :offers], sums[..., offers : 2 * offers], out=uplift)
    if straight is not None and raw is not None and len(straight.effects):
        causes = np.rint(np.clip(raw, -1.0, 1.0) * DIGITS)
        found[..., straight.effects] = causes
        sums[..., straight.effects] = np.clip(sums[..., offers + straight.effects] + causes, 0.0, DIGITS)
    found /= DIGITS
    sums /= DIGITS
    return found


class CompiledModel:
    """Scorecards for the offers and the feature order of one release. Immutable; threads may share it.

    INVARIANT: every table entry is a multiple of 2^-32 far below 2^20, so sums are exact in any order, and the
    results are published with 9 decimals: the same values give the same bytes.
    """

    def __init__(
        self,
        offers: tuple[str, ...],
        covered: tuple[bool, ...],
        numeric: list[Numeric],
        named: list[Named],
        names: tuple[str, ...],
        matrix: Floats,
        effect: Floats,
        joint: Joint | None = None,
        straight: Straight | None = None,
    ) -> None:
        """`matrix` is (1 + bins, 3 * offers): row 0 the bases, columns of offered, baseline and log se, as `finish`
        reads them; `effect` is (offers, 1 + bins): the parts that are reasons. `joint` are pairs and trees."""
        self.offers = offers
        self.covered = covered
        self.feature_names = names
        self.joint = joint
        self.straight = straight
        self._numeric = numeric
        self._named = named
        self._matrix = matrix
        self._effect = effect
        self._base: Floats = effect[:, 0] if joint is None else effect[:, 0] + joint.base

    def score(self, values: Sequence[object]) -> Scores:
        """p_accept, p_base, uplift and its standard error of every offer; `values` in the compiled order."""
        bins = self.bins_of(values)
        sums = np.add.reduce(self._matrix.take(bins, 0), 0)
        cells = b"" if self.joint is None else self._joined(bins, sums)
        return self._scores(sums, len(self.offers), bins, self.covered, self.straight, cells)

    def _joined(self, bins: list[int], sums: Floats) -> bytes:
        """Adds what pairs and trees say; gives their cells."""
        assert self.joint is not None
        cells = self.joint.cells(np.array(bins))
        self.joint.add(sums, cells)
        return cells.tobytes()

    def _scores(
        self, sums: Floats, count: int, bins: list[int], covered: Sequence[bool], straight: Straight | None,
        cells: bytes,
    ) -> Scores:  # fmt: skip
        uplift = finish(sums, count, straight)
        found: list[float] = sums.tolist()
        return Scores(
            found[:count], found[count : 2 * count], uplift.tolist(), found[2 * count :], tuple(covered), bins, cells
        )

    def score_some(self, values: Sequence[object], places: Sequence[int]) -> Scores:
        """`score` for some of the offers, by their places: the same numbers, in this order."""
        bins = self.bins_of(values)
        count, width = len(places), len(self.offers)
        columns = np.add.outer((0, width, 2 * width), places).ravel()
        cells = np.add.outer(np.multiply(bins, 3 * width), columns)
        sums = np.add.reduce(self._matrix.take(cells), 0)
        joint = b""
        if self.joint is not None:
            every = np.zeros(3 * width)
            joint = self._joined(bins, every)
            sums += every.take(columns)
        straight = None if self.straight is None else self.straight.some(places)
        return self._scores(sums, count, bins, [self.covered[p] for p in places], straight, joint)

    def reasons(self, values: Sequence[object], offer_index: int, top: int = 3) -> Reasons:
        """What moves this customer's uplift for one offer most, against the average training row.

        (feature, part of the uplift: in log-odds, of a card of form `effect` as a probability, of one of form
        `amount` as a logarithm), the largest first; parts of all features plus the base are the whole. Empty for an
        offer that is not covered.
        """
        return self._reasons(self.bins_of(values), None, offer_index, top)

    def explain(self, scores: Scores, offer_index: int, top: int = 3) -> Reasons:
        """`reasons` for values already scored: spares looking up the bins again."""
        cells = np.frombuffer(scores.cells, np.int64) if scores.cells else None
        return self._reasons(scores.bins, cells, offer_index, top)

    def explain_all(self, scores: Scores, top: int = 3) -> list[Reasons]:
        """`explain` for every offer, at one go."""
        parts = self._effect[:, scores.bins[1:]]
        if self.joint is not None:
            cells = np.frombuffer(scores.cells, np.int64) if scores.cells else self.joint.cells(np.array(scores.bins))
            parts = parts + self.joint.all_parts(cells, len(self.offers))
        order = (-np.abs(parts)).argsort(1, kind="stable")[:, :top]
        chosen = _billionths(np.take_along_axis(parts, order, 1)).tolist()
        names = self.feature_names
        return [
            tuple([(names[i], part) for i, part in zip(places, said, strict=True) if part]) if known else ()
            for places, said, known in zip(order.tolist(), chosen, self.covered, strict=True)
        ]

    def levels(self) -> dict[str, tuple[object, ...]]:
        """Where the scores may change, by feature: the edges of a number, the values known of anything else."""
        found: dict[str, tuple[object, ...]] = {}
        for place, (name, (_, missing, edges)) in enumerate(
            zip(self.feature_names, self._numeric, strict=False), 1
        ):  # fmt: skip
            rows = self._matrix[missing + 1 : missing + 2 + len(edges)]
            turns: NDArray[np.bool_] = (rows[1:] != rows[:-1]).any(1)
            if self.joint is not None:
                turns |= self.joint.turns(place, missing + 1, len(edges) + 1)
            kept = [edge for edge, turn in zip(edges, turns.tolist(), strict=True) if turn]
            found[name] = tuple(sorted({*found.get(name, ()), *kept}))  # type: ignore[type-var]  # numbers
        for name, (_, _, _, known) in zip(self.feature_names[len(self._numeric) :], self._named, strict=True):
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *known)))
        return found

    def layout(self) -> tuple[Floats, list[Numeric], list[Named]]:
        """(the matrix, how numbers are looked up in it, how the others are): what `rows` scores tables with."""
        return self._matrix, self._numeric, self._named

    def effect_base(self, offer_index: int) -> float:
        """What reasons count from: the effect of the average training row, in the unit of the reasons."""
        return float(self._base[offer_index])

    def bins_of(self, values: Sequence[object]) -> list[int]:
        """Row numbers in the tables: 0 for the base, then one per feature; raises nothing on any value."""
        bins = [0]
        for position, missing, edges in self._numeric:
            value = values[position]
            if isinstance(value, _NUMBERS) and value == value:
                bins.append(missing + 1 + bisect_right(edges, value))
            else:
                bins.append(missing)
        for position, missing, other, rows in self._named:
            value = values[position]
            try:
                bins.append(rows.get(value, other if isinstance(value, str) else missing))
            except TypeError:
                bins.append(missing)
        return bins

    def _reasons(self, bins: list[int], cells: Ints | None, offer_index: int, top: int) -> Reasons:
        if not self.covered[offer_index]:
            return ()
        parts = self._effect[offer_index].take(bins[1:])
        if self.joint is not None:
            parts += self.joint.parts(self.joint.cells(np.array(bins)) if cells is None else cells, offer_index)
        order = (-np.abs(parts)).argsort(kind="stable")[:top].tolist()
        found: list[float] = parts.tolist()
        return tuple([(self.feature_names[i], round(found[i], 9)) for i in order if found[i]])


def _billionths(parts: Floats) -> Floats:
    """`round(part, 9)` of each, where quick sums and exact ones may differ with the exact one."""
    digits = parts * DIGITS
    found: Floats = np.rint(digits) / DIGITS
    unclear = np.abs(digits - np.floor(digits) - 0.5) < NEAR
    if unclear.any():
        found[unclear] = [round(part, 9) for part in parts[unclear].tolist()]
    return found
