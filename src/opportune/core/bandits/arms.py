"""Disjoint linear arms: Bayesian linear regressions, several per action, weighed by how well they predict.

For each action and each belief (how strong the prior L is, how many events h it looks back), with g = 1 - 1/h:
A = g A + (1 - g) L + x x', b = g b + r x; value = x' A^-1 b, error sigma * sqrt(x' A^-1 x) (Li et al. 2010, "LinUCB";
Agrawal & Goyal 2013, Thompson sampling for linear payoffs). Between two blocks A^-1 is kept by rank-one updates
(Sherman & Morrison 1950); at the end of a block A is brought up to date, forgets, and is inverted anew, so that
rounding never adds up and what an action no longer sees goes back to the prior instead of without bound.

Which belief to trust is learned, for no prior suits all data: each weighs exp(-its squared errors / (2 sigma^2)), the
aggregating forecaster of Vovk 1990, with older errors discounted so that trust can move.
"""

from __future__ import annotations

from math import exp, isfinite, sqrt
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.bandits.chances import even_share, greedy, inverse_gap, thompson, thompson_pairs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK: Final = 64
"""Observations of an action between two fresh inversions."""

TRUST: Final = 0.999
"""How much of a memory's error is left one event later: trust looks back some 1,000 events."""

FIRST_ERROR: Final = (1.0, 4.0)
"""Before any reward an error is taken to be 0.5: the sum of squares and the number of four invented ones."""


class Belief(msgspec.Struct, frozen=True):
    """One way to learn: what the prior weighs, in observations per feature, and how many events it remembers (inf:
    all of them)."""

    prior: float
    memory: float


class ArmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How arms learn and explore. Features are taken to be of about unit size, rewards too.

    `thompson` tries each action with the chance that it is the best, its error taken `width` times (Chapelle & Li
    2011 found less than the whole error best); `upper` takes the largest value + width errors; `inverse_gap` weighs
    by distance with `gamma`. `floor` is the share spread evenly.
    """

    actions: int
    features: int
    beliefs: tuple[Belief, ...] = (Belief(0.05, 5_000.0), Belief(3.0, 5_000.0))
    method: Literal["thompson", "upper", "inverse_gap"] = "thompson"
    width: float = 0.2
    gamma: float = 500.0
    floor: float = 0.0


def _check(settings: ArmSettings) -> None:
    if settings.actions < 1 or settings.features < 1:
        raise ValueError("`actions` and `features` are at least 1")
    if not settings.beliefs or any(one.prior <= 0.0 or one.memory <= 1.0 for one in settings.beliefs):
        raise ValueError("`beliefs` are at least one, each with a prior above 0 and a memory above 1")
    if not 0.0 <= settings.floor <= 1.0:
        raise ValueError(f"`floor` is {settings.floor:g}: it is a share, from 0 to 1")


class Arms:
    """What was learned so far; the same events in the same order give the same state."""

    def __init__(self, settings: ArmSettings) -> None:
        """ValueError for settings that cannot be."""
        _check(settings)
        self.settings = settings
        beliefs, actions, size = len(settings.beliefs), settings.actions, settings.features
        self._keep = [1.0 - 1.0 / belief.memory for belief in settings.beliefs]
        self._penalty = np.array([belief.prior * size for belief in settings.beliefs])
        self._precision = np.zeros((actions, beliefs, size, size))
        self._precision[:, :] = np.eye(size) * self._penalty[:, None, None]
        self._moment = np.zeros((actions, beliefs, size))
        self._inverse = np.zeros((actions, beliefs, size, size))
        self._inverse[:, :] = np.eye(size) / self._penalty[:, None, None]
        # One buffer of rows: A^-1 x of every (action, belief), then their coefficients; one product gives errors
        # and values together.
        self._rows = np.zeros((2 * actions * beliefs, size))
        self._flat = self._inverse.reshape(actions * beliefs * size, size)
        self._out = self._rows[: actions * beliefs].reshape(-1)
        self._ahead = self._rows[: actions * beliefs].reshape(actions, beliefs, size)
        self._theta = self._rows[actions * beliefs :].reshape(actions, beliefs, size)
        self._change = np.zeros((beliefs, size, size))
        self._waiting: list[list[tuple[Floats, float, float]]] = [[] for _ in range(actions)]
        self._squares = [FIRST_ERROR[0]] * actions
        self._numbers = [FIRST_ERROR[1]] * actions
        self._losses = [0.0] * beliefs
        self._trust = [1.0 / beliefs] * beliefs
        self._asked: Floats | None = None
        self._found: list[float] = []

    def values(self, x: Floats) -> tuple[list[float], list[float]]:
        """(expected reward, its standard error) of every action for features `x`."""
        found = self._look(x)
        trust, beliefs = self._trust, len(self._trust)
        half = self.settings.actions * beliefs
        values, errors = [], []
        for action in range(self.settings.actions):
            value = spread = 0.0
            start = action * beliefs
            for place, weight in enumerate(trust, start):
                spread += weight * found[place]
                value += weight * found[half + place]
            values.append(value)
            errors.append(sqrt(max(spread, 0.0) * self._squares[action] / self._numbers[action]))
        return values, errors

    def chances(self, x: Floats) -> list[float]:
        """The chance with which each action is to be tried; sums to 1."""
        return self._chances(*self.values(x))

    def learn(self, x: Floats, action: int, reward: float, weight: float = 1.0) -> None:
        """Takes in that `action` was tried at `x` and paid `reward`; `weight` counts it as that many observations.
        ValueError, and nothing was learned, when a value is no number."""
        found = self._look(x)
        if not isfinite(reward + found[0]):
            raise ValueError("a feature or the reward is no finite number: leave this event out")
        beliefs = len(self._trust)
        start, half = action * beliefs, self.settings.actions * beliefs
        scale = self._squares[action] / self._numbers[action]
        expected = 0.0
        errors = []
        for place, trust in enumerate(self._trust):
            error = reward - found[half + start + place]
            expected += trust * (reward - error)
            errors.append(error)
            self._losses[place] = self._losses[place] * TRUST + weight * error * error / (2.0 * max(scale, 1e-9))
        self._settle(action, reward - expected, weight)
        ahead = self._ahead[action]
        gains = np.array(
            [weight / (1.0 + weight * max(found[start + place], 0.0)) for place in range(beliefs)]
        )
        scaled = ahead * gains[:, None]
        np.multiply(scaled[:, :, None], ahead[:, None, :], out=self._change)
        np.subtract(self._inverse[action], self._change, out=self._inverse[action])
        scaled *= np.array(errors)[:, None]
        self._theta[action] += scaled
        self._asked = None
        waiting = self._waiting[action]
        waiting.append((x, reward, weight))
        if len(waiting) >= BLOCK:
            self._renew(action)

    def chances_of(self, rows: Floats) -> Floats:
        """`chances` of many rows at once, of one state: a row of chances for each."""
        actions, beliefs, size = self.settings.actions, len(self._trust), self.settings.features
        trust = np.array(self._trust)
        ahead = (rows @ self._flat.T).reshape(len(rows), actions * beliefs, size)
        spreads = (ahead @ rows[:, :, None]).reshape(len(rows), actions, beliefs) @ trust
        values = (rows @ self._theta.reshape(-1, size).T).reshape(len(rows), actions, beliefs) @ trust
        errors = np.sqrt(np.maximum(spreads, 0.0) * np.array(self._squares) / np.array(self._numbers))
        if actions == 2 and self.settings.method == "thompson":
            found = thompson_pairs(values, self.settings.width * errors)
            return found * (1.0 - self.settings.floor) + self.settings.floor / 2.0
        pairs = zip(values.tolist(), errors.tolist(), strict=True)
        return np.array([self._chances(value, error) for value, error in pairs])

    def learn_all(self, rows: Floats, tried: Ints, rewards: Floats) -> None:
        """Takes in many observations at once; trust and the size of errors are judged by the state before them."""
        predicted = np.einsum("nd,nbd->nb", rows, self._theta[tried])
        errors = rewards[:, None] - predicted
        own = rewards - predicted @ np.array(self._trust)
        scale = np.maximum(np.array(self._squares) / np.array(self._numbers), 1e-9)
        left = TRUST ** np.arange(len(rows))[::-1]
        losses = (left / (2.0 * scale[tried])) @ (errors * errors)
        self._losses = (np.array(self._losses) * TRUST ** len(rows) + losses).tolist()
        for action in np.unique(tried).tolist():
            mine = tried == action
            squares = own[mine] ** 2
            left = TRUST ** np.arange(len(squares))[::-1]
            kept = TRUST ** len(squares)
            self._squares[action] = self._squares[action] * kept + float(left @ squares)
            self._numbers[action] = self._numbers[action] * kept + float(left.sum())
            self._renew(action, rows[mine], rewards[mine])
        self._weigh()
        self._asked = None

    def _chances(self, values: list[float], errors: list[float]) -> list[float]:
        settings = self.settings
        if settings.method == "thompson":
            width = settings.width
            found = thompson(values, [width * error for error in errors])
        elif settings.method == "upper":
            found = greedy([v + settings.width * e for v, e in zip(values, errors, strict=True)])
        else:
            found = inverse_gap(values, settings.gamma)
        return even_share(found, settings.floor) if settings.floor else found

    def _look(self, x: Floats) -> list[float]:
        """x' A^-1 x of every (action, belief), then x' theta; kept for the `learn` that follows `chances`."""
        if x is self._asked:
            return self._found
        if x.shape != (self.settings.features,):
            raise ValueError(f"`x` has the shape {x.shape}, but there are {self.settings.features} features")
        np.dot(self._flat, x, out=self._out)
        found: list[float] = np.dot(self._rows, x).tolist()
        self._asked, self._found = x, found
        return found

    def _settle(self, action: int, error: float, weight: float) -> None:
        """The size of an action's errors."""
        self._squares[action] = self._squares[action] * TRUST + weight * error * error
        self._numbers[action] = self._numbers[action] * TRUST + weight
        self._weigh()

    def _weigh(self) -> None:
        if len(self._losses) == 1:
            return
        least = min(self._losses)
        weights = [exp(least - loss) for loss in self._losses]
        total = sum(weights)
        self._trust = [each / total for each in weights]

    def _renew(self, action: int, more: Floats | None = None, paid: Floats | None = None) -> None:
        """The end of a block: what waits, and more, goes into the precision, which forgets, and is inverted anew."""
        waiting = self._waiting[action]
        if waiting:
            x = np.array([row for row, _, _ in waiting])
            y = np.array([reward for _, reward, _ in waiting])
            w = np.array([weight for _, _, weight in waiting])
            if more is not None and paid is not None:
                x, y, w = np.concatenate([x, more]), np.concatenate([y, paid]), np.append(w, np.ones(len(more)))
            self._waiting[action] = []
        else:
            assert more is not None
            assert paid is not None
            x, y, w = more, paid, np.ones(len(more))
        for belief, keep in enumerate(self._keep):
            kept = keep ** len(x)
            weighed = x * (w * keep ** np.arange(len(x))[::-1])[:, None]
            precision = self._precision[action, belief]
            precision *= kept
            precision.flat[:: len(precision) + 1] += (1.0 - kept) * self._penalty[belief]
            precision += weighed.T @ x
            moment = self._moment[action, belief]
            moment *= kept
            moment += weighed.T @ y
        inverse = np.linalg.inv(self._precision[action])
        inverse += inverse.transpose(0, 2, 1)
        inverse *= 0.5
        self._inverse[action] = inverse
        self._theta[action] = (inverse @ self._moment[action][:, :, None])[:, :, 0]
