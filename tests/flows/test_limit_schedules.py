"""Deciding, presenting, merging, crashing and clocks that are set, in seeded orders: no limit and no quiet hour is
broken, told by what really passed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

import pytest
from counted import Cap, Contacted, Story, counts, late, over_in_any_window
from machines import EPOCH_MS, Machine
from msgspec.structs import replace
from schedules import Schedule, ScheduledRecords
from small import playbook, question

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.system.steady import Steady
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Channel, ContactLimit, Limit, QuietHours, Treatment
from opportune.core.contacts import limits
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.records import decode_record
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft, format_time, parse_time_ms
from opportune.flows import decide
from opportune.flows.identify import lives_on
from opportune.flows.merges import IdentityError
from opportune.flows.region import Region
from opportune.ports import Merge, StoreBroken

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

SEEDS = 300
SEEDS_LONG = 10_000
SEEDS_A_TOWN = 250
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
TTL_MS = 15 * MINUTE_MS
PEOPLE = ("p", "q", "r", "s")
DECISIONS_MAX = 60
"""Of one seed: three who ask six times at most."""

CAPS = (
    Cap("person, banner, hour", "person", 1, HOUR_MS, lambda offer, channel: channel == "in_app"),
    Cap("person, all, 3 hours", "person", 2, 3 * HOUR_MS),
    Cap("account, 2 hours", "account", 3, 2 * HOUR_MS),
    Cap("everyone, hour", "everyone", 4, HOUR_MS),
    Cap("everyone, money, 2 hours", "everyone", 6_000_000, 2 * HOUR_MS, units=lambda offer, channel: 1_000_000),
)


def scheduled_playbook() -> Playbook:
    """The same limits as CAPS, and a channel that is silent at night.

    Nothing is learned of outcomes: a seed's story would hang on those of the seeds before it in the same store.
    """
    book = playbook(limits=(ContactLimit(limit="hourly", at_most=1, per="1h"),), explore=True)
    night = QuietHours(start="20:00", end="08:00")
    text = Channel(channel="text", title="Text message", kind="push", quiet_hours=night)
    moments = tuple(replace(moment, channels=("in_app", "text")) for moment in book.app.moments)
    app = replace(
        book.app, moments=moments, arbitration=replace(book.app.arbitration, same_kind_max=2),
        adaptive=replace(book.app.adaptive, enabled=False),
        limits=(
            Limit(limit="all", at_most=2, per="3h"),
            Limit(limit="company", at_most=3, per="2h", of="account"),
            Limit(limit="volume", at_most=4, per="1h", of="everyone"),
            Limit(limit="budget", amount=6.0, per="2h", of="everyone"),
        ),
    )  # fmt: skip
    offers = tuple(
        replace(one, treatments={**one.treatments, "text": Treatment(headline=one.offer)}) for one in book.offers
    )
    return replace(book, app=app, channels=(*book.channels, text), offers=offers)


class CrashingRecords(ScheduledRecords):
    """At a crash what waits is gone, and nobody hears of what was just committed."""

    def __init__(self) -> None:
        super().__init__()
        self.life = 0

    def submit(self, work: Callable[..., object], done: Callable[..., None]) -> None:
        life = self.life

        def told(outcome: object) -> None:
            done(outcome if life == self.life else StoreBroken("the process is gone"))

        super().submit(work, told)

    def crash(self) -> None:
        self.life += 1
        waiting = list(self._queue)
        self._queue.clear()
        for _, done in waiting:
            done(StoreBroken("the process is gone"))


class Town:
    """One store for all seeds; each has people and an hour of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = Machine()
        self.records = CrashingRecords()
        self.vault = FileVault(folder / "keys")
        self.key = load_or_create_key(folder / "keys" / "ledger.key")
        self.region = self.opened()
        self.region.promote(self.region.release(scheduled_playbook()).hash, "tests", "first")

    def opened(self) -> Region:
        """A process over what is recorded; the time of the machine may be anything."""
        newest = self.records.decisions(1)
        clock = self.machine.seeded_clock(self.folder / "clock.json", newest[0].at_ms if newest else 0)
        return Region(
            name="eu", records=self.records, ledger=PublishedLedger(self.folder, "tests/eu", self.key, self.records),
            vault=self.vault, clock=clock, pulse=MemoryPulse(), under_way_max=10_000,
        )  # fmt: skip

    def restart(self) -> None:
        self.records.crash()
        releases = self.region.releases
        self.region = self.opened()
        # What is compiled is the same; compiling it again 10,000 times shows nothing.
        self.region.releases._compiled.update(releases._compiled)


class Evening:
    """What happens in one seed, and what really was when."""

    def __init__(self, town: Town, seed: int) -> None:
        self.town, self.seed = town, seed
        self.schedule = Schedule(seed)
        self.chance = self.schedule.random
        self.people = [f"{who}{seed}" for who in PEOPLE]
        self.presented: dict[tuple[str, str], int] = {}
        self.merges: list[Merge] = []
        self.steady = True
        self.left = 0

    def begin(self) -> None:
        machine, region = self.town.machine, self.town.region
        # Its time and its names are those of the seed, whatever ran before it.
        machine.true_ms, before_ms = EPOCH_MS + self.seed * 48 * HOUR_MS + self.seed % 24 * HOUR_MS, machine.true_ms
        assert machine.true_ms >= before_ms, "seeds run in order"
        machine.off_ms = 0
        machine.random.seed(self.seed)
        self.began_ms, self.began_leaf = machine.true_ms, self.town.records.leaf_count()
        region.ingest.run(
            [
                Draft("tests", region.clock.new_id(), "consent.given", format_time(region.clock.now_ms()), who,
                      f"a{self.seed}.{number % 2}", data={"channels": ["*"]})
                for number, who in enumerate(self.people)
            ]
        )  # fmt: skip

    def run(self) -> None:
        self.begin()
        records = self.town.records
        records.schedule = self.schedule
        actors = [self.asking, self.asking, self.asking, self.merging, self.setting_clocks, self.crashing]
        self.left = len(actors)
        try:
            self.schedule.run(*map(self.ended, actors), lambda: records.write(lambda: self.left == 0))
        finally:
            records.schedule = None

    def ended(self, actor: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            try:
                actor()
            finally:
                self.left -= 1

        return act

    def passing(self, most_ms: int) -> None:
        machine = self.town.machine
        machine.true_ms += self.chance.randrange(most_ms)
        self.steady = self.steady and abs(self.town.region.clock.now_ms() - machine.true_ms) <= 1_000
        self.schedule.point()

    def asking(self) -> None:
        for _ in range(self.chance.randint(2, 6)):
            self.passing(12 * MINUTE_MS)
            who = self.chance.choice(self.people)
            answers: list[object] = []
            self.town.region.decide.submit(question(who, limit=self.chance.choice((1, 2)), budget_ms=9_000),
                                           answers.append)  # fmt: skip
            while not answers:
                self.schedule.point()
            if isinstance(answers[0], Answer) and answers[0].disposition == "offered":
                self.present(answers[0])

    def present(self, answer: Answer) -> None:
        """As a caller does who keeps to the grants: presents while they live, or not; tells at once, or later."""
        shown = [(answer.offer, answer.expires_at), *[(one.offer, one.expires_at) for one in answer.slate]]
        for offer, expires_at in shown:
            assert offer is not None
            assert expires_at is not None
            fate = self.chance.random()
            if fate < 0.3:
                self.passing(10 * MINUTE_MS)
            at_ms = self.town.machine.true_ms
            if fate < 0.7 and at_ms < parse_time_ms(expires_at):
                if self.chance.random() < 0.1:
                    self.passing(20 * MINUTE_MS)
                post = OutcomePost("delivered", decision=answer.decision_id, offer=offer.id, at=format_time(at_ms))
                if self.told(post):
                    self.presented[answer.decision_id, offer.id] = at_ms
            elif fate < 0.85:
                self.told(OutcomePost("undeliverable", decision=answer.decision_id, offer=offer.id))

    def told(self, post: OutcomePost) -> bool:
        """Tells an outcome until it is durable, as callers must."""
        while True:
            heard: list[object] = []
            try:
                self.town.region.act.submit([post], heard.append)
            except StoreBroken:
                continue
            while not heard:
                self.schedule.point()
            if not isinstance(heard[0], StoreBroken):
                assert not isinstance(heard[0], BaseException), heard[0]
                return True

    def merging(self) -> None:
        for _ in range(self.chance.randint(0, 2)):
            self.passing(15 * MINUTE_MS)
            merging = self.town.region.merging
            try:
                if self.merges and self.chance.random() < 0.6:
                    self.merges.append(merging.unmerge(self.chance.choice(self.merges).id, "tests", "two"))
                else:
                    one, other = self.chance.sample(self.people, 2)
                    self.merges.append(merging.merge(one, other, "tests", "one"))
            except (IdentityError, StoreBroken):
                continue

    def setting_clocks(self) -> None:
        for _ in range(self.chance.randint(0, 4)):
            self.passing(5 * MINUTE_MS)
            self.town.machine.off_ms = self.chance.choice((-HOUR_MS, HOUR_MS, 0))
            self.passing(MINUTE_MS)

    def crashing(self) -> None:
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            for _ in range(self.chance.randint(1, 60)):
                self.schedule.point()
            self.town.restart()

    # What is told of it

    @cached_property
    def story(self) -> Story:
        records, story = self.town.records, Story()
        for stored in reversed(records.decisions(DECISIONS_MAX)):
            if stored.at_ms < self.began_ms - HOUR_MS // 2 or stored.disposition != "offered":
                continue
            record = decode_record(stored.record)
            end_ms = min(stored.at_ms + TTL_MS, record.seen.quiet_from.get(str(stored.channel), 2**62))
            made = {
                offer: Contacted(stored.id, stored.leaf, stored.customer, stored.account, offer, str(stored.channel),
                                 stored.at_ms, end_ms)
                for offer in (str(stored.offer), *(pick.offer for pick in record.result.slate))
            }  # fmt: skip
            for outcome in sorted(records.outcomes(stored.id), key=lambda one: one.leaf):
                one = made[str(outcome.offer)]
                if outcome.kind == "delivered" and one.delivered_ms is None:
                    # What really was, not what is recorded.
                    one.delivered_ms = self.presented[stored.id, one.offer]
                    one.delivered_leaf = outcome.leaf
                elif outcome.kind == "undeliverable":
                    one.released_leaf = outcome.leaf
            story.contacts += made.values()
        story.contacts.sort(key=lambda one: (one.leaf, one.offer))
        return story

    def told_again(self) -> list[tuple[object, ...]]:
        """What two runs of a seed must have in common: all but where in the log it stands."""
        return [
            (one.decision, one.leaf - self.began_leaf, one.customer, one.offer, one.at_ms, one.delivered_ms)
            for one in self.story.contacts
        ]

    @cached_property
    def joined(self) -> list[tuple[int, str, Merge]]:
        """(leaf, `merge` or `unmerge`, which) in the order of the log."""
        records = self.town.records
        rows = {row.id: row for who in self.people for row in records.merges_of(who)}
        found = []
        for leaf, entry in enumerate(records.leaves(self.began_leaf, records.leaf_count()), self.began_leaf):
            for id_, row in rows.items():
                if f"unmerge-{id_}".encode() in entry:
                    found.append((leaf, "unmerge", row))
                elif f"merge-{id_}".encode() in entry:
                    found.append((leaf, "merge", row))
        return found


def over_for_people(story: Story, joined: list[tuple[int, str, Merge]]) -> list[str]:
    """What a person got beyond a cap, with all that everybody merged into them had by then."""
    theirs: dict[str, list[Contacted]] = defaultdict(list)
    into: dict[str, str] = {}
    found = []
    waiting = list(joined)

    def living(who: str) -> str:
        while who in into:
            who = into[who]
        return who

    decided: dict[str, list[Contacted]] = defaultdict(list)
    for one in story.contacts:
        decided[one.decision].append(one)
    for made in sorted(decided.values(), key=lambda all_: all_[0].leaf):
        while waiting and waiting[0][0] < made[0].leaf:
            _, kind, row = waiting.pop(0)
            if kind == "merge":
                whole = living(row.kept)
                into[row.merged] = whole
                theirs[whole] = [*theirs[whole], *theirs[row.merged]]
            else:
                theirs[row.merged] = list(theirs[living(row.merged)])
                into.pop(row.merged)
        who, leaf, at_ms = made[0].customer, made[0].leaf, made[0].at_ms
        for cap in CAPS:
            if cap.scope != "person":
                continue
            counted = {
                (one.decision, one.offer)
                for one in theirs[who]
                if cap.counts(one.offer, one.channel) and counts(one, leaf, at_ms, cap.per_ms)
            }
            more = sum(cap.counts(one.offer, one.channel) for one in made)
            if more and len(counted) + more > cap.most:
                found.append(f"{cap.name} of {who}: {len(counted)} and {more} more at {at_ms}")
        theirs[who] += made
    return found


def broken(evening: Evening) -> list[str]:
    """Everything that a seed did and must not."""
    story, joined = evening.story, evening.joined
    told_late = late(story)
    caps = [cap for cap in CAPS if cap.scope != "person" or not joined]
    found = over_in_any_window(story, caps, told_late) + over_for_people(story, joined)
    for one in story.contacts:
        if one.channel == "text" and one.delivered_ms is not None:
            hour = datetime.fromtimestamp(one.delivered_ms / 1000, UTC).hour
            if hour >= 20 or hour < 8:
                found.append(f"a text message at {hour}:00")
    return found


def evening(town: Town, seed: int) -> Evening:
    found = Evening(town, seed)
    found.run()
    return found


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return Town(tmp_path_factory.mktemp("town"))


def test_no_order_breaks_a_limit(town: Town) -> None:
    offers = delivered = merges = 0
    for seed in range(SEEDS):
        found = evening(town, seed)
        assert broken(found) == [], f"seed {seed}"
        assert found.steady, f"seed {seed}"
        contacts = found.story.contacts
        offers, merges = offers + len(contacts), merges + len(found.joined)
        delivered += sum(one.delivered_ms is not None for one in contacts)
    assert offers > 5 * SEEDS
    assert delivered > 2 * SEEDS
    assert merges > SEEDS / 4
    print(f"{SEEDS:,} orders: {offers:,} offers, {delivered:,} delivered, {merges:,} merges and un-merges, 0 over")


def test_a_seed_tells_the_same_story_again(tmp_path: Path) -> None:
    told = []
    for number, seeds in enumerate((range(12), (3, 7, 11))):
        town = Town(tmp_path / str(number))
        told.append({seed: evening(town, seed).told_again() for seed in seeds})
    assert {seed: told[0][seed] for seed in told[1]} == told[1]


@pytest.mark.torture
def test_ten_thousand_orders(tmp_path: Path) -> None:
    offers = delivered = merges = lives = 0
    last = int(os.environ.get("OPPORTUNE_SCHEDULES", SEEDS_LONG))
    for seed in range(SEEDS, SEEDS + last):
        if (seed - SEEDS) % SEEDS_A_TOWN == 0:
            # A store in memory looks through all it has.
            town = Town(tmp_path / str(seed))
            print(f"{seed - SEEDS:,} orders", flush=True)
        before = town.records.life
        found = evening(town, seed)
        assert broken(found) == [], f"seed {seed}"
        assert found.steady, f"seed {seed}"
        contacts = found.story.contacts
        offers, merges = offers + len(contacts), merges + len(found.joined)
        delivered += sum(one.delivered_ms is not None for one in contacts)
        lives += town.records.life - before
    print(f"{last:,} orders: {offers:,} offers, {delivered:,} delivered, {merges:,} merges and un-merges, "
          f"{lives:,} crashes, 0 over")  # fmt: skip


def _blind(self: Steady) -> int:
    return self._sources.wall_ns()


def _for_ever(person, account, now_ms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Reservations do not count: what is under way may be given to others too."""
    found = limits.counting(person, account, now_ms)
    return tuple(one for one in found if one[3] > 0)


def _stale(self, tx, brain, asked, named, made, answer, probe):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    person = lives_on(tx.person, named)
    assert person is not None
    self._reserve(tx, brain, made.record, person, None if person.account is None else tx.account(person.account))
    self._write(tx, made)
    return answer


@pytest.mark.parametrize(
    "without",
    [
        lambda: patch.object(Steady, "now_ns", _blind),
        lambda: patch("opportune.core.decisions.snapshot.counting", _for_ever),
        lambda: patch.object(decide.Decide, "_record", _stale),
        lambda: patch("opportune.core.identity.merged_contacts", lambda one, other: one),
        lambda: patch("opportune.core.decisions.snapshot.quiet_from_ms", lambda *_: None),
    ],
    ids=["clocks are followed blindly", "reservations do not count", "no look in the commit",
         "a merge forgets contacts", "grants outlive into the night"],
)  # fmt: skip
def test_each_safeguard_is_needed(tmp_path: Path, without: Callable[[], object]) -> None:
    town = Town(tmp_path)
    with without():  # type: ignore[attr-defined]
        found: list[str] = []
        for seed in range(SEEDS):
            found += broken(evening(town, seed))
            if found:
                break
    assert found != []
    assert town.machine.true_ms > EPOCH_MS
