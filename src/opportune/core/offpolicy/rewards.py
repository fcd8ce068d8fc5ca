"""Reward models: what each action would have earned in each row, learned from other customers' rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.offpolicy.log import Floats, Ints, Log

Predict = Callable[[Floats], Floats]
"""Contexts (rows, features) -> modelled rewards (rows, actions)."""

FOLDS = 3
STEPS_MAX = 30
NEVER = float("inf")
OWN_PENALTIES = (3.0, 30.0, 300.0, NEVER)
"""How strongly an action's own coefficients are held to the shared ones; NEVER: it has none."""
CONTEXT_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
LEVEL_PENALTY = 1.0
"""Actions' levels differ by about one in log-odds before anything is seen: what logistic regression takes by default.
Chosen by loss it swung from one extreme to the other where one row in 200 had a reward."""
FEW_ROWS = 8


class Penalties(msgspec.Struct, frozen=True):
    """How strongly coefficients are held: of the context, and of each action's own."""

    context: float = 30.0
    own: float = NEVER


class RewardLearner(Protocol):
    """Learns what each action earns in which context. The same rows give the same model."""

    @property
    def name(self) -> str:
        """The algorithm and the version of the library behind it."""

    def fit(self, contexts: Floats, action: Ints, reward: Floats, unit: Ints, actions: int) -> Predict:
        """A model of the rewards of `actions` actions, also of those that never occur in these rows."""


class SharedThenOwn(RewardLearner):
    """Linear in the context, logistic where rewards are 0 or 1: coefficients that all actions share, and each
    action's own, shrunk towards none. How much is chosen by the loss on half of the rows that were not fitted."""

    name = "shared and own coefficients, shrunk"

    def fit(self, contexts: Floats, action: Ints, reward: Floats, unit: Ints, actions: int) -> Predict:
        """See RewardLearner. Where all rewards are alike, that is all there is to learn."""
        if np.ptp(reward) == 0.0:
            same = float(reward[0])
            return lambda asked: np.full((len(asked), actions), same)
        middle, scale = contexts.mean(axis=0), contexts.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        binary = bool(((reward == 0.0) | (reward == 1.0)).all())
        rows = np.hstack([np.ones((len(contexts), 1)), (contexts - middle) / scale])
        penalties = _chosen(rows, action, reward, unit, actions, binary)
        shared = _shared(rows, action, reward, actions, penalties, binary)
        own = _own(rows, action, reward, shared, actions, penalties, binary)

        def predict(asked: Floats) -> Floats:
            return _predicted(np.hstack([np.ones((len(asked), 1)), (asked - middle) / scale]), shared, own, binary)

        return predict


def cross_fitted(
    log: Log, contexts: Floats, learner: RewardLearner, generator: np.random.Generator, folds: int = FOLDS
) -> Floats:
    """Rewards of all actions in all rows, each by a model that has not seen the row's unit (Chernozhukov et al. 2018):
    otherwise the model would explain away the very noise it is to correct for."""
    units, place = np.unique(log.unit, return_inverse=True)
    fold = generator.permutation(len(units))[place] % min(folds, len(units))
    found = np.empty((len(log.action), len(log.actions)))
    for number in range(fold.max() + 1):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if not len(outside):
            found[inside] = float(log.reward.mean())
            continue
        predict = learner.fit(
            contexts[outside], log.action[outside], log.reward[outside], log.unit[outside], len(log.actions)
        )
        found[inside] = predict(contexts[inside])
    return found


def _chosen(
    rows: Floats, action: Ints, reward: Floats, unit: Ints, actions: int, binary: bool
) -> Penalties:
    """The penalties with the least loss on the half of the units that was not fitted, over both halves."""
    best = Penalties()
    if len(rows) < FEW_ROWS:
        return best
    half: NDArray[np.bool_] = np.unique(unit, return_inverse=True)[1] % 2 == 0
    if half.all():
        return best
    for name, penalties in (("context", CONTEXT_PENALTIES), ("own", OWN_PENALTIES)):
        some = [msgspec.structs.replace(best, **{name: penalty}) for penalty in penalties]
        losses = _lost(rows, action, reward, half, actions, some, binary)
        best = some[int(np.argmin(losses))]
    return best


def _lost(
    rows: Floats, action: Ints, reward: Floats, half: NDArray[np.bool_], actions: int, some: Sequence[Penalties],
    binary: bool,
) -> list[float]:  # fmt: skip
    """The loss of each of these penalties, over both halves."""
    losses = [0.0] * len(some)
    for fitted, other in ((half, ~half), (~half, half)):
        known: dict[float, Floats] = {}
        for number, penalties in enumerate(some):
            key = penalties.context
            if key not in known:
                known[key] = _shared(rows[fitted], action[fitted], reward[fitted], actions, penalties, binary)
            own = _own(rows[fitted], action[fitted], reward[fitted], known[key], actions, penalties, binary)
            said = _said(rows[other], action[other], known[key], own, binary)
            losses[number] += _loss(said, reward[other], binary)
    return losses


def _shared(
    rows: Floats, action: Ints, reward: Floats, actions: int, penalties: Penalties, binary: bool
) -> Floats:
    """Coefficients of the context, then one of each action. Actions are levels around the intercept: penalised."""
    levels = np.zeros((len(rows), actions))
    levels[np.arange(len(rows)), action] = 1.0
    weights = np.repeat([penalties.context, LEVEL_PENALTY], [rows.shape[1], actions])
    weights[0] = 1e-6
    return _solved(np.hstack([rows, levels]), reward, np.zeros(len(rows)), weights, binary)


def _own(
    rows: Floats, action: Ints, reward: Floats, shared: Floats, actions: int, penalties: Penalties, binary: bool
) -> Floats:
    """Per action, what its own coefficients differ by."""
    own = np.zeros((actions, rows.shape[1]))
    if penalties.own == NEVER:
        return own
    said = rows @ shared[: rows.shape[1]]
    weights = np.full(rows.shape[1], penalties.own)
    for number in range(actions):
        mine = action == number
        if mine.sum() > 1:
            offset = said[mine] + shared[rows.shape[1] + number]
            own[number] = _solved(rows[mine], reward[mine], offset, weights, binary)
    return own


def _solved(rows: Floats, reward: Floats, offset: Floats, penalty: Floats, binary: bool) -> Floats:
    """Penalised least squares, or penalised logistic regression by Newton's method with halved steps."""
    if not binary:
        curve = rows.T @ rows + np.diag(penalty)
        return np.asarray(np.linalg.solve(curve, rows.T @ (reward - offset)), np.float64)
    at = np.zeros(rows.shape[1])
    if offset.any() is np.False_ and 0.0 < reward.mean() < 1.0:
        at[0] = np.log(reward.mean() / (1.0 - reward.mean()))
    value = _objective(rows, reward, offset, penalty, at)
    for _ in range(STEPS_MAX):
        chance = _logistic(offset + rows @ at)
        slope = rows.T @ (chance - reward) + penalty * at
        curve = (rows * (chance * (1.0 - chance))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        size = 1.0
        while size > 1e-6:
            nearer = _objective(rows, reward, offset, penalty, at - size * step)
            if nearer <= value:
                break
            size /= 2.0
        else:
            return at
        at, gained, value = at - size * step, value - nearer, nearer
        if gained <= 1e-7 * (1.0 + abs(value)):
            return at
    return at


def _objective(rows: Floats, reward: Floats, offset: Floats, penalty: Floats, at: Floats) -> float:
    odds = offset + rows @ at
    return float((np.logaddexp(0.0, odds) - reward * odds).sum() + 0.5 * (penalty * at * at).sum())


def _logistic(odds: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * odds))
    return found


def _said(rows: Floats, action: Ints, shared: Floats, own: Floats, binary: bool) -> Floats:
    """The model's word on what was done."""
    width = rows.shape[1]
    odds = rows @ shared[:width] + shared[width:][action] + np.einsum("ij,ij->i", rows, own[action])
    return _logistic(odds) if binary else odds


def _predicted(rows: Floats, shared: Floats, own: Floats, binary: bool) -> Floats:
    width = rows.shape[1]
    odds = (rows @ shared[:width])[:, None] + shared[width:] + rows @ own.T
    return _logistic(odds) if binary else odds


def _loss(said: Floats, reward: Floats, binary: bool) -> float:
    if not binary:
        return float(((said - reward) ** 2).sum())
    chance = np.clip(said, 1e-9, 1.0 - 1e-9)
    return float(-(reward * np.log(chance) + (1.0 - reward) * np.log1p(-chance)).sum())
