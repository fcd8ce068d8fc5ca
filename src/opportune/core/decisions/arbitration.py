"""Arbitration: what every candidate that is left is worth, how often each is tried, and the one that is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from opportune.core.bitsets import indices
from opportune.core.decisions.believing import Weighed, weigh
from opportune.core.decisions.brain import Bools, Brain, Floats, Ints
from opportune.core.decisions.choose import pick, probabilities
from opportune.core.decisions.draws import uniform
from opportune.core.decisions.masks import exact_text, mask_of
from opportune.core.decisions.pools import Pool
from opportune.core.decisions.records import Asked, Scored, ScoredRow, Seen
from opportune.core.decisions.shortlist import Shortlist
from opportune.core.models import Scores

UPPER_BOUND_SE = 1.0
"""A candidate stays in arbitration while its value plus this many standard errors is above nothing."""


class Estimate(msgspec.Struct, frozen=True):
    """What scoring found: per place in `brain.offers`, probabilities and the error of the uplift.

    `model` is None when every number is the owner's prior; `prior` marks the places where it is. `scored` are the
    places the numbers are of, ascending, where not all offers were scored. `money` is what an acceptance brings where
    a model says so (else not a number), `tiring` by what the cost of a contact is multiplied; None: nobody says.
    """

    p_accept: Sequence[float]
    uplift: Sequence[float]
    uplift_se: Sequence[float]
    model: str | None
    prior: frozenset[int] = frozenset()
    scores: Scores | None = None
    scored: Sequence[int] | None = None
    money: Sequence[float] | None = None
    tiring: Sequence[float] | None = None

    def columns(self, places: Ints) -> Ints:
        """Where the numbers of these places are."""
        return places if self.scored is None else np.searchsorted(self.scored, places)


class Drawn(msgspec.Struct, frozen=True):
    """What arbitration drew: the candidate (None: NO_OFFER), its value with standard error, its chance, and whether
    another was worth more."""

    scored: Scored
    index: int | None
    value: float
    spread: float
    probability: float
    explored: bool


def arbitrate(
    brain: Brain,
    asked: Asked,
    seen: Seen,
    listed: Shortlist,
    estimate: Estimate,
    decision_id: str,
    draw: str = "choose",
) -> Drawn:
    """Values and chances of all that is left, and one drawn among them and NO_OFFER. `draw` names the draw: the
    places of a slate have one each."""
    pool = brain.pools.of(listed.left)
    left = pool.left
    values, spreads, believed = _values(brain, asked, seen, listed, estimate, pool)
    if listed.forced:
        open_ = np.isin(left, indices(listed.forced)).nonzero()[0]
        weighed = values[open_]
        chances = np.zeros(len(open_) + 1)
        chances[weighed.argmax()] = 1.0
    else:
        open_ = (values + UPPER_BOUND_SE * spreads > 0.0).nonzero()[0]
        weighed = np.zeros(len(open_) + 1)  # the last is NO_OFFER's
        weighed[:-1] = values[open_]
        kept = _unexplored(listed, left[open_]) if listed.unexplored else None
        doubt = None if believed is None else believed.doubt(brain.app.adaptive.optimism, spreads)[open_]
        chances = probabilities(weighed, brain.app.exploration, kept, doubt)
    position = pick(chances, uniform(decision_id, draw))
    probability = float(chances[position])
    spread_out = np.zeros(len(left))
    spread_out[open_] = chances[:-1]
    scored = _scored(listed, estimate, pool, values, spread_out)
    # NO_OFFER competes: where it is worth most, an offer is only tried.
    best = max(float(weighed[weighed.argmax()]), 0.0)
    if position == len(open_):
        return Drawn(scored, None, 0.0, 0.0, probability, best > 0.0)
    place = int(open_[position])
    value = float(values[place])
    return Drawn(scored, int(left[place]), value, float(spreads[place]), probability, value < best)


def worth(
    brain: Brain, asked: Asked, seen: Seen, listed: Shortlist, estimate: Estimate
) -> Iterator[tuple[int, float, float]]:
    """(candidate's place, value, standard error) of all that is left."""
    pool = brain.pools.of(listed.left)
    values, spreads, _ = _values(brain, asked, seen, listed, estimate, pool)
    yield from zip(pool.left.tolist(), values.tolist(), spreads.tolist(), strict=True)


def _unexplored(listed: Shortlist, pool: Ints) -> Bools:
    """Which of a pool are never tried while another is better; NO_OFFER, the last, only where all the others are so."""
    kept = np.isin(pool, indices(listed.unexplored))
    return np.append(kept, kept.all())


def scored_rows(brain: Brain, scored: Scored, seen: Seen, model: str | None) -> tuple[ScoredRow, ...]:
    """The columns of a record as rows, for people and for learning; `model` is the one that scored them."""
    column = {place: number for number, place in enumerate(scored.offers)}
    levers = dict(scored.levers)
    rows = []
    left = indices(mask_of(scored.left))
    places = [column[brain.offer_of[index]] for index in left]
    numbers = (scored.p_accept, scored.uplift, scored.uplift_se)
    p_accept, uplift, uplift_se = [np.array(part)[places] if places else np.zeros(0) for part in numbers]
    if seen.beliefs is not None:
        weigh(brain, seen.beliefs, np.array(left, np.int64), model is not None, p_accept, uplift, uplift_se)
    for place, (index, value, chance) in enumerate(zip(left, scored.values, scored.probabilities, strict=True)):
        rows.append(
            ScoredRow(
                brain.candidates[index].id, index, float(p_accept[place]), float(uplift[place]),
                float(uplift_se[place]), value, levers.get(index, 0.0), chance,
            )
        )  # fmt: skip
    return tuple(rows)


def _scored(listed: Shortlist, estimate: Estimate, pool: Pool, values: Floats, chances: Floats) -> Scored:
    offers, levers = pool.offers, listed.levers
    columns = offers if estimate.scored is None else estimate.columns(np.array(offers)).tolist()
    return Scored(
        exact_text(listed.left),
        tuple(values.tolist()),
        tuple(chances.tolist()),
        offers,
        _of(columns, estimate.p_accept),
        _of(columns, estimate.uplift),
        _of(columns, estimate.uplift_se),
        tuple([one for one in sorted(levers.items()) if listed.left >> one[0] & 1]) if levers else (),
    )


def _of(places: Sequence[int], column: Sequence[float]) -> tuple[float, ...]:
    return tuple(column) if len(places) == len(column) else tuple([column[place] for place in places])


def _values(
    brain: Brain, asked: Asked, seen: Seen, listed: Shortlist, estimate: Estimate, pool: Pool
) -> tuple[Floats, Floats, Weighed | None]:
    """What each candidate left is worth, in money, its standard error, and what of it is believed; see
    `playbook.Arbitration`."""
    left, places, margins = pool.left, estimate.columns(pool.places), pool.margins
    if estimate.money is not None:
        said = np.asarray(estimate.money)[places]
        margins = np.where(np.isnan(said), margins, said)
    uplift, spreads = np.asarray(estimate.uplift)[places], np.asarray(estimate.uplift_se)[places]
    pcvl = brain.app.arbitration.method == "pcvl"
    p_accept = np.asarray(estimate.p_accept)[places] if pcvl or seen.beliefs is not None else uplift
    believed = None
    if seen.beliefs is not None:
        believed = weigh(brain, seen.beliefs, left, estimate.model is not None, p_accept, uplift, spreads)
    if pcvl:
        factors = margins * brain.levers[left] * brain.weights[asked.moment][left]
        values = p_accept * factors
        spreads = spreads * factors
    else:
        values = uplift
        values *= margins
        values -= pool.costs
        spreads *= margins
        for channel, count in _recent(seen).items():
            if (tired := pool.tired.get(channel)) is not None:
                more = 1.0 if estimate.tiring is None else np.asarray(estimate.tiring)[places]
                values -= tired * more * count
    if listed.levers:
        added = np.array([listed.levers.get(index, 0.0) for index in left.tolist()])
        values += added
    values *= 1e4
    np.rint(values, out=values)
    values /= 1e4
    return values, spreads, believed


def _recent(seen: Seen) -> dict[str, int]:
    """Contacts of the last week per channel: each makes the next one cost more."""
    week_ms = 7 * 24 * 3_600_000
    counts: dict[str, int] = {}
    for scope, _, channel, age_ms in seen.contacts:
        if scope == "person" and age_ms < week_ms:
            counts[channel] = counts.get(channel, 0) + 1
    return counts
