"""`features parity` and `features dataset`: what was served is found again offline, and no feature knows its label."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from .called import call, change

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

START = "2026-01-10T00:00:00Z"


@pytest.fixture
def leaky(playbook: Path) -> Path:
    """A playbook with a feature, and one derived from it, that read what the model's label is made of."""
    change(
        playbook / "features" / "account.yaml",
        "      - {id: mrr,",
        "      - {id: bought_30d, from: offer.converted, where: \"data.offer != ''\", aggregate: count, window: 30d, "
        "type: int, default: 0}\n      - {id: keen, derive: bought_30d > 0, type: bool}\n      - {id: mrr,",
    )
    return playbook


def test_what_was_served_is_found_again(company: Path) -> None:
    said = call("features", "parity", "--playbook", company, "--json")
    assert said.code == 0, said.err or said.out
    found = said.json
    assert found["decisions"] > 100
    assert found["different"] == 0
    assert found["explained"] == 0
    assert found["equal"] == found["decisions"] * len(found["features"])
    assert {one["feature"] for one in found["features"]} >= {"seat_ratio", "usage_28d", "plan", "role"}


def test_what_came_in_late_is_no_difference(playbook: Path, tmp_path: Path) -> None:
    def viewed(id_: str, time: str) -> Path:
        file = tmp_path / f"{id_}.ndjson"
        file.write_text(json.dumps(
            {"source": "t", "id": id_, "type": "page.viewed", "time": time, "subject": "p1", "account": "a1",
             "data": {"name": "pricing"}}
        ))  # fmt: skip
        return file

    now = datetime.now(UTC)
    assert call("ingest", viewed("1", (now - timedelta(hours=3)).isoformat()), "--playbook", playbook).code == 0
    assert call("decide", "p1", "--moment", "page.pricing_viewed", "--playbook", playbook).code == 0
    before = call("features", "parity", "--playbook", playbook, "--json").json
    assert call("ingest", viewed("2", (now - timedelta(hours=2)).isoformat()), "--playbook", playbook).code == 0
    after = call("features", "parity", "--playbook", playbook, "--json").json
    for found in (before, after):
        assert (found["decisions"], found["different"], found["explained"]) == (1, 0, 0)
    late = {one["feature"]: one["late"] for one in after["features"] if one["late"]}
    assert late == {"pricing_views_7d": 1}
    assert not any(one["late"] for one in before["features"])


def test_parity_of_made_up_signals(playbook: Path) -> None:
    said = call("features", "parity", "--generated", 3000, "--seed", 5, "--playbook", playbook, "--json")
    assert said.code == 0, said.err or said.out
    found = said.json
    assert (found["different"], found["explained"]) == (0, 0)
    assert found["equal"] == found["reads"] * len(found["features"])
    assert min(found["duplicates"], found["late"], found["out_of_order"], found["reads"]) > 0


def test_a_fold_that_goes_wrong_is_noticed(playbook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opportune.core.features import cells

    monkeypatch.setattr(cells, "fold_count", lambda cell, at_ms, signal_id, value: cells._COUNT.pack(at_ms, 1))
    said = call("features", "parity", "--generated", 2000, "--playbook", playbook)
    assert said.code == 1
    assert "`subscriptions_started`" in said.err
    assert "offline it is" in said.err


def test_a_dataset_is_as_of_each_row(playbook: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    signals = [
        {"source": "t", "id": f"u{day}", "type": "usage.recorded", "time": f"2026-01-{day:02d}T10:00:00Z",
         "subject": "p1", "account": "a1", "data": {"feature": "boards", "count": day}}
        for day in range(1, 21)
    ]  # fmt: skip
    events.write_text("\n".join(json.dumps(one) for one in signals))
    assert call("ingest", events, "--playbook", playbook).code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "customer,at,label_at,bought,weight\n"
        "p1,2026-01-10T10:00:00Z,2026-01-12T00:00:00Z,true,0.5\n"
        "p1,2026-01-10T09:59:59.999Z,2026-01-12T00:00:00Z,false,1\n"
        "nobody,2026-01-10T00:00:00Z,2026-01-12T00:00:00Z,false,2\n"
    )
    out = tmp_path / "set.parquet"
    said = call(
        "features", "dataset", "--labels", labels, "--out", out, "--features", "usage_7d,usage_trend,role",
        "--label-signal", "offer.converted", "--purpose", "marketing", "--playbook", playbook, "--json",
    )  # fmt: skip
    assert said.code == 0, said.err or said.out
    rows = duckdb.execute(f"SELECT account, usage_7d, usage_trend, role, bought, weight FROM '{out}'").fetchall()
    # The tiles of 4 January on; the signal of the very instant counts, later ones do not.
    assert rows == [
        ("a1", sum(range(4, 11)), 4.0 * 49 / 55, "contact", True, 0.5),
        ("a1", sum(range(4, 10)), 4.0 * 39 / 45, "contact", False, 1.0),
        (None, 0, 1.0, "contact", False, 2.0),
    ]
    assert out.stat().st_mode & 0o777 == 0o600
    beside = json.loads((tmp_path / "set.lineage.json").read_text())
    assert beside["features"]["usage_trend"]["signals"] == ["usage.recorded"]
    assert beside["views"] == {"usage": 1, "contact_person": 1}
    inside = dict(duckdb.execute(f"SELECT key, value FROM parquet_kv_metadata('{out}')").fetchall())
    assert json.loads(inside[b"opportune.views"]) == beside["views"]
    assert json.loads(inside[b"opportune.lineage"]) == beside


def test_check_names_a_planted_leak(leaky: Path) -> None:
    assert call("check", "--playbook", leaky).code == 0
    change(leaky / "models" / "expansion.yaml", "      - seats\n", "      - seats\n      - keen\n")
    said = call("check", "--playbook", leaky)
    assert said.code != 0
    assert "models/expansion.yaml" in said.out + said.err
    for part in ("`keen`", "`bought_30d`", "`offer.converted`", "field `offer`"):
        assert part in said.out + said.err


def test_a_dataset_refuses_a_planted_leak(leaky: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    events.write_text(json.dumps(
        {"source": "t", "id": "1", "type": "page.viewed", "time": START, "subject": "p1", "account": "a1",
         "data": {"name": "pricing"}}
    ))  # fmt: skip
    assert call("ingest", events, "--playbook", leaky).code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("account,at,label_at,bought\na1,2026-01-11T00:00:00Z,2026-01-12T00:00:00Z,true\n")
    arguments = ("features", "dataset", "--labels", labels, "--out", tmp_path / "set.parquet", "--playbook", leaky)
    said = call(*arguments, "--label-signal", "offer.converted")
    assert said.code == 2
    for part in ("`keen`", "through `bought_30d`", "`offer.converted`", "field `offer`"):
        assert part in said.err
    assert not (tmp_path / "set.parquet").exists()
    assert call(*arguments, "--label-signal", "offer.converted", "--features", "seats,usage_7d").code == 0


def test_a_dataset_refuses_rows_from_after_their_label(playbook: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    events.write_text(json.dumps(
        {"source": "t", "id": "1", "type": "page.viewed", "time": START, "subject": "p1", "account": "a1",
         "data": {"name": "pricing"}}
    ))  # fmt: skip
    assert call("ingest", events, "--playbook", playbook).code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("account,at,label_at,bought\na1,2026-01-12T00:00:00Z,2026-01-12T00:00:00Z,true\n")
    out = tmp_path / "set.parquet"
    said = call("features", "dataset", "--labels", labels, "--out", out, "--playbook", playbook)
    assert said.code == 2
    assert "row 1" in said.err
    assert "`label_at`" in said.err
    assert "`plan` (`account.updated`, field `plan`)" in said.err
