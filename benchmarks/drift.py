"""Planted drift of every kind, and worlds in which nothing changes: what is found, after how many events.

Every run has a card of its own training or shares one with few others; false alarms are counted per run: any alarm of
the whole monitor (all features, scores, segments, answers, windows). Run: `python -m benchmarks.drift
[--undrifted 200] [--drifted 20] [--windows 8] [--json]`; with `--bank`, the Bank Marketing data in order of time.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

from benchmarks.drift_streams import TWISTS, Stream, Twist, set_of, windowed
from opportune.adapters.sklearn.train import SklearnTrainer
from opportune.core.drift import DriftPolicy, Report, Watched, look_at_answers, look_at_inputs, watched
from opportune.core.models import Example, Scorecard
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train
from opportune.testing.world.effects import NAMES, OFFERS

TRAINING_ROWS = 9_000
RUNS_PER_CARD = 20
SPEC = ModelSpec(model="known", owner="bench", features=NAMES, segments=("plan",))
POLICY = DriftPolicy()


def card_of(seed: int) -> tuple[Stream, Scorecard]:
    """A stream and a card trained on its past."""
    stream = Stream(seed)
    return stream, train(SPEC, set_of(stream.rows(TRAINING_ROWS)), OFFERS, SklearnTrainer())


def run(watch: Watched, stream: Stream, events: int, twist: Twist | None = None) -> list[tuple[int, Report]]:
    """(events so far, report) of every window with an alarm: of inputs at once, of answers as if their windows were
    over. Ends at the first alarm where drift was planted."""
    names = tuple(table.name for table in watch.card.features)
    found: list[tuple[int, Report]] = []
    kept: list[Example] = []
    past: list[Report] = []
    for start in range(0, events, 500):
        kept += stream.rows(500, twist)
        pending = start + 500
        looks = [look_at_answers(watch, windowed(kept[-500:], names), start // 500 + 1, pending, past)]
        past = [*past, looks[0]][-7:]
        if pending % POLICY.window == 0:
            window = windowed(kept[-POLICY.window :], names).seen
            looks.append(look_at_inputs(watch, window, pending // POLICY.window, pending))
        found += [(pending, one) for one in looks if one.found]
        if found and twist is not None:
            return found
    return found


def undrifted(runs: int, windows: int) -> dict[str, Any]:
    alarms, looks = [], 0
    watch = None
    for number in range(runs):
        if number % RUNS_PER_CARD == 0 or watch is None:
            stream, card = card_of(1_000 + number)
            watch = watched("card", card, POLICY)
        stream.random = _later(number)
        found = run(watch, stream, windows * POLICY.window)
        looks += windows * 3
        if found:
            alarms.append({"run": number, "what": [one.words for one in found[0][1].found]})
    cards = -(-runs // RUNS_PER_CARD)
    return {"runs": runs, "with an alarm": len(alarms), "alarms": alarms, "looks": looks, "cards": cards}


def drifted(runs: int) -> list[dict[str, Any]]:
    cards = [card_of(5_000 + number) for number in range(min(runs, 4))]
    rows = []
    for name, twist in TWISTS.items():
        after, kinds = [], set()
        for number in range(runs):
            stream, card = cards[number % len(cards)]
            stream.random = _later(9_000 + number)
            found = run(watched("card", card, POLICY), stream, 8_000, twist)
            if found:
                after.append(found[0][0])
                kinds |= {one.kind for one in found[0][1].found}
        after.sort()
        median, most = (after[len(after) // 2], after[-1]) if after else (None, None)
        rows.append({"drift": name, "runs": runs, "found": len(after), "median events": median,
                     "most events": most, "as": sorted(kinds)})  # fmt: skip
    return rows


def cost() -> float:
    """What a look at a window of inputs takes, in parts of scoring its rows one at a time; the median of five."""
    stream, card = card_of(77)
    watch = watched("card", card, POLICY)
    rows = windowed(stream.rows(POLICY.window), tuple(table.name for table in card.features)).seen
    ratios = []
    for _ in range(5):
        begun = perf_counter()
        for values in rows.values:
            watch.model.score(values)
        scored = perf_counter()
        look_at_inputs(watch, rows, 1, 0)
        ratios.append((perf_counter() - scored) / (scored - begun))
    return round(sorted(ratios)[2], 1)


def _later(number: int) -> Any:  # noqa: ANN401 - numpy's generator
    import numpy as np

    return np.random.default_rng([number, 11])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--undrifted", type=int, default=200)
    parser.add_argument("--drifted", type=int, default=20)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--bank", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.bank:
        from benchmarks.drift_bank import bank

        found: dict[str, Any] = bank()
    else:
        since = perf_counter()
        found = {"planted": drifted(options.drifted), "undrifted": undrifted(options.undrifted, options.windows)}
        found["seconds"] = round(perf_counter() - since)
        found["cost of a window, in scorings of its rows"] = cost()
    if options.json or options.bank:
        print(json.dumps(found, indent=1))
        return
    for row in found["planted"]:
        print(
            f"{row['drift']:<46} found in {row['found']} of {row['runs']}, after {row['median events']} events "
            f"(most {row['most events']}), as {', '.join(row['as'])}"
        )
    calm = found["undrifted"]
    print(
        f"undrifted: {calm['with an alarm']} of {calm['runs']} runs with an alarm ({calm['looks']} looks, "
        f"{calm['cards']} cards){'; ' if calm['alarms'] else ''}{calm['alarms'] or ''}; {found['seconds']} s"
    )
    print(f"a window costs {found['cost of a window, in scorings of its rows']} times scoring its rows one at a time")


if __name__ == "__main__":
    main()
