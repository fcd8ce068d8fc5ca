"""`features lineage --openlineage`: every event has the shape of the spec, and says what feeds what."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from .called import call

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

SPEC = os.environ.get("OPENLINEAGE_SPEC", "")
"""The folder `spec` of a checkout of OpenLineage/OpenLineage (Apache-2.0): then events are held to it itself."""
LABELS = "customer,account,at,label_at,bought\n,A1,2026-11-01T00:00:00Z,2026-11-15T00:00:00Z,true\n"


@pytest.fixture(scope="module")
def events(company: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("lineage")
    (folder / "labels.csv").write_text(LABELS)
    made = call(
        "features", "dataset", "--labels", folder / "labels.csv", "--out", folder / "set.parquet",
        "--features", "usage_7d,seat_ratio", "--label-signal", "offer.converted", "--playbook", company, "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    out = folder / "events.ndjson"
    said = call(
        "features", "lineage", "--openlineage", "--dataset", folder / "set.lineage.json", "--out", out,
        "--playbook", company,
    )  # fmt: skip
    assert said.code == 0, said.err
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_event_has_what_the_spec_requires(events: list[dict[str, Any]]) -> None:
    for event in events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["eventTime"])
        assert event["producer"].startswith("https://")
        kind = "RunEvent" if "run" in event else "JobEvent"
        assert event["schemaURL"] == f"https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/{kind}"
        assert (kind == "RunEvent") == ("eventType" in event)
        if kind == "RunEvent":
            UUID(event["run"]["runId"])
        for named in (event["job"], *event["inputs"], *event["outputs"]):
            assert named["namespace"] == "opportune://larkfield/eu"
            assert named["name"]
            for facet in named.get("facets", {}).values():
                assert facet["_producer"] == event["producer"]
                assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")


def test_views_and_training_sets_say_what_feeds_them(events: list[dict[str, Any]]) -> None:
    jobs = {event["job"]["name"]: event for event in events if "run" not in event}
    seats = jobs["fold.seats@1"]
    assert [one["name"] for one in seats["inputs"]] == ["signals.seats.counted", "features.subscription@1"]
    (output,) = seats["outputs"]
    columns = output["facets"]["columnLineage"]["fields"]
    read = {(one["name"], one["field"]) for one in columns["seat_ratio"]["inputFields"]}
    assert read == {("features.seats@1", "seats_used"), ("features.subscription@1", "seats")}
    (used,) = columns["seats_used"]["inputFields"]
    assert (used["name"], used["field"]) == ("signals.seats.counted", "used")
    assert used["transformations"][0]["description"] == "last of data.used from seats.counted"

    runs = [event for event in events if event["job"]["name"] == "features.dataset"]
    assert [run["eventType"] for run in runs] == ["START", "COMPLETE"]
    assert len({run["run"]["runId"] for run in runs}) == 1
    assert [one["name"] for one in runs[0]["outputs"]] == ["set.parquet"]
    assert [one["name"] for one in runs[0]["inputs"]] == [
        "features.usage@1", "features.seats@1", "signals.offer.converted"
    ]  # fmt: skip


@pytest.mark.torture
@pytest.mark.skipif(not SPEC, reason="OPENLINEAGE_SPEC names no checkout of the spec")
def test_every_event_is_valid_by_the_published_schema(events: list[dict[str, Any]]) -> None:
    documents = [json.loads(path.read_text()) for path in sorted(Path(SPEC).rglob("*.json"))]
    registry = jsonschema_rs.Registry([(one["$id"], one) for one in documents if "$id" in one])
    checked = 0
    for event in events:
        validator = jsonschema_rs.Draft202012Validator({"$ref": event["schemaURL"]}, registry=registry)
        assert [str(error) for error in validator.iter_errors(event)] == []
        for named in (event["job"], *event["inputs"], *event["outputs"]):
            for facet in named.get("facets", {}).values():
                own = jsonschema_rs.Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry)
                assert [str(error) for error in own.iter_errors(facet)] == []
                checked += 1
    assert checked > 50


def test_without_it_lineage_is_a_table(company: Path) -> None:
    found = {one["feature"]: one for one in call("features", "lineage", "--playbook", company, "--json").json}
    assert found["usage_trend"] == {
        "feature": "usage_trend", "signals": ["usage.recorded"], "features": ["usage_28d", "usage_7d"]
    }  # fmt: skip
    said = call("features", "lineage", "--openlineage", "--dataset", "nothing.json", "--playbook", company)
    assert said.code == 2
    assert "is no lineage of a training set" in said.err
