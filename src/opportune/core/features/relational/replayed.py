"""Features without a relational form, worked out by the fold itself: signal by signal, as of each asked row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opportune.core.features.compiled import CompiledViews, Steps, fold_steps
from opportune.core.features.state import EntityFeatures

if TYPE_CHECKING:
    from opportune.core.features.relational import Asked, Fact

Place = tuple[str, str]
"""(person | account, id)"""


def replay(
    views: CompiledViews, names: Sequence[str], facts: Iterable[Fact], asked: Sequence[Asked]
) -> dict[str, list[Any]]:
    """Feature -> one value per asked row. Nothing of a row's future is folded, nor what came after `known_seq`."""
    steps = _steps(views, names)
    waiting: dict[Place, list[int]] = {}
    for row, one in enumerate(asked):
        for place in _places(one.person, one.account):
            waiting.setdefault(place, []).append(row)
    states: dict[str, list[EntityFeatures | None]] = {kind: [None] * len(asked) for kind in ("person", "account")}
    for place, signals in _signals(steps, facts, waiting).items():
        _fold_rows(place[0], signals, waiting[place], asked, steps, states[place[0]])
    indexes = [views.features[name].index for name in names]
    values: dict[str, list[Any]] = {name: [] for name in names}
    for row, one in enumerate(asked):
        vector = views.read(states["person"][row], states["account"][row], one.at_ms)
        for name, index in zip(names, indexes, strict=True):
            values[name].append(vector.values[index])
    return values


def _steps(views: CompiledViews, names: Sequence[str]) -> Steps:
    keys = {views.features[name].key for name in names}
    kept = {about: tuple(step for step in steps if step[0] in keys) for about, steps in views.steps.items()}
    return {about: steps for about, steps in kept.items() if steps}


def _places(person: str | None, account: str | None) -> list[Place]:
    return [(kind, id_) for kind, id_ in (("person", person), ("account", account)) if id_ is not None]


def _signals(
    steps: Steps, facts: Iterable[Fact], waiting: Mapping[Place, Sequence[int]]
) -> dict[Place, list[Fact]]:
    """The signals that matter, by whom they are about, in time order."""
    found: dict[Place, list[Fact]] = {}
    for fact in facts:
        for place in _places(fact.person, fact.account):
            if place in waiting and (place[0], fact.type) in steps:
                found.setdefault(place, []).append(fact)
    for signals in found.values():
        signals.sort(key=lambda fact: (fact.at_ms, fact.id, fact.seq))
    return found


def _fold_rows(
    entity: str,
    signals: Sequence[Fact],
    rows: Sequence[int],
    asked: Sequence[Asked],
    steps: Steps,
    states: list[EntityFeatures | None],
) -> None:
    """The state of one person or account for each of its rows: carried on from row to row, and folded anew for a row
    that may not know one of the signals."""
    state: EntityFeatures | None = None
    at = newest = 0
    for row in sorted(rows, key=lambda row: asked[row].at_ms):
        now_ms, known = asked[row].at_ms, asked[row].known_seq
        while at < len(signals) and signals[at].at_ms <= now_ms:
            state = _folded(entity, state, signals[at], steps)
            newest = max(newest, signals[at].seq)
            at += 1
        mine = state
        if newest > known:
            mine = None
            for signal in signals[:at]:
                if signal.seq <= known:
                    mine = _folded(entity, mine, signal, steps)
        states[row] = mine


def _folded(
    entity: str, state: EntityFeatures | None, signal: Fact, steps: Steps
) -> EntityFeatures | None:
    return fold_steps(steps.get((entity, signal.type)), state, signal.id, signal.at_ms, signal.data)
