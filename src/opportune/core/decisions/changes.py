"""Changes to what a decision was asked or saw, as values: applied to a copy, and said in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from opportune.core.customers import consent_parts
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Asked, Seen

SOME_ACCOUNT = "(some account)"
SOMETHING_ELSE = "(something else)"
"""Stands for any text that no rule and no model names."""

CONTEXT = "context."


class At(msgspec.Struct, frozen=True, tag="time", omit_defaults=True):
    """Asked at another instant; everything else stands still, what was done long ago is longer ago."""

    at_ms: int


class FewerContacts(msgspec.Struct, frozen=True, tag="contacts", omit_defaults=True):
    """Without these contacts, each (offer, channel, age_ms): one with a person is one with the account too."""

    contacts: tuple[tuple[str, str, int], ...]


class Room(msgspec.Struct, frozen=True, tag="room", omit_defaults=True):
    """With room left in a limit over everybody."""

    limit: str


class Consent(msgspec.Struct, frozen=True, tag="consent", omit_defaults=True):
    """With another consent; `key` is `purpose/channel`."""

    key: str
    status: str


class Fact(msgspec.Struct, frozen=True, tag="fact", omit_defaults=True):
    """With another value of a feature, of `context.<name>` or of `account_known`."""

    name: str
    value: Any


class OpenChannel(msgspec.Struct, frozen=True, tag="channel", omit_defaults=True):
    """With a further channel asked for."""

    channel: str


class NoFault(msgspec.Struct, frozen=True, tag="fault", omit_defaults=True):
    """Without the faults that ended the decision early."""

    faults: tuple[str, ...]


class Lever(msgspec.Struct, frozen=True, tag="value", omit_defaults=True):
    """With the candidate worth so much money more, as a policy of effect `adjust` would have it."""

    amount: float


Change = NoFault | At | FewerContacts | Room | Consent | Fact | OpenChannel | Lever
PLAINNESS = (NoFault, At, FewerContacts, Room, Consent, Fact, OpenChannel, Lever)
"""The plainest first: what passes by itself, what people can give or know, and last what only an owner decides."""


class State(msgspec.Struct, frozen=True):
    """What is decided on: the question, what is seen, the faults, and money added to one candidate."""

    asked: Asked
    seen: Seen
    faults: tuple[str, ...] = ()
    lever: float = 0.0


def applied(state: State, change: Change) -> State:
    """The state with one change."""
    replace = msgspec.structs.replace
    asked, seen = state.asked, state.seen
    match change:
        case At():
            return replace(state, seen=at_instant(seen, change.at_ms))
        case FewerContacts():
            gone = set(change.contacts)
            kept = tuple(one for one in seen.contacts if one[1:] not in gone)
            return replace(state, seen=replace(seen, contacts=kept))
        case Room():
            # A limit that counts each offer for itself has a number for each, `limit/offer`.
            room = {name: left for name, left in seen.room.items() if name.partition("/")[0] != change.limit}
            return replace(state, seen=replace(seen, room=room))
        case Consent():
            return replace(state, seen=replace(seen, consents={**seen.consents, change.key: change.status}))
        case Fact():
            return _with_fact(state, change)
        case OpenChannel():
            return replace(state, asked=replace(asked, channels=(*asked.channels, change.channel)))
        case NoFault():
            return replace(state, faults=tuple(one for one in state.faults if one not in change.faults))
    return replace(state, lever=state.lever + change.amount)


def at_instant(seen: Seen, at_ms: int) -> Seen:
    """What would be seen at another instant were nothing else to happen: ages grow, the local clock goes on.

    The record keeps the minute of the local day and no zone: across a change to or from summer time it is an hour off.
    """
    delta_ms = at_ms - seen.at_ms
    minutes = seen.local_day * 1440 + seen.local_minute + (seen.at_ms % 60_000 + delta_ms) // 60_000
    return msgspec.structs.replace(
        seen,
        at_ms=at_ms,
        local_minute=minutes % 1440,
        local_day=minutes // 1440 % 7,
        ages_ms={name: max(0, age + delta_ms) for name, age in seen.ages_ms.items()},
        contacts=tuple(
            (scope, offer, channel, age + delta_ms)
            for scope, offer, channel, age in seen.contacts
            if age + delta_ms >= 0
        ),
    )


def _with_fact(state: State, change: Fact) -> State:
    replace = msgspec.structs.replace
    asked, seen, name, value = state.asked, state.seen, change.name, change.value
    if name == "account_known":
        account = (seen.account or SOME_ACCOUNT) if value else None
        return replace(state, seen=replace(seen, account=account))
    if name.startswith(CONTEXT):
        return replace(state, asked=replace(asked, context={**asked.context, name.removeprefix(CONTEXT): value}))
    missing = tuple(one for one in seen.missing if one != name or value is None)
    return replace(state, seen=replace(seen, features={**seen.features, name: value}, missing=missing))


def place_of(change: Change) -> str:
    """What a change changes: two changes of one place exclude each other."""
    match change:
        case Consent():
            return f"consent:{change.key}"
        case Fact():
            return change.name
        case OpenChannel():
            return f"channel:{change.channel}"
        case Room():
            return f"room:{change.limit}"
    return type(change).__name__


def step_of(state: State, change: Change) -> float:
    """How large a change is beside others of its kind: the smallest are stated first."""
    match change:
        case At():
            # What is still to come is plainer than what should have been asked earlier.
            delta = change.at_ms - state.seen.at_ms
            return float(delta) if delta >= 0 else 1e13 - delta
        case FewerContacts():
            return float(len(change.contacts))
        case Fact():
            return _distance(fact_of(state, change.name), change.value)
    return 0.0


def fact_of(state: State, name: str) -> Any:  # noqa: ANN401 - a feature has any type
    """The value of a feature, of `context.<name>` or of `account_known` as it stands."""
    if name == "account_known":
        return state.seen.account is not None
    if name.startswith(CONTEXT):
        return state.asked.context.get(name.removeprefix(CONTEXT))
    return state.seen.features.get(name)


def _distance(old: object, new: object) -> float:
    if new == SOMETHING_ELSE:
        return 3.0
    if isinstance(old, bool) or isinstance(new, bool | str):
        return 1.0
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) / (1.0 + abs(old) + abs(new))
    return 2.0 if old is None else 1.5


def words_of(brain: Brain, state: State, change: Change) -> str:
    """The change as the end of a sentence that begins with “it would win”; `state` is what it changes."""
    match change:
        case At():
            return _time_words(state.seen.at_ms, change.at_ms)
        case FewerContacts():
            return _contact_words(change, brain)
        case Room():
            return f"with room left in the limit `{change.limit}`"
        case Consent():
            purpose, channel, _ = consent_parts(change.key)
            was = state.seen.consents.get(change.key, "unknown")
            return f"with consent to {purpose} by {channel} {change.status} (it is {was})"
        case Fact():
            return _fact_words(state, change)
        case OpenChannel():
            return f"with the channel {change.channel} asked for as well"
        case NoFault():
            return f"without the fault ({', '.join(change.faults)})"
    return f"with a value {change.amount:,.2f} {brain.app.currency} higher"


def _time_words(old_ms: int, new_ms: int) -> str:
    moment = datetime.fromtimestamp(new_ms / 1000, UTC)
    # Rounded up where it opens, down where it still was: the minute named must lie inside.
    text = f"{moment:%Y-%m-%d %H:%M} UTC" if new_ms % 60_000 == 0 else f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
    return f"at {text} ({_span(abs(new_ms - old_ms))} {'later' if new_ms > old_ms else 'earlier'})"


def _contact_words(change: FewerContacts, brain: Brain) -> str:
    titles = {one.offer.offer: one.offer.title for one in brain.candidates}
    listed = ", ".join(
        f"{titles.get(offer, offer)} by {channel} {_span(age_ms)} before"
        for offer, channel, age_ms in change.contacts[:3]
    )
    count = len(change.contacts)
    rest = f" and {count - 3} more" if count > 3 else ""
    return f"with {'one contact' if count == 1 else f'{count} contacts'} fewer ({listed}{rest})"


def _fact_words(state: State, change: Fact) -> str:
    old = fact_of(state, change.name)
    if change.name == "account_known":
        return "with a known account" if change.value else "without an account"
    was = "it is not known" if old is None else f"it is {said(old)}"
    if change.value is None:
        return f"with `{change.name}` not known ({was})"
    if change.value == SOMETHING_ELSE:
        return f"with `{change.name}` something else ({was})"
    return f"with `{change.name}` at {said(change.value)} ({was})"


def said(value: object) -> str:
    """A value in a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, int) else f"“{value}”"


def _span(ms: int) -> str:
    for size, unit in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")):
        if ms >= size:
            number = f"{ms / size:.1f}".removesuffix(".0")
            return f"{number} {unit}" if number == "1" else f"{number} {unit}s"
    return f"{ms} ms"
