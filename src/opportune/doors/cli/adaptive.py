"""The command `adaptive`: what is believed of offers that no model covers, and how late their purchases come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, table

if TYPE_CHECKING:
    from opportune.views.adaptive import Adaptation, Belief

COLUMNS = (
    "offer", "channel", "segment", "shown", "bought", "withheld", "anyway", "accept", "95 %", "uplift", "95 %",
    "own", "share",
)  # fmt: skip
Offer = Annotated[str | None, typer.Argument(help="An offer, by its id; all without one.", show_default=False)]


def adaptive(
    ctx: typer.Context, offer: Offer = None, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what is believed of offers without a model: counts, acceptance and uplift with intervals, delays."""
    from opportune.views.adaptive import adaptation

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        release = region.releases.live()
        try:
            found = adaptation(region.records, release, region.clock.now_ms(), offer)
        except LookupError:
            known = ", ".join(release.brain.offers)
            raise Refusal(f"`offer`: the live release has no offer `{offer}`: it has {known}") from None
    emit(as_json, found, lambda: _told(found))


def _told(found: Adaptation) -> object:
    from rich.console import Group

    if not found.enabled:
        return "beliefs are switched off: `adaptive: {enabled: true}` in opportune.yaml switches them on"
    lines = [
        f"purchases count within {found.window}; the owner's prior weighs as {found.strength:g} purchases; "
        f"a model takes over by {found.handover:,} rows with the offer"
    ]
    if not found.ready:
        lines.append("the log is not counted whole yet: `opportune serve` does it at its start")
    if not found.beliefs:
        return "\n".join([*lines, "nothing to believe yet: no offer without a model has reached anybody"])
    below = []
    for delays in found.delays:
        told = ", ".join(f"{share:.0%} by day {day:g}" for day, share in delays.by_day[3::4])
        back = f"; {delays.refunds:.1%} are taken back" if delays.refunds else ""
        below.append(f"purchases of kind {delays.kind} ({delays.purchases:,} so far): {told}{back}")
    return Group(*lines, table(COLUMNS, [_row(one) for one in found.beliefs]), *below)


def _row(one: Belief) -> tuple[str, ...]:
    return (
        one.offer, one.channel, one.segment, f"{one.shown:,}", f"{one.bought:,}", f"{one.withheld:,}",
        f"{one.bought_anyway:,}", f"{one.p_accept:.2%}", _interval(one.p_accept_interval), f"{one.uplift:.2%}",
        _interval(one.uplift_interval), f"{one.own:.0%}", f"{one.share:.0%}",
    )  # fmt: skip


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0] * 100:.2f} to {bounds[1] * 100:.2f}"
