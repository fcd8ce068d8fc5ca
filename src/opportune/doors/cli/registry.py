"""Commands about models after training: `models`, `models show|history|import|log|refuse|retire`, `approve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, table

if TYPE_CHECKING:
    from opportune.core.models import Scorecard
    from opportune.core.playbook import Playbook as Book
    from opportune.core.registry import Standing
    from opportune.doors.cli.workbench import Place, Workbench
    from opportune.flows.approve import Registry
    from opportune.views.models import ModelLine, ModelView

Which = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name (its newest), or a hash, cut short.")]
By = Annotated[str, typer.Option("--by", metavar="PERSON", help="Who decides: somebody under `people`.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for ever with the decision.")]


def listed(
    ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """List the models, where each stands, and what is to be done."""
    from opportune.views.models import models_view

    if ctx.invoked_subcommand is not None:
        return
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    found: tuple[ModelLine, ...] = ()
    if place.stores.exists():
        with workbench.reading(place) as region:
            found = models_view(region.registry)
    rows = [
        ("● live" if one.live else one.stage, one.model, one.card[:12], _approvals(one), one.risk, one.rows or None,
         _figure(one, "auc"), _figure(one, "ece"), one.data_to, one.next)
        for one in found
    ]  # fmt: skip
    columns = ("stage", "model", "hash", "approvals", "risk", "rows", "auc", "ece", "data to", "next")
    nothing = "nothing was trained here yet: run `opportune train`"
    emit(as_json, found, (lambda: table(columns, rows)) if rows else nothing)


def show(
    ctx: typer.Context, model: Which, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """Show one model: where it stands, its history, when it was live, and its model card."""
    from opportune.views.models import model_view

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        found = model_view(region.registry, model)
    emit(as_json, found, _shown(found))
    if found.line.trouble:
        raise typer.Exit(FOUND_SOMETHING)


def history(
    ctx: typer.Context, model: Which, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """Who did what with a model, and when it was live."""
    from opportune.views.models import history_of, live_of

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        name = region.registry.named(model)
        events, live = history_of(region.registry, name), live_of(region.registry, name)
    rows = [(one.at, one.kind, one.actor, one.details.get("role", ""), one.reason) for one in events]
    rows += [(one.since, f"live in {one.release}", one.actor, "", one.why) for one in live]
    rows += [(one.to, f"no longer live in {one.release}", "", "", "") for one in live if one.to is not None]
    data = {"card": name, "history": events, "live": live}
    emit(as_json, data, lambda: table(("at", "what", "who", "role", "why"), sorted(rows), name))


def import_(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file, or `mlflow:NAME/VERSION`.")],
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Where it comes from, and why it is wanted.")] = "",
    model: Annotated[
        str | None, typer.Option("--model", help="The model of the playbook that it is; a LightGBM text needs it.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Put a model from elsewhere into the registry; it is proposed by PERSON, who cannot approve it."""
    from opportune.core.models import decode_card
    from opportune.core.registry import format_of

    workbench = bench(ctx)
    loaded, place = workbench.load(playbook), workbench.place(playbook, in_region)
    data, origin = workbench.fetched(source)
    kind = format_of(data, f"`{source}`")
    if kind == "onnx":
        raise Refusal(f"`{source}` is ONNX, which gives no reasons: save it as LightGBM text, or train it here")
    card = decode_card(data) if kind == "scorecard" else _judged(workbench, place, loaded, data, source, model)
    if model is not None and card.model != model:
        raise Refusal(f"`{source}` is the model `{card.model}`, not `{model}`: leave `--model` out")
    spec = next((one for one in loaded.models if one.model == card.model), None)
    with workbench.writing(place) as region:
        standing = region.registry.propose(card, by, spec, source=origin, reason=reason)
    _decided(as_json, standing)


def _judged(
    workbench: Workbench, place: Place, loaded: Book, data: bytes, source: str, model: str | None
) -> Scorecard:
    """A LightGBM text as a scorecard: calibrated on the region's own history, and held against its latest rows."""
    from opportune.core.registry import BoosterTrainer
    from opportune.core.releases import compile_release, encode_manifest
    from opportune.flows.learning.learn import learn

    spec = next((one for one in loaded.models if one.model == model), None)
    if spec is None:
        listed = ", ".join(one.model for one in loaded.models) or "none"
        raise Refusal(f"say with `--model` which model of the playbook `{source}` is: it has {listed}")
    trainer = BoosterTrainer(data, f"`{source}`")
    with workbench.reading(place) as region:
        release = compile_release(encode_manifest(loaded))
        return learn(region.records, release, spec, trainer, region.releases.brain_of, lambda step: note(f"… {step}"))


def log(
    ctx: typer.Context, model: Which, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False
) -> None:
    """Log a model's training run to the MLflow server that MLFLOW_TRACKING_URI names."""
    from opportune.core.models import model_card, plots_of

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    with workbench.reading(place) as region:
        name = region.registry.named(model)
        card, standing = region.registry.card(name), region.registry.standing(name)
    at_ms = standing.proposed_ms or 0
    plots = plots_of(card)
    author = standing.authors[0] if standing.authors else "unknown"
    said = workbench.tracked(place, card, {"model-card.md": model_card(card, plots), **plots}, author, at_ms, at_ms)
    if said is None:
        raise Refusal("set MLFLOW_TRACKING_URI to the address of an MLflow server, such as http://127.0.0.1:5000")
    logged = said.startswith("logged")
    emit(as_json, {"card": name, "logged": logged, "said": said}, said)
    if not logged:
        raise typer.Exit(FOUND_SOMETHING)


def approve(
    ctx: typer.Context, model: Which, by: By, reason: Reason, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Approve a model, by its hash or its name; a release may then hold exactly these bytes."""
    _decide(ctx, lambda registry: registry.approve, model, by, reason, playbook, in_region, as_json)


def refuse(
    ctx: typer.Context, model: Which, by: By, reason: Reason, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Refuse a model: no release may hold it from now on."""
    _decide(ctx, lambda registry: registry.refuse, model, by, reason, playbook, in_region, as_json)


def retire(
    ctx: typer.Context, model: Which, by: By, reason: Reason, playbook: Playbook = HERE, in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Retire a model that is not live: new releases leave it out."""
    _decide(ctx, lambda registry: registry.retire, model, by, reason, playbook, in_region, as_json)


def _decide(
    ctx: typer.Context, step: Callable[[Registry], Callable[..., Standing]], model: str, by: str, reason: str,
    playbook: Path, in_region: str | None, as_json: bool,
) -> None:  # fmt: skip
    workbench = bench(ctx)
    people = workbench.load(playbook).app.people
    with workbench.writing(workbench.place(playbook, in_region)) as region:
        name = region.registry.named(model, open_=True)
        standing = step(region.registry)(name, by, people, reason)
    _decided(as_json, standing)


def _decided(as_json: bool, standing: Standing) -> None:
    lacking = standing.needed(standing.risk) - len(standing.approvals)
    data = {
        "card": standing.card, "model": standing.model, "stage": standing.stage, "approved": standing.approved,
        "approvals": standing.approvals, "needed": standing.needed(standing.risk), "authors": standing.authors,
    }  # fmt: skip
    text = f"{standing.model} {standing.card} is {standing.stage}"
    if standing.approved:
        text += "\nnext: opportune release"
    elif standing.stage == "validated":
        others = ", ".join((*standing.authors, *(one.by for one in standing.approvals)))
        text += f"\nnext: {lacking} more approval{'s' if lacking > 1 else ''}, by somebody else than {others}: "
        text += f"opportune approve {standing.card[:12]} --by PERSON --reason TEXT"
    elif standing.stage == "proposed":
        text += f"\nit has not passed its gates: opportune models show {standing.card[:12]}"
    emit(as_json, data, text)


def _approvals(line: ModelLine) -> str:
    names = ", ".join(one.by for one in line.approvals)
    return f"{len(line.approvals)} of {line.needed}{f' ({names})' if names else ''}"


def _figure(line: ModelLine, name: str) -> str:
    return f"{line.metrics[name]:.3f}" if name in line.metrics else ""


def _shown(view: ModelView) -> str:
    line = view.line
    text = [f"{line.model} {line.card}", f"{line.stage}, {_approvals(line)} approvals, risk {line.risk}"]
    text += [f"  {one.at}  {one.kind} by {one.actor}{f': {one.reason}' if one.reason else ''}" for one in view.history]
    text += [f"  {one.since}  live in {one.release} to {one.to or 'now'}: {one.why}" for one in view.live]
    text += [f"  gate not passed: {one}" for one in line.unmet]
    text += [f"next: {line.next}"] if line.next else []
    text += [f"UNUSABLE: {line.trouble}"] if line.trouble else []
    return "\n".join([*text, "", view.document])
