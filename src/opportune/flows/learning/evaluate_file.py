"""A log of somebody else's choices, judged like one's own: a CSV or Parquet file with the chances of what was done.

1. read the columns: `action`, `probability`, `reward`, and `target` or one `target:<action>` per action
2. check each row, and say which is wrong
3. learn what each action earns, where the target names every action
4. judge

`unit` (who it was done to) ties rows together; every other column is context for the reward model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.offpolicy import Judgement, Log, LogError, RewardLearner, check_log, cross_fitted, encoded, judge
from opportune.ports import ColumnFiles

ROWS_MAX = 2_000_000
REQUIRED = ("action", "probability", "reward")
OF_TARGET = "target:"
OTHERS = "other actions"
ROWS_MIN = 50

Column = NDArray[Any]


def evaluate_file(files: ColumnFiles, path: str, learner: RewardLearner, seed: int = 0) -> Judgement:
    """Judges the policy whose chances the file gives. Raises LogError with the row and the column."""
    # 1. read
    columns = _read(files, path)
    count = len(columns["reward"])
    if count < ROWS_MIN:
        raise LogError("too_few", "reward", f"`{path}` has {count} rows: at least {ROWS_MIN} are needed")
    whole = [name for name in columns if name.startswith(OF_TARGET)]
    # 2. check
    log = check_log(_log(columns, whole))
    if not whole:
        # Only the chance of what was done is known: a model of one mean makes each estimator its model-free form.
        mean = np.full(log.target.shape, float(log.reward.mean()))
        return _without_model(judge(log, None, mean))
    # 3. learn
    used = {*REQUIRED, "unit", "target", *whole}
    context = {name: values.tolist() for name, values in columns.items() if name not in used}
    contexts = encoded(context, count)
    rewards = cross_fitted(log, contexts.rows, learner, np.random.default_rng(seed))
    # 4. judge
    return judge(log, None, rewards)


def _read(files: ColumnFiles, path: str) -> Mapping[str, Column]:
    kinds = files.kinds(path)
    for name in REQUIRED:
        if name not in kinds:
            raise LogError("missing_column", name, f"`{path}` has no column `{name}`: it has {', '.join(kinds)}")
    if "target" not in kinds and not any(name.startswith(OF_TARGET) for name in kinds):
        message = "the chances of the policy to judge are missing: add `target`, or one `target:<action>` per action"
        raise LogError("missing_column", "target", message)
    texts = {"action", *(("unit",) if "unit" in kinds else ())}
    parts: dict[str, list[Column]] = {name: [] for name in kinds}
    rows = 0
    for block in files.rows(path, tuple(kinds), texts, 100_000):
        rows += len(block["reward"])
        if rows > ROWS_MAX:
            raise LogError("too_large", "reward", f"`{path}` has more than {ROWS_MAX:,} rows: take a sample of units")
        for name, values in block.items():
            parts[name].append(np.ma.filled(values.astype(object), None) if np.ma.isMaskedArray(values) else values)
    return {name: np.concatenate(some) if some else np.array([], object) for name, some in parts.items()}


def _log(columns: Mapping[str, Column], whole: list[str]) -> Log:
    count = len(columns["reward"])
    said = [None if value is None else str(value) for value in columns["action"].tolist()]
    probability, reward = _numbers("probability", columns), _numbers("reward", columns)
    unit = _units(columns, count)
    if not whole:
        chance = _numbers("target", columns)
        wrong = np.flatnonzero(~((chance >= 0.0) & (chance <= 1.0)))
        if len(wrong):
            at = int(wrong[0])
            raise LogError("not_a_probability", "target", f"row {at + 1}: `target` is {chance[at]:g}: from 0 to 1")
        target = np.column_stack([chance, 1.0 - chance])
        return Log(("what was done", OTHERS), np.zeros(count, np.int64), probability, reward, target, unit)
    names = [name.removeprefix(OF_TARGET) for name in whole]
    place = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(said):
        if name not in place:
            message = f"row {number + 1}: there is no column `target:{str(name)[:64]}` for what was done"
            raise LogError("unknown_action", "action", message)
    action = np.array([place[str(name)] for name in said], dtype=np.int64)
    target = np.column_stack([_numbers(name, columns) for name in whole])
    return Log(tuple(names), action, probability, reward, target, unit)


def _numbers(name: str, columns: Mapping[str, Column]) -> NDArray[np.float64]:
    found = np.empty(len(columns[name]))
    for number, value in enumerate(columns[name].tolist()):
        try:
            found[number] = float(value)
        except (TypeError, ValueError):
            raise LogError("not_a_number", name, f"row {number + 1}: `{name}` is no number") from None
    return found


def _units(columns: Mapping[str, Column], count: int) -> NDArray[np.int64]:
    """Rows without a unit are their own."""
    if "unit" not in columns:
        return np.arange(count)
    given = columns["unit"].tolist()
    keys = [(1, number) if value is None else (0, str(value)) for number, value in enumerate(given)]
    places = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([places[key] for key in keys], dtype=np.int64)


def _without_model(found: Judgement) -> Judgement:
    """The estimators that need no model of rewards."""
    kept = {name: found.estimators[name] for name in ("ips", "snips")}
    return msgspec.structs.replace(found, estimators=kept, mix=())
