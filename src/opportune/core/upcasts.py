"""Upcasters: how data of an older version of a signal type becomes a newer one's, by declared CEL expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.schemas import fits, properties_of, signal_fields, value_at
from opportune.core.signals import Onward, Problem, SignalContract, format_time
from opportune.core.wording import closest, listed, quoted

Upcaster = Callable[[Mapping[str, Any]], tuple[dict[str, Any], tuple[Problem, ...]]]


class ContractProblem(msgspec.Struct, frozen=True):
    """What is wrong with a contract: the field of its document, with a place inside its text (from 1)."""

    path: tuple[str | int, ...]
    message: str
    nearest: str | None = None
    line: int = 1
    column: int = 1
    on_key: bool = False


def onward_of(contract: SignalContract, versions: Sequence[SignalContract]) -> Onward | None:
    """Where data of this version goes on to: the newest version that says how it is made from it.

    `versions` are all contracts of the signal type; ExpressionError when the upcaster does not compile.
    """
    newer = [one for one in versions if one.version > contract.version and str(contract.version) in one.upcast]
    if not newer:
        return None
    target = max(newer, key=lambda one: one.version)
    return Onward(target.version, upcaster(contract, target))


def upcaster(older: SignalContract, newer: SignalContract) -> Upcaster:
    """Data of `older` to data of `newer`; a field whose expression misses a value is left out.

    Fields that the newer schema has too carry over as they are, unless they are named.
    """
    expressions = {name: parse(text, _types(older)) for name, text in newer.upcast[str(older.version)].items()}
    named = tuple((name, expression, _call(expression)) for name, expression in expressions.items())
    carried = frozenset(properties_of(newer.schema)) - expressions.keys()

    def upcast(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        made = {name: value for name, value in data.items() if name in carried}
        problems: list[Problem] = []
        for name, expression, call in named:
            try:
                value = call(data)
            except Missing:
                continue
            except EvaluationError as error:
                problems.append(Problem("upcast", f"data.{name}", f"`{name}` cannot be worked out: {error}"))
                continue
            if value is not None:
                made[name] = format_time(value) if expression.type == "timestamp" else value  # type: ignore[arg-type]
        return made, tuple(problems)

    return upcast


def upcast_problems(contract: SignalContract, versions: Sequence[SignalContract]) -> Iterator[ContractProblem]:
    """Everything wrong with the upcasters of a contract, held against the versions they read."""
    known = {str(one.version): one for one in versions if one.version != contract.version}
    for version, fields in contract.upcast.items():
        older = known.get(version)
        if older is None or older.version > contract.version:
            earlier = listed(name for name, one in known.items() if one.version < contract.version)
            fix = f"the older ones are {earlier}" if earlier else "there is no older one"
            message = f"there is no version {quoted(version)} of `{contract.signal}` to make this one from: {fix}"
            yield ContractProblem(("upcast", version), message, on_key=True)
            continue
        for name, text in fields.items():
            yield from _field_problems(contract, older, name, text)


def _field_problems(
    contract: SignalContract, older: SignalContract, name: str, text: str
) -> Iterator[ContractProblem]:
    path, wanted = ("upcast", str(older.version), name), signal_fields(contract)
    if name not in wanted:
        message = f"version {contract.version} of `{contract.signal}` has no field {quoted(name)}"
        yield ContractProblem(path, message, closest(name, wanted), on_key=True)
    try:
        expression = parse(text, _types(older))
    except ExpressionError as error:
        yield ContractProblem(path, error.message, error.nearest, error.line, error.column)
        return
    if not fits(expression.type, wanted.get(name, "dyn")):
        message = f"{quoted(text)} is {expression.type}, but `{name}` is {wanted[name]} in version {contract.version}"
        yield ContractProblem(path, message)


def _types(contract: SignalContract) -> dict[str, str]:
    return {f"data.{name}": type_ for name, type_ in signal_fields(contract).items()}


def _call(expression: Expression) -> Callable[[Mapping[str, Any]], object]:
    names = sorted(expression.names)
    paths = [tuple(name.removeprefix("data.").split(".")) for name in names]
    function = expression.function(names)
    return lambda data: function(*[value_at(data, path) for path in paths])
