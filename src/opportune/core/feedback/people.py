"""How each person's word compares with what happened: rates drawn towards the team's, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.feedback.words import Verdict
from opportune.core.offpolicy.intervals import beta_quantile

PRIOR_ROWS = 10.0
"""Of a person of whom nothing is known yet, the team's rate counts as much as this many answers of their own."""


class Said(msgspec.Struct, frozen=True):
    """One answer with what came of it. `expected` is the acceptance the decision predicted; `accepted` whether the
    customer then took what was offered, None where nothing was offered or it is too early to say."""

    decision: str
    at_ms: int
    by: str
    verdict: Verdict
    reasons: tuple[str, ...]
    offer: str
    segment: Mapping[str, object]
    expected: float | None = None
    confidence: float | None = None
    accepted: bool | None = None


class Rate(msgspec.Struct, frozen=True):
    """`hits` of `rows`, and the rate drawn towards the team's with its 95 % interval (beta-binomial)."""

    hits: int
    rows: int
    rate: float
    low: float
    high: float


class Person(msgspec.Struct, frozen=True):
    """One person's answers. `overrides` are rejections, changes and declines; `accepted` is about what they let pass
    and the customer answered; `lift` is how often that was accepted beside how often the model expected it (1: as
    expected), None without any. `brier` is the mean squared error of the confidence they stated, None without any;
    `overconfident` is how much more they expected than came (mean)."""

    by: str
    answers: int
    overrides: Rate
    accepted: Rate
    lift: float | None
    brier: float | None
    overconfident: float | None


def people(said: Sequence[Said]) -> tuple[Person, ...]:
    """Everybody who has answered, those with the most answers first."""
    overrides = [one.verdict != "approve" for one in said]
    known = [one for one in said if one.accepted is not None]
    team_overrides = _share(sum(overrides), len(said))
    team_accepted = _share(sum(bool(one.accepted) for one in known), len(known))
    found = []
    for by in dict.fromkeys(one.by for one in said):
        own = [one for one in said if one.by == by]
        ended = [one for one in own if one.accepted is not None]
        hits = sum(bool(one.accepted) for one in ended)
        expected = sum(one.expected or 0.0 for one in ended)
        sure = [one for one in ended if one.confidence is not None]
        errors = [float(one.confidence or 0.0) - bool(one.accepted) for one in sure]
        found.append(
            Person(
                by, len(own), shrunk(sum(one.verdict != "approve" for one in own), len(own), team_overrides),
                shrunk(hits, len(ended), team_accepted), _lift(hits, expected),
                sum(error * error for error in errors) / len(errors) if errors else None,
                sum(errors) / len(errors) if errors else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (-one.answers, one.by)))


def shrunk(hits: int, rows: int, team: float) -> Rate:
    """The mean and the central 95 % of Beta(hits + m t, rows - hits + m (1 - t)), m = PRIOR_ROWS, t the team's rate
    (empirical Bayes, Efron & Morris 1975)."""
    up, down = hits + PRIOR_ROWS * team, rows - hits + PRIOR_ROWS * (1.0 - team)
    return Rate(hits, rows, up / (up + down), beta_quantile(0.025, up, down), beta_quantile(0.975, up, down))


def _share(hits: int, rows: int) -> float:
    """A team's rate, never quite 0 or 1: what has not happened yet may."""
    return (hits + 0.5) / (rows + 1.0)


def _lift(hits: int, expected: float) -> float | None:
    """Hits beside expected hits, drawn towards 1 as if PRIOR_ROWS / 2 had been both (gamma-Poisson)."""
    if expected <= 0.0:
        return None
    return (hits + PRIOR_ROWS / 2.0) / (expected + PRIOR_ROWS / 2.0)
