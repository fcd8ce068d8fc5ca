"""What a playbook can never do: each finding at its field, and none that the shortlist contradicts."""

from __future__ import annotations

import itertools
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from opportune.adapters.playbook.examine import Examined, examine
from opportune.core.catalog import Channel, Moment, Offer, Price, Prior, Treatment
from opportune.core.decisions.records import Asked, Seen
from opportune.core.decisions.shortlist import shortlist
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.playbook import App, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.reach import unreachable
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import SignalContract, parse_time_ms

pytestmark = pytest.mark.slow

SAAS = Path(__file__).parents[3] / "samples/saas"


def changed(folder: Path, *edits: tuple[str, str, str], at: str | None = None) -> Examined:
    """The sample with some text replaced; an empty text stands for a new file."""
    shutil.copytree(SAAS, folder, dirs_exist_ok=True)
    for name, old, new in edits:
        file = folder / name
        text = file.read_text() if file.exists() else ""
        assert old in text
        file.write_text(text.replace(old, new, 1) if old else new)
    found = examine(folder, None if at is None else parse_time_ms(at))
    assert found.problems == ()
    return found


GUARD, COMMERCIAL, PLANS, CHANNELS = (
    "policies/guard.yaml", "policies/commercial.yaml", "offers/plans.yaml", "channels/channels.yaml"
)  # fmt: skip
URGENT, MEMBER = "open_urgent_tickets > 0", "role == 'member' && channel.kind != 'agent'"
FOUND: list[tuple[str, str, str, str]] = [
    (GUARD, URGENT, "open_urgent_tickets > 3 && open_urgent_tickets < 3",
     "policies/guard.yaml: `open_urgent_tickets > 3` and `open_urgent_tickets < 3` are never true together"),
    (GUARD, "offers_declined_30d >= 2", "offers_declined_30d < 0",
     "`offers_declined_30d < 0` is never true: `offers_declined_30d` is 0 or more"),
    (GUARD, URGENT, "open_urgent_tickets > 0 && moment.id != 'page.pricing_vewed'",
     "policies/guard.yaml: `moment.id` is never `page.pricing_vewed`; did you mean `page.pricing_viewed`?"),
    (GUARD, URGENT, "context.days_left < 3 && context.page == 'x'", "never true together at any moment"),
    (GUARD, URGENT, "offer.kind == 'seats' && offer.risk == 'high'", "are never true together: no offer of the play"),
    (GUARD, "consent.status != 'given'", "consent.status != 'granted'", "this forbids every offer to everybody"),
    (GUARD, MEMBER, "offer.risk == 'high'", "no customer can get this offer: `suitability.member_cannot_buy` always"),
    (GUARD, MEMBER, "offer.risk == 'high'", "nobody will ever be asked: what it hits is always forbidden by "
     "`suitability.member_cannot_buy` under the very same condition"),
    (GUARD, MEMBER, "channel.kind == 'pull'", "channels/channels.yaml: nothing is ever shown in this channel: `s"),
    (GUARD, MEMBER, "channel.kind == 'pull'", "this permit never lets anything through: what it hits is always forbid"),
    (GUARD, MEMBER, "channel.kind == 'pull'", "opportune.yaml: nothing can ever be offered at this moment"),
    (GUARD, MEMBER, "offer.id == 'seats_10' && channel.kind == 'push'", "offers/seats.yaml: this is never shown: "
     "`suitability.member_cannot_buy` always forbids it"),
    (COMMERCIAL, "last_csat >= 3.0 && channel.kind", "last_csat >= 3.0 && channel.id", "no policy permits it"),
    (COMMERCIAL, "policies:\n", "policies:\n  - {id: f, effect: force, class: commercial, reason: r, owner: o, "
     "when: \"consent.status == 'refused'\", tests: [{name: a, expect: missing}]}\n",
     "this override never wins: what it hits is always forbidden by `consent.marketing`, which nothing overrides"),
    (PLANS, "plan == 'team' && seats >= 5", "plan == 'teams'",
     "`plan == 'teams'` is never true: `plan` is one of `team`, `business`, `enterprise`, by"),
    (PLANS, "plan == 'team' && seats >= 5", "seats >= 5 && seats < 4", "and `seats < 4` are never true together"),
    ("opportune.yaml", "channels: [agent_desk]", "channels: [in_app]", "nobody:nothing"),
    (CHANNELS, "per: 7d, reason: one", "per: 1d, reason: one", "nobody:nothing"),
    (CHANNELS, "limit: account_weekly, at_most: 3, per: 7d, of: account",
     "limit: second, at_most: 9, per: 7d",
     "note:channels/channels.yaml: this limit never holds anything back: `email/weekly` allows no more than 1"),
    (GUARD, MEMBER, "open_urgent_tickets > 2",
     "note:policies/guard.yaml: `suitability.urgent_ticket` already forbids everything this forb"),
    ("policies/looks.csv", "", "owner: o\nclass: commercial\neffect: require_review\nreason: r\nF,seats,plan\n"
     ",>= 5,\n,>= 10,team\n,,team\n", "policies/looks.csv: this row is never reached: row `1` above covers it"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "expected"), FOUND)
def test_a_finding_is_at_its_field(file: str, old: str, new: str, expected: str, tmp_path: Path) -> None:
    """Without the lines: those of the sample may move."""
    found = changed(tmp_path, (file, old, new))
    told = [re.sub(r":\d+:\d+:", ":", str(one)) for one in found.warnings]
    told += [re.sub(r":\d+:\d+:", ":", f"note:{one}") for one in found.notes]
    if expected == "nobody:nothing":
        assert told == []
        return
    assert any(expected in one for one in told), told


def test_a_finding_is_at_the_part_that_is_wrong(tmp_path: Path) -> None:
    found = changed(tmp_path, (GUARD, URGENT, "open_urgent_tickets > 0 && moment.id != 'page.pricing_vewed'"))
    line = next(n for n, text in enumerate((SAAS / GUARD).read_text().splitlines(), 1) if URGENT in text)
    assert [str(one) for one in found.warnings] == [
        f"policies/guard.yaml:{line}:52: `moment.id` is never `page.pricing_vewed`; did you mean `page.pricing_viewed`?"
    ]


def test_what_is_over_is_told_for_a_date_only(tmp_path: Path) -> None:
    old = (
        PLANS,
        "    requires: \"plan == 'team'",
        '    valid_to: "2026-01-31T00:00:00Z"\n    requires: "plan == \'team\'',
    )
    assert changed(tmp_path / "a", old).warnings == ()
    (offer,) = changed(tmp_path / "b", old, at="2026-06-01T00:00:00Z").warnings
    assert "no customer can get this offer: it is not valid any more" in str(offer)
    assert offer.path == "offers.plan_business.valid_to"
    (rule,) = changed(tmp_path / "c", at="2027-06-01T00:00:00Z").warnings
    assert str(rule).startswith("policies/commercial.yaml:")
    assert "this is never valid at the time that is looked at" in rule.message


def test_a_channel_that_no_moment_asks_in_is_told_once(tmp_path: Path) -> None:
    found = changed(
        tmp_path, ("opportune.yaml", "channels: [agent_desk]", "channels: [in_app]"),
        ("opportune.yaml", "[email, agent_desk]", "[email]"),
    )  # fmt: skip
    told = [one for one in found.warnings if one.file.startswith(("channels", "offers"))]
    assert [str(one).partition(": ")[2] for one in told] == [
        "nothing is ever shown in this channel: no moment asks in it. Add it to one, or remove its treatments"
    ]


def test_the_sample_has_nothing_to_find(tmp_path: Path) -> None:
    found = changed(tmp_path)
    assert (found.warnings, found.notes) == ((), ())


# --- over all values, against the shortlist --------------------------------------------------------------------------

ATOMS = [
    "used > 2", "used < 1", "used == 0", "plan == 'team'", "plan == 'pro'", "plan != 'team'", "has(plan)",
    "offer.id == 'a'", "offer.kind == 'x'", "offer.size > 5", "channel.id == 'web'", "channel.kind == 'push'",
    "moment.id == 'one'", "moment.id != 'one'", "context.page == 'p'", "consent.status == 'given'",
    "consent.status != 'given'", "true", "used < 0", "plan == 'gold'", "offer.size > used", "account_known",
]  # fmt: skip
STATUSES = ("given", "refused", "unknown")


def text(chance: random.Random, depth: int = 2) -> str:
    form = chance.randrange(5) if depth else 0
    if form <= 1:
        return chance.choice(ATOMS)
    parts = [text(chance, depth - 1) for _ in range(2)]
    return f"!({parts[0]})" if form == 4 else f"({(' && ' if form == 2 else ' || ').join(parts)})"


def playbook_of(chance: random.Random) -> Playbook:
    def rule(number: int) -> Policy:
        effect: Any = chance.choice(["permit", "permit", "forbid", "forbid", "force", "require_review"])
        kind: Any = chance.choice(["legal", "suitability", "commercial"])
        return Policy(id=f"p{number}", effect=effect, class_=kind, when=text(chance), reason="r", owner="o")

    offers = [
        Offer(
            offer=name, title=name, kind=kind, price=Price(amount=1), margin=1.0, owner="o",
            treatments={one: Treatment(headline="h") for one in chance.sample(["web", "mail"], chance.randint(1, 2))},
            prior=Prior(p_accept=0.1, uplift=0.1), attributes={} if name == "c" else {"size": size},
            requires=chance.choice(["true", text(chance, 1).replace("consent.status", "plan")]),
        )
        for name, kind, size in (("a", "x", 10), ("b", "y", 0), ("c", "x", 0))
    ]  # fmt: skip
    plan = {"type": "string", "enum": ["team", "pro"]}
    return Playbook(
        app=App(
            project="t", holdout=Holdout(share=0.0, salt="s"), offer_attributes={"size": "int"},
            moments=(
                Moment(moment="one", title="o", channels=("web",), context={"page": "string"}),
                Moment(moment="two", title="t", channels=("web", "mail")),
            ),
        ),
        offers=tuple(offers),
        channels=(Channel(channel="web", title="w", kind="pull"), Channel(channel="mail", title="m", kind="push")),
        views=(
            FeatureView(
                view="v", version=1, entity="person", owner="o", purposes=("marketing",),
                features=(
                    FeatureSpec(id="used", sources="s", aggregate="count", type="int"),
                    FeatureSpec(id="plan", sources="s", value="data.plan", aggregate="last", type="string"),
                ),
            ),
        ),
        policies=tuple(rule(number) for number in range(chance.randint(2, 4))),
        contracts=(SignalContract(signal="s", owner="o", schema={"type": "object", "properties": {"plan": plan}}),),
    )  # fmt: skip


def reached_in(playbook: Playbook) -> set[tuple[str, str]]:
    """(moment, candidate) pairs that the shortlist leaves for some values."""
    brain = compile_release(encode_manifest(playbook)).brain
    found: set[tuple[str, str]] = set()
    for moment, used, plan, status, account in itertools.product(
        playbook.app.moments, (None, 0, 1, 2, 3, 9, 11), (None, "team", "pro"), STATUSES, (None, "acme")
    ):
        for page in (None, "p", "q") if moment.context else (None,):
            asked = Asked("x", moment.moment, moment.channels, {} if page is None else {"page": page})
            consents = {f"marketing/{one}": status for one in ("web", "mail")}
            seen = Seen(0, account, account or "x", {"used": used, "plan": plan}, {}, consents)
            left = shortlist(brain, asked, seen).left
            found |= {(moment.moment, one.id) for one in brain.candidates if left >> one.index & 1}
    return found


@pytest.mark.parametrize(("seed", "rounds"), [(1, 8), (2, 8), pytest.param(9, 300, marks=pytest.mark.torture)])
def test_no_claim_about_offers_and_moments_is_false(seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    claimed = unreached = 0
    for _ in range(rounds):
        playbook = playbook_of(chance)
        views = compile_release(encode_manifest(playbook)).views
        reached = reached_in(playbook)
        candidates = {one for _, one in reached}
        for one in unreachable(playbook, views):
            if one.collection == "moments":
                assert one.document not in {moment for moment, _ in reached}, (one, playbook.policies)
            elif one.collection == "channels":
                assert not any(id_.endswith(f"@{one.document}") for id_ in candidates), (one, playbook.policies)
            elif one.collection == "offers" and "can get this offer" in one.message:
                assert not any(id_.startswith(f"{one.document}@") for id_ in candidates), (one, playbook.policies)
            elif one.collection == "offers" and one.path[0] == "treatments":
                assert f"{one.document}@{one.path[1]}" not in candidates, (one, playbook.policies)
            else:
                continue
            claimed += 1
        unreached += sum(not any(id_.startswith(f"{offer.offer}@") for id_ in candidates) for offer in playbook.offers)
    print(f"\nseed {seed}: {claimed} claims, all true; {unreached} offers that nobody can get")
    assert claimed
