"""Features read from the online store of a real Feast repository, in an environment that has Feast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = os.environ.get("OPPORTUNE_FEAST_PYTHON", "")
SOURCE = Path(__file__).parents[3] / "src"
SCRIPT = """
import json, os, sys
from datetime import datetime, timezone
from pathlib import Path
sys.path += json.loads(sys.argv[2])
os.environ["FEAST_USAGE"] = "False"
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String
from opportune.adapters.feast import FeastReader

folder = Path(sys.argv[1])
(folder / "feature_store.yaml").write_text(
    "project: shop\\nprovider: local\\nregistry: registry.db\\nentity_key_serialization_version: 3\\n"
    "online_store: {type: sqlite, path: online.db}\\noffline_store: {type: file}\\n"
)
store = FeatureStore(repo_path=str(folder))
key = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
source = FileSource(name="stats", path=str(folder / "none.parquet"), timestamp_field="at")
schema = [Field(name="account_id", dtype=String), Field(name="ltv", dtype=Float64), Field(name="segment", dtype=String)]
store.apply([key, source, FeatureView(name="stats", entities=[key], schema=schema, source=source)])
at = datetime(2026, 11, 24, 9, tzinfo=timezone.utc)
frame = pd.DataFrame({"account_id": ["a"], "ltv": [2.5], "segment": ["gold"], "at": [at]})
store.write_to_online_store("stats", df=frame)
reader = FeastReader(folder, "account_id")
print(json.dumps([reader.read("account", one, ["stats:ltv", "stats:segment"], 0, 1.0) for one in ("a", "nobody")]))
"""


@pytest.mark.torture
@pytest.mark.skipif(not PYTHON, reason="OPPORTUNE_FEAST_PYTHON names no interpreter with Feast")
def test_values_and_their_times_of_a_real_repository(tmp_path: Path) -> None:
    paths = json.dumps([str(SOURCE), *(one for one in sys.path if one.endswith("site-packages"))])
    ended = subprocess.run(
        [PYTHON, "-c", SCRIPT, str(tmp_path), paths], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    known, unknown = json.loads(ended.stdout.splitlines()[-1])
    assert known == {"stats:ltv": [2.5, 1_795_510_800_000], "stats:segment": ["gold", 1_795_510_800_000]}
    assert unknown == {"stats:ltv": [None, None], "stats:segment": [None, None]}
