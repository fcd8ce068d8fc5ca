"""Commands of the offline engine: `features parity`, `features dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, plural, progress, table

if TYPE_CHECKING:
    from opportune.doors.cli.workbench import Workbench
    from opportune.flows.parity import Parity

LAST = 10_000


def parity(
    ctx: typer.Context,
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of the newest decisions.")] = LAST,
    generated: Annotated[
        int | None, typer.Option("--generated", min=1, max=100_000_000, help="Make up this many signals instead.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which made-up signals.")] = 1,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Work out offline what was served online, and compare value by value; exit code 1 on a difference unexplained."""
    workbench = bench(ctx)
    if generated is not None:
        found, extra, about = _generated(workbench, playbook, generated, seed, quiet=as_json)
    else:
        from opportune.flows.parity import parity as compare

        with workbench.reading(workbench.place(playbook, in_region)) as region:
            found = compare(region, workbench.offline(), last)
        extra, about = {}, plural(found.decisions, "decision")
        if found.left_out:
            about += f" ({found.left_out} more of releases that do not compile any more)"
    emit(as_json, {**_data(found), **extra}, lambda: _table(found, about))
    if not as_json:
        _tell_examples(found)
    if found.different:
        raise typer.Exit(FOUND_SOMETHING)


def dataset(
    ctx: typer.Context,
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="Labels, as .parquet, .csv or .ndjson.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The Parquet file to write.")],
    features: Annotated[str, typer.Option("--features", help="Names, with commas; all of the live release.")] = "",
    purpose: Annotated[str | None, typer.Option("--purpose", help="What it is for; every feature must be.")] = None,
    label_signal: Annotated[
        list[str] | None, typer.Option("--label-signal", help="A signal type that the labels are made of; repeat.")
    ] = None,
    as_received: Annotated[
        bool, typer.Option("--as-received", help="Leave out what happened before a row's time but came in later.")
    ] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Join features to labels, each as of the label's own time, with view versions and lineage."""
    import msgspec

    from opportune.flows.dataset import Wanted, read_labels
    from opportune.flows.dataset import dataset as build

    if out.suffix.lower() != ".parquet":
        raise Refusal(f"`{out}` must end in .parquet")
    workbench = bench(ctx)
    if not labels.is_file():
        raise Refusal(f"there is no file `{labels}`: check the path")
    rows = read_labels(workbench.tables().rows('SELECT * FROM "labels"', {"labels": str(labels)}))
    names = tuple(name.strip() for name in features.split(",") if name.strip())
    wanted = Wanted(names, purpose, tuple(label_signal or ()), as_received)
    engine = workbench.offline()
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        made = build(region.records, region.releases.live(), engine, rows, wanted)
    lineage = msgspec.json.format(msgspec.json.encode(made.lineage), indent=2).decode()
    versions = msgspec.json.encode(made.lineage["views"]).decode()
    engine.write(str(out), made.columns, {"opportune.views": versions, "opportune.lineage": lineage})
    beside = out.with_suffix(".lineage.json")
    beside.write_text(lineage + "\n")
    if not wanted.label_signals:
        note("name the signals that the labels are made of (--label-signal): then no feature can read them")
    count = len(made.lineage["features"])
    data = {"out": str(out), "lineage": str(beside), "rows": made.rows, "features": count}
    emit(as_json, data, f"{plural(made.rows, 'row')} with {plural(count, 'feature')} in {out}\nlineage in {beside}")


def _generated(
    workbench: Workbench, folder: Path, count: int, seed: int, *, quiet: bool
) -> tuple[Parity, dict[str, Any], str]:
    from opportune.core.releases import compile_release, encode_manifest
    from opportune.flows.generated import generated_parity

    loaded = workbench.load(folder)
    views = compile_release(encode_manifest(loaded)).views
    with progress("folding", count, quiet=quiet) as advance:
        done = 0

        def tell(folded: int) -> None:
            nonlocal done
            advance(folded - done)
            done = folded

        found = generated_parity(loaded, views, workbench.offline(), count, seed, tell)
    extra = {
        "signals": found.signals, "duplicates": found.duplicates, "late": found.late,
        "out_of_order": found.out_of_order, "reads": found.reads,
    }  # fmt: skip
    about = (
        f"{plural(found.reads, 'read')} of {plural(found.signals, 'made-up signal')} ({found.duplicates} came twice, "
        f"{found.late} over an hour late, {found.out_of_order} out of order)"
    )
    return found.parity, extra, about


def _data(found: Parity) -> dict[str, Any]:
    import msgspec

    return {
        "decisions": found.decisions, "left_out": found.left_out, "equal": found.equal, "explained": found.explained,
        "different": found.different, "features": [msgspec.to_builtins(one) for one in found.features],
        "examples": [msgspec.to_builtins(one) for one in found.examples],
    }  # fmt: skip


def _table(found: Parity, about: str) -> Any:  # noqa: ANN401 - a rich table
    rows = [
        (one.feature, one.form, one.equal, one.different, _reasons(one.explained), one.late, one.stale, one.missing)
        for one in found.features
    ]
    columns = ("feature", "offline by", "equal", "different", "explained", "late", "stale", "missing")
    title = (
        f"{about}: {found.equal} values equal, {found.explained} different and explained, "
        f"{found.different} different"
    )
    return table(columns, rows, title)


def _reasons(explained: Any) -> str:  # noqa: ANN401
    return ", ".join(f"{count} {reason}" for reason, count in sorted(explained.items()))


def _tell_examples(found: Parity) -> None:
    for one in found.examples:
        why = f" ({one.reason})" if one.reason else ""
        note(f"{one.decision}: `{one.feature}` was served as `{one.served}`, offline it is `{one.offline}`{why}")
