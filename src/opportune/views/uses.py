"""Who uses a feature, and what changing a field of a signal would touch: features, policies, offers, models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from opportune.core.catalog import Offer
from opportune.core.expressions import ExpressionError, parse
from opportune.core.features.plans import Feature
from opportune.core.policies import Policy
from opportune.core.releases import Release, variables_of

Kind = Literal["feature", "policy", "offer", "model"]
_SHOWN: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


class Use(msgspec.Struct, frozen=True, order=True):
    """One thing that would change: `how` it uses the feature, `by` which features the change reaches it."""

    kind: Kind
    name: str
    how: str
    by: tuple[str, ...] = ()


class Touched(msgspec.Struct, frozen=True):
    """What changing a field, a signal or a feature touches. `what` names it, `features` read it directly."""

    what: str
    features: tuple[str, ...]
    uses: tuple[Use, ...]


class UnknownName(LookupError):
    """No feature and no field is called so."""


def uses_of(release: Release, features: Sequence[str]) -> tuple[Use, ...]:
    """Everything in the release that rests on one of these features, through derived ones too; each once."""
    reached = {name: {name} for name in features}
    for name in release.views.names:
        above = {name, *release.views.lineage(name).features}
        if by := above.intersection(features):
            reached.setdefault(name, set()).update(by)
    found: dict[tuple[str, str, str], set[str]] = {}
    for kind, name, how, read in _reads(release):
        by = {origin for one in read if one in reached for origin in reached[one]}
        if by:
            found.setdefault((kind, name, how), set()).update(by)
    return tuple(sorted(Use(kind, name, how, tuple(sorted(by))) for (kind, name, how), by in found.items()))  # type: ignore[arg-type]


def touched(release: Release, name: str) -> Touched:
    """What changing `name` touches: a feature, a signal type, or a field of one such as `usage.recorded.count`.

    Raises UnknownName with what is near.
    """
    if name in release.views.features:
        return Touched(name, (name,), uses_of(release, (name,)))
    signal, field = _field(release, name)
    direct = tuple(one.name for one in release.views.features.values() if _reads_field(one, signal, field))
    derived_first = [Use("feature", one, "folds it") for one in direct]
    return Touched(name, direct, tuple(sorted([*derived_first, *uses_of(release, direct)])))


def _field(release: Release, name: str) -> tuple[str, str]:
    """(signal type, field of its data) of a dotted name; the field is empty for the whole signal."""
    types = {type_ for type_, _ in release.contracts}
    name = name.replace(".data.", ".", 1) if ".data." in name else name
    found = [type_ for type_ in types if name == type_ or name.startswith(f"{type_}.")]
    if not found:
        raise UnknownName(f"`{name}` is no feature of the release, and no field of a signal: `opportune features list`")
    signal = max(found, key=len)
    field = name[len(signal) + 1 :]
    known = {path for type_, version in release.contracts if type_ == signal
             for path in _paths(release.contracts[type_, version].contract.schema)}  # fmt: skip
    if field and field not in known:
        listed = ", ".join(f"`{one}`" for one in sorted(known)) or "none"
        raise UnknownName(f"signal `{signal}` has no field `{field}`: it has {listed}")
    return signal, field


def _paths(schema: object, above: str = "") -> Iterator[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, inner in (properties or {}).items():
        yield above + name
        yield from _paths(inner, f"{above}{name}.")


def _reads_field(feature: Feature, signal: str, field: str) -> bool:
    return any(
        type_ == signal and (not field or read == field or read.startswith(f"{field}.") or field.startswith(f"{read}."))
        for type_, read in feature.fields
        if not field or read
    )


def _shown_in(offer: Offer) -> dict[str, list[str]]:
    """Feature -> the channels in whose texts its value stands."""
    found: dict[str, list[str]] = {}
    for channel, treatment in offer.treatments.items():
        texts = (treatment.headline, treatment.body, treatment.action)
        for name in dict.fromkeys(name for text in texts for name in _SHOWN.findall(text or "")):
            found.setdefault(name, []).append(channel)
    return found


def _reads(release: Release) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """(kind, name, how, names read) of everything in the release."""
    playbook, views = release.playbook, release.views
    types = {variable.name: variable.type for variable in variables_of(playbook, views)}
    for feature in views.features.values():
        if feature.inputs:
            yield "feature", feature.name, "derived from it", frozenset(feature.inputs)
    for policy in playbook.policies:
        yield "policy", policy.id, f"{policy.effect}, {policy.class_}", _policy_names(policy, types)
    for offer in playbook.offers:
        yield "offer", offer.offer, "requires it", _names((offer.requires,), types)
        for shown, channels in _shown_in(offer).items():
            yield "offer", offer.offer, f"shows it in {', '.join(channels)}", frozenset((shown,))
    for spec in playbook.models:
        yield "model", spec.model, "is trained on it", frozenset(name.rpartition(".")[2] for name in spec.features)
    for card in release.cards:
        yield "model", card.model, "scores with it", frozenset(table.name for table in card.features)


def _policy_names(policy: Policy, types: dict[str, str]) -> frozenset[str]:
    return _names((policy.when, policy.adjust), types)


def _names(texts: Iterable[str | None], types: dict[str, str]) -> frozenset[str]:
    found: set[str] = set()
    for text in texts:
        if text is not None and text != "true":
            try:
                found |= parse(text, types).names
            except ExpressionError:
                continue
    return frozenset(found)
