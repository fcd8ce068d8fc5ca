"""The command `evaluate`: what a release would have earned, over the own log or over an imported one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, console, emit, note, plural, progress, say, table
from opportune.doors.cli.replaying import named_release

if TYPE_CHECKING:
    from opportune.core.offpolicy import Estimate, Judgement
    from opportune.flows.learning.evaluate import Evaluation

MIX_MAX = 12
DAY_MS = 86_400_000
NAMES = {
    "ips": "IPS", "snips": "SNIPS", "dm": "model alone (DM)", "dr": "doubly robust (DR)", "sndr": "SNDR",
    "switch_dr": "Switch-DR", "dr_os": "DR, shrunk weights",
}  # fmt: skip


def evaluate(
    ctx: typer.Context,
    release: Annotated[str | None, typer.Argument(metavar="[RELEASE]", help="A stored release.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of the newest.")] = 100_000,
    since: Annotated[str | None, typer.Option("--since", metavar="AGE", help="Only decisions since 30d ago.")] = None,
    reward: Annotated[
        str, typer.Option("--reward", help="conversion, value, acceptance, click or complaint.")
    ] = "conversion",
    window: Annotated[str, typer.Option("--window", help="How long after a decision an outcome counts.")] = "14d",
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="FEATURE", help="Split by a feature; repeatable.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Judge an imported log (CSV, Parquet) instead.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Say what a release would have earned over recorded decisions, with intervals, or why the log cannot say."""
    if (release is None) == (log is None):
        raise Refusal("name a RELEASE, or an imported log with `--log FILE`")
    if log is not None:
        _imported(ctx, log, as_json)
        return
    from opportune.core.durations import parse_duration_ms
    from opportune.core.offpolicy import SharedThenOwn
    from opportune.flows.learning.evaluate import Reward
    from opportune.flows.learning.evaluate import evaluate as judged

    known = get_args(Reward)
    if reward not in known:
        raise Refusal(f"`--reward {reward}` is not known: it is one of {', '.join(known)}")
    try:
        window_ms, age_ms = parse_duration_ms(window), None if since is None else parse_duration_ms(since)
    except ValueError as error:
        raise Refusal(f"`--window` or `--since`: {error}") from None
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        hash_ = named_release(region, str(release))
        since_ms = 0 if age_ms is None else region.clock.now_ms() - age_ms
        total = min(last, region.records.counts().get("decisions", last))
        with progress("looking at decisions", total, quiet=as_json) as advance:
            found = judged(
                region, hash_, SharedThenOwn(), last=last, since_ms=since_ms, reward=reward,  # type: ignore[arg-type]  # as was just asked
                window_ms=window_ms, by=tuple(by or ()), tell=advance,
            )  # fmt: skip
    if as_json:
        emit(True, found)
    else:
        _told(found)
    if found.judgement.value is None:
        raise typer.Exit(FOUND_SOMETHING)


def _imported(ctx: typer.Context, path: Path, as_json: bool) -> None:
    from opportune.core.offpolicy import SharedThenOwn
    from opportune.flows.learning.evaluate_file import evaluate_file

    if not path.is_file():
        raise Refusal(f"`{path}` is no file")
    found = evaluate_file(bench(ctx).columns(), str(path), SharedThenOwn())
    if as_json:
        emit(True, found)
    else:
        say(f"{plural(found.rows, 'row')}, {plural(found.units, 'unit')}: {path}")
        for part in judgement_tables(found, ""):
            say(part) if isinstance(part, str) else console().print(part)
    if found.value is None:
        raise typer.Exit(FOUND_SOMETHING)


def _told(found: Evaluation) -> None:
    from opportune.core.signals import format_time

    days = found.window_ms / DAY_MS
    judgement = found.judgement
    say(
        f"release {found.release} over {plural(judgement.rows, 'decision')} about {plural(judgement.units, 'customer')}"
        f" from {format_time(found.from_ms)[:10]} to {format_time(found.to_ms)[:10]};"
        f" {found.reward} within {days:g} days"
    )
    unit = found.currency if found.reward == "value" else ""
    for part in judgement_tables(judgement, unit):
        say(part) if isinstance(part, str) else console().print(part)
    for reason, count in found.left_out.items():
        note(f"left out: {plural(count, 'decision')}, {reason}")
    if found.late:
        note(f"{plural(found.late, 'outcome')} came after the window and is not counted: `--window` sets it")
    if found.unplaced:
        note(f"{plural(found.unplaced, 'purchase')} belongs to no decision that is judged")
    say("nothing was written")


def judgement_tables(found: Judgement, unit: str) -> Iterator[object]:
    """A judgement as sentences and tables."""
    yield from (f"overlap is {found.overlap.grade}: {reason}" for reason in found.overlap.reasons)
    if found.value is None:
        yield "the log cannot say what this earns"
    else:
        rows = [("it would earn", *_cells(found.value)), ("was earned", *_cells(found.before)),
                ("difference", *_cells(found.difference))]  # fmt: skip
        each = f"per decision{', ' + unit if unit else ''}"
        yield table((each, "estimate", "95 % from", "to"), rows)
        yield _sentence(found.difference)
    overlap = found.overlap
    untried = "" if overlap.unsupported is None else f", {overlap.unsupported:.1%} never tried"
    yield (
        f"{overlap.rows:,} rows count as {overlap.effective_rows:,.0f};"
        f" largest weight {overlap.max_weight:.1f}{untried}"
    )
    others = [(NAMES[name], *_cells(one)) for name, one in found.estimators.items()]
    yield table(("estimator", "value", "95 % from", "to"), others)
    if found.mix:
        mix = [(one.action, f"{one.before:.1%}", f"{one.after:.1%}", one.rows, _number(one.mean_reward))
               for one in found.mix[:MIX_MAX]]  # fmt: skip
        yield table(("what is done", "before", "after", "rows", "mean reward"), mix)
    if found.parts:
        parts = [(one.by, one.group, one.rows, *_cells(one.difference)) for one in found.parts]
        yield table(("of", "group", "rows", "difference", "95 % from", "to"), parts)


def _sentence(difference: Estimate | None) -> str:
    if difference is None or difference.interval.low <= 0.0 <= difference.interval.high:
        return "whether it earns more or less cannot be told from this log"
    return f"it earns {'more' if difference.value > 0.0 else 'less'}, at 95 % confidence"


def _cells(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return ("–", "–", "–")
    return (_number(estimate.value), _number(estimate.interval.low), _number(estimate.interval.high))


def _number(value: Any) -> str:  # noqa: ANN401 - a number or nothing
    return "–" if value is None else f"{value:,.4g}"
