"""Drawings as SVG: attributes and classes only, so that they need no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from markupsafe import Markup, escape

from opportune.doors.console.phrases import DISPOSITION_WORDS, micros
from opportune.views.live import Share

WIDTH = 1000.0
"""Inner width of a bar that stretches to its cell."""


def tag(name: str, text: str | Markup = "", **attributes: object) -> Markup:
    """An SVG element; `class_` is `class`, underscores are hyphens; None leaves an attribute out."""
    kept = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{kept}>{escape(text)}</{name}>")  # noqa: S704 - every part is escaped above


def stretched(height: int, *shapes: Markup, label: str | None = None) -> Markup:
    """A bar as wide as its place; said aloud by its label, or hidden where a table says the same."""
    role: dict[str, object] = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return tag(
        "svg", Markup("").join(shapes), class_="bar", viewBox=f"0 0 {WIDTH:g} {height}",
        preserveAspectRatio="none", height=height, **role,
    )


def mix_bar(mix: Sequence[Share], recent: bool) -> Markup:
    """Dispositions side by side, in proportion: those of the window, or of all time."""
    counts = [(one.disposition, one.recent if recent else one.ever) for one in mix]
    total = sum(count for _, count in counts)
    shapes, at = [], 0.0
    for name, count in counts:
        if count:
            wide = WIDTH * count / total
            title = tag("title", f"{DISPOSITION_WORDS[name]}: {count}")
            shapes.append(tag("rect", title, class_=f"d-{name}", x=at, width=max(wide - 3, 1.5), height=16))
            at += wide
    said = ", ".join(f"{DISPOSITION_WORDS[name].lower()} {count / total:.0%}" for name, count in counts if count)
    return stretched(16, *shapes, label=f"Mix of dispositions: {said}" if said else None)


def histogram(buckets: Sequence[tuple[int, int]], budget_us: int, p99_us: int | None) -> Markup:
    """Latencies on a logarithmic axis, with the budget as a line."""
    width, height, foot = 360, 104, 84
    most = max((count for _, count in buckets), default=0) or 1
    step = width / len(buckets)
    shapes = [tag("line", class_="axis", x1=0, x2=width, y1=foot + 0.5, y2=foot + 0.5)]
    for index, (upper_us, count) in enumerate(buckets):
        tall = (foot - 20) * count / most
        over = " over" if upper_us > budget_us else ""
        if count:
            title = tag("title", f"up to {micros(upper_us)}: {count}")
            shapes.append(
                tag("rect", title, class_=f"count{over}", x=index * step + 1.5, y=foot - max(tall, 2),
                    width=step - 3, height=max(tall, 2), rx=1)
            )
        if str(upper_us)[0] == "1":
            end, edge = (index + 1) * step, "end" if index + 1 == len(buckets) else "middle"
            shapes += [
                tag("line", class_="axis", x1=end, x2=end, y1=foot, y2=foot + 3),
                tag("text", _round(upper_us), class_="tick", x=end, y=98, text_anchor=edge),
            ]
    at = _log_place(budget_us, buckets, step)
    shapes += _budget(at, foot, f"budget {budget_us / 1000:g} ms", right=at < width / 2)
    said = f"Latency histogram, budget {budget_us / 1000:g} ms, p99 {micros(p99_us)}"
    return tag(
        "svg", Markup("").join(shapes), class_="figure", viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="xMinYMid meet", role="img", aria_label=said,
    )


def strip(seconds: Sequence[tuple[int, int]], budget_us: int) -> Markup:
    """The slowest decision of each second, on a logarithmic axis, with the budget as a line."""
    width, height, foot, top = 360, 104, 84, 12
    slowest = max([budget_us * 2, *(slow for _, slow in seconds)])
    span = log10(slowest) - 2

    def y_of(us: int) -> float:
        return foot - (foot - top) * max(0.0, log10(max(us, 1)) - 2) / span

    step = width / max(len(seconds), 1)
    shapes = [tag("line", class_="axis", x1=0, x2=width, y1=foot + 0.5, y2=foot + 0.5)]
    for index, (count, slow) in enumerate(seconds):
        if count:
            ago = len(seconds) - index
            title = tag("title", f"{ago} s ago: {count} decisions, slowest {micros(slow)}")
            y = min(y_of(slow), foot - 2)
            shapes.append(
                tag("rect", title, class_="count over" if slow > budget_us else "count", x=index * step + 0.75,
                    y=y, width=max(step - 1.5, 0.5), height=foot - y, rx=1)
            )
    line = y_of(budget_us)
    shapes += [
        tag("line", class_="budget", x1=0, x2=width, y1=line, y2=line),
        tag("text", f"budget {budget_us / 1000:g} ms", class_="tick", x=0, y=line - 4),
        tag("text", f"{len(seconds)} s ago", class_="tick", x=0, y=98),
        tag("text", "now", class_="tick", x=width, y=98, text_anchor="end"),
    ]
    said = f"Slowest decision of each of the last {len(seconds)} seconds against the budget"
    return tag(
        "svg", Markup("").join(shapes), class_="figure", viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="xMinYMid meet", role="img", aria_label=said,
    )


def span_bar(start: float, length: float, scale: float, mark: float | None = None, class_: str = "step") -> Markup:
    """One row of a waterfall: a bar from `start`, both in units of `scale`, and a line at `mark`."""
    wide = max(WIDTH * length / scale, 3.0)
    x = min(WIDTH * start / scale, WIDTH - wide)
    shapes = [tag("rect", class_=class_, x=x, y=3, width=wide, height=10, rx=2)]
    if mark is not None and mark <= scale:
        at = WIDTH * mark / scale
        shapes.append(tag("line", class_="budget", x1=at, x2=at, y1=0, y2=16))
    return stretched(16, *shapes)


def budget_bar(took: float, budget: float) -> Markup:
    """All that was taken, against the budget, which is a line."""
    scale = max(took, budget)
    at = min(WIDTH * budget / scale, WIDTH - 1)
    return stretched(
        16,
        tag("rect", class_="track", x=0, y=4, width=WIDTH, height=8),
        tag("rect", class_="over" if took > budget else "step", x=0, y=4, width=max(WIDTH * took / scale, 3.0),
            height=8),
        tag("line", class_="budget", x1=at, x2=at, y1=0, y2=16),
    )


def floating_bars(parts: Sequence[tuple[str, float]]) -> list[Markup]:
    """A score built up part by part, the last bar being the sum; one drawing per row, on one scale."""
    ends = [0.0]
    for _, amount in parts:
        ends.append(ends[-1] + amount)
    low, high = min(ends), max(ends)
    reach = (high - low) or 1.0
    zero = WIDTH * (0.0 - low) / reach
    found = []
    for (_, amount), before, after in zip(parts, ends, ends[1:], strict=False):
        found.append(_floating(before, after, low, reach, zero, "minus" if amount < 0 else "plus"))
    found.append(_floating(0.0, ends[-1], low, reach, zero, "sum"))
    return found


def diverging_bar(amount: float, most: float) -> Markup:
    """Left of the middle for less, right for more."""
    half = WIDTH / 2
    wide = half * abs(amount) / (most or 1.0)
    return stretched(
        16,
        tag("rect", class_="plus" if amount > 0 else "minus", x=half if amount > 0 else half - wide, y=3,
            width=max(wide, 2.0), height=10, rx=2),
        tag("line", class_="axis", x1=half, x2=half, y1=0, y2=16),
    )


def _floating(before: float, after: float, low: float, reach: float, zero: float, class_: str) -> Markup:
    x = WIDTH * (min(before, after) - low) / reach
    wide = 0.0 if before == after else max(WIDTH * abs(after - before) / reach, 2.0)
    return stretched(
        16,
        tag("rect", class_=class_, x=min(x, WIDTH - wide), y=3, width=wide, height=10, rx=2),
        tag("line", class_="axis", x1=zero, x2=zero, y1=0, y2=16),
    )


def _log_place(us: int, buckets: Sequence[tuple[int, int]], step: float) -> float:
    """Where a latency lies on the axis of the buckets, which are steps of 1, 2, 5 in logarithm."""
    before_us = buckets[0][0] / 2
    for index, (upper_us, _) in enumerate(buckets):
        if us <= upper_us:
            share = (log10(us) - log10(before_us)) / (log10(upper_us) - log10(before_us))
            return step * (index + max(0.0, share))
        before_us = upper_us
    return step * len(buckets)


def _budget(at: float, foot: int, text: str, *, right: bool) -> list[Markup]:
    x, anchor = (at + 4, "start") if right else (at - 4, "end")
    return [
        tag("line", class_="budget", x1=at, x2=at, y1=4, y2=foot),
        tag("text", text, class_="tick", x=x, y=12, text_anchor=anchor),
    ]


def _round(us: int) -> str:
    """The label of a power of ten."""
    return f"{us} µs" if us < 1_000 else f"{us // 1_000} ms" if us < 1_000_000 else f"{us // 1_000_000} s"


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
