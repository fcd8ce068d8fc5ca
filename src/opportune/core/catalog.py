"""The catalog: what can be offered, where it can appear, and the moments at which somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

NO_OFFER = "NO_OFFER"
"""The candidate that is always there, with value 0."""
SLATE_MAX = 10
"""No question gets more offers than this at once."""

Risk = Literal["low", "medium", "high"]
ChannelKind = Literal["pull", "push", "agent"]
PriorityClass = Literal["critical", "interactive", "standard", "batch"]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of a playbook: frozen, and a key nobody declared is an error."""


class Treatment(Document, frozen=True, kw_only=True):
    """How an offer is worded in one channel; `{name}` stands for the value of a feature or offer field."""

    headline: str
    body: str = ""
    action: str = ""


class Price(Document, frozen=True, kw_only=True):
    """What the customer would pay more: `amount` of `currency` per `per`."""

    amount: float
    per: Literal["month", "year", "once"] = "month"
    currency: str = "EUR"


class Prior(Document, frozen=True, kw_only=True):
    """What the owner believes before any data: used, and said to be used, when no model covers the offer."""

    p_accept: float
    uplift: float


class Offer(Document, frozen=True, kw_only=True):
    """Something that can be presented.

    `margin` is the money gained over the first year when the offer is accepted, in the playbook's currency;
    `contact_cost` is what one presentation costs; `attributes` become `offer.<name>` in policies. `lever` multiplies
    its value where arbitration is `pcvl`. `spend` is money that each presentation takes from budgets on top of
    contact costs, such as the value of a voucher.
    """

    offer: str
    title: str
    kind: str
    price: Price
    margin: float
    treatments: Mapping[str, Treatment]
    owner: str
    prior: Prior
    risk: Risk = "low"
    purpose: str = "marketing"
    requires: str = "true"
    requires_reason: str = "the customer does not meet what the offer requires"
    contact_cost: float = 0.0
    valid_from: str | None = None
    valid_to: str | None = None
    attributes: Mapping[str, bool | int | float | str] = {}
    lever: float = 1.0
    spend: float = 0.0


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class QuietHours(Document, frozen=True, kw_only=True):
    """Local hours in the customer's zone during which a channel stays silent: `from` 20:00 `to` 08:00.

    `days` are silent from midnight to midnight, such as sat and sun.
    """

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    days: tuple[Weekday, ...] = ()


class ContactLimit(Document, frozen=True, kw_only=True):
    """At most `at_most` contacts per `per` (such as 7d), counted per person or per account.

    `count` says what is counted: contacts in this channel, in all channels, or of the same offer.
    """

    limit: str
    at_most: int
    per: str
    of: Literal["person", "account"] = "person"
    count: Literal["channel", "all", "offer"] = "channel"
    reason: str = "contacted often enough already"


class Limit(Document, frozen=True, kw_only=True):
    """A limit over a group of channels, offers and kinds of offers; what is not named is not asked (none: all).

    At most `at_most` contacts per `per` (such as 7d), of each person, of each account, or of everyone together; or
    for everyone at most `amount` money. `cooldown: 3d` says at most one per 3d. With `count: offer` each offer is
    counted for itself.
    """

    limit: str
    at_most: int | None = None
    amount: float | None = None
    per: str | None = None
    cooldown: str | None = None
    of: Literal["person", "account", "everyone"] = "person"
    channels: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    count: Literal["contacts", "offer"] = "contacts"
    reason: str = "this is often enough"
    owner: str = ""


class Channel(Document, frozen=True, kw_only=True):
    """A way to reach a customer, with its own cost and limits.

    `delivery: caller` leaves presenting the offer to whoever asked; with `outbox` Opportune sends it itself.
    `cooldown: 3d` leaves a person alone in this channel for three days after each contact.
    """

    channel: str
    title: str
    kind: ChannelKind
    contact_cost: float = 0.0
    fatigue_cost: float = 0.0
    grant_ttl: str = "15m"
    delivery: Literal["caller", "outbox"] = "caller"
    limits: tuple[ContactLimit, ...] = ()
    quiet_hours: QuietHours | None = None
    cooldown: str | None = None


class SafeDefault(Document, frozen=True, kw_only=True):
    """What to show while nothing is offered: no offer itself, so that it needs no consent and uses no limit."""

    headline: str
    body: str = ""
    action: str = ""


class Moment(Document, frozen=True, kw_only=True):
    """The point at which value is weighed; every decision names one.

    `safe_default` is shown whenever nothing is offered, also to the control group. `weights` are the context weights
    of offers, by their id or kind, where arbitration is `pcvl`.
    """

    moment: str
    title: str
    channels: tuple[str, ...]
    priority: PriorityClass = "interactive"
    budget_ms: int = 50
    context: Mapping[str, Literal["bool", "int", "double", "string"]] = {}
    safe_default: SafeDefault | None = None
    weights: Mapping[str, float] = {}


class Candidate(msgspec.Struct, frozen=True):
    """One offer in one channel, in the fixed order of a release."""

    index: int
    id: str
    offer: Offer
    channel: Channel
    treatment: Treatment


def candidates_of(offers: Sequence[Offer], channels: Sequence[Channel]) -> tuple[Candidate, ...]:
    """Every (offer, channel) pair the offers have a treatment for, in playbook order."""
    found: list[Candidate] = []
    for offer in offers:
        for channel in channels:
            treatment = offer.treatments.get(channel.channel)
            if treatment is not None:
                candidate_id = f"{offer.offer}@{channel.channel}"
                found.append(Candidate(len(found), candidate_id, offer, channel, treatment))
    return tuple(found)
