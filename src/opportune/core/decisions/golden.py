"""Golden scenarios: a recorded decision as a question with its answer, without who it was about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from opportune.core.catalog import NO_OFFER
from opportune.core.contacts import local_time
from opportune.core.customers import Account, Person
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import why_not
from opportune.core.decisions.records import DecisionRecord, Seen
from opportune.core.decisions.snapshot import see
from opportune.core.masking import HIDDEN, masked_text
from opportune.core.playbook import Expectation, Fault, PastContact, Scenario
from opportune.core.signals import format_time

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_ZONES = (
    *(f"Etc/GMT{hours:+d}" for hours in range(-14, 13)),
    "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Kabul", "Asia/Yangon", "Australia/Adelaide",
    "Australia/Darwin", "Australia/Eucla", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Marquesas",
    "America/St_Johns",
)  # fmt: skip
"""Every offset from UTC that is in use has one of them at any time of the year."""


class Golden(msgspec.Struct, frozen=True):
    """A scenario from a record; `left_out` are values that may say who it was about, by their names."""

    scenario: Scenario
    left_out: tuple[str, ...]


def golden(brain: Brain, record: DecisionRecord, taken: Collection[str] = ()) -> Golden:
    """The decision as a scenario under a name that is not `taken`, with what came of it as its expectation.

    Of texts, only those that a rule or the model reads are kept, and none that looks like an address or a number.
    """
    seen, asked, result = record.seen, record.asked, record.result
    person, account = Person("x", "x" if seen.account else None), Account("x") if seen.account else None
    bare = see(brain, person, account, asked.channels, seen.at_ms)
    features = {name: value for name, value in seen.features.items() if value != bare.features.get(name)}
    left_out: list[str] = []
    scenario = Scenario(
        scenario=_name(record, taken),
        moment=asked.moment,
        expect=_expectation(brain, record),
        channels=asked.channels,
        at=format_time(seen.at_ms),
        timezone=_zone(brain.app.timezone, seen),
        account=seen.account is not None,
        features=_without_names(brain, "", features, left_out),
        consents={key: status for key, status in seen.consents.items() if status != "unknown"},
        contacts=tuple(_contacts(seen.contacts)),
        context=_without_names(brain, "context.", asked.context, left_out),
        limit=asked.limit,
        gpc=bool(asked.refused),
        holdout=result.holdout,
        draw=_draw(brain, record),
        model=result.model is not None,
        unread=cast(Mapping[str, Literal["late", "failed"]], dict(seen.unread)),
        room=seen.room,
        faults=cast(tuple[Fault, ...], record.faults),
    )
    return Golden(scenario, tuple(left_out))


def _name(record: DecisionRecord, taken: Collection[str]) -> str:
    result = record.result
    said = result.offer or (result.would or "").partition("@")[0] or result.reason
    name = f"{record.asked.moment}, {format_time(record.seen.at_ms)[:16]}: {result.disposition} {said}"
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    return found


def _expectation(brain: Brain, record: DecisionRecord) -> Expectation:
    result = record.result
    asked = set(record.asked.channels)
    rejected = {
        fate.candidate: fate.rule
        for fate in why_not(brain, record)
        if fate.channel in asked and fate.stage not in ("arbitration", "chosen")
    }
    return Expectation(
        disposition=result.disposition,
        reason=result.reason,
        offer=result.offer or NO_OFFER,
        channel=result.channel,
        rejected=rejected,
        slate=tuple(pick.offer for pick in result.slate) or None,
        would=result.would,
        forced=result.forced or None,
        obligations=result.obligations or None,
        degraded=result.degraded or None,
    )


def _without_names(
    brain: Brain, prefix: str, values: Mapping[str, Any], left_out: list[str]
) -> dict[str, Any]:
    texts = [candidate.offer.requires for candidate in brain.candidates]
    texts += [text for rule in brain.rules.values() for text in (rule.when, rule.adjust) if text]
    read = {word for text in texts for word in _NAME.findall(text)}
    if brain.model is not None and not prefix:
        read |= values.keys()
    kept = {}
    for name, value in values.items():
        telling = isinstance(value, str) and (f"{prefix}{name}" not in read or masked_text(value) not in (HIDDEN, ""))
        if telling:
            left_out.append(f"{prefix}{name}")
        else:
            kept[name] = value
    return kept


def _contacts(contacts: Sequence[tuple[str, str, str, int]]) -> Iterator[PastContact]:
    """The customer's own, and those of colleagues: what the account has beyond them."""
    own = [one[1:] for one in contacts if one[0] == "person"]
    for offer, channel, age_ms in own:
        yield PastContact(offer=offer, channel=channel, age=_age(age_ms))
    colleagues = Counter(one[1:] for one in contacts if one[0] == "account") - Counter(own)
    for offer, channel, age_ms in colleagues.elements():
        yield PastContact(offer=offer, channel=channel, age=_age(age_ms), of="account")


def _age(ms: int) -> str:
    seconds = max(ms // 1000, 1)
    return f"{seconds}s" if seconds < 1_000_000 else f"{seconds // 60}m"


def _zone(home: str, seen: Seen) -> str | None:
    """None where the playbook's own zone has this local time, else a zone that has it."""
    here = (seen.local_minute, seen.local_day)
    if local_time(seen.at_ms, home, home) == here:
        return None
    return next((zone for zone in _ZONES if local_time(seen.at_ms, zone, home) == here), None)


def _draw(brain: Brain, record: DecisionRecord) -> float | None:
    """Where chance fell: the middle of what the chosen one takes of 0 to 1; None where only one could be chosen."""
    result = record.result
    if result.action_probability >= 1.0 or not result.scored.values:
        return None
    won = result.would or f"{result.offer}@{result.channel}"
    before = 0.0
    for row in scored_rows(brain, result.scored, record.seen, result.model):
        if row.candidate == won:
            return round(before + row.probability / 2, 6)
        before += row.probability
    return round((before + 1.0) / 2, 6)
