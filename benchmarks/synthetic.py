"""A synthetic playbook, model and customers of a stated size, for measuring: nothing in it means anything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from opportune.core.catalog import Channel, ContactLimit, Moment, Offer, Price, Prior, Treatment
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.models import AdditiveHead, Calibration, FeatureTable, OfferHeads, Scorecard, Training
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.signals import Draft, SignalContract, format_time

MOMENT = "usage.limit_reached"
CHANNELS = ("in_app", "email")
BASE_MS = 1_780_000_000_000


def playbook(offers: int = 25, policies: int = 20, features: int = 40) -> Playbook:
    """`offers` x 2 channels candidates, `policies` conditions of five shapes, `features` of which 12 derived."""
    return Playbook(
        app=App(
            project="bench",
            holdout=Holdout(share=0.0, salt="bench"),
            exploration=Exploration(gamma=50.0),
            offer_attributes={"tier": "int", "family": "string"},
            moments=(Moment(moment=MOMENT, title="limit", channels=CHANNELS, context={"used": "int"}),),
        ),
        offers=tuple(_offer(number) for number in range(offers)),
        channels=(
            Channel(channel="in_app", title="In the product", kind="pull", contact_cost=0.1, fatigue_cost=0.5),
            Channel(
                channel="email", title="E-mail", kind="push", contact_cost=0.2, fatigue_cost=1.0,
                limits=(ContactLimit(limit="weekly", at_most=1_000_000, per="7d"),),
            ),
        ),
        views=(_view(features),),
        policies=tuple(_policy(number) for number in range(policies)),
        contracts=(
            SignalContract(
                signal="usage.recorded",
                owner="bench",
                schema={
                    "type": "object",
                    "properties": {"count": {"type": "integer"}, "plan": {"type": "string"}},
                },
            ),
            SignalContract(signal="consent.given", owner="bench", schema={"type": "object"}),
        ),
    )  # fmt: skip


def scorecard(
    book: Playbook, features: int = 20, bins: int = 10, seed: int = 5, names: Sequence[str] = ()
) -> Scorecard:
    """A model of random tables over the first numeric features, or those named: scoring costs what a trained one
    costs."""
    rng = random.Random(seed)
    names = names or [spec.id for spec in book.views[0].features if spec.type == "int"][:features]
    tables = tuple(
        FeatureTable(name, "numeric", edges=tuple(float(i * 20) for i in range(bins))) for name in names
    )

    def head(base: float) -> AdditiveHead:
        parts = tuple(tuple(rng.uniform(-0.2, 0.2) for _ in range(table.bin_count)) for table in tables)
        return AdditiveHead(base, parts)

    heads = tuple(
        OfferHeads(one.offer, head(-2.0), head(-3.0), head(-6.0), 500, 500, 60, 25) for one in book.offers
    )
    training = Training(
        data_hash="0" * 32, rows=1000, rows_fit=500, rows_calibrate=250, rows_evaluate=250, from_ms=0, to_ms=0,
        evaluated_from_ms=0, label_window="14d", weight_max=20.0, feature_views={}, left_out={}, metrics={},
        calibration_table=(), gates=(), trainer="synthetic",
    )  # fmt: skip
    return Scorecard(1, "bench", "bench", "0" * 32, tables, heads, Calibration(), training, True)


def history(customers: int, signals_each: int = 12, now_ms: int = BASE_MS, seed: int = 3) -> Sequence[Draft]:
    """Consent and usage of every customer within the last day, in time order."""
    rng = random.Random(seed)
    drafts: list[Draft] = []
    for number in range(customers):
        who: dict[str, Any] = {"subject": f"c{number}", "account": f"a{number}"}
        at = format_time(now_ms - 86_400_000)
        drafts.append(Draft("bench", f"consent-{number}", "consent.given", at, **who, data={"channels": ["*"]}))
        for step in range(signals_each):
            at = format_time(now_ms - 80_000_000 + step * 5_000_000)
            data = {"count": rng.randrange(1, 60), "plan": rng.choice(["team", "business"])}
            drafts.append(Draft("bench", f"use-{number}-{step}", "usage.recorded", at, **who, data=data))
    return drafts


def _offer(number: int) -> Offer:
    return Offer(
        offer=f"offer_{number:05d}",
        title=f"Offer {number}",
        kind=("plan", "seats", "addon")[number % 3],
        price=Price(amount=float(10 + number % 90)),
        margin=float(100 + number % 400),
        treatments={name: Treatment(headline=f"Offer {number}", body="You use {f0} of it") for name in CHANNELS},
        owner="bench",
        prior=Prior(p_accept=0.1, uplift=0.05),
        attributes={"tier": number % 5, "family": f"f{number % 7}"},
    )


def _policy(number: int) -> Policy:
    when = (
        "consent.status != 'given'",
        f"f{number % 20} < {number % 7} && offer.tier >= 3",
        f"offer.price > double(f{number % 20} + f{number % 11}) * 50.0",
        f"f{number % 20} > {100_000 + number} || offer.family == 'f6' && f{number % 13} > 90000",
        f"plan in ['enterprise', 'trial'] && offer.kind == 'seats' && d{number % 12} > 2.0",
    )
    if number == 1:
        return Policy(id="permit", effect="permit", class_="commercial", reason="open", owner="bench")
    return Policy(
        id=f"policy_{number}", effect="forbid", class_="commercial" if number else "consent",
        when=when[number % 5], reason="not now", owner="bench",
    )  # fmt: skip


def _view(count: int) -> FeatureView:
    """Counts, sums and maxima over windows, the last plan, and 12 derived ratios (`d0`..)."""
    derived = 12 if count >= 30 else count // 4
    plain = count - derived - 1
    specs = [FeatureSpec(id="plan", sources="usage.recorded", value="data.plan", aggregate="last", type="string")]
    for number in range(plain):
        aggregate = ("sum", "count", "max", "last")[number % 4]
        window = ("1d", "7d", "28d", "7d")[number % 4]
        specs.append(
            FeatureSpec(
                id=f"f{number}", sources="usage.recorded", value=None if aggregate == "count" else "data.count",
                aggregate=aggregate,  # type: ignore[arg-type]
                window=None if aggregate == "last" else window, type="int", default=0,
            )
        )  # fmt: skip
    for number in range(derived):
        expression = f"double(f{number} + 1) / double(f{number + 1} + 1)"
        specs.append(FeatureSpec(id=f"d{number}", derive=expression, type="double"))
    return FeatureView(
        view="bench", version=1, entity="account", owner="bench", purposes=("marketing",), features=tuple(specs)
    )
