"""Commands about drift: `drift`, and what follows from it: `cases`, `cases approve|refuse|retrain`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Last, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, plural, table

if TYPE_CHECKING:
    from opportune.core.drift import Report
    from opportune.core.drift.cases import DriftCase
    from opportune.core.playbook import Playbook as Book
    from opportune.flows.learning.drift_cases import Retrained
    from opportune.flows.region import Region
    from opportune.views.drift import Finding

By = Annotated[str, typer.Option("--by", metavar="PERSON", help="Who decides: somebody under `people`.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for ever with the decision.")]
Case = Annotated[str, typer.Argument(metavar="CASE", help="A case, or how its name begins.")]
REPORTS_MAX = 10_000


def drift(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A live model; without it, all.")] = None,
    segment: Annotated[
        str | None, typer.Option("--segment", help="Only what was found there: a feature, or `plan = pro`.")
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="What was found before: looks at nothing new.")] = False,
    last: Last = 20,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML report of what was measured.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Hold what is live against its training snapshot: decisions, and what became of them, since the last check."""
    from opportune.core.models import card_hash
    from opportune.flows.learning.drift import Looked
    from opportune.flows.learning.drift_cases import follow
    from opportune.views.drift import case_line, report_line
    from opportune.views.drift_report import html_report

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    if kept:
        with workbench.reading(place) as region:
            made_ms, cards = region.clock.now_ms(), {card_hash(card): card for card in region.releases.live().cards}
            looked, every, followed = Looked(), region.drift.reports(REPORTS_MAX, model=model), []
            found: tuple[Report, ...] = tuple(every[:last])
    else:
        with workbench.writing(place) as region:
            try:
                looked = region.drift.check(model, early=True)
            except LookupError as error:
                raise Refusal(str(error.args[0])) from None
            followed, found = follow(region, region.drift), looked.reports
            every = region.drift.reports(REPORTS_MAX, model=model)
            made_ms, cards = region.clock.now_ms(), {card_hash(card): card for card in region.releases.live().cards}
    lines = [report_line(one, segment) for one in found]
    moved = {case.id: case for case in (*looked.cases, *followed)}
    data = {
        "reports": lines, "cases": [case_line(case) for case in moved.values()],
        "not_watched": dict(looked.not_watched), "waiting": dict(looked.waiting),
    }  # fmt: skip
    if report is not None:
        report.write_text(html_report(every, cards, made_ms), encoding="utf-8")
        data["report"] = str(report)
        note(f"the report is in {report}")
    emit(as_json, data, lambda: _printed(data))
    if any(line.found for line in lines):
        raise typer.Exit(FOUND_SOMETHING)


def cases(
    ctx: typer.Context, last: Last = 20, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """List what follows from drift: cases, where each stands, and what it waits for."""
    from opportune.views.drift import case_line

    if ctx.invoked_subcommand is not None:
        return
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    found = []
    if place.stores.exists():
        with workbench.reading(place) as region:
            found = [case_line(case) for case in region.drift.cases(last)]
    rows = [(one.status.replace("_", " "), one.id, one.model, one.opened[:16], one.words[0], one.next) for one in found]
    columns = ("stage", "case", "model", "opened", "because", "next")
    emit(as_json, found, (lambda: table(columns, rows)) if rows else "no case: nothing was found that asks for one")


def approve(
    ctx: typer.Context, case: Case, by: By, reason: Reason, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Approve that a model is trained again; what comes of it needs an approval of its own."""
    _decide(ctx, case, True, by, reason, playbook, in_region, as_json)


def refuse(
    ctx: typer.Context, case: Case, by: By, reason: Reason, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Refuse a case: nothing is done, and the same findings open no other for this artefact."""
    _decide(ctx, case, False, by, reason, playbook, in_region, as_json)


def retrain(
    ctx: typer.Context,
    case: Annotated[str | None, typer.Argument(metavar="[CASE]", help="Without it, every approved case.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Train for approved cases; the artefacts wait in the registry for `opportune approve`."""
    from opportune.flows.learning.drift_cases import approved_cases, case_named
    from opportune.flows.learning.drift_cases import retrain as again
    from opportune.views.drift import case_line

    workbench = bench(ctx)
    loaded = workbench.load(playbook)
    place = workbench.place(playbook, in_region)
    with workbench.writing(place) as region:
        asked = approved_cases(region.drift) if case is None else [case_named(region, case)]
        train = partial(_train, workbench, region, loaded)
        done = [case_line(again(region, one.id, train)) for one in asked]
    lines = [f"{one.id}: {one.status}; {one.next}" for one in done]
    emit(as_json, done, "\n".join(lines) if lines else "no case waits to be trained")
    if any(one.status == "failed" for one in done):
        raise typer.Exit(FOUND_SOMETHING)


def _train(workbench: Any, region: Region, loaded: Book, model: str) -> Retrained:  # noqa: ANN401 - a Workbench
    from opportune.core.models import LearnError
    from opportune.core.releases import compile_release, encode_manifest
    from opportune.flows.learning.drift_cases import ACTOR, Retrained
    from opportune.flows.learning.learn import learn

    spec = next((one for one in loaded.models if one.model == model), None)
    if spec is None:
        raise LearnError(f"the playbook no longer describes model `{model}`")
    release = compile_release(encode_manifest(loaded))
    card = learn(
        region.records, release, spec, workbench.trainer(spec), region.releases.brain_of,
        lambda step: note(f"… {step}"),
    )  # fmt: skip
    standing = region.registry.propose(card, ACTOR, spec, reason="trained again after drift")
    failed = [gate.message for gate in card.training.gates if not gate.passed]
    return Retrained(standing.card, "; ".join(failed))


def _decide(
    ctx: typer.Context, case: str, yes: bool, by: str, reason: str, playbook: Path, in_region: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    from opportune.flows.learning.drift_cases import decide
    from opportune.views.drift import case_line

    workbench = bench(ctx)
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        found: DriftCase = decide(region, case, approve=yes, by=by, why=reason)
    line = case_line(found)
    emit(as_json, line, f"{line.id} is {line.status}\nnext: {line.next}")


def _printed(data: dict[str, Any]) -> Any:  # noqa: ANN401 - text, or a table of rich
    for model, why in data["not_watched"].items():
        note(f"model `{model}` is not watched: {why}")
    for case in data["cases"]:
        note(f"case {case.id}: {case.status.replace('_', ' ')}; {case.next}")
    for model, count in data["waiting"].items():
        note(f"model `{model}`: {plural(count, 'decision')} wait for a window")
    lines = data["reports"]
    if not lines:
        return "no window is full: nothing to look at yet"
    rows = [_row(line, finding) for line in lines for finding in line.found]
    if not rows:
        looks = sum(line.measured for line in lines)
        return f"nothing found in {plural(len(lines), 'window')} ({plural(looks, 'measurement')})"
    return table(("until", "model", "where", "what", "of limit", "by accident"), rows)


def _row(line: Any, finding: Finding) -> tuple[str, ...]:  # noqa: ANN401 - a ReportLine
    where = finding.segment or "everybody"
    return line.until[:16], line.model, where, finding.words, f"{finding.of_limit:.1f}x", f"{finding.chance:.1e}"
