"""The sample playbook compiles, keeps the promises of its scenarios, and decides about the world in every way."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opportune.adapters.duckdb.tables import DuckTables
from opportune.adapters.playbook import load
from opportune.core.customers import Account, Consent, Person
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import Asked, Result
from opportune.core.decisions.snapshot import see
from opportune.core.features import run_view_tests
from opportune.core.playbook import Exploration
from opportune.core.policies.checks import lint, run_policy_tests
from opportune.core.releases import Release, compile_release, encode_manifest, variables_of
from opportune.core.signals import Draft, check, parse_time_ms
from opportune.core.sources import columns_of, compile_source, drafts, locate
from opportune.flows.ingest import fold
from opportune.testing.world import World
from opportune.testing.world.events import Event

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "samples/saas"
END_MS = 1_795_478_400_000
RAVENSTACK = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[3] / "shared")) / "data/ravenstack_saas"


class Calm:
    """A probe under which nothing goes wrong."""

    def before(self, step: str) -> str | None:
        return None


def compiled(*, chance: bool) -> Release:
    """The sample's release; without `chance` nothing is tried out and nobody is held out."""
    playbook = load(SAMPLE).playbook
    if not chance:
        nobody = msgspec.structs.replace(playbook.app.holdout, share=0.0)
        app = msgspec.structs.replace(playbook.app, exploration=Exploration(method="off"), holdout=nobody)
        playbook = msgspec.structs.replace(playbook, app=app)
    return compile_release(encode_manifest(playbook))


@pytest.fixture(scope="module")
def release() -> Release:
    return compiled(chance=False)


def test_every_inline_test_of_the_sample_passes(release: Release) -> None:
    playbook = release.playbook
    variables = variables_of(playbook, release.views)
    results = run_policy_tests(playbook.policies, variables)
    assert len(results) >= 25
    assert [result for result in results if not result.passed] == []
    assert lint(playbook.policies, variables, release.brain.policies) == ()
    assert run_view_tests(release.views, playbook.views) == ()


class Mirror:
    """Folds a world's signals as ingestion would, and asks at its moments."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.people: dict[str, Person] = {}
        self.accounts: dict[str, Account] = {}

    def take(self, event: Event) -> None:
        keys = ("source", "id", "type", "time", "subject", "account", "data")
        fields: dict[str, Any] = {key: event.get(key) for key in keys}
        self.take_draft(Draft(**fields))

    def take_draft(self, draft: Draft) -> None:
        checked = check(draft, self.release.contracts, END_MS + 86_400_000)
        assert checked.problems == ()
        signal = checked.signal
        assert signal is not None
        person = account = None
        if signal.customer is not None:
            person = self.people.get(signal.customer) or Person(signal.customer)
        if signal.account is not None:
            account = self.accounts.get(signal.account) or Account(signal.account)
        person, account = fold(self.release.views, signal, person, account)
        if person is not None:
            self.people[person.id] = person
        if account is not None:
            self.accounts[account.id] = account

    def ask(self, step: dict[str, Any], number: int) -> Result:
        brain = self.release.brain
        person, channels = self.people[step["customer"]], tuple(step["channels"])
        # the working day of Europe, so that quiet hours are not the whole answer
        seen = see(brain, person, self.accounts[step["account"]], channels, step["at_ms"] + 9 * 3_600_000)
        asked = Asked(step["customer"], step["moment"], channels, step["context"])
        return run(brain, asked, seen, f"01940000-0000-7000-8000-{number:012d}", Calm())


def test_the_world_sees_every_disposition_and_most_reasons() -> None:
    world = World(8, 150, 45, end_ms=END_MS)
    mirror = Mirror(compiled(chance=True))
    for event in world.history():
        mirror.take(event)
    found: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for number, step in enumerate(itertools.islice(world.live(END_MS, 5), 4_000)):
        if step["kind"] == "signal":
            mirror.take(step["event"])
            continue
        result = mirror.ask(step, number)
        found[result.disposition] += 1
        reasons[result.reason] += 1
    assert {"offered", "no_offer", "escalated", "held_out"} <= set(found)
    assert {"NO_CONSENT", "NOT_SUITABLE"} <= set(reasons)
    assert found["offered"] > 0.2 * sum(found.values())


def test_the_features_agree_with_the_true_situation() -> None:
    world = World(8, 40, 45, end_ms=END_MS)
    mirror = Mirror(compiled(chance=False))
    for event in world.history():
        mirror.take(event)
    for person in world.customers:
        if person.id not in mirror.people:
            continue
        true = world.situation(person.id)
        account = mirror.accounts[person.account]
        seen = see(mirror.release.brain, mirror.people[person.id], account, ("in_app",), END_MS).features
        for name in ("plan", "billing", "seats", "open_tickets", "tickets_90d", "last_csat", "tenure_days"):
            assert seen[name] == getattr(true, name), name
        for name in ("usage_trend", "api_calls_7d", "features_used_28d", "pricing_views_7d"):
            assert seen[name] == pytest.approx(getattr(true, name)), name
        assert {addon for addon in ("analytics", "sso", "support") if seen[f"has_{addon}"]} == true.addons


@pytest.mark.slow
@pytest.mark.skipif(
    not RAVENSTACK.exists() and os.environ.get("CI") != "true", reason="the RavenStack files are not here"
)
def test_ravenstack_gets_no_offer_without_consent_and_sensible_ones_with_it(release: Release) -> None:
    mirror, at_ms = Mirror(release), parse_time_ms("2024-12-31T10:00:00Z")
    for draft in ravenstack_drafts(release):
        mirror.take_draft(draft)
    channels = ("email", "agent_desk")
    given = {f"marketing/{channel}": Consent("given", 0, "test") for channel in channels}
    without: Counter[str] = Counter()
    offered: Counter[str | None] = Counter()
    for person in mirror.people.values():
        account = mirror.accounts[person.id]
        asked = Asked(person.id, "renewal.approaching", channels, {"days_left": 20})
        for one in (person, msgspec.structs.replace(person, consents=given)):
            seen = see(release.brain, one, account, channels, at_ms)
            result = run(release.brain, asked, seen, "01940000-0000-7000-8000-000000000000", Calm())
            if one is person:
                without[result.reason] += 1
                assert "consent.marketing" in {rule for _, rule, _ in result.stages}
            else:
                offered[result.offer] += 1
    assert without == {"NO_CONSENT": 500}
    assert offered["plan_business"] > 50
    assert offered["annual_switch"] > 50
    assert offered["seats_10"] == offered["seats_25"] == 0  # nobody counted the seats


def ravenstack_drafts(release: Release) -> Iterator[Draft]:
    source = next(one for one in release.playbook.sources if one.source == "ravenstack")
    reader = DuckTables()
    found = locate(source, [path.name for path in RAVENSTACK.iterdir()])
    files = {table: str(RAVENSTACK / file) for table, file in found.items()}

    def rows(sql: str) -> Iterator[dict[str, Any]]:
        return reader.rows(sql, files)

    for drafted in drafts(compile_source(source, columns_of(files, rows)), rows):
        assert drafted.problems == ()
        yield drafted.draft
