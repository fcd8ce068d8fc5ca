"""A synthetic playbook with a catalog of a stated size, and its customers: for measuring how decisions grow with it.

Offers require ranges of seats, regions, industries and use, so that a customer is eligible for about `eligible` of
them whatever the size of the catalog (for at most 70% of a small one).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from benchmarks import synthetic
from opportune.core.catalog import Channel, ContactLimit, Moment, Offer, Price, Prior, Treatment
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.models import Scorecard
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.signals import Draft, SignalContract, format_time

MOMENT = synthetic.MOMENT
CHANNELS = synthetic.CHANNELS
REGIONS = tuple(f"region_{number:02d}" for number in range(12))
INDUSTRIES = tuple(f"industry_{number:02d}" for number in range(20))
PLANS = ("free", "team", "business", "enterprise")
SEATS_MAX = 2000
SHARE_MAX = 0.7
YEAR_MS = 365 * 86_400_000


def playbook(offers: int, eligible: float = 40.0, now_ms: int = synthetic.BASE_MS, seed: int = 17) -> Playbook:
    """`offers` offers, 20 policies of the shapes real ones have, 46 features."""
    rng = random.Random(seed)
    base = synthetic.playbook(offers=1)
    view = base.views[0]
    facts = tuple(
        FeatureSpec(id=name, sources="account.described", value=f"data.{name}", aggregate="last", type=type_)  # type: ignore[arg-type]  # one of its types
        for name, type_ in (("seats", "int"), ("region", "string"), ("industry", "string"), ("trial", "bool"))
    )
    described = SignalContract(
        signal="account.described",
        owner="bench",
        schema={
            "type": "object",
            "properties": {
                "seats": {"type": "integer"}, "region": {"type": "string"}, "industry": {"type": "string"},
                "trial": {"type": "boolean"},
            },
        },
    )  # fmt: skip
    return Playbook(
        app=App(
            project="bench",
            holdout=Holdout(share=0.0, salt="bench"),
            exploration=Exploration(gamma=50.0),
            offer_attributes={"tier": "int", "family": "string", "yearly": "bool"},
            moments=(Moment(moment=MOMENT, title="limit", channels=CHANNELS, context={"used": "int"}),),
        ),
        offers=tuple(_offer(number, min(SHARE_MAX, eligible / offers), now_ms, rng) for number in range(offers)),
        channels=(
            Channel(channel="in_app", title="In the product", kind="pull", contact_cost=0.1, fatigue_cost=0.5),
            Channel(
                channel="email", title="E-mail", kind="push", contact_cost=0.2, fatigue_cost=1.0,
                limits=(
                    ContactLimit(limit="weekly", at_most=1_000_000, per="7d"),
                    ContactLimit(limit="again", at_most=3, per="30d", count="offer"),
                ),
            ),
        ),
        views=(FeatureView(
            view=view.view, version=view.version, entity=view.entity, owner=view.owner, purposes=view.purposes,
            features=(*view.features, *facts),
        ),),
        policies=policies(),
        contracts=(*base.contracts, described),
    )  # fmt: skip


def _offer(number: int, share: float, now_ms: int, rng: random.Random) -> Offer:
    price = round(math.exp(rng.uniform(math.log(5), math.log(5000))), 2)
    begins = rng.random() < 0.3
    ends = rng.random() < 0.3
    channels = CHANNELS if rng.random() < 0.8 else (rng.choice(CHANNELS),)
    return Offer(
        offer=f"offer_{number:05d}",
        title=f"Offer {number}",
        kind=rng.choice(("plan", "seats", "addon", "credit", "training", "bundle", "support", "discount")),
        price=Price(amount=price),
        margin=round(price * rng.uniform(2.0, 8.0), 2),
        treatments={name: Treatment(headline=f"Offer {number}", body="You use {f0} of it") for name in channels},
        owner=f"team_{number % 7}",
        prior=Prior(p_accept=0.1, uplift=0.05),
        risk=rng.choices(("low", "medium", "high"), (70, 25, 5))[0],
        requires=requires(share, rng),
        requires_reason="it is made for other kinds of companies",
        valid_from=format_time(now_ms + int(rng.uniform(-1.0, 0.1) * YEAR_MS)) if begins else None,
        valid_to=format_time(now_ms + int(rng.uniform(-0.1, 1.0) * YEAR_MS)) if ends else None,
        attributes={"tier": rng.randrange(5), "family": f"f{rng.randrange(30)}", "yearly": rng.random() < 0.4},
    )


def requires(share: float, rng: random.Random) -> str:
    """A condition that about `share` of the customers meet, of the forms people write."""
    weights = [rng.random() + 0.1 for _ in range(3)]
    _seats, regions, industries = (share ** (weight / sum(weights)) for weight in weights)
    kept = max(1, round(regions * len(REGIONS)))
    fields = max(1, round(industries * len(INDUSTRIES)))
    # Seats take up what rounding the other two left.
    width = min(1.0, share / (kept / len(REGIONS) * fields / len(INDUSTRIES)))
    low = rng.uniform(0.0, 1.0 - width)
    first, last = (round(SEATS_MAX**place) for place in (low, low + width))
    plainly = rng.random() < 0.8
    terms = [f"seats >= {first}", f"seats <= {last}"] if plainly else [f"!(seats < {first} || seats > {last})"]
    terms.append(_among("region", rng.sample(REGIONS, kept), len(REGIONS), rng))
    terms.append(_among("industry", rng.sample(INDUSTRIES, fields), len(INDUSTRIES), rng))
    form = rng.random()
    if form < 0.25:
        terms.append(f"f{rng.randrange(20)} >= {rng.randrange(3)}")
    elif form < 0.4:
        terms.append(f"(plan != 'free' || f{rng.randrange(20)} > {rng.randrange(5)})")
    elif form < 0.5:
        terms.append(f"d{rng.randrange(12)} < {rng.randrange(20, 60)}.0")
    elif form < 0.55:
        terms.append("has(plan)")
    return " && ".join(term for term in terms if term) or "true"


def _among(name: str, values: Sequence[str], of: int, rng: random.Random) -> str:
    if len(values) == of:
        return ""
    if len(values) == 1:
        return f"{name} == '{values[0]}'"
    if rng.random() < 0.3:
        return "(" + " || ".join(f"{name} == '{value}'" for value in values) + ")"
    return f"{name} in [{', '.join(repr(value) for value in values)}]"


def policies() -> tuple[Policy, ...]:
    """One permit, 16 forbids, two levers and a review: over the customer, the candidate, and both."""
    forbids = (
        ("consent.status != 'given'", "consent"),
        ("trial && offer.kind == 'discount'", "legal"),
        ("f0 > 5000 && offer.risk == 'high'", "suitability"),
        ("offer.price > double(f2 + f6 + 1) * 100.0", "suitability"),
        ("seats < 5 && offer.kind in ['support', 'training']", "suitability"),
        ("offer.risk != 'low' && plan == 'free'", "suitability"),
        ("offer.tier > context.used", "commercial"),
        ("offer.yearly && trial", "commercial"),
        ("f4 < 3 && offer.tier >= 3", "commercial"),
        ("offer.family == 'f6' && f13 > 900", "commercial"),
        ("plan in ['enterprise'] && offer.kind == 'seats' && d3 > 2.0", "commercial"),
        ("region == 'region_03' && offer.family in ['f1', 'f2', 'f3']", "commercial"),
        ("offer.margin < double(f3) * 2.0", "commercial"),
        ("local_hour < 0", "commercial"),
        ("channel.kind == 'push' && f1 > 100000", "contact"),
        ("account_known && f5 > 100000", "commercial"),
    )
    found = [
        Policy(id=f"forbid_{number:02d}", effect="forbid", class_=class_, when=when, reason="not now", owner="bench")  # type: ignore[arg-type]  # a class
        for number, (when, class_) in enumerate(forbids)
    ]
    found += [
        Policy(id="permit", effect="permit", class_="commercial", reason="open", owner="bench"),
        Policy(
            id="push_margin", effect="adjust", class_="commercial", when="offer.yearly && f7 >= 0",
            adjust="offer.margin * 0.02", reason="yearly plans matter this quarter", owner="bench",
        ),
        Policy(
            id="push_big", effect="adjust", class_="commercial", when="seats > 50",
            adjust="double(f0) * 0.01 + double(offer.tier)", reason="big accounts grow", owner="bench",
        ),
        Policy(
            id="look_first", effect="require_review", class_="commercial", when="offer.risk == 'high' && seats > 500",
            reason="a person looks first", owner="bench",
        ),
    ]  # fmt: skip
    return tuple(found)


def scorecard(book: Playbook, features: int = 8, bins: int = 6) -> Scorecard:
    """A model of random tables over the first numbers; every offer has its own."""
    return synthetic.scorecard(book, bins=bins, names=[f"f{number}" for number in range(features)])


def history(customers: int, now_ms: int = synthetic.BASE_MS, seed: int = 3) -> list[Draft]:
    """Consent, usage and a description of every customer; of one in 25 the industry is not known."""
    rng = random.Random(seed)
    drafts = list(synthetic.history(customers, signals_each=6, now_ms=now_ms, seed=seed))
    at = format_time(now_ms - 3_600_000)
    for number in range(customers):
        data: dict[str, Any] = {
            "seats": round(SEATS_MAX ** rng.random()),
            "region": rng.choice(REGIONS),
            "trial": rng.random() < 0.2,
        }
        if rng.random() >= 0.04:
            data["industry"] = rng.choice(INDUSTRIES)
        who: dict[str, Any] = {"subject": f"c{number}", "account": f"a{number}"}
        drafts.append(Draft("bench", f"described-{number}", "account.described", at, **who, data=data))
    return drafts
