"""The table of beliefs: for every candidate and segment the chance of a purchase, what the offer adds, and how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.beliefs.cells import Cell, Form
from opportune.core.beliefs.delays import Cohorts, Curve, cohorts_of, curve, evidence, summed
from opportune.core.beliefs.shrink import Factors, shrink
from opportune.core.beliefs.spec import Adaptive, form_of, segment_of
from opportune.core.catalog import Candidate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KIND_SHARE: Final = 0.5
"""So much of an owner's error is one that all priors of a kind of offer have in common."""
CHANNEL_SPREAD: Final = 0.08
SEGMENT_SPREAD: Final = 0.12
"""Relative variances: a channel differs by some 28 % from the offer's mean, a segment by some 35 %."""
CHANCE_MAX: Final = 0.95
CHANCE_MIN: Final = 1e-4
ORGANIC_MIN: Final = 0.02
"""Of those who buy, at least so many would have bought by themselves, as far as anybody can know beforehand."""
MILLION: Final = 1e6
THOUSAND: Final = 1e3
ELSEWHERE: Final = "\x00"
"""A segment that nothing was heard of."""


class Believed(msgspec.Struct, frozen=True, array_like=True):
    """What a decision believes of candidates that no model covers, or not alone; columns, by candidate.

    candidates: as `offer@channel`, which every release understands. p_accept, uplift, uplift_se: as a model has them,
    in millionths: a record is kept for years, and whole numbers take half the room. shares: in thousandths, 1000 where
    no model covers the offer, falling to 0 as it learns from more rows. shown, bought: in this channel and segment so
    far. alike: (kind, shown, bought) of all offers of a kind.
    """

    candidates: tuple[str, ...]
    p_accept: tuple[int, ...]
    uplift: tuple[int, ...]
    uplift_se: tuple[int, ...]
    shares: tuple[int, ...]
    shown: tuple[int, ...]
    bought: tuple[int, ...]
    alike: tuple[tuple[str, int, int], ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One leaf of the table: raw counts, what they count for by now, and what is believed. `own` says how much of the
    belief in its acceptance comes from itself, from 0 to 1."""

    place: int
    segment: str
    shown: int
    bought: int
    control: int
    organic: int
    counted: float
    p_accept: float
    p_accept_se: float
    p_base: float
    uplift: float
    uplift_se: float
    own: float

    def intervals(self, z: float = 1.96) -> tuple[tuple[str, float, float], tuple[str, float, float]]:
        """(name, low, high) of acceptance and uplift, `z` standard errors of a normal wide (1.96: 95 %).

        The acceptance's is that of a gamma of this mean and error, through its cube root (Wilson and Hilferty 1931):
        it never falls below 0, and leans to the right where little is known.
        """
        ninth = (self.p_accept_se / self.p_accept) ** 2 / 9.0
        low, high = (max(1.0 - ninth + side * z * ninth**0.5, 0.0) ** 3 * self.p_accept for side in (-1.0, 1.0))
        reach = z * self.uplift_se
        return ("p_accept", low, min(high, 1.0)), ("uplift", self.uplift - reach, self.uplift + reach)


class BeliefTable:
    """Everything believed at one instant under one release; immutable. Made by `compile_beliefs`."""

    def __init__(
        self, adaptive: Adaptive, candidates: Sequence[Candidate], rows: Mapping[tuple[int, str], Row],
        shares: Mapping[str, float], curves: Mapping[str, Curve],
    ) -> None:  # fmt: skip
        self.adaptive = adaptive
        self.rows = rows
        self.curves = curves
        """By kind of offer, of those who were shown it."""
        self._candidates = candidates
        self._shares = shares
        self._places = sorted({place for place, _ in rows})
        self._alike = _alike(candidates, rows)
        self._known: dict[tuple[str, tuple[str, ...]], Believed | None] = {}

    def seen(self, features: Mapping[str, Any], channels: Sequence[str]) -> Believed | None:
        """What a decision about somebody with these features may read; None when there is nothing."""
        if not self._places:
            return None
        return self.of(segment_of(self.adaptive, features), tuple(channels))

    def of(self, segment: str, channels: tuple[str, ...]) -> Believed | None:
        """What is believed in a segment, of candidates in these channels."""
        key = (segment, channels)
        if key not in self._known:
            self._known[key] = self._made(segment, channels)
        return self._known[key]

    def share_of(self, offer: str) -> float:
        """How much of a decision about an offer rests on beliefs: 1.0 where no model covers it."""
        return self._shares[offer]

    def row(self, place: int, segment: str) -> Row:
        """A candidate's row; that of a segment nothing was heard of where there is none of its own."""
        return self.rows.get((place, segment)) or self.rows[place, ELSEWHERE]

    def _made(self, segment: str, channels: tuple[str, ...]) -> Believed | None:
        places = [place for place in self._places if self._candidates[place].channel.channel in channels]
        if not places:
            return None
        rows = [self.row(place, segment) for place in places]
        offers = [self._candidates[place].offer for place in places]
        kinds = sorted({offer.kind for offer in offers})
        return Believed(
            tuple([self._candidates[place].id for place in places]),
            tuple([round(row.p_accept * MILLION) for row in rows]),
            tuple([round(row.uplift * MILLION) for row in rows]),
            tuple([round(row.uplift_se * MILLION) for row in rows]),
            tuple([round(self._shares[offer.offer] * THOUSAND) for offer in offers]),
            tuple([row.shown for row in rows]),
            tuple([row.bought for row in rows]),
            tuple([(kind, *self._alike[kind]) for kind in kinds]),
        )


def compile_beliefs(
    adaptive: Adaptive, candidates: Sequence[Candidate], cells: Iterable[Cell], trained: Mapping[str, int], now_ms: int
) -> BeliefTable:
    """The table from everything counted. `trained`: by offer, from how many rows with it the live model learned.

    Offers that a model covers alone have no rows, nor have kinds of which nothing was heard: the owner's priors stand.
    """
    form = form_of(adaptive)
    shares = {
        one.offer.offer: max(0.0, 1.0 - trained.get(one.offer.offer, 0) / adaptive.handover) for one in candidates
    }
    place = {(one.offer.offer, one.channel.channel): one.index for one in candidates}
    mine = [cell for cell in cells if cell.form == form.key and (cell.offer, cell.channel) in place]
    kind_of = {one.offer.offer: one.offer.kind for one in candidates}
    by_kind: dict[str, list[Cell]] = {}
    for cell in mine:
        by_kind.setdefault(kind_of[cell.offer], []).append(cell)
    wanted = {one.offer.kind for one in candidates if shares[one.offer.offer] > 0.0}
    rows: dict[tuple[int, str], Row] = {}
    curves = {}
    for kind, found in by_kind.items():
        if kind in wanted:
            leaves = [one for one in candidates if one.offer.kind == kind]
            cohorts = cohorts_of(found)
            curves[kind] = curve(form, cohorts, now_ms, shown=True)
            rows.update(_rows(adaptive, form, leaves, found, cohorts, curves[kind], now_ms))
    kept = {key: row for key, row in rows.items() if shares[candidates[key[0]].offer.offer] > 0.0}
    return BeliefTable(adaptive, candidates, kept, shares, curves)


def _rows(
    adaptive: Adaptive, form: Form, candidates: Sequence[Candidate], cells: Sequence[Cell], cohorts: Cohorts,
    shown: Curve, now_ms: int,
) -> dict[tuple[int, str], Row]:  # fmt: skip
    """The rows of one kind of offer: its candidates x the segments heard of, and one for all others."""
    control = curve(form, cohorts, now_ms, shown=False)
    segments = [ELSEWHERE, *sorted({cell.segment for cell in cells})]
    cell_at = {(cell.offer, cell.channel, cell.segment): place for place, cell in enumerate(cells)}
    leaves = [(candidate, segment) for candidate in candidates for segment in segments]
    found = [cell_at.get((one.offer.offer, one.channel.channel, segment), -1) for one, segment in leaves]
    offered = evidence(form, cohorts, len(cells), now_ms, shown, shown=True)
    withheld = evidence(form, cohorts, len(cells), now_ms, control, shown=False)
    prior = np.array([_chance(one.offer.prior.p_accept) for one, _ in leaves])
    organic = np.array([_organic(one) for one, _ in leaves])
    parents = _parents(candidates, len(segments))
    own = 1.0 / adaptive.strength
    spreads = (SEGMENT_SPREAD, CHANNEL_SPREAD, (1.0 - KIND_SHARE) * own, KIND_SHARE * own)
    sold, trials = [_at(found, column) for column in offered]
    accept = shrink(sold, trials * prior, parents, spreads)
    p_accept = np.minimum(prior * accept.mean, CHANCE_MAX)
    p_se = p_accept * np.sqrt((1.0 - p_accept) / accept.shape)
    alone, watched = [_at(found, column) for column in withheld]
    base = shrink(alone, watched * organic * p_accept, parents, spreads)
    p_base = np.minimum(organic * p_accept * base.mean, CHANCE_MAX)
    uplift, uplift_se = _uplift(p_accept, p_se, p_base, base, watched * organic * p_accept)
    raw = (cohorts.shown, cohorts.bought, cohorts.control, cohorts.organic)
    counts = np.array([_at(found, summed(cohorts, column, len(cells))) for column in raw]).T.astype(int)
    columns = (trials, p_accept, p_se, p_base, uplift, uplift_se, accept.weight)
    return {
        (one.index, segment): Row(one.index, segment, *count, *numbers)
        for (one, segment), count, numbers in zip(
            leaves, counts.tolist(), (np.rint(np.array(columns).T * 1e9) / 1e9).tolist(), strict=True
        )
    }


def _uplift(
    p_accept: Floats, p_se: Floats, p_base: Floats, base: Factors, expected: Floats
) -> tuple[Floats, Floats]:
    """What showing adds, and its error. As long as nobody was watched without the offer, the base is a share of the
    acceptance, and errs with it; with every one watched it stands more on its own."""
    own = base.weight
    tied = np.divide(p_base, p_accept) * (1.0 - own)
    base_se = p_base * np.sqrt((1.0 - p_base) / base.shape)
    return p_accept - p_base, np.sqrt(((1.0 - tied) * p_se) ** 2 + base_se**2)


def _parents(candidates: Sequence[Candidate], segments: int) -> tuple[Ints, Ints, Ints]:
    """Of leaves (candidate x segment), candidates and offers: the places of candidate, offer and kind."""
    offers = {offer: number for number, offer in enumerate(dict.fromkeys(one.offer.offer for one in candidates))}
    of_leaf = np.repeat(np.arange(len(candidates)), segments)
    of_candidate = np.array([offers[one.offer.offer] for one in candidates], np.int64)
    return of_leaf, of_candidate, np.zeros(len(offers), np.int64)


def _chance(number: float) -> float:
    return min(max(number, CHANCE_MIN), CHANCE_MAX)


def _organic(candidate: Candidate) -> float:
    """The share of acceptances that the owner believes would have come without the offer; above 1 where it hurts."""
    prior = candidate.offer.prior
    return max(1.0 - prior.uplift / _chance(prior.p_accept), ORGANIC_MIN)


def _at(places: Sequence[int], column: Floats) -> Floats:
    """The numbers at these places; 0 for the place -1, of a leaf without a cell."""
    found: Floats = np.append(column, 0.0)[list(places)]
    return found


def _alike(candidates: Sequence[Candidate], rows: Mapping[tuple[int, str], Row]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in rows.values():
        kind = candidates[row.place].offer.kind
        shown, bought = found.get(kind, (0, 0))
        found[kind] = (shown + row.shown, bought + row.bought)
    return found
