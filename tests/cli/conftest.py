"""A company small enough to be set up once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from opportune.testing.world import World

from .called import call


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    """A new playbook."""
    folder = tmp_path / "playbook"
    assert call("init", folder).code == 0
    return folder


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playbook with the history of 200 accounts, on which every customer was decided once; only to be read."""
    folder = tmp_path_factory.mktemp("company") / "playbook"
    assert call("init", folder).code == 0
    events = folder.parent / "history.ndjson"
    world = World(3, accounts=200, days=60, end_ms=time.time_ns() // 1_000_000)
    events.write_text("\n".join(json.dumps(event) for event in world.history()))
    assert call("ingest", events, "--playbook", folder).code == 0
    assert call("decide", "--all", "--moment", "page.pricing_viewed", "--playbook", folder).code == 0
    return folder


@pytest.fixture(scope="session")
def decision(company: Path) -> str:
    """The id of a decision that offered something, or of any."""
    from opportune.wiring import open_for_reading

    region = open_for_reading(company / ".opportune", "larkfield", "eu")
    try:
        found = region.records.decisions(1, disposition="offered") or region.records.decisions(1)
        return found[0].id
    finally:
        region.records.close()
