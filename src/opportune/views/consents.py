"""Consent as it holds now, and as a receipt: JSON-LD in the shape of ISO/IEC TS 27560:2023, with its ledger proofs.

Terms: W3C Data Privacy Vocabulary 2, https://w3id.org/dpv, and its guide to 27560 (consent-27560).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.consents import CONSENT_SIGNALS, Held, held
from opportune.core.contracts import field_class, field_purposes
from opportune.core.customers import ANY_CHANNEL, EVERYTHING, Consent, Person, consent_key, subject_of
from opportune.core.ledger import commitment
from opportune.core.masking import masked
from opportune.core.playbook import controller_of
from opportune.core.releases import Release
from opportune.core.schemas import properties_of
from opportune.core.signals import FieldClass, Signal, content_hash, format_time
from opportune.ports import Ledger, Records, StoredSignal, Vault

PAGE: Final = 500
PURPOSES: Final[Mapping[str, str]] = {
    "marketing": "dpv:Marketing", "advertising": "dpv:Advertising", "service": "dpv:ServiceProvision",
    "personalisation": "dpv:Personalisation", "personalization": "dpv:Personalisation",
    "research": "dpv:ResearchAndDevelopment", "security": "dpv:EnforceSecurity",
}  # fmt: skip
BASES: Final[Mapping[str, str]] = {
    "consent": "eu-gdpr:A6-1-a", "contract": "eu-gdpr:A6-1-b", "legal_obligation": "eu-gdpr:A6-1-c",
    "vital_interest": "eu-gdpr:A6-1-d", "public_task": "eu-gdpr:A6-1-e", "legitimate_interest": "eu-gdpr:A6-1-f",
}  # fmt: skip
STATES: Final[Mapping[str, str]] = {
    "given": "dpv:ConsentGiven", "refused": "dpv:ConsentRefused", "withdrawn": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired", "unknown": "dpv:ConsentUnknown",
}  # fmt: skip
CONTEXT: Final[Mapping[str, str]] = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "schema": "https://schema.org/",
    "opp": "urn:opportune:consent#",
}
_SCHEMA: Final = "https://w3id.org/dpv/schema/dpv-27560"
_EVERY: Final = "everything (an objection)"


class Proven(msgspec.Struct, frozen=True):
    """A consent signal with its place in the ledger and what proves it, where that was kept."""

    stored: StoredSignal
    ledger: Mapping[str, Any] | None


def consents_now(
    release: Release, person: Person, now_ms: int, clear: Collection[FieldClass]
) -> dict[str, dict[str, Any]]:
    """What holds now, by consent key: every purpose and channel of the playbook, and whatever else was said."""
    own = controller_of(release.playbook.app)
    rows = held(person.consents, release.brain.purposes, tuple(release.brain.channels), now_ms)
    return {consent_key(row.purpose, row.channel, row.controller): _row(row, own, clear) for row in rows}


def consent_signals(records: Records, person: Person) -> list[StoredSignal]:
    """Every consent signal about this customer, under any id it ever had, in the order of the log."""
    found: list[StoredSignal] = []
    before: int | None = None
    ids = (person.id, *person.absorbed)
    while page := records.signals_of(ids, PAGE, before):
        found += [one for one in page if one.signal.type in CONSENT_SIGNALS]
        before = page[-1].seq
        if len(page) < PAGE:
            break
    return found[::-1]


def proven(records: Records, ledger: Ledger, vault: Vault, stored: StoredSignal) -> Proven:
    """The signal with its ledger entry, the inclusion proof, and salt and content that open its commitment."""
    if stored.leaf < 0:
        return Proven(stored, None)
    entry = records.leaves(stored.leaf, stored.leaf + 1)[0]
    found: dict[str, Any] = {
        "index": stored.leaf,
        "entry": entry.decode(),
        "proof": ledger.proof(stored.leaf).decode(),
        "vkey": ledger.vkey,
    }
    signal = stored.signal
    salt = vault.commit_salt(f"signal/{stored.seq}", subject_of(signal.customer, signal.account))
    stated = msgspec.json.decode(entry).get("commit")
    # The entry commits to the signal as it was sent, with the sender's own time or without one.
    for said_ms in (0, signal.at_ms):
        content = content_hash(signal, said_ms)
        if commitment(salt, content) == stated:
            found |= {"salt": salt.hex(), "content": content.hex()}
    return Proven(stored, found)


def receipt(
    records: Records, ledger: Ledger, vault: Vault, release: Release, region: str, person: Person, now_ms: int,
    id_: str, withdraw_at: str,
) -> dict[str, Any]:  # fmt: skip
    """A consent receipt: one record per controller and purpose, each with all its events, the oldest first, and the
    proof of each. `withdraw_at` says where the customer withdraws. May publish the ledger."""
    said = [proven(records, ledger, vault, one) for one in consent_signals(records, person)]
    own = controller_of(release.playbook.app)
    events: dict[tuple[str, str], list[Proven]] = {}
    for one in said:
        events.setdefault(_whose(one.stored.signal, own), []).append(one)
    for purpose in release.brain.purposes:
        events.setdefault((own, purpose), [])
    return {
        "@context": CONTEXT,
        "@id": f"urn:uuid:{id_}",
        "@type": "dpv:ConsentReceipt",
        "dct:identifier": id_,
        "dct:conformsTo": f"{_SCHEMA}#receipt",
        "dct:created": format_time(now_ms),
        "dct:publisher": own,
        "schema:recipient": "dpv:DataSubject",
        "dpv:hasRecordOfActivity": [
            _record(release, region, person, controller, purpose, own, found, now_ms, withdraw_at)
            for (controller, purpose), found in sorted(events.items(), key=lambda item: item[0])
        ],
    }


def _record(
    release: Release, region: str, person: Person, controller: str, purpose: str, own: str,
    said: Sequence[Proven], now_ms: int, withdraw_at: str,
) -> dict[str, Any]:  # fmt: skip
    name = hashlib.blake2b(f"{person.id}\0{controller}\0{purpose}".encode(), digest_size=16).hexdigest()
    key_controller = "" if controller == own else controller
    channels = tuple(release.brain.channels)
    rows = [
        row for row in held(person.consents, (purpose,), channels, now_ms)
        if row.purpose == purpose and row.controller == key_controller and row.channel != ANY_CHANNEL
    ]  # fmt: skip
    bases = {str(one.stored.signal.data.get("basis") or "consent") for one in said} or {"consent"}
    notices = sorted({str(one.stored.signal.data["notice"]) for one in said if one.stored.signal.data.get("notice")})
    document: dict[str, Any] = {
        "@id": f"urn:opportune:consent:{name}",
        "@type": "dpv:ConsentRecord",
        "dct:identifier": name,
        "dct:conformsTo": f"{_SCHEMA}#record",
        "dpv:hasDataSubject": {"@id": f"urn:opportune:customer:{person.id}", "@type": "dpv:DataSubject"},
        "dpv:hasDataController": {"@type": "dpv:DataController", "dpv:hasName": controller},
        "dpv:hasJurisdiction": {"@type": "dpv:Location", "dct:title": region},
        "dpv:hasLegalBasis": [BASES.get(basis, basis) for basis in sorted(bases)],
        "dpv:hasProcess": {
            "@type": "dpv:Process",
            "dpv:hasPurpose": _purpose(purpose),
            "dpv:hasPersonalData": list(_data_categories(release, purpose)),
            "dpv:hasConsentControl": {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": withdraw_at},
        },
        "dpv:hasNotice": [{"@type": "dpv:ConsentNotice", "schema:version": notice} for notice in notices],
        "dpv:hasConsentStatus": [_event(one) for one in said],
        "opp:holdsNow": [_holds(row) for row in rows],
    }
    return document


def _event(one: Proven) -> dict[str, Any]:
    signal = one.stored.signal
    data = signal.data
    found: dict[str, Any] = {
        "@type": STATES[CONSENT_SIGNALS[signal.type]],
        "dpv:isIndicatedAtTime": format_time(signal.at_ms),
        "dpv:isIndicatedBy": "dpv:DataSubject",
        "dpv:hasIndicationMethod": str(data.get("evidence") or signal.source),
        "dct:source": f"{signal.source}#{signal.id}",
        "opp:channels": data.get("channels") or [ANY_CHANNEL],
    }
    if (basis := data.get("basis")) is not None:
        found["dpv:hasLegalBasis"] = BASES.get(str(basis), str(basis))
    if (notice := data.get("notice")) is not None:
        found["dpv:hasNotice"] = {"@type": "dpv:ConsentNotice", "schema:version": str(notice)}
    if (expires := data.get("expires_at")) is not None:
        found["dpv:hasDuration"] = {"@type": "dpv:UntilTimeDuration", "rdf:value": str(expires)}
    if one.ledger is not None:
        found["opp:ledger"] = dict(one.ledger)
    return found


def _holds(row: Held) -> dict[str, Any]:
    since = None if row.consent is None else format_time(row.consent.at_ms)
    return {"opp:channel": row.channel, "dpv:hasConsentStatus": STATES[row.status], "opp:since": since}


def _whose(signal: Signal, own: str) -> tuple[str, str]:
    return str(signal.data.get("controller") or own), str(signal.data.get("purpose") or "marketing")


def _purpose(purpose: str) -> dict[str, Any]:
    if purpose == EVERYTHING:
        return {"@type": "dpv:Purpose", "dct:title": _EVERY}
    return {"@type": PURPOSES.get(purpose, "dpv:Purpose"), "dct:title": purpose}


def _data_categories(release: Release, purpose: str) -> Iterator[dict[str, Any]]:
    """Personal and sensitive fields that may be used for this purpose, by signal type."""
    for (type_, version), compiled in sorted(release.contracts.items()):
        for field in properties_of(compiled.contract.schema):
            class_ = field_class(compiled, field)
            purposes = field_purposes(compiled, field)
            if class_ in ("personal", "sensitive") and (purpose == EVERYTHING or not purposes or purpose in purposes):
                kind = "dpv:SensitivePersonalData" if class_ == "sensitive" else "dpv:PersonalData"
                yield {"@type": kind, "dct:title": f"{type_}@{version}: {field}"}


def _row(row: Held, own: str, clear: Collection[FieldClass]) -> dict[str, Any]:
    said: Consent | None = row.consent
    found: dict[str, Any] = {
        "purpose": row.purpose,
        "channel": row.channel,
        "controller": row.controller or own,
        "status": row.status,
    }
    if said is None:
        return found
    return found | {
        "said": said.status,
        "said_of": row.said_of,
        "since": format_time(said.at_ms),
        "source": said.source,
        "basis": said.basis,
        "evidence": masked(said.evidence, "personal", clear) or None,
        "notice": said.notice or None,
        "expires_at": None if said.expires_ms is None else format_time(said.expires_ms),
    }
