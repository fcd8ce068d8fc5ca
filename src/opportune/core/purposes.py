"""Purposes as types: nothing compiles that would use data for what it is not there for.

A view may have only the purposes that every field it reads allows; what an offer requires or shows must be there for
the offer's purpose, a model's features for the model's, and what a commercial or contact policy reads for every purpose
offers rest on. Legal, consent and suitability policies protect the customer and may read everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from opportune.core.catalog import Offer
from opportune.core.contracts import field_purposes
from opportune.core.expressions import ExpressionError, parse
from opportune.core.features import CompiledViews, FeatureView
from opportune.core.features.plans import Feature
from opportune.core.playbook import ModelSpec, Playbook
from opportune.core.signals import SignalContract
from opportune.core.wording import listed

PROTECTING = frozenset(("legal", "consent", "suitability"))
"""Classes of policies that only ever keep something from the customer, for the customer's sake."""

_SHOWN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


class PurposeProblem(msgspec.Struct, frozen=True):
    """Data used for what it is not there for: the document, the field, and a place inside its text (from 1)."""

    collection: str
    document: str
    path: tuple[str | int, ...]
    message: str
    line: int = 1
    column: int = 1


def purpose_problems(
    playbook: Playbook, views: CompiledViews, types: Mapping[str, str], contracts: Sequence[SignalContract]
) -> Iterator[PurposeProblem]:
    """Everything in the playbook that would use data for another purpose; `types` are what policies may read.

    `contracts` are those of the playbook and those that come with the product.
    """
    versions: dict[str, list[SignalContract]] = {}
    for contract in contracts:
        versions.setdefault(contract.signal, []).append(contract)
    for view in playbook.views:
        yield from _view_problems(view, views, versions)
    for offer in playbook.offers:
        yield from _offer_problems(offer, views, types)
    for model in playbook.models:
        yield from _model_problems(model, views)
    purposes = sorted({offer.purpose for offer in playbook.offers})
    for policy in playbook.policies:
        if policy.class_ in PROTECTING:
            continue
        for field, text in (("when", policy.when), ("adjust", policy.adjust)):
            for name in _names(text, types):
                for message in _not_for(name, views, purposes, f"policy `{policy.id}` serves"):
                    line, column = _place(text or "", name)
                    yield PurposeProblem("policies", policy.id, (field,), message, line, column)


def _view_problems(
    view: FeatureView, views: CompiledViews, versions: Mapping[str, Sequence[SignalContract]]
) -> Iterator[PurposeProblem]:
    for spec in view.features:
        feature = views.features.get(spec.id)
        for signal, field in () if feature is None else feature.fields:
            allowed = _allowed(versions.get(signal, ()), field)
            beyond = [purpose for purpose in view.purposes if allowed is not None and purpose not in allowed]
            if beyond:
                named = f"`{field}` of `{signal}`" if field else f"signal `{signal}`"
                only = listed(sorted(allowed or ())) or "nothing"
                message = (
                    f"{named} is not for purpose `{beyond[0]}` of view `{view.view}` (it is for {only}): narrow the "
                    "view's purposes, or move the feature to another view"
                )
                text, place = next(
                    ((text, name) for name, text in (("value", spec.value), ("where", spec.where), ("over", spec.over))
                     if text is not None and field and field in text), ("", "from"),
                )  # fmt: skip
                line, column = _place(text, f"data.{field}")
                yield PurposeProblem("views", view.view, ("features", spec.id, place), message, line, column)


def _offer_problems(offer: Offer, views: CompiledViews, types: Mapping[str, str]) -> Iterator[PurposeProblem]:
    served = f"offer `{offer.offer}` serves"
    foreign = [name for name, feature in views.features.items() if offer.purpose not in feature.purposes]
    # A catalog may have thousands of offers, and reading an expression takes a millisecond.
    named = any(name in offer.requires for name in foreign)
    for name in _names(offer.requires, types) if named else ():
        for message in _not_for(name, views, (offer.purpose,), served):
            line, column = _place(offer.requires, name)
            yield PurposeProblem("offers", offer.offer, ("requires",), message, line, column)
    for channel, treatment in offer.treatments.items():
        for field in ("headline", "body", "action"):
            text = getattr(treatment, field)
            for name in dict.fromkeys(_SHOWN.findall(text)):
                for message in _not_for(name, views, (offer.purpose,), served):
                    line, column = _place(text, name)
                    path = ("treatments", channel, field)
                    yield PurposeProblem("offers", offer.offer, path, message, line, column)


def _model_problems(model: ModelSpec, views: CompiledViews) -> Iterator[PurposeProblem]:
    for index, name in enumerate(model.features):
        for message in _not_for(name.rpartition(".")[2], views, (model.purpose,), f"model `{model.model}` serves"):
            yield PurposeProblem("models", model.model, ("features", index), message)


def _not_for(name: str, views: CompiledViews, purposes: Sequence[str], served: str) -> Iterator[str]:
    feature: Feature | None = views.features.get(name)
    if feature is None:
        return
    beyond = [purpose for purpose in purposes if purpose not in feature.purposes]
    if beyond:
        yield (
            f"`{name}` (view `{feature.view}`) is not for purpose `{beyond[0]}`, which {served}: it is for "
            f"{listed(feature.purposes)}"
        )


def _allowed(versions: Sequence[SignalContract], field: str) -> frozenset[str] | None:
    """The purposes that every version of a signal type allows; None for every purpose."""
    allowed: frozenset[str] | None = None
    for contract in versions:
        said = field_purposes(contract, field)
        if said is not None:
            allowed = said if allowed is None else allowed & said
    return allowed


def _names(text: str | None, types: Mapping[str, str]) -> list[str]:
    """The variables an expression reads; nothing for one that does not compile, which is said elsewhere."""
    if text is None or text == "true":
        return []
    try:
        return sorted(parse(text, types).names)
    except ExpressionError:
        return []


def _place(text: str, name: str) -> tuple[int, int]:
    """Where a name stands in a text, as line and column from 1."""
    found = re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text)
    before = text[: found.start()] if found else ""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
