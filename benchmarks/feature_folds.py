"""What folding one signal costs beside writing a row of the same size to SQLite, and what a customer's state weighs."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import feature_reads
from opportune.adapters.playbook import load
from opportune.core.features import CompiledViews, EntityFeatures, encode_state
from opportune.core.playbook import Playbook
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import parse_time_ms
from opportune.testing.world import World

END_MS = 1_780_000_000_000
GROUPED = 500
SAAS = Path(__file__).parents[1] / "samples" / "saas"

Fed = tuple[str, str, int, dict[str, Any], tuple[tuple[str, str], ...]]
"""Signal type, id, at_ms, data, and (entity, id) of whom it is about."""
States = dict[tuple[str, str], EntityFeatures | None]


def saas(accounts: int) -> tuple[Playbook, list[Fed]]:
    """The sample playbook and the history of its simulated company: 75 days of signals of 17 types."""
    events = World(7, accounts, end_ms=END_MS).history()
    return load(SAAS).playbook, [_fed(each) for each in events]


def synthetic(customers: int) -> tuple[Playbook, list[Fed]]:
    """The playbook of 40 features and the history of `feature_reads`."""
    drafts = feature_reads.history(customers, END_MS)
    return feature_reads.playbook(), [_fed(msgspec.to_builtins(each)) for each in drafts]


def _fed(event: dict[str, Any]) -> Fed:
    account = (("account", event["account"]),)
    about = (("person", event["subject"]), *account) if event.get("subject") else account
    return event["type"], event["id"], parse_time_ms(event["time"]), event["data"], about


def measure(playbook: Playbook, fed: Sequence[Fed], signals_max: int) -> dict[str, Any]:
    """Folds the first part of the history to have states of some age, then times the last `signals_max` signals.

    `grouped` and `one each` write the very states those folds made, as MessagePack, in synced transactions.
    """
    views = compile_release(encode_manifest(playbook)).views
    states: States = {}
    cut = max(len(fed) - signals_max, len(fed) // 2)
    for _ in _folded(views, states, fed[:cut]):
        pass
    measured = fed[cut:]
    kept = dict(states)
    began = time.perf_counter()
    changed = sum(1 for _ in _folded(views, states, measured))
    fold_us = (time.perf_counter() - began) / len(measured) * 1e6
    began = time.perf_counter()
    blobs = [(f"{key[0]}/{key[1]}", encode_state(state)) for key, state in _folded(views, kept, measured)]
    whole_us = (time.perf_counter() - began) / len(measured) * 1e6
    writes = changed / len(measured)
    found: dict[str, Any] = {
        "signals": len(measured), "states_changed_per_signal": writes, "fold_us": fold_us,
        "fold_and_encode_us": whole_us, "row_bytes": sum(len(blob) for _, blob in blobs) / len(blobs),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        grouped = upserts(Path(folder) / "grouped.db", blobs, GROUPED, 30.0)
        single = upserts(Path(folder) / "single.db", blobs, 1, 5.0)
    # A signal that changes two states writes two rows: compared by signal, not by row.
    found |= {"grouped_upsert_us": grouped * writes, "one_each_upsert_us": single * writes}
    found["grouped_ratio"] = found["grouped_upsert_us"] / whole_us
    found["one_each_ratio"] = found["one_each_upsert_us"] / whole_us
    return found | {"state": weights(states)}


def _folded(
    views: CompiledViews, states: States, fed: Iterable[Fed]
) -> Iterable[tuple[tuple[str, str], EntityFeatures]]:
    """Folds each signal into the states it is about, and yields those that changed."""
    fold = views.fold
    for type_, id_, at_ms, data, about in fed:
        for key in about:
            before = states.get(key)
            after = fold(key[0], before, type_, id_, at_ms, data)
            if after is not before and after is not None:
                states[key] = after
                yield key, after


def upserts(path: Path, rows: Sequence[tuple[str, bytes]], group: int, seconds_max: float) -> float:
    """Microseconds per row of a bare upsert by key, `group` rows a transaction, each synced to disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE states (id TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID")
    text = "INSERT INTO states VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state"
    written, began = 0, time.perf_counter()
    for start in range(0, len(rows), group):
        connection.execute("BEGIN IMMEDIATE")
        for row in rows[start : start + group]:
            connection.execute(text, row)
            written += 1
        connection.execute("COMMIT")
        if time.perf_counter() - began > seconds_max:
            break
    took = time.perf_counter() - began
    connection.close()
    return took / written * 1e6


def weights(states: States) -> dict[str, dict[str, float]]:
    """Bytes of the encoded state by entity: how many there are, mean, median, 99th percentile and largest."""
    found = {}
    for entity in ("person", "account"):
        sizes = sorted(len(encode_state(state)) for (kind, _), state in states.items() if kind == entity and state)
        if sizes:
            found[entity] = {
                "states": len(sizes), "mean": sum(sizes) / len(sizes), "p50": sizes[len(sizes) // 2],
                "p99": sizes[int(len(sizes) * 0.99)], "largest": sizes[-1],
            }  # fmt: skip
    return found
