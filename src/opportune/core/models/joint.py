"""What several features say together: pairs and trees of a card as cells of flat tables, read without branches.

A tree is read as in QuickScorer (Lucchese et al., SIGIR 2015): every bin of a feature clears, in a mask of the tree's
leaves, those that lie left of a node it goes right at; the lowest bit that all features leave is the leaf reached.
Reasons of a tree are the changes of its expected value along the way to that leaf (Saabas 2014), those of a pair are
its entry, half to each of the two features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opportune.core.models.card import AdditiveHead, PairTable, Tree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID = 2.0**32
"""Entries are multiples of 1 / GRID: then sums are exact in any order."""
WIDTHS = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))
"""The masks that hold so many leaves."""


class Term(NamedTuple):
    """A head that is summed into a column: `sign` times its entries, which are multiplied by `factor`. With the sign
    `effect` (0: not at all) the same entries are reasons of an offer. `offset` is the place of its card's first
    feature among those of all cards."""

    column: int
    head: AdditiveHead
    factor: float
    sign: int
    offer: int
    effect: int
    offset: int = 0


class Sum(NamedTuple):
    """Flat table entries that are added up by groups: entry e reads `values[first[e] + cell of shape[e]]`; group g
    begins at entry `starts[g]` and is number `groups[g]`."""

    values: Floats
    first: Ints
    shape: Ints
    starts: Ints
    groups: Ints

    def of(self, cells: Ints) -> Floats:
        """One sum per group, along the last axis; `cells` may have one row per customer."""
        found = self.values.take(self.first + cells.take(self.shape, -1))
        return np.add.reduceat(found, self.starts, -1)


class Joint:
    """The pairs and trees of all heads. Shapes are what is looked at (two features, or the nodes of a tree), each
    once: heads that share a shape share the look-up. `cells` is one number per shape, the pairs' first."""

    def __init__(self, terms: Sequence[Term], features: Sequence[tuple[int, int, int]], offers: int) -> None:
        """`features` are, per feature of the terms' heads: its place in `rows` (from 1), the first of its rows in
        the tables, and how many bins it has. Row 0 of the tables is the base's, and the first of `rows`."""
        self._places = np.array([place for place, _, _ in features], np.int64)
        self._width = 1 + len(features)
        pairs: dict[tuple[int, int], int] = {}
        shapes: dict[tuple[Any, ...], tuple[int, Tree]] = {}
        for term in terms:
            for pair in term.head.pairs:
                pairs.setdefault(_both(term, pair), len(pairs))
            for tree in term.head.trees:
                shapes.setdefault(_asked(term, tree), (len(shapes), tree))
        self._pairs = _pair_cells(pairs, features)
        asked = [([key[0] + feature for feature in tree.features], tree) for key, (_, tree) in shapes.items()]
        self._masks, order = _masked(asked, features)
        number = {key: len(pairs) + order[at] for key, (at, _) in shapes.items()}
        self._sum = _sums([(t.column, _entries(t, pairs, number)) for t in terms])
        mine = [term for term in terms if term.effect]
        self._halves = _sums([(t.offer, _halves(t, pairs)) for t in mine], 2.0 * GRID)
        self._half_places = _half_places(mine, self._places)
        self._paths, self._contributions = _paths(mine, number, self._places)
        self.base = np.zeros(offers)
        for term in mine:
            self.base[term.offer] += term.effect * sum(float(_expected(t, term.factor)[0]) for t in term.head.trees)

    def cells(self, rows: Ints) -> Ints:
        """The cell of every shape, for the rows of the tables that a customer's values are (or of many customers)."""
        first, second, stride, shift = self._pairs
        found = [rows.take(first, -1) * stride + rows.take(second, -1) + shift]
        for masks, used in self._masks:
            if rows.ndim == 1:
                bits = np.bitwise_and.reduce(masks.take(rows.take(used), 0), 0)
            else:
                bits = masks.take(rows[:, used[0]], 0)
                for place in used[1:]:
                    bits &= masks.take(rows[:, place], 0)
            found.append(_lowest(bits))
        return np.concatenate(found, -1)

    def add(self, total: Floats, cells: Ints) -> None:
        """Adds what the cells say to the columns."""
        if len(self._sum.first):
            total[..., self._sum.groups] += self._sum.of(cells)

    def rows_at_once(self, cells_max: int, rows_max: int) -> int:
        """How many customers to look at together, so that what is in between stays near the processor."""
        shapes: int = sum(masks.shape[1] for masks, _ in self._masks) + len(self._pairs[0])
        return max(1, min(rows_max, cells_max // max(1, shapes, len(self._sum.first))))

    def parts(self, cells: Ints, offer: int) -> Floats:
        """What each feature adds to the effect of one offer, in the order of `rows` after the first, beside `base`."""
        found = np.zeros(self._width)
        start, end = self._bounds(self._paths, offer)
        if end > start:
            at = self._paths.first[start:end] + cells.take(self._paths.shape[start:end])
            found += np.add.reduce(self._contributions.take(at, 0), 0)
        start, end = self._bounds(self._halves, offer)
        if end > start:
            at = self._halves.first[start:end] + cells.take(self._halves.shape[start:end])
            values = self._halves.values.take(at)
            for side in self._half_places:
                found += np.bincount(side[start:end], values, self._width)
        return found[1:]

    def all_parts(self, cells: Ints, offers: int) -> Floats:
        """`parts` of every offer: (offers, features)."""
        total = np.zeros((offers, self._width))
        if len(self._paths.first):
            at = self._paths.first + cells.take(self._paths.shape)
            total[self._paths.groups] += np.add.reduceat(self._contributions.take(at, 0), self._paths.starts, 0)
        if len(self._halves.first):
            values = self._halves.values.take(self._halves.first + cells.take(self._halves.shape))
            lengths = np.diff(self._halves.starts, append=len(values))
            offset = np.repeat(self._halves.groups, lengths) * self._width
            for side in self._half_places:
                total += np.bincount(offset + side, values, total.size).reshape(total.shape)
        return total[:, 1:]

    def turns(self, place: int, first: int, bins: int) -> NDArray[np.bool_]:
        """Whether bin b + 1 of the feature at a place of `rows` may say something else than bin b."""
        found = np.zeros(bins - 1, np.bool_)
        for masks, used in self._masks:
            if place in used:
                rows = masks[first : first + bins]
                found |= (rows[1:] != rows[:-1]).any(1)
        if (self._pairs[0] == place).any() or (self._pairs[1] == place).any():
            found[:] = True
        return found

    @staticmethod
    def _bounds(sums: Sum, offer: int) -> tuple[int, int]:
        at = int(np.searchsorted(sums.groups, offer))
        if at == len(sums.groups) or sums.groups[at] != offer:
            return 0, 0
        end = sums.starts[at + 1] if at + 1 < len(sums.starts) else len(sums.first)
        return int(sums.starts[at]), int(end)


_Masks = list[tuple[NDArray[Any], tuple[int, ...]]]
"""Per width of mask: (rows of the tables, trees), and the features looked at."""


def _masked(
    trees: Sequence[tuple[list[int], Tree]], features: Sequence[tuple[int, int, int]]
) -> tuple[_Masks, list[int]]:
    """The masks of all trees, given with their features among those of all cards; and each tree's number."""
    rows = 1 + sum(count for _, _, count in features)
    groups: _Masks = []
    order = [0] * len(trees)
    taken, least = 0, 0
    for width, kind in WIDTHS:
        here = [at for at, (_, tree) in enumerate(trees) if least < len(tree.leaves) <= width]
        least = width
        if not here:
            continue
        masks = np.full((rows, len(here)), np.iinfo(kind).max, kind)
        used: set[int] = set()
        for number, at in enumerate(here):
            order[at] = taken + number
            looked, tree = trees[at]
            _clear(masks[:, number], tree, [features[feature] for feature in looked])
            used.update(features[feature][0] for feature in looked)
        taken += len(here)
        groups.append((masks, tuple(sorted(used)) or (0,)))
    return groups, order


def _both(term: Term, pair: PairTable) -> tuple[int, int]:
    return term.offset + pair.first, term.offset + pair.second


def _asked(term: Term, tree: Tree) -> tuple[Any, ...]:
    """What a tree looks at, whatever it then says."""
    return term.offset, tree.features, tree.left_bins, tree.left, tree.right


def _lowest(bits: NDArray[Any]) -> Ints:
    """The place of the lowest bit set."""
    lowest = bits & (~bits + bits.dtype.type(1))
    found: Ints = np.bitwise_count(lowest - bits.dtype.type(1)).astype(np.int64)
    return found


def _in_order(tree: Tree) -> tuple[list[int], list[int]]:
    """The leaves from left to right, and per node the mask of those on its left side."""
    order: list[int] = []
    lefts = [0] * len(tree.features)

    def walk(child: int) -> int:
        if child < 0:
            order.append(~child)
            return 1 << (len(order) - 1)
        lefts[child] = walk(tree.left[child])
        return lefts[child] | walk(tree.right[child])

    walk(0 if tree.features else -1)
    return order, lefts


def _clear(masks: NDArray[Any], tree: Tree, features: Sequence[tuple[int, int, int]]) -> None:
    """Clears, per row, the leaves that its bin keeps from being reached; `features` are those of the nodes."""
    every = np.iinfo(masks.dtype).max
    _, lefts = _in_order(tree)
    for (_, first, count), runs, mask in zip(features, tree.left_bins, lefts, strict=True):
        kept = np.full(count, every ^ mask, masks.dtype)
        for low, high in runs:
            kept[low : high + 1] = every
        masks[first : first + count] &= kept


def _pair_cells(
    pairs: dict[tuple[int, int], int], features: Sequence[tuple[int, int, int]]
) -> tuple[Ints, Ints, Ints, Ints]:
    """(first feature, second feature, stride, shift): the cell is row of first x stride + row of second + shift."""
    found = []
    for first, second in pairs:
        place_one, row_one, _ = features[first]
        place_two, row_two, count = features[second]
        found.append((place_one, place_two, count, -row_one * count - row_two))
    one, two, stride, shift = np.array(found, np.int64).reshape(-1, 4).T
    return one, two, stride, shift


_Entry = tuple[int, tuple[Any, ...], Sequence[float]]
"""(the shape, what makes the values the same as others', the values by cell)."""


def on_grid(values: Sequence[float] | Floats) -> Floats:
    """Rounded to the grid on which sums are exact."""
    found: Floats = np.rint(np.asarray(values, np.float64) * GRID) / GRID
    return found


def _pair_values(pair: PairTable, factor: float) -> list[float]:
    return [factor * value for row in pair.parts for value in row]


def _entries(term: Term, pairs: dict[tuple[int, int], int], number: dict[tuple[Any, ...], int]) -> list[_Entry]:
    """A head's pairs and trees, the leaves of these from left to right."""
    factor = term.factor * term.sign
    found: list[_Entry] = [
        (pairs[_both(term, pair)], (pair.parts, factor), _pair_values(pair, factor)) for pair in term.head.pairs
    ]
    for tree in term.head.trees:
        order, _ = _in_order(tree)
        said = [factor * tree.leaves[leaf] for leaf in order]
        found.append((number[_asked(term, tree)], (tree.leaves, factor), said))
    return found


def _halves(term: Term, pairs: dict[tuple[int, int], int]) -> list[_Entry]:
    """Half of each pair's entries on the grid: both halves together are the entry, exactly."""
    found: list[_Entry] = []
    for pair in term.head.pairs:
        values = on_grid(_pair_values(pair, term.factor)) * (0.5 * term.effect)
        found.append((pairs[_both(term, pair)], (pair.parts, term.factor, term.effect), values.tolist()))
    return found


def _half_places(terms: Sequence[Term], places: Ints) -> tuple[Ints, Ints]:
    """The features of each pair, in the order that `_sums` gives its entries."""
    ordered = sorted(terms, key=lambda term: term.offer)
    found = [places[list(_both(term, pair))] for term in ordered for pair in term.head.pairs]
    one, two = np.array(found, np.int64).reshape(-1, 2).T
    return np.ascontiguousarray(one), np.ascontiguousarray(two)


def _sums(entries: Sequence[tuple[int, list[_Entry]]], grid: float = GRID) -> Sum:
    """Entries by group, ascending, on a grid; equal ones are kept once."""
    kept: dict[tuple[Any, ...], int] = {}
    values: list[float] = []
    first: list[int] = []
    shape: list[int] = []
    starts: list[int] = []
    groups: list[int] = []
    for group, mine in sorted(entries, key=lambda one: one[0]):
        if mine and (not groups or groups[-1] != group):
            groups.append(group)
            starts.append(len(first))
        for number, key, said in mine:
            at = kept.setdefault((number, key), len(values))
            if at == len(values):
                values.extend(said)
            first.append(at)
            shape.append(number)
    table = np.rint(np.array(values, np.float64) * grid) / grid
    return Sum(table, *(np.array(part, np.int64) for part in (first, shape, starts, groups)))


def _expected(tree: Tree, factor: float) -> list[float]:
    """The expected value at each node on the grid, by the shares of training rows; last of all the leaves'."""
    said = on_grid([factor * value for value in tree.leaves]).tolist()
    nodes = len(tree.features)
    found = [*([0.0] * nodes), *said]
    weights = [*([0.0] * nodes), *tree.shares]
    for node in reversed(range(nodes)):  # children stand behind their node
        one, two = (child if child >= 0 else nodes + ~child for child in (tree.left[node], tree.right[node]))
        weights[node] = weights[one] + weights[two]
        if weights[node] > 0.0:
            mean = (found[one] * weights[one] + found[two] * weights[two]) / weights[node]
        else:
            mean = (found[one] + found[two]) / 2.0
        found[node] = round(mean * GRID) / GRID
    return found


def _path_parts(tree: Tree, term: Term, places: Ints) -> Floats:
    """(leaves from left to right, 1 + features): the changes of the expected value on the way to each leaf."""
    expected = _expected(tree, term.factor)
    nodes = len(tree.features)
    found: list[Floats] = []

    def walk(child: int, so_far: Floats) -> None:
        if child < 0:
            found.append(so_far)
            return
        for below in (tree.left[child], tree.right[child]):
            there = so_far.copy()
            at = below if below >= 0 else nodes + ~below
            there[places[term.offset + tree.features[child]]] += term.effect * (expected[at] - expected[child])
            walk(below, there)

    walk(0 if nodes else -1, np.zeros(1 + len(places)))
    return np.array(found)


def _paths(terms: Sequence[Term], number: dict[tuple[Any, ...], int], places: Ints) -> tuple[Sum, Floats]:
    """The reasons of all trees: where each begins in a matrix (leaves, features), by offer; equal ones once."""
    kept: dict[tuple[Any, ...], int] = {}
    tables: list[Floats] = []
    rows = 0
    first: list[int] = []
    shape: list[int] = []
    starts: list[int] = []
    groups: list[int] = []
    for term in sorted(terms, key=lambda one: one.offer):
        if term.head.trees and (not groups or groups[-1] != term.offer):
            groups.append(term.offer)
            starts.append(len(first))
        for tree in term.head.trees:
            at = kept.setdefault((_asked(term, tree), tree.leaves, tree.shares, term.factor, term.effect), rows)
            if at == rows:
                tables.append(_path_parts(tree, term, places))
                rows += len(tree.leaves)
            first.append(at)
            shape.append(number[_asked(term, tree)])
    parts = np.concatenate(tables) if tables else np.zeros((0, 1 + len(places)))
    return Sum(np.zeros(0), *(np.array(part, np.int64) for part in (first, shape, starts, groups))), parts
