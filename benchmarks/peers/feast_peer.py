"""Feast as a peer: keeps the same values in its SQLite or Redis online store and reads them back, timed.

Run by `benchmarks.features` in the peers' environment; imports nothing of Opportune. Reads commands on standard
input, one a line (`check N`, `run SECONDS`, `end`), and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

os.environ["FEAST_USAGE"] = "False"

import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
from feast import (  # type: ignore[import-not-found]
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
    __version__,
)
from feast.types import Float64, Int64, String  # type: ignore[import-not-found]

TYPES = {"int": Int64, "double": Float64, "string": String}


def opened(folder: Path, online: dict[str, str]) -> FeatureStore:
    """A store whose registry is read once and kept, as a warm server has it."""
    return FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry={"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
            online_store=online,
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )


def filled(store: FeatureStore, folder: Path, values: dict[str, Any]) -> list[str]:
    """Writes the values of both entities; returns the 40 references."""
    written = datetime.now(timezone.utc)  # noqa: UP017 - Feast's pandas wants this spelling on every Python
    references: list[str] = []
    for entity in ("person", "account"):
        part = values[entity]
        key = Entity(name=entity, join_keys=[entity], value_type=ValueType.STRING)
        schema = [Field(name=name, dtype=TYPES[type_]) for name, type_ in part["types"].items()]
        schema.append(Field(name=entity, dtype=String))
        source = FileSource(name=f"{entity}_source", path=str(folder / "none.parquet"), timestamp_field="at")
        view = FeatureView(name=f"{entity}_view", entities=[key], schema=schema, source=source)
        store.apply([key, source, view])
        frame = pd.DataFrame(part["rows"], columns=[entity, *part["types"]])
        frame["at"] = written
        store.write_to_online_store(f"{entity}_view", df=frame)
        references += [f"{entity}_view:{name}" for name in part["types"]]
    return references


def main() -> None:
    values = json.loads(Path(sys.argv[1]).read_text())
    folder, online = Path(sys.argv[2]), json.loads(sys.argv[3])
    folder.mkdir(parents=True)
    store = opened(folder, online)
    references = filled(store, folder, values)
    rows = [[{"person": person, "account": account}] for person, account in values["pairs"]]
    at = 0
    print(json.dumps({"version": __version__}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.partition(" ")
        if command.strip() == "end":
            break
        if command == "check":
            read = [store.get_online_features(references, row).to_dict() for row in rows[: int(argument)]]
            answer: Any = [{name: found[0] for name, found in one.items()} for one in read]
        else:
            call_us, whole_us = [], []
            end = time.perf_counter() + float(argument)
            while time.perf_counter() < end:
                row = rows[at % len(rows)]
                at += 1
                began = time.perf_counter()
                response = store.get_online_features(references, row)
                called = time.perf_counter()
                response.to_dict()
                done = time.perf_counter()
                call_us.append((called - began) * 1e6)
                whole_us.append((done - began) * 1e6)
            answer = {"call_us": call_us, "whole_us": whole_us}
        print(json.dumps(answer), flush=True)


main()
