"""The command `apprentice`: what a learner, or another release, would have done beside the one that decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, console, emit, progress, say
from opportune.doors.cli.replaying import difference_tables, named_release

if TYPE_CHECKING:
    from opportune.flows.learning.apprentice import LearnerReport, Worth
    from opportune.flows.region import Region


def apprentice(
    ctx: typer.Context,
    release: Annotated[
        str | None,
        typer.Argument(metavar="[RELEASE]", help="A release to run beside the live one; none: Personalizer's learner."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of the newest.")] = 10_000,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """What a learner, or another release, would have done beside the one that decides, and what that would earn."""
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        if release is None:
            _learner(region, last, as_json)
        else:
            _release(region, named_release(region, release), last, as_json)


def _learner(region: Region, last: int, as_json: bool) -> None:
    import msgspec

    from opportune.core.bandits.ranking import RankError
    from opportune.flows.learning.apprentice import learner_report

    try:
        found = learner_report(region, last)
    except RankError as error:
        raise Refusal(str(error)) from None
    emit(as_json, msgspec.to_builtins(found), "\n".join(sentences(found)))


def _release(region: Region, release: str, last: int, as_json: bool) -> None:
    import msgspec

    from opportune.flows.learning.apprentice import release_report

    total = min(last, region.records.counts().get("decisions", last))
    with progress("running beside", total, quiet=as_json) as advance:
        found = release_report(region, release, last, advance)
    if as_json:
        emit(True, msgspec.to_builtins(found))
        return
    if found.matching is None:
        say("no decision was made here yet: `opportune decide` makes one")
        return
    say(f"{release} on the snapshots of {found.decisions:,} decisions: {found.matching:.1%} of answers are the same")
    for part in difference_tables(found.differences, region.releases.brain_of(release).app.currency):
        say(part) if isinstance(part, str) else console().print(part)
    say(f"what it would have earned: `opportune evaluate {release}`")


def sentences(found: LearnerReport) -> Iterator[str]:
    """A report for people."""
    counted = found.counted
    yield (
        f"{found.mode}: {counted['ranked']:,} calls to rank, {counted['settled']:,} settled "
        f"({counted['by_default']:,} by the default reward), {found.waiting:,} wait for a reward"
    )
    for name, words in (("late", "came late"), ("twice", "came twice"), ("unknown", "spoke of no call")):
        if counted[name]:
            yield f"{counted[name]:,} rewards {words} and changed nothing"
    if counted["never_shown"]:
        yield f"{counted['never_shown']:,} deferred calls were never activated, and not learned from"
    if found.matching is None or found.earned is None:
        yield "no reward is settled yet: there is nothing to compare"
        return
    yield f"over the newest {found.calls:,}: {found.earned:.4f} earned per call"
    matching = "" if found.earned_where_matching is None else f", which earned {found.earned_where_matching:.4f}"
    yield f"what was shown is what the learner wants in {found.matching:.1%}{matching}"
    yield from _worth_told("the application's own choice", found.baseline)
    yield from _worth_told("the learner's choice", found.learner)
    if found.modelled_gain is not None:
        yield f"the learner itself expects {found.modelled_gain:+.4f} per call of its choice (a model, no evidence)"


def _worth_told(name: str, worth: Worth | None) -> Iterator[str]:
    if worth is None:
        yield f"{name}: too few calls"
    elif worth.value is None:
        yield f"{name}: the log cannot say what it earns"
    else:
        yield f"{name} earns {worth.value:.4f} per call (95 %: {worth.low:.4f} to {worth.high:.4f})"
    for reason in () if worth is None else worth.reasons:
        yield f"  {reason}"
