"""Uplift on Hillstrom's e-mail trial: our learners as they are served, beside scikit-uplift, causalml and econml.

Run: `python -m benchmarks.hillstrom --peers DIR [--seeds 5] [--tasks womens,mens,conversion,three] [--json]`.
Without `--peers` only ours are shown. Our models learn from the product's examples through the product's trainers and
are judged by the compiled card, customer by customer. Every model sees only the training rows; the peers see the same
rows as arrays, in an environment of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import hillstrom_data, uplift_measures
from benchmarks.hillstrom_data import Split, Trial
from benchmarks.peers.environment import python_of
from benchmarks.uplift_measures import Floats, Ints
from opportune.core.models import Calibration, Scorecard, Trainer, Training, compile_scorecard
from opportune.core.playbook import Algorithm, ModelSpec
from opportune.wiring import trainer_of

REQUIREMENTS = Path(__file__).with_name("peers") / "uplift_requirements.txt"
PEER = Path(__file__).with_name("peers") / "uplift_peer.py"
TASKS = ("womens", "mens", "conversion", "three")
OURS: tuple[Algorithm, ...] = ("stacked", "additive", "x_learner")
COST, CONTACTS = 0.05, 0.3
OFFERS = {"womens": ("womens_email",), "mens": ("mens_email",), "conversion": ("womens_email",)}
BOTH = ("mens_email", "womens_email")
MEASURES = ("Qini", "AUUC", "uplift@30", "gain30")
POLICIES = ("visit, free", f"visit, cost {COST:g}", "visit, 30 % contacted", "spend of the first")
NOTHING = Training("", 0, 0, 0, 0, 0, 0, 0, "14d", 20.0, {}, {}, {}, (), (), "")
"""The protocol judges; the product's own evaluation is not asked."""

Scores = dict[str, Floats]
"""By name: (test rows, arms) of estimated uplift."""


class Served:
    """One trained card as it is served."""

    def __init__(self, trial: Trial, split: Split, offers: tuple[str, ...], algorithm: Algorithm) -> None:
        # What is shown of the plain learners is their estimate alone: few half-samples spare time.
        settings = {"replicates": 4} if algorithm.endswith("_learner") else {}
        spec = ModelSpec(
            model="hillstrom", owner="benchmark", features=hillstrom_data.NAMES, algorithm=algorithm, settings=settings
        )
        trainer: Trainer = trainer_of(spec)
        began = time.perf_counter()
        fit = trainer.fit(hillstrom_data.training_set(trial, split, offers), offers)
        self.seconds = time.perf_counter() - began
        card = Scorecard(
            1, "hillstrom", "benchmark", "", fit.features, fit.offers, Calibration(), NOTHING, True, fit.form
        )
        model = compile_scorecard(card, offers, hillstrom_data.NAMES)
        found = [model.score(trial.values[row]) for row in split.test.tolist()]
        self.uplift = np.array([one.uplift for one in found])
        self.error = np.array([one.uplift_se for one in found])


def scores_of(
    trial: Trial, split: Split, task: str, seed: int, folder: Path, peers: Path | None
) -> tuple[Scores, dict[str, float]]:
    """What ours and the peers say of the test rows, and what else is told of ours."""
    found: Scores = {}
    told: dict[str, float] = {}
    offers = OFFERS.get(task, BOTH)
    for algorithm in OURS:
        served = Served(trial, split, offers, algorithm)
        found[f"OURS {algorithm}"] = served.uplift
        told[f"seconds {algorithm}"] = served.seconds
        if algorithm == "stacked":
            told["mean error"] = float(served.error.mean())
            told["spread of uplift"] = float(served.uplift.std())
    random = np.random.default_rng(seed)
    found["random"] = random.normal(size=(len(split.test), len(offers)))
    for name in found:
        found[name] = _without_ties(found[name], seed)
    if peers is not None:
        theirs, differences = _peers(trial, split, seed, found, folder, peers)
        found |= theirs
        told |= differences
    return found, told


def _without_ties(score: Floats, seed: int) -> Floats:
    noise: Floats = np.random.default_rng(1_000 + seed).uniform(0.0, 1e-9, score.shape)
    return score + noise


def _peers(
    trial: Trial, split: Split, seed: int, ours: Scores, folder: Path, peers: Path
) -> tuple[Scores, dict[str, float]]:
    """The peers' scores; and how far our measures are from scikit-uplift's, on our scores.

    What the peers say is kept in their folder under a hash of the split and of their program: a run that was broken
    off goes on where it was.
    """
    rows: dict[str, Any] = {
        "x_train": trial.x[split.train], "t_train": split.arm[split.train], "y_train": split.outcome[split.train],
        "x_test": trial.x[split.test], "t_test": split.arm[split.test], "y_test": split.outcome[split.test],
    }  # fmt: skip
    said = hashlib.blake2b(PEER.read_bytes() + REQUIREMENTS.read_bytes(), digest_size=16)
    for values in rows.values():
        said.update(np.ascontiguousarray(values).tobytes())
    kept = peers / f"uplift_scores_{said.hexdigest()}.npz"
    python = python_of(peers, REQUIREMENTS, "uplift")
    if not kept.is_file():
        shutil.move(_asked(python, "learn", folder, {**rows, "seed": seed}), kept)
    file = np.load(kept, allow_pickle=False)
    found = {k.removeprefix("score."): _without_ties(file[k], seed) for k in file.files}
    if split.arm.max() > 1:
        return found, {}
    arm, got = rows["t_test"], rows["y_test"]
    sent = {f"score.{name}": score[:, 0] for name, score in ours.items()}
    theirs = np.load(_asked(python, "measure", folder, {**rows, "seed": seed, **sent}), allow_pickle=False)
    measures = (uplift_measures.qini, uplift_measures.auuc, uplift_measures.uplift_at_top)
    apart = max(
        abs(measure(score[:, 0], arm, got) - float(theirs[f"sklift.{name}"][place]))
        for name, score in ours.items()
        for place, measure in enumerate(measures)
    )
    return found, {"measures apart from scikit-uplift's": apart}


def _asked(python: Path, what: str, folder: Path, sent: Mapping[str, Any]) -> Path:
    """The peers' answer, as a file."""
    source, target = folder / "split.npz", folder / f"{what}.npz"
    np.savez(source, **sent)
    ended = subprocess.run(
        [str(python), str(PEER), what, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"the peers failed: {ended.stderr[-2000:]}")
    return target


def two_arm_figures(split: Split, scores: Scores) -> dict[str, list[float]]:
    """The four measures of every model."""
    arm, got = split.arm[split.test], split.outcome[split.test]
    share = float(split.arm[split.train].mean())
    return {
        name: [
            uplift_measures.qini(score[:, 0], arm, got),
            uplift_measures.auuc(score[:, 0], arm, got),
            uplift_measures.uplift_at_top(score[:, 0], arm, got),
            uplift_measures.gain_at_top(score[:, 0], arm, got, share),
        ]
        for name, score in scores.items()
    }


def three_arm_figures(trial: Trial, split: Split, scores: Scores) -> dict[str, list[float]]:
    """What the policies of every model, and simple ones, would earn per customer, by AIPW."""
    test = split.test
    visit, spend = trial.visit.astype(float), trial.spend
    expected = {name: _expected(trial, split, reward) for name, reward in (("visit", visit), ("spend", spend))}
    shares = (np.bincount(split.arm[split.train], minlength=3) / len(split.train)).tolist()

    def earned(chosen: Ints, reward: str, cost: float = 0.0) -> float:
        of = (visit if reward == "visit" else spend)[test]
        value = uplift_measures.aipw(chosen, split.arm[test], of, expected[reward], shares)
        return value - cost * float((chosen > 0).mean())

    def row(free: Ints, costly: Ints, few: Ints) -> list[float]:
        return [earned(free, "visit"), earned(costly, "visit", COST), earned(few, "visit"), earned(free, "spend")]

    found = {name: row(*_choices(score)) for name, score in scores.items() if name != "random"}
    nobody = np.zeros(len(test), dtype=np.int64)
    drawn = np.random.default_rng(int(test[0])).permutation(len(test)) < int(CONTACTS * len(test))
    found["nobody"] = row(nobody, nobody, nobody)
    for name, arm in (("everyone Mens", 1), ("everyone Womens", 2)):
        everyone = np.full(len(test), arm)
        share = CONTACTS * earned(everyone, "visit") + (1.0 - CONTACTS) * earned(nobody, "visit")
        found[name] = row(everyone, everyone, np.where(drawn, arm, 0))
        found[name][2] = share  # 30 % drawn by chance, without the noise of one draw
    return found


def _choices(score: Floats) -> tuple[Ints, Ints, Ints]:
    """Arms: the best above 0, the best above its cost, and the best for the 30 % with the most to gain."""
    best, most = score.argmax(1) + 1, score.max(1)
    few = np.zeros(len(score), dtype=np.int64)
    top = np.argsort(-most, kind="mergesort")[: int(CONTACTS * len(score))]
    few[top] = best[top]
    return np.where(most > 0.0, best, 0), np.where(most > COST, best, 0), np.where(most > 0.0, few, 0)


def _expected(trial: Trial, split: Split, reward: Floats) -> Floats:
    """(test rows, arms) by LightGBM on the training rows of each arm, with the protocol's settings."""
    import lightgbm

    params = {
        "objective": "regression", "learning_rate": 0.05, "num_leaves": 7, "min_data_in_leaf": 200, "lambda_l2": 1.0,
        "bagging_fraction": 0.8, "bagging_freq": 1, "feature_fraction": 0.8, "verbose": -1, "num_threads": 1, "seed": 0,
    }  # fmt: skip
    found = []
    for arm in range(3):
        rows = split.train[split.arm[split.train] == arm]
        model = lightgbm.train(params, lightgbm.Dataset(trial.x[rows], reward[rows]), num_boost_round=60)
        found.append(np.asarray(model.predict(trial.x[split.test])))
    return np.column_stack(found)


def run(task: str, seeds: int, peers: Path | None) -> dict[str, Any]:
    """One task over every seed: {"figures": {name: [seed][measure]}, "told": [seed]}."""
    trial = hillstrom_data.read()
    figures: dict[str, list[list[float]]] = {}
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            split = _split(trial, task, seed)
            scores, more = scores_of(trial, split, task, seed, Path(folder), peers)
            each = three_arm_figures(trial, split, scores) if task == "three" else two_arm_figures(split, scores)
            for name, row in each.items():
                figures.setdefault(name, []).append(row)
            told.append(more)
            print(f"{task}, seed {seed} done", file=sys.stderr, flush=True)
    return {"figures": figures, "told": told}


def _split(trial: Trial, task: str, seed: int) -> Split:
    if task == "three":
        return hillstrom_data.three_arms(trial, trial.visit, seed)
    outcome = trial.conversion if task == "conversion" else trial.visit
    return hillstrom_data.two_arms(trial, 1 if task == "mens" else 2, outcome, seed)


def table(task: str, figures: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Mean and deviation over seeds, the best first; beside it, paired with `OURS stacked`, and seeds won by it."""
    names = POLICIES if task == "three" else MEASURES
    by = 2 if task == "three" else 0
    rows = {name: np.array(each) for name, each in figures.items()}
    ours = rows["OURS stacked"]
    digits = (4, 4, 4, 3) if task == "three" else (4, 4, 4, 1)
    lines = [f"{task}: " + ", ".join(names), ""]
    for name in sorted(rows, key=lambda name: -rows[name][:, by].mean()):
        cells = []
        for place in range(len(names)):
            values = rows[name][:, place]
            deviation = values.std(ddof=1) if len(values) > 1 else 0.0
            less = ours[:, place] - values
            told = f"{values.mean():.{digits[place]}f} +- {deviation:.{digits[place]}f}"
            if name != "OURS stacked":
                told += f" ours {less.mean():+.{digits[place]}f} {(less > 0).sum()}/{len(less)}"
            cells.append(told.ljust(39))
        lines.append(f"{name:<32} " + " ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="a folder for the peers' environment")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for task in asked.tasks.split(","):
        found[task] = each = run(task, asked.seeds, asked.peers)
        if asked.json:
            continue
        print(table(task, each["figures"]), "\n")
        for name in each["told"][0]:
            values = [told[name] for told in each["told"]]
            print(f"  {name}: mean {np.mean(values):.4g}, most {np.max(values):.4g}")
        print(flush=True)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
