"""Several models in one release: what each of them says decides, is recorded, explained and replayed to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from small import ask, card, consenting, kept, playbook, question, region_of, say

from opportune.core.decisions.audiences import words
from opportune.core.decisions.changes import Fact
from opportune.core.decisions.explain import why_not
from opportune.core.decisions.flips import Flips
from opportune.core.models import EVERY_OFFER, AdditiveHead, Form, ModelError, OfferHeads, Scorecard, card_hash
from opportune.core.playbook import Arbitration, ModelSpec, Playbook, Target
from opportune.core.policies import Policy
from opportune.flows.region import Region

LEAVING = ModelSpec(model="leaving", target="churn_risk", owner="tests", features=("used",))
STAYS = Policy(
    id="stays", effect="forbid", class_="commercial", when="score.churn_risk > 0.5", owner="tests",
    reason="may leave with a chance of {score.churn_risk}",
)  # fmt: skip


def further(target: Target, offers: dict[str, float], form: Form = "chance") -> Scorecard:
    """A card that says a number by offer (`base`), and more of it the less is used."""
    small = card()
    table = small.features[0]
    flat = AdditiveHead(0.0, ((0.0,) * table.bin_count,))
    heads = tuple(
        OfferHeads(offer, AdditiveHead(base, ((0.0, 1.0, 0.0, -1.0),)), flat, flat, 1, 1, 1, 1)
        for offer, base in offers.items()
    )
    return msgspec.structs.replace(small, model=f"the-{target}", target=target, form=form, offers=heads)


changed = msgspec.structs.replace
LEAVES = further("churn_risk", {EVERY_OFFER: 0.0})


@contextmanager
def at_work(
    folder: Path, *cards: Scorecard, policies: tuple[Policy, ...] = (), method: str = "value", fatigue: float = 0.0
) -> Iterator[Region]:
    book = playbook(limits=())
    app = msgspec.structs.replace(book.app, arbitration=Arbitration(method=method))  # type: ignore[arg-type]  # a method
    channels = tuple(msgspec.structs.replace(one, fatigue_cost=fatigue) for one in book.channels)
    book = msgspec.structs.replace(
        book, app=app, channels=channels, policies=(*book.policies, *policies), models=(LEAVING,)
    )
    with region_of(folder, book, cards=cards) as region:
        yield region


def decided(region: Region, used: int) -> str:
    customer = f"used-{used}"
    consenting(region, customer)
    say(region, "usage.recorded", customer, count=used)
    return ask(region, question(customer)).result(30).decision_id


def test_a_policy_reads_the_chance_that_the_customer_leaves(tmp_path: Path) -> None:
    with at_work(tmp_path, card(), LEAVES, policies=(STAYS,)) as region:
        _, little = kept(region, decided(region, 1))
        _, much = kept(region, decided(region, 80))
        assert little.result.reason == "NOT_ELIGIBLE"
        assert much.result.offer is not None
        assert little.result.further is not None
        assert little.result.further.customer == {"score.churn_risk": 0.731058579}
        assert little.result.further.models == {"churn_risk": f"the-churn_risk@{card_hash(LEAVES)[:12]}"}
        brain = region.releases.brain()
        assert "may leave with a chance of 0.73" in {one.reason for one in why_not(brain, little)}
        assert "Also asked: churn_risk by the-churn_risk@" in words(brain, little).auditor


def test_a_flip_changes_what_the_model_reads_not_what_it_says(tmp_path: Path) -> None:
    with at_work(tmp_path, card(), LEAVES, policies=(STAYS,)) as region:
        _, record = kept(region, decided(region, 1))
        found = Flips(region.releases.brain()).of(record, "seats@in_app")
        assert found.changes == (Fact("used", 5),)
        assert found.verified


def test_without_its_model_a_score_is_missing(tmp_path: Path) -> None:
    with at_work(tmp_path, card(), policies=(STAYS,)) as region:
        _, record = kept(region, decided(region, 1))
        assert record.result.offer is not None
        assert [policy for policy, _, names in record.result.skipped if "score.churn_risk" in names] == ["stays"]


def test_what_an_acceptance_brings_takes_the_place_of_the_margin(tmp_path: Path) -> None:
    money = further("value", {"addon": 7.0}, "amount")
    with at_work(tmp_path / "with", card(), money) as region:
        _, record = kept(region, decided(region, 20))
        assert record.result.offer == "addon"
        assert record.result.further is not None
        assert record.result.further.money == (None, 1096.633158428)
        scored = record.result.scored
        assert scored.values[1] == pytest.approx(scored.uplift[1] * 1096.633158428 - 1.0, abs=1e-4)
        assert scored.values[0] == pytest.approx(scored.uplift[0] * 500.0 - 1.0, abs=1e-4)
    with at_work(tmp_path / "without", card()) as region:
        assert kept(region, decided(region, 20))[1].result.offer == "seats"


def test_acceptance_is_weighed_where_acceptance_decides(tmp_path: Path) -> None:
    accepts = further("acceptance", {"seats": -4.0, "addon": 2.0})
    with at_work(tmp_path, card(), accepts, method="pcvl") as region:
        _, record = kept(region, decided(region, 20))
        assert record.result.offer == "addon"
        assert record.result.scored.p_accept == (0.01798621, 0.880797078)


def test_a_contact_costs_more_for_who_is_easily_annoyed(tmp_path: Path) -> None:
    annoyed = further("fatigue", {"seats": -1.0, "addon": -1.0})
    with at_work(tmp_path, card(), annoyed, fatigue=10.0) as region:
        _, easily = kept(region, decided(region, 1))
        _, hardly = kept(region, decided(region, 80))
        assert easily.result.further is not None
        assert hardly.result.further is not None
        assert easily.result.further.tiring == (1.859141, 1.859141)
        assert hardly.result.further.tiring == (0.44323, 0.44323)
        for first, more in ((easily, 1.859141), (hardly, 0.44323)):
            again = ask(region, question(first.asked.customer)).result(30).decision_id
            _, second = kept(region, again)  # the first contact is a day's: another one costs more
            before, after = first.result.scored.values[0], second.result.scored.values[0]
            assert after == pytest.approx(before - 10.0 * more, abs=2e-4)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ((card(), changed(card(), model="two")), "`small` and `two` both predict uplift for `seats`"),
        ((LEAVES, changed(LEAVES, model="two")), r"both predict churn_risk for `\*`"),
        ((changed(card(), target="luck"),), "model `small` predicts `luck`: served are uplift, acceptance"),
        ((changed(card(), target="value"),), "in the form `odds`, which must be amount: train it again"),
    ],
)
def test_models_that_cannot_be_served_together_do_not_compile(
    tmp_path: Path, cards: tuple[Scorecard, ...], message: str
) -> None:
    with region_of(tmp_path) as region, pytest.raises(ModelError, match=message):
        region.release(with_models(), cards)


def with_models() -> Playbook:
    return playbook(limits=())
