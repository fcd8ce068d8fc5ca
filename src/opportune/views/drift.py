"""Drift as data: reports without their counts, cases with what they wait for, and the heat map of features by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from opportune.core.drift import Measured, Report
from opportune.core.drift.cases import DriftCase, waits_for
from opportune.core.signals import format_time

DAYS_SHOWN = 30


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; see core.drift.Measured. `of_limit` is its size in parts of its limit."""

    kind: str
    what: str
    segment: str
    size: float
    limit: float
    of_limit: float
    chance: float
    found: bool
    before: float | None
    now: float | None
    words: str


class ReportLine(msgspec.Struct, frozen=True):
    """One window of one model: when, how many, held against what, and what was found. `measured` is how many things
    were looked at."""

    id: str
    model: str
    card: str
    series: str
    look: int
    at: str
    since: str
    until: str
    rows: int
    units: int
    reference: str
    alpha: float
    measured: int
    early: bool
    found: tuple[Finding, ...]


class StepLine(msgspec.Struct, frozen=True):
    """What a case became, when, by whom and why."""

    at: str
    status: str
    by: str
    why: str


class CaseLine(msgspec.Struct, frozen=True):
    """One case with all its steps; `open` while it waits for somebody or something, and `next` says what."""

    id: str
    kind: str
    model: str
    card: str
    status: str
    opened: str
    words: tuple[str, ...]
    next: str
    artefact: str
    release: str
    steps: tuple[StepLine, ...]
    for_a_person: bool
    open: bool


class HeatCell(msgspec.Struct, frozen=True):
    """The largest change of one thing on one day, in parts of its limit; None where nothing was looked at."""

    of_limit: float | None
    found: bool
    words: str


class HeatRow(msgspec.Struct, frozen=True):
    """A feature, a score or an answer over the days."""

    what: str
    kind: str
    cells: tuple[HeatCell, ...]


class HeatMap(msgspec.Struct, frozen=True):
    """What was looked at, by day (UTC), for everybody or one segment; the rows with alarms first."""

    model: str
    segment: str
    days: tuple[str, ...]
    rows: tuple[HeatRow, ...]


def finding_of(one: Measured) -> Finding:
    return Finding(
        one.kind, one.what, one.segment, one.size, one.limit, round(abs(one.size) / one.limit, 3), one.chance,
        one.found, one.before, one.now, one.words,
    )  # fmt: skip


def report_line(report: Report, segment: str | None = None) -> ReportLine:
    """The report as a line; with a segment (a feature, or `plan = pro`), only what was found there."""
    found = [one for one in report.found if within(one.segment, segment)]
    return ReportLine(
        report.id, report.model, report.card, report.series, report.look, format_time(report.at_ms),
        format_time(report.from_ms), format_time(report.to_ms), report.rows, report.units, report.reference,
        report.alpha, sum(within(one.segment, segment) for one in report.measured), report.early,
        tuple(finding_of(one) for one in found),
    )  # fmt: skip


def within(own: str, segment: str | None) -> bool:
    """Whether what was measured in `own` belongs to a segment, or to the segments of a feature."""
    return segment is None or segment in (own, own.partition(" = ")[0])


def case_line(case: DriftCase) -> CaseLine:
    steps = tuple(StepLine(format_time(one.at_ms), one.status, one.by, one.why) for one in case.steps)
    for_a_person = case.status in ("proposed", "failed", "stuck")
    is_open = case.status not in ("refused", "done", "fallen_back")
    return CaseLine(
        case.id, case.kind, case.model, case.card, case.status, format_time(case.opened_ms), case.words,
        waits_for(case), case.artefact, case.release, steps, for_a_person, is_open,
    )  # fmt: skip


def segments_of(reports: Iterable[Report]) -> tuple[str, ...]:
    """Every segment that was looked at, in order."""
    return tuple(sorted({one.segment for report in reports for one in report.measured if one.segment}))


def heat_map(reports: Sequence[Report], model: str, segment: str = "") -> HeatMap:
    """The newest days on which the model was looked at, the oldest first."""
    mine = [one for one in reports if one.model == model]
    days = tuple(sorted({format_time(one.to_ms)[:10] for one in mine}))[-DAYS_SHOWN:]
    found: dict[tuple[str, str], dict[str, Measured]] = {}
    for report in mine:
        day = format_time(report.to_ms)[:10]
        for one in report.measured:
            if one.segment == segment and day in days:
                row = found.setdefault((_group(one.kind), one.what), {})
                row[day] = max(row.get(day, one), one, key=_weight)
    rows = [
        HeatRow(what, group, tuple(_cell(row.get(day)) for day in days)) for (group, what), row in found.items()
    ]
    rows.sort(key=lambda row: (-sum(cell.found for cell in row.cells), -_largest(row), row.kind, row.what))
    return HeatMap(model, segment, days, tuple(rows))


def _group(kind: str) -> str:
    """What the rows of the heat map are: features, scores or answers."""
    if kind in ("input", "unseen", "missing", "wrong_type"):
        return "feature"
    return "score" if kind == "score" else "answers"


def _weight(one: Measured) -> tuple[bool, float]:
    return one.found, abs(one.size) / one.limit


def _cell(one: Measured | None) -> HeatCell:
    if one is None:
        return HeatCell(None, False, "not looked at")
    return HeatCell(round(abs(one.size) / one.limit, 3), one.found, one.words)


def _largest(row: HeatRow) -> float:
    return max((cell.of_limit or 0.0 for cell in row.cells), default=0.0)
