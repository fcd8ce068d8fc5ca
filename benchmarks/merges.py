"""How long a merge and its undoing hold up the writer, by the signals of the two records; on the saas sample.

Run: `python -m benchmarks.merges [--json]`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from opportune.adapters.playbook import load
from opportune.core.signals import Draft, format_time
from opportune.flows.region import Region
from opportune.wiring import open_region

SAMPLE = Path(__file__).parents[1] / "samples/saas"
SIZES = ((20_000, 10), (100_000, 1), (20_000, 20_000), (100_000, 100_000))


def record(region: Region, customer: str, signals: int) -> None:
    """A customer with so many signals, a second apart."""
    now_ms = region.clock.now_ms()
    for start in range(0, signals, 1000):
        region.ingest.run(
            [
                Draft("bench", f"{customer}-{number}", "usage.recorded", format_time(now_ms - 1000 * (number + 1)),
                      customer, f"account-{customer}", data={"feature": "boards", "count": 1 + number % 9})
                for number in range(start, min(start + 1000, signals))
            ]
        )  # fmt: skip


def measure() -> list[dict[str, float]]:
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        region = open_region(Path(scratch), "bench", "eu")
        try:
            region.promote(region.release(load(SAMPLE).playbook).hash, "bench", "bench")
            for number, (one, other) in enumerate(SIZES):
                names = f"one-{number}", f"other-{number}"
                for name, signals in zip(names, (one, other), strict=True):
                    record(region, name, signals)
                began = time.perf_counter()
                merge = region.merging.merge(*names, "bench", "measured")
                merged = time.perf_counter()
                region.merging.unmerge(merge.id, "bench", "measured")
                undone = time.perf_counter()
                found.append({"one": one, "other": other, "merge_ms": (merged - began) * 1e3,
                              "undo_ms": (undone - merged) * 1e3})  # fmt: skip
        finally:
            region.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['one']:>8,} and {row['other']:>8,} signals: merge {row['merge_ms']:7.0f} ms, "
              f"undo {row['undo_ms']:7.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
