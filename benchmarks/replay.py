"""Records decisions of the sample through the real region on SQLite, replays all, counts those that differ by a byte.

Run: `python -m benchmarks.replay [--decisions 100000] [--seed 1] [--json]`. Several releases, slates, faults,
exploration, the hold-out, merges and limits over everybody are among them; what was met is printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

from benchmarks.lived import Life, opened
from opportune.core.decisions.records import decode_record
from opportune.flows.region import Region
from opportune.flows.replay import pages, replay_window


def measured(decisions: int, seed: int) -> dict[str, Any]:
    """Records and replays so many; what was met, how many differ, and how long each part took."""
    with tempfile.TemporaryDirectory() as scratch, opened(Path(scratch)) as region:
        life = Life(region, seed, accounts=min(600, 100 + decisions // 100))
        began = time.perf_counter()
        life.decide(decisions)
        recorded_s = time.perf_counter() - began
        began, cpu = time.perf_counter(), time.process_time()
        peak_kb = getrusage(RUSAGE_SELF).ru_maxrss
        found = replay_window(region.records, region.releases.brain_of, decisions)
        return {
            "decisions": found.of, "same": found.same, "differences": found.of - found.same,
            "first": [f"{one.id}: {one.difference}" for one in found.different], "merges": life.merges,
            "recorded_s": round(recorded_s, 1), "replayed_s": round(time.perf_counter() - began, 1),
            "cpu_us_each": round((time.process_time() - cpu) / max(1, found.of) * 1e6, 1),
            "memory_grew_kb": getrusage(RUSAGE_SELF).ru_maxrss - peak_kb, "met": met(region, decisions),
        }  # fmt: skip


def met(region: Region, decisions: int) -> dict[str, int]:
    """What was among the decisions."""
    counts: Counter[str] = Counter()
    for page in pages(region.records, decisions):
        for stored in page:
            record = decode_record(stored.record)
            result = record.result
            counts[f"disposition {result.disposition}"] += 1
            counts[f"reason {result.reason}"] += 1
            counts[f"release {record.release}"] += 1
            counts["with a slate"] += bool(result.slate)
            counts["with faults"] += bool(record.faults)
            counts["with a model"] += result.model is not None
            counts["with a limit over everybody nearly used up"] += bool(record.seen.room)
            counts["refused by the browser"] += bool(record.asked.refused)
    return dict(sorted(counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measured(given.decisions, given.seed)
    if given.json:
        print(json.dumps(found))
        return
    for name, count in found["met"].items():
        print(f"{count:>9,} {name}")
    print(f"{found['merges']:>9,} merges on the way")
    times = f"recorded in {found['recorded_s']} s, replayed in {found['replayed_s']} s"
    print(f"{times} ({found['cpu_us_each']} µs CPU each)")
    print(f"memory grew by {found['memory_grew_kb']:,} kB while replaying")
    for line in found["first"]:
        print(line)
    print(f"{found['decisions']:,} decisions replayed, {found['differences']:,} byte differences")


if __name__ == "__main__":
    main()
