"""Teaching models: `train`. What becomes of them then stands in `registry`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note

if TYPE_CHECKING:
    from opportune.core.models import Scorecard


def train(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the playbook.")],
    playbook: Playbook = HERE,
    by: Annotated[
        str | None, typer.Option("--by", metavar="PERSON", help="Whose work it is: they cannot approve it.")
    ] = None,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on the region's own history and propose its scorecard for approval."""
    from opportune.core.models import LearnError, describe, model_card, plots_of
    from opportune.core.releases import compile_release, encode_manifest
    from opportune.doors.cli.live import actor
    from opportune.flows.learning.learn import learn

    workbench = bench(ctx)
    loaded = workbench.load(playbook)
    specs = {spec.model: spec for spec in loaded.models}
    if model not in specs:
        near = get_close_matches(model, specs, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"the playbook has {', '.join(specs) or 'none'}"
        raise Refusal(f"no model is called `{model}`; {hint}")
    spec = specs[model]
    release = compile_release(encode_manifest(loaded))
    place = workbench.place(playbook, in_region)
    try:
        trainer = workbench.trainer(spec)
    except LearnError as error:
        raise Refusal(f"{workbench.places(playbook, 'models')[model]}: {error}") from None
    with workbench.reading(place) as region:
        started_ms = region.clock.now_ms()
        card = learn(region.records, release, spec, trainer, region.releases.brain_of, lambda step: note(f"… {step}"))
        ended_ms = region.clock.now_ms()
    with workbench.reading(place) as region:
        name = region.registry.offer(card, by or actor(), spec)
    plots = plots_of(card)
    files = {"model-card.md": model_card(card, plots), **plots}
    folder = workbench.report(place, name, files)
    if (tracked := workbench.tracked(place, card, files, by or actor(), started_ms, ended_ms)) is not None:
        note(tracked)
    approve = f"opportune approve {name[:12]} --by PERSON --reason TEXT"
    following = approve if card.approved else "see which gate failed, and what the playbook asks of it"
    said = f"{describe(card)}\non the shelf as {name}\nmodel card and plots: {folder}\nnext: {following}"
    emit(as_json, {"card": name, "report_folder": str(folder), **_data(card)}, said)
    if not card.approved:
        raise typer.Exit(FOUND_SOMETHING)


def _data(card: Scorecard) -> dict[str, Any]:
    training = card.training
    return {
        "model": card.model,
        "approved": card.approved,
        "offers": [heads.offer for heads in card.offers],
        "rows": training.rows,
        "metrics": training.metrics,
        "gates": training.gates,
        "left_out": training.left_out,
        "trainer": training.trainer,
        "target": card.target,
        "algorithm": training.algorithm,
        "settings": training.settings,
        "data_hash": training.data_hash,
        "calibration": training.calibration_table,
        "report": training.report,
    }
