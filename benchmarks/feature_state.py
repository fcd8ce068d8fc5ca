"""What the features of the saas sample keep per customer: `python -m benchmarks.feature_state`.

A world of 300 customers lives 90 days; its signals are folded as ingestion folds them. The figures of "What it costs"
in docs/features.md are this script's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, quantiles

from opportune.adapters.playbook import load
from opportune.core.features import CompiledViews, EntityFeatures, encode_state
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import parse_time_ms
from opportune.testing.world import World

SAMPLE = Path(__file__).parents[1] / "samples/saas"
END_MS = 1_795_478_400_000
ROUNDS = 5
READS = 3_000

Folded = tuple[str, str, int, dict[str, object], list[tuple[str, str]]]
"""Type, id, time, data, and whom the signal is about."""
States = dict[tuple[str, str], EntityFeatures | None]


def fold_all(views: CompiledViews, signals: list[Folded]) -> States:
    states: States = {}
    for type_, id_, at_ms, data, places in signals:
        for place in places:
            states[place] = views.fold(place[0], states.get(place), type_, id_, at_ms, data)
    return states


def main() -> None:
    views = compile_release(encode_manifest(load(SAMPLE).playbook)).views
    signals: list[Folded] = []
    for event in World(8, 300, 90, end_ms=END_MS).history():
        places = [(kind, event[key]) for kind, key in (("account", "account"), ("person", "subject")) if key in event]
        signals.append((event["type"], event["id"], parse_time_ms(event["time"]), event["data"], places))
    best_s = min(_timed(views, signals) for _ in range(ROUNDS))
    states = fold_all(views, signals)
    folded = sum(feature.key is not None for feature in views.features.values())
    print(f"{len(views.names)} features, {folded} of them folded; {len(signals)} signals, 90 days")
    for entity in ("account", "person"):
        sizes = [len(encode_state(state)) for place, state in states.items() if place[0] == entity and state]
        print(f"{entity}: mean {mean(sizes):.0f} bytes, p95 {quantiles(sizes, n=20)[-1]:.0f}, most {max(sizes)}")
    _by_feature(views, states)
    person = next(state for place, state in states.items() if place[0] == "person" and state)
    account = next(state for place, state in states.items() if place[0] == "account" and state)
    before = time.process_time()
    for _ in range(READS):
        views.read(person, account, END_MS)
    read_us = (time.process_time() - before) / READS * 1e6
    print(f"fold of one signal {best_s / len(signals) * 1e6:.1f} µs, read of all features {read_us:.1f} µs (CPU)")


def _timed(views: CompiledViews, signals: list[Folded]) -> float:
    before = time.process_time()
    fold_all(views, signals)
    return time.process_time() - before


def _by_feature(views: CompiledViews, states: States) -> None:
    """Mean and largest cell of each feature with more than 20 bytes."""
    sizes: dict[str, list[int]] = defaultdict(list)
    names = {feature.key: feature.name for feature in views.features.values() if feature.key is not None}
    for state in states.values():
        for key, cell in () if state is None else state.cells.items():
            sizes[names[key]].append(len(cell))
    for name, found in sorted(sizes.items(), key=lambda item: -mean(item[1])):
        if mean(found) > 20:
            print(f"  {name:<26} mean {mean(found):4.0f} bytes, most {max(found)}")


if __name__ == "__main__":
    main()
