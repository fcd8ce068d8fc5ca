"""One account whole: its facts and where they came from, its features, the contacts of its people, and who they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from opportune.core.customers import Account, Contact, Flag, Person
from opportune.core.releases import Release
from opportune.core.signals import FieldClass
from opportune.ports import Records, StoredSignal
from opportune.views.classes import CLASSES
from opportune.views.customer import (
    ACCOUNT_SIGNALS_MAX,
    Attention,
    Bought,
    Fact,
    FeatureNow,
    account_facts_of,
    attention,
    features_now,
    transactions_of,
)

MEMBERS_MAX = 200
CONTACTS_MAX = 20


class Member(msgspec.Struct, frozen=True):
    """One person of the account: when last heard of, and how many signals of theirs were kept."""

    id: str
    last_ms: int
    signals: int


class AccountView(msgspec.Struct, frozen=True):
    """The whole picture. `members` are those that the account's newest signals name; `more` says there may be
    others whose signals are older than that."""

    id: str
    region: str
    currency: str
    now_ms: int
    first_ms: int
    last_ms: int
    facts: tuple[Fact, ...]
    features: tuple[FeatureNow, ...]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    members: tuple[Member, ...]
    more: bool
    contacts: tuple[Contact, ...]
    limits: tuple[Attention, ...]
    transactions: tuple[Bought, ...]
    flags: tuple[Flag, ...]
    clear: tuple[FieldClass, ...]
    hidden: int


def account_view(
    records: Records, release: Release, region: str, account: Account, now_ms: int, clear: Collection[FieldClass]
) -> AccountView:
    """The picture of an account, for a reader who sees `clear`."""
    stored = records.signals_of_account(account.id, ACCOUNT_SIGNALS_MAX)
    features, vector = features_now(release.views, None, account, now_ms)
    own = tuple(one for one in features if one.entity == "account")
    names = {one.name for one in own}
    facts = account_facts_of(account, release, clear)
    return AccountView(
        id=account.id,
        region=region,
        currency=release.brain.app.currency,
        now_ms=now_ms,
        first_ms=account.first_ms,
        last_ms=account.last_ms,
        facts=facts,
        features=own,
        missing=tuple(one.name for one in own if one.missing),
        stale=tuple(name for name in vector.stale if name in names),
        members=_members(records, account.id, stored),
        more=len(stored) >= ACCOUNT_SIGNALS_MAX,
        contacts=tuple(sorted(account.contacts, key=lambda one: one.at_ms, reverse=True)[:CONTACTS_MAX]),
        limits=attention(release.brain, None, account, now_ms),
        transactions=transactions_of((one.signal for one in stored), release, clear),
        flags=account.flags,
        clear=tuple(one for one in CLASSES if one in clear),
        hidden=sum(one.value.hidden for one in facts),
    )


def _members(records: Records, account: str, stored: Iterable[StoredSignal]) -> tuple[Member, ...]:
    """Whoever the signals name and is of this account now; a merged person counts as the one that lives on."""
    found: dict[str, Person] = {}
    for id_ in dict.fromkeys(one.signal.customer for one in stored):
        person = None if id_ is None else records.person(id_)
        if person is not None and person.merged_into is not None:
            person = records.person(person.merged_into)
        if person is not None and person.account == account and len(found) < MEMBERS_MAX:
            found[person.id] = person
    members = [Member(one.id, one.last_ms, one.signals) for one in found.values()]
    return tuple(sorted(members, key=lambda one: (-one.last_ms, one.id)))
