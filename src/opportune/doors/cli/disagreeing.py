"""The command about heavier models that are asked after the answer: `models disagreement`."""

from __future__ import annotations

from typing import Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import emit, table


def disagreement(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The model that answers.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """How far heavier models (`validates:` in a model's file) are from the decisions that were made, by day."""
    from opportune.views.disagreement import disagreement_lines

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    lines = []
    if place.stores.exists():
        with workbench.reading(place) as region:
            lines = disagreement_lines(region.validate.found(model))
    columns = ("day", "answered", "asked after", "decisions", "gap", "distance", "other sign", "other best", "see")
    rows = [
        (
            one.day, one.fast, one.heavy, str(one.decisions), f"{one.mean_gap:+.2f} pt", f"{one.mean_distance:.2f} pt",
            f"{one.other_sign:.1%}", f"{one.other_best:.1%}", one.worst[0] if one.worst else "",
        )
        for one in lines
    ]  # fmt: skip
    emit(as_json, lines, (lambda: table(columns, rows)) if rows else "no heavier model was asked about a decision yet")
