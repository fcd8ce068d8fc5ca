"""Commands about personal data: `erase`, `export`, `retain`, `audit accesses`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Last, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, plural, table

if TYPE_CHECKING:
    from opportune.core.customers import Person
    from opportune.flows.erase import ErasureReport
    from opportune.flows.region import Region

Customer = Annotated[
    str, typer.Argument(metavar="CUSTOMER", help="An id, an e-mail address or a phone number as +49….")
]


def erase(
    ctx: typer.Context,
    customer: Customer,
    why: Annotated[str, typer.Option("--why", help="The reason; the ledger keeps a commitment to it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    scan: Annotated[
        list[str] | None, typer.Option("--scan", metavar="PATH", help="Another file or folder to scan.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Erase a customer for good: rows, keys and ways back in; then prove it by a scan of every file."""
    from opportune.doors.cli.live import actor
    from opportune.flows.erase import Unknown
    from opportune.flows.erase import erase as erased

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        if not yes:
            _confirmed(customer)
        try:
            report = erased(region, customer, actor(), why, tuple(scan or ()))
        except Unknown:
            raise Refusal("nobody is called this: check the id") from None
    emit(as_json, _document(report), "\n".join(_told(report)))
    if not report.clean:
        raise typer.Exit(FOUND_SOMETHING)


def export(
    ctx: typer.Context,
    customer: Customer,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new file, instead of stdout.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it in the region's exports, where an erasure removes it.")
    ] = False,
    purpose: Annotated[str, typer.Option("--purpose", help="What it is for, for the access log.")] = "",
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Write everything known about a customer as one JSON document, for an access or portability request."""
    from opportune.core.masking import EVERYTHING, IN_CLEAR
    from opportune.doors.cli.live import actor
    from opportune.flows.access import seen_by
    from opportune.flows.erase import everybody
    from opportune.views.export import export_document

    if keep and out is not None:
        raise Refusal("`--keep` and `--out` exclude each other: say where the export goes once")
    if out is not None and out.exists():
        raise Refusal(f"`--out {out}` exists already: name a new file")
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    # The access log is written before the document is: that takes the right to write.
    with workbench.writing(place) as region:
        person = _person(region, customer)
        if keep:
            # Its name says nothing: it stands in backups, and in the output of `ls`.
            out = place.stores / "exports" / f"{region.clock.new_id()}.json"
            out.parent.mkdir(mode=0o700, exist_ok=True)
        seen_by(
            region.records, region.vault, region.clock, region.name, actor(), "export", person.id,
            EVERYTHING - IN_CLEAR, purpose,
        )  # fmt: skip
        pieces = export_document(
            region.records, region.releases.live(), region.releases.brain_of, region.name, person,
            everybody(region.records, person.id), region.clock.now_ms(), EVERYTHING,
        )  # fmt: skip
        if out is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        _private(out)
        with out.open("ab") as file:
            file.writelines(pieces)
    if as_json:
        emit(True, {"customer": person.id, "out": str(out)})
    note(f"wrote {out}: it is personal, hand it only to whoever may see it, and erase it when it was handed over")


def accesses(
    ctx: typer.Context,
    customer: Annotated[str | None, typer.Argument(metavar="[CUSTOMER]", help="About this customer alone.")] = None,
    last: Last = 20,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """List who read what about whom, the newest first."""
    from opportune.core.signals import format_time
    from opportune.views.export import access_line

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        named = None if customer is None else _person(region, customer).id
        found = region.records.accesses(last, customer=named)
    rows = [
        (format_time(one.at_ms), one.actor, one.what, one.customer or "–", ", ".join(one.classes) or "–", one.purpose)
        for one in found
    ]
    columns = ("when", "who", "what", "customer", "in clear", "for")
    emit(as_json, [access_line(one) for one in found], lambda: table(columns, rows) if rows else "nobody has read yet")


def retain(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Remove what has outlived the period of its class; `opportune serve` does it every day."""
    import msgspec

    from opportune.flows.retain import retain as retained

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        report = retained(region, dry_run=dry_run)
    word = "would be removed" if dry_run else "removed"
    if not report.periods:
        text = "no periods: name them in opportune.yaml under `privacy: retention:`; nothing is removed"
    else:
        text = (
            f"{word}: {plural(report.fields, 'field')} of {plural(report.signals, 'signal')}, "
            f"{plural(report.traits, 'trait')} of {plural(report.people, 'person', 'people')} and "
            f"{plural(report.accounts, 'account')}, "
            f"{plural(report.quarantine, 'entry', 'entries')} of quarantine, "
            f"{plural(report.access, 'entry', 'entries')} of the access log"
        )
    emit(as_json, {**msgspec.to_builtins(report), "dry_run": dry_run}, text)


def _person(region: Region, customer: str) -> Person:
    from opportune.flows.identify import customer_named, lives_on

    found = customer_named(region.records, region.vault, customer)
    person = None if found is None else lives_on(region.records.person, found)
    if person is None:
        raise Refusal("no signal has named this customer yet: send one first, or check the id")
    return person


def _confirmed(customer: str) -> None:
    if not sys.stdin.isatty():
        raise Refusal("erasing cannot be undone: say `--yes` where nobody can be asked")
    typer.confirm(f"erase everything about {customer}? this cannot be undone", abort=True, err=True)


def _private(path: Path) -> None:
    """A new file that its owner alone may read."""
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise Refusal(f"`--out {path}` exists already: name a new file") from None


def _document(report: ErasureReport) -> dict[str, Any]:
    import msgspec

    return {**msgspec.to_builtins(report), "clean": report.clean}


def _told(report: ErasureReport) -> list[str]:
    rows = ", ".join(f"{count:,} {name}" for name, count in sorted(report.removed.items()) if count)
    first = f"erased {report.customer}: {rows or 'nothing was left to remove'}"
    if report.status == "completed":
        first = f"{report.customer} was being erased before, and is now: {rows or 'nothing was left to remove'}"
    lines = [
        first,
        f"  keys     {report.keys_destroyed} destroyed of {plural(report.ids, 'id')}",
        f"  scanned  {plural(report.files, 'file')}, {report.bytes:,} bytes, for {plural(report.texts, 'text')}"
        + (f"; {report.too_short} too short to look for" if report.too_short else ""),
    ]
    lines += [f"  FOUND    {hit.path} (as {hit.form})" for hit in report.hits]
    lines += [f"  UNREAD   {path}" for path in report.unread]
    found = "remove what was found: from now on ids alone can be looked for"
    done = "nothing of them is left in any file" if report.clean else found
    lines.append(f"  {done}")
    if report.erasure:
        lines.append(f"  ledger   entry {report.erasure}, which names nobody")
    return lines
