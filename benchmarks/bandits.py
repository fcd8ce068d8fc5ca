"""Bandits beside Vowpal Wabbit and MABWiser: a labelled data set played once, the reward seen for the chosen arm only.

Run: `python -m benchmarks.bandits [--peers DIR] [--tasks shuffled time segment] [--seeds 3] [--json]`.
Bank Marketing (`../shared/data`): arms {hold, offer}; an offer pays 1 if the customer says yes, else -0.12, hold
pays 0; `duration` and `campaign` left out, one-hot and standardised. `shuffled`: the first 8,000 of
RandomState(100 + seed).permutation; `time`: all 41,188 in the order of the file. `segment`: 2,310 rows, 7 arms, 1 if
right (it comes with river, so only with `--peers`). Every learner gets the same rows in the same order. Events per
second are of CPU time of choosing and learning; VW's also with writing its rows as text.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environment import NoPeers, python_of
from opportune.core.bandits import Arms, ArmSettings, drawn, drawn_all, even_share, thompson
from opportune.core.bandits.ranking import WIDTH
from opportune.core.bandits.shared import Shared, action_of, context_of

SHARED = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[2] / "shared")) / "data"
REQUIREMENTS = Path(__file__).parent / "peers" / "bandit_requirements.txt"
PEER = Path(__file__).parent / "peers" / "bandit_peers.py"
TASKS = ("shuffled", "time", "segment")
NUMBERS = (
    "age", "pdays", "previous", "emp.var.rate", "cons.price.idx", "cons.conf.idx", "euribor3m", "nr.employed"
)  # fmt: skip
WORDS = (
    "job", "marital", "education", "default", "housing", "loan", "contact", "month", "day_of_week", "poutcome"
)  # fmt: skip
OURS, OURS_BATCH = "opportune, per event", "opportune, batches of 100"
HASHED = "opportune, hashed (Personalizer's learner)"
LINTS = "disjoint LinTS(.1), 40 lines of numpy"
BATCH = 100

Floats = NDArray[np.float64]
Raw = list[dict[str, Any]]
Played = tuple[list[float], float]
"""(rewards, CPU seconds)."""


def bank() -> tuple[Floats, Floats, Raw]:
    """(one standardised row per customer, what each of the two arms pays, the rows as an application sends them)."""
    with gzip.open(SHARED / "bank_marketing" / "bank-additional-full.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    columns = [np.array([float(row[name]) for row in rows]) for name in NUMBERS]
    for name in WORDS:
        columns += [np.array([float(row[name] == word) for row in rows]) for word in sorted({r[name] for r in rows})]
    offered = np.array([1.0 if row["y"] == "yes" else -0.12 for row in rows])
    raw = [{**{name: float(row[name]) for name in NUMBERS}, **{name: row[name] for name in WORDS}} for row in rows]
    return standardised(np.stack(columns, axis=1)), np.stack([np.zeros(len(rows)), offered], axis=1), raw


def standardised(x: Floats) -> Floats:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0))


def play(x: Floats, rewards: Floats, seed: int) -> Played:
    """Ours, one event at a time."""
    rows, pay = with_one(x), rewards.tolist()
    learner = Arms(ArmSettings(actions=rewards.shape[1], features=rows.shape[1]))
    uniform = np.random.default_rng(seed).random(len(rows)).tolist()
    got = []
    began = time.process_time()
    for place in range(len(rows)):
        row = rows[place]
        action = drawn(learner.chances(row), uniform[place])
        reward = pay[place][action]
        learner.learn(row, action, reward)
        got.append(reward)
    return got, time.process_time() - began


def play_batches(x: Floats, rewards: Floats, seed: int) -> Played:
    """Ours, 100 events at a time: chosen by one state, then learned together."""
    rows = with_one(x)
    learner = Arms(ArmSettings(actions=rewards.shape[1], features=rows.shape[1]))
    uniform = np.random.default_rng(seed).random(len(rows))
    got: list[float] = []
    began = time.process_time()
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        tried = drawn_all(learner.chances_of(some), uniform[start : start + BATCH])
        paid = rewards[np.arange(start, start + len(some)), tried]
        learner.learn_all(some, tried, paid)
        got += paid.tolist()
    return got, time.process_time() - began


def play_hashed(raw: Raw, rewards: Floats, seed: int) -> Played:
    """The learner of the Personalizer door: rows as they are, Thompson's chances and a share of 0.05 for everything."""
    pay, learner = rewards.tolist(), Shared()
    actions = [action_of(f"arm {place}", [], "") for place in range(rewards.shape[1])]
    uniform = np.random.default_rng(seed).random(len(raw)).tolist()
    got = []
    began = time.process_time()
    for place, row in enumerate(raw):
        rows = learner.rows(context_of([row]), actions)
        values, errors = learner.values(rows)
        chances = even_share(thompson(values, [WIDTH * error for error in errors]), 0.05)
        action = drawn(chances, uniform[place])
        reward = pay[place][action]
        learner.learn(rows[action], reward)
        got.append(reward)
    return got, time.process_time() - began


def lints(x: Floats, rewards: Floats, seed: int, alpha: float = 0.1) -> Played:
    """What a competent engineer writes: disjoint linear Thompson sampling, updated per event."""
    rows, pay, chance = with_one(x), rewards.tolist(), np.random.default_rng(seed)
    actions, size = rewards.shape[1], rows.shape[1]
    inverse, theta = np.stack([np.eye(size)] * actions), np.zeros((actions, size))
    got = []
    began = time.process_time()
    for place in range(len(rows)):
        row = rows[place]
        ahead = inverse @ row
        spread, value = ahead @ row, theta @ row
        action = int((value + alpha * np.sqrt(spread) * chance.standard_normal(actions)).argmax())
        reward = pay[place][action]
        gain = ahead[action] / (1.0 + spread[action])
        inverse[action] -= np.outer(gain, ahead[action])
        theta[action] += gain * (reward - value[action])
        got.append(reward)
    return got, time.process_time() - began


def with_one(x: Floats) -> Floats:
    return np.ascontiguousarray(np.c_[x, np.ones(len(x))])


def tasks(names: Sequence[str], seeds: int, folder: Path, python: Path | None) -> Iterator[tuple[str, list[Any]]]:
    """(task, [(rows, rewards, raw rows) per seed])."""
    x, rewards, raw = bank()
    if "shuffled" in names:
        orders = [np.random.RandomState(100 + seed).permutation(len(x))[:8000] for seed in range(seeds)]
        yield "shuffled", [(x[order], rewards[order], [raw[place] for place in order]) for order in orders]
    if "time" in names:
        yield "time", [(x, rewards, raw)] * seeds
    if "segment" in names and python is not None:
        subprocess.run([str(python), str(PEER), str(folder), "segment"], check=True, capture_output=True)
        data = np.load(folder / "segment_data.npz")
        rows, right = standardised(data["x"]), np.eye(int(data["y"].max()) + 1)[data["y"]]
        orders = [np.random.RandomState(100 + seed).permutation(len(rows)) for seed in range(seeds)]
        sent = [{f"f{place}": value for place, value in enumerate(row)} for row in data["x"].tolist()]
        yield "segment", [(rows[order], right[order], [sent[place] for place in order]) for order in orders]


def peers_of(python: Path, folder: Path, x: Floats, rewards: Floats, raw: Raw, seed: int) -> list[dict[str, Any]]:
    words = [[f"{name}={word}" for name, word in row.items() if isinstance(word, str)] for row in raw]
    numbers = sum(not isinstance(value, str) for value in raw[0].values())
    np.savez(folder / "task.npz", x=x, rewards=rewards, seed=seed, numbers=numbers)
    (folder / "task.json").write_text(json.dumps(words))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [str(python), str(PEER), str(folder), "task"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if ended.returncode:
        raise NoPeers(f"the peers failed: {ended.stderr.strip().splitlines()[-1:]}")
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    python: Path | None = None
    if options.peers is None:
        found["no_peers"] = "say --peers DIR to install and measure them"
    else:
        try:
            python = python_of(options.peers, REQUIREMENTS, "bandits")
        except NoPeers as error:
            found["no_peers"] = str(error)
    ours: dict[str, Callable[[Floats, Floats, int], Played]] = {OURS: play, OURS_BATCH: play_batches, LINTS: lints}
    with tempfile.TemporaryDirectory() as place:
        for task, rounds in tasks(options.tasks, options.seeds, Path(place), python):
            sides: dict[str, list[dict[str, Any]]] = {}
            for seed, (x, rewards, raw) in enumerate(rounds):
                played = {name: side(x, rewards, seed) for name, side in ours.items()}
                played[HASHED] = play_hashed(raw, rewards, seed)
                for name, (got, seconds) in played.items():
                    halves = [float(np.mean(got)), float(np.mean(got[len(got) // 2 :]))]
                    sides.setdefault(name, []).append({"rewards": halves, "seconds": seconds})
                for one in [] if python is None else peers_of(python, Path(place), x, rewards, raw, seed):
                    sides.setdefault(one["name"], []).append(one)
            found[task] = {name: _summed(runs, len(rounds[0][0])) for name, runs in sides.items()}
    return found


def _summed(runs: list[dict[str, Any]], events: int) -> dict[str, Any]:
    every = [run["rewards"][0] for run in runs]
    seconds = float(np.median([run["seconds"] for run in runs]))
    found = {
        "reward": float(np.mean(every)), "each": every, "sd": float(np.std(every)),
        "second_half": float(np.mean([run["rewards"][1] for run in runs])), "per_second": events / seconds,
    }  # fmt: skip
    if "texts" in runs[0]:
        texts = float(np.median([run["texts"] for run in runs]))
        found["per_second_from_rows"] = events / (seconds + texts)
    return found


def told(found: dict[str, Any]) -> Iterator[str]:
    if "no_peers" in found:
        yield f"peers not measured: {found['no_peers']}"
    for task in TASKS:
        if task not in found:
            continue
        yield f"\n{task}: average reward (second half), paired with {OURS}"
        sides = found[task]
        mine = sides[OURS]["each"]
        for name, one in sides.items():
            gaps = [a - b for a, b in zip(mine, one["each"], strict=True)]
            wins = sum(gap >= 0.0 for gap in gaps)
            rows = f", {one['per_second_from_rows']:,.0f}/s from rows" if "per_second_from_rows" in one else ""
            paired = "" if name == OURS else f"  ours {np.mean(gaps):+.4f} ({wins}/{len(gaps)})"
            yield (
                f"{name:>48}  {one['reward']:.4f} +- {one['sd']:.4f} ({one['second_half']:.4f})  "
                f"{one['per_second']:8,.0f}/s{rows}{paired}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="where the peers' environment is, or is to be made")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    print(json.dumps(found, indent=1) if options.json else "\n".join(told(found)))


if __name__ == "__main__":
    main()
