"""A log for off-policy evaluation: what was done with which chance, what came of it, what another policy would do."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELLS_MAX = 50_000_000
"""Rows times actions that are held in memory at once (400 MB per table)."""


class LogError(ValueError):
    """A log that cannot be evaluated: the column and what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.message = message


class Log(msgspec.Struct, frozen=True):
    """`n` logged choices among `k` actions, as columns.

    `action[i]` is the place of what was done, `probability[i]` the chance it had, `reward[i]` what came of it.
    `target[i, a]` is the chance of each action under the policy that is judged; its rows sum to 1. `behaviour` are
    likewise the chances under the policy that made the log, where all of them are known and not just the one of what
    was done. Rows of one `unit` are not independent of each other (-1 is not allowed: number rows of their own).
    """

    actions: tuple[str, ...]
    action: Ints
    probability: Floats
    reward: Floats
    target: Floats
    unit: Ints
    behaviour: Floats | None = None

    @property
    def weight(self) -> Floats:
        """How much more often the judged policy does what was done (the importance weight pi/pi_b)."""
        return self.chosen / self.probability

    @property
    def chosen(self) -> Floats:
        """The judged policy's chance of what was done."""
        found: Floats = self.target[np.arange(len(self.action)), self.action]
        return found

    def under(self, target: Floats) -> Log:
        """The same log with another policy to judge."""
        return msgspec.structs.replace(self, target=target)

    def rows(self, places: Ints) -> Log:
        """Some of the rows."""
        return msgspec.structs.replace(
            self,
            action=self.action[places],
            probability=self.probability[places],
            reward=self.reward[places],
            target=self.target[places],
            unit=self.unit[places],
            behaviour=None if self.behaviour is None else self.behaviour[places],
        )


def check_log(log: Log) -> Log:
    """The same log; LogError when a column is not what it must be."""
    n, k = len(log.action), len(log.actions)
    if n == 0:
        raise LogError("empty_log", "reward", "the log has no row: ask for a longer window")
    if n * k > CELLS_MAX:
        message = f"{n:,} rows with {k:,} actions are more than fits: ask for at most {CELLS_MAX // k:,} rows"
        raise LogError("too_large", "action", message)
    shapes = {"probability": log.probability, "reward": log.reward, "unit": log.unit}
    for name, column in shapes.items():
        if column.shape != (n,):
            raise LogError("wrong_shape", name, f"`{name}` has {column.shape} values where there are {n:,} rows")
    if log.target.shape != (n, k):
        raise LogError("wrong_shape", "target", f"`target` is {log.target.shape}, not {n} rows of {k} actions")
    _whole(log.action, k)
    _between(log.probability)
    if not np.isfinite(log.reward).all():
        at = int(np.flatnonzero(~np.isfinite(log.reward))[0])
        raise LogError("not_a_number", "reward", f"row {at + 1}: `reward` is no number: leave the row out or fill it")
    _distribution("target", log.target)
    if log.behaviour is not None:
        _distribution("behaviour", log.behaviour)
    return log


def _whole(action: Ints, k: int) -> None:
    wrong = (action < 0) | (action >= k)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise LogError("unknown_action", "action", f"row {at + 1}: `action` names none of the {k} actions")


def _between(probability: Floats) -> None:
    wrong = ~((probability > 0.0) & (probability <= 1.0))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        message = f"row {at + 1}: `probability` is {probability[at]:g}: what was done had a chance above 0, at most 1"
        raise LogError("not_a_probability", "probability", message)


def _distribution(name: str, chances: Floats) -> None:
    wrong = ~((chances >= 0.0).all(axis=1) & (np.abs(chances.sum(axis=1) - 1.0) < 1e-6))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        total = chances[at].sum()
        message = f"row {at + 1}: the chances of `{name}` sum to {total:.9g}: each is from 0 to 1, and all are 1"
        raise LogError("not_a_distribution", name, message)
