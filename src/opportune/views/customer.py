"""One customer whole: who it is, what is known and where it came from, what was said, bought, offered and answered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from opportune.core.consents import held
from opportune.core.contacts import counted, counting
from opportune.core.customers import Account, ConsentStatus, Contact, Flag, Origin, Person
from opportune.core.decisions.brain import Brain
from opportune.core.features import CompiledViews, FeatureVector
from opportune.core.masking import masked
from opportune.core.releases import Release
from opportune.core.signals import FieldClass, Signal
from opportune.ports import Merge, Pulse, Records, StoredOutcome
from opportune.views.classes import CLASSES, Shown, classes_of, shown, shown_field, shown_fields
from opportune.views.live import DecisionRow, live_rows
from opportune.views.timeline import OUTCOME_ID, OWN_SOURCE, Read, Timeline, read_all, timeline

PERSON_TRAITS = "person.updated"
ACCOUNT_TRAITS = "account.updated"
COMMERCE = ("subscription.", "payment.", "invoice.", "order.", "addon.")
"""What signal types about money begin with."""
DECISIONS = 20
TRANSACTIONS_MAX = 50
ACCOUNT_SIGNALS_MAX = 500


class Fact(msgspec.Struct, frozen=True):
    """One trait as this reader sees it, and the signal it came from (None: it was folded before that was kept)."""

    name: str
    value: Shown
    source: str | None
    signal: str | None
    since_ms: int | None


class KnownBy(msgspec.Struct, frozen=True):
    """One identifier that leads to this customer."""

    kind: str
    value: Shown
    source: str
    since_ms: int


class FeatureNow(msgspec.Struct, frozen=True):
    """A feature as a decision would see it now; `freshness_ms` is how old it may be.

    `outside`: it, or one it is derived from, is read from elsewhere at each decision, and not for this picture.
    """

    name: str
    value: Any
    age_ms: int | None
    view: str
    version: int
    entity: str
    freshness_ms: int | None
    purposes: tuple[str, ...]
    missing: bool
    stale: bool
    outside: bool


class ConsentNow(msgspec.Struct, frozen=True):
    """What holds now for one purpose in one channel; None where nothing was ever said (which means no)."""

    purpose: str
    channel: str
    controller: str
    status: ConsentStatus
    said: str | None
    since_ms: int | None
    source: str | None
    basis: str | None
    expires_ms: int | None
    evidence: str | None
    notice: str | None
    in_playbook: bool


class Attention(msgspec.Struct, frozen=True):
    """One contact limit and how much of it is used now; a limit of `offer` scope shows its most used offer."""

    limit: str
    channel: str
    scope: str
    used: int
    at_most: int
    per_ms: int
    reason: str


class Bought(msgspec.Struct, frozen=True):
    """One transaction: a purchase that came of an offer, or a fact of the billing system."""

    at_ms: int
    what: str
    amount: float | None
    offer: str | None
    decision: str | None
    source: str
    detail: Mapping[str, Any]


class CustomerView(msgspec.Struct, frozen=True):
    """The whole picture as one reader sees it. `ids` are all ids that are this one person; `hidden` counts the values
    of which something is kept back, `clear` the classes shown."""

    id: str
    ids: tuple[str, ...]
    region: str
    account: str | None
    currency: str
    now_ms: int
    first_ms: int
    last_ms: int
    signals: int
    known_by: tuple[KnownBy, ...]
    merges: tuple[Merge, ...]
    facts: tuple[Fact, ...]
    account_facts: tuple[Fact, ...]
    features: tuple[FeatureNow, ...]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    consents: tuple[ConsentNow, ...]
    contacts: tuple[Contact, ...]
    limits: tuple[Attention, ...]
    decisions: tuple[DecisionRow, ...]
    outcomes: tuple[StoredOutcome, ...]
    transactions: tuple[Bought, ...]
    flags: tuple[Flag, ...]
    timeline: Timeline
    clear: tuple[FieldClass, ...]
    hidden: int


def customer_view(
    records: Records,
    pulse: Pulse,
    release: Release,
    region: str,
    person: Person,
    now_ms: int,
    clear: Collection[FieldClass],
    *,
    last: int = 20,
    before: str | None = None,
    kinds: Collection[str] = (),
) -> CustomerView:
    """The picture of a person who lives on (see `flows.identify.lives_on`), for a reader who sees `clear`."""
    account = None if person.account is None else records.account(person.account)
    ids = ids_of(records, person)
    read = read_all(records, ids)
    features, vector = features_now(release.views, person, account, now_ms)
    facts = facts_of(person.traits, person.origins, release, PERSON_TRAITS, clear)
    account_facts = () if account is None else account_facts_of(account, release, clear)
    known_by = tuple(
        KnownBy(one.kind, shown(one.value, "personal", clear), one.source, one.at_ms) for one in person.identifiers
    )
    page = timeline(read, release, clear, last=last, before=before, kinds=kinds)
    values = [one.value for one in (*facts, *account_facts)] + [one.value for one in known_by]
    hidden = sum(one.hidden for one in values)
    return CustomerView(
        id=person.id,
        ids=ids,
        region=region,
        account=person.account,
        currency=release.brain.app.currency,
        now_ms=now_ms,
        first_ms=person.first_ms,
        last_ms=person.last_ms,
        signals=person.signals,
        known_by=known_by,
        merges=tuple(sorted(read.merges, key=lambda one: (one.at_ms, one.id), reverse=True)),
        facts=facts,
        account_facts=account_facts,
        features=features,
        missing=tuple(one.name for one in features if one.missing),
        stale=vector.stale,
        consents=consent_rows(person, release.brain, now_ms),
        contacts=tuple(sorted(person.contacts, key=lambda one: one.at_ms, reverse=True)[:DECISIONS]),
        limits=attention(release.brain, person, account, now_ms),
        decisions=_decisions(records, pulse, release.brain, ids),
        outcomes=tuple(sorted(read.outcomes, key=lambda one: (one.at_ms, one.id), reverse=True)[:DECISIONS]),
        transactions=_transactions(records, read, person.account, release, clear),
        flags=person.flags,
        timeline=page,
        clear=tuple(one for one in CLASSES if one in clear),
        hidden=hidden + sum(len(one.hidden) for one in page.rows),
    )


def ids_of(records: Records, person: Person) -> tuple[str, ...]:
    """Every id that is this person: its own first, then those merged into it, all the way down."""
    found = {person.id: None, **dict.fromkeys(person.absorbed)}
    todo = list(found)
    while todo:
        for merge in records.merges_of(todo.pop()):
            if merge.undone_ms is None and merge.kept in found and merge.merged not in found:
                found[merge.merged] = None
                todo.append(merge.merged)
    return tuple(found)


def facts_of(
    traits: Mapping[str, Any],
    origins: Mapping[str, Origin],
    release: Release,
    type_: str,
    clear: Collection[FieldClass],
) -> tuple[Fact, ...]:
    """Each trait with its source, by name; identifiers stand elsewhere, here they are hashes."""
    class_of = classes_of(release, type_)
    contracts = [one.contract for (known, _), one in release.contracts.items() if known == type_]
    identifying = {name for one in contracts for name in one.identifiers}
    found = []
    for name in sorted(traits.keys() - identifying):
        origin = origins.get(name)
        value = shown_field(name, traits[name], class_of, clear)
        known = (None, None, None) if origin is None else (origin.source, origin.signal, origin.at_ms)
        found.append(Fact(name, value, *known))
    return tuple(found)


def account_facts_of(account: Account, release: Release, clear: Collection[FieldClass]) -> tuple[Fact, ...]:
    return facts_of(account.traits, account.origins, release, ACCOUNT_TRAITS, clear)


def features_now(
    views: CompiledViews, person: Person | None, account: Account | None, now_ms: int
) -> tuple[tuple[FeatureNow, ...], FeatureVector]:
    """Every feature of the release as of now, in the order of the documents."""
    vector = views.read(
        None if person is None else person.features, None if account is None else account.features, now_ms
    )
    outside = views.read_outside
    found = []
    for name, value, age_ms in zip(views.names, vector.values, vector.ages_ms, strict=True):
        feature = views.features[name]
        found.append(
            FeatureNow(
                name, value, age_ms, feature.view, feature.version, feature.entity, feature.freshness_ms,
                feature.purposes, name in vector.missing and name not in outside, name in vector.stale, name in outside,
            )
        )  # fmt: skip
    return tuple(found), vector


_Words = tuple[
    str | None, int | None, str | None, str | None, int | None, str | None, str | None
]
"""Said, since, source, basis, expiry, evidence, notice."""


def consent_rows(person: Person, brain: Brain, now_ms: int) -> tuple[ConsentNow, ...]:
    """What holds for every purpose and channel of the playbook, and for all else that was ever said."""
    channels = tuple(brain.channels)
    found = []
    for row in held(person.consents, brain.purposes, channels, now_ms):
        said, known = row.consent, row.purpose in brain.purposes and row.channel in channels and not row.controller
        words: _Words = (None, None, None, None, None, None, None)
        if said is not None:
            words = (said.status, said.at_ms, said.source, said.basis, said.expires_ms, said.evidence or None,
                     said.notice or None)  # fmt: skip
        found.append(ConsentNow(row.purpose, row.channel, row.controller, row.status, *words, known))
    return tuple(found)


def attention(brain: Brain, person: Person | None, account: Account | None, now_ms: int) -> tuple[Attention, ...]:
    """How much of each contact limit is used, counted as a decision counts it."""
    contacts = counting(Person("") if person is None else person, account, now_ms)
    found = []
    for rule in brain.limits:
        if person is None and rule.scope == "person":
            continue
        used = max(counted(rule, contacts).values(), default=0)
        found.append(Attention(rule.id, rule.channel, rule.scope, used, rule.at_most, rule.per_ms, rule.reason))
    return tuple(found)


def transactions_of(
    signals: Iterable[Signal], release: Release, clear: Collection[FieldClass]
) -> tuple[Bought, ...]:
    """Purchases that came of offers and facts of the billing system, the newest first."""
    found = {(one.source, one.id): _bought(one, release, clear) for one in signals if _is_commerce(one)}
    return tuple(sorted(found.values(), key=lambda one: one.at_ms, reverse=True)[:TRANSACTIONS_MAX])


def _transactions(
    records: Records, read: Read, account: str | None, release: Release, clear: Collection[FieldClass]
) -> tuple[Bought, ...]:
    signals = [one.signal for one in read.signals]
    if account is not None:
        signals += [one.signal for one in records.signals_of_account(account, ACCOUNT_SIGNALS_MAX)]
    folded = {one.id.removeprefix(OUTCOME_ID) for one in signals if one.source == OWN_SOURCE}
    found = list(transactions_of(signals, release, clear))
    found += [
        Bought(one.at_ms, "bought", one.amount, one.offer, one.decision, OWN_SOURCE, {})
        for one in read.outcomes
        if one.kind == "converted" and one.id not in folded
    ]
    return tuple(sorted(found, key=lambda one: one.at_ms, reverse=True)[:TRANSACTIONS_MAX])


def _is_commerce(signal: Signal) -> bool:
    return signal.type == "offer.converted" or signal.type.startswith(COMMERCE)


def _bought(signal: Signal, release: Release, clear: Collection[FieldClass]) -> Bought:
    data = signal.data
    detail, _ = shown_fields(data, classes_of(release, signal.type, signal.version), clear)
    if signal.type == "offer.converted":
        amount, offer, decision = data.get("amount"), data.get("offer"), data.get("decision")
        return Bought(
            signal.at_ms, "bought", float(amount) if isinstance(amount, int | float) else None,
            offer if isinstance(offer, str) and offer else None, decision if isinstance(decision, str) else None,
            signal.source, {},
        )  # fmt: skip
    amount = detail.get("amount")
    paid = float(amount) if isinstance(amount, int | float) and not isinstance(amount, bool) else None
    rest = {name: value for name, value in detail.items() if name != "amount"}
    return Bought(signal.at_ms, signal.type, paid, None, None, signal.source, rest)


def _decisions(records: Records, pulse: Pulse, brain: Brain, ids: Collection[str]) -> tuple[DecisionRow, ...]:
    found = [one for id_ in ids for one in live_rows(records, pulse, brain, customer=id_, last=DECISIONS)]
    return tuple(sorted(found, key=lambda one: one.id, reverse=True)[:DECISIONS])


def masked_id(id_: str, clear: Collection[FieldClass]) -> str:
    """A customer's id as a list shows it: whole, unless it is an address itself."""
    return str(masked(id_, "personal", clear)) if "@" in id_ else id_
