"""Several learners as one: weighed by a doubly robust loss on rows that none of them has seen.

Members are two linear models of the effect with learned shrinkage (with and without groups of values), which also
see how likely a customer is to buy anyway, and the S, T, X and DR learners. Weights are those of Q-aggregation
(Lan and Syrgkanis 2023): between the loss of the mixture and the mean loss of its members, with a prior that trusts
the simplest most; more complicated members must earn their weight.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from opportune.adapters.lightgbm.bins import Bins, Floats
from opportune.adapters.lightgbm.boost import chance
from opportune.adapters.lightgbm.learners import Kit, Rows, doubly_robust, folds_of, s_learner
from opportune.adapters.lightgbm.linear import Columns, Shrunk, chance_by, columns_of, logistic, shrunk

MEMBERS = ("trend", "groups", "x", "s", "t", "dr")
PRIOR = (0.6, 0.2, 0.05, 0.05, 0.05, 0.05)
_MIXED = 0.5
"""How much the members' own loss counts beside the mixture's."""
TEMPERATURE = 8.0
"""In noise variances per row: how much a member must gain to be taken against the prior. Chosen among 0, 0.5, 2 and 8
by cross-validation within training rows of Hillstrom's trial (`benchmarks.hillstrom_choices`)."""

Asked = tuple[Bins, Floats]
"""Rows asked about: their bins, and their codes."""


class Mixture(msgspec.Struct, frozen=True):
    """One offer's members after a fit: what each says of any rows, and how far off the linear ones may be."""

    members: tuple[Callable[[Asked], Floats], ...]
    variance: Callable[[Asked], Floats]
    without: object
    """The booster of the chance to buy without the offer."""

    def told(self, asked: Asked) -> Floats:
        """(rows, members): what each member says."""
        return np.column_stack([member(asked) for member in self.members])


class Weighed(msgspec.Struct, frozen=True):
    """One offer's mixture with its weights, and what the training rows were told by models that had not seen them."""

    mixture: Mixture
    weights: Floats
    said: Floats
    away: Floats

    def uplift(self, asked: Asked) -> Floats:
        """The weighted mean of the members."""
        found: Floats = self.mixture.told(asked) @ self.weights
        return found

    def variance(self, asked: Asked) -> Floats:
        """How far off the linear members may be, and how far the members are from each other."""
        told = self.mixture.told(asked)
        apart = (told - (told @ self.weights)[:, None]) ** 2 @ self.weights
        found: Floats = self.mixture.variance(asked) + apart
        return found


class Nuisance(msgspec.Struct, frozen=True):
    """The chances to buy with and without an offer: half by trees, half by a logistic regression."""

    trees: tuple[object, object]
    lines: tuple[Floats, Floats]
    columns: Columns

    def of(self, asked: Asked) -> tuple[Floats, Floats]:
        """(with it, without it) of each row."""
        bins, codes = asked
        values, _ = self.columns.of(bins, grouped=False)
        with_it, without = (
            0.5 * chance(tree, codes) + 0.5 * chance_by(line, values)
            for tree, line in zip(self.trees, self.lines, strict=True)
        )
        return with_it, without


def weighed(rows: Rows, offers: int, kit: Kit, seed: int) -> list[Weighed]:
    """Every offer's mixture with its weights."""
    told, said = unseen(rows, offers, kit, seed)
    found = []
    for place, (mixture, _) in enumerate(_mixtures(rows, offers, kit, columns_of(kit.coding), seed)):
        here = rows.place == place
        weights = q_aggregation(told[here], said[here], rows.weight[here], np.array(PRIOR))
        found.append(Weighed(mixture, weights, said[here], told[here] @ weights))
    return found


def unseen(rows: Rows, offers: int, kit: Kit, seed: int) -> tuple[Floats, Floats]:
    """What every row is told by members that have not seen it (rows, members), and what it says itself."""
    columns = columns_of(kit.coding)
    folds = folds_of(rows, kit.settings.folds, seed + 3)
    told = np.zeros((len(rows), len(MEMBERS)))
    said = np.zeros(len(rows))
    for fold in range(kit.settings.folds):
        there = rows.some(folds != fold)
        for place, (mixture, nuisance) in enumerate(_mixtures(there, offers, kit, columns, seed + 1_000 * (fold + 1))):
            here = (folds == fold) & (rows.place == place)
            asked = rows.bins[here], rows.codes[here]
            told[here] = mixture.told(asked)
            said[here] = doubly_robust(rows.some(here), *nuisance.of(asked))
    return told, said


def q_aggregation(
    told: Floats, said: Floats, weight: Floats, prior: Floats, temperature: float = TEMPERATURE
) -> Floats:
    """Convex weights of the members whose estimates are the columns of `told`, for what the rows `said`.

    Only what goes beyond the mean effect counts: all members know that. Projected gradients on the simplex.
    """
    mass = float(weight.sum())
    members, rest = told - weight @ told / mass, said - weight @ said / mass
    gram = (members * weight[:, None]).T @ members / mass
    pull = members.T @ (weight * rest) / mass
    own = np.diag(gram) - 2.0 * pull
    noise = float(weight @ rest**2 / mass) * float((weight**2).sum() / mass)
    penalty = _MIXED * own + temperature * noise / mass * np.log(1.0 / prior)
    steep = 2.0 * float(np.linalg.eigvalsh(gram).max()) + 1e-12
    found = prior.copy()
    for _ in range(4000):
        slope = (1.0 - _MIXED) * 2.0 * (gram @ found - pull) + penalty
        new = _onto_simplex(found - slope / steep)
        done = float(np.abs(new - found).max()) < 1e-9
        found = new
        if done:
            break
    return found


def _onto_simplex(values: Floats) -> Floats:
    """The nearest weights that are not negative and sum to 1 (Duchi et al. 2008)."""
    high = np.sort(values)[::-1]
    over = np.cumsum(high) - 1.0
    last = int(np.flatnonzero(high - over / np.arange(1, len(values) + 1) > 0.0)[-1])
    found: Floats = np.maximum(values - over[last] / (last + 1.0), 0.0)
    return found


def _mixtures(rows: Rows, offers: int, kit: Kit, columns: Columns, seed: int) -> list[tuple[Mixture, Nuisance]]:
    """Every offer's members on these rows, and the chances to buy that they were made with."""
    of_all = s_learner(rows, offers, kit, seed + 7)
    found = []
    for place in range(offers):
        mine = rows.some(rows.place == place)
        found.append(_mixture(mine, of_all[place].uplift, kit, columns, seed + 100 * place))
    return found


def _mixture(
    rows: Rows, by_s: Callable[[Floats], Floats], kit: Kit, columns: Columns, seed: int
) -> tuple[Mixture, Nuisance]:
    nuisance = _nuisance(rows, kit, columns, seed)
    said, anyway = np.zeros(len(rows)), np.zeros(len(rows))
    folds = folds_of(rows, kit.settings.folds, seed + 1)
    for fold in range(kit.settings.folds):
        here = folds == fold
        with_it, without = _nuisance(rows.some(~here), kit, columns, seed + 10 * (fold + 1)).of(
            (rows.bins[here], rows.codes[here])
        )
        said[here] = doubly_robust(rows.some(here), with_it, without)
        anyway[here] = (with_it + without) / 2.0
    stretch = max(float(anyway.std()), 1e-6)

    def values_of(asked: Asked, grouped: bool, known: Floats | None = None) -> tuple[Floats, Bins]:
        values, blocks = columns.of(asked[0], grouped=grouped)
        chances = np.mean(nuisance.of(asked), axis=0) if known is None else known
        return np.column_stack([chances / stretch, values]), np.concatenate([[0], blocks + 1])

    def line(grouped: bool) -> Shrunk:
        values, blocks = values_of((rows.bins, rows.codes), grouped, anyway)
        return shrunk(values, blocks, said, rows.weight)

    trend, groups = line(False), line(True)
    by_tree = kit.numbers(rows, said, seed + 5)
    by_x = _x(rows, nuisance, kit, seed + 6)
    treated, held = nuisance.trees
    members: tuple[Callable[[Asked], Floats], ...] = (
        lambda asked: trend.of(values_of(asked, False)[0]),
        lambda asked: groups.of(values_of(asked, True)[0]),
        lambda asked: by_x(asked[1]),
        lambda asked: by_s(asked[1]),
        lambda asked: chance(treated, asked[1]) - chance(held, asked[1]),
        lambda asked: chance(by_tree, asked[1]),
    )
    return Mixture(members, lambda asked: groups.variance(values_of(asked, True)[0]), held), nuisance


def _nuisance(rows: Rows, kit: Kit, columns: Columns, seed: int) -> Nuisance:
    trees, lines = [], []
    for number, side in enumerate((rows.treated, ~rows.treated)):
        mine = rows.some(side)
        trees.append(kit.chances(mine, seed + number))
        values, _ = columns.of(mine.bins, grouped=False)
        lines.append(logistic(values, mine.bought, mine.weight))
    return Nuisance((trees[0], trees[1]), (lines[0], lines[1]), columns)


def _x(rows: Rows, nuisance: Nuisance, kit: Kit, seed: int) -> Callable[[Floats], Floats]:
    """The X learner with the trees that are there already."""
    treated, held = rows.some(rows.treated), rows.some(~rows.treated)
    with_it, without = nuisance.trees
    of_treated = kit.numbers(treated, treated.bought - chance(without, treated.codes), seed)
    of_held = kit.numbers(held, chance(with_it, held.codes) - held.bought, seed + 1)
    share = rows.share
    return lambda codes: share * chance(of_held, codes) + (1.0 - share) * chance(of_treated, codes)
