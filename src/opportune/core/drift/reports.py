"""Reports: what one look at a model measured, what of it is an alarm, and how it is kept."""

from __future__ import annotations

from typing import Literal

import msgspec

from opportune.core.drift.policy import Action, Kind
from opportune.core.models.populations import Answers, Population

Series = Literal["inputs", "answers"]
"""`inputs`: what decisions saw and what the model said of it, at once; `answers`: what became of it, when the label
window is over."""

EVERYBODY = ""


class Measured(msgspec.Struct, frozen=True):
    """One thing that was looked at. `what` is a feature, an offer, or `offered` and `held back`; `segment` is
    `plan = pro`, or empty for everybody.

    `size` is how much it changed (see `policy.LIMITS`), `chance` that of a change as large while nothing changed, and
    `found` says that both its limit and the certainty asked for were met. `before` and `now` are shares, where one
    number tells.
    """

    kind: Kind
    what: str
    segment: str
    size: float
    limit: float
    chance: float
    found: bool = False
    before: float | None = None
    now: float | None = None

    @property
    def words(self) -> str:
        """The change in a sentence."""
        what, who = f"`{self.what}`", f" where {self.segment}" if self.segment else ""
        shares = "" if self.before is None or self.now is None else f" from {self.before:.1%} to {self.now:.1%}"
        otherwise = f"is distributed otherwise{who} (PSI {self.size:.2f}, at most {self.limit:g})"
        more = f"{abs(self.size):.0%} {'more' if self.size > 0 else 'less'}"
        return {
            "input": f"{what} {otherwise}",
            "unseen": f"{what} has categories that training did not see{who}:{shares} of rows",
            "missing": f"{what} is missing {'more' if self.size > 0 else 'less'} often{who}:{shares} of rows",
            "wrong_type": f"{what} has values of another type{who}:{shares} of rows",
            "score": f"the score of {what} {otherwise}",
            "calibration": f"what happens of {what} is {self.size:.1%} off what is predicted{who}",
            "outcome": f"of {what}, {more} happens than predicted{who}:{shares}",
            "disagreement": f"the {self.what} disagrees more often{who}:{shares} of answers",
        }[self.kind]


class Evidence(msgspec.Struct, frozen=True):
    """What one window adds to the test of outcomes: how much was expected and how much happened, and the gains of its
    bets, so that windows can be added up."""

    what: str
    segment: str
    expected: float
    happened: float
    rows: int
    gains: tuple[float, ...]


class Report(msgspec.Struct, frozen=True):
    """One window of one card. `look` counts the windows of its series from 1; `alpha` is what it could spend.

    `population` and `answers` are counts: the first window's can be a reference, and the console draws them.
    `early` says that it was closed on demand, before it was full. `evidence` is what later windows go on from.
    """

    card: str
    model: str
    series: Series
    look: int
    at_ms: int
    from_ms: int
    to_ms: int
    rows: int
    units: int
    alpha: float
    reference: str
    measured: tuple[Measured, ...]
    population: Population | None = None
    answers: Answers | None = None
    early: bool = False
    evidence: tuple[Evidence, ...] = ()

    @property
    def found(self) -> tuple[Measured, ...]:
        """The alarms, the largest against its limit first."""
        some = [one for one in self.measured if one.found]
        return tuple(sorted(some, key=lambda one: (-abs(one.size) / one.limit, one.kind, one.what, one.segment)))

    @property
    def id(self) -> str:
        """The same window has the same id: writing it twice is writing it once."""
        return f"{self.card}/{self.series}/{self.look:06d}"


class Alarm(msgspec.Struct, frozen=True):
    """What follows from a report: the strongest action that one of its findings asks for."""

    action: Action
    words: tuple[str, ...]


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Report)


def encode_report(report: Report) -> bytes:
    return _ENCODER.encode(report)


def decode_report(data: bytes) -> Report:
    """The report back; msgspec.ValidationError for other bytes."""
    return _DECODER.decode(data)
