"""Parity on signals made up for a playbook's views: late, sent twice and out of order, folded and worked out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from opportune.core.expressions import parse
from opportune.core.expressions.nodes import Const, walk
from opportune.core.features import CompiledViews, EntityFeatures
from opportune.core.features.relational import Asked, Fact, relational_of
from opportune.core.playbook import Playbook
from opportune.core.schemas import properties_of
from opportune.flows.offline import payload_fields
from opportune.flows.parity import EXAMPLES_MAX, OUTSIDE, Difference, FeatureParity, Parity, same
from opportune.ports import OfflineFeatures

BEGAN_MS: Final = 1_767_225_600_000
SPAN_MS: Final = 120 * 86_400_000
SIGNALS_PER_CUSTOMER: Final = 250
CUSTOMERS_PER_ACCOUNT: Final = 4
SIGNALS_PER_READ: Final = 50
DELAYS_MS: Final = ((0.7, 1_000), (0.9, 3_600_000), (1.0, 30 * 86_400_000))
"""(share up to which, longest delay) of a signal on its way."""
TWICE: Final = 0.03

Make = Callable[[], Any]


class Generated(msgspec.Struct, frozen=True):
    """What came of it, and what was made: signals folded, duplicates left out, signals late by more than an hour,
    and signals that came after a newer one of the same customer."""

    parity: Parity
    signals: int
    duplicates: int
    late: int
    out_of_order: int
    reads: int


def generated_parity(
    playbook: Playbook, views: CompiledViews, engine: OfflineFeatures, count: int, seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> Generated:  # fmt: skip
    """Folds `count` signals as they arrive, reads at moments in between, and compares every value read."""
    form = relational_of(views, payload_fields(playbook))
    tallies: Counter[str] = Counter()
    states: dict[tuple[str, str], EntityFeatures | None] = {}
    newest: dict[str, int] = {}
    facts: list[Fact] = []
    asked: list[Asked] = []
    served: list[tuple[Any, ...]] = []
    seen: set[str] = set()
    random = Random(f"reads {seed}")  # noqa: S311 - to be repeated, not to be secret
    for fact, now_ms in arriving(playbook, views, count, seed):
        if fact.id in seen:
            tallies["duplicates"] += 1
            continue
        seen.add(fact.id)
        facts.append(fact)
        for entity, id_ in (("person", fact.person), ("account", fact.account)):
            assert id_ is not None
            states[entity, id_] = views.fold(
                entity, states.get((entity, id_)), fact.type, fact.id, fact.at_ms, fact.data
            )
        who = fact.person or ""
        tallies["late"] += now_ms - fact.at_ms > 3_600_000
        tallies["out_of_order"] += fact.at_ms < newest.get(who, 0)
        newest[who] = max(newest.get(who, 0), fact.at_ms)
        if random.random() * SIGNALS_PER_READ < 1.0:
            other = facts[int(random.random() * len(facts))]
            at_ms = now_ms + random.choice((0, 1, 60_000, 9_000_000))
            one = Asked(other.person, other.account, at_ms, fact.seq)
            vector = views.read(states["person", other.person or ""], states["account", other.account or ""], at_ms)
            asked.append(one)
            served.append(vector.values)
        if len(facts) % 10_000 == 0:
            tell(len(facts))
    found = _compared(views, form.forms, engine.values(form, facts, asked), asked, served)
    return Generated(found, len(facts), tallies["duplicates"], tallies["late"], tallies["out_of_order"], len(asked))


def _compared(
    views: CompiledViews,
    forms: Mapping[str, str],
    offline: Mapping[str, Sequence[Any]],
    asked: Sequence[Asked],
    served: Sequence[tuple[Any, ...]],
) -> Parity:
    features: list[FeatureParity] = []
    examples: list[Difference] = []
    outside = views.read_outside
    for index, name in enumerate(views.names):
        if name in outside:
            features.append(FeatureParity(name, "none", explained={OUTSIDE: len(served)}))
            continue
        equal = missing = 0
        for row, values in enumerate(served):
            missing += values[index] is None
            if same(values[index], offline[name][row]):
                equal += 1
            elif len(examples) < EXAMPLES_MAX:
                one = asked[row]
                where = f"{one.person} at {one.at_ms}"
                examples.append(Difference(where, name, values[index], offline[name][row]))
        features.append(FeatureParity(name, forms[name], equal, len(served) - equal, missing=missing))
    return Parity(len(served), tuple(features), tuple(examples))


def arriving(playbook: Playbook, views: CompiledViews, count: int, seed: int) -> Iterator[tuple[Fact, int]]:
    """(signal, when it arrives), in order of arrival; the same arguments give the same signals. About three in a
    hundred come twice."""
    random = Random(seed)  # noqa: S311
    makers = _makers(playbook, views, random)
    types = sorted(makers)
    customers = max(1, count // SIGNALS_PER_CUSTOMER)
    recent: list[Fact] = []
    for seq in range(1, count + 1):
        now_ms = BEGAN_MS + SPAN_MS * seq // count
        if recent and random.random() < TWICE:
            yield recent[int(random.random() * len(recent))], now_ms
        customer = int(customers * random.random() ** 2)
        chance = random.random()
        most_ms = next(longest for share, longest in DELAYS_MS if chance <= share)
        # Whole minutes now and then: moments on the edge of a tile, and several signals of one moment.
        at_ms = now_ms - int(random.random() * most_ms)
        if random.random() < 0.2:
            at_ms -= at_ms % 3_600_000
        type_ = types[int(random.random() * len(types))]
        data = {name: make() for name, make in makers[type_].items() if random.random() < 0.95}
        id_ = f"{int(random.random() * 10**9):09d}-{seq}"
        fact = Fact(seq, type_, id_, at_ms, f"c{customer}", f"a{customer // CUSTOMERS_PER_ACCOUNT}", data)
        recent = [*recent[-99:], fact]
        yield fact, now_ms


def _makers(playbook: Playbook, views: CompiledViews, random: Random) -> dict[str, dict[str, Make]]:
    """For each signal type that features read: for each field they read, what makes a value of it."""
    fields = payload_fields(playbook)
    schemas = {contract.signal: properties_of(contract.schema) for contract in playbook.contracts}
    said = _texts(views, fields)
    makers: dict[str, dict[str, Make]] = {}
    for feature in views.features.values():
        for signal, field in feature.fields:
            mine = makers.setdefault(signal, {})
            if field and "." not in field:
                schema = schemas.get(signal, {}).get(field, {})
                options = schema.get("enum") if isinstance(schema, Mapping) else None
                mine[field] = _maker(fields[signal].get(field, "dyn"), options, said, random)
    return makers


def _maker(type_: str, options: Any, said: Sequence[str], random: Random) -> Make:  # noqa: ANN401 - any schema's enum
    if isinstance(options, list | tuple) and options:
        return lambda: options[int(random.random() * len(options))]
    if type_ == "bool":
        return lambda: random.random() < 0.5
    if type_ == "int":
        return lambda: int(random.random() * 100)
    if type_ == "double":
        return lambda: round(random.random() * 1_000, 2)
    texts = [*said, *(f"text-{number}" for number in range(20))]
    return lambda: texts[int(random.random() * len(texts))]


def _texts(views: CompiledViews, fields: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The texts that conditions compare with: without them hardly a condition would ever hold."""
    found: set[str] = set()
    for view in views.views:
        for spec in view.features:
            for signal in spec.signal_types if spec.where is not None else ():
                variables = {f"data.{name}": type_ for name, type_ in fields[signal].items()}
                root = parse(spec.where or "", variables).root
                found |= {node.value for node in walk(root) if isinstance(node, Const) and isinstance(node.value, str)}
    return sorted(found)
