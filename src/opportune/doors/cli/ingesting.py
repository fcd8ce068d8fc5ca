"""Commands that bring signals in and record consent: `ingest`, `consent`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note

SAID = {"give": "consent.given", "withdraw": "consent.withdrawn", "refuse": "consent.refused"}


def ingest(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CloudEvents (NDJSON, JSON), or a folder.")],
    source: Annotated[str | None, typer.Option("--source", help="The source that maps a folder of tables.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Take signals in: CloudEvents files, or a folder of tables by a source of the playbook."""
    from opportune.doors.cli.intake import Tally, events_of, from_events, from_tables
    from opportune.doors.cli.live import ensure_live

    for path in files:
        if not path.exists():
            raise Refusal(f"there is no file `{path}`: check the path")
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    folders = [path for path in files if path.is_dir()]
    if folders and (len(files) > 1):
        raise Refusal("a folder of tables is ingested by itself: give one FILE argument")
    with workbench.writing(place) as region:
        ensure_live(workbench, place, region, note)
        tally = Tally()
        if folders or source is not None:
            sources = region.releases.live().playbook.sources
            known = {one.source: one for one in sources if one.tables}
            from_tables(region, _source(known, source), files[0], workbench.tables(), tally, quiet=as_json)
        for path in files if not (folders or source is not None) else []:
            from_events(region, path, events_of(path), tally, quiet=as_json)
    emit(as_json, tally.data(), "\n".join(tally.lines()))


def consent(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="An id, or `email:…`.")],
    word: Annotated[Literal["give", "withdraw", "refuse"], typer.Argument(help="What the customer says.")],
    purpose: Annotated[str, typer.Option("--purpose", help="What for.")] = "marketing",
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Where; everywhere by default.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="RFC 3339: how long a permission holds.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Record what a customer says about being contacted; it holds for every decision from now on."""
    from opportune.core.signals import Draft, format_time
    from opportune.doors.cli.live import ensure_live

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    with workbench.writing(place) as region:
        ensure_live(workbench, place, region, note)
        kind, _, value = customer.partition(":")
        found = region.records.customer_by(region.vault.identifier("email", value)) if kind == "email" else customer
        if found is None or region.records.person(found) is None:
            raise Refusal("no signal has named this customer yet: send one first, or check the id")
        known = set(region.releases.brain().channels)
        for one in channel or ():
            if one != "*" and one not in known:
                raise Refusal(f"`--channel {one}` is no channel of the playbook: it has {', '.join(sorted(known))}")
        said: dict[str, Any] = {"purpose": purpose, "channels": channel or ["*"]}
        if expires is not None:
            said["expires_at"] = expires
        now = format_time(region.clock.now_ms())
        draft = Draft("opportune/cli", region.clock.new_id(), SAID[word], now, subject=found, data=said)
        receipt = region.ingest.run([draft])[0]
        if receipt.status in ("quarantined", "rejected"):
            raise Refusal(receipt.problems[0].message)
        person = region.records.person(found)
    held = {} if person is None else {key: one.status for key, one in person.consents.items()}
    listed = ", ".join(f"{key} {status}" for key, status in sorted(held.items()))
    emit(as_json, {"customer": found, "consents": held}, f"recorded: {found} now has {listed}")


def _source(known: dict[str, Any], name: str | None) -> Any:  # noqa: ANN401
    listed = ", ".join(sorted(known)) or "none"
    if name is None:
        if len(known) == 1:
            return next(iter(known.values()))
        raise Refusal(f"`--source` must say how to read a folder: the live release has {listed}")
    if name not in known:
        raise Refusal(f"`--source {name}` is no source of the live release: it has {listed}")
    return known[name]
