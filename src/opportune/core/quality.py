"""Data quality at the door: typed rules per signal, each with a declared remedy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema_rs
import msgspec

from opportune.core.durations import parse_duration_ms
from opportune.core.schemas import Schema, cel_type, properties_of, value_at, way_to, with_value
from opportune.core.signals import (
    CompiledContract,
    CompiledRule,
    Problem,
    QualityRule,
    Remedy,
    Repair,
    Signal,
    SignalContract,
)
from opportune.core.upcasts import ContractProblem
from opportune.core.wording import closest, listed, quoted


class Lookups(msgspec.Struct, frozen=True):
    """What rules need to know of the store: is this a known customer, account, offer; is a value held already."""

    customer: Callable[[str], bool]
    account: Callable[[str], bool]
    offer: Callable[[str], bool]
    held: Callable[[str, bytes], bool]
    """(signal type and rule, digest of the values): whether another signal holds them."""


class Judged(msgspec.Struct, frozen=True):
    """The signal as it may go on (repaired, flagged), or the problems that keep it out and what becomes of it.

    `claims` are what the signal is the first to hold, (signal type and rule, digest of the values): to be taken with
    the signal, so that one which is kept out after all holds nothing.
    """

    signal: Signal | None
    problems: tuple[Problem, ...] = ()
    remedy: Remedy | None = None
    claims: tuple[tuple[str, bytes], ...] = ()


def judge(contract: CompiledContract, signal: Signal, received_ms: int, lookups: Lookups) -> Judged:
    """Every rule of the contract, in order; a repaired value is what later rules see.

    A missing field breaks no rule. Whatever keeps the signal out is named at once; one `reject` among it rejects.
    """
    data: Mapping[str, Any] = signal.data
    flags = list(signal.flags)
    repairs = list(signal.repairs)
    out: list[tuple[Remedy, Problem]] = []
    claims: list[tuple[str, bytes]] = []
    for one in contract.rules:
        rule = one.rule
        claim = _claim(one, signal.type, data)
        if not _breaks(one, signal, data, claim, received_ms, lookups):
            claims += [] if claim is None else [claim]
            continue
        if rule.remedy == "accept_and_flag":
            flags.append(rule.rule)
            continue
        repaired = _repaired(one, data) if rule.remedy == "repair" else None
        if repaired is None or any(contract.validate(repaired)):
            remedy: Remedy = "quarantine" if rule.remedy == "repair" else rule.remedy
            out.append((remedy, _problem(rule)))
            continue
        before, after = value_at(data, one.paths[0]), value_at(repaired, one.paths[0])
        repairs.append(Repair(rule.rule, f"data.{rule.field}", before, after))
        data = repaired
    if out:
        rejected = any(remedy == "reject" for remedy, _ in out)
        return Judged(None, tuple(problem for _, problem in out), "reject" if rejected else "quarantine")
    if flags or repairs:
        signal = msgspec.structs.replace(signal, data=data, flags=tuple(flags), repairs=tuple(repairs))
    return Judged(signal, claims=tuple(claims))


def compile_rules(contract: SignalContract) -> tuple[CompiledRule, ...]:
    """The rules of a contract made ready; ValueError when `rule_problems` has something to say."""
    for problem in rule_problems(contract):
        raise ValueError(f"{contract.signal} version {contract.version}: {problem.message}")
    return tuple(
        CompiledRule(
            rule,
            tuple(tuple(field.split(".")) for field in (rule.fields or (rule.field,)) if field),
            0 if rule.within is None else parse_duration_ms(rule.within),
        )
        for rule in contract.quality
    )


def rule_text(rule: QualityRule) -> str:
    """What must hold, in words: "`seats` must be from 0 to 100000"."""
    if rule.kind == "range":
        if rule.min is None or rule.max is None:
            bound = f"at least {_number(rule.min)}" if rule.min is not None else f"at most {_number(rule.max)}"
            return f"`{rule.field}` must be {bound}"
        return f"`{rule.field}` must be from {_number(rule.min)} to {_number(rule.max)}"
    if rule.kind == "set":
        return f"`{rule.field}` must be one of {listed(map(_value_text, rule.values))}"
    if rule.kind == "freshness":
        return f"the signal must reach us within {rule.within}"
    if rule.kind == "uniqueness":
        return f"{listed(rule.fields)} must not have come before" + (" together" if len(rule.fields) > 1 else "")
    return f"`{rule.field}` must name a known {rule.refers}"


def _breaks(
    one: CompiledRule,
    signal: Signal,
    data: Mapping[str, Any],
    claim: tuple[str, bytes] | None,
    received_ms: int,
    lookups: Lookups,
) -> bool:
    rule = one.rule
    if rule.kind == "freshness":
        return received_ms - signal.at_ms > one.within_ms
    if rule.kind == "uniqueness":
        return claim is not None and lookups.held(*claim)
    value = value_at(data, one.paths[0])
    if value is None:
        return False
    if rule.kind == "range":
        return not _is_number(value) or _clamped(rule, value) != value  # type: ignore[arg-type]
    if rule.kind == "set":
        return not any(_same(value, known) for known in rule.values)
    known_here = {"customer": lookups.customer, "account": lookups.account, "offer": lookups.offer}
    return not isinstance(value, str) or not known_here[str(rule.refers)](value)


def _claim(one: CompiledRule, type_: str, data: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """What a uniqueness rule holds for this data; None for other rules, and where a field is missing."""
    if one.rule.kind != "uniqueness":
        return None
    values = [value_at(data, path) for path in one.paths]
    if any(value is None for value in values):
        return None
    plain = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    digest = hashlib.blake2b(msgspec.json.encode(plain, order="sorted"), digest_size=32).digest()
    return f"{type_}/{one.rule.rule}", digest


def _repaired(one: CompiledRule, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data put right, None when that is not possible."""
    rule, path = one.rule, one.paths[0]
    value = value_at(data, path)
    if rule.kind == "range":
        return with_value(data, path, _clamped(rule, value)) if _is_number(value) else None  # type: ignore[arg-type]
    if rule.kind == "set" and isinstance(value, str):
        for known in rule.values:
            if isinstance(known, str) and _folded(known) == _folded(value):
                return with_value(data, path, known)
    return with_value(data, path, rule.otherwise)


def _problem(rule: QualityRule) -> Problem:
    field = "time" if rule.kind == "freshness" else f"data.{rule.field or rule.fields[0]}"
    fix = {
        "range": "correct the value at its source",
        "set": "send one of these values",
        "freshness": "send signals sooner, or correct `time`",
        "uniqueness": "send each only once",
        "referential": f"send the {rule.refers} first, or correct the id",
    }[rule.kind]
    return Problem("quality", field, f"{rule_text(rule)} (rule `{rule.rule}`): {fix}")


def _clamped(rule: QualityRule, value: int | float) -> int | float:
    """The nearest number in range; a whole number stays one."""
    bound: int | float = value
    if rule.min is not None and value < rule.min:
        bound = rule.min
    elif rule.max is not None and value > rule.max:
        bound = rule.max
    return int(bound) if isinstance(value, int) and float(bound).is_integer() else bound


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: object, known: object) -> bool:
    return isinstance(value, bool) == isinstance(known, bool) and value == known


def _folded(text: str) -> str:
    return "".join(text.split()).casefold()


def _number(value: float | None) -> str:
    return "" if value is None else str(int(value)) if float(value).is_integer() else str(value)


def _value_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_KEYS: Mapping[str, tuple[str, ...]] = {
    "range": ("field", "min", "max"),
    "set": ("field", "values", "otherwise"),
    "freshness": ("within",),
    "uniqueness": ("fields",),
    "referential": ("field", "refers", "otherwise"),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "range": ("field",),
    "set": ("field", "values"),
    "freshness": ("within",),
    "uniqueness": ("fields",),
    "referential": ("field", "refers"),
}


def rule_problems(contract: SignalContract) -> Iterator[ContractProblem]:
    """Everything wrong with the quality rules of a contract, each at its place."""
    seen: set[str] = set()
    for index, rule in enumerate(contract.quality):
        path = ("quality", index)
        if rule.rule in seen or not rule.rule.strip():
            message = f"rule {quoted(rule.rule)} is defined twice in this signal: rename one"
            yield ContractProblem((*path, "rule"), message if rule.rule.strip() else "`rule` is empty: name it")
        seen.add(rule.rule)
        yield from _key_problems(path, rule)
        yield from _value_problems(path, rule)
        for name, place in _fields_of(path, rule):
            yield from _field_problems(contract, rule, name, place)


def _key_problems(path: tuple[str | int, ...], rule: QualityRule) -> Iterator[ContractProblem]:
    """Keys that this kind of rule needs and has not, or has and cannot use."""
    given = {
        name
        for name, empty in (("field", ""), ("fields", ()), ("min", None), ("max", None), ("values", ()),
                            ("within", None), ("refers", None), ("otherwise", None))
        if getattr(rule, name) != empty
    }  # fmt: skip
    for name in _NEEDED[rule.kind]:
        if name not in given:
            yield ContractProblem(path, f"a `{rule.kind}` rule needs `{name}`: add it")
    for name in sorted(given.difference(_KEYS[rule.kind])):
        why = "a range is repaired by its nearest bound" if (rule.kind, name) == ("range", "otherwise") else ""
        message = f"{why or f'a `{rule.kind}` rule has no `{name}`'}: remove it"
        yield ContractProblem((*path, name), message, on_key=True)
    if rule.remedy == "repair" and rule.kind in ("uniqueness", "freshness"):
        message = f"a `{rule.kind}` rule cannot be repaired: choose `reject`, `quarantine` or `accept_and_flag`"
        yield ContractProblem((*path, "remedy"), message)
    if rule.remedy != "repair" and rule.otherwise is not None:
        message = "`otherwise` is for the remedy `repair`: remove it"
        yield ContractProblem((*path, "otherwise"), message, on_key=True)


def _value_problems(path: tuple[str | int, ...], rule: QualityRule) -> Iterator[ContractProblem]:
    if rule.kind == "range":
        if rule.min is None and rule.max is None:
            yield ContractProblem(path, "a `range` rule needs `min`, `max` or both: add one")
        elif rule.min is not None and rule.max is not None and rule.min > rule.max:
            yield ContractProblem((*path, "max"), "`max` is less than `min`: swap them")
    own = any(_same(rule.otherwise, known) for known in rule.values)
    if rule.kind == "set" and rule.remedy == "repair" and rule.otherwise is not None and not own:
        message = f"{quoted(rule.otherwise)} is not one of the rule's own values"
        yield ContractProblem((*path, "otherwise"), message)
    if rule.within is not None:
        try:
            parse_duration_ms(rule.within)
        except ValueError as error:
            yield ContractProblem((*path, "within"), str(error))


def _fields_of(
    path: tuple[str | int, ...], rule: QualityRule
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if rule.field and "field" in _KEYS[rule.kind]:
        yield rule.field, (*path, "field")
    if "fields" in _KEYS[rule.kind]:
        for index, name in enumerate(rule.fields):
            yield name, (*path, "fields", index)


def _field_problems(
    contract: SignalContract, rule: QualityRule, name: str, path: tuple[str | int, ...]
) -> Iterator[ContractProblem]:
    """A field that is not there, cannot hold what the rule asks, or cannot take what a repair would put."""
    way = None if "[" in name else way_to(contract.schema, name)
    if way is None:
        parent, _, last = name.rpartition(".")
        above = way_to(contract.schema, parent) if parent and "[" not in parent else (contract.schema,)
        known = () if above is None else properties_of(above[-1], contract.schema)
        nearest = closest(last, known)
        found = f"{parent}.{nearest}" if nearest and parent else nearest
        yield ContractProblem(path, f"`{contract.signal}` has no field {quoted(name)}", found)
        return
    if name in contract.identifiers and rule.kind != "uniqueness":
        message = f"`{name}` is an identifier, of which only a keyed hash is kept: no `{rule.kind}` rule can read it"
        yield ContractProblem(path, message)
    type_ = cel_type(way[-1], contract.schema)
    wanted = {"range": ("int", "double", "dyn"), "referential": ("string", "dyn")}.get(rule.kind)
    if wanted is not None and type_ not in wanted:
        noun = "a number" if rule.kind == "range" else "text"
        yield ContractProblem(path, f"`{name}` is {type_}: a `{rule.kind}` rule reads {noun}")
    yield from _repair_problems(contract.schema, rule, name, way, path[:2])


def _repair_problems(
    root: Schema, rule: QualityRule, name: str, way: tuple[Schema, ...], index: tuple[str | int, ...]
) -> Iterator[ContractProblem]:
    if rule.remedy != "repair" or rule.kind not in ("set", "referential"):
        return
    if rule.otherwise is None:
        above: Schema = way[-2] if len(way) > 1 else root
        if name.rpartition(".")[2] in above.get("required", ()):
            message = f"`{name}` is required and cannot be left out: say what to put `otherwise`"
            yield ContractProblem((*index, "remedy"), message)
        return
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    if not jsonschema_rs.is_valid({**definitions, **way[-1]}, rule.otherwise):
        message = f"{quoted(rule.otherwise)} is no value of `{name}` by its schema: choose another"
        yield ContractProblem((*index, "otherwise"), message)
