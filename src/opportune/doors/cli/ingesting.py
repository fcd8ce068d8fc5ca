"""The command that brings signals in: `ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note


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


def _source(known: dict[str, Any], name: str | None) -> Any:  # noqa: ANN401
    listed = ", ".join(sorted(known)) or "none"
    if name is None:
        if len(known) == 1:
            return next(iter(known.values()))
        raise Refusal(f"`--source` must say how to read a folder: the live release has {listed}")
    if name not in known:
        raise Refusal(f"`--source {name}` is no source of the live release: it has {listed}")
    return known[name]
