"""Arbitration over many customers at once; see `arbitration` and `choose` for what each step means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erf, fsum, sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.beliefs import Believed
from opportune.core.decisions.arbitration import UPPER_BOUND_SE
from opportune.core.decisions.believing import Weighed, weigh
from opportune.core.decisions.brain import Bools, Brain, Floats, Ints
from opportune.core.decisions.draws import uniforms
from opportune.core.models.rows import RowScores
from opportune.core.playbook import Exploration
from opportune.core.policies.rows import RowStanding, Words, any_of, bits_of, words_of

DIGITS = 1e9
NEAR = 1e-4
"""A number this near to where its last digit turns is worked out exactly: quick sums differ by some 1e-6 of a digit."""
SURE_AT = 4.5
"""Standard errors over sqrt(2) from where a confidence of six digits is 0 or 1."""


class Chosen(msgspec.Struct, frozen=True):
    """Per row: the candidate drawn (-1: NO_OFFER), what it is worth and how sure, what the model says
    of it, its chance, whether another was worth more, and whether it was forced. Of rows where nothing is left it
    means nothing."""

    candidate: Ints
    value: Floats
    p_accept: Floats
    uplift: Floats
    confidence: Floats
    probability: Floats
    explored: Bools
    forced: Bools


def choose_rows(
    brain: Brain, moment: str, ids: Sequence[str], left: Words, standing: RowStanding, scores: RowScores,
    tired: Mapping[str, Ints], beliefs: Sequence[Believed | None] | None = None,
) -> Chosen:  # fmt: skip
    """One candidate per row, drawn among those left and NO_OFFER. tired: channel -> recent contacts. beliefs: what is
    believed of candidates in each row."""
    count, size = len(ids), len(brain.candidates)
    every = np.arange(count)
    bits = bits_of(left, size)
    columns = _columns(brain, scores)
    weighed_rows = [] if beliefs is None else _weighed(brain, scores, beliefs, columns)
    p_accept, uplift = columns[0], columns[1]
    values, spreads = _values(brain, moment, columns, standing, bits, tired, scores)
    forcing = np.broadcast_to(standing.forced, left.shape) & left
    forced = any_of(forcing)
    pool = (values + UPPER_BOUND_SE * spreads > 0.0) & bits
    if forced.any():
        pool = np.where(forced[:, None], bits_of(forcing, size), pool)
    weighed = np.empty((count, size + 1))
    weighed[:, size] = np.where(forced, -np.inf, 0.0)  # NO_OFFER is the last
    weighed[:, :size] = -np.inf
    np.copyto(weighed[:, :size], values, where=pool)
    best = weighed.argmax(axis=1)
    top = np.maximum(weighed[:, :size].max(axis=1, initial=0.0), 0.0)
    kept = None if not standing.unexplored.any() else bits_of(np.broadcast_to(standing.unexplored, left.shape), size)
    open_ = _open(pool, kept, forced, best)
    doubt = _doubt(brain, weighed_rows, spreads) if weighed_rows else None
    chances = _chances(weighed, open_, best, brain.app.exploration, doubt)
    drawn = _drawn(chances, best, ids)
    offered = drawn < size
    place = np.where(offered, drawn, 0)
    value, spread = values[every, place], spreads[every, place]
    return Chosen(
        np.where(offered, drawn, -1),
        value,
        p_accept[every, place],
        uplift[every, place],
        _confidence(value, spread),
        chances[every, drawn],
        np.where(offered, value < top, top > 0.0),
        forced,
    )


def _columns(brain: Brain, scores: RowScores) -> tuple[Floats, Floats, Floats]:
    """Acceptance, uplift and its error per row and candidate."""
    places = brain.places
    return scores.p_accept[:, places], scores.uplift[:, places], scores.uplift_se[:, places]


def _weighed(
    brain: Brain, scores: RowScores, beliefs: Sequence[Believed | None], columns: tuple[Floats, Floats, Floats]
) -> list[tuple[Ints, Weighed]]:
    """Puts beliefs into the columns, in place: customers of one segment at once. (rows, what was weighed)"""
    failed = np.zeros(len(beliefs), np.bool_) if scores.failed is None else scores.failed
    if brain.model is None:
        failed = np.ones(len(beliefs), np.bool_)
    groups: dict[tuple[int, bool], list[int]] = {}
    for row, one in enumerate(beliefs):
        if one is not None:
            groups.setdefault((id(one), bool(failed[row])), []).append(row)
    every = np.arange(len(brain.candidates))
    found = []
    for (_, lost), members in groups.items():
        rows, believed = np.array(members, np.int64), beliefs[members[0]]
        assert believed is not None
        parts = [column[rows] for column in columns]
        weighed = weigh(brain, believed, every, not lost, parts[0], parts[1], parts[2])
        if weighed is not None:
            for column, part in zip(columns, parts, strict=True):
                column[rows] = part
            found.append((rows, weighed))
    return found


def _doubt(brain: Brain, weighed: Sequence[tuple[Ints, Weighed]], spreads: Floats) -> Floats:
    """The benefit of the doubt of every row and candidate, NO_OFFER last."""
    found = np.zeros((spreads.shape[0], spreads.shape[1] + 1))
    for rows, one in weighed:
        found[rows, :-1] = one.doubt(brain.app.adaptive.optimism, spreads[rows])
    return found


def _values(
    brain: Brain, moment: str, columns: tuple[Floats, Floats, Floats], standing: RowStanding, bits: Bools,
    tired: Mapping[str, Ints], scores: RowScores,
) -> tuple[Floats, Floats]:  # fmt: skip
    """What each candidate is worth, in money, and its standard error."""
    margins = brain.margins
    if scores.money is not None:
        said = scores.money[:, brain.places]
        margins = np.where(np.isnan(said), margins, said)
    p_accept, uplift, uplift_se = columns
    size = len(brain.candidates)
    if brain.app.arbitration.method == "pcvl":
        factors = margins * brain.levers * brain.weights[moment]
        values = p_accept * factors
        spreads = uplift_se * factors
    else:
        values = uplift * margins - brain.costs
        spreads = uplift_se * margins
        fatigue = brain.fatigue if scores.tiring is None else brain.fatigue * scores.tiring[:, brain.places]
        for channel, counts in tired.items():
            mask = brain.channel_masks.get(channel, 0)
            reached = bits_of(words_of(mask, (size + 63) // 64), size)
            values -= np.where(reached, fatigue * counts[:, None], 0.0)
    if standing.levers is not None:
        money, where = standing.levers
        values = np.where(where & bits, values + money, values)
    values *= 1e4
    np.rint(values, out=values)
    values /= 1e4
    return values, spreads


def _open(pool: Bools, unexplored: Bools | None, forced: Bools, best: Ints) -> Bools:
    """Which have a chance, NO_OFFER the last: all of the pool, less those never tried while another is better."""
    found = np.empty((len(pool), pool.shape[1] + 1), np.bool_)
    found[:, :-1] = pool
    found[:, -1] = ~forced
    if unexplored is not None:
        kept = pool & unexplored
        all_kept = kept.any(axis=1) & (kept.sum(axis=1) == pool.sum(axis=1))
        found[:, :-1] &= ~kept
        found[:, -1] &= ~all_kept
    if forced.any():
        found[forced] = False
    found[np.arange(len(pool)), best] = True
    return found


def _chances(
    weighed: Floats, open_: Bools, best: Ints, exploration: Exploration, doubt: Floats | None = None
) -> Floats:
    """`choose.probabilities` of every row, over those with a chance. `weighed` is written over."""
    every = np.arange(len(weighed))
    count = open_.sum(axis=1)
    chances = weighed
    if exploration.method == "inverse_gap":
        np.subtract(weighed[every, best][:, None], weighed, out=chances)
        if doubt is not None:
            chances -= doubt
            np.maximum(chances, 0.0, out=chances)
        with np.errstate(invalid="ignore"):  # what is not weighed is infinitely far away
            chances *= exploration.gamma / exploration.value_scale
        chances += count[:, None]
        np.divide(1.0, chances, out=chances)
        np.copyto(chances, 0.0, where=~open_)
        chances[every, best] = 0.0
    else:
        chances[:] = 0.0
    single = np.full(len(weighed), exploration.method == "off") | (count == 1)
    rest = 1.0 - chances.sum(axis=1)
    share = exploration.floor / count
    ahead = np.abs(np.modf((rest * (1.0 - exploration.floor) + share) * DIGITS)[0] - 0.5)
    for row in np.flatnonzero((ahead < NEAR) & ~single).tolist():
        rest[row] = 1.0 - fsum(chances[row].tolist())
    chances[every, best] = rest
    chances *= 1.0 - exploration.floor
    np.add(chances, share[:, None], out=chances, where=open_)
    chances *= DIGITS
    np.rint(chances, out=chances)
    chances /= DIGITS
    if single.any():
        chances[single] = 0.0
        chances[single, best[single]] = 1.0
    return chances


def _drawn(chances: Floats, best: Ints, ids: Sequence[str]) -> NDArray[np.int64]:
    """The place each row's draw falls on; `choose.pick`. Where one has all the chance, nothing is drawn."""
    drawn = best.copy()
    rows = np.flatnonzero(chances[np.arange(len(best)), best] < 1.0)
    if not len(rows):
        return drawn
    picked = chances[rows]
    draws = uniforms([ids[row] for row in rows.tolist()], "choose")
    found = (picked.cumsum(axis=1) <= draws[:, None]).sum(axis=1)
    last = chances.shape[1] - 1 - (picked[:, ::-1] > 0.0).argmax(axis=1)
    drawn[rows] = np.where(found < chances.shape[1], found, last)
    return drawn


def _confidence(value: Floats, spread: Floats) -> Floats:
    """`choose.confidence` of every row."""
    found = np.where(value > 0.0, 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = value / (spread * sqrt(2.0))
    near = np.flatnonzero((spread > 0.0) & (np.abs(apart) < SURE_AT))
    chances = 0.5 * (1.0 + np.fromiter(map(erf, apart[near].tolist()), np.float64, len(near)))
    digits = chances * 1e6
    rounded = np.rint(digits) / 1e6
    for place in np.flatnonzero(np.abs(np.modf(digits)[0] - 0.5) < NEAR).tolist():
        rounded[place] = round(float(chances[place]), 6)
    found[near] = rounded
    return found
