"""How the stack's prior and temperature were chosen: cross-validation within the training rows of Hillstrom's trial.

Run: `python -m benchmarks.hillstrom_choices [--seeds 5] [--tasks womens,mens]`. Two thirds of the training rows of each
seed learn, the third left judges; no test row of that seed's split is read. (Splits of different seeds overlap: the
test rows of one are among the training rows of another.)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks import hillstrom_data, uplift_measures
from opportune.adapters.lightgbm.bins import BINS_MAX, CATEGORIES_MAX, coding
from opportune.adapters.lightgbm.learners import Kit, Rows
from opportune.adapters.lightgbm.settings import Settings
from opportune.adapters.lightgbm.stack import MEMBERS, PRIOR, q_aggregation, unseen, weighed
from opportune.core.models.binning import bins_of, feature_tables

PRIORS = {"ours": PRIOR, "even": (1 / 6,) * 6, "stronger": (0.9, 0.02, 0.02, 0.02, 0.02, 0.02)}
TEMPERATURES = (0.0, 0.5, 2.0, 8.0)
PARTS, JUDGED = 3, 2


def judged(trial: hillstrom_data.Trial, task: str, seed: int) -> Iterator[dict[str, tuple[float, float]]]:
    """Per part of the training rows that judges: (Qini, gain at 30 %) by choice."""
    split = hillstrom_data.two_arms(trial, 1 if task == "mens" else 2, trial.visit, seed)
    learned = hillstrom_data.training_set(trial, split, ("email",))
    tables = feature_tables(learned, BINS_MAX, CATEGORIES_MAX)
    bins = bins_of(tables, learned.feature_names, learned.examples)
    treated = np.array([row.treated for row in learned.examples])
    bought = np.array([float(row.bought) for row in learned.examples])
    part = np.random.default_rng(500 + seed).permutation(len(bins)) % PARTS
    for number in range(JUDGED):
        here = part != number
        code = coding(tables, bins[here])
        mine, others = (
            Rows(bins[m], code.of(bins[m]), np.zeros(m.sum(), np.intp), treated[m], bought[m], np.ones(m.sum()))
            for m in (here, ~here)
        )
        kit = Kit(code, Settings())
        told, said = unseen(mine, 1, kit, seed)
        estimates = weighed(mine, 1, kit, seed)[0].mixture.told((others.bins, others.codes))
        choices = {f"member {name}": np.eye(len(MEMBERS))[place] for place, name in enumerate(MEMBERS)}
        choices["even mean"] = np.full(len(MEMBERS), 1 / len(MEMBERS))
        for name, prior in PRIORS.items():
            for heat in TEMPERATURES:
                choices[f"prior {name}, temperature {heat:g}"] = q_aggregation(
                    told, said, mine.weight, np.array(prior), heat
                )
        arm, got = others.treated.astype(np.int64), others.bought.astype(np.int64)
        yield {
            name: (
                uplift_measures.qini(estimates @ weights, arm, got),
                uplift_measures.gain_at_top(estimates @ weights, arm, got, float(mine.treated.mean())),
            )
            for name, weights in choices.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", default="womens,mens")
    asked = parser.parse_args()
    trial = hillstrom_data.read()
    for task in asked.tasks.split(","):
        found = [one for seed in range(asked.seeds) for one in judged(trial, task, seed)]
        means = {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}
        print(f"{task}: Qini and gain30 within training rows, mean of {len(found)}")
        for name in sorted(means, key=lambda name: -float(means[name][0])):
            print(f"  {name:<34} {means[name][0]:.4f} {means[name][1]:6.1f}")


if __name__ == "__main__":
    main()
