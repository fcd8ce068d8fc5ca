"""What the values that rules read can be, as far as the playbook declares it: from schemas, counts and the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from opportune.core.builtin_contracts import with_builtins
from opportune.core.catalog import Candidate, ChannelKind, Risk
from opportune.core.customers import ConsentStatus
from opportune.core.features import FeatureSpec
from opportune.core.playbook import Playbook
from opportune.core.policies.worlds import Domain
from opportune.core.schemas import way_to
from opportune.core.signals import SignalContract, format_time
from opportune.core.wording import listed

COUNTED = frozenset(("count", "distinct", "streak"))
KEPT = frozenset(("last", "first", "min", "max"))
"""Aggregates that give one of the values they were given."""

FIELD = re.compile(r"data\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\Z", re.ASCII)


def domains_of(playbook: Playbook, at_ms: int | None = None) -> dict[str, Domain]:
    """Variable -> what it can be. at_ms: nothing before this instant counts."""
    found = {
        "consent.status": Domain(get_args(ConsentStatus), why=f"is one of {listed(get_args(ConsentStatus))}"),
        "local_hour": Domain(least=0, most=23, always=True, why="is from 0 to 23"),
        "account_known": Domain(always=True),
        "now": Domain(always=True) if at_ms is None else Domain(
            least=at_ms, always=True, why=f"is from {format_time(at_ms)} on"
        ),
    }  # fmt: skip
    contracts = with_builtins(playbook.contracts)
    for view in playbook.views:
        for spec in view.features if view.reader is None else ():
            domain = _of_feature(spec, contracts)
            if domain is not None:
                found[spec.id] = domain
    return found


def names_known(
    playbook: Playbook, candidates: Sequence[Candidate], domains: Mapping[str, Domain]
) -> dict[str, tuple[str, ...]]:
    """Variable -> the names it can have, for those that are called by a name."""
    attributes = playbook.app.offer_attributes
    found: dict[str, list[str]] = {
        "moment.id": [one.moment for one in playbook.app.moments],
        "offer.id": [one.offer.offer for one in candidates],
        "offer.kind": [one.offer.kind for one in candidates],
        "offer.purpose": [one.offer.purpose for one in candidates],
        "offer.risk": list(get_args(Risk)),
        "channel.id": [one.channel.channel for one in candidates],
        "channel.kind": list(get_args(ChannelKind)),
    }
    for name in (name for name, type_ in attributes.items() if type_ == "string"):
        values = (one.offer.attributes.get(name) for one in candidates)
        found[f"offer.{name}"] = [value for value in values if isinstance(value, str)]
    for name, domain in domains.items():
        if domain.values is not None:
            found[name] = [value for value in domain.values if isinstance(value, str)]
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items()}


def _of_feature(spec: FeatureSpec, contracts: Sequence[SignalContract]) -> Domain | None:
    if spec.derive is not None:
        return None
    if spec.aggregate in COUNTED:
        least = 0 if not isinstance(spec.default, int) else min(0, spec.default)
        return Domain(least=least, why="is 0 or more") if least == 0 else Domain(least=least)
    field = FIELD.match(spec.value or "")
    if spec.aggregate not in KEPT or field is None:
        return None
    schemas = list(_schemas(spec, field[1], contracts))
    if not schemas or None in schemas:
        return None
    known = [one for one in schemas if one is not None]
    return _listed(spec, known) if spec.type == "string" else _between(spec, known)


def _schemas(spec: FeatureSpec, field: str, contracts: Sequence[SignalContract]) -> Iterator[Mapping[str, Any] | None]:
    """The schema of the field in every version of every signal that is read; None where it is not declared."""
    for signal in spec.signal_types:
        versions = [one for one in contracts if one.signal == signal]
        if not versions:
            yield None
        for contract in versions:
            way = way_to(contract.schema, field)
            yield way[-1] if way else None


def _listed(spec: FeatureSpec, schemas: Sequence[Mapping[str, Any]]) -> Domain | None:
    values: dict[str, None] = {}
    for schema in schemas:
        enum = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(enum, list):
            return None
        if not all(isinstance(value, str) or value is None for value in enum):
            return None
        values |= dict.fromkeys(value for value in enum if value is not None)
    if isinstance(spec.default, str):
        values[spec.default] = None
    named = f"is one of {listed(values)}, by the schema of `{spec.signal_types[0]}`"
    return Domain(tuple(values), why=named)


def _between(spec: FeatureSpec, schemas: Sequence[Mapping[str, Any]]) -> Domain | None:
    if spec.type not in ("int", "double"):
        return None
    bounds: dict[str, float | None] = {}
    for name, choose in (("minimum", min), ("maximum", max)):
        limits = [schema.get(name) for schema in schemas]
        known = [one for one in limits if isinstance(one, int | float) and not isinstance(one, bool)]
        if isinstance(spec.default, int | float):
            known.append(spec.default)
        bounds[name] = choose(known) if known and all(one is not None for one in limits) else None
    least, most = bounds["minimum"], bounds["maximum"]
    if least is None and most is None:
        return None
    words = f"is {least} or more" if most is None else f"is {most} or less"
    words = f"is from {least} to {most}" if least is not None and most is not None else words
    return Domain(least=least, most=most, why=f"{words}, by the schema of `{spec.signal_types[0]}`")
