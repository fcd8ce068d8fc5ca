"""The command `doctor`: looks at everything that must be right for the rest to work."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, emit
from opportune.doors.cli.workbench import Vital

if TYPE_CHECKING:
    from opportune.doors.cli.workbench import Place, Workbench

FREE_BYTES_MIN = 1_000_000_000
AcceptTime = Annotated[
    bool, typer.Option("--accept-time", help="The machine's clock is right: begin from it at the next start.")
]


def doctor(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False,
    accept_time: AcceptTime = False,
) -> None:  # fmt: skip
    """Look at python, stores, keys, disk, clock, ledger and playbook; say what is not right and how to mend it."""
    workbench = bench(ctx)
    if accept_time:
        workbench.accept_time(workbench.place(playbook, in_region))
    found = [Vital("python", "ok", platform.python_version()), _processors()]
    _, troubles = workbench.examine(playbook)
    errors = [one for one in troubles if one.level == "error"]
    if errors:
        fix = "run `opportune check` and mend what it names"
        found.append(Vital("playbook", "bad", f"{len(errors)} problems, first {errors[0]}", fix))
    else:
        found.append(Vital("playbook", "ok", f"`{playbook}` loads and compiles"))
    if (Path(playbook) / "opportune.yaml").is_file():
        found += _stores(workbench, playbook, in_region)
    data = [
        {"name": one.name, "status": one.status, "found": one.found, "fix": one.fix or None} for one in found
    ]
    marks = {"ok": "ok  ", "note": "note", "bad": "BAD "}
    lines = [
        f"{marks[one.status]}  {one.name:<11} {one.found}" + (f" → {one.fix}" if one.fix else "") for one in found
    ]
    healthy = all(one.status != "bad" for one in found)
    emit(as_json, {"ok": healthy, "checks": data}, "\n".join(lines))
    if not healthy:
        raise typer.Exit(FOUND_SOMETHING)


def _stores(workbench: Workbench, playbook: Path, in_region: str | None) -> list[Vital]:
    place = workbench.place(playbook, in_region)
    found = [_disk(place), *workbench.vitals(place)]
    if not place.stores.exists():
        found.append(Vital("store", "note", "nothing is stored yet", "`opportune serve` or `ingest` begins"))
        return found
    try:
        with workbench.reading(place) as region:
            counts = region.records.counts()
            text = ", ".join(f"{counts.get(name, 0):,} {name}" for name in ("signals", "decisions", "outcomes"))
            found.append(Vital("store", "ok", text))
            live = region.records.live()
            found.append(
                Vital("release", "ok", f"{live} is live") if live else
                Vital("release", "note", "none is live", "`opportune serve` makes the first")
            )  # fmt: skip
            found.append(_ledger(place, region.ledger.vkey, region.records.leaf_count()))
    except Exception as error:  # noqa: BLE001 - whatever keeps the store shut is the finding
        sentences = workbench.sentences(error) or [f"{type(error).__name__}: {error}"]
        found.append(Vital("store", "bad", sentences[0], "restore it from a backup, or ask for help with this"))
    return found


def _ledger(place: Place, vkey: str, recorded: int) -> Vital:
    from opportune.verifier import verify_log

    if not (place.ledger / "checkpoint").exists():
        return Vital("ledger", "note", f"{recorded:,} entries, none published yet", "`opportune serve` publishes")
    report = verify_log(place.ledger, vkey)
    if not report.ok:
        return Vital("ledger", "bad", str(report.first), "see `opportune audit verify`")
    return Vital("ledger", "ok", f"verifies: {report.size:,} of {recorded:,} entries published")


def _disk(place: Place) -> Vital:
    folder = place.data if place.data.exists() else place.folder
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES_MIN:
        return Vital("disk", "bad", text, "make room: the store refuses work when the disk is full")
    return Vital("disk", "ok", text)


def _processors() -> Vital:
    count = os.cpu_count() or 1
    if count < 2:
        return Vital("processors", "note", str(count), "training beside decisions needs two")
    return Vital("processors", "ok", str(count))
