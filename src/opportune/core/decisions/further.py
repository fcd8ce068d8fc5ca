"""The models of a release by what they predict, and what those beside the uplift's say within a decision.

`acceptance` takes the place of the chance of accepting; `value` that of an offer's margin; `fatigue` makes a contact
cost more for whoever is more easily annoyed than the average customer; `churn_risk` speaks of the customer alone, and
policies read it as `score.churn_risk`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, isnan, nan
from typing import Any

import msgspec
import numpy as np

from opportune.core.decisions.arbitration import Estimate
from opportune.core.decisions.brain import Brain, Floats, Further
from opportune.core.decisions.customer_scores import CUSTOMER_TARGETS, customer_scores
from opportune.core.decisions.records import Result, Said
from opportune.core.models import (
    EVERY_OFFER,
    CompiledModel,
    Form,
    ModelError,
    Scorecard,
    card_hash,
    compile_scorecards,
)
from opportune.core.playbook import ModelSpec

FORMS: Mapping[str, tuple[Form, ...]] = {
    "uplift": ("odds", "effect"), "acceptance": ("chance",), "value": ("amount",), "fatigue": ("chance",),
    "churn_risk": ("chance",),
}  # fmt: skip


class Models(msgspec.Struct, frozen=True):
    """What a brain has of its release's cards: the model of uplift with its name, and those beside it by target."""

    model: CompiledModel | None
    name: str | None
    further: Mapping[str, Further]


def models_of(cards: Sequence[Scorecard], offers: Sequence[str], feature_names: Sequence[str]) -> Models:
    """The cards compiled by target. Raises ModelError for a target or form that is not served, for two cards that
    predict the same of one offer, and as `compile_scorecard`."""
    by_target: dict[str, list[Scorecard]] = {}
    for card in cards:
        forms = FORMS.get(card.target)
        if forms is None:
            raise ModelError(f"model `{card.model}` predicts `{card.target}`: served are {', '.join(FORMS)}")
        if card.form not in forms:
            raise ModelError(
                f"model `{card.model}` predicts {card.target} in the form `{card.form}`, which must be "
                f"{' or '.join(forms)}: train it again"
            )
        by_target.setdefault(card.target, []).append(card)
    model, name = None, None
    further: dict[str, Further] = {}
    for target in FORMS:
        if target not in by_target:
            continue
        asked = (EVERY_OFFER,) if target in CUSTOMER_TARGETS else offers
        compiled = compile_scorecards(by_target[target], asked, feature_names)
        called = "+".join(f"{card.model}@{card_hash(card)[:12]}" for card in by_target[target])
        if target == "uplift":
            model, name = compiled, called
        else:
            usual = tuple(1.0 / (1.0 + exp(-compiled.effect_base(place))) for place in range(len(asked)))
            further[target] = Further(called, compiled, usual)
    return Models(model, name, further)


def heavier_problem(models: Sequence[ModelSpec]) -> tuple[str, str] | None:
    """(model, what is wrong) of the first description of a heavier model that cannot be asked about decisions."""
    targets = {spec.model: spec.target for spec in models if spec.validates is None}
    for spec in models:
        if spec.onnx is not None and spec.validates is None:
            return spec.model, "an `onnx` model is asked after the answer: name the model that answers in `validates`"
        if spec.validates is None:
            continue
        if targets.get(spec.validates) != "uplift" or spec.target != "uplift":
            known = ", ".join(name for name, target in targets.items() if target == "uplift") or "none"
            return spec.model, f"`validates` names `{spec.validates}`, no model of uplift that decides: take {known}"
        if spec.onnx is not None and spec.onnx_hash is None:
            return spec.model, "`onnx` needs `onnx_hash`, the hash of the file's bytes: it says which model is meant"
    return None


def with_further(brain: Brain, features: Mapping[str, Any], estimate: Estimate) -> Estimate:
    """The estimate with what the models beside the uplift's say of its offers."""
    values = list(map(features.get, brain.views.names))
    places = range(len(brain.offers)) if estimate.scored is None else estimate.scored
    p_accept, money, tiring = estimate.p_accept, estimate.money, estimate.tiring
    for target, known in brain.further.items():
        if target in CUSTOMER_TARGETS:
            continue
        whole = estimate.scored is None
        scores = known.model.score(values) if whole else known.model.score_some(values, places)
        numbers = list(zip(scores.p_accept, scores.covered, strict=True))
        if target == "acceptance":
            p_accept = [new if covered else old for old, (new, covered) in zip(p_accept, numbers, strict=True)]
        elif target == "value":
            money = [number if covered else nan for number, covered in numbers]
        else:
            more = tired(np.array(scores.p_accept), np.array(known.usual)[list(places)])
            tiring = np.where(scores.covered, more, 1.0).tolist()
    return msgspec.structs.replace(estimate, p_accept=p_accept, money=money, tiring=tiring)


def tired(chances: Floats, usual: Floats) -> Floats:
    """By what the cost of a contact is multiplied: the chance that it annoys over that of the average customer."""
    found: Floats = np.rint(chances / usual * 1e6) / 1e6
    return found


def unit_of(brain: Brain, offer: str) -> str:
    """In what the reasons of an offer's effect are counted."""
    model = brain.model
    if not isinstance(model, CompiledModel) or model.straight is None or offer not in brain.offers:
        return "log-odds"
    return "uplift" if brain.offers.index(offer) in model.straight.effects.tolist() else "log-odds"


def margin_of(brain: Brain, result: Result, index: int) -> float:
    """The money that an acceptance of a candidate brings: what a model said in the decision, or the margin."""
    place = brain.offer_of[index]
    if result.further is not None and result.further.money and place in result.scored.offers:
        told = result.further.money[result.scored.offers.index(place)]
        if told is not None:
            return told
    return float(brain.margins[index])


def said(brain: Brain, features: Mapping[str, Any], estimate: Estimate, offers: Sequence[int]) -> Said:
    """What the record keeps of it: of the offers that were scored, by their places."""
    places = offers if estimate.scored is None else [list(estimate.scored).index(offer) for offer in offers]
    money, tiring = estimate.money, estimate.tiring
    asked = {target: one.name for target, one in brain.further.items()}
    return Said(
        asked,
        customer_scores(brain, features),
        () if money is None else tuple(None if isnan(money[place]) else money[place] for place in places),
        () if tiring is None else tuple(tiring[place] for place in places),
    )
