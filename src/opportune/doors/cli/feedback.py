"""The commands `feedback …`: the reasons people give, how right they are, and the rules their answers speak for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, Why, bench
from opportune.doors.cli.output import Refusal, emit, note, plural, progress, table

TRIED_MAX = 10_000
Named = Annotated[str, typer.Argument(metavar="ID", help="A proposal of `feedback proposals`.")]


def reasons(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """List the reasons people may give, and how often each was given."""
    from opportune.flows.learning.feedback import reason_counts

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = reason_counts(region)
    rows = [
        (one.reason, one.title, one.suggests, *(one.given.get(verdict, 0) for verdict in VERDICTS)) for one in found
    ]
    emit(as_json, found, lambda: table(("reason", "in words", "suggests", *VERDICTS), rows))


VERDICTS = ("reject", "change", "decline")


def people(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """Say how each person's answers compare with what happened, with intervals."""
    from opportune.flows.learning.feedback import people_of

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = people_of(region)
    rows = [
        (one.by, one.answers, _rate(one.overrides), _rate(one.accepted), _number(one.lift), _number(one.brier),
         _number(one.overconfident))
        for one in found
    ]  # fmt: skip
    columns = ("who", "answers", "overrode", "accepted of those let pass", "beside expected", "brier", "too sure by")
    nothing = "nobody has answered a review or declined an offer yet"
    emit(as_json, found, (lambda: table(columns, rows)) if rows else nothing)


def proposals(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """List the rules that people's answers speak for; nothing follows until a person accepts one."""
    from opportune.flows.learning.feedback import proposals_of

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = proposals_of(region)
    rows = [
        (one.proposal.id, one.standing.status, one.proposal.effect, one.proposal.when, one.proposal.reason,
         f"{one.proposal.hits} of {one.proposal.rows}", f"{one.proposal.others_hits} of {one.proposal.others}",
         f"{one.proposal.p:.1e}")
        for one in found
    ]  # fmt: skip
    columns = ("id", "status", "effect", "where", "reason", "overridden", "elsewhere", "by chance")
    nothing = "no rule stands out: either people agree with the decisions, or there are too few answers"
    emit(as_json, found, (lambda: table(columns, rows)) if rows else nothing)


def accept(
    ctx: typer.Context,
    id_: Named,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the policy goes; policies/learned_ID.yaml.")
    ] = None,
    why: Why = "people say so",
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="Decisions to try it on.")] = TRIED_MAX,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Write a proposed rule into the playbook, after it compiled and was tried on recorded decisions."""
    from opportune.doors.cli.live import actor
    from opportune.flows.learning.feedback import proposal_named, settle, tried

    workbench = bench(ctx)
    loaded = workbench.load(playbook)
    file = out or playbook / "policies" / f"learned_{id_}.yaml"
    if file.exists():
        raise Refusal(f"`{file}` is there already: name another with `--out`")
    if not file.parent.is_dir():
        raise Refusal(f"`{file}`: there is no folder `{file.parent}`")
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        found = proposal_named(region, id_)
        with progress("trying the rule", last, quiet=as_json) as advance:
            counted = tried(region, loaded, found.proposal, last, advance)
        file.write_text(found.yaml)
        settle(region, id_, "accepted", actor(), why)
    data: dict[str, Any] = {"id": id_, "file": str(file), "decisions": counted.decisions, "changed": counted.changed}
    changed = f"{plural(counted.changed, 'decision')} of {counted.decisions:,} would have been answered otherwise"
    emit(as_json, data, f"{changed}\nwritten: {file}\nnext: look at it, then `opportune check` and `opportune release`")


def refuse(
    ctx: typer.Context, id_: Named, why: Why = "not a rule of ours", playbook: Playbook = HERE,
    in_region: InRegion = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Refuse a proposed rule; it stays in the list as refused."""
    from opportune.doors.cli.live import actor
    from opportune.flows.learning.feedback import settle

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        found = settle(region, id_, "refused", actor(), why)
    note(f"refused by {found.standing.by}: {found.standing.why}")
    emit(as_json, found, f"{id_} is refused")


def _rate(rate: Any) -> str:  # noqa: ANN401 - a Rate; core is imported when a command runs
    return f"{rate.hits} of {rate.rows}: {rate.rate:.0%} ({rate.low:.0%} to {rate.high:.0%})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
