"""The options that several commands share, and the workbench they find in their context."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from opportune.doors.cli.workbench import Workbench

Playbook = Annotated[
    Path, typer.Option("--playbook", "-p", metavar="DIR", help="The playbook's folder.", show_default=True)
]
InRegion = Annotated[
    str | None, typer.Option("--region", "-r", metavar="NAME", help="The region; the playbook's home region.")
]
"""For every command that opens a region: `in_region: InRegion = None`, `workbench.place(playbook, in_region)`."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Last = Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of the newest.")]
Why = Annotated[str, typer.Option("--why", help="The reason, kept in the ledger.")]
HERE = Path(".")


def bench(ctx: typer.Context) -> Workbench:
    """The workbench that `opportune.main` put into the context."""
    return cast("Workbench", ctx.find_root().obj)
