"""`decide --batch`: everybody in a file at once, what came of it as a file and as a summary."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opportune.doors.cli.output import Refusal, emit, note, plural, progress, table

if TYPE_CHECKING:
    from opportune.flows.batch import Batch
    from opportune.flows.region import Region
    from opportune.ports import ColumnFiles

SHOWN_MAX = 30
NAMED_MAX = 5


def decide_batch(
    region: Region, files: ColumnFiles, path: Path, moment: str | None, channels: tuple[str, ...],
    context: Mapping[str, Any], name: str | None, out: Path | None, *, recording: bool, as_json: bool,
) -> None:  # fmt: skip
    """Decides about everybody in the file; records only when told to."""
    from opportune.flows import batch as flow

    if not path.is_file():
        raise Refusal(f"`{path}` is no file")
    asked = moment_of(region, moment)
    work = flow.check(region.decide, files, str(path), asked, channels, context, name or path.stem)
    if not recording and not as_json:
        note("nothing is recorded or reserved: `--record` does that")
    began_us = region.clock.tick_us()
    mix: Counter[tuple[str, str, str]] = Counter()
    customers = unknown = 0
    parts = (flow.record if recording else flow.run)(region.decide, files, work)
    with _written(files, out) as write, progress("deciding", None, quiet=as_json) as advance:
        for told in parts:
            count = len(told.columns["customer"])
            customers, unknown = customers + count, unknown + told.unknown
            mix.update(flow.mix_of(told.columns))
            write(told)
            advance(count)
    took_us = max(1, region.clock.tick_us() - began_us)
    _say(work, mix, customers, unknown, took_us, out, recording=recording, as_json=as_json)


def moment_of(region: Region, moment: str | None) -> str:
    """The moment that was named, or the only one there is."""
    moments = region.releases.brain().moments
    if moment is not None:
        return moment
    if len(moments) == 1:
        return next(iter(moments))
    raise Refusal(f"say at which moment: `--moment` with one of {', '.join(moments)}")


@contextlib.contextmanager
def _written(files: ColumnFiles, out: Path | None) -> Iterator[Any]:
    if out is None:
        yield lambda told: None
        return
    with files.writer(str(out)) as write:
        yield lambda told: write(told.columns)


def _say(
    work: Batch, mix: Counter[tuple[str, str, str]], customers: int, unknown: int, took_us: int, out: Path | None,
    *, recording: bool, as_json: bool,
) -> None:  # fmt: skip
    known = customers - unknown
    rows = [(*key, count) for key, count in mix.most_common() if key[0]]
    per_second = customers / took_us * 1e6
    missing = [] if work.stored else sorted(set(work.brain.views.names) - set(work.layout.features))
    data = {
        "customers": customers,
        "unknown": unknown,
        "recorded": recording,
        "moment": work.moment.moment,
        "release": work.brain.release,
        "mix": [{"disposition": d, "reason": r, "offer": o or None, "count": c} for d, r, o, c in rows],
        "features_missing": missing,
        "seconds": round(took_us / 1e6, 3),
        "rows_per_second": round(per_second),
        "out": None if out is None else str(out),
    }
    whole = "all recorded" if recording else "nothing recorded"
    title = f"{plural(known, 'customer')} in {took_us / 1e6:.1f} s ({per_second:,.0f} a second), {whole}"
    emit(as_json, data, lambda: table(("disposition", "reason", "offer", "customers"), rows[:SHOWN_MAX], title))
    if as_json:
        return
    if unknown:
        note(f"{plural(unknown, 'customer')} of the file no signal has named yet: nothing was decided about them")
    if missing:
        more = len(missing) - NAMED_MAX
        listed = ", ".join(missing[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
        note(f"features without a column count as missing: {listed}")
    if not work.stored:
        note("a file says nothing of contacts made: contact limits count none")
    if out is not None:
        note(f"answers: {out}")
