"""Commands about features: `features list`, `show`, `used-by`, `lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, plural, shown, table

if TYPE_CHECKING:
    from opportune.core.releases import Release
    from opportune.doors.cli.workbench import Place, Workbench
    from opportune.views.features import FeatureLine
    from opportune.views.uses import Use

UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def listed(ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False) -> None:
    """List the features of the live release: who owns and uses them, and how they look in the states."""
    import msgspec

    from opportune.views.features import feature_lines

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = feature_lines(region.records, region.releases.live(), region.clock.now_ms())
    columns = (
        "feature", "view", "entity", "owner", "purposes", "fresh for", "used by", "with value", "null", "distinct",
        "age p50", "p90",
    )  # fmt: skip
    rows = [_row(one) for one in found]
    emit(as_json, [msgspec.to_builtins(one) for one in found], lambda: table(columns, rows))


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A feature.")],
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Show one feature: what it is made of, what it rests on, and everything that uses it."""
    import msgspec

    from opportune.views.features import feature_lines

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        release = region.releases.live()
        if name not in release.views.features:
            raise Refusal(_unknown(name, release))
        (found,) = feature_lines(region.records, release, region.clock.now_ms(), only=name)
        rests_on = release.views.lineage(name)
    data = {**msgspec.to_builtins(found), "rests_on": msgspec.to_builtins(rests_on)}
    emit(as_json, data, "\n".join(_lines(found, rests_on.signals, rests_on.features)))


def used_by(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A feature, a signal, or a field such as usage.recorded.count.")
    ],
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """What does changing this feature, signal or field touch?"""
    import msgspec

    from opportune.views.uses import UnknownName, touched

    workbench = bench(ctx)
    release = live_or_folder(workbench, workbench.place(playbook, in_region))
    try:
        found = touched(release, name)
    except UnknownName as error:
        raise Refusal(str(error)) from None
    rows = [(one.kind, one.name, one.how, ", ".join(one.by)) for one in found.uses]
    nothing = f"changing {name} touches nothing in release {release.hash}"
    columns = ("what", "name", "how", "through")
    title = f"changing {name} touches {plural(len({(one.kind, one.name) for one in found.uses}), 'thing')}"
    emit(as_json, msgspec.to_builtins(found), (lambda: table(columns, rows, title)) if rows else nothing)


def live_or_folder(workbench: Workbench, place: Place) -> Release:
    """The live release; of the playbook's folder when nothing is stored yet."""
    from opportune.core.releases import compile_release, encode_manifest

    if (place.stores / "records.db").is_file():
        with workbench.reading(place) as region:
            if region.records.live() is not None:
                return region.releases.live()
    return compile_release(encode_manifest(workbench.load(place.folder)))


def _row(one: FeatureLine) -> tuple[object, ...]:
    about = (
        one.name if one.whole else f"{one.name} (being backfilled)", f"{one.view}@{one.version}", one.entity, one.owner,
        ", ".join(one.purposes), _age(one.freshness_ms), _used(one.used_by),
    )  # fmt: skip
    stats = one.stats
    if stats is None:
        return (*about, "read from outside", "–", "–", "–", "–")
    null = "–" if stats.null_rate is None else f"{stats.null_rate:.0%}"
    distinct = f"{stats.distinct}{'+' if stats.distinct_more else ''}"
    seen = (f"{stats.with_value}/{stats.sampled}", null, distinct, _age(stats.age_p50_ms), _age(stats.age_p90_ms))
    return (*about, *seen)


def _used(uses: tuple[Use, ...]) -> str:
    counts: dict[str, set[str]] = {}
    for use in uses:
        counts.setdefault(use.kind, set()).add(use.name)
    nouns = {"policy": "policies"}
    return ", ".join(plural(len(names), kind, nouns.get(kind)) for kind, names in sorted(counts.items())) or "nothing"


def _lines(one: FeatureLine, signals: tuple[str, ...], features: tuple[str, ...]) -> list[str]:
    lines = [
        f"{one.name} ({one.type}), view {one.view} version {one.version}, of the {one.entity}, owner {one.owner}",
        f"  made: {one.how}",
        f"  purposes: {', '.join(one.purposes)}",
        f"  fresh for: {_age(one.freshness_ms)}; default: {shown(one.default)}",
        f"  rests on signals: {', '.join(signals) or 'none'}; features: {', '.join(features) or 'none'}",
    ]
    if not one.whole:
        lines.append("  missing until its backfill is done: `opportune features backfill`")
    lines += [*_looks(one), "  used by:" if one.used_by else "  used by nothing"]
    return [*lines, *(f"    {use.kind} {use.name}: {use.how}" for use in one.used_by)]


def _looks(one: FeatureLine) -> list[str]:
    stats = one.stats
    if stats is None:
        return ["  read from outside at each decision: nothing is kept of it here"]
    more = "at least " if stats.distinct_more else ""
    return [
        f"  of {plural(stats.sampled, one.entity, {'person': 'people'}.get(one.entity))} looked at, {stats.with_value} "
        f"have a value; {more}{plural(stats.distinct, 'different value')}; {stats.stale} stale",
        f"  age: median {_age(stats.age_p50_ms)}, 90 % below {_age(stats.age_p90_ms)}, oldest {_age(stats.age_max_ms)}",
    ]


def _age(age_ms: int | None) -> str:
    if age_ms is None:
        return "–"
    return next((f"{age_ms / unit_ms:.3g} {unit}" for unit_ms, unit in UNITS if age_ms >= unit_ms), f"{age_ms} ms")


def _unknown(name: str, release: Any) -> str:  # noqa: ANN401 - a Release
    from difflib import get_close_matches

    near = get_close_matches(name, release.views.names, 1)
    hint = f"did you mean `{near[0]}`?" if near else "`opportune features list` names them all"
    return f"no feature is called `{name}`: {hint}"


def lineage(
    ctx: typer.Context,
    openlineage: Annotated[bool, typer.Option("--openlineage", help="As OpenLineage events, one JSON a line.")] = False,
    dataset: Annotated[
        list[Path] | None, typer.Option("--dataset", metavar="FILE", help="A training set's .lineage.json; repeat.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write; stdout when not.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """What every feature rests on; with --openlineage as events that data catalogues read."""
    workbench = bench(ctx)
    release, made_ms = _stored_release(workbench, workbench.place(playbook, in_region))
    if not openlineage:
        rests = [release.views.lineage(name) for name in release.views.names]
        rows = [(one.feature, ", ".join(one.signals), ", ".join(one.features)) for one in rests]
        data = [{"feature": one.feature, "signals": one.signals, "features": one.features} for one in rests]
        emit(as_json, data, lambda: table(("feature", "signals", "features"), rows))
        return
    import opportune
    from opportune.doors.cli.output import json_text, say
    from opportune.views.openlineage import openlineage_events

    producer = f"https://pypi.org/project/opportune/{opportune.__version__}/"
    events = openlineage_events(release, made_ms, producer, [_document(path) for path in dataset or ()])
    lines = [json_text(event) for event in events]
    if out is None:
        say(json_text(events) if as_json else "\n".join(lines))
        return
    out.write_text("\n".join(lines) + "\n")
    emit(as_json, {"out": str(out), "events": len(events)}, f"{plural(len(events), 'event')} in {out}")


def _document(path: Path) -> tuple[str, int, dict[str, Any]]:
    """(the training set's file, when it was written, its lineage) of a `.lineage.json`."""
    import msgspec

    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return path.name.replace(".lineage.json", ".parquet"), int(path.stat().st_mtime * 1000), found
    except (OSError, msgspec.DecodeError):
        raise Refusal(f"`--dataset {path}` is no lineage of a training set: give the .lineage.json beside it") from None


def _stored_release(workbench: Workbench, place: Place) -> tuple[Release, int]:
    """The live release and when it was made; the folder's, made now, when nothing is stored yet."""
    import time

    if (place.stores / "records.db").is_file():
        with workbench.reading(place) as region:
            if (live := region.records.live()) is not None and (stored := region.records.release(live)) is not None:
                return region.releases.live(), stored.created_ms
    return live_or_folder(workbench, place), time.time_ns() // 1_000_000
