"""What a decision knew of the quality of its data: rules that signals broke and were accepted all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from opportune.core.contracts import field_class
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord
from opportune.core.quality import rule_text
from opportune.core.signals import FieldClass, QualityRule, SignalContract

FEATURES_NAMED_MAX = 6
DAY_MS = 86_400_000


class Flagged(msgspec.Struct, frozen=True):
    """A broken rule as the decision saw it: how many signals, how old the newest, and what it may have touched.

    `broken` says in words what should have held, `features` are those of this decision that rest on the signal type,
    `class_` is that of the field the rule looks at. Owner and class are empty when the contract is not known.
    """

    scope: Literal["person", "account"]
    rule: str
    signal: str
    age_ms: int
    count: int
    broken: str
    repaired: bool
    features: tuple[str, ...]
    owner: str = ""
    class_: FieldClass | Literal[""] = ""


def flagged(brain: Brain, record: DecisionRecord) -> tuple[Flagged, ...]:
    """Every flag the decision saw; newest first."""
    found = []
    for scope, name, signal, age_ms, count in sorted(record.seen.flags, key=lambda one: one[3]):
        contract = brain.contracts.get(signal)
        rule = _rule(contract, name)
        found.append(
            Flagged(
                scope="person" if scope == "person" else "account",
                rule=name,
                signal=signal,
                age_ms=age_ms,
                count=count,
                broken=_broken(name, rule),
                repaired=rule is not None and rule.remedy == "repair",
                features=_resting_on(brain, record, scope, signal),
                owner="" if contract is None else contract.owner,
                class_="" if contract is None else _class(contract, rule, name),
            )
        )
    return tuple(found)


def flag_text(one: Flagged) -> str:
    """One plain sentence without a full stop."""
    many = "1 signal" if one.count == 1 else f"{one.count} signals"
    what = "was put right" if one.repaired else "was accepted all the same"
    if one.count > 1:
        what = what.replace("was", "were")
    newest = "" if one.count == 1 else "the newest "
    touched = _listed(one.features) if one.features else "no feature of this decision"
    answers = ", ".join(
        part for part in (one.owner and f"owner {one.owner}", one.class_ and f"class {one.class_}") if part
    )
    return (
        f"{many} {one.signal} of the {one.scope} {what} ({newest}{_age(one.age_ms)} old): rule {one.rule}, "
        f"{one.broken}; may affect {touched}{f' ({answers})' if answers else ''}"
    )


def _rule(contract: SignalContract | None, name: str) -> QualityRule | None:
    return None if contract is None else next((one for one in contract.quality if one.rule == name), None)


def _broken(name: str, rule: QualityRule | None) -> str:
    if rule is not None:
        return rule_text(rule).replace("`", "")
    kind, _, field = name.partition(":")
    if kind == "identifier" and field:
        return f"{field} must be an identifier that can be read"
    return "a rule this release does not have any more"


def _class(contract: SignalContract, rule: QualityRule | None, name: str) -> FieldClass | Literal[""]:
    if rule is None:
        _, _, field = name.partition(":")
        return field_class(contract, field) if field else ""
    fields = rule.fields or ((rule.field,) if rule.field else ())
    classes = [field_class(contract, field) for field in fields] or [contract.class_]
    order: tuple[FieldClass, ...] = ("public", "internal", "personal", "sensitive")
    return max(classes, key=order.index)


def _resting_on(brain: Brain, record: DecisionRecord, scope: str, signal: str) -> tuple[str, ...]:
    """The features seen that rest on a signal type, those that moved the prediction first.

    A feature of a person rests on signals about the person; one derived from both rests on either.
    """
    moved = dict(record.result.why)
    views = brain.views
    found = []
    for name in record.seen.features:
        if name not in views.features:
            continue
        parts = [views.features[one] for one in (name, *views.lineage(name).features)]
        if any(part.entity == scope and signal in part.signals for part in parts):
            found.append(name)
    return tuple(sorted(found, key=lambda name: (-abs(moved.get(name, 0.0)), name)))


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - FEATURES_NAMED_MAX
    return ", ".join(names[:FEATURES_NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")


def _age(ms: int) -> str:
    if ms >= DAY_MS:
        days = ms // DAY_MS
        return "1 day" if days == 1 else f"{days} days"
    for size, unit in ((3_600_000, "hour"), (60_000, "minute")):
        if ms >= size:
            number = ms // size
            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
    return "less than a minute"
