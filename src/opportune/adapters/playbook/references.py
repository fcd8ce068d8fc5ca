"""Checks that documents of a playbook agree; of expressions, only those over payloads are compiled here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from opportune.adapters.playbook.findings import (
    FieldPath,
    Found,
    negative,
    no_duration,
    no_zone,
    not_positive,
    not_within,
    unknown,
)
from opportune.adapters.playbook.scenario_references import feature_names, scenario_problems
from opportune.core.beliefs import adaptive_problems
from opportune.core.builtin_contracts import with_builtins
from opportune.core.catalog import NO_OFFER, Channel, Moment, Offer
from opportune.core.contacts import channel_limit_problems, limit_problems
from opportune.core.contracts import contract_problems
from opportune.core.features import FeatureView
from opportune.core.features.outside import reader_problems
from opportune.core.gate_names import gate_problem, metrics_of
from opportune.core.payloads import payload_errors
from opportune.core.playbook import App, ModelSpec, Playbook, Source
from opportune.core.policies import Policy
from opportune.core.residency import is_region_name
from opportune.core.retention import nearest_period, period_ms
from opportune.core.signals import SignalContract, parse_time_ms
from opportune.core.wording import closest, quoted

HOLDOUT_SHARE_MAX = 0.5

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_TIME_OF_DAY = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PLACEHOLDER = re.compile(r"\{[A-Za-z0-9_.]+\}")
_TYPE_WORDS = {"bool": "true or false", "int": "a whole number", "double": "a number", "string": "text"}


class ReferenceProblem(msgspec.Struct, frozen=True):
    """What does not fit: the document (`position` counts in its collection), the field and what to do.

    `first` is the position of the document that already has the id, for an id given twice. `on_key` says that
    the key at the end of `field` is wrong, not its value; `line` and `column` (from 1) count inside its text.
    """

    collection: str
    position: int
    id: str
    field: FieldPath
    message: str
    nearest: str | None = None
    first: int | None = None
    on_key: bool = False
    line: int = 1
    column: int = 1


def documents_of(playbook: Playbook) -> Mapping[str, tuple[tuple[str, Any], ...]]:
    """Each collection's documents as (id, document), in playbook order; `moments` are those of opportune.yaml."""
    return {
        "app": (("app", playbook.app),),
        "moments": tuple((moment.moment, moment) for moment in playbook.app.moments),
        "offers": tuple((offer.offer, offer) for offer in playbook.offers),
        "channels": tuple((channel.channel, channel) for channel in playbook.channels),
        "views": tuple((_view_id(view, playbook), view) for view in playbook.views),
        "policies": tuple((policy.id, policy) for policy in playbook.policies),
        "schemas": tuple((f"{contract.signal}@{contract.version}", contract) for contract in playbook.contracts),
        "sources": tuple((source.source, source) for source in playbook.sources),
        "models": tuple((model.model, model) for model in playbook.models),
        "scenarios": tuple((scenario.scenario, scenario) for scenario in playbook.scenarios),
    }


def _view_id(view: FeatureView, playbook: Playbook) -> str:
    """The name of a view, with its version where several versions stand side by side."""
    versions = {other.version for other in playbook.views if other.view == view.view}
    return view.view if len(versions) == 1 else f"{view.view}@{view.version}"


ID_FIELDS = {
    "moments": "moment",
    "offers": "offer",
    "channels": "channel",
    "views": "view",
    "policies": "id",
    "schemas": "signal",
    "sources": "source",
    "models": "model",
    "scenarios": "scenario",
}


def check_references(playbook: Playbook) -> tuple[ReferenceProblem, ...]:
    """Everything in the playbook that names something that is not there, or is not what it must be."""
    documents = documents_of(playbook)
    problems = list(_ids(documents))
    for collection, check in _CHECKS.items():
        for position, (id_, document) in enumerate(documents[collection]):
            problems.extend(
                ReferenceProblem(
                    collection, position, id_, found.field, found.message, found.nearest, on_key=found.on_key,
                    line=found.line, column=found.column,
                )
                for found in check(playbook, document)
            )
    return tuple(problems)


def _ids(documents: Mapping[str, tuple[tuple[str, Any], ...]]) -> Iterator[ReferenceProblem]:
    for collection, field in ID_FIELDS.items():
        first: dict[str, int] = {}
        for position, (id_, _) in enumerate(documents[collection]):
            if id_ in first:
                message = f"`{field}` {quoted(id_)} is defined twice: rename one"
                yield ReferenceProblem(collection, position, id_, (field,), message, None, first[id_])
            first.setdefault(id_, position)
            name = id_.rpartition("@")[0] if collection in ("schemas", "views") and "@" in id_ else id_
            if collection == "scenarios" and name.strip() and name.isprintable():
                continue
            if name == NO_OFFER or not _ID.fullmatch(name):
                message = f"{quoted(name)} cannot be an id: use letters, digits and `_ . - : /`"
                if name == NO_OFFER:
                    message = f"`{NO_OFFER}` is reserved for the answer without an offer: choose another id"
                yield ReferenceProblem(collection, position, id_, (field,), message)


def _app(playbook: Playbook, app: App) -> Iterator[Found]:
    yield from _regions(app)
    yield from _feedback_reasons(app)
    if not _CURRENCY.fullmatch(app.currency):
        yield Found(("currency",), f"{quoted(app.currency)} is not a currency code such as `EUR`")
    yield from no_zone(("timezone",), app.timezone)
    if not app.moments:
        yield Found(("moments",), "no moments: every decision names one, so define at least one")
    yield from not_within(("holdout", "share"), app.holdout.share, 0, HOLDOUT_SHARE_MAX)
    yield from not_within(("exploration", "floor"), app.exploration.floor, 0, 1)
    yield from not_positive(("exploration", "gamma"), app.exploration.gamma)
    yield from not_positive(("exploration", "value_scale"), app.exploration.value_scale)
    yield from not_positive(("arbitration", "same_kind_max"), app.arbitration.same_kind_max)
    for risk, share in app.confidence_min.items():
        yield from not_within(("confidence_min", risk), share, 0, 1)
    for kept, text in app.privacy.retention.items():
        yield from _period(("privacy", "retention", kept), text)
    if app.personalizer is not None:
        yield from not_within(("personalizer", "exploration"), app.personalizer.exploration, 0, 1)
        yield from not_within(("personalizer", "default_reward"), app.personalizer.default_reward, -1000, 1000)
        yield from _period(("personalizer", "reward_wait"), app.personalizer.reward_wait)
    for one in limit_problems(app.limits, playbook.offers, playbook.channels):
        yield Found(one.field, one.message, one.nearest)
    types = {feature.id: feature.type for view in playbook.views for feature in view.features}
    for field, message in adaptive_problems(app.adaptive, types):
        named = field[1] if len(field) > 1 and field[1] not in types else None
        nearest = None if named is None else closest(str(named), types)
        yield Found(("adaptive", *field), message, nearest, on_key=named is not None)


def _regions(app: App) -> Iterator[Found]:
    if not app.region.strip():
        yield Found(("region",), "`region` is empty: name where the data may live, such as `eu`")
    elif not is_region_name(app.region):
        yield Found(("region",), _no_region(app.region))
    for index, name in enumerate(app.regions):
        if not is_region_name(name):
            yield Found(("regions", index), _no_region(name))
        elif name in app.regions[:index]:
            yield Found(("regions", index), f"region {quoted(name)} is named twice: remove one")
    if app.regions and app.region not in app.regions:
        message = f"the home region {quoted(app.region)} is missing: add it to `regions`, or change `region`"
        yield Found(("regions",), message, closest(app.region, app.regions), on_key=True)


def _feedback_reasons(app: App) -> Iterator[Found]:
    reasons = [one.reason for one in app.feedback_reasons]
    for index, name in enumerate(reasons):
        if name in reasons[:index]:
            yield Found(("feedback_reasons", index, "reason"), f"reason {quoted(name)} is given twice: remove one")


def _no_region(name: str) -> str:
    return f"{quoted(name)} cannot be a region: use small letters, digits and `-`, beginning with a letter"


def _moment(playbook: Playbook, moment: Moment) -> Iterator[Found]:
    known = [channel.channel for channel in playbook.channels]
    for index, channel in enumerate(moment.channels):
        yield from unknown(("channels", index), "channel", channel, known)
    if not moment.channels:
        yield Found(("channels",), "no channels: name at least one the answer may use")
    yield from not_positive(("budget_ms",), moment.budget_ms)
    names = {name for offer in playbook.offers for name in (offer.offer, offer.kind)}
    for name, weight in moment.weights.items():
        yield from unknown(("weights", name), "offer or kind", name, names, on_key=True)
        yield from negative(("weights", name), weight)
    if moment.safe_default is not None:
        for field in ("headline", "body", "action"):
            yield from _filled_in(("safe_default", field), getattr(moment.safe_default, field))


def _filled_in(field: FieldPath, text: str) -> Iterator[Found]:
    if (found := _PLACEHOLDER.search(text)) is not None:
        message = f"`{found[0]}` is not filled in here: a safe default is shown also when nothing could be read"
        yield Found(field, message)


def _offer(playbook: Playbook, offer: Offer) -> Iterator[Found]:
    channels = [channel.channel for channel in playbook.channels]
    for channel in offer.treatments:
        yield from unknown(("treatments", channel), "channel", channel, channels, on_key=True)
    if not offer.treatments:
        yield Found(("treatments",), "no treatments: word the offer for at least one channel")
    declared = playbook.app.offer_attributes
    for name, value in offer.attributes.items():
        field = ("attributes", name)
        if name not in declared:
            message = f"attribute {quoted(name)} is not declared: add it to `offer_attributes` in opportune.yaml"
            yield Found(field, message, closest(name, declared), on_key=True)
        elif not _is_of(value, declared[name]):
            yield Found(field, f"`{name}` is declared as {_TYPE_WORDS[declared[name]]}, not {quoted(value)}")
    yield from not_within(("prior", "p_accept"), offer.prior.p_accept, 0, 1)
    yield from not_within(("prior", "uplift"), offer.prior.uplift, -1, 1)
    yield from negative(("price", "amount"), offer.price.amount)
    yield from negative(("contact_cost",), offer.contact_cost)
    yield from negative(("lever",), offer.lever)
    yield from negative(("spend",), offer.spend)
    if not _CURRENCY.fullmatch(offer.price.currency):
        yield Found(("price", "currency"), f"{quoted(offer.price.currency)} is not a currency code such as `EUR`")
    yield from _validity(offer)


def _validity(document: Offer | Policy) -> Iterator[Found]:
    bounds: dict[str, int] = {}
    for name in ("valid_from", "valid_to"):
        text = getattr(document, name)
        if text is None:
            continue
        try:
            bounds[name] = parse_time_ms(text)
        except (ValueError, OverflowError) as error:
            yield Found((name,), str(error))
    if len(bounds) == 2 and bounds["valid_to"] < bounds["valid_from"]:
        yield Found(("valid_to",), "`valid_to` lies before `valid_from`: swap them")


def _channel(playbook: Playbook, channel: Channel) -> Iterator[Found]:
    yield from no_duration(("grant_ttl",), channel.grant_ttl)
    yield from negative(("contact_cost",), channel.contact_cost)
    yield from negative(("fatigue_cost",), channel.fatigue_cost)
    seen: set[str] = set()
    for index, limit in enumerate(channel.limits):
        if limit.limit in seen:
            message = f"limit {quoted(limit.limit)} is defined twice in this channel: rename one"
            yield Found(("limits", index, "limit"), message)
        seen.add(limit.limit)
        yield from no_duration(("limits", index, "per"), limit.per)
        yield from not_positive(("limits", index, "at_most"), limit.at_most)
    for one in channel_limit_problems(channel):
        yield Found(one.field, one.message, one.nearest)
    if channel.quiet_hours is not None:
        for name, text in (("from", channel.quiet_hours.start), ("to", channel.quiet_hours.end)):
            if not _TIME_OF_DAY.fullmatch(text):
                yield Found(("quiet_hours", name), f"{quoted(text)} is not a time of day such as `20:00`")


def _view(playbook: Playbook, view: FeatureView) -> Iterator[Found]:
    if view.freshness is not None:
        yield from no_duration(("freshness",), view.freshness)
    if view.lateness is not None:
        yield from no_duration(("lateness",), view.lateness)
    for index, region in enumerate(view.regions):
        if region not in playbook.app.every_region:
            message = f"{quoted(region)} is no region of this playbook: it has {', '.join(playbook.app.every_region)}"
            yield Found(("regions", index), message, closest(region, playbook.app.every_region))
    for field, message in reader_problems(view):
        yield Found(field, message)
    seen: set[str] = set()
    for index, feature in enumerate(view.features):
        if feature.id in seen:
            message = f"feature {quoted(feature.id)} is defined twice in this view: rename one"
            yield Found(("features", index, "id"), message)
        seen.add(feature.id)
        for name in ("window", "hop"):
            text = getattr(feature, name)
            if text is not None:
                yield from no_duration(("features", index, name), text)


def _contract(playbook: Playbook, contract: SignalContract) -> Iterator[Found]:
    yield from not_positive(("version",), contract.version)
    for one in contract_problems(contract, with_builtins(playbook.contracts)):
        yield Found(one.path, one.message, one.nearest, one.on_key, one.line, one.column)


def _source(playbook: Playbook, source: Source) -> Iterator[Found]:
    types = {contract.signal for contract in with_builtins(playbook.contracts)}
    for index, mapping in enumerate(source.signals):
        yield from unknown(("signals", index, "rows"), "table", mapping.rows, source.tables)
        yield from unknown(("signals", index, "type"), "signal type", mapping.type, types)
        for table in mapping.lookup:
            yield from unknown(("signals", index, "lookup", table), "table", table, source.tables, on_key=True)
    for error in payload_errors(source, with_builtins(playbook.contracts)):
        yield Found(error.path, error.message, error.nearest)


def _model(playbook: Playbook, model: ModelSpec) -> Iterator[Found]:
    features = feature_names(playbook)
    for index, name in enumerate(model.features):
        yield from unknown(("features", index), "feature", name, features)
    if not model.features:
        yield Found(("features",), "no features: name at least one to learn from")
    for field in ("segments", "protected"):
        for index, name in enumerate(getattr(model, field)):
            yield from unknown((field, index), "feature", name, features)
    types = {contract.signal for contract in with_builtins(playbook.contracts)}
    for index, type_ in enumerate(model.labels):
        yield from unknown(("labels", index), "signal type", type_, types)
    if model.target == "churn_risk" and not model.labels:
        yield Found(("target",), "no `labels`: name the signal types that say that a customer left")
    if model.target != "uplift" and model.algorithm in EFFECTS_ONLY:
        message = f"`{model.algorithm}` learns what offers cause, not {model.target}: use `additive` or `ebm`"
        yield Found(("algorithm",), message)
    for gate in model.gates:
        if wrong := gate_problem(gate, model.target):
            metric, _, side = gate.rpartition("_")
            near = closest(metric, metrics_of(model.target)) if side in ("min", "max") else None
            yield Found(("gates", gate), wrong, None if near is None else f"{near}_{side}", on_key=True)
    yield from no_duration(("label_window",), model.label_window)
    yield from no_duration(("every",), model.every)
    if not 0 < model.holdout_share < 1:
        message = f"{quoted(model.holdout_share)} is out of range: it must be more than 0 and less than 1"
        yield Found(("holdout_share",), message)


EFFECTS_ONLY = frozenset({"s_learner", "t_learner", "x_learner", "dr_learner", "stacked"})

_CHECKS: Mapping[str, Callable[[Playbook, Any], Iterable[Found]]] = {
    "app": _app,
    "moments": _moment,
    "offers": _offer,
    "channels": _channel,
    "views": _view,
    "policies": lambda playbook, policy: _validity(policy),
    "schemas": _contract,
    "sources": _source,
    "models": _model,
    "scenarios": scenario_problems,
}


def _period(field: FieldPath, text: str) -> Iterator[Found]:
    try:
        period_ms(text)
    except ValueError as error:
        yield Found(field, str(error), nearest_period(text))


def _is_of(value: bool | int | float | str, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, {"bool": bool, "int": int, "double": int | float, "string": str}[kind])
