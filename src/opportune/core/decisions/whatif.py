"""What-if: a decision again with something changed, beside what it was; nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec

from opportune.core.customers import consent_key
from opportune.core.decisions.audiences import words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.changes import CONTEXT, At, Change, Consent, Fact, State, applied, said, words_of
from opportune.core.decisions.differences import answer_text
from opportune.core.decisions.explain import WhyNot, why_not
from opportune.core.decisions.kernel import Probe, ScoreFailed, run
from opportune.core.decisions.questions import QuestionError
from opportune.core.decisions.records import Asked, DecisionRecord, Result, Seen
from opportune.core.durations import parse_duration_ms
from opportune.core.signals import parse_time_ms

STATUSES = ("given", "refused", "withdrawn", "expired", "unknown")
KINDS: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "double": (float, int), "string": (str,), "timestamp": (int,), "duration": (int,),
}  # fmt: skip
FATES_MAX = 100
CONTACTS_MAX = 50


class AddedContact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contact that was not there: an offer, in a channel, so long ago (such as 2d)."""

    offer: str
    channel: str
    ago: str = "1h"


class Supposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is supposed to be otherwise; whatever is not named stays as it was.

    `features` and `context` by name (null: not known); `consents` by `purpose/channel`; `channels` replaces those
    asked for; `contacts` are added, `without` (`offer@channel`, or `all`) taken away, each the newest of its kind.
    `at` is another instant, `account_known` whether there is an account, `limit` how many offers are asked for,
    `release` another release, `faults: false` a decision in which no step failed or was late.
    """

    features: Mapping[str, Any] = {}
    consents: Mapping[str, str] = {}
    context: Mapping[str, Any] = {}
    channels: tuple[str, ...] | None = None
    contacts: Annotated[tuple[AddedContact, ...], msgspec.Meta(max_length=CONTACTS_MAX)] = ()
    without: tuple[str, ...] = ()
    at: str | None = None
    account_known: bool | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    release: str | None = None
    faults: bool = True


class Side(msgspec.Struct, frozen=True):
    """One of the two answers. `answer` is what is offered, as `offer@channel`."""

    release: str
    disposition: str
    reason: str
    answer: str
    offer: str | None
    title: str | None
    channel: str | None
    value: float
    confidence: float | None
    action_probability: float
    explanation: str


class Fate(msgspec.Struct, frozen=True):
    """A candidate whose fate, or value, is another: (stage, rule) before and after; None where it does not exist."""

    candidate: str
    before: tuple[str, str] | None
    after: tuple[str, str] | None
    reason: str
    value_before: float | None
    value_after: float | None


class RuleChanged(msgspec.Struct, frozen=True):
    """A rule that holds back candidates it did not, or lets some go that it held."""

    rule: str
    holds_back: tuple[str, ...]
    frees: tuple[str, ...]


class WhatIf(msgspec.Struct, frozen=True):
    """Both answers, what was supposed in words, and what is different; `recorded` is always false."""

    decision_id: str
    supposed: tuple[str, ...]
    before: Side
    after: Side
    different: tuple[str, ...]
    rules: tuple[RuleChanged, ...]
    candidates: tuple[Fate, ...]
    recorded: bool = False


def what_if(brain: Brain, record: DecisionRecord, other: Brain, supposed: Supposed, probe: Probe) -> WhatIf:
    """The decision of `record`, made under `brain`, as it would be under `other` with what is supposed.

    `probe` repeats the faults that are left. Raises QuestionError for a name or value that cannot be, with its field.
    """
    state, told = suppose(other, State(record.asked, record.seen, record.faults), supposed)
    result = _run(other, state, record.id, probe)
    after = msgspec.structs.replace(
        record, asked=state.asked, seen=state.seen, faults=state.faults, result=result, release=other.release
    )
    fates_before = {one.candidate: one for one in why_not(brain, record)}
    fates_after = {one.candidate: one for one in why_not(other, after)}
    sides = _side(brain, record), _side(other, after)
    if other is not brain:
        told = (*told, f"release {other.release}")
    return WhatIf(
        decision_id=record.id,
        supposed=told,
        before=sides[0],
        after=sides[1],
        different=_different(*sides),
        rules=_rules(fates_before, fates_after),
        candidates=tuple(_fates(fates_before, fates_after))[:FATES_MAX],
    )


def faults_left(record: DecisionRecord, supposed: Supposed) -> tuple[str, ...]:
    """The faults of a record that are repeated."""
    return record.faults if supposed.faults else ()


def suppose(brain: Brain, state: State, supposed: Supposed) -> tuple[State, tuple[str, ...]]:
    """The state with everything that is supposed, and each of it in words. QuestionError names what cannot be."""
    told: list[str] = []
    if state.asked.moment not in brain.moments:
        message = f"release {brain.release} has no moment `{state.asked.moment}`: it cannot make this decision"
        raise QuestionError("unknown_moment", "release", message)
    for change in _changes(brain, state, supposed):
        told.append(words_of(brain, state, change))
        state = applied(state, change)
    asked, seen = state.asked, state.seen
    if supposed.channels is not None:
        asked = msgspec.structs.replace(asked, channels=_channels(brain, asked, supposed.channels))
        told.append(f"asked for {', '.join(asked.channels)}")
    if supposed.limit is not None:
        asked = msgspec.structs.replace(asked, limit=supposed.limit)
        told.append(f"asked for at most {supposed.limit}")
    if supposed.without or supposed.contacts:
        seen = _contacts(brain, seen, supposed)
        told += [f"without the contact {one}" for one in supposed.without]
        told += [f"with a contact {one.offer}@{one.channel} {one.ago} ago" for one in supposed.contacts]
    if not supposed.faults and state.faults:
        told.append(f"without the faults {', '.join(state.faults)}")
    faults = state.faults if supposed.faults else ()
    return State(asked, seen, faults), tuple(told)


def _changes(brain: Brain, state: State, supposed: Supposed) -> Iterable[Change]:
    for name, value in supposed.features.items():
        if name not in brain.views.types:
            raise QuestionError("unknown_feature", f"features.{name}", _unknown("feature", name, brain.views.types))
        yield Fact(name, _typed(f"features.{name}", value, brain.views.types[name]))
    declared = brain.moments[state.asked.moment].context
    for name, value in supposed.context.items():
        if name not in declared:
            kind = f"context of moment `{state.asked.moment}`"
            raise QuestionError("unknown_context", f"context.{name}", _unknown(kind, name, declared))
        yield Fact(CONTEXT + name, _typed(f"context.{name}", value, declared[name]))
    known = {consent_key(purpose, channel) for purpose in brain.purposes for channel in brain.channels}
    for key, status in supposed.consents.items():
        if key not in known:
            raise QuestionError("unknown_consent", f"consents.{key}", _unknown("consent", key, known))
        if status not in STATUSES:
            raise QuestionError("invalid_consent", f"consents.{key}", _unknown("status of consent", status, STATUSES))
        yield Consent(key, status)
    if supposed.account_known is not None:
        yield Fact("account_known", supposed.account_known)
    if supposed.at is not None:
        try:
            yield At(parse_time_ms(supposed.at))
        except ValueError as error:
            raise QuestionError("invalid_time", "at", str(error)) from None


def _typed(field: str, value: object, type_: str) -> object:
    """The value as the engine has it; null is a value nobody knows."""
    if value is None:
        return None
    kinds = KINDS.get(type_)
    if kinds is None:
        if type_.startswith("list(") and not isinstance(value, list | tuple):
            raise QuestionError("invalid_value", field, f"`{field}` must be a list, as its type is {type_}")
        return value
    if not isinstance(value, kinds) or (type_ != "bool" and isinstance(value, bool)):
        raise QuestionError("invalid_value", field, f"`{field}` must be of type {type_}, not {said(value)}")
    if isinstance(value, int) and type_ == "double":
        return float(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise QuestionError("invalid_value", field, f"`{field}` does not fit in 64 bits")
    return value


def read_value(field: str, text: str, type_: str) -> Any:  # noqa: ANN401 - a feature has any type
    """A value written as text, as its type has it; `null` is one nobody knows. QuestionError names the field."""
    if text == "null":
        return None
    try:
        if type_ == "bool":
            return {"true": True, "yes": True, "false": False, "no": False}[text]
        if type_ in ("int", "timestamp", "duration"):
            return int(text)
        if type_ == "double":
            return float(text)
    except (ValueError, KeyError):
        raise QuestionError("invalid_value", field, f"`{field}`: `{text[:64]}` is no {type_}") from None
    if type_.startswith("list("):
        return [part.strip() for part in text.split(",")] if text else []
    return text


def _channels(brain: Brain, asked: Asked, channels: tuple[str, ...]) -> tuple[str, ...]:
    opens = brain.moments[asked.moment].channels
    for name in channels:
        if name not in brain.channels:
            raise QuestionError("unknown_channel", "channels", _unknown("channel", name, brain.channels))
        if name not in opens:
            message = f"the moment `{asked.moment}` does not open the channel `{name}`: it opens {', '.join(opens)}"
            raise QuestionError("unknown_channel", "channels", message)
    return tuple(one for one in opens if one in channels)


def _contacts(brain: Brain, seen: Seen, supposed: Supposed) -> Seen:
    kept = list(seen.contacts)
    for name in supposed.without:
        offer, _, channel = name.partition("@")
        ages = [one[3] for one in kept if one[1:3] == (offer, channel)]
        if name != "all" and not ages:
            there = {f"{one[1]}@{one[2]}" for one in kept}
            message = _unknown("contact that counts", name, there)
            raise QuestionError("unknown_contact", "without", message)
        kept = [] if name == "all" else [one for one in kept if one[1:] != (offer, channel, min(ages))]
    for number, added in enumerate(supposed.contacts):
        field = f"contacts[{number}]"
        if added.offer not in brain.offers:
            raise QuestionError("unknown_offer", f"{field}.offer", _unknown("offer", added.offer, brain.offers))
        if added.channel not in brain.channels:
            message = _unknown("channel", added.channel, brain.channels)
            raise QuestionError("unknown_channel", f"{field}.channel", message)
        try:
            age_ms = parse_duration_ms(added.ago)
        except ValueError as error:
            raise QuestionError("invalid_duration", f"{field}.ago", str(error)) from None
        scopes = ("person",) if seen.account is None else ("person", "account")
        kept += [(scope, added.offer, added.channel, age_ms) for scope in scopes]
    return msgspec.structs.replace(seen, contacts=tuple(kept))


def _run(brain: Brain, state: State, id_: str, probe: Probe) -> Result:
    try:
        return run(brain, state.asked, state.seen, id_, probe)
    except ScoreFailed:
        return run(brain, state.asked, state.seen, id_, _WithoutModel(probe))


class _WithoutModel:
    """The same faults, and a model that failed: it is replaced by priors, as it would be live."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def before(self, step: str) -> str | None:
        return "failed" if step == "score" else self._probe.before(step)


def _side(brain: Brain, record: DecisionRecord) -> Side:
    result = record.result
    candidate = None if result.offer is None else brain.by_id.get(f"{result.offer}@{result.channel}")
    return Side(
        release=record.release,
        disposition=result.disposition,
        reason=result.reason,
        answer=answer_text(result),
        offer=result.offer,
        title=None if candidate is None else candidate.offer.title,
        channel=result.channel,
        value=result.value,
        confidence=result.confidence,
        action_probability=result.action_probability,
        explanation=words(brain, record).agent,
    )


def _different(before: Side, after: Side) -> tuple[str, ...]:
    """The fields in which the answers differ, the weightiest first."""
    names = ("disposition", "reason", "answer", "value", "confidence", "action_probability")
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


def _fates(before: Mapping[str, WhyNot], after: Mapping[str, WhyNot]) -> Iterable[Fate]:
    for name in [*after, *(name for name in before if name not in after)]:
        one, other = before.get(name), after.get(name)
        old = None if one is None else (one.stage, one.rule)
        new = None if other is None else (other.stage, other.rule)
        values = None if one is None else one.value, None if other is None else other.value
        if old != new or values[0] != values[1]:
            yield Fate(name, old, new, "it is not in this release" if other is None else other.reason, *values)


def _rules(before: Mapping[str, WhyNot], after: Mapping[str, WhyNot]) -> tuple[RuleChanged, ...]:
    held = [_held(fates) for fates in (before, after)]
    found = []
    for rule in dict.fromkeys((*held[1], *held[0])):
        old, new = (side.get(rule, {}) for side in held)
        holds = tuple(name for name in new if name not in old and name in before)
        frees = tuple(name for name in old if name not in new and name in after)
        if holds or frees:
            found.append(RuleChanged(rule, holds, frees))
    return tuple(found)


def _held(fates: Mapping[str, WhyNot]) -> dict[str, dict[str, None]]:
    """Rule -> the candidates it holds back, first or after others."""
    found: dict[str, dict[str, None]] = {}
    for name, fate in fates.items():
        if fate.stage not in ("chosen", "slate", "arbitration"):
            for rule in (fate.rule, *fate.also):
                found.setdefault(rule, {})[name] = None
    return found


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean `{near[0]}`?" if near else f": there is {', '.join(names) or 'none'}"
    return f"no {kind} is called `{name[:64]}`{hint}"
