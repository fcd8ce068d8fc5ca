"""SIGKILL of the real server in the middle of everything: nothing promised is lost, nothing counts twice.

`OPPORTUNE_KILLS=200 pytest tests/e2e/test_kill.py` is the long form, `OPPORTUNE_KILL_SEED` draws other instants.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest
from load_and_kill import Promised, expect, first_signals, run_until_killed
from served import Client, Served, opportune

from opportune.flows.region import Region
from opportune.verifier import verify_commit, verify_log, verify_proof
from opportune.wiring import data_folder, open_for_reading, open_region

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

KILLS = int(os.environ.get("OPPORTUNE_KILLS", "20"))
SEED = int(os.environ.get("OPPORTUNE_KILL_SEED", "2026"))
IN_APP_DAILY = 3
TABLES = {
    "signals": "signals", "quarantined": "quarantine", "people": "people", "accounts": "accounts",
    "decisions": "decisions", "outcomes": "outcomes", "reviews": "reviews", "leaves": "leaves",
}  # fmt: skip


class Survivor:
    """What the rounds share: the folder, the promises, and the checkpoint that every later log must continue."""

    def __init__(self, playbook: Path) -> None:
        opportune("init", playbook)
        self.playbook = playbook
        self.stores = data_folder(playbook) / "eu"
        self.promised = Promised()
        self.pinned: bytes | None = None
        self.checked: set[str] = set()
        self.settled: set[str] = set()
        served = Served(playbook)
        client = served.client()
        first = first_signals()
        reply = client.post("/v1/signals", first)
        expect(reply, 200)
        self.promised.sent.update((one["id"], one) for one in first)
        self.promised.receipts.update((one["source"], one["id"]) for one in reply.json()["receipts"])
        client.close()
        region = self.region()
        self.vkey = region.ledger.vkey
        region.records.close()
        served.kill()

    def region(self) -> Region:
        return open_for_reading(data_folder(self.playbook), "larkfield", "eu")

    def round(self, number: int, seed: int, *, last: bool) -> None:
        run_until_killed(Served(self.playbook), self.promised, number, seed)
        self.check_log_on_disk()
        served = Served(self.playbook)
        client, region = served.client(), self.region()
        try:
            self.check_signals(client, region)
            self.check_decisions(client, region)
            self.check_counters(client)
            self.check_ledger(client, region)
            self.send_again(client, Random(seed), last)
            self.check_signals(client, region)
            self.check_counters(client)
        finally:
            client.close()
            region.records.close()
            served.kill()

    def check_log_on_disk(self) -> None:
        """As the kill left it, before anybody repairs anything."""
        if self.pinned is None and not (self.stores / "ledger/checkpoint").exists():
            return  # killed before anything was published
        report = verify_log(self.stores / "ledger", self.vkey, pinned=self.pinned)
        assert report.ok, report.findings

    def check_signals(self, client: Client, region: Region) -> None:
        log = Counter((one.signal.source, one.signal.id) for one in region.records.signals())
        assert self.promised.receipts - log.keys() == set(), "acknowledged and lost"
        assert set(log.values()) == {1}
        used: Counter[str] = Counter()
        opened: Counter[str] = Counter()
        for stored in region.records.signals():
            signal = stored.signal
            if signal.source == "kill" and signal.customer is not None:
                used[signal.customer] += signal.data["count"] if signal.type == "usage.recorded" else 0
                opened[signal.customer] += signal.type == "ticket.opened"
        assert len(used) == 40
        for customer in used:
            features = client.get(f"/v1/customers/{customer}").json()["features"]
            folded = (features["usage_28d"]["value"], features["tickets_opened"]["value"])
            assert folded == (used[customer], opened[customer]), f"{customer}: folded twice, or not"

    def check_decisions(self, client: Client, region: Region) -> None:
        ids = {json.loads(body)["decision_id"] for body in self.promised.answers.values()}
        assert len(ids) == len(self.promised.answers)
        leaves = region.records.leaves(0, region.records.leaf_count())
        for id_ in ids:
            stored = region.records.decision(id_)
            assert stored is not None, f"decision {id_} was answered and is lost"
            assert msgspec.json.decode(leaves[stored.leaf])["id"] == id_
            assert verify_commit(leaves[stored.leaf], stored.salt, stored.record)
        for id_ in ids - self.checked:
            shown = client.get(f"/v1/decisions/{id_}")
            expect(shown, 200)
            assert shown.json()["answer"]["decision_id"] == id_
            assert client.post(f"/v1/decisions/{id_}/replay", None).json()["same"] is True
        self.checked |= ids
        offered = Counter(
            one.customer for one in region.records.decisions(1_000_000) if one.disposition == "offered"
        )
        assert offered, "no decision offered anything: the limits were not tried"
        assert max(offered.values()) <= IN_APP_DAILY

    def check_counters(self, client: Client) -> None:
        lines = client.get("/metrics").body.decode()
        told = {name: int(value) for name, value in re.findall(r"^opportune_(\w+)_total (\d+)$", lines, re.M)}
        with sqlite3.connect(f"file:{self.stores}/records.db?mode=ro", uri=True) as beside:
            sizes = {name: beside.execute(f"SELECT count(*) FROM {table}") for name, table in TABLES.items()}
            count = {name: size.fetchone()[0] for name, size in sizes.items()}
            kept = dict(beside.execute("SELECT name, value FROM counters"))
            assert beside.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        beside.close()
        assert told == count
        assert {name: kept.get(name, 0) for name in TABLES} == count

    def check_ledger(self, client: Client, region: Region) -> None:
        newest = region.records.decisions(1)[0]
        proof = client.get(f"/v1/decisions/{newest.id}/proof")
        expect(proof, 200)
        entry = region.records.leaves(newest.leaf, newest.leaf + 1)[0]
        assert verify_proof(proof.body, entry, self.vkey).ok
        report = verify_log(self.stores / "ledger", self.vkey, pinned=self.pinned)
        assert report.ok, report.findings
        assert report.size > newest.leaf
        self.pinned = client.get("/v1/ledger/checkpoint").body

    def send_again(self, client: Client, rng: Random, everything: bool) -> None:
        """What a careful sender would send again; what was acknowledged must be known, whatever it was.

        After the last kill everything, before that what is new and some of the rest.
        """
        promised = self.promised
        doubtful = [one for id_, one in promised.sent.items() if ("kill", id_) not in promised.receipts]
        for events in (list(promised.sent.values()), doubtful):
            for start in range(0, len(events), 500):
                reply = client.post("/v1/signals", events[start : start + 500])
                expect(reply, 200)
                for one in reply.json()["receipts"]:
                    identity = (one["source"], one["id"])
                    known = identity in promised.receipts
                    assert one["status"] in (("duplicate",) if known else ("accepted", "duplicate")), one
            promised.receipts.update(("kill", one["id"]) for one in events)
        again = {key for key in promised.questions if everything or key not in self.settled}
        again |= set(rng.sample(sorted(self.settled), min(30, len(self.settled))))
        for key in again:
            reply = client.post("/v1/decisions", promised.questions[key])
            expect(reply, 200)
            assert promised.answers.setdefault(key, reply.body) == reply.body
        for key in again & promised.outcomes.keys():
            reply = client.post("/v1/outcomes", promised.outcomes[key])
            expect(reply, 200)
            status = reply.json()["outcomes"][0]["status"]
            assert status in (("duplicate",) if key in promised.taken else ("accepted", "duplicate"))
            promised.taken.add(key)
        self.settled |= again


def test_three_kills_lose_nothing_and_fold_nothing_twice(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path / "playbook")
    for number in range(3):
        survivor.round(number, SEED + number, last=number == 2)


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_fold_nothing_twice(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path / "playbook")
    for number in range(KILLS):
        survivor.round(number, SEED + 1000 + number, last=number == KILLS - 1)
    assert survivor.promised.cut_off > KILLS, "the kills came when nothing was under way"


def test_the_store_syncs_every_commit(tmp_path: Path) -> None:
    region = open_region(tmp_path, "larkfield", "eu")
    try:
        connection = region.records._connection  # type: ignore[attr-defined]
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        region.close()
