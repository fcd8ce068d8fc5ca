"""Plots of a card as SVG, drawn without a library, script or style sheet; each says in text what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10

from opportune.core.models.card import EVERY_OFFER, Scorecard
from opportune.core.models.report import ReasonCode, SegmentRow

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 48
INK, SOFT, LINE, SECOND, GRID = "#1f2933", "#52606d", "#1d5fbf", "#b3541e", "#d9e2ec"
ROW = 22
LABELS = 230


def plots_of(card: Scorecard) -> dict[str, str]:
    """File name -> SVG of every plot that the card has figures for."""
    drawn = {
        "calibration.svg": calibration_plot(card),
        "uplift.svg": uplift_plot(card),
        "effects.svg": effects_plot(card),
        "segments.svg": segments_plot(card),
    }
    return {name: text for name, text in drawn.items() if text}


def calibration_plot(card: Scorecard) -> str:
    """What was predicted against what happened, with the line on which both are the same; empty without rows."""
    table = card.training.calibration_table
    if not table:
        return ""
    top = max(max(one.predicted, one.observed) for one in table) or 1.0
    frame = _Frame(top, top)
    parts = [frame.axes("predicted", "observed"), frame.line([(0.0, 0.0), (top, top)], SOFT, dashed=True)]
    parts.append(frame.line([(one.predicted, one.observed) for one in table], LINE))
    for one in table:
        x, y = frame.at(one.predicted, one.observed)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{LINE}"/>')
    said = "; ".join(f"predicted {one.predicted:.3g}, observed {one.observed:.3g}" for one in table)
    return _svg("Calibration", f"Ten parts of the latest rows. On the dashed line both are the same. {said}.", parts)


def uplift_plot(card: Scorecard) -> str:
    """What is gained when the first so many by predicted effect are offered, with the line of offering at random;
    empty for a card without effects."""
    curve = card.training.report.curve
    if not curve:
        return ""
    low, high = min(0.0, *(one.gain for one in curve)), max(1e-9, *(one.gain for one in curve))
    frame = _Frame(1.0, high, low)
    end = curve[-1].gain
    parts = [
        frame.axes("share of customers offered, the highest predicted effect first", "purchases gained per customer"),
        frame.line([(0.0, 0.0), (1.0, end)], SOFT, dashed=True),
        frame.line([(one.share, one.gain) for one in curve], LINE),
    ]
    best = max(curve, key=lambda one: one.gain)
    said = (
        f"Offering everybody gains {end:.4f} purchases per customer; most is gained, {best.gain:.4f}, by offering "
        f"{best.share:.0%}. The dashed line is offering at random."
    )
    return _svg("Uplift", said, parts)


def effects_plot(card: Scorecard) -> str:
    """The features that move each offer's numbers most, by the mean size of their part."""
    reasons = card.training.report.reasons
    rows = [(f"{_offer(one.offer)} · {one.feature}", one.weight) for one in _top(reasons)]
    if not rows:
        return ""
    top = max(weight for _, weight in rows) or 1.0
    room = WIDTH - LABELS - 90
    parts = []
    for index, (label, weight) in enumerate(rows):
        y = TOP + index * ROW
        parts.append(_text(LABELS - 8, y + 14, label, "end"))
        parts.append(f'<rect x="{LABELS}" y="{y + 3}" width="{weight / top * room:.1f}" height="14" fill="{LINE}"/>')
        parts.append(_text(LABELS + weight / top * room + 6, y + 14, f"{weight:.3g}", "start"))
    said = "; ".join(f"{label} {weight:.3g}" for label, weight in rows)
    return _svg("What moves it", f"Mean size of each part: {said}.", parts, TOP + len(rows) * ROW + 20)


def segments_plot(card: Scorecard) -> str:
    """Observed against predicted in each segment, observed effects with their 95 % intervals; empty without some."""
    rows = [row for row in card.training.report.segments if _pair(row) is not None][:18]
    if not rows:
        return ""
    pairs = [pair for row in rows if (pair := _pair(row)) is not None]
    low = min(0.0, *(min(said, seen - 1.96 * error) for said, seen, error in pairs))
    high = max(1e-9, *(max(said, seen + 1.96 * error) for said, seen, error in pairs))
    room = WIDTH - LABELS - RIGHT

    def x(value: float) -> float:
        return round(LABELS + (value - low) / (high - low) * room, 1)

    parts = [f'<line x1="{x(0.0)}" y1="{TOP - 4}" x2="{x(0.0)}" y2="{TOP + len(rows) * ROW}" stroke="{GRID}"/>']
    for index, (row, (said, seen, error)) in enumerate(zip(rows, pairs, strict=True)):
        y = TOP + index * ROW + 10
        parts.append(_text(LABELS - 8, y + 4, f"{row.feature}: {row.group} ({row.rows})", "end"))
        parts.append(f'<line x1="{x(seen - 1.96 * error)}" y1="{y}" x2="{x(seen + 1.96 * error)}" y2="{y}" '
                     f'stroke="{SECOND}" stroke-width="2"/>')  # fmt: skip
        parts.append(f'<circle cx="{x(seen)}" cy="{y}" r="4" fill="{SECOND}"/>')
        parts.append(f'<rect x="{x(said) - 4:.1f}" y="{y - 4}" width="8" height="8" fill="none" stroke="{LINE}" '
                     'stroke-width="2"/>')  # fmt: skip
    end = TOP + len(rows) * ROW + 16
    parts.append(_text(LABELS, end, "circle: observed, with its interval · square: predicted", "start"))
    parts.append(_text(LABELS, end + 16, f"from {low:.3g} to {high:.3g}", "start"))
    words = "; ".join(
        f"{row.feature} {row.group}: predicted {said:.3g}, observed {seen:.3g}"
        for row, (said, seen, _) in zip(rows, pairs, strict=True)
    )
    return _svg("Segments", f"{words}.", parts, end + 30)


class _Frame:
    """A plot's axes: from 0 (or below) to the largest value."""

    def __init__(self, right: float, top: float, bottom: float = 0.0) -> None:
        self.right, self.top, self.bottom = right, top, bottom

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        height = (y - self.bottom) / (self.top - self.bottom)
        return round(LEFT + x / self.right * across, 1), round(HEIGHT - BOTTOM - height * up, 1)

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
        path = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def axes(self, across: str, up: str) -> str:
        parts = []
        for value in _ticks(self.bottom, self.top):
            _, y = self.at(0.0, value)
            parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="{GRID}"/>')
            parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
        for value in _ticks(0.0, self.right):
            x, _ = self.at(value, self.bottom)
            parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{value:g}", "middle"))
        parts.append(_text(LEFT, TOP - 10, up, "start"))
        parts.append(_text(WIDTH - RIGHT, HEIGHT - 10, across, "end"))
        return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round values from low to high."""
    rough = (high - low) / 5.0
    step = 10.0 ** floor(log10(rough))
    step *= next(by for by in (1.0, 2.0, 5.0, 10.0) if by * step >= rough)
    first = -floor(-low / step)
    return [float(f"{step * number:.10g}") for number in range(first, floor(high / step + 1e-9) + 1)]


def _pair(row: SegmentRow) -> tuple[float, float, float] | None:
    """(predicted, observed, error of the observed): of the effect where there is one."""
    if row.uplift_predicted is not None and row.uplift_observed is not None:
        return row.uplift_predicted, row.uplift_observed, row.uplift_se or 0.0
    return (row.predicted, row.observed, 0.0) if row.uplift_predicted is None else None


def _top(reasons: Sequence[ReasonCode]) -> list[ReasonCode]:
    """The strongest three of each offer, of at most eight offers."""
    found: dict[str, list[ReasonCode]] = {}
    for one in reasons:
        found.setdefault(one.offer, []).append(one)
    return [one for ones in list(found.values())[:8] for one in ones[:3]]


def _offer(name: str) -> str:
    return "everybody" if name == EVERY_OFFER else name


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{round(x, 1)}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, said: str, parts: Sequence[str], height: float = HEIGHT) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" role="img" font-family="system-ui, sans-serif" font-size="11" fill="{INK}">'
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>"
        f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>'
    )
    return "\n".join([head, _text(8, 16, title, "start"), *parts, "</svg>\n"])
