"""Estimated effects against the truth, where it is known: error, calibration, intervals, what acting on it earns.

    python -m benchmarks.known_effects [--rows 8000] [--seeds 3] [--algorithms additive,dr_learner,…] [--peers DIR]
        [--json]

Each algorithm is trained as `opportune train` does it and judged by its served card, on customers it has not seen, in
worlds of several offers (opportune.testing.world.effects): one whose log was made by chance, one whose log was not
(customers who buy anyway are offered more), one in which an offer does the same for everybody.

- `rmse`: of the effect of each offer on each customer; `of mean` is that of saying each offer's true mean to all.
- `slope`: how much the true effect grows where the estimate grows by one; 1 is honest, less is overstated.
- `bias`: mean estimate less mean truth.
- `90 95 99`: how often the interval of that confidence holds the truth, in per cent.
- `policy`: what offering each customer the best offer by the estimate earns, as a share of what the truth would earn.
- `econml …` (with `--peers`): its causal forest and its doubly robust learner on the same rows, one offer at a time,
  with missing numbers as the median; they estimate how offers were assigned, which ours know.
- `naive`: rows compared as they are, without the chances with which they were made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environment import NoPeers, python_of
from opportune.core.models import LearnError, TrainingSet, compile_scorecard
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train
from opportune.testing.world.effects import NAMES, OFFERS, TYPES, KnownEffects, Settings
from opportune.wiring import trainer_of

ALGORITHMS = ("additive", "ebm", "s_learner", "t_learner", "x_learner", "dr_learner", "stacked")
WORLDS = {
    "by chance": Settings(),
    "not by chance": Settings(confounding=1.0),
    "alike for all": Settings(variety=0.0),
}
FIGURES = ("rmse", "of mean", "slope", "bias", "90", "95", "99", "se", "policy", "s")
LEVELS = (0.90, 0.95, 0.99)
CUSTOMERS = 1000
REQUIREMENTS = Path(__file__).with_name("peers") / "uplift_requirements.txt"
PEER = Path(__file__).with_name("peers") / "known_effects_peer.py"

Floats = NDArray[np.float64]


class Found(msgspec.Struct, frozen=True):
    """One algorithm in one world: (customers, offers) arrays of truth, estimate and standard error."""

    truth: Floats
    estimate: Floats
    error: Floats
    seconds: float


def run(settings: Settings, seed: int, rows: int, algorithm: str) -> Found:
    """Trains on one log and scores other customers; LearnError when the algorithm cannot be used here."""
    world = KnownEffects(seed, settings)
    people = world.people(CUSTOMERS, "judged by")
    truth = np.array([[np.subtract(*world.truth(values, offer)) for offer in OFFERS] for values in people])
    log = world.log(rows)
    since = perf_counter()
    if algorithm == "naive":
        estimate = np.tile(_naive(log), (CUSTOMERS, 1))
        return Found(truth, estimate, np.full(estimate.shape, np.nan), perf_counter() - since)
    spec = ModelSpec(model="known", owner="benchmark", features=NAMES, algorithm=algorithm)  # type: ignore[arg-type]  # a name from ALGORITHMS
    card = train(spec, log, OFFERS, trainer_of(spec))
    seconds = perf_counter() - since
    model = compile_scorecard(card, OFFERS, NAMES)
    scores = [model.score(values) for values in people]
    estimate, error = (np.array([getattr(one, what) for one in scores]) for what in ("uplift", "uplift_se"))
    return Found(truth, estimate, error, seconds)


def peers_of(settings: Settings, seed: int, rows: int, folder: Path) -> dict[str, Found]:
    """What econml says of the same customers from the same log, in an environment of its own."""
    world = KnownEffects(seed, settings)
    people, log = world.people(CUSTOMERS, "judged by"), world.log(rows)
    truth = np.array([[np.subtract(*world.truth(values, offer)) for offer in OFFERS] for values in people])
    both = _columns([row.values for row in log.examples] + people)
    since = perf_counter()
    with TemporaryDirectory() as scratch:
        given, out = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        np.savez(
            given, x=both[: len(log.examples)], x_new=both[len(log.examples) :],
            offer=[OFFERS.index(row.offer) for row in log.examples],
            treated=[row.treated for row in log.examples], bought=[row.bought for row in log.examples],
        )  # fmt: skip
        python = python_of(folder, REQUIREMENTS, "uplift")
        ended = subprocess.run([python, "-W", "ignore", PEER, given, out], check=False, capture_output=True, text=True)
        if ended.returncode:
            raise NoPeers(f"econml failed: {ended.stderr.strip().splitlines()[-1]}")
        said = dict(np.load(out))
    names = dict.fromkeys(name.rpartition(".")[0] for name in said)
    seconds = (perf_counter() - since) / len(names)
    return {name: Found(truth, said[f"{name}.effect"], said[f"{name}.error"], seconds) for name in names}


def _columns(rows: Sequence[tuple[object, ...]]) -> Floats:
    """Numbers with medians for what is missing, and a column for each text but one."""
    found = []
    for place, type_ in enumerate(TYPES):
        cells = [row[place] for row in rows]
        if type_ == "string":
            found += [[float(cell == one) for cell in cells] for one in sorted({str(cell) for cell in cells})[1:]]
            continue
        numbers = np.array([float(cell) if isinstance(cell, int | float) else np.nan for cell in cells])
        found.append(np.where(np.isnan(numbers), np.nanmedian(numbers), numbers).tolist())
    return np.array(found).T


def _naive(log: TrainingSet) -> Floats:
    """Per offer, the share of buyers among the offered less that among the others."""
    found = []
    for offer in OFFERS:
        rows = [row for row in log.examples if row.offer == offer]
        offered, others = ([row.bought for row in rows if row.treated is on] for on in (True, False))
        found.append(float(np.mean(offered) - np.mean(others)))
    return np.array(found)


def figures(runs: Sequence[Found]) -> dict[str, float]:
    """The measures of the module over several seeds."""
    truth, estimate = (np.concatenate([getattr(one, what) for one in runs]) for what in ("truth", "estimate"))
    error = np.concatenate([one.error for one in runs])
    best = np.where(estimate.max(1) > 0.0, np.take_along_axis(truth, estimate.argmax(1)[:, None], 1)[:, 0], 0.0)
    spread = float(estimate.var())
    slope = float(np.cov(estimate.ravel(), truth.ravel())[0, 1]) / spread if spread else float("nan")
    covered = [
        100.0 * float((np.abs(estimate - truth) <= NormalDist().inv_cdf(0.5 + level / 2.0) * error).mean())
        for level in LEVELS
    ]
    means = np.concatenate([np.tile(one.truth.mean(0), (len(one.truth), 1)) for one in runs])
    return {
        "rmse": float(np.sqrt(((estimate - truth) ** 2).mean())),
        "of mean": float(np.sqrt(((means - truth) ** 2).mean())),
        "slope": slope,
        "bias": float((estimate - truth).mean()),
        **dict(zip(("90", "95", "99"), covered, strict=True)),
        "se": float(np.sqrt((error**2).mean())),
        "policy": float(best.mean() / truth.max(1).clip(0.0).mean()),
        "s": float(np.mean([one.seconds for one in runs])),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS))
    parser.add_argument("--peers", type=Path, help="a folder for the environment of the peers")
    parser.add_argument("--json", action="store_true", help="one JSON document at the end, no table")
    given = parser.parse_args(argv)
    if not given.json:
        print(f"{given.rows} rows, {len(OFFERS)} offers, {given.seeds} seeds, {CUSTOMERS} customers each")
    told: dict[str, dict[str, dict[str, float | None]]] = {}
    for world, settings in WORLDS.items():
        told[world] = {}
        if not given.json:
            print(f"\n{world:>16} " + " ".join(f"{name:>8}" for name in FIGURES))
        for algorithm, found in _judged(settings, given):
            told[world][algorithm] = {name: value if value == value else None for name, value in found.items()}
            if not given.json:
                print(f"{algorithm:>16} " + " ".join(_shown(name, found[name]) for name in FIGURES), flush=True)
    if given.json:
        print(json.dumps(told))


def _judged(settings: Settings, given: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Every algorithm with its figures in one world; one that cannot run here is named on stderr."""
    for algorithm in ("naive", *given.algorithms.split(",")):
        try:
            yield algorithm, figures([run(settings, seed, given.rows, algorithm) for seed in range(given.seeds)])
        except (ImportError, LearnError) as error:
            print(f"{algorithm:>16} not here: {error}", file=sys.stderr)
    if given.peers is not None:
        runs = [peers_of(settings, seed, given.rows, given.peers) for seed in range(given.seeds)]
        yield from ((name, figures([one[name] for one in runs])) for name in runs[0])


def _shown(name: str, value: float) -> str:
    places = {"slope": 2, "policy": 2, "90": 1, "95": 1, "99": 1, "s": 1}.get(name, 4)
    return f"{value:8.{places}f}" if value == value else f"{'–':>8}"


if __name__ == "__main__":
    main()
