"""Beliefs within a decision: where they stand in for a model, or share with one, and the benefit of their doubt."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from opportune.core.beliefs import Believed
from opportune.core.beliefs.table import MILLION, THOUSAND
from opportune.core.decisions.brain import Bools, Brain, Floats, Ints
from opportune.core.decisions.records import Seen

KNOWN_WELL: Final = 10.0
"""From so many purchases expected on, what is known of an offer is no longer called little."""


class Weighed(msgspec.Struct, frozen=True):
    """Which columns rest on beliefs, and how much: 1.0 where no model has a say."""

    columns: Ints
    shares: Floats

    def doubt(self, optimism: float, spreads: Floats) -> Floats:
        """Money that a candidate's gap to the best is counted smaller when chances are shared out: what little is known
        of may well be better than it seems. `spreads` are standard errors per candidate, in the last axis."""
        found = np.zeros(spreads.shape)
        found[..., self.columns] = spreads[..., self.columns] * (optimism * self.shares)
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
    by_id = brain.by_id
    every = np.array([by_id[one].index if one in by_id else -1 for one in believed.candidates], np.int64)
    at = np.searchsorted(candidates, every)
    here: Bools = at < len(candidates)
    here[here] = candidates[at[here]] == every[here]
    if not here.any():
        return None
    columns = at[here]
    shares = np.array(believed.shares)[here] / THOUSAND if modelled else np.ones(len(columns))
    own_se = np.array(believed.uplift_se)[here] / MILLION
    model_se = uplift_se[..., columns]
    own = shares * model_se * model_se
    others = (1.0 - shares) * own_se * own_se
    total = own + others
    # A model that is sure to the last digit stands alone, as long as it has a share.
    weight = np.divide(own, total, out=np.zeros(total.shape), where=total > 0.0)
    weight = np.where(shares == 1.0, 1.0, weight)
    rest = 1.0 - weight
    for column, told in ((p_accept, believed.p_accept), (uplift, believed.uplift)):
        column[..., columns] = _digits(weight * (np.array(told)[here] / MILLION) + rest * column[..., columns])
    error = np.sqrt((weight * own_se) ** 2 + (rest * model_se) ** 2)
    uplift_se[..., columns] = _digits(error)
    return Weighed(columns, shares)


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
