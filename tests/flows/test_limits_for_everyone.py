"""Volumes and budgets that everybody shares: reserved with the decision, never exceeded, and given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from small import DAY_MS, MINUTE_MS, ask, busy_writer, consenting, kept, playbook, question, region_of
from test_withdrawal_race import WatchedCourier, sending_playbook

from opportune.core.catalog import Limit, QuietHours
from opportune.core.contacts import settled, used_at
from opportune.core.decisions.answers import Answer
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft, parse_time_ms
from opportune.flows.region import Region
from opportune.ports import Transaction
from opportune.testing.clock import FrozenClock
from opportune.views.limits import Used, limits_now

TTL_MS = 15 * MINUTE_MS
PEOPLE = ("ada", "bob", "cy", "dan", "eve")
STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])
TWO = Limit(limit="two", at_most=2, per="1d", of="everyone", reason="two a day for the whole company")
BUDGET = Limit(limit="money", amount=2.5, per="1d", of="everyone", reason="the month's money is spent")


def shared(*limits: Limit, book: Playbook | None = None) -> Playbook:
    book = book or playbook(limits=())
    return replace(book, app=replace(book.app, limits=limits))


def used(region: Region, limit: str = "limits.two") -> int:
    tally = region.records.tally(limit)
    return 0 if tally is None else used_at(tally, tally.per_ms, region.clock.now_ms())


def answers(region: Region, *people: str, **more: Any) -> list[str]:
    return [region.decide.run(question(who, **more)).reason for who in people]


@STORES
def test_the_last_place_goes_once_and_the_others_are_told_why(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, shared(TWO), kind=store) as region:
        consenting(region, *PEOPLE)
        found = [region.decide.run(question(who)) for who in PEOPLE[:3]]
        assert [one.reason for one in found] == ["OFFERED", "OFFERED", "VOLUME_LIMIT"]
        assert [(rule.id, rule.stage, rule.reason) for rule in found[2].policies] == [
            ("limits.two", "volume_limit",
             "two a day for the whole company (at most 2 per 1 day for everyone together)"),
        ]  # fmt: skip
        assert [kept(region, one.decision_id)[1].seen.room for one in found] == [
            {"limits.two": 2.0}, {"limits.two": 1.0}, {"limits.two": 0.0},
        ]  # fmt: skip


@STORES
def test_many_at_once_share_what_is_left(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, shared(TWO, BUDGET), kind=store) as region:
        consenting(region, *PEOPLE)
        with busy_writer(region):
            under_way = [ask(region, question(who)) for who in PEOPLE]  # all of them saw two places
        found = [one.result(60) for one in under_way]
        assert [one.reason for one in found] == ["OFFERED", "OFFERED", *["VOLUME_LIMIT"] * 3]
        assert (used(region), used(region, "limits.money:money")) == (2, 2_000_000)
        for one in found:
            kept(region, one.decision_id)


def test_a_budget_is_spent_by_what_contacts_cost(tmp_path: Path) -> None:
    with region_of(tmp_path, shared(BUDGET)) as region:  # each offer costs 1.0
        consenting(region, *PEOPLE)
        found = [region.decide.run(question(who)) for who in PEOPLE[:3]]
        assert [one.reason for one in found] == ["OFFERED", "OFFERED", "BUDGET_SPENT"]
        assert "the month's money is spent (at most 2.50 EUR per 1 day" in found[2].explanation["agent"]
        assert kept(region, found[2].decision_id)[1].seen.room == {"limits.money": 0.5}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_what_nobody_delivers_comes_back(tmp_path: Path, store: str) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, shared(TWO, BUDGET), clock=clock, kind=store) as region:
        consenting(region, *PEOPLE)
        first = region.decide.run(question("ada"))
        assert answers(region, "bob", "cy") == ["OFFERED", "VOLUME_LIMIT"]
        region.act.run([OutcomePost("undeliverable", decision=first.decision_id)])
        assert (used(region), used(region, "limits.money:money")) == (1, 1_000_000)
        assert answers(region, "cy", "dan") == ["OFFERED", "VOLUME_LIMIT"]
        clock.at_ms += TTL_MS - 1
        assert answers(region, "dan") == ["VOLUME_LIMIT"]
        clock.at_ms += 1 + TTL_MS // 32  # the reservation is over, to a 32nd of the grant's life
        assert (used(region), used(region, "limits.money:money")) == (0, 0)
        assert answers(region, "dan", "eve", "ada") == ["OFFERED", "OFFERED", "VOLUME_LIMIT"]


def test_what_was_delivered_counts_for_the_whole_period(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, shared(TWO), clock=clock) as region:
        consenting(region, *PEOPLE)
        made = [region.decide.run(question(who)) for who in PEOPLE[:2]]
        clock.at_ms += TTL_MS - 1
        region.act.run([OutcomePost("delivered", decision=one.decision_id) for one in made])
        region.act.run([OutcomePost("seen", decision=one.decision_id) for one in made])
        assert used(region) == 2
        clock.at_ms += DAY_MS - 1
        assert answers(region, "cy") == ["VOLUME_LIMIT"]
        clock.at_ms += 1 + DAY_MS // 64
        assert answers(region, "cy", "dan", "eve") == ["OFFERED", "OFFERED", "VOLUME_LIMIT"]


def test_a_delivery_that_is_told_late_counts_all_the_same(tmp_path: Path) -> None:
    clock = FrozenClock()
    one_a_day = Limit(limit="daily", at_most=1, per="1d")
    with region_of(tmp_path, shared(TWO, one_a_day), clock=clock) as region:
        consenting(region, *PEOPLE)
        first = region.decide.run(question("ada"))
        clock.at_ms += 2 * TTL_MS
        assert used(region) == 0
        region.act.run([OutcomePost("delivered", decision=first.decision_id)])
        assert used(region) == 1
        assert answers(region, "ada", "bob", "cy") == ["CONTACT_LIMIT", "OFFERED", "VOLUME_LIMIT"]


def test_each_offer_of_a_slate_takes_its_own_place_and_its_outcome_settles_it(tmp_path: Path) -> None:
    book = shared(TWO)
    book = replace(book, app=replace(book.app, arbitration=replace(book.app.arbitration, same_kind_max=3)))
    with region_of(tmp_path, book) as region:
        consenting(region, *PEOPLE)
        both = region.decide.run(question("ada", limit=3))
        assert [both.offer and both.offer.id, *[one.offer.id for one in both.slate]] == ["seats", "addon"]
        assert used(region) == 2
        region.act.run([OutcomePost("delivered", decision=both.decision_id)])
        region.act.run([OutcomePost("undeliverable", decision=both.decision_id, offer="addon")])
        assert used(region) == 1
        # One place is left, and two offers would be welcome.
        second = region.decide.run(question("bob", limit=3))
        assert (second.disposition, second.slate, used(region)) == ("offered", (), 2)
        assert kept(region, second.decision_id)[1].seen.room == {"limits.two": 1.0}


def test_each_offer_counts_for_itself_where_the_limit_says_so(tmp_path: Path) -> None:
    each = Limit(limit="each", at_most=1, per="1d", of="everyone", count="offer")
    with region_of(tmp_path, shared(each)) as region:
        consenting(region, *PEOPLE)
        found = [region.decide.run(question(who)) for who in PEOPLE[:3]]
        assert [one.offer and one.offer.id for one in found] == ["seats", "addon", None]
        assert found[2].reason == "VOLUME_LIMIT"
        assert kept(region, found[1].decision_id)[1].seen.room == {"limits.each/seats": 0.0, "limits.each/addon": 1.0}


def test_what_offers_nothing_takes_nothing(tmp_path: Path) -> None:
    with region_of(tmp_path, replace(shared(TWO), app=replace(shared(TWO).app, holdout=replace(
        shared(TWO).app.holdout, share=1.0)))) as region:  # fmt: skip
        consenting(region, "ada")
        assert region.decide.run(question()).disposition == "held_out"
        region.decide.preview(question())
        assert region.records.tally("limits.two") is None


def test_a_merge_neither_loses_nor_doubles_what_is_held(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, shared(replace(TWO, at_most=5)), clock=clock) as region:
        consenting(region, *PEOPLE)
        made = {who: region.decide.run(question(who)) for who in ("ada", "bob", "cy")}
        clock.at_ms += 1
        merge = region.merging.merge("ada", "bob", "tests", "the same")
        region.act.run([OutcomePost("delivered", decision=made["bob"].decision_id)])
        assert used(region) == 3
        clock.at_ms += 1
        region.merging.unmerge(merge.id, "tests", "two after all")
        # Each copy of a contact counts for its person; what it held belongs to whom it was decided for.
        region.act.run([OutcomePost("undeliverable", decision=made["ada"].decision_id)])
        assert used(region) == 2
        clock.at_ms += 1
        region.merging.merge("ada", "bob", "tests", "the same after all")
        region.act.run([OutcomePost("seen", decision=made["bob"].decision_id)])
        assert used(region) == 2
        clock.at_ms += 2 * TTL_MS  # only what was delivered is left
        assert used(region) == 1


def test_a_merge_keeps_every_offer_of_a_slate(tmp_path: Path) -> None:
    clock = FrozenClock()
    book = shared(replace(TWO, at_most=5))
    book = replace(book, app=replace(book.app, arbitration=replace(book.app.arbitration, same_kind_max=3)))
    with region_of(tmp_path, book, clock=clock) as region:
        consenting(region, *PEOPLE)
        both = region.decide.run(question("bob", limit=2))
        region.merging.merge("ada", "bob", "tests", "the same")
        person = region.records.person("ada")
        assert person is not None
        assert [one.offer for one in person.contacts] == ["addon", "seats"]
        posts = [OutcomePost("delivered", decision=both.decision_id, offer=name) for name in ("seats", "addon")]
        region.act.run(posts)
        clock.at_ms += 2 * TTL_MS
        assert used(region) == 2


def test_a_decision_that_waited_too_long_is_made_again(tmp_path: Path) -> None:
    """What its counters knew of its own time is forgotten meanwhile: they cannot say whether there was room."""
    clock = FrozenClock()
    hourly = Limit(limit="two", at_most=2, per="1h", of="everyone")
    with region_of(tmp_path, shared(hourly), clock=clock) as region:
        consenting(region, *PEOPLE)
        region.act.run([OutcomePost("delivered", decision=region.decide.run(question("ada")).decision_id)])
        before = region.records.tally("limits.two")
        assert before is not None
        ((gone_ms, _),) = before.spent
        seen_ms, later_ms = gone_ms - 1_000, gone_ms + 6_000

        def others(tx: Transaction) -> None:
            tally = tx.tally("limits.two")
            assert tally is not None
            tx.put_tally(settled(tally, 0, 0, later_ms, None))

        clock.at_ms = seen_ms
        with busy_writer(region):
            under_way = [ask(region, question("bob"))]
            region.records.submit(others, lambda _: None)
            under_way.append(ask(region, question("cy", budget_ms=10_000)))
            clock.at_ms = later_ms
        found = [one.result(60) for one in under_way]
        assert [one.reason for one in found] == ["OFFERED", "OFFERED"]
        assert [kept(region, one.decision_id)[1].seen.at_ms for one in found] == [seen_ms, later_ms]


def test_two_again_and_then_delivered_counts_once(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, shared(TWO), clock=clock) as region:
        consenting(region, *PEOPLE)
        region.merging.merge("ada", "bob", "tests", "the same")
        made = region.decide.run(question("bob"))
        (merge,) = region.records.merges_of("bob")
        region.merging.unmerge(merge.id, "tests", "two")
        clock.at_ms += 1
        region.merging.merge("ada", "bob", "tests", "one again")
        region.act.run([OutcomePost("delivered", decision=made.decision_id)])
        clock.at_ms += 2 * TTL_MS
        assert used(region) == 1


def test_whoever_is_erased_leaves_the_count_as_it_was(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, shared(TWO), clock=clock, kind="sqlite") as region:
        consenting(region, *PEOPLE)
        first, _ = [region.decide.run(question(who)) for who in ("ada", "bob")]
        region.act.run([OutcomePost("delivered", decision=first.decision_id)])
        region.records.erase(["ada", "bob"])
        assert used(region) == 2
        clock.at_ms += 2 * TTL_MS
        assert used(region) == 1


def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    with region_of(tmp_path, shared(TWO), kind="sqlite") as region:
        consenting(region, *PEOPLE)
        assert answers(region, "ada", "bob") == ["OFFERED", "OFFERED"]
    with region_of(tmp_path, kind="sqlite") as region:
        assert (used(region), answers(region, "cy")) == (2, ["VOLUME_LIMIT"])


def test_what_is_used_and_left_can_be_seen(tmp_path: Path) -> None:
    each = Limit(limit="each", at_most=7, per="1d", of="everyone", count="offer", owner="ops")
    own = Limit(limit="own", at_most=4, per="1d", kinds=("addon",), channels=("in_app",))
    with region_of(tmp_path, shared(BUDGET, each, own)) as region:
        consenting(region, *PEOPLE)
        first, _ = [region.decide.run(question(who)) for who in PEOPLE[:2]]
        region.act.run([OutcomePost("delivered", decision=first.decision_id)])
        found = limits_now(region.records, region.releases.live().brain, region.clock.now_ms())
        assert [(one.limit, one.group, one.offer, one.at_most, one.used) for one in found] == [
            ("limits.own", "in_app · addon", None, 4, None),
            ("limits.money", "everything", None, 2.5, Used(1.0, 1.0, 0.5)),
            ("limits.each", "everything", "seats", 7, Used(1, 1, 5)),
            ("limits.each", "everything", "addon", 7, Used(0, 0, 7)),
        ]  # fmt: skip
        assert [(one.currency, one.owner) for one in found[1:3]] == [("EUR", ""), (None, "ops")]


# The way out


def mail(*limits: Limit, quiet: QuietHours | None = None) -> Playbook:
    book = shared(*limits, book=sending_playbook())
    channels = tuple(
        replace(one, quiet_hours=quiet, grant_ttl="12h") if one.channel == "email" else one for one in book.channels
    )
    return replace(book, channels=channels)


def addressed(region: Region, who: str, **traits: object) -> None:
    region.ingest.run(
        [
            Draft("tests", region.clock.new_id(), "person.updated", subject=who,
                  data={"email": f"{who}@example.com", **traits}),
            Draft("tests", region.clock.new_id(), "consent.given", subject=who,
                  data={"purpose": "marketing", "channels": ["*"]}),
        ]
    )  # fmt: skip


def test_a_message_does_not_stand_in_its_own_way(tmp_path: Path) -> None:
    one = Limit(limit="two", at_most=1, per="1d", of="everyone")
    own = Limit(limit="own", at_most=1, per="1d")
    money = Limit(limit="money", amount=1.0, per="1d", of="everyone")
    courier = WatchedCourier()
    with region_of(tmp_path, mail(one, own, money), couriers={"email": courier}) as region:
        addressed(region, "ada")
        answer = region.decide.run(question("ada", "renewal"))
        assert (answer.reason, answer.delivery) == ("OFFERED", "outbox")
        region.send.step()
        assert courier.events == [("left", "ada")]
        tally = region.records.tally("limits.two")
        assert tally is not None
        assert (tally.held, [units for _, units in tally.spent]) == ((), [1])


@pytest.mark.parametrize("tighter", [
    lambda: Limit(limit="none", at_most=1, per="1d", of="everyone", channels=("email",)),
    lambda: Limit(limit="cheap", amount=0.5, per="1d", of="everyone"),
])  # fmt: skip
def test_limits_of_the_live_release_are_asked_again_before_it_leaves(
    tmp_path: Path, tighter: Callable[[], Limit]
) -> None:
    courier = WatchedCourier()
    with region_of(tmp_path, mail(), couriers={"email": courier}) as region:
        addressed(region, "ada")
        addressed(region, "bob")
        waiting = region.decide.run(question("ada", "renewal"))
        region.promote(region.release(mail(tighter())).hash, "tests", "tighter")
        region.decide.run(question("bob", "renewal"))  # takes the one place there is, if it can
        region.send.step()
        action = region.records.run(lambda tx: tx.action(waiting.decision_id))
        assert action is not None
        assert (action.status, action.detail) in (("cancelled", "volume_limit"), ("cancelled", "budget"))
        assert ("left", "ada") not in courier.events
        person = region.records.person("ada")
        assert person is not None
        assert person.contacts[-1].state == "released"


def test_what_may_have_left_counts_as_delivered(tmp_path: Path) -> None:
    class Torn(WatchedCourier):
        def deliver(self, parcel: Any, may_go: Callable[[], bool]) -> Any:
            assert may_go()
            raise ConnectionError

    with region_of(tmp_path, mail(TWO), couriers={"email": Torn()}, clock=(clock := FrozenClock())) as region:
        addressed(region, "ada")
        region.decide.run(question("ada", "renewal"))
        region.send.step()
        person = region.records.person("ada")
        assert person is not None
        assert person.contacts[-1].state == "delivered"
        clock.at_ms += DAY_MS - 1
        assert used(region) == 1


def asked_at(region: Region, clock: FrozenClock, local: str) -> Answer:
    clock.at_ms = parse_time_ms(local)
    return region.decide.run(question("ada", "renewal"))


def test_nothing_outlives_into_quiet_hours(tmp_path: Path) -> None:
    """The night the clocks go back: 20:00 in Berlin is 18:00 UTC on the 24th, 19:00 on the 25th."""
    quiet = QuietHours(start="20:00", end="08:00")
    clock = FrozenClock(parse_time_ms("2026-10-24T16:30:00Z"))
    book = mail(quiet=quiet)
    book = replace(book, app=replace(book.app, timezone="Europe/Berlin"))
    with region_of(tmp_path, book, clock=clock) as region:
        addressed(region, "ada")
        evening = region.decide.run(question("ada", "renewal"))
        assert evening.expires_at == "2026-10-24T18:00:00.000Z"
        _, record = kept(region, evening.decision_id)
        assert record.seen.quiet_from == {"email": parse_time_ms("2026-10-24T18:00:00Z")}
        action = region.records.run(lambda tx: tx.action(evening.decision_id))
        person = region.records.person("ada")
        assert action is not None
        assert person is not None
        assert action.expires_ms == person.contacts[-1].expires_ms == record.seen.quiet_from["email"]
        assert asked_at(region, clock, "2026-10-24T18:00:00Z").reason == "QUIET_HOURS"
        morning = asked_at(region, clock, "2026-10-25T07:30:00Z")
        assert morning.expires_at == "2026-10-25T19:00:00.000Z"
        early = asked_at(region, clock, "2026-10-26T07:00:00Z")
        assert (early.expires_at, kept(region, early.decision_id)[1].seen.quiet_from) == (
            "2026-10-26T19:00:00.000Z", {},
        )  # fmt: skip


def test_a_message_that_waited_until_the_night_is_not_sent(tmp_path: Path) -> None:
    clock = FrozenClock(parse_time_ms("2026-11-24T18:59:00Z"))
    book = mail(quiet=QuietHours(start="20:00", end="08:00"))
    courier = WatchedCourier()
    with region_of(tmp_path, replace(book, app=replace(book.app, timezone="Europe/Berlin")), clock=clock,
                   couriers={"email": courier}) as region:  # fmt: skip
        addressed(region, "ada")
        waiting = region.decide.run(question("ada", "renewal"))
        clock.at_ms += MINUTE_MS
        region.send.step()
        action = region.records.run(lambda tx: tx.action(waiting.decision_id))
        assert action is not None
        assert (action.status, action.detail, courier.events) == ("cancelled", "expired", [])
