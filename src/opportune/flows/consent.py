"""What customers decide about being contacted, on its way in: names checked, words made signals, GPC honoured once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import msgspec

from opportune.core.consents import BASES, CONSENT_SIGNALS, GIVEN_FOR_EVERYTHING, expiry_ms
from opportune.core.customers import ANY_CHANNEL, EVERYTHING, ConsentStatus, Person
from opportune.core.releases import Release
from opportune.core.schemas import properties_of
from opportune.core.signals import Draft, Receipt
from opportune.core.wording import closest, listed, quoted
from opportune.flows.identify import lives_on

GPC_SOURCE = "gpc"
GPC_EVIDENCE = "Sec-GPC: 1"

SIGNAL_OF = {status: type_ for type_, status in CONSENT_SIGNALS.items()}
STATUSES = tuple(status for status in get_args(ConsentStatus) if status in SIGNAL_OF)


class ConsentError(ValueError):
    """A word about consent that cannot be recorded: the field, and what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Word(msgspec.Struct, frozen=True):
    """What a customer says about a purpose, in some channels or in all."""

    status: ConsentStatus
    purpose: str = "marketing"
    channels: tuple[str, ...] = (ANY_CHANNEL,)
    controller: str = ""
    basis: str | None = None
    evidence: str | None = None
    notice: str | None = None
    expires_at: str | None = None


def purposes_of(release: Release) -> tuple[str, ...]:
    """Every purpose the playbook knows: of offers, contracts and their fields, features, and what GPC refuses."""
    return tuple(sorted(set(_purposes(release))))


def check_word(release: Release, word: Word) -> None:
    """ConsentError when a word names a purpose, channel, basis or time that means nothing here.

    Another controller may have purposes and channels of its own.
    """
    if word.status == "given" and word.purpose == EVERYTHING:
        raise ConsentError("purpose", GIVEN_FOR_EVERYTHING)
    if not word.channels:
        raise ConsentError("channels", f"`channels` is empty: name at least one, or `{ANY_CHANNEL}` for all")
    if not word.controller:
        known = purposes_of(release)
        if word.purpose not in (EVERYTHING, *known):
            raise unknown("purpose", "purpose", word.purpose, known)
        for channel in word.channels:
            if channel != ANY_CHANNEL and channel not in release.brain.channels:
                raise unknown("channels", "channel", channel, release.brain.channels)
    if word.basis is not None and word.basis not in BASES:
        raise ConsentError("basis", f"{quoted(word.basis)} is no legal basis: use {listed(BASES)}")
    if word.expires_at is not None:
        try:
            expiry_ms(word.expires_at)
        except ValueError as error:
            raise ConsentError("expires_at", f"`expires_at`: {error}") from None


def draft_of(word: Word, customer: str, source: str, id_: str) -> Draft:
    """The signal that says it, now."""
    said: dict[str, Any] = {"purpose": word.purpose, "channels": list(word.channels)}
    more = {
        "controller": word.controller or None, "basis": word.basis, "evidence": word.evidence,
        "notice": word.notice, "expires_at": word.expires_at,
    }  # fmt: skip
    said |= {name: value for name, value in more.items() if value is not None}
    return Draft(source, id_, SIGNAL_OF[word.status], subject=customer, data=said)


def gpc_drafts(
    release: Release, person: Callable[[str], Person | None], drafts: Sequence[Draft], receipts: Iterable[Receipt]
) -> list[Draft]:
    """What Global Privacy Control still has to refuse for the people these signals were about; mostly nothing."""
    customers = [
        draft.subject
        for draft, receipt in zip(drafts, receipts, strict=True)
        if receipt.status in ("accepted", "duplicate") and isinstance(draft.subject, str)
    ]
    return gpc_refusals(release, person, dict.fromkeys(customers))


def gpc_refusals(
    release: Release, person: Callable[[str], Person | None], customers: Iterable[str]
) -> list[Draft]:
    """A refusal for each purpose of `gpc_purposes`, for each of these customers who has not refused it everywhere.

    Its id is made of purpose and customer, so that a browser's standing signal is one fact, however often it is sent:
    it overrides what was permitted before it was first seen, and a permission given after that stands.
    """
    found = []
    for customer in customers:
        known = lives_on(person, customer)
        if known is None:
            continue
        for purpose in release.playbook.app.privacy.gpc_purposes:
            if not _refused_everywhere(known, purpose):
                name = hashlib.blake2b(f"{purpose}\0{known.id}".encode(), digest_size=16).hexdigest()
                word = Word("refused", purpose, evidence=GPC_EVIDENCE)
                found.append(draft_of(word, known.id, GPC_SOURCE, f"gpc-{name}"))
    return found


def _refused_everywhere(person: Person, purpose: str) -> bool:
    """Has the person refused this purpose in all channels, but for what was permitted in one later?"""
    keys = (f"{purpose}/{ANY_CHANNEL}", f"{EVERYTHING}/{ANY_CHANNEL}")
    words = [word for word in map(person.consents.get, keys) if word is not None]
    return bool(words) and max(words, key=lambda word: word.at_ms).status != "given"


def _purposes(release: Release) -> Iterator[str]:
    yield from release.brain.purposes
    yield from release.playbook.app.privacy.gpc_purposes
    for view in release.playbook.views:
        yield from view.purposes
    for compiled in release.contracts.values():
        contract = compiled.contract
        yield from contract.purposes
        for field in properties_of(contract.schema).values():
            named = field.get("purposes") if isinstance(field, dict) else None
            yield from (one for one in named or () if isinstance(one, str))


def unknown(field: str, kind: str, name: str, known: Iterable[str]) -> ConsentError:
    """The refusal of a name that the playbook does not have, with the nearest that it has."""
    names = sorted(known)
    near = closest(name, names)
    hint = f"did you mean `{near}`?" if near else f"the playbook has {listed(names)}"
    return ConsentError(field, f"no {kind} of the playbook is called {quoted(name)}: {hint}")
