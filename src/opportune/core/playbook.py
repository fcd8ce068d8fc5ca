"""The playbook: the user's folder in git, as frozen documents; loading and compiling happen elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from opportune.core.beliefs import Adaptive
from opportune.core.catalog import Channel, Document, Limit, Moment, Offer, Risk
from opportune.core.drift import DriftPolicy
from opportune.core.features import FeatureView
from opportune.core.feedback.words import FeedbackReason
from opportune.core.policies import Policy
from opportune.core.signals import SignalContract

Vendor = Literal["segment", "posthog"]
"""Whose calls: RudderStack's have the shape of Segment's."""


class Holdout(Document, frozen=True, kw_only=True):
    """The control group that never gets an offer: a share of units (accounts, or people without one)."""

    share: float = 0.1
    salt: str


class Exploration(Document, frozen=True, kw_only=True):
    """How much to try what is not best yet.

    `inverse_gap`: a candidate's probability falls with its distance from the best, in units of `value_scale`
    (money), times `gamma`; `floor` is the least total share spread evenly over all that are left after policy.
    """

    method: Literal["inverse_gap", "floor_only", "off"] = "inverse_gap"
    gamma: float = 20.0
    value_scale: float = 100.0
    floor: float = 0.02


class Arbitration(Document, frozen=True, kw_only=True):
    """How candidates are weighed against each other.

    `value`: uplift x margin - contact cost - fatigue cost + levers, in money. `pcvl`: acceptance x context weight x
    margin x lever (Pega's P x C x V x L), + what policies add. `same_kind_max` is how many offers of one kind a slate
    holds.
    """

    method: Literal["value", "pcvl"] = "value"
    same_kind_max: int = 1


Target = Literal["uplift", "acceptance", "value", "churn_risk", "fatigue"]
"""What is predicted: what an offer causes; whether it is accepted; what an acceptance brings, in money; whether the
customer leaves within the label window; whether contacting them annoys (complaint, opt-out, dismissal)."""

Algorithm = Literal["additive", "ebm", "s_learner", "t_learner", "x_learner", "dr_learner", "stacked"]
"""`additive`: logistic regression with shared and own tables. `ebm`: explainable boosting. The learners are those of
Kuenzel et al. 2019 and Kennedy 2023 over LightGBM. `stacked`: several of them, weighed by a doubly robust loss."""


class ModelSpec(Document, frozen=True, kw_only=True):
    """What a model should learn: which offers' effect, from which features, judged by which gates.

    `assigned` and `converted` name the signal types that say who was offered what and who then bought;
    `label_window` is how long after the assignment a purchase counts. `purpose` is what it is learned for: every
    feature must be there for it. `settings` are those of the algorithm, by their names in its own documentation.
    `risk` says how many people must approve it: two when it is high. `segments` are features by whose values its
    figures are broken down, `protected` those by which it is looked at for unequal treatment.

    `labels` are the signal types that say that it happened; without them acceptance is an offer accepted or
    converted, fatigue one dismissed, complained of or followed by a withdrawal of consent; churn_risk has to name its
    own. Its rows are all customers `of` one kind, looked at `every` so often.

    `drift` says how it is watched once it is live, and what follows when the world has changed.

    `validates` names a faster model: this one then never decides, but is asked about decisions once they are answered.
    `onnx` is the path in the playbook of a model that was learned elsewhere, `onnx_hash` the hash of its bytes.
    """

    model: str
    target: Target = "uplift"
    owner: str
    features: tuple[str, ...]
    algorithm: Algorithm = "additive"
    settings: Mapping[str, bool | int | float | str] = {}
    risk: Risk = "low"
    segments: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    assigned: str = "offer.assigned"
    converted: str = "offer.converted"
    label_window: str = "14d"
    holdout_share: float = 0.3
    gates: Mapping[str, float] = {}
    purpose: str = "marketing"
    labels: tuple[str, ...] = ()
    of: Literal["account", "person"] = "account"
    every: str = "7d"
    drift: DriftPolicy = DriftPolicy()
    validates: str | None = None
    onnx: str | None = None
    onnx_hash: str | None = None


class SignalMapping(Document, frozen=True, kw_only=True):
    """How one row of a source becomes one signal; every value is a CEL expression over `row.<column>`.

    `lookup` joins other tables of the source by a column they share: their columns read `<table>.<column>`.
    `when` leaves rows out. `follow_up` marks a second signal from a row that already gave one. `region` is where the
    customer lives (no value: the playbook's own `region`); a row of another region is refused, and kept nowhere.
    """

    rows: str
    type: str
    id: str
    time: str
    subject: str | None = None
    account: str | None = None
    region: str | None = None
    when: str | None = None
    lookup: Mapping[str, str] = {}
    follow_up: bool = False
    data: Mapping[str, str] = {}


class PayloadMapping(Document, frozen=True, kw_only=True):
    """How one message becomes one signal; every value is a CEL expression over what the sender delivers.

    Names are `event` (the message as it came), `properties`, `traits` and `context` (see core.payloads). `vendor`
    says whose calls are meant; without it, deliveries to the hook of this source. Without `id`, `time`, `subject`,
    `account` or `data` the sender's own convention gives them. `when` leaves messages out. `region` is where the
    customer lives (no value: the playbook's own `region`); a message of another region is refused, and kept nowhere.
    """

    event: str | tuple[str, ...]
    type: str
    vendor: Vendor | tuple[Vendor, ...] = ()
    id: str | None = None
    time: str | None = None
    subject: str | None = None
    account: str | None = None
    region: str | None = None
    when: str | None = None
    data: Mapping[str, str] | None = None


class Hook(Document, frozen=True, kw_only=True):
    """Who signs the deliveries to `/v1/hooks/<source>`; the secrets are in the data folder, never in a playbook.

    `url` is the public address of the hook, where the signature covers it (HubSpot); without it, the one asked for.
    """

    signed_by: Literal["stripe", "hubspot", "hubspot_v2", "segment", "standard"]
    url: str | None = None


class Source(Document, frozen=True, kw_only=True):
    """A system signals come from: its tables, calls or webhooks, and how they map to canonical signals.

    Tables named in `optional` may be absent: the mappings that read them then give nothing.
    """

    source: str
    title: str
    owner: str
    tables: Mapping[str, str] = {}
    signals: tuple[SignalMapping, ...] = ()
    optional: tuple[str, ...] = ()
    hook: Hook | None = None
    payloads: tuple[PayloadMapping, ...] = ()


class PastContact(Document, frozen=True, kw_only=True):
    """A contact that counts when a scenario is asked, so long ago. `of: account` is one with a colleague: it counts
    for the account alone; the customer's own count for both."""

    offer: str
    channel: str
    age: str = "1d"
    of: Literal["person", "account"] = "person"


Fault = Literal[
    "assign:open", "shortlist:late", "shortlist:failed", "score:late", "score:failed", "score:open", "choose:late",
    "choose:failed",
]  # fmt: skip
"""What may go wrong before a step, as records name it."""

Within = float | tuple[float, ...]
"""A number as it is written (money to the cent, chances to four places), or [least, most]."""


class Scenario(Document, frozen=True, kw_only=True):
    """A question with its expected answer, run by `opportune test`.

    What it does not say about the customer is as if nothing was ever heard of them. `like` names a scenario with the
    same customer: features, consents, contacts, account and time zone are those of that one, and what is written here
    comes on top. `gpc` is a browser that refuses (see `privacy`), `unread` are views read from outside that did not
    answer, `room` is what is left of limits over everybody, `faults` go wrong on the way. With `holdout` the unit is in
    the control group. `draw` (0 to 1) is where chance falls on the chances of what is left, in the playbook's order
    with NO_OFFER last; without it nothing is explored. `model: true` scores with the model, not with the priors.
    """

    scenario: str
    moment: str
    expect: Expectation
    like: str | None = None
    channels: tuple[str, ...] = ()
    at: str = "2026-11-02T10:00:00Z"
    timezone: str | None = None
    account: bool = True
    features: Mapping[str, Any] = {}
    consents: Mapping[str, str] = {}
    contacts: tuple[PastContact, ...] = ()
    context: Mapping[str, Any] = {}
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    gpc: bool = False
    holdout: bool = False
    draw: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    model: bool = False
    unread: Mapping[str, Literal["late", "failed"]] = {}
    room: Mapping[str, float] = {}
    faults: tuple[Fault, ...] = ()


class Expectation(Document, frozen=True, kw_only=True):
    """What a scenario must give: any key left out is not looked at.

    `offer: NO_OFFER` means none. `rejected` maps candidates, or offers in every channel asked, to ids of rules that
    held them back; `slate` are the further offers in their order. `would` is the candidate that a unit of the control
    group would have been offered. `headline` is what the customer gets to read, be it of the offer or of the safe
    default. `says` are words that the explanation for an audience holds.
    """

    disposition: str | None = None
    reason: str | None = None
    offer: str | None = None
    channel: str | None = None
    rejected: Mapping[str, str] = {}
    slate: tuple[str, ...] | None = None
    value: Within | None = None
    probability: Within | None = None
    confidence: Within | None = None
    would: str | None = None
    forced: tuple[str, ...] | None = None
    obligations: tuple[str, ...] | None = None
    skipped: tuple[str, ...] | None = None
    degraded: tuple[str, ...] | None = None
    missing: tuple[str, ...] | None = None
    headline: str | None = None
    says: Mapping[Literal["customer", "agent", "auditor"], tuple[str, ...]] = {}


class Identity(Document, frozen=True, kw_only=True):
    """How two records are known to be one customer.

    `link_on` are the kinds of identifier whose exact match links online (`external` covers every system). A phone
    number without a country is read as one of `phone_region` (such as DE).
    """

    link_on: tuple[Literal["email", "phone", "external"], ...] = ("email", "external")
    phone_region: str | None = None


class Privacy(Document, frozen=True, kw_only=True):
    """Who answers for the data, what a browser's Global Privacy Control refuses, and how long each class is kept.

    `retention` maps a field class, `quarantine` or `access` to a period such as 3y or 90d; what is not named is kept.
    """

    controller: str = ""
    gpc_purposes: tuple[str, ...] = ("advertising",)
    retention: Mapping[Literal["public", "internal", "personal", "sensitive", "quarantine", "access"], str] = {}


Role = Literal["model_approver", "model_owner", "compliance", "reviewer"]
"""What a person may do: `model_approver` and `compliance` approve models, they and `model_owner` refuse and retire
them; `reviewer` answers reviews."""

PersonId = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z][a-z0-9_.-]{0,39}$",
        description="a name of small letters, digits, `_`, `.` and `-`, beginning with a letter, at most 40 of them",
    ),
]
"""An API key that is called so acts for this person."""


class Personalizer(Document, frozen=True, kw_only=True):
    """How `/personalizer/v1.0` answers and learns; without it those calls are refused.

    `online` shows what was learned; `apprentice` always shows the caller's own first action and learns beside it;
    `logging_only` keeps what happens and learns nothing. `exploration` is the share of calls that try something at
    random: on top of the best (`epsilon`, as in Azure Personalizer), of the chance to be the best (`thompson`) or of
    inverse-gap weighting. A reward that has not come after `reward_wait` is `default_reward`.
    """

    mode: Literal["online", "apprentice", "logging_only"] = "online"
    method: Literal["epsilon", "thompson", "inverse_gap"] = "epsilon"
    exploration: float = 0.2
    reward_wait: str = "10m"
    default_reward: float = 0.0
    reward_aggregation: Literal["earliest", "sum"] = "earliest"


class App(Document, frozen=True, kw_only=True):
    """opportune.yaml: the settings of the whole playbook.

    `region` is where customers live when nothing else is said, `regions` all there are; each has stores and keys of
    its own and is served by a process of its own.

    `confidence_min` is per risk: below it a chosen offer goes to a person; 1.0 means always.
    `offer_attributes` declares the type of each `offer.<name>` that policies may read. `limits` hold over channels,
    offers and kinds of offers, per person, per account or for everyone together. `people` says who may do what.
    `adaptive` says how what is believed of offers without a model follows what becomes of them. `personalizer` opens
    the door for teams that come from Azure Personalizer. `feedback_reasons` are what people may say when they override
    a decision; without any there is a catalog for the start.
    """

    project: str
    moments: tuple[Moment, ...]
    holdout: Holdout
    currency: str = "EUR"
    timezone: str = "UTC"
    region: str = "eu"
    exploration: Exploration = msgspec.field(default_factory=Exploration)
    arbitration: Arbitration = Arbitration()
    confidence_min: Mapping[Risk, float] = {}
    offer_attributes: Mapping[str, Literal["bool", "int", "double", "string"]] = {}
    regions: tuple[str, ...] = ()
    identity: Identity = Identity()
    privacy: Privacy = Privacy()
    limits: tuple[Limit, ...] = ()
    adaptive: Adaptive = Adaptive()
    people: Mapping[PersonId, tuple[Role, ...]] = {}
    personalizer: Personalizer | None = None
    feedback_reasons: tuple[FeedbackReason, ...] = ()

    @property
    def every_region(self) -> tuple[str, ...]:
        """All regions there are: `regions`, or just the home region."""
        return self.regions or (self.region,)


def controller_of(app: App) -> str:
    """Who answers for the data of a playbook: what it says, or else its project."""
    return app.privacy.controller or app.project


class Playbook(Document, frozen=True, kw_only=True):
    """Everything of a playbook folder, in file order."""

    app: App
    offers: tuple[Offer, ...]
    channels: tuple[Channel, ...]
    views: tuple[FeatureView, ...]
    policies: tuple[Policy, ...]
    contracts: tuple[SignalContract, ...]
    sources: tuple[Source, ...] = ()
    models: tuple[ModelSpec, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
