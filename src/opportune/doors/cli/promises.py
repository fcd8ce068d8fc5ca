"""The command `test`: everything the playbook promises, and recorded decisions as new promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, plural

if TYPE_CHECKING:
    from opportune.core.models import Scorecard
    from opportune.core.releases import Release
    from opportune.doors.cli.workbench import Workbench


def run_tests(
    ctx: typer.Context,
    from_decision: Annotated[
        str | None, typer.Option("--from-decision", metavar="ID", help="Write a scenario from a recorded decision.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="FILE", help="Score with this card, not the newest approved one.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Run what the playbook promises: tests of feature views and policies, and the scenarios."""
    if from_decision is not None:
        _write_golden(bench(ctx), playbook, in_region, from_decision, as_json)
        return
    release = _release(bench(ctx), playbook, in_region, card)
    places = bench(ctx).places(playbook, "scenarios")
    failures, not_run, counts = [], [], {"view": 0, "policy": 0, "scenario": 0}
    for kind, name, trouble in _tests(release):
        if trouble is None:
            not_run.append(name)
            continue
        counts[kind] += 1
        if trouble:
            place = places.get(name) if kind == "scenario" else None
            failures.append({"kind": kind, "name": name, "place": place, "failures": trouble})
    total = sum(counts.values())
    text = [_failed(one) for one in failures]
    listed = f"{plural(counts['view'], 'view test')}, {plural(counts['policy'], 'policy test')}, "
    listed += plural(counts["scenario"], "scenario")
    text.append(f"{total - len(failures)} of {total} passed ({listed})")
    if not_run:
        names = "scenario that asks" if len(not_run) == 1 else "scenarios that ask"
        text.append(f"not run: {len(not_run)} {names} for a model, and none is approved (`train`, or `--card FILE`)")
    emit(as_json, {"ok": not failures, "counts": counts, "failures": failures, "not_run": not_run}, "\n".join(text))
    if failures:
        raise typer.Exit(FOUND_SOMETHING)


def _failed(failure: Mapping[str, Any]) -> str:
    where = f" ({failure['place']})" if failure["place"] else ""
    return "\n  ".join([f"FAILED {failure['kind']} {failure['name']}{where}", *failure["failures"]])


def _release(workbench: Workbench, playbook: Path, in_region: str | None, card: Path | None) -> Release:
    """The folder's playbook, compiled, with the cards that scenarios with a model are scored by."""
    from opportune.core.releases import compile_release, encode_manifest

    book = workbench.load(playbook)
    cards: Sequence[Scorecard] = ()
    if card is not None:
        cards = (workbench.card(card),)
    elif any(one.model for one in book.scenarios):
        place = workbench.place(playbook, in_region)
        if place.stores.exists():
            with workbench.reading(place) as region:
                cards = region.registry.releasable(book)
    return compile_release(encode_manifest(book, cards))


def _tests(release: Release) -> Iterator[tuple[str, str, list[str] | None]]:
    """(kind, name, what failed) of every test of the playbook; None for one that needs a model that is not there."""
    from opportune.core.decisions.scenarios import run_scenario
    from opportune.core.features import run_view_tests
    from opportune.core.policies import run_policy_tests
    from opportune.core.releases import variables_of

    broken: dict[tuple[str, str], list[str]] = {}
    for failure in run_view_tests(release.views):
        broken.setdefault((failure.view, failure.test), []).append(f"`{failure.feature}`: {failure.message}")
    for view in release.playbook.views:
        for one in view.tests:
            yield "view", f"{view.view}: {one.name}", broken.get((view.view, one.name), [])
    for result in run_policy_tests(release.playbook.policies, variables_of(release.playbook, release.views)):
        trouble = [] if result.passed else [f"expected {result.expected}, got {result.got}"]
        yield "policy", f"{result.policy}: {result.test}", trouble
    known = {scenario.scenario: scenario for scenario in release.playbook.scenarios}
    for scenario in release.playbook.scenarios:
        impossible = scenario.model and release.brain.model is None
        yield "scenario", scenario.scenario, None if impossible else run_scenario(release.brain, scenario, known)


def _write_golden(workbench: Workbench, playbook: Path, in_region: str | None, decision: str, as_json: bool) -> None:
    """Writes the scenario, once it is known to give what was recorded."""
    from opportune.core.decisions.golden import golden
    from opportune.core.decisions.records import decode_record
    from opportune.core.decisions.scenarios import run_scenario
    from opportune.doors.cli.replaying import no_decision

    with workbench.reading(workbench.place(playbook, in_region)) as region:
        stored = region.records.decision(decision)
        if stored is None:
            raise Refusal(no_decision(region, decision))
        record = decode_record(stored.record)
        brain = region.releases.brain_of(record.release)
        taken = {one.scenario for one in workbench.load(playbook).scenarios}
        made = golden(brain, record, taken)
        if trouble := run_scenario(brain, made.scenario):
            left = f" (left out: {', '.join(made.left_out)})" if made.left_out else ""
            raise Refusal(f"as a scenario this decision would come out otherwise{left}: {trouble[0]}")
    file = workbench.add_scenario(playbook, made.scenario)
    data = {"file": str(file), "scenario": made.scenario.scenario, "left_out": made.left_out}
    without = f"\nleft out, for it may say who it was: {', '.join(made.left_out)}" if made.left_out else ""
    emit(as_json, data, f"wrote `{made.scenario.scenario}` to {file}{without}\nnext: opportune test")
