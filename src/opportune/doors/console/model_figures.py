"""Drawings of a model's figures: how honest its probabilities are, and what its ranking gains."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from opportune.core.models import CalibrationBin, CurvePoint
from opportune.doors.console.figures import tag

SIDE, FOOT, LEFT, TOP = 300, 200, 40, 12
"""The plot's width, the place of its lower edge, and the room beside and above it."""


def calibration_curve(bins: Sequence[CalibrationBin]) -> Markup:
    """Predicted against observed shares: a point per bin, as large as its rows; on the line a prediction is honest."""
    most = max((max(one.predicted, one.observed) for one in bins), default=0.0) or 1.0
    rows = max((one.rows for one in bins), default=1) or 1

    def x_of(share: float) -> float:
        return LEFT + (SIDE - LEFT - 8) * share / most

    def y_of(share: float) -> float:
        return FOOT - (FOOT - TOP) * share / most

    shapes = [
        *_frame(f"{most:.0%}", f"{most:.0%}", "predicted", "happened"),
        tag("line", class_="budget", x1=x_of(0.0), y1=y_of(0.0), x2=x_of(most), y2=y_of(most)),
        _curve([(x_of(one.predicted), y_of(one.observed)) for one in bins]),
    ]
    for one in bins:
        title = tag("title", f"{one.rows} rows: predicted {one.predicted:.1%}, happened {one.observed:.1%}")
        radius = 2.5 + 3.5 * (one.rows / rows) ** 0.5
        shapes.append(tag("circle", title, class_="step", cx=x_of(one.predicted), cy=y_of(one.observed), r=radius))
    pairs = "; ".join(f"{one.predicted:.1%} predicted, {one.observed:.1%} happened" for one in bins)
    return _drawn(shapes, f"Calibration on the latest rows: {pairs}")


def gain_curve(points: Sequence[CurvePoint]) -> Markup:
    """What is gained per customer when the first so many by predicted effect are offered, and so many at random."""
    high = max((one.gain for one in points), default=0.0)
    low = min(0.0, min((one.gain for one in points), default=0.0))
    span = (high - low) or 1.0

    def x_of(share: float) -> float:
        return LEFT + (SIDE - LEFT - 8) * share

    def y_of(gain: float) -> float:
        return FOOT - (FOOT - TOP) * (gain - low) / span

    last = points[-1] if points else CurvePoint(1.0, 0.0)
    shapes = [
        *_frame("all", f"{high:.3g}", "offered to", "gained"),
        tag("line", class_="budget", x1=x_of(0.0), y1=y_of(0.0), x2=x_of(last.share), y2=y_of(last.gain)),
        _curve([(x_of(one.share), y_of(one.gain)) for one in points]),
    ]
    return _drawn(shapes, f"Gain per customer by the share offered, up to {high:.3g}; the dashed line is at random")


def _curve(points: Sequence[tuple[float, float]]) -> Markup:
    return tag("polyline", class_="curve", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def _frame(right: str, top: str, across: str, up: str) -> list[Markup]:
    """Axes with their ends and names."""
    return [
        tag("line", class_="axis", x1=LEFT, x2=SIDE - 8, y1=FOOT + 0.5, y2=FOOT + 0.5),
        tag("line", class_="axis", x1=LEFT - 0.5, x2=LEFT - 0.5, y1=TOP, y2=FOOT),
        tag("text", "0", class_="tick", x=LEFT - 4, y=FOOT + 12, text_anchor="end"),
        tag("text", right, class_="tick", x=SIDE - 8, y=FOOT + 12, text_anchor="end"),
        tag("text", across, class_="tick", x=(LEFT + SIDE) / 2, y=FOOT + 12, text_anchor="middle"),
        tag("text", top, class_="tick", x=LEFT - 4, y=TOP + 4, text_anchor="end"),
        tag("text", up, class_="tick", x=LEFT + 4, y=TOP + 4),
    ]


def _drawn(shapes: list[Markup], said: str) -> Markup:
    return tag(
        "svg", Markup("").join(shapes), class_="figure plot", viewBox=f"0 0 {SIDE} {FOOT + 20}",
        preserveAspectRatio="xMinYMid meet", role="img", aria_label=said,
    )
