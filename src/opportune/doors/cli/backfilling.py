"""Commands that give new features the whole signal log: `features backfill`, `features prune`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note, plural, progress

if TYPE_CHECKING:
    from opportune.flows.region import Region


def backfill(
    ctx: typer.Context,
    release: Annotated[
        str | None, typer.Option("--release", metavar="HASH", help="The release; the live one when none is named.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Fold the signal log into features that are new in a release; stopped, it goes on where it was."""
    from opportune.doors.cli.replaying import named_release
    from opportune.flows.backfill import backfill as fill

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        live = region.records.live()
        if release is None and live is None:
            raise Refusal("no release is live: name one with `--release`, or run `opportune promote`")
        hash_ = live if release is None else named_release(region, release)
        assert hash_ is not None
        with told_backfill(region, hash_, quiet=as_json) as tell:
            done = fill(region, hash_, tell)
    text = f"the whole log is in {plural(len(done.features), 'feature')} more: {', '.join(done.features)}"
    data = {"release": done.release, "features": done.features, "signals": done.signals}
    emit(as_json, data, text if done.features else f"nothing to do: every feature of {done.release} is whole")


def prune(ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False) -> None:
    """Take features that no release reads any more out of the states of customers and accounts."""
    from opportune.flows.backfill import current
    from opportune.flows.backfill import prune as take_out

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region, region.preparing:
        retired = current(region).dropped
        changed = take_out(region)
    names = sorted({".".join(key.split(".")[:3]) for key in retired})
    text = f"took {plural(len(names), 'retired feature')} out of {plural(changed, 'state')}: {', '.join(names)}"
    emit(as_json, {"retired": names, "states": changed}, text if names else "nothing to do: no feature is retired")


@contextlib.contextmanager
def told_backfill(region: Region, hash_: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Says what a backfill is about to do, and draws how far it is."""
    from opportune.flows.backfill import needed

    lacking = needed(region, hash_)
    if not lacking.features:
        yield lambda done, end: None
        return
    note(f"backfilling {plural(len(lacking.features), 'feature')} from {plural(lacking.signals, 'signal')}")
    with progress("backfilling", lacking.signals, quiet=quiet) as advance:
        before = 0

        def tell(done: int, end: int) -> None:
            nonlocal before
            advance(done - before)
            before = done

        yield tell


def warn_of_missing(region: Region, hash_: str) -> None:
    """Says which features will be missing, and what to do."""
    from opportune.flows.backfill import needed

    lacking = needed(region, hash_)
    if lacking.features:
        note(f"missing until `opportune features backfill` is run: {', '.join(lacking.features)}")
