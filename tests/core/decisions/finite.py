"""Small playbooks drawn by chance, over few values: small enough that every change can be tried."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from random import Random
from typing import Any

import msgspec

from opportune.core.catalog import Channel, ContactLimit, Moment, Offer, Price, Prior, QuietHours, Treatment
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Result, Seen
from opportune.core.features import FeatureSpec, FeatureView, compile_views
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy, compile_policies
from opportune.core.policies.documents import PolicyClass
from opportune.core.releases import compile_brain
from opportune.core.signals import format_time

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOON_MS = 20_600 * DAY_MS + 12 * HOUR_MS
QUIET = QuietHours(start="20:00", end="08:00")
QUIET_ON_SATURDAYS = QuietHours(start="20:00", end="08:00", days=("sat",))
ELSE = "(something else)"
VALUES: dict[str, list[Any]] = {
    "trial": [True, False], "seats": [0, 1, 2, 3, 4], "plan": ["a", "b", "c", ELSE],
    "context.limit": ["x", "y", ELSE],
}  # fmt: skip
CONDITIONS = (
    "trial", "!trial", "seats >= 2", "seats < 3", "plan == 'a'", "plan != 'b'", "plan in ['a', 'c']",
    "trial && seats > 1", "trial || plan == 'c'", "seats > 0 && plan != 'a'", "has(seats) && seats == 3",
    "context.limit == 'x'", "offer.kind == 'plan' && seats < 2", "channel.kind == 'push' && !trial",
    "local_hour < 9", "offer.price > 15.0 && double(seats) * 10.0 < offer.price", "account_known", "false", "true",
)  # fmt: skip


class Still:
    """A probe under which the recorded faults happen and nothing is measured."""

    def __init__(self, faults: tuple[str, ...] = ()) -> None:
        self._faults = dict(one.split(":", 1) for one in faults)

    def before(self, step: str) -> str | None:
        return self._faults.get(step)


def playbook(rng: Random) -> Playbook:
    """Three offers in two channels under a handful of rules."""
    return Playbook(
        app=App(
            project="finite", holdout=Holdout(share=0.0, salt="finite"), exploration=Exploration(method="off"),
            moments=(
                Moment(moment="m", title="m", channels=("in_app", "email"), context={"limit": "string"}),
                Moment(moment="narrow", title="n", channels=("in_app",), context={"limit": "string"}),
            ),
            confidence_min={"high": 1.0},
        ),
        offers=tuple(_offer(rng, name, kind) for name, kind in (("one", "plan"), ("two", "seats"), ("three", "addon"))),
        channels=(
            Channel(channel="in_app", title="Banner", kind="pull", limits=_limits(rng)),
            Channel(channel="email", title="E-mail", kind="push", limits=_limits(rng),
                    quiet_hours=rng.choice((None, QUIET, QUIET_ON_SATURDAYS))),
        ),
        views=views(), contracts=(), policies=tuple(_policies(rng)),
    )  # fmt: skip


def views() -> tuple[FeatureView, ...]:
    types = {"trial": "bool", "seats": "int", "plan": "string"}
    features = tuple(
        FeatureSpec(id=name, sources="use", value=f"data.{name}", aggregate="last", type=type_)  # type: ignore[arg-type]
        for name, type_ in types.items()
    )
    return (FeatureView(view="v", version=1, entity="person", owner="t", purposes=("marketing",), features=features),)


def brain_of(book: Playbook) -> Brain:
    return compile_brain(
        "rfinite", book, (), compile_views(book.views, {"use": {"trial": "bool", "seats": "int", "plan": "string"}})
    )


def _offer(rng: Random, name: str, kind: str) -> Offer:
    window: dict[str, Any] = {}
    if rng.random() < 0.3:
        window = {"valid_from": format_time(NOON_MS + rng.choice((-30, 5, 20)) * HOUR_MS)}
    elif rng.random() < 0.2:
        window = {"valid_to": format_time(NOON_MS + rng.choice((-10, 30)) * HOUR_MS)}
    return Offer(
        offer=name, title=name.capitalize(), kind=kind, price=Price(amount=rng.choice((10, 20, 30))),
        margin=rng.choice((100, 200, 300)), owner="t", prior=Prior(p_accept=0.2, uplift=rng.choice((-0.05, 0.1, 0.2))),
        treatments={one: Treatment(headline=name) for one in ("in_app", "email")}, risk=rng.choice(("low", "high")),
        requires=rng.choice((*CONDITIONS, "true", "true", "true")), **window,
    )  # fmt: skip


def _limits(rng: Random) -> tuple[ContactLimit, ...]:
    kinds = (
        ContactLimit(limit="daily", at_most=1, per="1d"),
        ContactLimit(limit="pair", at_most=2, per="2d", of="account"),
        ContactLimit(limit="same", at_most=1, per="2d", count="offer"),
        ContactLimit(limit="every", at_most=2, per="1d", count="all"),
    )
    return tuple(rng.sample(kinds, rng.randrange(3)))


def _policies(rng: Random) -> Iterator[Policy]:
    for number in range(rng.randint(1, 2)):
        yield Policy(id=f"permit{number}", effect="permit", class_="commercial", owner="t", reason="r",
                     when=rng.choice((*CONDITIONS, "true", "true", "true", "true")))  # fmt: skip
    yield Policy(id="consent", effect="forbid", class_="consent", when="consent.status != 'given'", reason="r",
                 owner="t")  # fmt: skip
    for number in range(rng.randint(0, 3)):
        classes: tuple[PolicyClass, ...] = ("legal", "suitability", "contact", "commercial")
        class_ = rng.choice(classes)
        yield Policy(id=f"forbid{number}", effect="forbid", class_=class_, when=rng.choice(CONDITIONS), reason="r",
                     owner="t", valid_to=rng.choice((None, format_time(NOON_MS + 4 * HOUR_MS))))  # fmt: skip
    if rng.random() < 0.3:
        yield Policy(id="force", effect="force", class_="commercial", owner="t", reason="r",
                     when=f"offer.id == '{rng.choice(('one', 'two'))}' && ({rng.choice(CONDITIONS)})")  # fmt: skip
    if rng.random() < 0.3:
        yield Policy(id="lift", effect="adjust", class_="commercial", when=rng.choice(CONDITIONS), adjust="7.0",
                     reason="r", owner="t")  # fmt: skip


def record(rng: Random, brain: Brain) -> DecisionRecord:
    """A decision of somebody drawn by chance."""
    moment = rng.choice(("m", "m", "narrow"))
    channels = rng.choice((("in_app", "email"), ("in_app",))) if moment == "m" else ("in_app",)
    asked = Asked("ada", moment, channels, {"limit": rng.choice(("x", "y"))} if rng.random() < 0.8 else {})
    features = {name: rng.choice([*VALUES[name], None]) for name in ("trial", "seats", "plan")}
    hour = rng.choice((3, 10, 14, 21))
    seen = Seen(
        NOON_MS, rng.choice((None, "acme")), "acme", features, {},
        {f"marketing/{channel}": rng.choice(("given", "given", "refused", "unknown")) for channel in channels},
        tuple(_contacts(rng)), local_minute=hour * 60,
    )  # fmt: skip
    faults = rng.choice(((), (), (), (), (), ("shortlist:late",), ("score:failed",)))
    result = run(brain, asked, seen, "0" * 32, Still(faults))
    return DecisionRecord(RECORD_VERSION, "0" * 32, brain.release, "eu", asked, seen, faults, (), result)


def _contacts(rng: Random) -> Iterator[tuple[str, str, str, int]]:
    for _ in range(rng.randrange(3)):
        offer, channel = rng.choice(("one", "two", "three")), rng.choice(("in_app", "email"))
        age_ms = rng.randrange(1, 40) * HOUR_MS
        yield ("person", offer, channel, age_ms)
        yield ("account", offer, channel, age_ms)


def all_singles(brain: Brain, record: DecisionRecord, candidate: str, every_hours: int) -> list[dict[str, Any]]:
    """Every single change there is to try, as plain data: kind, and what it sets."""
    which = brain.by_id[candidate]
    found: list[dict[str, Any]] = [
        {"kind": "fact", "name": name, "value": value} for name, values in VALUES.items() for value in values
    ]
    found += [{"kind": "fact", "name": "account_known", "value": value} for value in (True, False)]
    found += [{"kind": "consent", "channel": which.channel.channel, "status": one} for one in ("given", "refused")]
    if which.channel.channel in brain.moments[record.asked.moment].channels:
        found.append({"kind": "channel", "channel": which.channel.channel})
    contacts = sorted({one[1:] for one in record.seen.contacts})
    hours = [*range(-48, 73, every_hours), -31, -30, -10, -9, 4, 5, 20, 30, 31]
    hours += [hour - record.seen.local_minute // 60 + days for hour in (0, 8, 9) for days in (-24, 0, 24, 48)]
    hours += [period - age_ms // HOUR_MS for _, _, age_ms in contacts for period in (24, 48)]
    found += [{"kind": "time", "at_ms": NOON_MS + hour * HOUR_MS} for hour in sorted(set(hours) - {0})]
    for size in range(1, len(contacts) + 1):
        found += [{"kind": "contacts", "gone": set(some)} for some in combinations(contacts, size)]
    found.append({"kind": "value", "amount": 1e6})
    if record.faults:
        found.append({"kind": "fault"})
    return found


class ByHand:
    """Applies changes to what was asked and seen, and asks who wins: written apart from the code that finds them."""

    def __init__(self, book: Playbook, brain: Brain) -> None:
        app = msgspec.structs.replace(
            brain.app, exploration=Exploration(method="off"), holdout=Holdout(share=0.0, salt="x")
        )
        self.book, self.brain = book, msgspec.structs.replace(brain, app=app)

    def wins(self, record: DecisionRecord, candidate: str, changes: list[dict[str, Any]]) -> bool:
        brain, asked, seen, faults = self.brain, record.asked, record.seen, record.faults
        features, context, consents = dict(seen.features), dict(asked.context), dict(seen.consents)
        channels, contacts, account, room = list(asked.channels), list(seen.contacts), seen.account, dict(seen.room)
        at_ms, minute, day = seen.at_ms, seen.local_minute, seen.local_day
        for one in changes:
            match one["kind"]:
                case "fact" if one["name"] == "account_known":
                    account = ("acme" if account is None else account) if one["value"] else None
                case "fact" if one["name"].startswith("context."):
                    context[one["name"].split(".", 1)[1]] = one["value"]
                case "fact":
                    features[one["name"]] = one["value"]
                case "consent":
                    consents[f"{brain.by_id[candidate].offer.purpose}/{one['channel']}"] = one["status"]
                case "channel":
                    channels.append(one["channel"])
                case "contacts":
                    contacts = [contact for contact in contacts if contact[1:] not in one["gone"]]
                case "room":
                    room = {name: left for name, left in room.items() if name.split("/")[0] != one["limit"]}
                case "fault":
                    faults = tuple(fault for fault in faults if fault.startswith("score:"))
                case "value":
                    brain = self._lifted(candidate, one["amount"])
        for one in changes:
            if one["kind"] == "time":
                later = one["at_ms"] - at_ms
                passed = minute + (at_ms % 60_000 + later) // 60_000
                minute, day = passed % 1440, (day + passed // 1440) % 7
                contacts = [(*contact[:3], contact[3] + later) for contact in contacts if contact[3] + later >= 0]
                at_ms = one["at_ms"]
        asked = msgspec.structs.replace(asked, channels=tuple(channels), context=context)
        seen = msgspec.structs.replace(
            seen, at_ms=at_ms, local_minute=minute, local_day=day, features=features, consents=consents,
            contacts=tuple(contacts), account=account, room=room,
        )  # fmt: skip
        return won(run(brain, asked, seen, record.id, Still(faults))) == candidate

    def _lifted(self, candidate: str, amount: float) -> Brain:
        """A release with one more policy: this candidate is worth so much more."""
        offer, _, channel = candidate.partition("@")
        more = Policy(id="lifted", effect="adjust", class_="commercial", reason="r", owner="t", adjust=f"{amount!r}",
                      when=f"offer.id == '{offer}' && channel.id == '{channel}'")  # fmt: skip
        old = self.brain.policies
        return msgspec.structs.replace(
            self.brain, policies=compile_policies((*old.policies, more), old.variables, old.table)
        )


def won(result: Result) -> str:
    return f"{result.offer}@{result.channel}"
