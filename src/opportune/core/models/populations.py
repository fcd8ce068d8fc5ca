"""Populations: customers as counts (shares per bin, scores, what was predicted and what happened), without anybody."""

from __future__ import annotations

import msgspec


class Bins(msgspec.Struct, frozen=True, array_like=True):
    """How many rows fell into each bin.

    `spread` is the design effect of the shares (Rao and Scott 1981, Kish 1965): rows of one account resemble each
    other, so `rows / spread` of them say as much as that many independent ones. At least 1.
    """

    counts: tuple[int, ...]
    spread: float = 1.0

    @property
    def rows(self) -> int:
        return sum(self.counts)


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """Rows of about the same prediction: how many, the sum of what was predicted, and of what happened."""

    rows: int = 0
    predicted: float = 0.0
    happened: float = 0.0


class Answers(msgspec.Struct, frozen=True):
    """Predicted against observed, by bins of the prediction: with the offer, and held back."""

    offered: tuple[Cell, ...] = ()
    baseline: tuple[Cell, ...] = ()
    spread: float = 1.0

    @property
    def rows(self) -> int:
        return sum(cell.rows for cell in (*self.offered, *self.baseline))


class Population(msgspec.Struct, frozen=True):
    """Some rows of some `units` (accounts, or people without one). In the order of the card's features: `bins` as its
    tables cut them, `values` numbers by the points of the layout, `wrong` values of a type that is not the feature's
    (they also count as missing). `scores` are in the order of the layout's offers."""

    rows: int
    units: int
    bins: tuple[Bins, ...]
    values: tuple[Bins, ...]
    wrong: tuple[int, ...]
    scores: tuple[Bins, ...] = ()


class Layout(msgspec.Struct, frozen=True):
    """Where populations are cut, so that two can be compared: `points` per feature (upper bounds, included; none for
    what is no number), `score_edges` per offer (lower bounds, included), `answer_edges` of predictions."""

    points: tuple[tuple[float, ...], ...]
    offers: tuple[str, ...]
    score_edges: tuple[tuple[float, ...], ...]
    answer_edges: tuple[float, ...]


class SegmentShares(msgspec.Struct, frozen=True):
    """The rows with one value of one feature; `bin` is its bin in the card's table, `label` that bin in words."""

    feature: str
    bin: int
    label: str
    population: Population
    answers: Answers


class Snapshot(msgspec.Struct, frozen=True):
    """What training looked like: everybody, and each segment. Answers are of rows that the model did not learn from.

    It holds counts and bounds, and of categories only those that the card itself names.
    """

    layout: Layout
    whole: Population
    answers: Answers
    segments: tuple[SegmentShares, ...] = ()
