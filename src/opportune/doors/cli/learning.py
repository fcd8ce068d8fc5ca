"""Commands about models: `train`, `models`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, note, plural, table

if TYPE_CHECKING:
    from opportune.core.models import Scorecard

DECISIONS_MAX = 100_000


def train(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the playbook.")],
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on the region's own history and put its scorecard on the shelf."""
    from opportune.core.models import describe
    from opportune.core.releases import compile_release, encode_manifest
    from opportune.flows.ingest import newest
    from opportune.flows.learn import decided_assignments, training_set
    from opportune.flows.learn import train as learn

    workbench = bench(ctx)
    loaded = workbench.load(playbook)
    specs = {spec.model: spec for spec in loaded.models}
    if model not in specs:
        near = get_close_matches(model, specs, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"the playbook has {', '.join(specs) or 'none'}"
        raise Refusal(f"no model is called `{model}`; {hint}")
    spec = specs[model]
    release = compile_release(encode_manifest(loaded))
    views = release.views
    place = workbench.place(playbook, in_region)
    with workbench.reading(place) as region:
        note(f"replaying {plural(region.records.counts().get('signals', 0), 'signal')}")
        decided = decided_assignments(region.records, spec, DECISIONS_MAX, loaded.app.holdout.share)
        log = newest(region.records.signals(), release.contracts)
        examples = training_set(log, views, spec, decided)
    note(f"training `{model}` on {plural(len(examples.examples), 'assignment')}")
    card = learn(spec, examples, [offer.offer for offer in loaded.offers], workbench.trainer())
    name = workbench.shelve(place, card)
    following = "opportune release" if card.approved else "see which gate failed, and what the playbook asks of it"
    emit(as_json, {"card": name, **_data(card)}, f"{describe(card)}\non the shelf as {name}\nnext: {following}")
    if not card.approved:
        raise typer.Exit(FOUND_SOMETHING)


def models(ctx: typer.Context, playbook: Playbook = HERE, in_region: InRegion = None, as_json: AsJson = False) -> None:
    """List the trained models on the shelf, and which one is live."""
    from opportune.core.models import card_hash
    from opportune.core.signals import format_time

    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    live: set[str] = set()
    if place.stores.exists():
        with workbench.reading(place) as region:
            if region.records.live() is not None:
                live = {card_hash(card) for card in region.releases.live().cards}
    found = workbench.shelf(place)
    data = [{"card": name, "live": card_hash(card) in live, **_data(card)} for name, card in found]
    rows = [
        ("● live" if card_hash(card) in live else "", card.model, name, "yes" if card.approved else "NO",
         card.training.rows, f"{card.training.metrics.get('auc') or 0:.3f}",
         f"{card.training.metrics.get('ece') or 0:.3f}", format_time(card.training.to_ms)[:10])
        for name, card in found
    ]  # fmt: skip
    columns = ("", "model", "card", "approved", "assignments", "auc", "ece", "data to")
    nothing = "nothing was trained here yet: run `opportune train`"
    emit(as_json, data, (lambda: table(columns, rows)) if rows else nothing)


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
    }
