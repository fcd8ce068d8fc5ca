"""The command `limits`: every limit of the live release, and how much of those over everybody is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import emit, table

if TYPE_CHECKING:
    from opportune.views.limits import LimitNow

COLUMNS = ("limit", "of", "counts", "at most", "per", "delivered", "reserved", "left")


def limits(ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False) -> None:
    """List every limit, and of volumes and budgets what is delivered, reserved and left now."""
    from opportune.core.contacts import period_words
    from opportune.views.limits import limits_now

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = limits_now(region.records, region.releases.live().brain, region.clock.now_ms())

    def row(one: LimitNow) -> tuple[str, ...]:
        group = one.group if one.offer is None else f"{one.group}, {one.offer}"
        used = ("", "", "")
        if one.used is not None:
            used = (_much(one, one.used.delivered), _much(one, one.used.reserved), _much(one, one.used.left))
        return one.limit, one.of, group, _much(one, one.at_most), period_words(one.per_ms), *used

    emit(as_json, {"limits": found}, lambda: table(COLUMNS, [row(one) for one in found]))


def _much(one: LimitNow, amount: float) -> str:
    return f"{amount:,.0f}" if one.currency is None else f"{amount:,.2f} {one.currency}"
