"""What features cost: online reads beside Feast, folds beside SQLite, training sets beside DuckDB and polars.

Run: `python -m benchmarks.features [--peers DIR] [--rows 200000] [--signals 5000000] [--seconds 6] [--json]`.
With `--peers` the peers are installed once into a throw-away environment in that folder; without it the figures are
ours and the floors only, and what was left out is said.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import feature_folds, feature_reads, training_sets
from benchmarks.peers.environment import NoPeers, python_of

PARTS = ("read", "fold", "train")
OURS = ("opportune, states in memory", "opportune, states from SQLite")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    python: Path | None = None
    if options.peers is None:
        found["no_peers"] = "say --peers DIR to install and measure them"
    else:
        try:
            python = python_of(options.peers)
        except NoPeers as error:
            found["no_peers"] = str(error)
    if "read" in options.parts:
        found["read"] = feature_reads.measure(options.seconds, options.customers, python)
    if "fold" in options.parts:
        found["fold"] = {
            "saas sample": feature_folds.measure(*feature_folds.saas(options.customers // 10), options.folds),
            "40 features": feature_folds.measure(*feature_folds.synthetic(options.customers), options.folds),
        }
    if "train" in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            found["train"] = training_sets.measure(Path(folder), options.signals, options.rows, python)
    return found


def told(found: dict[str, Any]) -> Iterator[str]:
    if "no_peers" in found:
        yield f"peers not measured: {found['no_peers']}"
    if "read" in found:
        yield from _read_told(found["read"])
    if "fold" in found:
        yield from _fold_told(found["fold"])
    if "train" in found:
        yield from _train_told(found["train"])


def _read_told(read: dict[str, Any]) -> Iterator[str]:
    yield f"\none online read of {read['features']} features of person and account, {read['customers']} customers"
    sides = read["sides"]
    for name, one in sides.items():
        yield f"{name:>34}  p50 {one['p50_us']:8.1f} µs  p99 {one['p99_us']:8.1f} µs  {one['per_second']:8.0f}/s"
    for name, one in sides.items():
        if name not in OURS:
            ratios = [one["p50_us"] / sides[ours]["p50_us"] for ours in OURS]
            yield f"{name:>34}  takes {ratios[0]:.2f} times ours in memory, {ratios[1]:.2f} times ours from SQLite"
    for each in read["left_out"]:
        yield f"left out: {each}"
    state = read["state"]
    yield (
        f"state of a customer: {state['mean']:.0f} bytes of cells on average, {state['largest']} at most; "
        f"{state['sealed_rows_mean']:.0f} bytes as sealed rows of the store"
    )


def _fold_told(fold: dict[str, Any]) -> Iterator[str]:
    yield "\nfold of one signal beside a bare SQLite upsert of the same bytes (synchronous=FULL)"
    for name, one in fold.items():
        yield (
            f"{name:>34}  fold {one['fold_us']:.1f} µs, with encoding {one['fold_and_encode_us']:.1f} µs; upsert "
            f"{one['grouped_upsert_us']:.1f} µs grouped by {feature_folds.GROUPED} (x{one['grouped_ratio']:.2f}), "
            f"{one['one_each_upsert_us']:.0f} µs one each (x{one['one_each_ratio']:.1f}); {one['signals']} signals, "
            f"{one['states_changed_per_signal']:.2f} states of {one['row_bytes']:.0f} bytes each"
        )
        for entity, size in one["state"].items():
            yield (
                f"{'':>34}  {entity}: {size['mean']:.0f} bytes of state on average, p50 {size['p50']}, "
                f"p99 {size['p99']}, largest {size['largest']} ({size['states']} of them)"
            )


def _train_told(train: dict[str, Any]) -> Iterator[str]:
    yield f"\ntraining set of {train['rows']:,} rows as of their times over {train['signals']:,} signals, 16 features"
    yield "by hand, ours (the query made of the views) and polars go from Parquet to Parquet; the adapter is given"
    yield "Python objects and gives Python lists, as `opportune features dataset` does"
    engines = train["engines"]
    for name, one in engines.items():
        ratio = one["seconds"] / engines["by hand"]["seconds"]
        every = ", ".join(f"{each:.2f}" for each in one["all_seconds"])
        yield f"{name:>34}  {one['seconds']:.2f} s (x{ratio:.3f} of by hand; {every})  peak {one['peak_mb']:.0f} MB"
    yield f"all sets equal, checksum {train['checksum']}; {train['like_online']} values equal the fold that serves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="where the peers' environment is, or is to be made")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each side of the online read")
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--folds", type=int, default=20_000, help="signals folded and timed")
    parser.add_argument("--rows", type=int, default=200_000, help="of the training set")
    parser.add_argument("--signals", type=int, default=5_000_000, help="that the training set is made from")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print("\n".join(told(found)))


if __name__ == "__main__":
    main()
