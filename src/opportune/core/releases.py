"""Releases: a playbook and its models, compiled, immutable and named by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from opportune.core.beliefs import BeliefTable, Cell, compile_beliefs
from opportune.core.bitsets import Windows
from opportune.core.builtin_contracts import narrower, with_builtins, with_meaning
from opportune.core.catalog import Candidate, Moment, Offer, candidates_of
from opportune.core.contacts import compile_limits, compile_quiet_hours, compile_volumes, keep_ms_of
from opportune.core.contracts import ContractError, compile_contract, compile_contracts
from opportune.core.customers import consent_key
from opportune.core.decisions.brain import Brain, Floats
from opportune.core.decisions.customer_scores import CUSTOMER_TARGETS, score_name
from opportune.core.decisions.further import heavier_problem, models_of
from opportune.core.decisions.pools import Pools
from opportune.core.durations import parse_duration_ms
from opportune.core.expressions import parse
from opportune.core.features import CompiledViews, compile_views
from opportune.core.models import Scorecard
from opportune.core.payloads import CompiledPayloads, PayloadError, compile_payloads
from opportune.core.playbook import Playbook
from opportune.core.policies import CandidateTable, Requirement, Requirements, Variable, compile_policies
from opportune.core.purposes import purpose_problems
from opportune.core.schemas import signal_fields
from opportune.core.signals import CompiledContract, SignalContract, parse_time_ms

MANIFEST_VERSION = 1
HASH_CHARS = 16


class Manifest(msgspec.Struct, frozen=True):
    """What a release is made of: its exact bytes are stored and hashed."""

    v: int
    playbook: Playbook
    cards: tuple[Scorecard, ...] = ()


class Release(msgspec.Struct, frozen=True):
    """A compiled release; everything in it is immutable and may be shared between threads.

    `region` is the one it is at work in, as is `brain.app.region`; `playbook.app` says where it may be. `beside` gives
    the other releases of the region by their hash: they share the states.
    """

    hash: str
    region: str
    playbook: Playbook
    cards: tuple[Scorecard, ...]
    contracts: Mapping[tuple[str, int], CompiledContract]
    views: CompiledViews
    brain: Brain
    payloads: CompiledPayloads
    beside: Callable[[str], Release] | None = None


class ReleaseError(ValueError):
    """A playbook that cannot become a release; says which document and what to change."""

    def __init__(self, collection: str, document: str, message: str) -> None:
        super().__init__(f"{collection} `{document}`: {message}")
        self.collection = collection
        self.document = document
        self.message = message


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Manifest)


def encode_manifest(playbook: Playbook, cards: Sequence[Scorecard] = ()) -> bytes:
    """The exact bytes of a release: equal content gives equal bytes."""
    return _ENCODER.encode(Manifest(MANIFEST_VERSION, playbook, tuple(cards)))


def decode_manifest(data: bytes) -> Manifest:
    """A manifest back from its bytes; msgspec.ValidationError when they are not one."""
    return _DECODER.decode(data)


def release_hash(manifest: bytes) -> str:
    """The name of a release: `r` and the first 16 hexadecimal digits of SHA-256 over its manifest."""
    return f"r{hashlib.sha256(manifest).hexdigest()[:HASH_CHARS]}"


def compile_release(manifest: bytes, region: str | None = None) -> Release:
    """Compiles what the bytes say for a region (the home region when none is named). Raises ReleaseError,
    FeatureError, PolicyError or ModelError, each naming the document and the fix."""
    parts = decode_manifest(manifest)
    playbook = parts.playbook
    declared = with_builtins(playbook.contracts)
    try:
        contracts = compile_contracts(declared, _compiled)
    except ContractError as error:
        named = f"{error.contract.signal}@{error.contract.version}"
        raise ReleaseError("schemas", named, error.problem.message) from error
    at_work = playbook.app.region if region is None else region
    views = compile_views(playbook.views, _fields(declared)).within(at_work)
    hash_ = release_hash(manifest)
    types = {variable.name: variable.type for variable in variables_of(playbook, views)}
    for problem in purpose_problems(playbook, views, types, declared):
        raise ReleaseError(problem.collection, problem.document, problem.message)
    if (heavier := heavier_problem(playbook.models)) is not None:
        raise ReleaseError("models", *heavier)
    brain = compile_brain(hash_, playbook, parts.cards, views)
    brain = msgspec.structs.replace(brain, contracts=_newest(declared))
    if at_work != playbook.app.region:
        brain = msgspec.structs.replace(brain, app=msgspec.structs.replace(playbook.app, region=at_work))
    try:
        payloads = compile_payloads(playbook.sources, declared)
    except PayloadError as error:
        raise ReleaseError("sources", error.source, error.told) from error
    return Release(hash_, at_work, playbook, parts.cards, contracts, views, brain, payloads)


def beliefs_of(release: Release, cells: Iterable[Cell], now_ms: int) -> BeliefTable:
    """What is believed under a release: of offers whose effect its models learned from few rows, or from none."""
    trained: dict[str, int] = {}
    for card in release.cards:
        if card.target == "uplift":
            for heads in card.offers:
                trained.setdefault(heads.offer, heads.rows_offered)
    return compile_beliefs(release.playbook.app.adaptive, release.brain.candidates, cells, trained, now_ms)


def compile_brain(
    hash_: str, playbook: Playbook, cards: Sequence[Scorecard], views: CompiledViews
) -> Brain:
    """Lays a playbook out as arrays and bitsets for deciding."""
    candidates = candidates_of(playbook.offers, playbook.channels)
    if not candidates:
        raise ReleaseError("offers", playbook.app.project, "no offer has a treatment for any channel")
    offers = tuple(offer.offer for offer in playbook.offers)
    place = {offer: index for index, offer in enumerate(offers)}
    models = models_of(cards, offers, views.names)
    limits = compile_limits(playbook.app.limits, playbook.channels, candidates)
    variables = variables_of(playbook, views)
    rules = playbook.policies
    table = table_of(candidates, playbook.app.offer_attributes)
    types = {variable.name: variable.type for variable in variables}
    policies = compile_policies(rules, variables, table)
    pools = _pools(candidates, place)
    return Brain(
        release=hash_,
        app=playbook.app,
        candidates=candidates,
        by_id={candidate.id: candidate for candidate in candidates},
        offers=offers,
        offer_of=tuple(place[candidate.offer.offer] for candidate in candidates),
        priors=tuple(offer.prior for offer in playbook.offers),
        places=pools.places,
        margins=pools.margins,
        costs=pools.costs,
        fatigue=pools.fatigue,
        windows=Windows([_window(candidate.offer) for candidate in candidates]),
        channels={channel.channel: channel for channel in playbook.channels},
        channel_masks=_masks([candidate.channel.channel for candidate in candidates]),
        offer_masks=_masks([candidate.offer.offer for candidate in candidates]),
        purposes=tuple(sorted({offer.purpose for offer in playbook.offers})),
        moments={moment.moment: moment for moment in playbook.app.moments},
        limits=limits,
        quiet=compile_quiet_hours(playbook.channels),
        contact_keep_ms=keep_ms_of(limits),
        volumes=compile_volumes(playbook.app.limits, candidates),
        grant_ttl_ms={one.channel: parse_duration_ms(one.grant_ttl) for one in playbook.channels},
        views=views,
        policies=policies,
        rules={rule.id: rule for rule in rules},
        required=Requirements(requirements_of(playbook, candidates), variables, table),
        rule_names={rule.id: tuple(sorted(parse(rule.when, types).names)) for rule in rules},
        model=models.model,
        levers=np.array([candidate.offer.lever for candidate in candidates], np.float64),
        weights={one.moment: _weights(one, candidates) for one in playbook.app.moments},
        pools=pools,
        model_name=models.name,
        further=models.further,
    )


def _pools(candidates: Sequence[Candidate], place: Mapping[str, int]) -> Pools:
    """The sets of these candidates; `place` is that of each offer."""
    return Pools(
        np.array([place[candidate.offer.offer] for candidate in candidates], np.int64),
        np.array([candidate.offer.margin for candidate in candidates], np.float64),
        np.array([c.offer.contact_cost + c.channel.contact_cost for c in candidates], np.float64),
        np.array([candidate.channel.fatigue_cost for candidate in candidates], np.float64),
        _masks([candidate.channel.channel for candidate in candidates]),
    )


def requirements_of(playbook: Playbook, candidates: Sequence[Candidate]) -> tuple[Requirement, ...]:
    """What each offer requires, with the places of its candidates."""
    places: dict[str, list[int]] = {}
    for candidate in candidates:
        places.setdefault(candidate.offer.offer, []).append(candidate.index)
    return tuple(
        Requirement(offer.offer, offer.requires, tuple(places[offer.offer]))
        for offer in playbook.offers
        if offer.offer in places
    )


def variables_of(playbook: Playbook, views: CompiledViews) -> tuple[Variable, ...]:
    """Every name a policy may read, with its type."""
    found = [Variable(name, views.types[name], "request", "feature") for name in views.names]
    context: dict[str, str] = {}
    for moment in playbook.app.moments:
        for name, type_ in moment.context.items():
            if context.setdefault(name, type_) != type_:
                raise ReleaseError("moments", moment.moment, f"context `{name}` has another type elsewhere")
    found += [Variable(f"context.{name}", type_, "request", "context") for name, type_ in context.items()]
    found += [
        Variable("moment.id", "string", "request", "the moment asked about"),
        Variable("local_hour", "int", "request", "hour of the customer's local day, 0..23"),
        Variable("account_known", "bool", "request", "whether the customer belongs to an account"),
        Variable("now", "timestamp", "request", "the instant of the decision"),
        Variable("consent.status", "string", "channel", "given, refused, withdrawn, expired or unknown"),
        Variable("offer.id", "string", "candidate", "the offer"),
        Variable("offer.kind", "string", "candidate", "its kind"),
        Variable("offer.price", "double", "candidate", "its price"),
        Variable("offer.margin", "double", "candidate", "its first year's margin"),
        Variable("offer.risk", "string", "candidate", "low, medium or high"),
        Variable("offer.purpose", "string", "candidate", "the purpose it rests on"),
        Variable("channel.id", "string", "candidate", "the channel"),
        Variable("channel.kind", "string", "candidate", "pull, push or agent"),
    ]
    learned = {model.target: model.model for model in playbook.models}
    found += [
        Variable(score_name(target), "double", "request", f"the chance, by the model `{learned[target]}`")
        for target in CUSTOMER_TARGETS
        if target in learned
    ]
    found += [
        Variable(f"offer.{name}", type_, "candidate", "attribute")
        for name, type_ in playbook.app.offer_attributes.items()
    ]
    return tuple(found)


def table_of(candidates: Sequence[Candidate], declared: Iterable[str] = ()) -> CandidateTable:
    """The static columns of all candidates, missing where no offer has a declared attribute; the consent a candidate
    needs is that of its purpose and channel."""
    columns: dict[str, tuple[Any, ...]] = {
        "offer.id": tuple(c.offer.offer for c in candidates),
        "offer.kind": tuple(c.offer.kind for c in candidates),
        "offer.price": tuple(float(c.offer.price.amount) for c in candidates),
        "offer.margin": tuple(float(c.offer.margin) for c in candidates),
        "offer.risk": tuple(c.offer.risk for c in candidates),
        "offer.purpose": tuple(c.offer.purpose for c in candidates),
        "channel.id": tuple(c.channel.channel for c in candidates),
        "channel.kind": tuple(c.channel.kind for c in candidates),
    }
    for name in sorted({name for c in candidates for name in c.offer.attributes}.union(declared)):
        columns[f"offer.{name}"] = tuple(c.offer.attributes.get(name) for c in candidates)
    return CandidateTable(
        tuple(c.id for c in candidates),
        columns,
        tuple(consent_key(c.offer.purpose, c.channel.channel) for c in candidates),
    )


def _newest(contracts: Sequence[SignalContract]) -> dict[str, SignalContract]:
    return {one.signal: one for one in sorted(contracts, key=lambda one: one.version)}


def _compiled(contract: SignalContract) -> CompiledContract:
    compiled = compile_contract(contract)
    if (why := narrower(compiled)) is not None:
        raise ReleaseError("schemas", f"{contract.signal}@{contract.version}", why)
    return with_meaning(compiled)


def _fields(contracts: Sequence[SignalContract]) -> dict[str, dict[str, str]]:
    """Payload fields per signal type, over all its versions; where versions disagree the type is dynamic."""
    found: dict[str, dict[str, str]] = {}
    for contract in contracts:
        fields = found.setdefault(contract.signal, {})
        for name, type_ in signal_fields(contract).items():
            fields[name] = type_ if fields.get(name, type_) == type_ else "dyn"
    return found


def _weights(moment: Moment, candidates: Sequence[Candidate]) -> Floats:
    """The context weight of each candidate at a moment: by its offer, else by its kind, else 1."""
    weights = moment.weights
    return np.array([weights.get(c.offer.offer, weights.get(c.offer.kind, 1.0)) for c in candidates], np.float64)


def _masks(names: Sequence[str]) -> dict[str, int]:
    masks: dict[str, int] = {}
    for index, name in enumerate(names):
        masks[name] = masks.get(name, 0) | 1 << index
    return masks


def _window(offer: Offer) -> tuple[int, int | None]:
    try:
        first = 0 if offer.valid_from is None else parse_time_ms(offer.valid_from)
        last = None if offer.valid_to is None else parse_time_ms(offer.valid_to)
    except ValueError as error:
        raise ReleaseError("offers", offer.offer, str(error)) from None
    return first, last
