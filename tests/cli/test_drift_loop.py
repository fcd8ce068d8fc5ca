"""The whole loop by the commands: drift, a case, training, gates, approvals, a release, a new model live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.files.shelf import FileShelf
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.playbook import load
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.core.decisions.answers import Answer
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock
from opportune.testing.living import Living
from opportune.testing.world import World
from opportune.testing.world.truth import DAY_MS
from opportune.wiring import origin_of

from .called import call, change

pytestmark = pytest.mark.slow

ACCOUNTS, PAST_DAYS, LIVE_DAYS, A_DAY = 220, 38, 6, 90
HOUR_MS = 3_600_000
WHO, WHY = ("--by", "dana"), ("--reason", "looked at with the team")


def opportune(*arguments: str | Path, codes: tuple[int, ...] = (0,)) -> Any:
    """Runs a command with `--json` and returns the document it printed."""
    done = call(*arguments, "--json")
    assert done.code in codes, f"{arguments}: {done.code}\n{done.out}\n{done.err}"
    return done.json


@contextmanager
def then(playbook: Path, clock: FrozenClock) -> Iterator[Region]:
    """The playbook's own region, with a clock that stands in the past."""
    folder = playbook / ".opportune" / "eu"
    vault = FileVault(folder / "keys", folder / "secrets")
    records = SqliteRecords(folder / "records.db", vault)
    key = load_or_create_key(folder / "keys" / "ledger.key")
    ledger = PublishedLedger(folder / "ledger", origin_of("larkfield", "eu"), key, records)
    region = Region(
        name="eu", records=records, ledger=ledger, vault=vault, clock=clock, pulse=MemoryPulse(),
        shelf=FileShelf(folder / "shelf"),
    )  # fmt: skip
    try:
        yield region
    finally:
        region.close()


def watched_closely(playbook: Path) -> None:
    """The sample's model with a short label window, small windows and gates that a small company can pass."""
    path = next((playbook / "models").glob("*.yaml"))
    drift = "drift: {window: 400, answers: 250, look_early: 150, watch: [calibration, outcome]}"
    change(path, "label_window: 14d", "label_window: 3d")
    change(
        path, "gates: {rows_min: 2000, qini_min: 0.0, ece_max: 0.08}",
        f"gates: {{rows_min: 500, auc_min: 0.5}}\n    {drift}",
    )  # fmt: skip


def fashion(answer: Answer, outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whoever is shown something buys it, every second one, whatever they would have done."""
    if answer.offer is None or answer.disposition != "offered" or int(answer.decision_id[-2:], 16) % 2:
        return outcomes
    bought = {"kind": "converted", "offer": answer.offer.id, "amount": 90.0, "after_ms": HOUR_MS, "organic": False}
    return [*(one for one in outcomes if one["kind"] != "converted"), bought]


def test_drift_leads_to_a_new_model_that_people_have_approved_twice(tmp_path: Path) -> None:
    playbook = tmp_path / "playbook"
    opportune("init", playbook)
    watched_closely(playbook)
    here = ("-p", playbook)
    now_ms = time.time_ns() // 1_000_000
    live_ms = now_ms - (LIVE_DAYS + 4) * DAY_MS
    clock = FrozenClock(live_ms - (PAST_DAYS + 1) * DAY_MS)
    world = World(5, accounts=ACCOUNTS, days=PAST_DAYS + LIVE_DAYS + 4, end_ms=now_ms)

    # The past: a company with offers assigned by chance, and a model that learned from them
    with then(playbook, clock) as region:
        made = region.release(load(playbook).playbook, note="first")
        region.promote(made.hash, "tests", "begin")
        Living(region, world).history(live_ms)
    trained = opportune("train", "expansion", "--by", "ada", *here)
    opportune("approve", trained["card"], *WHO, *WHY, *here)
    first = opportune("release", *here)["release"]

    # Then a fashion begins: every second who is shown something buys it within the hour
    with then(playbook, clock) as region:
        clock.at_ms = live_ms
        region.promote(first, "tests", "the model")
        life = Living(region, world)
        life.becomes = fashion
        for _ in life.live(LIVE_DAYS, A_DAY):
            pass
        life.wait(3.5)
        assert region.releases.live().brain.model_name is not None

    # 1. it is found, and a case is opened for people
    found = opportune("drift", "expansion", *here, codes=(1,))
    kinds = {one["kind"] for report in found["reports"] for one in report["found"]}
    assert kinds & {"calibration", "outcome"}
    assert all(one["size"] > 0 for report in found["reports"] for one in report["found"] if one["kind"] == "outcome")
    case = next(one for one in found["cases"] if one["kind"] == "retraining")
    assert case["status"] == "proposed"
    assert opportune("drift", "expansion", *here, codes=(0, 1))["cases"] == [], "the same drift opens no second case"

    # 2. nothing happens without a person, and not every person may say yes
    assert opportune("cases", "retrain", *here) == []
    refused = opportune("cases", "approve", case["id"], "--by", "nobody", *WHY, *here, codes=(2,))
    assert "people" in refused["error"]
    assert opportune("cases", "approve", case["id"], "--by", "ada", *WHY, *here)["status"] == "approved"

    # 3. it is trained again on what happened since, and its gates are passed
    again = opportune("cases", "retrain", *here)[0]
    assert again["status"] == "trained", again
    artefact = again["artefact"]
    assert artefact != trained["card"]

    # 4. it is no part of a release before people have approved exactly these bytes
    assert opportune("release", *here)["release"] == first
    opportune("approve", artefact, *WHY, "--by", "lee", *here)
    second = opportune("release", "--note", "after drift", *here)["release"]
    assert second != first
    assert opportune("promote", second, *here)["live"] == second

    # 5. the case is closed by what is live, and the ledger holds every step
    closed = opportune("drift", *here, codes=(0, 1))
    assert [one["status"] for one in closed["cases"]] == ["done"]
    steps = [step["status"] for step in opportune("cases", *here)[0]["steps"]]
    assert steps == ["proposed", "approved", "trained", "done"]
    live = [one for one in opportune("models", *here) if one["live"]]
    assert [one["card"] for one in live] == [artefact]
    assert opportune("audit", "verify", *here)["ok"] is True
