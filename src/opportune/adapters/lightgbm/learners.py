"""The learners of what an offer causes, over LightGBM: S, T and X (Kuenzel et al. 2019) and DR (Kennedy 2023).

Rows are weighed so that within an offer, who was treated and who was held out look alike (`fit_weights`): the rows
are then those of a trial with one share of treated, which is the probability that the X and DR learners ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.lightgbm.bins import Bins, Coding, Floats
from opportune.adapters.lightgbm.boost import BINARY, SQUARES, boost, chance
from opportune.adapters.lightgbm.settings import Settings
from opportune.adapters.lightgbm.trees import Forest, forest_of
from opportune.core.models import Form

Bools = NDArray[np.bool_]


class Rows(msgspec.Struct, frozen=True):
    """Examples as arrays, one entry per row: bins, codes for LightGBM, which offer, treated, bought, weight."""

    bins: Bins
    codes: Floats
    place: Bins
    treated: Bools
    bought: Floats
    weight: Floats

    def some(self, chosen: Any) -> Rows:  # noqa: ANN401  (a mask or row numbers)
        """Those rows."""
        return Rows(*(getattr(self, field)[chosen] for field in self.__struct_fields__))

    @property
    def share(self) -> float:
        """How many of a hundred rows are treated, by weight."""
        return float(self.weight[self.treated].sum() / self.weight.sum())

    def __len__(self) -> int:
        return len(self.treated)


class Learned(msgspec.Struct, frozen=True):
    """What one learner says of one offer: its heads in the card's form, and the uplift of any rows' codes."""

    form: Form
    offered: Callable[[], Forest]
    baseline: Callable[[], Forest]
    uplift: Callable[[Floats], Floats]


class Kit(msgspec.Struct, frozen=True):
    """What every model within a learner is made with."""

    coding: Coding
    settings: Settings

    def chances(self, rows: Rows, seed: int) -> Any:  # noqa: ANN401  (lightgbm has no types)
        """A booster of the chance to buy."""
        return boost(
            rows.codes, rows.bought, rows.weight, self.settings, BINARY, self.coding.categorical, seed
        )

    def numbers(self, rows: Rows, target: Floats, seed: int) -> Any:  # noqa: ANN401 - a booster, which has no types
        """A booster of a number, by least squares."""
        return boost(rows.codes, target, rows.weight, self.settings, SQUARES, self.coding.categorical, seed)

    def forest(self, booster: Any) -> Forest:  # noqa: ANN401 - a booster, which has no types
        """A booster as a card has it."""
        return forest_of(booster, self.coding)


def s_learner(rows: Rows, offers: int, kit: Kit, seed: int) -> list[Learned]:
    """One model for all offers, which is told the offer and whether it was made: what offers share is learned once."""
    width = rows.codes.shape[1]
    codes = np.column_stack([rows.codes, rows.place, rows.treated])
    names = [*kit.coding.categorical, width]
    booster = boost(codes, rows.bought, rows.weight, kit.settings, BINARY, names, seed)

    def told(asked: Floats, place: int, treated: float) -> Floats:
        both = np.tile([place, treated], (len(asked), 1))
        return chance(booster, np.column_stack([asked, both]))

    def one(place: int) -> Learned:
        return Learned(
            "odds",
            lambda: forest_of(booster, kit.coding, {width: float(place), width + 1: 1.0}),
            lambda: forest_of(booster, kit.coding, {width: float(place), width + 1: 0.0}),
            lambda asked: told(asked, place, 1.0) - told(asked, place, 0.0),
        )

    return [one(place) for place in range(offers)]


def t_learner(rows: Rows, kit: Kit, seed: int) -> Learned:
    """Two models: of those with the offer and of those without."""
    with_it, without = kit.chances(rows.some(rows.treated), seed), kit.chances(rows.some(~rows.treated), seed + 1)
    return Learned(
        "odds",
        lambda: kit.forest(with_it),
        lambda: kit.forest(without),
        lambda asked: chance(with_it, asked) - chance(without, asked),
    )


def x_learner(rows: Rows, kit: Kit, seed: int) -> Learned:
    """Each side's purchases less what the other side's model expects of the same customers, learned on both sides."""
    treated, held = rows.some(rows.treated), rows.some(~rows.treated)
    with_it, without = kit.chances(treated, seed), kit.chances(held, seed + 1)
    of_treated = kit.numbers(treated, treated.bought - chance(without, treated.codes), seed + 2)
    of_held = kit.numbers(held, chance(with_it, held.codes) - held.bought, seed + 3)
    share = rows.share
    return Learned(
        "effect",
        lambda: kit.forest(of_held).times(share).plus(kit.forest(of_treated).times(1.0 - share)),
        lambda: kit.forest(without),
        lambda asked: share * chance(of_held, asked) + (1.0 - share) * chance(of_treated, asked),
    )


def dr_learner(rows: Rows, kit: Kit, seed: int) -> Learned:
    """What each row says of the effect, doubly robust and by models that have not seen it, learned by least squares."""
    said = pseudo_outcomes(rows, kit, folds_of(rows, kit.settings.folds, seed), seed + 10)
    effect, without = kit.numbers(rows, said, seed), kit.chances(rows.some(~rows.treated), seed + 1)
    return Learned(
        "effect",
        lambda: kit.forest(effect),
        lambda: kit.forest(without),
        lambda asked: chance(effect, asked),
    )


ONE_OFFER: dict[str, Callable[[Rows, Kit, int], Learned]] = {
    "t_learner": t_learner,
    "x_learner": x_learner,
    "dr_learner": dr_learner,
}


def learned_by(algorithm: str, rows: Rows, offers: int, kit: Kit, seed: int) -> list[Learned]:
    """One of the learners for every offer."""
    if algorithm == "s_learner":
        return s_learner(rows, offers, kit, seed)
    learn = ONE_OFFER[algorithm]
    return [learn(rows.some(rows.place == place), kit, seed + 100 * place) for place in range(offers)]


def folds_of(rows: Rows, folds: int, seed: int) -> Bins:
    """A fold for each row, by chance, each with its part of every offer's treated and held out."""
    random = np.random.default_rng(seed)
    found = np.zeros(len(rows), dtype=np.intp)
    cell = rows.place * 2 + rows.treated
    for name in np.unique(cell):
        here = np.flatnonzero(cell == name)
        found[random.permutation(here)] = np.arange(len(here)) % folds
    return found


def expected(rows: Rows, asked: Floats, kit: Kit, seed: int) -> tuple[Floats, Floats]:
    """The chances to buy with and without the offer of `asked`, learned from `rows`."""
    found = []
    for number, side in enumerate((rows.treated, ~rows.treated)):
        mine = rows.some(side)
        if len(np.unique(mine.bought)) < 2:
            found.append(np.full(len(asked), float(np.average(mine.bought, weights=mine.weight))))
        else:
            found.append(chance(kit.chances(mine, seed + number), asked))
    return found[0], found[1]


def pseudo_outcomes(rows: Rows, kit: Kit, folds: Bins, seed: int) -> Floats:
    """What each row of one offer says of the effect (Kennedy 2023): right on average if either the expected chances
    or the probabilities are. No row is judged by a model that has seen it."""
    with_it, without = np.zeros(len(rows)), np.zeros(len(rows))
    for fold in range(int(folds.max()) + 1):
        here = folds == fold
        with_it[here], without[here] = expected(rows.some(~here), rows.codes[here], kit, seed + 2 * fold)
    return doubly_robust(rows, with_it, without)


def doubly_robust(rows: Rows, with_it: Floats, without: Floats) -> Floats:
    """The augmented inverse-probability term of each row: its mean is the effect."""
    share = rows.share
    factor = np.where(rows.treated, 1.0 / share, -1.0 / (1.0 - share))
    found: Floats = with_it - without + factor * (rows.bought - np.where(rows.treated, with_it, without))
    return found


def concatenated(parts: Sequence[Floats], place: Bins) -> Floats:
    """Values found per offer, put back in the order of the rows."""
    found = np.zeros(len(place))
    for number, part in enumerate(parts):
        found[place == number] = part
    return found
