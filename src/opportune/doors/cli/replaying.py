"""The command `replay`: recorded decisions again, to the byte, or under another release with what would differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, console, emit, progress, say, table

if TYPE_CHECKING:
    from opportune.core.decisions.differences import Differences, Moved
    from opportune.flows.region import Region

LINES_MAX = 12
"""Lines of a table; `--json` has all."""


def replay(
    ctx: typer.Context,
    decision: Annotated[str | None, typer.Argument(metavar="[ID]", help="One decision.")] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="The newest so many instead.")] = None,
    release: Annotated[str | None, typer.Option("--release", help="Under another release.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="FEATURE", help="Split differences by a feature, or `moment`.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild recorded decisions from what they saw and compare them with the record, byte for byte."""
    if (decision is None) == (last is None):
        raise Refusal("name one decision ID, or say `--last N`")
    if by is not None and (release is None or last is None):
        raise Refusal("`--by` splits differences: say `--last N` and `--release R` with it")
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        if release is not None:
            release = named_release(region, release)
        if decision is not None:
            _one(region, decision, release, as_json)
        elif release is None:
            _window(region, last or 0, as_json)
        else:
            _compared(region, last or 0, release, by, as_json)


def named_release(region: Region, name: str) -> str:
    """The full hash of a release named by it or by its beginning; Refusal when that is none, or several."""
    known = [one.hash for one in region.records.releases()]
    found = [hash_ for hash_ in known if hash_.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refusal(f"`{name}` begins {len(found)} releases: write more of it")
    raise Refusal(f"no release is called `{name}`: there are {', '.join(known) or 'none'}")


def no_decision(region: Region, id_: str) -> str:
    """The sentence for an id that no decision has."""
    newest = region.records.decisions(1)
    hint = f"the newest is `{newest[0].id}`" if newest else "none was made here yet, `opportune decide` makes one"
    return f"no decision has the id `{id_}`: {hint}"


def _one(region: Region, decision: str, release: str | None, as_json: bool) -> None:
    if region.records.decision(decision) is None:
        raise Refusal(no_decision(region, decision))
    found = region.replay(decision, release)
    different = [] if found.same else [{"id": found.id, "difference": found.difference}]
    _told(1, int(found.same), release, different, as_json)


def _window(region: Region, last: int, as_json: bool) -> None:
    from opportune.flows.replay import replay_window

    total = min(last, region.records.counts().get("decisions", last))
    with progress("replaying", total, quiet=as_json) as advance:
        found = replay_window(region.records, region.releases.brain_of, last, advance)
    different = [{"id": one.id, "difference": one.difference} for one in found.different]
    _told(found.of, found.same, None, different, as_json)


def _told(of: int, same: int, release: str | None, different: list[dict[str, Any]], as_json: bool) -> None:
    under = "" if release is None else f" under release {release}"
    lines = [f"{one['id']}: {one['difference']}" for one in different]
    lines.append(f"{same} of {of} the same, byte for byte{under}")
    emit(as_json, {"same": same, "of": of, "release": release, "different": different}, "\n".join(lines))
    if same < of:
        raise typer.Exit(FOUND_SOMETHING)


def _compared(region: Region, last: int, release: str, by: str | None, as_json: bool) -> None:
    import msgspec

    from opportune.flows.replay import compare_window

    other = region.releases.brain_of(release)
    total = min(last, region.records.counts().get("decisions", last))
    with progress("replaying", total, quiet=as_json) as advance:
        found = compare_window(region.records, region.releases.brain_of, last, other, by, advance)
    if as_json:
        emit(True, {"release": release, **msgspec.to_builtins(found)})
    else:
        for part in difference_tables(found, other.app.currency):
            say(part) if isinstance(part, str) else console().print(part)
    if found.changed or found.impossible:
        raise typer.Exit(FOUND_SOMETHING)


def difference_tables(found: Differences, currency: str) -> Iterator[object]:
    """What is different, as sentences and tables; used by every command that compares two sides."""
    share = found.changed / found.of if found.of else 0.0
    yield f"{found.changed:,} of {found.of:,} decisions ({share:.1%}) would be answered otherwise"
    yield f"predicted value of what is offered: {found.value_before:,.2f} {currency} -> {found.value_after:,.2f}"
    for title, moves in (
        ("by disposition", found.dispositions), ("by reason", found.reasons), ("by offer", found.offers),
        ("not possible", found.impossible),
    ):  # fmt: skip
        if moves:
            yield table(("before", "after", "decisions", "for example"), _moves(moves), _titled(title, moves))
    if found.policies:
        rows = [
            (one.rule, one.stage, one.holds_back, one.lost, one.frees, one.won, one.decisions, one.examples[0])
            for one in found.policies[:LINES_MAX]
        ]
        columns = ("rule", "stage", "holds back", "were free", "frees", "now free", "decisions", "example")
        yield table(columns, rows, _titled("by policy, in candidates", found.policies))
    if found.segments:
        segments = [
            (one.segment, one.of, one.changed, one.offered_before, one.offered_after)
            for one in found.segments[:LINES_MAX]
        ]
        heads = (str(found.by), "decisions", "different", "offers before", "offers after")
        yield table(heads, segments, _titled(f"by {found.by}", found.segments))


def _moves(moves: Sequence[Moved]) -> list[tuple[object, ...]]:
    return [(one.before, one.after, one.count, one.examples[0]) for one in moves[:LINES_MAX]]


def _titled(title: str, lines: Sequence[object]) -> str:
    rest = len(lines) - LINES_MAX
    return f"{title} ({rest} more with --json)" if rest > 0 else title

