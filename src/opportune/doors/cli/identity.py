"""Commands about who is who: `identity propose`, `proposals`, `accept`, `refuse`, `merge`, `merges`, `unmerge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Last, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note, plural, table

if TYPE_CHECKING:
    from opportune.ports import Merge, Proposal

Reason = Annotated[str, typer.Option("--why", help="The reason, kept in the record.")]
ProposalId = Annotated[str, typer.Argument(metavar="ID", help="The proposal, or how its id begins.")]


def propose(
    ctx: typer.Context,
    at_least: Annotated[float, typer.Option("--min", min=0.5, max=1.0, help="How probable, at least.")] = 0.9,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Look for customers that are probably one person; nothing is merged before a person says so."""
    workbench = bench(ctx)
    linker = workbench.linker()
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        note("comparing every customer: this takes some minutes for 50,000")
        found = region.merging.propose(linker, at_least)
    data = {"pairs": found.pairs, "new": found.new, "decided_before": found.decided, "min": at_least}
    text = f"{plural(found.pairs, 'pair')}, {found.new} new, {found.decided} decided before"
    emit(as_json, data, f"{text}\nnext: opportune identity proposals")


def proposals(
    ctx: typer.Context,
    status: Annotated[str, typer.Option("--status", help="open, accepted or refused.")] = "open",
    last: Last = 50,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """List pairs that may be one customer, the most probable first, with what agrees."""
    if status not in ("open", "accepted", "refused"):
        raise Refusal(f"`--status {status}` is none of open, accepted, refused")
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = region.records.proposals(status, last)
    rows = [
        (one.id, f"{one.probability:.3f}", one.one, one.other, _evidence(one), one.decided_by or "", one.why)
        for one in found
    ]
    columns = ("proposal", "probability", "one", "other", "evidence", "by", "why")
    emit(as_json, {"proposals": found}, lambda: table(columns, rows))


def accept(
    ctx: typer.Context,
    proposal: ProposalId,
    why: Reason,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Merge the two customers of a proposal."""
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        merge = region.merging.accept(_proposal(region, proposal), actor(), why)
    emit(as_json, {"merge": merge}, _merged(merge))


def refuse(
    ctx: typer.Context,
    proposal: ProposalId,
    why: Reason,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Say that the two customers of a proposal are two; they are not proposed again."""
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        refused = region.merging.refuse(_proposal(region, proposal), actor(), why)
    emit(as_json, {"proposal": refused}, f"{refused.one} and {refused.other} stay two")


def merge(
    ctx: typer.Context,
    one: Annotated[str, typer.Argument(metavar="ONE", help="A customer, by id, e-mail address or +phone.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The same person under another name.")],
    why: Reason,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make one customer of two: whoever was known first lives on, the stricter consent wins, no limit is reset."""
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        made = region.merging.merge(one, other, actor(), why)
    emit(as_json, {"merge": made}, _merged(made))


def merges(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="By id, e-mail address or +phone.")],
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Show which records became this customer, by which rule, and what was undone."""
    from opportune.core.signals import format_time
    from opportune.flows.identify import customer_named, lives_on

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        named = customer_named(region.records, region.vault, customer)
        person = None if named is None else lives_on(region.records.person, named)
        if named is None or person is None:
            raise Refusal("no signal has named this customer yet: check the id")
        members = dict.fromkeys((named, person.id, *person.absorbed))
        found = list({one.id: one for member in members for one in region.records.merges_of(member)}.values())
    found.sort(key=lambda each: (each.at_ms, each.id), reverse=True)
    rows = [
        (each.id, format_time(each.at_ms), each.merged, each.kept, each.rule, each.actor, each.reason,
         "" if each.undone_ms is None else f"{format_time(each.undone_ms)} by {each.undone_by}")
        for each in found
    ]  # fmt: skip
    data = {"customer": person.id, "absorbed": person.absorbed, "merges": found}
    columns = ("merge", "at", "merged", "into", "rule", "by", "why", "undone")
    emit(as_json, data, lambda: table(columns, rows, f"{named} lives on as {person.id}"))


def unmerge(
    ctx: typer.Context,
    merge_id: Annotated[str, typer.Argument(metavar="MERGE", help="The merge, as `identity merges` names it.")],
    why: Reason,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make two customers of one again; what was refused meanwhile and every contact stay with both."""
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        undone = region.merging.unmerge(merge_id, actor(), why)
    emit(as_json, {"merge": undone}, f"{undone.merged} and {undone.kept} are two again")


def _proposal(region: Any, text: str) -> str:  # noqa: ANN401 - a Region
    found = [one.id for one in region.records.proposals("open", 100_000) if one.id.startswith(text)]
    if len(found) > 1:
        raise Refusal(f"`{text}` begins {len(found)} proposals: write more of it")
    return found[0] if found else text


def _evidence(proposal: Proposal) -> str:
    return ", ".join(f"{name} {said}" for name, said in proposal.evidence.items() if said != "unknown")


def _merged(merge: Merge) -> str:
    return f"{merge.merged} is {merge.kept} from now on (merge {merge.id})"
