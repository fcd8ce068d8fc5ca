"""Commands about releases: `release`, `promote`, `rollback`, `releases`."""

from __future__ import annotations

from typing import Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, Why, bench
from opportune.doors.cli.output import emit, plural, table
from opportune.doors.cli.replaying import named_release


def release(
    ctx: typer.Context,
    note: Annotated[str, typer.Option("--note", help="What is new.")] = "",
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="HASH", help="With this model, not the newest approved one.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make an immutable release of the playbook and its newest approved models; it is not live yet."""
    from opportune.doors.cli.live import release_of
    from opportune.flows.backfill import needed

    workbench = bench(ctx)
    loaded = workbench.load(playbook)
    place = workbench.place(playbook, in_region)
    with workbench.writing(place) as region:
        known = {one.hash for one in region.records.releases()}
        made, cards = release_of(region, loaded, note, model or ())
        left_out = region.registry.left_out(loaded, cards)
        live = region.records.live()
        lacking = needed(region, made)
    names = [card.model for card in cards]
    data = {
        "release": made, "new": made not in known, "live": made == live, "models": names, "note": note,
        "left_out": {one.card: why for one, why in left_out},
    }  # fmt: skip
    text = f"{'made' if made not in known else 'already there:'} release {made}"
    text += f" with model {', '.join(names)}" if names else " without a model"
    for _, why in left_out:
        text += f"\nnot in it: {why}"
    if lacking.features:
        text += f"\n{plural(len(lacking.features), 'feature')} will be backfilled when it is promoted, or before: "
        text += f"opportune features backfill --release {made}"
    emit(as_json, data, text if made == live else f"{text}\nnext: opportune promote {made}")


def promote(
    ctx: typer.Context,
    hash_: Annotated[str, typer.Argument(metavar="HASH", help="The release, or how its name begins.")],
    why: Why = "promoted by hand",
    without_backfill: Annotated[
        bool, typer.Option("--without-backfill", help="At once; new features are missing until they are backfilled.")
    ] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make a release the live one; new features get the whole signal log first."""
    from opportune.doors.cli.backfilling import told_backfill, warn_of_missing
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        found = named_release(region, hash_)
        before = region.records.live()
        if without_backfill:
            warn_of_missing(region, found)
            region.promote(found, actor(), why, backfill=False)
        else:
            with told_backfill(region, found, quiet=as_json) as tell:
                region.promote(found, actor(), why, tell=tell)
    emit(as_json, {"live": found, "before": before}, f"{found} is live{f', before it {before}' if before else ''}")


def rollback(
    ctx: typer.Context,
    why: Why = "rolled back by hand",
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make the release that was live before live again."""
    from opportune.doors.cli.backfilling import warn_of_missing
    from opportune.doors.cli.live import actor

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        before = region.records.live()
        found = region.rollback(actor(), why)
        warn_of_missing(region, found)
    emit(as_json, {"live": found, "before": before}, f"{found} is live again, before it {before}")


def releases(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """List the releases, which one is live, and what was live when."""
    from opportune.core.signals import format_time

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        live, stored, history = region.records.live(), region.records.releases(), region.records.live_history()
    data = {
        "live": live,
        "releases": [
            {"hash": one.hash, "live": one.hash == live, "created_at": format_time(one.created_ms),
             "note": one.note}
            for one in stored
        ],
        "history": [
            {"at": format_time(at_ms), "release": hash_, "actor": actor, "why": why}
            for at_ms, hash_, actor, why in history
        ],
    }
    promoted: dict[str, tuple[str, str, str]] = {}
    for at_ms, hash_, who, why in history:
        promoted.setdefault(hash_, (format_time(at_ms), who, why))
    rows = [
        ("● live" if one.hash == live else "", one.hash, format_time(one.created_ms), one.note,
         *promoted.get(one.hash, ("", "", "")))
        for one in stored
    ]  # fmt: skip
    emit(as_json, data, lambda: table(("", "release", "made", "note", "promoted", "by", "why"), rows))
