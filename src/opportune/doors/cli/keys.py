"""Commands about API keys: `keys add`, `keys list`, `keys revoke`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, table

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the access log calls it.")]


def add(
    ctx: typer.Context,
    name: Name,
    scopes: Annotated[str, typer.Option("--scopes", help="What it may do, such as read,personal.")] = "read",
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once; a running server knows it within a second."""
    from opportune.doors.http.keys import scopes_of

    if not _NAME.fullmatch(name):
        raise Refusal(f"`{name}` cannot name a key: use small letters, digits, `_`, `.` and `-`, at most 40")
    wanted = scopes_of(name, [one.strip() for one in scopes.split(",") if one.strip()])
    workbench = bench(ctx)
    key = workbench.add_key(workbench.place(playbook, in_region), name, wanted)
    data = {"name": name, "scopes": sorted(wanted), "key": key}
    emit(as_json, data, f"{key}\n{name} may {', '.join(sorted(wanted))}; the key is not shown again")


def listed(ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False) -> None:
    """List the keys by name, with what each may do; never the keys themselves."""
    workbench = bench(ctx)
    found = sorted(workbench.key_names(workbench.place(playbook, in_region)).items())
    data = [{"name": name, "scopes": sorted(scopes)} for name, scopes in found]
    emit(as_json, data, lambda: table(("name", "may"), [(name, ", ".join(sorted(may))) for name, may in found]))


def revoke(
    ctx: typer.Context, name: Name, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """Revoke a key; a running server refuses it within a second."""
    workbench = bench(ctx)
    workbench.revoke_key(workbench.place(playbook, in_region), name)
    emit(as_json, {"revoked": name}, f"revoked {name}")
