"""Vowpal Wabbit and MABWiser as peers: the same rows, arms and rewards; run in the peers' environment."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = list[tuple[list[float], list[str]]]
Pay = Callable[[int, int], float]
"""What an action pays at a place."""

VW = {
    "VW --bag 5 --coin": "--bag 5 --coin",
    "VW --bag 5": "--bag 5",
    "VW --bag 5 -l 0.1": "--bag 5 -l 0.1",
    "VW --bag 10": "--bag 10",
    "VW --first 500": "--first 500",
    "VW epsilon 0.05, mtr": "--epsilon 0.05",
    "VW squarecb 500 --coin": "--squarecb --gamma_scale 500 --coin",
}
"""Settings by name: the best of BASELINES, and what did best in a sweep of ours on permutations not used here."""


def vw_run(rows: Rows, pay: Pay, actions: int, arguments: str, seed: int) -> tuple[list[float], float, float]:
    """(rewards, CPU seconds of learning and choosing, CPU seconds of writing rows as VW's text).

    VW gets words as words, which does better than columns of zeros and ones, and standardised numbers."""
    import vowpalwabbit

    began = time.process_time()
    lines = [
        "|f " + " ".join([f"n{place}:{value:.5g}" for place, value in enumerate(numbers)] + words)
        for numbers, words in rows
    ]
    texts = time.process_time() - began
    learner = vowpalwabbit.Workspace(f"--cb_explore {actions} {arguments} --random_seed {seed + 1} --quiet")
    uniform = np.random.default_rng(seed).random(len(rows)).tolist()
    rewards = []
    began = time.process_time()
    for place, line in enumerate(lines):
        chances = learner.predict(line)
        goal, reached, action = uniform[place] * sum(chances), 0.0, 0
        for action, chance in enumerate(chances):  # noqa: B007 - the action is what the loop ends on
            reached += chance
            if goal < reached:
                break
        reward = pay(place, action)
        rewards.append(reward)
        learner.learn(f"{action + 1}:{-reward}:{max(chances[action], 1e-6)} {line}")
    return rewards, time.process_time() - began, texts


def mabwiser_run(x: Floats, pay: Pay, actions: int, policy: object, seed: int, batch: int) -> tuple[list[float], float]:
    """(rewards, CPU seconds). MABWiser is made for batches: it is asked and told of `batch` rows at once."""
    from mabwiser.mab import MAB

    learner = MAB(list(range(actions)), policy, seed=seed)
    chance = np.random.default_rng(seed)
    rewards: list[float] = []
    began = time.process_time()
    for start in range(0, len(x), batch):
        rows = x[start : start + batch]
        first = start == 0
        tried = chance.integers(0, actions, len(rows)) if first else np.atleast_1d(learner.predict(rows))
        got = [pay(start + place, int(action)) for place, action in enumerate(tried)]
        rewards += got
        (learner.fit if first else learner.partial_fit)(np.asarray(tried), np.asarray(got), rows)
    return rewards, time.process_time() - began


def policies() -> dict[str, tuple[Any, int]]:
    """MABWiser's policies by name, with the size of their batches."""
    from mabwiser.mab import LearningPolicy as Policy

    return {
        "mabwiser LinGreedy(.05), batches of 100": (Policy.LinGreedy(epsilon=0.05), 100),
        "mabwiser LinGreedy(.01, l2 100), batches of 100": (Policy.LinGreedy(epsilon=0.01, l2_lambda=100), 100),
        "mabwiser LinUCB(.5), batches of 100": (Policy.LinUCB(alpha=0.5), 100),
        "mabwiser LinTS(.05), batches of 100": (Policy.LinTS(alpha=0.05), 100),
        "mabwiser LinTS(.2), batches of 100": (Policy.LinTS(alpha=0.2), 100),
        "mabwiser LinGreedy(.05), one at a time": (Policy.LinGreedy(epsilon=0.05), 1),
    }


def pays(rewards: Floats) -> Pay:
    """What an action pays at a place; `rewards` has a row per event and a column per action."""
    table: list[list[float]] = rewards.tolist()
    return lambda place, action: table[place][action]


def segment(folder: Path) -> None:
    """Writes the segment data that river carries, as this task's rows and rewards."""
    from river.datasets import ImageSegments

    names: dict[str, int] = {}
    rows, kinds = [], []
    for row, kind in ImageSegments():
        rows.append(list(row.values()))
        kinds.append(names.setdefault(kind, len(names)))
    np.savez(folder / "segment_data.npz", x=np.array(rows, float), y=np.array(kinds))


def main() -> None:
    folder, what = Path(sys.argv[1]), sys.argv[2]
    if what == "segment":
        segment(folder)
        return
    data = np.load(folder / f"{what}.npz")
    x, rewards, seed = data["x"], data["rewards"], int(data["seed"])
    words = json.loads((folder / f"{what}.json").read_text())
    rows = list(zip(x[:, : int(data["numbers"])].tolist(), words, strict=True))
    pay, actions = pays(rewards), rewards.shape[1]
    for name, arguments in VW.items():
        got, seconds, texts = vw_run(rows, pay, actions, arguments, seed)
        print(json.dumps({"name": name, "rewards": _halves(got), "seconds": seconds, "texts": texts}), flush=True)
    for name, (policy, batch) in policies().items():
        if batch == 1 and len(x) > 10_000:
            continue  # minutes, and no other than on fewer rows
        got, seconds = mabwiser_run(x, pay, actions, policy, seed, batch)
        print(json.dumps({"name": name, "rewards": _halves(got), "seconds": seconds}), flush=True)


def _halves(got: list[float]) -> list[float]:
    return [float(np.mean(got)), float(np.mean(got[len(got) // 2 :]))]


if __name__ == "__main__":
    main()
