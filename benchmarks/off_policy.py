"""Off-policy evaluation beside Open Bandit Pipeline (obp) on the same rows, in one run.

`python -m benchmarks.off_policy [--seeds 20] [--resamples 10] [--peers DIR] [--data DIR]`. obp makes the logs in an
environment of its own (benchmarks/peers/obp_peer.py), so that both sides see the same rows. O2: synthetic logs whose
truth is known. O1: the Open Bandit sample, one policy's log judged for the other; its truth has a standard error of
12 to 16 % itself, so that it shows plumbing and the grade of overlap, and does not rank estimators.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environment import NoPeers, python_of
from opportune.core.offpolicy import (
    NAMES,
    Log,
    SharedThenOwn,
    check_log,
    cross_fitted,
    dr_os,
    estimates,
    overlap_of,
    settings_of,
    switch_dr,
    worths,
)

Floats = NDArray[np.float64]
ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data/open_bandit_small"
PEER = Path(__file__).with_name("peers") / "obp_peer.py"
REQUIREMENTS = PEER.with_name("obp_requirements.txt")
SAME_SETTINGS = {"switch_dr": 1.0, "dr_os": 100.0}
"""Those that obp is run with: its examples'; ours are chosen from the log."""


def main() -> int:
    """Prints both sides; 1 when an aim on the synthetic logs is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=10)
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv/peers")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        python = python_of(asked.peers, REQUIREMENTS, "obp", without_dependencies=True)
    except NoPeers as error:
        print(f"obp cannot run here: {error}")
        return 2
    with tempfile.TemporaryDirectory(prefix="opportune-bench-") as folder:
        sizes = (str(asked.seeds), str(asked.resamples))
        command = [str(python), "-W", "ignore", str(PEER), str(asked.data), folder, *sizes]
        subprocess.run(command, check=True, capture_output=True)
        met = _synthetic(Path(folder)) if asked.seeds else True
        if asked.resamples:
            _sample(Path(folder))
    return 0 if met else 1


def _synthetic(folder: Path) -> bool:
    ours, theirs, held, held_theirs, _ = _errors(sorted(folder.glob("synthetic_*.npz")))
    print(f"O2: obp's SyntheticBanditDataset, {len(ours)} seeds, 10,000 rows each, truth on 50,000 fresh contexts")
    print(f"{'estimator':12} {'ours: mean (max)':>20} {'holds':>7} {'obp: mean (max)':>20} {'holds':>7}  not worse")
    for place, name in enumerate(NAMES):
        mine, its = ours[:, place], theirs[:, place]
        better = mine.mean() <= its.mean() + 1e-9
        print(
            f"{name:12} {mine.mean():>11.4f} ({mine.max():.3f}) {held[:, place].mean():>7.0%}"
            f" {its.mean():>11.4f} ({its.max():.3f}) {held_theirs[:, place].mean():>7.0%}   {'yes' if better else 'NO'}"
        )
    means, worst = ours.mean(axis=0), ours.max(axis=0)
    best = int(means.argmin())
    covered = min(held[:, NAMES.index(name)].mean() for name in ("ips", "snips", "dr", "sndr"))
    met = means[best] <= 0.007 and worst[best] <= 0.02 and covered >= 0.93
    print(f"best: {NAMES[best]} {means[best]:.4f} (max {worst[best]:.4f}); aim <= .007 (.02)")
    print(f"intervals of ips, snips, dr and sndr hold the truth in at least {covered:.0%}; aim >= 93 %")
    return bool(met and (means <= theirs.mean(axis=0) + 1e-9).all())


def _sample(folder: Path) -> None:
    for campaign in ("men", "women"):
        for logged, other in (("random", "bts"), ("bts", "random")):
            files = sorted(folder.glob(f"{logged}_{campaign}_*.npz"))
            ours, theirs, held, _, grades = _errors(files)
            print(f"\nO1: {logged} -> {other}, {campaign}, {len(files)} resamples; overlap {_counted(grades)}")
            print(f"{'estimator':12} {'ours':>16} {'obp':>16} {'ours holds':>11}")
            for place, name in enumerate(NAMES):
                mine, its = ours[:, place], theirs[:, place]
                print(
                    f"{name:12} {mine.mean():>7.3f} +- {mine.std():.3f} {its.mean():>7.3f} +- {its.std():.3f}"
                    f" {held[:, place].mean():>10.0%}"
                )
            if ours.shape[1] > len(NAMES):
                for place, name in enumerate(SAME_SETTINGS, start=len(NAMES)):
                    mine = ours[:, place]
                    print(f"{name + ' as obp':12} {mine.mean():>7.3f} +- {mine.std():.3f}")


def _errors(files: Sequence[Path]) -> tuple[Floats, Floats, Floats, Floats, list[str]]:
    """Relative errors and whether intervals hold the truth, ours and obp's (rows: logs), and the overlap's grades."""
    ours, theirs, held, held_theirs, grades = [], [], [], [], []
    for file in files:
        with np.load(file) as found:
            columns = {name: found[name] for name in found.files}
        log, contexts = _log(columns)
        truth = float(columns["truth"])
        rewards = cross_fitted(log, contexts, SharedThenOwn(), np.random.default_rng(0))
        settings = settings_of(log, rewards)
        own = estimates(worths(log, rewards, settings), log, settings)
        same = (switch_dr(log, rewards, SAME_SETTINGS["switch_dr"]), dr_os(log, rewards, SAME_SETTINGS["dr_os"]))
        values = [*(own[name].value for name in NAMES), *(one.value for one in same)]
        ours.append([abs(value - truth) / truth for value in values])
        held.append([own[name].interval.holds(truth) for name in NAMES])
        theirs.append(np.abs(columns["obp_values"] - truth) / truth)
        its = columns["obp_intervals"]
        held_theirs.append((its[:, 0] <= truth) & (truth <= its[:, 1]))
        grades.append(overlap_of(log).grade)
    whole = np.array(ours)
    kept = whole[:, : len(NAMES)] if "synthetic" in files[0].name else whole
    return kept, np.array(theirs), np.array(held), np.array(held_theirs), [str(one) for one in grades]


def _log(columns: dict[str, Any]) -> tuple[Log, Floats]:
    """obp's log as ours. Rows that are drawn more than once are one unit; the position is context, and chances are
    those of its own position."""
    action, position, chances = columns["action"], columns["position"], columns["action_dist"]
    context = columns["context"].astype(np.float64)
    target = chances[:, :, 0] if chances.ndim == 3 else np.ascontiguousarray(chances.T[position])
    if position.max() > 0:
        context = np.hstack([context, np.eye(position.max() + 1)[position][:, 1:]])
    told = np.column_stack([context, action, columns["reward"], columns["pscore"]])
    unit = np.unique(told, axis=0, return_inverse=True)[1].ravel()
    names = tuple(str(number) for number in range(target.shape[1]))
    log = Log(names, action.astype(np.int64), columns["pscore"], columns["reward"].astype(float), target, unit)
    return check_log(log), context


def _counted(grades: list[str]) -> str:
    return ", ".join(f"{grade} in {count}" for grade, count in Counter(grades).most_common())


if __name__ == "__main__":
    sys.exit(main())
