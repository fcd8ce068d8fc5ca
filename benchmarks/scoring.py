"""What it costs to score one customer for 50 offers and to say why, beside the libraries' own ways, in one run.

The same boosted trees are served by LightGBM, by onnxruntime and as a card; the same explainable boosting machine by
InterpretML and as a card. Each gives the chance of buying for every offer; with reasons it also says what each feature
added (LightGBM: TreeSHAP; InterpretML: `explain_local`; cards: the three largest parts of every offer).
Run: `python -m benchmarks.scoring [--rows 20000] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.onnx_trees import onnx_of
from opportune.adapters.ebm.tables import CATEGORIES_MAX, fed, head_of, types_of
from opportune.adapters.lightgbm.bins import coding
from opportune.adapters.lightgbm.trees import forest_of
from opportune.core.expressions.columns import Column
from opportune.core.models import (
    AdditiveHead,
    Calibration,
    CompiledModel,
    Example,
    FeatureTable,
    OfferHeads,
    Scorecard,
    Training,
    TrainingSet,
    compile_scorecard,
)
from opportune.core.models.binning import bins_of, feature_tables
from opportune.core.models.rows import RowModel

OFFERS = tuple(f"offer_{number:02}" for number in range(50))
FEATURES = 20
TREES, LEAVES = 100, 31
TABLE_ROWS = 5_000
TRAINING = Training("d", 1, 1, 0, 0, 0, 1, 1, "14d", 20.0, {}, {}, {}, (), (), "benchmark")


def history(rows: int, seed: int = 5) -> TrainingSet:
    """Customers of 20 features, each asked about one of 50 offers; what sells depends on both."""
    random = np.random.default_rng(seed)
    numbers = np.round(random.gamma(2.0, 20.0, (rows, FEATURES - 4)), 1)
    plans = random.choice(["team", "business", "enterprise", "trial"], (rows, 2))
    flags = random.random((rows, 2)) < 0.4
    offers = random.integers(0, len(OFFERS), rows)
    score = -2.0 + 0.02 * numbers[:, 0] - 0.015 * numbers[:, 1] * (offers % 3 == 0) + 0.8 * flags[:, 0]
    score += np.where(plans[:, 0] == "trial", 0.7, 0.0) + 0.01 * (offers % 7) * (numbers[:, 2] > 40.0)
    bought = random.random(rows) < 1.0 / (1.0 + np.exp(-score))
    names = tuple(f"f{number:02}" for number in range(FEATURES))
    types = (*["double"] * (FEATURES - 4), *["string"] * 2, *["bool"] * 2)
    examples = tuple(
        Example(
            row, f"u{row}", OFFERS[offers[row]], True, 1.0, bool(bought[row]),
            (*numbers[row].tolist(), *plans[row].tolist(), *flags[row].tolist()),
        )
        for row in range(rows)
    )  # fmt: skip
    return TrainingSet(names, types, examples, 14 * 86_400_000, target="acceptance")


def card_of(tables: tuple[FeatureTable, ...], heads: list[AdditiveHead]) -> Scorecard:
    """A card of chances, one head per offer."""
    flat = AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables))
    offers = tuple(OfferHeads(offer, head, flat, flat, 1, 1, 1, 1) for offer, head in zip(OFFERS, heads, strict=True))
    return Scorecard(1, "bench", "bench", "s", tables, offers, Calibration(), TRAINING, True, "chance")


def timed(work: Callable[[], object], least_s: float = 0.6) -> float:
    """Microseconds per call: the best of five rounds, each long enough to tell."""
    work()
    count, best = 1, float("inf")
    for _ in range(5):
        while True:
            began = time.perf_counter()
            for _ in range(count):
                work()
            took = time.perf_counter() - began
            if took >= least_s / 5:
                break
            count *= 2
        best = min(best, took / count)
    return best * 1e6


def ours(model: CompiledModel, values: tuple[object, ...]) -> tuple[float, float]:
    """(scores alone, scores with the reasons of every offer), from the customer's values as they are kept."""
    return timed(lambda: model.score(values)), timed(lambda: model.explain_all(model.score(values)))


def in_tables(model: CompiledModel, examples: TrainingSet) -> float:
    """Customers per second, each for 50 offers."""
    rows = [row.values for row in examples.examples[:TABLE_ROWS]]
    types = dict(zip(examples.feature_names, examples.feature_types, strict=True))
    columns = {}
    for at, (name, type_) in enumerate(types.items()):
        values = [row[at] for row in rows]
        if type_ == "string":
            table = sorted({str(value) for value in values})
            codes = np.array([table.index(str(value)) for value in values])
            columns[name] = Column("string", codes, table)
        else:
            columns[name] = Column(type_, np.array(values))
    table_model = RowModel(model, examples.feature_names)
    return len(rows) / (timed(lambda: table_model.score(columns, len(rows)), 2.0) / 1e6)


def boosted(examples: TrainingSet) -> dict[str, float]:
    """LightGBM with the offer as one more category: its own ways, onnxruntime's, and a card of its trees."""
    import lightgbm
    import onnxruntime

    rows = examples.examples
    tables = feature_tables(examples, 48, CATEGORIES_MAX)
    bins = bins_of(tables, examples.feature_names, examples.examples)
    codes = coding(tables, bins)
    offer = np.array([OFFERS.index(row.offer) for row in rows], np.float64)
    data = np.column_stack([codes.of(bins), offer])
    params = {
        "objective": "binary", "num_leaves": LEAVES, "num_threads": 1, "verbose": -1, "min_data_in_bin": 1,
        "seed": 1, "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    named = [*codes.categorical, len(tables)]
    booster = lightgbm.train(
        params, lightgbm.Dataset(data, [row.bought for row in rows], categorical_feature=named), TREES
    )
    heads = []
    for number in range(len(OFFERS)):
        forest = forest_of(booster, codes, {len(tables): float(number)})
        heads.append(AdditiveHead(forest.base, tuple((0.0,) * table.bin_count for table in tables), (), forest.trees))
    model = compile_scorecard(card_of(tables, heads), OFFERS, examples.feature_names)
    values = rows[0].values
    asked = np.tile(data[0], (len(OFFERS), 1))
    asked[:, -1] = np.arange(len(OFFERS))
    session = onnxruntime.InferenceSession(onnx_of(booster, asked.shape[1]), _one_thread(), ["CPUExecutionProvider"])
    small = asked.astype(np.float32)
    own = booster.predict(asked, num_threads=1)
    assert np.abs(np.array(model.score(values).p_accept) - own).max() < 2e-9, "the card says something else"
    other = 1.0 / (1.0 + np.exp(-session.run(None, {"x": small})[0][:, 0]))
    assert np.abs(other - own).max() < 1e-4, "the ONNX model says something else"
    alone, explained = ours(model, values)
    many = np.repeat(data[:200], len(OFFERS), 0)
    many[:, -1] = np.tile(np.arange(len(OFFERS)), 200)
    return {
        "card_us": alone,
        "card_with_reasons_us": explained,
        "own_us": timed(lambda: booster.predict(asked, num_threads=1)),
        "own_with_reasons_us": timed(lambda: booster.predict(asked, pred_contrib=True, num_threads=1)),
        "onnx_us": timed(lambda: session.run(None, {"x": small})),
        "card_rows_per_s": in_tables(model, examples),
        "own_rows_per_s": 200 / (timed(lambda: booster.predict(many, num_threads=1)) / 1e6),
    }


def glass(examples: TrainingSet) -> dict[str, float]:
    """A boosting machine with the offer as one more category and pairs with it: its own ways, and a card."""
    from interpret.glassbox import ExplainableBoostingClassifier

    rows = examples.examples
    tables = feature_tables(examples, 30, CATEGORIES_MAX)
    offers = FeatureTable("offer", "category", categories=OFFERS)
    every = (*tables, offers)
    known = bins_of(tables, examples.feature_names, examples.examples)
    bins = np.column_stack([known, [offers.bin_of(row.offer) for row in rows]])
    pairs = [(at, len(tables)) for at in range(10)]
    machine = ExplainableBoostingClassifier(
        feature_names=[table.name for table in every], feature_types=types_of(every), outer_bags=2, max_rounds=200,
        interactions=pairs, n_jobs=1, random_state=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machine.fit(fed(every, bins), [row.bought for row in rows])
    whole = head_of(machine, every)
    heads = []
    for number in range(2, len(OFFERS) + 2):
        parts = [np.array(one) for one in whole.parts[:-1]]
        for pair in whole.pairs:
            parts[pair.first] = parts[pair.first] + np.array([row[number] for row in pair.parts])
        heads.append(AdditiveHead(whole.base + whole.parts[-1][number], tuple(tuple(p.tolist()) for p in parts)))
    model = compile_scorecard(card_of(tables, heads), OFFERS, examples.feature_names)
    values = rows[0].values
    asked = np.repeat(bins[:1], len(OFFERS), 0)
    asked[:, -1] = np.arange(2, len(OFFERS) + 2)
    given = fed(every, asked)
    own = machine.predict_proba(given)[:, 1]
    assert np.abs(np.array(model.score(values).p_accept) - own).max() < 2e-9, "the card says something else"
    alone, explained = ours(model, values)
    many = np.repeat(fed(every, bins[:40]), len(OFFERS), 0)
    return {
        "card_us": alone,
        "card_with_reasons_us": explained,
        "own_us": timed(lambda: machine.predict_proba(given)),
        "own_with_reasons_us": timed(lambda: machine.explain_local(given)),
        "card_rows_per_s": in_tables(model, examples),
        "own_rows_per_s": 40 / (timed(lambda: machine.predict_proba(many)) / 1e6),
    }


def _one_thread() -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    examples = history(options.rows)
    found = {"LightGBM": boosted(examples), "InterpretML": glass(examples)}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"one customer, {len(OFFERS)} offers, {FEATURES} features; one core")
    for name, one in found.items():
        explained = one["card_with_reasons_us"]
        print(
            f"{name:>12}  card {one['card_us']:7.0f} µs, with reasons {explained:7.0f} µs   "
            f"own {one['own_us']:8.0f} µs, with reasons {one['own_with_reasons_us']:8.0f} µs"
            + (f"   onnxruntime {one['onnx_us']:7.0f} µs (no reasons)" if "onnx_us" in one else "")
        )
        print(
            f"{'':>12}  with reasons {one['own_with_reasons_us'] / explained:6.1f} times faster than its own with "
            f"reasons, {one['own_us'] / explained:5.2f} times its own without; in tables "
            f"{one['card_rows_per_s']:8.0f} customers/s, its own {one['own_rows_per_s']:7.0f}"
        )


if __name__ == "__main__":
    main()
