"""A new offer in a world whose truth is known: what it costs to learn about it, how sure to be, and late purchases.

1. cold start: the regret of the real kernel over the first decisions after a new offer came, with beliefs that follow
   its outcomes, with the owner's fixed prior, and with a model trained from scratch every day on finished windows
2. calibration: how often intervals of 90, 95 and 99 % hold the truth, after 200, 1,000 and 5,000 exposures
3. late purchases: 30 to 365 days after the offer; the estimate at each age with and without the correction
4. cost: kernel and record of a decision with 50 candidates, of which some are believed; CPU time, and its ratio
Run: `python -m benchmarks.cold_start [--seeds 5] [--worlds 200] [--part cost] [--json]`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec
import numpy as np

from benchmarks import synthetic
from opportune.core.beliefs import (
    Adaptive,
    BeliefTable,
    Believed,
    Cell,
    Form,
    Trial,
    cell_id,
    compile_beliefs,
    empty_cell,
    form_of,
    with_trial,
)
from opportune.core.catalog import Channel, Moment, Offer, Price, Prior, Treatment
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Seen, encode_record
from opportune.core.decisions.scenarios import Mishaps
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.models import AdditiveHead, Calibration, FeatureTable, OfferHeads, Scorecard, Training
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import SignalContract
from opportune.testing.world import newcomer
from opportune.testing.world.newcomer import CHANNELS, DAY_MS, SEGMENTS, TrueEffect

MARGIN, COST = 300.0, 0.5
WINDOW_DAYS = 14.0
ADAPTIVE = Adaptive(segments={"tier": SEGMENTS}, window="14d")
FORM = form_of(ADAPTIVE)
START_DAY = 60
PER_DAY = 400
DECISIONS = 20_000
CHECKPOINTS = (1_000, 5_000, 20_000)
REFRESH_MS = 3_600_000
NEW = "newcomer"
OLD = {f"old_{number}": (0.05, 0.016 + 0.004 * number) for number in range(4)}
"""(acceptance, uplift) of offers that a model knows."""
CASES: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "the owner is right": ((0.06, 0.034), (0.06, 0.034)),
    "the owner hopes for too much": ((0.12, 0.08), (0.03, 0.006)),
    "the owner expects too little": ((0.02, 0.008), (0.08, 0.055)),
}
"""(what the owner believes, the truth) of the new offer: acceptance and uplift."""
POLICIES = ("fixed prior", "from scratch", "adaptive")
CALM = Mishaps(())


# --- 1. cold start ---------------------------------------------------------------------------------------------------


def release_of(prior: tuple[float, float]) -> Brain:
    """Four offers that a model knows exactly, and the new one that only its owner knows."""
    numbers = {**OLD, NEW: prior}
    book = Playbook(
        app=App(
            project="newcomer", holdout=Holdout(share=0.1, salt="world"), adaptive=ADAPTIVE,
            exploration=Exploration(value_scale=10.0),
            moments=(Moment(moment="now", title="now", channels=CHANNELS),),
        ),
        offers=tuple(
            Offer(
                offer=name, title=name, kind="addon", price=Price(amount=10.0), margin=MARGIN, owner="bench",
                treatments={channel: Treatment(headline=name) for channel in CHANNELS}, contact_cost=COST,
                prior=Prior(p_accept=p_accept, uplift=uplift),
            )
            for name, (p_accept, uplift) in numbers.items()
        ),
        channels=tuple(Channel(channel=name, title=name, kind="pull") for name in CHANNELS),
        views=(
            FeatureView(
                view="v", version=1, entity="person", owner="bench", purposes=("marketing",),
                features=(
                    FeatureSpec(id="tier", sources="grew", value="data.tier", aggregate="last", type="string"),
                ),
            ),
        ),
        policies=(Policy(id="all", effect="permit", class_="commercial", reason="open", owner="bench"),),
        contracts=(
            SignalContract(
                signal="grew", owner="bench",
                schema={"type": "object", "properties": {"tier": {"type": "string"}}},
            ),
        ),
    )  # fmt: skip
    table = FeatureTable("tier", "category", categories=SEGMENTS)

    def head(logit: float) -> AdditiveHead:
        return AdditiveHead(logit, ((0.0,) * table.bin_count,))

    heads = tuple(
        OfferHeads(name, head(_logit(p)), head(_logit(p - u)), head(2 * math.log(0.004)), 9_000, 1_000, 450, 30)
        for name, (p, u) in OLD.items()
    )
    training = Training(
        data_hash="0" * 32, rows=1, rows_fit=1, rows_calibrate=1, rows_evaluate=1, from_ms=0, to_ms=0,
        evaluated_from_ms=0, label_window="14d", weight_max=20.0, feature_views={}, left_out={}, metrics={},
        calibration_table=(), gates=(), trainer="truth",
    )  # fmt: skip
    card = Scorecard(1, "truth", "bench", "0" * 32, (table,), heads, Calibration(), training, True)
    return compile_release(encode_manifest(book, [card])).brain


def truth_of(new: tuple[float, float], rng: random.Random) -> dict[str, TrueEffect]:
    """The new offer differs by channel and segment around its truth; the old ones are as the model knows them."""
    flat = {name: _flat(*numbers) for name, numbers in OLD.items()}
    return {**flat, NEW: newcomer.drawn_effect(rng, *new, spread=0.0)}


class Market:
    """Decisions after the new offer came, one policy at a time, in the same world for all."""

    def __init__(self, case: str, seed: int) -> None:
        prior, truth = CASES[case]
        self.brain = release_of(prior)
        world = random.Random(f"{case} {seed}")
        self.effects = truth_of(truth, world)
        days = [float(START_DAY - 50), float(START_DAY)]
        old = {name: self.effects[name] for name in OLD}
        self.past = newcomer.history(world, old, days, 2_000, window_days=WINDOW_DAYS, delay=newcomer.quick)
        self.seed = seed

    def live(self, policy: str) -> tuple[list[float], list[int]]:
        """(regret in money of each decision, exposures of the new offer up to it)."""
        rng = random.Random(f"answers {self.seed}")
        start_ms = START_DAY * DAY_MS
        cells = newcomer.counted(FORM, self.past, start_ms)
        coming = count()
        later: list[tuple[int, int, Trial, Trial]] = []
        seen_trials: list[Trial] = []
        believing = Believing(self.brain, policy)
        regrets, exposures, shown = [], [], 0
        for number in range(DECISIONS):
            now_ms = start_ms + number * DAY_MS // PER_DAY
            while later and later[0][0] <= now_ms:
                _, _, before, after = heapq.heappop(later)
                _swap(cells, before, after, now_ms)
            believing.follow(cells, seen_trials, now_ms)
            segment, channel = rng.choice(SEGMENTS), rng.choice(CHANNELS)
            result = self.decide(number, now_ms, segment, channel, believing)
            one: Trial | None = None
            if result.disposition == "offered" and result.offer is not None:
                one = self._trial(rng, result.offer, channel, segment, now_ms, shown=True)
                shown += result.offer == NEW
            elif result.would is not None:
                one = self._trial(rng, result.would.partition("@")[0], channel, segment, now_ms, shown=False)
            if one is not None:
                seen_trials.append(one)
                known = newcomer.known_at(one, now_ms)
                _swap(cells, None, known, now_ms)
                if known != one and one.delay_ms is not None:
                    heapq.heappush(later, (one.at_ms + one.delay_ms, next(coming), known, one))
            if result.disposition != "held_out":
                regrets.append(self.best(channel, segment) - self.worth(result.offer, channel, segment))
            else:
                regrets.append(0.0)
            exposures.append(shown)
        return regrets, exposures

    def decide(self, number: int, now_ms: int, segment: str, channel: str, believing: Believing) -> Any:  # noqa: ANN401 - a Result
        features = {"tier": segment}
        seen = Seen(
            now_ms, None, f"c{number % 9_973}", features, {}, {f"marketing/{channel}": "given"},
            beliefs=believing.seen(features, channel),
        )  # fmt: skip
        return run(self.brain, Asked("c", "now", (channel,)), seen, f"{self.seed}-{number}", CALM)

    def worth(self, offer: str | None, channel: str, segment: str) -> float:
        """What an offer really brings, in money; nothing for none."""
        return 0.0 if offer is None else self.effects[offer].uplift(channel, segment) * MARGIN - COST

    def best(self, channel: str, segment: str) -> float:
        return max(0.0, *(self.worth(offer, channel, segment) for offer in self.effects))

    def _trial(self, rng: random.Random, offer: str, channel: str, segment: str, at_ms: int, *, shown: bool) -> Trial:
        segment = f"tier {segment}"
        return newcomer.trial(
            rng, _named(self.effects[offer]), offer, channel, segment, at_ms, shown=shown, window_days=WINDOW_DAYS,
            delay=newcomer.quick,
        )  # fmt: skip


class Believing:
    """What one policy believes of the new offer, made again every hour, or every day where it is trained."""

    def __init__(self, brain: Brain, policy: str) -> None:
        self.brain, self.policy = brain, policy
        self.table: BeliefTable | None = None
        self.trained: dict[tuple[str, str], tuple[float, float]] = {}
        self.due_ms = 0

    def follow(self, cells: Mapping[str, Cell], trials: Sequence[Trial], now_ms: int) -> None:
        if now_ms < self.due_ms or self.policy == "fixed prior":
            return
        if self.policy == "adaptive":
            trained = dict.fromkeys(OLD, 9_000)
            self.table = compile_beliefs(ADAPTIVE, self.brain.candidates, cells.values(), trained, now_ms)
            self.due_ms = now_ms + REFRESH_MS
        else:
            self.trained = from_scratch([one for one in trials if one.offer == NEW], now_ms) or self.trained
            self.due_ms = now_ms + DAY_MS

    def seen(self, features: Mapping[str, Any], channel: str) -> Believed | None:
        if self.policy == "adaptive" and self.table is not None:
            return self.table.seen(features, (channel,))
        found = self.trained.get((channel, f"tier {features['tier']}"))
        if found is None:
            return None
        p_accept, uplift = (round(number * 1e6) for number in found)
        return Believed((f"{NEW}@{channel}",), (p_accept,), (uplift,), (abs(uplift),), (1000,), (0,), (0,))


def from_scratch(trials: Sequence[Trial], now_ms: int) -> dict[tuple[str, str], tuple[float, float]]:
    """A logistic regression over channel and segment per arm (a T-learner), from trials whose window is over; nothing
    until there are 20 purchases in the first arm and one in the other."""
    from sklearn.linear_model import LogisticRegression

    done = [one for one in trials if one.at_ms + WINDOW_DAYS * DAY_MS <= now_ms]
    cells = [(channel, f"tier {segment}") for channel in CHANNELS for segment in SEGMENTS]
    chances = []
    for shown, least in ((True, 20), (False, 1)):
        rows = [one for one in done if one.shown is shown]
        bought = [one.delay_ms is not None for one in rows]
        if not least <= sum(bought) < len(bought):
            return {}
        model = LogisticRegression(max_iter=200).fit([_columns(one.channel, one.segment) for one in rows], bought)
        chances.append(model.predict_proba([_columns(*cell) for cell in cells])[:, 1])
    return {cell: (float(p), float(p - b)) for cell, p, b in zip(cells, *chances, strict=True)}


def cold_start(seeds: int) -> Iterator[dict[str, Any]]:
    """Mean regret per decision, in money, over the first so many, and how often the new offer was shown."""
    for case in CASES:
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        shown: dict[tuple[str, int], list[int]] = defaultdict(list)
        for seed in range(seeds):
            market = Market(case, seed)
            for policy in POLICIES:
                regrets, exposures = market.live(policy)
                for end in CHECKPOINTS:
                    found[policy, end].append(sum(regrets[:end]) / end)
                    shown[policy, end].append(exposures[end - 1])
        for policy in POLICIES:
            row: dict[str, Any] = {"case": case, "policy": policy}
            for end in CHECKPOINTS:
                row[f"regret_{end}"] = round(statistics.mean(found[policy, end]), 3)
                row[f"shown_{end}"] = round(statistics.mean(shown[policy, end]))
            yield row


# --- 2. calibration --------------------------------------------------------------------------------------------------


def coverage(worlds: int, exposures: Sequence[int] = (200, 1_000, 5_000)) -> Iterator[dict[str, Any]]:
    """How often intervals hold the truth of a cell (one channel, one segment) of the new offer."""
    levels = {0.90: 1.6449, 0.95: 1.96, 0.99: 2.5758}
    for size in exposures:
        hits: dict[str, list[bool]] = defaultdict(list)
        errors: list[float] = []
        for seed in range(worlds):
            for row, effect, cell in _known(random.Random(f"coverage {size} {seed}"), size):
                truths = {"p_accept": effect.shown[cell], "uplift": effect.uplift(*cell)}
                errors.append(row.uplift - truths["uplift"])
                for level, z in levels.items():
                    for name, low, high in row.intervals(z):
                        hits[f"{name}_{level:.0%}"].append(low <= truths[name] <= high)
        yield {
            "exposures": size, **{name: round(statistics.mean(hit), 3) for name, hit in hits.items()},
            "uplift_rmse": round(math.sqrt(statistics.mean(error**2 for error in errors)), 4),
        }  # fmt: skip


def _known(rng: random.Random, size: int) -> Iterator[tuple[Any, TrueEffect, tuple[str, str]]]:
    """The rows of the new offer after so many exposures over 20 days (many are young), and a ninth of that withheld."""
    kind_error = math.exp(rng.gauss(-0.0625, 0.35))
    kinds = {name: newcomer.drawn_effect(rng, *numbers, kind_error=kind_error, spread=0.35)
             for name, numbers in OLD.items()}  # fmt: skip
    new = newcomer.drawn_effect(rng, 0.06, 0.034, kind_error=kind_error, spread=0.35)
    named = {name: _named(one) for name, one in {**kinds, NEW: new}.items()}
    times = {"window_days": WINDOW_DAYS, "delay": newcomer.quick}
    trials = newcomer.history(rng, {name: named[name] for name in kinds}, [0.0, 60.0], 1_000, **times)  # type: ignore[arg-type]  # two types of settings
    trials += newcomer.history(rng, {NEW: named[NEW]}, [60.0, 80.0], size * 10 // 9, **times)  # type: ignore[arg-type]  # likewise
    trials = [msgspec.structs.replace(one, segment=f"tier {one.segment.removeprefix('size ')}") for one in trials]
    now_ms = 80 * DAY_MS
    brain = release_of((0.06, 0.034))
    table = compile_beliefs(ADAPTIVE, brain.candidates, newcomer.counted(FORM, trials, now_ms).values(), {}, now_ms)
    for channel in CHANNELS:
        for segment in SEGMENTS:
            yield table.row(brain.by_id[f"{NEW}@{channel}"].index, f"tier {segment}"), new, (channel, segment)


# --- 3. late purchases -----------------------------------------------------------------------------------------------


def late(worlds: int, ages: Sequence[int] = (10, 30, 60, 90, 180, 270, 365, 540)) -> Iterator[dict[str, Any]]:
    """Estimates of an offer's acceptance at each age, in shares of the truth: bias and spread over worlds.

    20 exposures a day; purchases come 30 to 365 days later; one in ten is taken back. `believed` is what decisions
    read, `corrected` the same evidence without any prior, `naive` counts every exposure at once, `finished` waits until
    windows are over. Offers of the kind have been sold for two years.
    """
    adaptive = Adaptive(window="365d")
    form = form_of(adaptive)
    brain = release_of((0.10, 0.05))
    truth = _flat(0.10, 0.05)
    found: dict[int, dict[str, list[float]]] = {age: defaultdict(list) for age in ages}
    for seed in range(worlds):
        rng = random.Random(f"late {seed}")
        times: dict[str, Any] = {"window_days": 365.0, "delay": newcomer.slow}
        past = newcomer.history(rng, {"old_0": _flat(0.05, 0.016)}, [0.0, 730.0], 4_000, **times)
        mine = newcomer.history(rng, {NEW: truth}, [730.0, 730.0 + max(ages)], 20 * max(ages), **times)
        trials = [msgspec.structs.replace(one, segment="", channel="in_app") for one in [*past, *mine]]
        for age in ages:
            now_ms = (730 + age) * DAY_MS
            cells = newcomer.counted(form, trials, now_ms)
            table = compile_beliefs(adaptive, brain.candidates, cells.values(), {}, now_ms)
            row = table.row(brain.by_id[f"{NEW}@in_app"].index, "")
            told = found[age]
            told["believed"].append(row.p_accept / 0.10)
            told["corrected"].append(row.bought / row.counted / 0.10)
            told["naive"].append(row.bought / row.shown / 0.10)
            done = [one for one in trials if one.offer == NEW and one.shown and one.at_ms + form.window_ms <= now_ms]
            if done:
                told["finished"].append(sum(one.delay_ms is not None for one in done) / len(done) / 0.10)
    for age in ages:
        told_now: dict[str, Any] = {"age_days": age}
        for name, values in found[age].items():
            told_now[name] = round(statistics.mean(values), 3)
            told_now[f"{name}_sd"] = round(statistics.pstdev(values), 3)
        yield told_now


# --- 4. cost ---------------------------------------------------------------------------------------------------------


def cost(rounds: int = 9, decisions: int = 1_000) -> Iterator[dict[str, Any]]:
    """CPU microseconds of a decision and its record; the best of several rounds in turn."""
    book = synthetic.playbook()
    brain = compile_release(encode_manifest(book, [synthetic.scorecard(book)])).brain
    moment = brain.moments[synthetic.MOMENT]
    of_type: dict[str, Any] = {"int": 1, "double": 1.0, "bool": True}
    features = {name: of_type.get(brain.views.types[name], "x") for name in brain.views.names}
    consents = {f"{purpose}/{channel}": "given" for purpose in brain.purposes for channel in moment.channels}
    asked = Asked("c", synthetic.MOMENT, tuple(moment.channels), {"used": 3})
    ids = count()

    def seen(many: int) -> Seen:
        names = tuple(one.id for one in brain.candidates)[:many]
        believed = Believed(
            names, (60_000,) * many, (30_000,) * many, (12_000,) * many, (1000,) * many, (12,) * many, (2,) * many,
            (("addon", 300, 14),),
        )  # fmt: skip
        return Seen(DAY_MS, None, "u", features, {}, consents, beliefs=believed if many else None)

    def micros(what: Seen) -> tuple[float, int]:
        size, began = 0, time.process_time()
        for _ in range(decisions):
            id_ = f"01940000-0000-7000-8000-{next(ids):012x}"
            result = run(brain, asked, what, id_, CALM)
            size = len(encode_record(DecisionRecord(RECORD_VERSION, id_, "r", "eu", asked, what, (), (), result)))
        return (time.process_time() - began) / decisions * 1e6, size

    cases = {many: seen(many) for many in (0, 1, 3, 50)}
    best = {many: micros(what) for many, what in cases.items()}
    for _ in range(rounds):
        best = {many: min(best[many], micros(what)) for many, what in cases.items()}
    for many, (took, size) in best.items():
        yield {"believed": many, "cpu_us": round(took, 1), "ratio": round(took / best[0][0], 2), "record_bytes": size}


# --- small parts -----------------------------------------------------------------------------------------------------


def _swap(cells: dict[str, Cell], before: Trial | None, after: Trial, now_ms: int, form: Form = FORM) -> None:
    for one, sign in ((before, -1), (after, 1)):
        if one is not None:
            cell = cells.get(cell_id(form, one)) or empty_cell(form, one)
            cells[cell.id] = with_trial(form, cell, one, now_ms, sign)


def _flat(p_accept: float, uplift: float) -> TrueEffect:
    everywhere = [(channel, segment) for channel in CHANNELS for segment in SEGMENTS]
    return TrueEffect(dict.fromkeys(everywhere, p_accept), dict.fromkeys(everywhere, p_accept - uplift))


def _named(effect: TrueEffect) -> TrueEffect:
    """The same with segments under the names that the playbook gives them, too."""
    def both(chances: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        return {**chances, **{(channel, f"tier {segment}"): p for (channel, segment), p in chances.items()}}

    return TrueEffect(both(effect.shown), both(effect.base))


def _columns(channel: str, segment: str) -> list[float]:
    return [float(channel == CHANNELS[0]), *(float(segment.endswith(one)) for one in SEGMENTS)]


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--part", default="", help="one of: cold start, calibration, late purchases, cost")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    np.seterr(all="ignore")
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "cold start": lambda: cold_start(given.seeds), "calibration": lambda: coverage(given.worlds),
        "late purchases": lambda: late(max(given.worlds // 10, 5)), "cost": cost,
    }  # fmt: skip
    for name, part in parts.items():
        if given.part not in ("", name):
            continue
        if not given.json:
            print(f"\n{name}")
        for row in part():
            told = "  ".join(f"{key} {value}" for key, value in row.items())
            print(json.dumps({"part": name, **row}) if given.json else f"  {told}")


if __name__ == "__main__":
    main()
