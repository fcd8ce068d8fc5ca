"""Bring your own data, for real: the RavenStack tables through the commands, to 500 explained decisions.

The tables are not in the repository: they are read from `../shared/data`, or `$OPPORTUNE_SHARED/data`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from served import opportune

from opportune.adapters.duckdb import DuckTables
from opportune.core.decisions.audiences import words
from opportune.core.decisions.explain import rules_fired, why_not
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.playbook import Source
from opportune.core.signals import Draft, parse_time_ms
from opportune.core.sources import columns_of, compile_source, drafts, locate
from opportune.flows.region import Region
from opportune.wiring import data_folder, open_for_reading

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[3] / "shared"))
TABLES = SHARED / "data/ravenstack_saas"
ROWS = {"accounts": 500, "subscriptions": 5000, "feature_usage": 25_000, "support_tickets": 2000,
        "churn_events": 600}  # fmt: skip
FIRST, FOLLOW_UPS = 33_100, 2_486
SHARED_USAGE_IDS = {
    "U-0c9318", "U-13ce5b", "U-2103bb", "U-25b56c", "U-48a4aa", "U-4ef9da", "U-52f4ae", "U-5cd3c2",
    "U-649cec", "U-662254", "U-6970d1", "U-74b23f", "U-7a87ed", "U-7c6703", "U-8128da", "U-8a3738",
    "U-ae1a6c", "U-b0ae95", "U-c878da", "U-d20c6d", "U-f42b0a",
}
CONSENTING = 400
MIDWAY = "2024-03-31T00:00:00Z"
Row = dict[str, str]


class World(NamedTuple):
    """The folder after everything was ingested, consents written and everybody decided on; what was printed."""

    playbook: Path
    consenting: frozenset[str]
    first: dict[str, Any]
    again: dict[str, Any]
    consents: dict[str, Any]
    decided: dict[str, Any]
    region: Region


@pytest.fixture(scope="module")
def tables() -> Path:
    if not TABLES.is_dir():
        reason = f"the RavenStack tables are not in `{TABLES}`: put them there or set OPPORTUNE_SHARED"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return TABLES


@pytest.fixture(scope="module")
def world(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    playbook, folder = tmp_path_factory.mktemp("raven") / "playbook", tmp_path_factory.mktemp("tables")
    for path in tables.glob("*.csv.gz"):
        (folder / path.name).symlink_to(path.resolve())
    opportune("init", playbook)
    ingest = ("ingest", folder, "--source", "ravenstack", "-p", playbook)
    first, again = opportune(*ingest), opportune(*ingest)
    accounts = sorted((row["account_id"] for row in rows_of("accounts")), key=hashed)
    consenting = frozenset(accounts[:CONSENTING])
    with (folder / "consents.csv").open("w") as file:
        file.write("account_id,purpose,channel,status,at\n")
        file.writelines(f"{one},marketing,*,given,2024-11-01T09:00:00Z\n" for one in sorted(consenting))
    consents = opportune(*ingest)
    asked = ("--moment", "renewal.approaching", "--context", "days_left=20")
    decided = opportune("decide", "--all", *asked, "-p", playbook)
    region = open_for_reading(data_folder(playbook), "larkfield", "eu")
    yield World(playbook, consenting, first, again, consents, decided, region)
    region.records.close()


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows_of(table: str) -> list[Row]:
    with gzip.open(TABLES / f"{table}.csv.gz", "rt") as file:
        return list(csv.DictReader(file))


def recorded(world: World) -> list[DecisionRecord]:
    return [decode_record(one.record) for one in world.region.records.decisions(1000)]


def test_the_files_are_those_that_the_figures_speak_of(tables: Path) -> None:
    assert {name: len(rows_of(name)) for name in ROWS} == ROWS
    assert sum(ROWS.values()) == FIRST
    for name in ROWS:
        assert max(Counter(tuple(row.values()) for row in rows_of(name)).values()) == 1, "a true duplicate"
    ends = sum(1 for row in rows_of("subscriptions") if row["end_date"])
    closes = sum(1 for row in rows_of("support_tickets") if row["closed_at"])
    assert ends + closes == FOLLOW_UPS


def test_every_row_becomes_a_signal(world: World) -> None:
    first = world.first
    assert (first["first"], first["follow_up"]) == (FIRST, FOLLOW_UPS)
    assert (first["accepted"], first["duplicate"], first["quarantined"]) == (FIRST + FOLLOW_UPS, 0, 0)
    assert (first["true_duplicates"], first["ids_of_different_rows"]) == (0, 0)


def test_usage_ids_shared_by_different_rows_are_told_apart(world: World) -> None:
    subscriptions = defaultdict(set)
    for row in rows_of("feature_usage"):
        subscriptions[row["usage_id"]].add(row["subscription_id"])
    shared = {id_: found for id_, found in subscriptions.items() if len(found) > 1}
    assert shared.keys() == SHARED_USAGE_IDS
    kept = {one.signal.id for one in world.region.records.signals() if one.signal.type == "usage.recorded"}
    assert len(kept) == ROWS["feature_usage"]
    assert {f"{id_}:{found}" for id_, both in shared.items() for found in both} <= kept


def test_ingesting_again_gives_only_duplicates(world: World) -> None:
    again = world.again
    assert (again["accepted"], again["duplicate"], again["quarantined"]) == (0, FIRST + FOLLOW_UPS, 0)
    assert (again["known_before"], again["true_duplicates"]) == (FIRST + FOLLOW_UPS, 0)


def test_a_consents_file_adds_only_its_own_signals(world: World) -> None:
    consents = world.consents
    assert (consents["accepted"], consents["duplicate"]) == (CONSENTING, FIRST + FOLLOW_UPS)
    counts = world.region.records.counts()
    assert (counts["signals"], counts["accounts"]) == (FIRST + FOLLOW_UPS + CONSENTING, 500)


def test_the_log_is_in_time_order(world: World) -> None:
    times = [one.signal.at_ms for one in world.region.records.signals()][: FIRST + FOLLOW_UPS]
    assert times == sorted(times)


def test_everybody_is_decided_on_and_every_decision_is_explained(world: World) -> None:
    records = recorded(world)
    assert {one.asked.customer for one in records} == {row["account_id"] for row in rows_of("accounts")}
    assert len(records) == world.decided["customers"] == 500
    for record in records:
        brain = world.region.releases.brain_of(record.release)
        said, fates = words(brain, record), why_not(brain, record)
        assert said.customer
        assert said.agent
        assert said.auditor
        assert [fate.candidate for fate in fates] == [candidate.id for candidate in brain.candidates]
        assert all(fate.stage and fate.rule and fate.reason for fate in fates)
        won = [fate for fate in fates if fate.won]
        assert len(won) == (record.result.disposition in ("offered", "escalated", "held_out"))
        rules = rules_fired(brain, record)
        assert all(rule.reason and rule.held_back for rule in rules)
        assert rules or won


def test_without_consent_there_is_no_offer_and_the_policy_is_named(world: World) -> None:
    refused = [one for one in recorded(world) if one.asked.customer not in world.consenting]
    assert len(refused) == 100
    assert {(one.result.disposition, one.result.reason) for one in refused} == {("no_offer", "NO_CONSENT")}
    for record in refused:
        brain = world.region.releases.brain_of(record.release)
        assert "consent.marketing" in words(brain, record).auditor
        assert "consent is unknown" in words(brain, record).agent
        asked = [fate for fate in why_not(brain, record) if fate.channel in record.asked.channels]
        assert {(fate.stage, fate.rule) for fate in asked} == {("consent", "consent.marketing")}
        assert {fate.facts["consent.status"] for fate in asked} == {"unknown"}


def test_with_consent_offers_are_made_and_none_is_refused_for_it(world: World) -> None:
    agreed = [one for one in recorded(world) if one.asked.customer in world.consenting]
    mix = Counter(one.result.disposition for one in agreed)
    assert {"offered", "held_out", "no_offer"} <= mix.keys()
    assert mix["offered"] > 50
    assert not any(one.result.reason == "NO_CONSENT" for one in agreed)
    assert not any(rule == "consent.marketing" for one in agreed for _, rule, _ in one.result.stages)
    assert Counter(one.result.disposition for one in recorded(world)) == Counter(
        {row["disposition"]: 0 for row in world.decided["mix"]}
    ) + sum((Counter({row["disposition"]: row["count"]}) for row in world.decided["mix"]), Counter[str]())


def test_all_500_replay_to_the_byte_and_the_ledger_verifies(world: World) -> None:
    replayed = opportune("replay", "--last", "500", "-p", world.playbook)
    assert (replayed["same"], replayed["of"], replayed["different"]) == (500, 500, [])
    verified = opportune("audit", "verify", "-p", world.playbook)
    assert (verified["ok"], verified["findings"]) == (True, [])
    # release and promotion, one entry per signal, one per decision
    assert verified["size"] == verified["recorded"] == 2 + FIRST + FOLLOW_UPS + CONSENTING + 500


def test_what_happens_later_changes_nothing_said_before(tables: Path, tmp_path: Path, world: World) -> None:
    """Another future, with other endings and other flags, tells the same story up to now."""
    sources = world.region.releases.live().playbook.sources
    source = next(one for one in sources if one.source == "ravenstack")
    for path in tables.glob("*.csv.gz"):
        rewritten(path, tmp_path / path.name.removesuffix(".gz"), other_future)
    here, there = said_until(source, tables), said_until(source, tmp_path)
    assert len(here) > 10_000
    assert here == there


def test_before_a_subscription_ends_nothing_of_its_end_is_known(world: World) -> None:
    midway_ms = parse_time_ms(MIDWAY)
    later: set[str] = set()
    ended: Counter[str] = Counter()
    for row in rows_of("subscriptions"):
        if row["end_date"] and parse_time_ms(row["end_date"]) > midway_ms:
            later.add(row["account_id"])
        elif row["end_date"]:
            ended[row["account_id"]] += 1
    assert len(later) > 100
    views = world.region.releases.live().views
    for id_ in later:
        account = world.region.records.account(id_)
        assert account is not None
        then = views.read(None, account.features, midway_ms).values[views.names.index("subscriptions_ended")]
        now = views.read(None, account.features, parse_time_ms("2026-01-01")).values
        assert then is None or then == ended[id_]
        assert now[views.names.index("subscriptions_ended")] > ended[id_]
    for stored in world.region.records.signals():
        if stored.signal.type == "subscription.started":
            known = {"subscription", "plan", "seats", "mrr", "billing", "trial"}
            assert stored.signal.data.keys() <= known


def said_until(source: Source, folder: Path, until: str = MIDWAY) -> list[Draft]:
    files = {
        table: str(folder / name)
        for table, name in locate(source, [path.name for path in folder.iterdir()]).items()
    }
    reader = DuckTables()

    def rows(sql: str) -> Iterator[dict[str, Any]]:
        return reader.rows(sql, files)

    until_ms = parse_time_ms(until)
    compiled = compile_source(source, columns_of(files, rows))
    return [one.draft for one in takewhile(lambda one: one.at_ms <= until_ms, drafts(compiled, rows))]


def rewritten(path: Path, to: Path, change: Callable[[Row], Row]) -> None:
    with gzip.open(path, "rt") as file, to.open("w", newline="") as out:
        reader = csv.DictReader(file)
        assert reader.fieldnames is not None
        writer = csv.DictWriter(out, reader.fieldnames)
        writer.writeheader()
        writer.writerows(change(row) for row in reader)


def other_future(row: Row) -> Row:
    changed = dict(row)
    for flag in ("churn_flag", "upgrade_flag", "downgrade_flag"):
        if flag in row:
            changed[flag] = "True" if row[flag] == "False" else "False"
    if row.get("end_date", "") > MIDWAY[:10]:
        changed["end_date"] = "" if hashed(row["subscription_id"]) < "8" else "2024-12-31"
    if row.get("closed_at", "") > MIDWAY:
        changed["closed_at"] = "2024-12-31 23:00:00"
        changed["satisfaction_score"] = "1.0"
        changed["resolution_time_hours"] = "99.0"
    if row.get("churn_date", "") > MIDWAY[:10]:
        changed["reason_code"] = "other"
    return changed
