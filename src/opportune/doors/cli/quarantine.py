"""The commands on signals that were kept out: list, show, fix, resubmit, discard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Last, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, plural, table

if TYPE_CHECKING:
    from opportune.core.signals import Receipt
    from opportune.flows.region import Region

Seq = Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The number in the list.")]
InClear = Annotated[bool, typer.Option("--clear", help="Personal values too; noted in the access log.")]
ALL_MAX = 10_000


def listed(
    ctx: typer.Context,
    last: Last = 20,
    status: Annotated[str, typer.Option("--status", help="open, resubmitted, discarded or all.")] = "all",
    reason: Annotated[str | None, typer.Option("--reason", metavar="CODE", help="Only with this problem.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """List the newest signals that were kept out, with the fields that are wrong."""
    if ctx.invoked_subcommand is not None:
        return
    from opportune.core.masking import IN_CLEAR
    from opportune.core.signals import format_time
    from opportune.views.quarantine import STATUSES, Asked, quarantine_view

    wanted = next((one for one in STATUSES if one == status), None)
    if wanted is None and status != "all":
        raise Refusal(f"`--status {status}` is none of {', '.join(STATUSES)}, all")
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        release = region.releases.live() if region.records.live() is not None else None
        found = quarantine_view(region.records, release, Asked(wanted, reason=reason), IN_CLEAR, last=last).rows
        total = region.records.counts().get("quarantined", 0)
    data = [
        {"seq": one.seq, "received_at": format_time(one.received_ms), "source": one.source, "id": one.id,
         "type": one.type, "status": one.status, "note": one.note, "problems": one.problems}
        for one in found
    ]  # fmt: skip
    rows = [
        (one.seq, format_time(one.received_ms), one.source, one.id, one.type, one.status,
         "; ".join(f"{problem.field}: {problem.message}" for problem in one.problems))
        for one in found
    ]  # fmt: skip
    columns = ("no.", "received", "source", "id", "type", "status", "what is wrong")
    title = f"the newest {len(rows)} of {plural(total, 'signal')} kept out"
    emit(as_json, data, (lambda: table(columns, rows, title)) if rows else "nothing is in quarantine")


def show(
    ctx: typer.Context,
    seq: Seq,
    clear: InClear = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Show what was sent beside what is wrong with it; personal values are masked unless you ask."""
    import msgspec

    from opportune.core.masking import EVERYTHING, IN_CLEAR
    from opportune.core.signals import format_time
    from opportune.views.quarantine import entry_view

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    with workbench.writing(place) if clear else workbench.reading(place) as region:
        kept = region.records.quarantine_entry(seq)
        if kept is None:
            raise Refusal(f"nothing in quarantine has the number `{seq}`: `opportune quarantine` lists them")
        if clear:
            _noted(region, kept.customer)
        release = region.releases.live() if region.records.live() is not None else None
        entry = entry_view(kept, release, EVERYTHING if clear else IN_CLEAR)
    line = entry.line
    data = {**msgspec.to_builtins(line), "customer": entry.customer, "draft": entry.draft, "hidden": entry.hidden}
    head = f"{line.seq}  {line.status}, received {format_time(line.received_ms)} from {line.source}"
    lines = [head + (f"\n   {line.note}" if line.note else "")]
    lines += [f"   {one.field}: {one.message}  [{one.code}]" for one in line.problems]
    if entry.draft is None:
        lines.append("   it was not kept whole: send it anew from its source, or give a whole draft with `fix --body`")
    else:
        lines.append(json.dumps(entry.draft, indent=2, ensure_ascii=False))
        if entry.hidden:
            lines.append(f"masked: {', '.join(entry.hidden)} (`--clear` shows them, and notes that you looked)")
    emit(as_json, data, "\n".join(lines))


def fix(
    ctx: typer.Context,
    seq: Seq,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As `data.count=3` or `subject=u1`.")
    ] = None,
    body: Annotated[Path | None, typer.Option("--body", metavar="FILE", help="The whole draft as JSON.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Change fields of a signal that was kept out, or all of it, and send it again."""
    from opportune.flows.quarantine import draft_from, draft_of, resubmit, with_fields

    if not changes and body is None:
        raise Refusal("say what to change: `--set data.count=3`, or `--body FILE` with the whole draft")
    whole = None if body is None else _json_of(body)
    given = dict(_assignment(one) for one in changes or ())
    workbench, actor = bench(ctx), _actor()
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        kept = region.records.quarantine_entry(seq)
        if kept is None:
            raise Refusal(f"nothing in quarantine has the number `{seq}`: `opportune quarantine` lists them")
        draft = draft_of(kept) if body is None else draft_from(whole)
        receipt = resubmit(region, seq, with_fields(draft, given), actor)
    _emit(as_json, [(seq, receipt)])


def resubmit_many(
    ctx: typer.Context,
    seqs: Annotated[list[int] | None, typer.Argument(metavar="[SEQ…]", help="Numbers in the list.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every open one.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="CODE", help="With --all: of these.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Send signals that were kept out again as they are: after a schema or a mapping was put right."""
    from opportune.flows.quarantine import QuarantineError, resubmit

    if everything == bool(seqs) or (reason is not None and not everything):
        raise Refusal("name numbers, or say `--all`, which `--reason CODE` narrows")
    workbench, actor = bench(ctx), _actor()
    done: list[tuple[int, Receipt]] = []
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        wanted = list(seqs or ()) if not everything else _open_with(region, reason)
        for seq in wanted:
            try:
                done.append((seq, resubmit(region, seq, None, actor)))
            except QuarantineError as error:
                if not everything:
                    raise
                note(str(error))
    _emit(as_json, done)


def discard_one(
    ctx: typer.Context,
    seq: Seq,
    why: Annotated[str, typer.Option("--why", help="The reason; kept with the entry.")],
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Close a signal that was kept out for good, with the reason."""
    from opportune.flows.quarantine import discard

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        discard(region, seq, why, _actor())
    emit(as_json, {"seq": seq, "status": "discarded"}, f"{seq} discarded: {why}")


def _open_with(region: Region, reason: str | None) -> list[int]:
    found = region.records.quarantined(ALL_MAX, status="open")
    matching = [one.seq for one in found if reason is None or any(each.code == reason for each in one.problems)]
    return sorted(matching)


def _emit(as_json: bool, done: list[tuple[int, Receipt]]) -> None:
    """What became of each; exit code 1 when something is still wrong."""
    import msgspec

    lines, wrong = [], 0
    for seq, receipt in done:
        if receipt.status in ("accepted", "duplicate"):
            lines.append(f"{seq}  {receipt.status} as signal {receipt.seq}")
        else:
            wrong += 1
            lines += [f"{seq}  still wrong: {one.field}: {one.message}" for one in receipt.problems]
    data = [{**msgspec.to_builtins(receipt), "seq": seq, "signal": receipt.seq} for seq, receipt in done]
    emit(as_json, data, "\n".join(lines) if lines else "nothing was sent again")
    if wrong:
        raise typer.Exit(FOUND_SOMETHING)


def _assignment(text: str) -> tuple[str, Any]:
    """`data.count=3`: the value is JSON where it can be read so, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Refusal(f"`--set {text}` must be FIELD=VALUE, such as data.count=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _json_of(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal(f"there is no file `{path}`: check the path") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"`{path}` is not JSON: {error}") from None


def _noted(region: Region, customer: str | None) -> None:
    from opportune.core.masking import EVERYTHING, IN_CLEAR
    from opportune.flows.access import seen_by

    opened = EVERYTHING - IN_CLEAR
    seen_by(region.records, region.vault, region.clock, region.name, _actor(), "quarantine", customer, opened)


def _actor() -> str:
    from opportune.doors.cli.live import actor

    return actor()
