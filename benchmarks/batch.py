"""What deciding about everybody costs: 1,000,000 customers x 50 offers x 20 policies x 40 features, from Parquet.

In a process of its own, so that its peak memory is its own; beside it, in the same process, the kernel one at a time
on a sample of the same rows: how much faster, and that every answer of the sample is the same.
Run: `python -m benchmarks.batch [--customers 1000000] [--offers 50] [--sample 2000] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import synthetic
from opportune.adapters.duckdb import DuckColumns
from opportune.core.decisions.batch import RowBrain
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import Asked, Result, Seen
from opportune.flows import batch as flow
from opportune.flows.batch_columns import rows_of
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.wiring import open_region

AT_ONCE = 100_000
POLICIES, FEATURES = 20, 40
SHORTLISTED = 65_536
STATUSES = np.array(["given", "refused"], object)
PLANS = np.array(["team", "business", "enterprise", "trial"], object)


class NoFault:
    """The kernel's probe: nothing is late or fails."""

    def before(self, step: str) -> str | None:
        return None


def rows(brain: Brain, first: int, count: int) -> dict[str, NDArray[Any]]:
    """Customers from `first` on: one in a hundred values missing, one consent in five refused."""
    rng = np.random.default_rng(first)
    found: dict[str, NDArray[Any]] = {
        "customer": np.array([f"c{number:07}" for number in range(first, first + count)], object),
        "account": np.array([f"a{number // 2:07}" for number in range(first, first + count)], object),
    }
    for channel in synthetic.CHANNELS:
        found[f"consent.marketing/{channel}"] = STATUSES[(rng.random(count) < 0.2).astype(np.int64)]
    found["context.used"] = rng.integers(0, 9, count)
    for name in brain.views.names:
        type_ = brain.views.types[name]
        if type_ == "string":
            found[name] = PLANS[rng.integers(0, len(PLANS), count)]
            continue
        values = rng.integers(0, 300, count) if type_ == "int" else rng.random(count) * 4.0
        found[name] = np.ma.array(values, mask=rng.random(count) < 0.01)
    return found


def prepare(folder: Path, offers: int) -> Region:
    """A region with the synthetic playbook and model, and nobody known."""
    region = open_region(folder, "bench", "eu")
    book = synthetic.playbook(offers, POLICIES, FEATURES)
    approve_all(region, [card := synthetic.scorecard(book)])
    region.promote(region.release(book, [card]).hash, "bench", "bench")
    return region


def write(region: Region, path: Path, customers: int) -> None:
    brain = region.releases.brain()
    with DuckColumns().writer(str(path)) as add:
        for first in range(0, customers, AT_ONCE):
            add(rows(brain, first, min(AT_ONCE, customers - first)))


def measure(folder: str, path: str, offers: int, sample: int, results: Any) -> None:  # noqa: ANN401 - a queue of its context
    """The work itself, in a process of its own: what it cost, and whether the kernel says the same."""
    region = prepare(Path(folder), offers)
    brain = region.releases.brain()
    before = peak_mb()
    files = DuckColumns()
    work = flow.check(region.decide, files, path, synthetic.MOMENT, (), {}, "bench")
    cpu, began = time.process_time(), time.perf_counter()
    kept: dict[str, NDArray[Any]] = {}
    count = 0
    compiled = RowBrain(brain)
    mix: dict[tuple[str, str, str], int] = {}
    with files.writer(f"{folder}/out.parquet") as add:
        for told in flow.run(region.decide, files, work, compiled):
            kept = kept or told.columns
            count += len(told.columns["customer"])
            for key, many in flow.mix_of(told.columns).items():
                mix[key] = mix.get(key, 0) + many
            add(told.columns)
    took = {"cpu_s": time.process_time() - cpu, "s": time.perf_counter() - began, "peak_mb": peak_mb()}
    at_ms = region.clock.now_ms()
    tally = {"values": compiled.policies.tally.values, "rows": compiled.policies.tally.rows}
    policies_us = shortlisting(compiled, work, path, at_ms)
    alone_us = alone(brain, path, kept, min(sample, len(kept["customer"])), at_ms)
    results.put(
        {
            "customers": count, "offers": offers, "candidates": len(brain.candidates), "start_mb": before, **took,
            "rows_per_s": count / took["s"], "rows_per_cpu_s": count / took["cpu_s"], "sample": sample,
            "value_by_value": tally["values"], "value_by_value_for": tally["rows"],
            "policies_cpu_us": policies_us, "alone_cpu_us": alone_us,
            "times_faster": alone_us / (took["cpu_s"] / count * 1e6),
            "mix": {f"{d} {r}": sum(m for (a, b, _), m in mix.items() if (a, b) == (d, r)) for d, r, _ in mix},
        }
    )  # fmt: skip
    region.close()


def shortlisting(compiled: RowBrain, work: flow.Batch, path: str, at_ms: int) -> float:
    """CPU microseconds of policies, requirements and limits alone, for one customer with all candidates."""
    columns = next(iter(DuckColumns().rows(path, work.layout.names, (), SHORTLISTED)))
    customers = [str(one) for one in columns["customer"]]
    rows = rows_of(
        work.brain, work.layout, synthetic.MOMENT, synthetic.CHANNELS, {}, columns, customers, customers, at_ms, 1
    )
    cpu = time.process_time()
    for start in range(0, len(customers), 8_192):
        compiled.shortlist(rows.some(slice(start, start + 8_192)))
    return (time.process_time() - cpu) / len(customers) * 1e6


def alone(brain: Brain, path: str, told: Mapping[str, NDArray[Any]], sample: int, at_ms: int) -> float:
    """CPU microseconds of the kernel for one customer; every answer must be the one of the batch.

    What a decision sees is made beforehand: reading the file is the batch's cost alone.
    """
    names = list(DuckColumns().kinds(path))
    columns = next(iter(DuckColumns().rows(path, names, (), sample)))
    asked, seen = [], []
    for row in range(sample):
        values = {name: plain(columns[name], row) for name in names}
        consents = {n.removeprefix("consent."): v for n, v in values.items() if n.startswith("consent.")}
        features = {name: values[name] for name in brain.views.names}
        context = {"used": values["context.used"]}
        asked.append(Asked(values["customer"], synthetic.MOMENT, synthetic.CHANNELS, context))
        seen.append(Seen(at_ms, values["account"], values["account"], features, {}, consents))
    ids = [f"bench/{one.customer}" for one in asked]
    results: list[Result] = []
    probe = NoFault()
    cpu = time.process_time()
    for row in range(sample):
        results.append(run(brain, asked[row], seen[row], ids[row], probe))  # noqa: PERF401 - what is measured
    took = time.process_time() - cpu
    for row, result in enumerate(results):
        given = tuple(plain(told[name], row) for name in ("disposition", "reason", "offer", "channel"))
        assert given == (result.disposition, result.reason, result.offer, result.channel), (ids[row], given, result)
        numbers = tuple(plain(told[name], row) for name in ("value", "action_probability", "confidence"))
        assert numbers == (result.value, result.action_probability, result.confidence), (ids[row], numbers, result)
    return took / sample * 1e6


def plain(values: NDArray[Any], row: int) -> Any:  # noqa: ANN401 - whatever the column holds
    value = values[row]
    return None if value is np.ma.masked else value.item() if isinstance(value, np.generic) else value


def peak_mb() -> float:
    """The most memory this process had; `getrusage` would count that of the process it was started from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--offers", type=int, default=50)
    parser.add_argument("--sample", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.parquet"
        region = prepare(Path(folder) / "made", options.offers)
        write(region, path, options.customers)
        region.close()
        results = context.Queue()
        work = (f"{folder}/measured", str(path), options.offers, options.sample, results)
        process = context.Process(target=measure, args=work)
        process.start()
        found = results.get(timeout=3600)
        process.join()
    if options.json:
        print(json.dumps(found, indent=1))
        return
    each_us = found["cpu_s"] / found["customers"] * 1e6
    print(
        f"{found['customers']:,} customers x {found['offers']} offers ({found['candidates']} candidates) x {POLICIES} "
        f"policies x {FEATURES} features, Parquet to Parquet"
    )
    print(
        f"in a batch     {found['rows_per_s']:9,.0f} a second  {each_us:6.1f} µs CPU each  {found['cpu_s']:.1f} s CPU  "
        f"peak {found['peak_mb']:,.0f} MB ({found['start_mb']:,.0f} MB before it began)"
    )
    print(f"  of which the policies over all candidates {found['policies_cpu_us']:.1f} µs CPU each")
    print(
        f"one at a time  {1e6 / found['alone_cpu_us']:9,.0f} a second  {found['alone_cpu_us']:6.1f} µs CPU each  "
        f"the kernel alone, {found['sample']:,} of these customers: all answers equal"
    )
    print(
        f"parts of policies without a form for whole columns: {found['value_by_value_for']:,} (parts x customers), "
        f"worked out exactly, once per distinct value, in {found['value_by_value']:,} evaluations"
    )
    shares = sorted(found["mix"].items(), key=lambda one: -one[1])
    print(f"a batch is {found['times_faster']:.1f} times faster; " + ", ".join(f"{n} {c:,}" for n, c in shares))


if __name__ == "__main__":
    main()
