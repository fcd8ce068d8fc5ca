"""Hillstrom's e-mail trial (MineThatData 2008) as splits of the protocol, and as examples of the product.

Rows are read from `../shared/data` beside the repository, or from `$OPPORTUNE_SHARED/data`.
"""

from __future__ import annotations

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opportune.core.models import Example, TrainingSet

SHARED = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[2] / "shared"))
FILE = SHARED / "data" / "hillstrom" / "hillstrom.csv.gz"
ARMS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
ZIPS = ("Rural", "Surburban", "Urban")
CHANNELS = ("Multichannel", "Phone", "Web")
NAMES = ("recency", "history", "mens", "womens", "newbie", "history_segment", "zip_code", "channel")
TYPES = ("int", "double", "bool", "bool", "bool", "int", "string", "string")
DAY_MS = 86_400_000
SENT_MS = 1_205_971_200_000
"""The trial's day is not published; any will do: all rows have the same."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """All 64,000 customers: values as a playbook's features would be, the 12 columns of the protocol, arm, outcomes."""

    values: tuple[tuple[Any, ...], ...]
    x: Floats
    arm: Ints
    visit: Ints
    conversion: Ints
    spend: Floats


@dataclass(frozen=True)
class Split:
    """Rows of the trial (by number) to learn from and to judge by; arm 0 is nobody contacted."""

    train: Ints
    test: Ints
    arm: Ints
    outcome: Ints


def read(path: Path = FILE) -> Trial:
    """The trial as published."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    values, x = [], []
    for row in rows:
        step = int(row["history_segment"][0])
        flags = (row[name] == "1" for name in ("mens", "womens", "newbie"))
        plain = (int(row["recency"]), float(row["history"]), *flags, step)
        values.append((*plain, row["zip_code"], row["channel"]))
        hot = [row["zip_code"] == zip_ for zip_ in ZIPS] + [row["channel"] == channel for channel in CHANNELS]
        x.append([float(one) for one in (*plain, *hot)])
    return Trial(
        tuple(values),
        np.array(x),
        np.array([ARMS.index(row["segment"]) for row in rows]),
        np.array([int(row["visit"]) for row in rows]),
        np.array([int(row["conversion"]) for row in rows]),
        np.array([float(row["spend"]) for row in rows]),
    )


def two_arms(trial: Trial, arm: int, outcome: Ints, seed: int) -> Split:
    """Protocol H2: one e-mail against none, 70/30, stratified by 2 * treated + outcome."""
    rows = np.flatnonzero((trial.arm == 0) | (trial.arm == arm))
    treated = (trial.arm == arm).astype(np.int64)
    return _split(rows, treated, outcome, 2 * treated + outcome, seed)


def three_arms(trial: Trial, outcome: Ints, seed: int) -> Split:
    """Protocol H3: all three arms, 70/30, stratified by arm."""
    return _split(np.arange(len(trial.arm)), trial.arm, outcome, trial.arm, seed)


def _split(rows: Ints, arm: Ints, outcome: Ints, strata: Ints, seed: int) -> Split:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(rows, test_size=0.3, random_state=seed, stratify=strata[rows])
    return Split(train, test, arm, outcome)


def training_set(trial: Trial, split: Split, offers: tuple[str, ...]) -> TrainingSet:
    """The training rows as the product's examples: offer i + 1 is arm i + 1.

    Who got no e-mail was held out from each offer, so that with several offers such a row stands for each.
    """
    share = np.bincount(split.arm[split.train], minlength=len(offers) + 1) / len(split.train)
    examples = []
    for row in split.train.tolist():
        arm = int(split.arm[row])
        examples += [
            Example(
                SENT_MS, f"customer-{row}", offer, arm > 0, float(share[arm]), bool(split.outcome[row]),
                trial.values[row],
            )
            for offer in (offers if arm == 0 else (offers[arm - 1],))
        ]  # fmt: skip
    return TrainingSet(NAMES, TYPES, tuple(examples), 14 * DAY_MS)
