"""What a card says of itself beyond its tables: effects by segment, treatment of groups, reasons, curves."""

from __future__ import annotations

import msgspec


class SegmentRow(msgspec.Struct, frozen=True):
    """The latest rows of one segment: what was predicted there and what happened.

    `predicted` and `observed` are means of what the card predicts (a chance, or an amount in money);
    `uplift_predicted` and `uplift_observed` are differences of chances, `uplift_se` is the error of the observed one;
    `qini` and `ece` as in the metrics. None: it cannot be measured here.
    """

    feature: str
    group: str
    rows: int
    predicted: float
    observed: float
    ece: float | None = None
    qini: float | None = None
    uplift_predicted: float | None = None
    uplift_observed: float | None = None
    uplift_se: float | None = None


class FairnessRow(msgspec.Struct, frozen=True):
    """How the card treats one group of a protected feature, on the latest rows.

    `selected` is the share of its rows whose score (the effect; in a card without effects, what it predicts) is above
    the median of all; `uplift` is the mean effect predicted; `calibration_gap` is the mean predicted less the mean
    observed.
    """

    feature: str
    group: str
    rows: int
    selected: float
    uplift: float | None
    calibration_gap: float


class Disparity(msgspec.Struct, frozen=True):
    """The widest gap between two groups of a protected feature in one measure, with its 95 % interval, which allows
    for having looked at every pair.

    `measure` is `selected`, `uplift` or `calibration`; `value` = `group` less `other`, never below 0.
    """

    feature: str
    measure: str
    group: str
    other: str
    value: float
    low: float
    high: float


class ReasonCode(msgspec.Struct, frozen=True):
    """One of the features that move a card's numbers most: `weight` is the mean size of its part over the latest
    rows, `highest` and `lowest` the values with the largest and the smallest part."""

    offer: str
    feature: str
    weight: float
    highest: str
    lowest: str
    words: str


class CurvePoint(msgspec.Struct, frozen=True):
    """What is gained per customer when the first `share` by predicted effect are offered; see measures.uplift_curve."""

    share: float
    gain: float


class Report(msgspec.Struct, frozen=True):
    """All that is found out about a card on the rows later than what it learned from."""

    segments: tuple[SegmentRow, ...] = ()
    fairness: tuple[FairnessRow, ...] = ()
    disparities: tuple[Disparity, ...] = ()
    reasons: tuple[ReasonCode, ...] = ()
    curve: tuple[CurvePoint, ...] = ()

    def figures(self) -> dict[str, float]:
        """What gates may ask of it: `fairness_<measure>`, the widest gap over all protected features, and the same
        with `_low`, the lower end of its interval: what is certain of it."""
        found: dict[str, float] = {}
        for one in self.disparities:
            name = f"fairness_{one.measure}"
            found[name] = max(found.get(name, 0.0), one.value)
            found[f"{name}_low"] = max(found.get(f"{name}_low", 0.0), one.low, 0.0)
        return found
