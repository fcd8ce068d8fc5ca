"""Makes one Python function per release that reads every feature, in order, without a loop or a lookup to spare."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.expressions import EvaluationError, Expression, Missing
from opportune.core.features.plans import Plan

Getter = Callable[[str], bytes | None]
OutsideValues = Mapping[str, tuple[Any, int | None]]
"""What was read from outside: feature -> (value, age in ms); a feature that is not in it did not arrive."""
Reader = Callable[[Getter, Getter, int, OutsideValues], "FeatureVector"]

NOTHING_OUTSIDE: Final[OutsideValues] = {}
_DID_NOT_ARRIVE: Final = (None, -1)

_MAY_SKIP_A_NAME = re.compile(r"&&|\|\||\?|\bhas\b|\ball\b|\bexists|\bfilter\b|\bmap\b")


class FeatureVector(msgspec.Struct, frozen=True, gc=False):
    """Every feature of a release as of one time, in the order of `CompiledViews.names`.

    values: None is missing. ages_ms: age of the newest signal that fed the feature, None when there was none;
    a derived feature is as old as the oldest of its inputs. missing, stale: names, in order. unknown: the
    missing ones that no default may fill: the state did not arrive, is ahead of the time read at, or overflowed.
    """

    values: tuple[Any, ...]
    ages_ms: tuple[int | None, ...]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def build_reader(plans: Sequence[Plan], derived: Sequence[tuple[Plan, Expression]]) -> Reader:
    """The reader of these plans; `derived` comes in topological order."""
    indexes = {plan.feature.name: plan.feature.index for plan in plans}
    finish = _finisher(plans, derived, indexes)
    scope: dict[str, Any] = {"missed": (Missing, EvaluationError), "finish": finish}
    lines = ["def read(person, account, now, outside):", " unknown = []"]
    for plan in plans:
        if plan.feature.key is not None:
            lines += _folded_lines(plan, scope)
        elif plan.feature.column is not None:
            lines += _outside_lines(plan, scope)
    for plan, expression in derived:
        lines += _derived_lines(plan, expression, indexes, scope)
    lines.append(" stale = []")
    for plan in plans:
        index, limit_ms = plan.feature.index, plan.feature.freshness_ms
        if limit_ms is not None:
            lines.append(f" if a{index} is not None and a{index} > {limit_ms}: stale.append({index})")
    values, ages = (", ".join(f"{letter}{plan.feature.index}" for plan in plans) for letter in "va")
    comma = "," if plans else ""
    lines.append(f" return finish(({values}{comma}), ({ages}{comma}), unknown, stale)")
    exec(compile("\n".join(lines), "<feature reader>", "exec"), scope)  # noqa: S102 - our own text, no user's in it
    reader: Reader = scope["read"]
    return reader


def _folded_lines(plan: Plan, scope: dict[str, Any]) -> list[str]:
    feature = plan.feature
    index, get = feature.index, "person" if feature.entity == "person" else "account"
    scope[f"k{index}"], scope[f"r{index}"], scope[f"d{index}"] = feature.key, plan.read, feature.default
    return [
        f" c = {get}(k{index})",
        f" if c is None: v{index} = d{index}; a{index} = None",
        " else:",
        f"  v{index}, a{index} = r{index}(c, now)",
        f"  if v{index} is None:",
        f"   if a{index} < 0: a{index} = None; unknown.append({index})",
        f"   else: v{index} = d{index}",
    ]


def _outside_lines(plan: Plan, scope: dict[str, Any]) -> list[str]:
    index = plan.feature.index
    scope[f"k{index}"], scope[f"d{index}"], scope["lost"] = plan.feature.name, plan.feature.default, _DID_NOT_ARRIVE
    return [
        f" v{index}, a{index} = outside.get(k{index}, lost)",
        f" if v{index} is None:",
        f"  if a{index} is not None and a{index} < 0: a{index} = None; unknown.append({index})",
        f"  else: v{index} = d{index}",
    ]


def _derived_lines(
    plan: Plan, expression: Expression, indexes: Mapping[str, int], scope: dict[str, Any]
) -> list[str]:
    index = plan.feature.index
    names = sorted(expression.names)
    inputs = [indexes[name] for name in names]
    scope[f"f{index}"], scope[f"x{index}"] = expression.function(names), _absent(plan, inputs)
    arguments = ", ".join(f"v{each}" for each in inputs)
    call = [
        f"try: v{index} = f{index}({arguments})",
        f"except missed: v{index} = None",
    ]
    if plan.feature.type == "double":
        call.append(f"if v{index} is not None and v{index} - v{index} != 0.0: v{index} = None")
    if inputs and not _MAY_SKIP_A_NAME.search(expression.text):
        absent = " or ".join(f"v{each} is None" for each in inputs)
        lines = [f" if {absent}: v{index} = None", " else:", *("  " + line for line in call)]
    else:
        lines = [" " + line for line in call]
    lines.append(f" if v{index} is None: v{index} = x{index}(unknown)")
    return lines + _age_lines(index, inputs)


def _age_lines(index: int, inputs: Sequence[int]) -> list[str]:
    if not inputs:
        return [f" a{index} = None"]
    return [f" a{index} = a{inputs[0]}"] + [
        f" if a{each} is not None and (a{index} is None or a{each} > a{index}): a{index} = a{each}"
        for each in inputs[1:]
    ]


def _absent(plan: Plan, inputs: Sequence[int]) -> Callable[[list[int]], object]:
    """What a derived feature without a value gives: its default, unless an input is unknown."""
    index, default = plan.feature.index, plan.feature.default

    def absent(unknown: list[int]) -> object:
        if unknown and any(each in unknown for each in inputs):
            unknown.append(index)
            return None
        return default

    return absent


def _finisher(
    plans: Sequence[Plan], derived: Sequence[tuple[Plan, Expression]], indexes: Mapping[str, int]
) -> Callable[..., FeatureVector]:
    names = tuple(plan.feature.name for plan in plans)
    rests_on = [(plan.feature.index, {indexes[name] for name in expression.names}) for plan, expression in derived]

    def named(found: list[int] | set[int]) -> tuple[str, ...]:
        return tuple(names[index] for index in sorted(found))

    def spread(stale: list[int]) -> set[int]:
        found = set(stale)
        for index, inputs in rests_on:
            if not found.isdisjoint(inputs):
                found.add(index)
        return found

    def finish(
        values: tuple[Any, ...], ages_ms: tuple[int | None, ...], unknown: list[int], stale: list[int]
    ) -> FeatureVector:
        missing: tuple[str, ...] = ()
        if None in values:
            missing = tuple(name for name, value in zip(names, values, strict=True) if value is None)
        return FeatureVector(
            values, ages_ms, missing, named(spread(stale)) if stale else (), named(unknown) if unknown else ()
        )

    return finish
