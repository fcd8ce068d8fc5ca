"""One model for all actions over hashed features: what an action's features and the context mean together.

Each coordinate has a weight and a variance of its own, the diagonal of a Gaussian posterior (assumed density filtering,
Minka 2001; AdPredictor, Graepel et al. 2010; AROW, Crammer et al. 2009): for a reward r at features x,
v = sum(s_i x_i^2), k_i = s_i x_i / (sigma^2 + v), w_i += k_i (r - w.x), s_i -= k_i s_i x_i. Variances grow back a
little whenever they are used, up to the prior's, so that what changes is learned anew. Numbers are standardised by
what was seen under their name so far: units do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import sqrt
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.bandits.hashing import Features, Floats, crossed, features_of

Ints = NDArray[np.int64]

BITS: Final = 18
PRIORS: Final = (0.1, 0.01, 0.001)
"""The variance of a weight before anything was seen, for rewards of about unit size: none suits both a context of five
features and one of fifty, so each has weights of its own, and how well they predict says which are trusted."""

MEMORY: Final = 5_000.0
"""After so many uses without news a variance has grown e times."""

REACH: Final = 5.0
"""No number counts for more than so many standard deviations."""

NOISE: Final = (1.0, 4.0)
"""Before any reward an error is taken to be 0.5: the sum of squares and the number of four invented ones."""

TRUST: Final = 0.999
"""How much of an error is left one reward later: trust looks back some 1,000 of them."""

_CONSTANT: Final = features_of("constant", {"one": True}, "")


class Row(msgspec.Struct, frozen=True):
    """The features of one action in one context: places in the table and values; `sized` are the places of numbers
    whose size is learned, with their sizes as sent."""

    places: Ints
    values: Floats
    sized: Ints
    sizes: Floats


class Shared:
    """The table; the same rewards in the same order give the same bytes."""

    def __init__(self, bits: int = BITS, priors: Sequence[float] = PRIORS) -> None:
        self._mask = np.uint64((1 << bits) - 1)
        self._priors = np.array(priors)
        # A row per place and a column per prior: what one place needs lies together.
        self._weights = np.zeros((1 << bits, len(priors)))
        self._variances = np.tile(np.array(priors), (1 << bits, 1))
        self._losses = np.zeros(len(priors))
        self._trust = np.full(len(priors), 1.0 / len(priors))
        self._seen = np.zeros(1 << bits)
        self._middle = np.zeros(1 << bits)
        self._around = np.zeros(1 << bits)
        self._squares, self._number = NOISE
        self.learned = 0

    def rows(self, context: Features, actions: Sequence[Features]) -> list[Row]:
        """The features of each action in this context: a constant, the context, the action, and every pair of both."""
        where, what = self._sized(context)
        rows = []
        for action in actions:
            at, sizes = self._sized(action)
            pairs = crossed(action.hashes, context.hashes)
            hashes = np.concatenate([_CONSTANT.hashes, context.hashes, action.hashes, pairs])
            values = np.concatenate([_CONSTANT.values, what, sizes, np.outer(sizes, what).ravel()])
            sized = np.concatenate([where[context.measured], at[action.measured]])
            sent = np.concatenate([context.values[context.measured], action.values[action.measured]])
            rows.append(Row(self._places(hashes), values, sized, sent))
        return rows

    def values(self, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        """(expected reward, its standard error) of each row."""
        means, errors = [], []
        for row in rows:
            means.append(float(row.values @ self._weights[row.places] @ self._trust))
            errors.append(sqrt(float((row.values * row.values) @ self._variances[row.places] @ self._trust)))
        return means, errors

    def learn(self, row: Row, reward: float) -> None:
        """Takes in that this row was tried and paid `reward`."""
        # Two features may share a place: they are added up, so that the place is moved once.
        places, inverse = np.unique(row.places, return_inverse=True)
        x = np.bincount(inverse, row.values)
        variances = np.minimum(self._variances[places] * (1.0 + 1.0 / MEMORY), self._priors)
        spread = variances * x[:, None]
        weights = self._weights[places]
        predicted = x @ weights
        errors = reward - predicted
        noise = self._squares / self._number
        gain = spread / (noise + x @ spread)
        self._weights[places] = weights + gain * errors
        self._variances[places] = variances - gain * spread
        self._judge(errors, reward - float(predicted @ self._trust), noise)
        self._measure(row.sized, row.sizes)
        self.learned += 1

    def _judge(self, errors: Floats, error: float, noise: float) -> None:
        """Which prior to trust (the aggregating forecaster, Vovk 1990, older errors discounted), and the noise."""
        self._losses = self._losses * TRUST + errors * errors / (2.0 * max(noise, 1e-9))
        weights = np.exp(self._losses.min() - self._losses)
        self._trust = weights / weights.sum()
        self._squares = self._squares * TRUST + error * error
        self._number = self._number * TRUST + 1.0

    def digest(self) -> str:
        """A hash of the whole state: equal states have equal ones."""
        own = np.array([self._squares, self._number, float(self.learned), *self._losses])
        tables = (self._weights, self._variances, self._seen, self._middle, self._around, own)
        return sha256(b"".join(one.tobytes() for one in tables)).hexdigest()

    def _places(self, hashes: NDArray[np.uint64]) -> Ints:
        # The low bits of a mixed hash alone would repeat: fold the high ones in.
        folded: Ints = ((hashes ^ (hashes >> np.uint64(32))) & self._mask).astype(np.int64)
        return folded

    def _sized(self, features: Features) -> tuple[Ints, Floats]:
        """(places, values) with numbers standardised by what was seen under their names; 0 while it was one value."""
        places = self._places(features.hashes)
        if not features.measured.any():
            return places, features.values
        seen, around = self._seen[places], self._around[places]
        known = features.measured & (around > 0.0)
        spread = np.sqrt(np.where(known, around / np.maximum(seen, 1.0), 1.0))
        standard = np.clip((features.values - self._middle[places]) / spread, -REACH, REACH)
        return places, np.where(features.measured, np.where(known, standard, 0.0), features.values)

    def _measure(self, places: Ints, sizes: Floats) -> None:
        """Mean and squares around it, one number at a time (Welford 1962)."""
        for place, size in zip(places.tolist(), sizes.tolist(), strict=True):
            self._seen[place] += 1.0
            apart = size - self._middle[place]
            self._middle[place] += apart / self._seen[place]
            self._around[place] += apart * (size - self._middle[place])


def context_of(given: Any) -> Features:  # noqa: ANN401 - whatever an application sends
    """The features of a context."""
    return features_of("context", given, "contextFeatures")


def action_of(id_: str, given: Any, field: str) -> Features:  # noqa: ANN401 - likewise
    """The features of an action, its id among them: actions that send none are told apart by it."""
    return features_of("action", [{"id": id_}, *given], field)
