"""Beliefs within a decision: where they stand in for a model, or share with one, and the benefit of their doubt."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from opportune.core.beliefs import Believed
from opportune.core.beliefs.table import MILLION, THOUSAND
from opportune.core.decisions.brain import Bools, Brain, Floats, Ints
from opportune.core.decisions.records import Seen

KNOWN_WELL: Final = 10.0
"""From so many purchases expected on, what is known of an offer is no longer called little."""


class Weighed(msgspec.Struct, frozen=True):
    """Which columns rest on beliefs, and how much; None where no model has a say in any."""

    columns: Ints
    shares: Floats | None

    def doubt(self, optimism: float, spreads: Floats) -> Floats:
        """Money that a candidate's gap to the best is counted smaller when chances are shared out: what little is known
        of may well be better than it seems. `spreads` are standard errors per candidate, in the last axis."""
        found = np.zeros(spreads.shape)
        leeway = spreads[..., self.columns]
        leeway *= optimism
        if self.shares is not None:
            leeway *= self.shares
        found[..., self.columns] = leeway
        return found


def weigh(
    brain: Brain, believed: Believed, candidates: Ints, modelled: bool, p_accept: Floats, uplift: Floats,
    uplift_se: Floats,
) -> Weighed | None:  # fmt: skip
    """Puts what is believed into the columns of these candidates (places, ascending), in place; None for none of them.

    A belief of share 1 replaces the owner's prior. One of a smaller share is weighed with the model's number, each by
    its precision and its share, so that the model takes over little by little; without a usable model (`modelled`
    false) it stands alone. Columns may have rows before their last axis.
    """
    told = _told(believed)
    by_id = brain.by_id
    column_of = dict(zip(candidates.tolist(), range(len(candidates)), strict=True))
    places = [column_of.get(by_id[one].index, -1) if one in by_id else -1 for one in believed.candidates]
    columns = np.array(places, np.int64)
    if -1 in places:
        here: Bools = columns >= 0
        if not here.any():
            return None
        columns = columns[here]
        told = Told(told.p_accept[here], told.uplift[here], told.uplift_se[here], told.shares[here], told.alone)
    if told.alone or not modelled:
        p_accept[..., columns] = told.p_accept
        uplift[..., columns] = told.uplift
        uplift_se[..., columns] = told.uplift_se
        return Weighed(columns, None)
    shares = told.shares
    own_se, model_se = told.uplift_se, uplift_se[..., columns]
    own = shares * model_se * model_se
    total = own + (1.0 - shares) * own_se * own_se
    # A model that is sure to the last digit stands alone, as long as it has a share.
    weight = np.divide(own, total, out=np.zeros(total.shape), where=total > 0.0)
    weight = np.where(shares == 1.0, 1.0, weight)
    rest = 1.0 - weight
    for column, number in ((p_accept, told.p_accept), (uplift, told.uplift)):
        column[..., columns] = _digits(weight * number + rest * column[..., columns])
    error = np.sqrt((weight * own_se) ** 2 + (rest * model_se) ** 2)
    uplift_se[..., columns] = _digits(error)
    return Weighed(columns, shares)


class Told(NamedTuple):
    """What is believed, as arrays; `alone` where no model has a share in any of it."""

    p_accept: Floats
    uplift: Floats
    uplift_se: Floats
    shares: Floats
    alone: bool


@lru_cache(maxsize=1024)
def _told(believed: Believed) -> Told:
    """Made once per segment: thousands of decisions read the same."""
    numbers = (believed.p_accept, believed.uplift, believed.uplift_se)
    p_accept, uplift, uplift_se = (_digits(np.array(column, np.float64) / MILLION) for column in numbers)
    shares = np.array(believed.shares, np.float64) / THOUSAND
    return Told(p_accept, uplift, uplift_se, shares, bool((shares == 1.0).all()))


def basis(brain: Brain, seen: Seen, model: str | None, candidate: str) -> str:
    """What a candidate's numbers rest on, in words: the model, its owner's prior, or a belief and how much is known."""
    believed = seen.beliefs
    if believed is None or candidate not in believed.candidates:
        return model or "none (owner’s prior)"
    at = believed.candidates.index(candidate)
    share = believed.shares[at] / THOUSAND
    alone = f"belief ({known_words(brain, seen, candidate)})"
    return alone if model is None or share == 1.0 else f"{model} and, for up to {share:.0%}, {alone}"


def known_words(brain: Brain, seen: Seen, candidate: str) -> str | None:
    """How much is known of a candidate that is believed in, such as `little is known about this offer yet: 12 shown, 2
    bought in this segment; similar offers: 300 shown, 14 bought`; None for any other."""
    believed = seen.beliefs
    if believed is None or candidate not in believed.candidates or candidate not in brain.by_id:
        return None
    at = believed.candidates.index(candidate)
    shown, bought = believed.shown[at], believed.bought[at]
    chance = believed.p_accept[at]
    much = "little is known about this offer yet" if chance * shown < KNOWN_WELL * MILLION else "learned from outcomes"
    where = "in this segment" if brain.app.adaptive.segments else "so far"
    kind = brain.by_id[candidate].offer.kind
    alike = "".join(
        f"; similar offers: {others} shown, {theirs} bought" for name, others, theirs in believed.alike if name == kind
    )
    return f"{much}: {shown} shown, {bought} bought {where}{alike}"


def _digits(numbers: Floats) -> Floats:
    return np.rint(numbers * 1e9) / 1e9
