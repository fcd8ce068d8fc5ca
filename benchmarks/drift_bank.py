"""Bank Marketing in order of time: a frozen model, and one that is trained again when drift is found.

The first half trains; on the second half only who was offered something answers: +1 for a yes, -0.12 for a call in
vain, 0 for no call. A share of those who would not be called is called all the same, by chance. When drift is found
before there are answers enough to train on, the owner's prior (call everybody) decides until there are. `python -m
benchmarks.drift --bank` (BASELINES 2d: frozen LightGBM .0188, always 0.0800, online LinTS .1046, oracle .179).
"""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import bandits
from opportune.adapters.sklearn.train import SklearnTrainer
from opportune.core.bandits import Arms, ArmSettings, drawn
from opportune.core.drift import (
    AnsweredRows,
    DriftPolicy,
    Report,
    SeenRows,
    look_at_answers,
    look_at_inputs,
    watched,
)
from opportune.core.models import CompiledModel, Example, Scorecard, TrainingSet, compile_scorecard
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train

SHARED = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[2] / "shared"))
FILE = SHARED / "data/bank_marketing/bank-additional-full.csv.gz"
LEFT_OUT = ("duration", "campaign", "y")
NUMBERS = ("age", "pdays", "previous", "emp.var.rate", "cons.price.idx", "cons.conf.idx", "euribor3m", "nr.employed")
COST = 0.12
OFFER = "deposit"
EXPLORED = 0.05
"""Of those who would not be called, so many are: what is never tried is never learned."""
RECENT = 3_000
"""Answers that a model is trained on again: the newest, since what changed is no longer true of those before."""
SEEDS = (0, 1, 2)
FIRST_RECENT = 1_000
POLICY = DriftPolicy(window=500, answers=250, actions={"input": "propose_retraining", "score": "propose_retraining"})


def rows_of() -> tuple[tuple[str, ...], list[tuple[Any, ...]], list[bool]]:
    """(features, their values, yes or no) in the order of the file, which is that of time."""
    with gzip.open(FILE, "rt") as file:
        table = list(csv.DictReader(file))
    names = tuple(name for name in table[0] if name not in LEFT_OUT)
    values = [tuple(float(row[n]) if n in NUMBERS else row[n] for n in names) for row in table]
    return names, values, [row["y"] == "yes" for row in table]


class Teacher:
    """Trains on answers, and keeps them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.spec = ModelSpec(model="bank", owner="bench", target="acceptance", features=names, holdout_share=0.2)
        self.types = tuple("double" if name in NUMBERS else "string" for name in names)
        self.answers: list[Example] = []

    def add(self, at: int, values: tuple[Any, ...], yes: bool, chance: float) -> None:
        self.answers.append(Example(at, f"row-{at}", OFFER, True, chance, yes, values))

    def card(self, newest: int) -> tuple[Scorecard, CompiledModel]:
        examples = TrainingSet(self.names, self.types, tuple(self.answers[-newest:]), 1, target="acceptance")
        card = train(self.spec, examples, (OFFER,), SklearnTrainer())
        return card, compile_scorecard(card, [OFFER], self.names)


def bank() -> dict[str, Any]:
    """Average rewards on the second half, and what was found when."""
    since = perf_counter()
    names, values, yes = rows_of()
    half = len(values) // 2
    teacher = Teacher(names)
    for at in range(half):
        teacher.add(at, values[at], yes[at], 1.0)
    card, model = teacher.card(half)
    called = [_called(model, values[at]) for at in range(half, len(values))]
    frozen = [_reward(one, yes[half + at]) for at, one in enumerate(called)]
    rewards, found = _watched(teacher, card, model, values, yes, half)
    after = found[0]["found after"] if found else len(called)
    handed = [_handed(called, after, seed) for seed in SEEDS]
    return {
        "rows": len(values) - half, "frozen": round(float(np.mean(frozen)), 4),
        "always": round(float(np.mean([_reward(True, one) for one in yes[half:]])), 4),
        "trained again when drift is found": round(float(np.mean(rewards)), 4),
        "handed to the adaptive learner when drift is found": round(float(np.mean(handed)), 4),
        "each of its seeds": [round(one, 4) for one in handed],
        "oracle": round(float(np.mean(yes[half:])), 4),
        "first found after events": found[0]["found after"] if found else None,
        "first trained again after events": found[0]["events"] if found else None,
        "times trained again": len(found), "seconds": round(perf_counter() - since),
    }  # fmt: skip


def _handed(called: list[bool], found_after: int, seed: int) -> float:
    """The frozen card decides until drift is found; from then on the adaptive learner (core/bandits), which went along
    from the beginning: it chose in the first half, and then watched. Events as in BASELINES 2d, standardised."""
    x, pay, _ = bandits.bank()
    rows, half = bandits.with_one(x), len(x) // 2
    learner = Arms(ArmSettings(actions=2, features=rows.shape[1]))
    uniform = np.random.default_rng(seed).random(len(rows))
    got = []
    for at, row in enumerate(rows):
        is_frozen = half <= at < half + found_after
        action = int(called[at - half]) if is_frozen else drawn(learner.chances(row), float(uniform[at]))
        learner.learn(row, action, float(pay[at, action]))
        got.append(float(pay[at, action]))
    return float(np.mean(got[half:]))


def _watched(
    teacher: Teacher, card: Scorecard, model: CompiledModel, values: list[tuple[Any, ...]], yes: list[bool], half: int
) -> tuple[list[float], list[dict[str, Any]]]:
    random = np.random.default_rng(17)
    watch, rewards, found = watched("bank", card, POLICY), [], []
    seen: list[int] = []
    told: list[int] = []
    looks, fresh = [0, 0], half
    past: list[Report] = []
    due, since, kinds = False, 0, list[str]()
    for at in range(half, len(values)):
        # Fallen back: until there are answers to train on, the owner's prior decides, which is to call everybody.
        wanted = due or _called(model, values[at])
        called = wanted or bool(random.random() < EXPLORED)
        rewards.append(_reward(called, yes[at]))
        seen.append(at)
        if called:
            told.append(at)
            teacher.add(at, values[at], yes[at], 1.0 if wanted else EXPLORED)
        reports: list[Report] = []
        if len(seen) == POLICY.window:
            looks[0] += 1
            reports.append(look_at_inputs(watch, _seen(watch.card, teacher, values, seen), looks[0], at))
            seen = []
        if len(told) == POLICY.answers:
            looks[1] += 1
            rows = _seen(watch.card, teacher, values, told)
            many = len(told)
            answered = AnsweredRows(rows, (OFFER,) * many, (True,) * many, tuple(yes[one] for one in told))
            reports.append(look_at_answers(watch, answered, looks[1], at, past))
            past, told = [*past, reports[-1]][-7:], []
        alarms = [one for report in reports for one in report.found]
        if alarms and not due:
            due, since, kinds = True, at - half + 1, sorted({one.kind for one in alarms})
        newest = len(teacher.answers) - fresh
        if due and newest >= FIRST_RECENT:
            found.append({"found after": since, "events": at - half + 1, "kinds": kinds, "answers": newest})
            card, model = teacher.card(min(RECENT, newest))
            watch, looks, past, seen, told, due = watched("bank", card, POLICY), [0, 0], [], [], [], False
    return rewards, found


def _called(model: CompiledModel, values: tuple[Any, ...]) -> bool:
    chance = model.score(values).p_accept[0]
    return chance - COST * (1.0 - chance) > 0.0


def _reward(called: bool, yes: bool) -> float:
    return 0.0 if not called else 1.0 if yes else -COST


def _seen(card: Scorecard, teacher: Teacher, values: list[tuple[Any, ...]], some: list[int]) -> SeenRows:
    places = [teacher.names.index(table.name) for table in card.features]
    return SeenRows(
        tuple(f"row-{one}" for one in some), tuple(tuple(values[one][place] for place in places) for one in some),
        some[0], some[-1],
    )  # fmt: skip
