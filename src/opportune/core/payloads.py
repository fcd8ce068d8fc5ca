"""Payload mappings: what a vendor's SDK or webhook delivers, made canonical signals by declared CEL expressions.

Expressions read `event` (the message as it was delivered), `properties`, `traits` and `context`, all maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.playbook import PayloadMapping, Source
from opportune.core.residency import worked_out
from opportune.core.schemas import signal_fields
from opportune.core.signals import Draft, Problem, SignalContract, format_time
from opportune.core.wording import closest, dotted, listed, quoted

VARIABLES = dict.fromkeys(("context", "event", "properties", "traits"), "map(string,dyn)")
TIME_TYPES = ("timestamp", "string", "int", "dyn")
ID_TYPES = ("string", "int", "dyn")
NAMED = ("$identify", "$group", "$page", "$screen", "$alias")
"""The names under which calls that are no events of their own are mapped, whoever sends them."""

_EMPTY: Mapping[str, Any] = {}


class PayloadError(ValueError):
    """A mapping that cannot be used: `path` leads to the field, `nearest` is what may have been meant."""

    def __init__(self, source: str, path: tuple[str | int, ...], message: str, nearest: str | None = None) -> None:
        hint = f"; did you mean `{nearest}`?" if nearest else ""
        self.told = f"{dotted(path)}: {message}{hint}"
        super().__init__(f"source `{source}`, {self.told}")
        self.source, self.path, self.message, self.nearest = source, path, message, nearest


class Call(msgspec.Struct, frozen=True):
    """One message of a sender. `sender` and `name` find its mappings; `draft` is what it is by convention.

    `also` are further signals by convention, which hold whatever the mapping says (the traits inside an event).
    """

    sender: str
    name: str
    draft: Draft
    event: Mapping[str, Any] = _EMPTY
    properties: Mapping[str, Any] = _EMPTY
    traits: Mapping[str, Any] = _EMPTY
    context: Mapping[str, Any] = _EMPTY
    also: tuple[Draft, ...] = ()


Values = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]
Read = Callable[[Values], object]


class CompiledMapping(msgspec.Struct, frozen=True):
    """One mapping with its expressions as functions; `place` names it in messages."""

    place: str
    mapping: PayloadMapping
    when: Read | None
    id: Read | None
    time: Read | None
    subject: Read | None
    account: Read | None
    region: Read | None
    data: tuple[tuple[str, bool, Read], ...] | None
    """(key, whether it is a timestamp, expression)"""


CompiledPayloads = Mapping[tuple[str, str], tuple[CompiledMapping, ...]]
"""The mappings of (sender, name of the message), in the order of the playbook."""


def hook_sender(source: str) -> str:
    """The sender of deliveries to the hook of a source."""
    return f"hooks/{source}"


def compile_payloads(sources: Sequence[Source], contracts: Sequence[SignalContract]) -> CompiledPayloads:
    """Every mapping of every source; raises the first PayloadError."""
    found: dict[tuple[str, str], tuple[CompiledMapping, ...]] = {}
    for source in sources:
        compiler = _Compiler(source, contracts)
        for key, compiled in compiler.all():
            found[key] = (*found.get(key, ()), compiled)
        if compiler.errors:
            raise compiler.errors[0]
    return found


def payload_errors(source: Source, contracts: Sequence[SignalContract]) -> tuple[PayloadError, ...]:
    """Everything that is wrong with the payload mappings of a source."""
    compiler = _Compiler(source, contracts)
    for _ in compiler.all():
        pass
    return tuple(compiler.errors)


def drafts_of_call(call: Call, payloads: CompiledPayloads) -> list[Draft]:
    """The signals of a message: by its mappings when it has any, else by convention; none when all leave it out.

    A second mapping of one message makes a second fact, so its id has the type added: `<id>:<type>`.
    """
    mappings = payloads.get((call.sender, call.name))
    if mappings is None:
        return [call.draft, *call.also]
    values = (call.context, call.event, call.properties, call.traits)
    found = [_mapped(compiled, call.draft, values, place) for place, compiled in enumerate(mappings)]
    return [*(draft for draft in found if draft is not None), *call.also]


def _mapped(compiled: CompiledMapping, base: Draft, values: Values, place: int) -> Draft | None:
    """The signal of one mapping, or None when its condition leaves the message out.

    INVARIANT: a missing condition leaves the message out, a missing value leaves its key out, and whatever cannot
    be worked out is a problem: nothing is guessed.
    """
    problems = [*base.problems]
    type_ = compiled.mapping.type

    def value(field: str, read: Read | None, otherwise: object = None) -> object:
        if read is None:
            return otherwise
        try:
            return read(values)
        except Missing:
            return None
        except EvaluationError as error:
            problems.append(Problem("mapping", field, f"`{field}` of `{compiled.place}`: {error}"))
            return None

    if compiled.when is not None and not value("when", compiled.when) and not problems:
        return None
    own_id = base.id if place == 0 or not isinstance(base.id, str) else f"{base.id}:{type_}"
    data = base.data
    if compiled.data is not None:
        said = [(key, at, value(f"data.{key}", read)) for key, at, read in compiled.data]
        data = {key: _time_text(one) if at else one for key, at, one in said if one is not None}
    known = len(problems)
    region = base.region if compiled.region is None else value("region", compiled.region)
    if compiled.region is not None:
        region = worked_out(region, len(problems) > known)
    time = value("time", compiled.time, base.time)
    if compiled.time is not None and time is None and not problems:
        problems.append(Problem("missing", "time", f"`{compiled.mapping.time}` has no value in this message"))
    return Draft(
        source=base.source,
        id=_id_text(value("id", compiled.id, own_id)),
        type=type_,
        time=_time_text(time),
        subject=_id_text(value("subject", compiled.subject, base.subject)),
        account=_id_text(value("account", compiled.account, base.account)),
        data=data,
        skew_ms=base.skew_ms if compiled.time is None else 0,
        problems=tuple(problems),
        region=region,
    )


class _Compiler:
    """Compiles the mappings of one source and keeps what is wrong with them."""

    def __init__(self, source: Source, contracts: Sequence[SignalContract]) -> None:
        self.source = source
        self.contracts = {one.signal: one for one in sorted(contracts, key=lambda one: one.version)}
        self.errors: list[PayloadError] = []

    def all(self) -> Iterator[tuple[tuple[str, str], CompiledMapping]]:
        for index, mapping in enumerate(self.source.payloads):
            senders = self._senders(index, mapping)
            compiled = self._mapping(index, mapping)
            names = (mapping.event,) if isinstance(mapping.event, str) else mapping.event
            for name in names:
                if mapping.vendor and name.startswith("$") and name not in NAMED:
                    nearest = closest(name, NAMED)
                    message = f"{quoted(name)} is no call: {listed(NAMED)} are, and events by their own names"
                    self._error((index, "event"), message, nearest)
                for sender in senders:
                    yield (sender, name), compiled
            if not names:
                self._error((index, "event"), "no event: name at least one")

    def _senders(self, index: int, mapping: PayloadMapping) -> tuple[str, ...]:
        if not mapping.vendor:
            if self.source.hook is None:
                message = "nobody delivers this: name a `vendor`, or give the source a `hook`"
                self._error((index, "vendor"), message)
            return (hook_sender(self.source.source),)
        return (mapping.vendor,) if isinstance(mapping.vendor, str) else mapping.vendor

    def _mapping(self, index: int, mapping: PayloadMapping) -> CompiledMapping:
        def read(field: str, types: tuple[str, ...]) -> Read | None:
            text = getattr(mapping, field)
            return None if text is None else self._read((index, field), text, types)[1]

        contract = self.contracts.get(mapping.type)
        if contract is None:
            message = f"unknown signal type {quoted(mapping.type)}: add a schema for it to schemas/"
            self._error((index, "type"), message, closest(mapping.type, self.contracts))
        return CompiledMapping(
            f"sources/{self.source.source} payloads[{index}] {mapping.type}",
            mapping,
            read("when", ("bool", "dyn")),
            read("id", ID_TYPES),
            read("time", TIME_TYPES),
            read("subject", ID_TYPES),
            read("account", ID_TYPES),
            read("region", ("string", "dyn")),
            self._data(index, mapping, contract),
        )

    def _data(
        self, index: int, mapping: PayloadMapping, contract: SignalContract | None
    ) -> tuple[tuple[str, bool, Read], ...] | None:
        if mapping.data is None:
            return None
        wanted = {} if contract is None else signal_fields(contract)
        schema: Mapping[str, Any] = {} if contract is None else contract.schema
        found: list[tuple[str, bool, Read]] = []
        for key, text in mapping.data.items():
            type_, function = self._read((index, "data", key), text, ())
            found.append((key, type_ == "timestamp", function))
            if key not in wanted and schema.get("additionalProperties") is False:
                message = f"`{mapping.type}` has no field {quoted(key)}"
                self._error((index, "data", key), message, closest(key, wanted))
            elif not _fits(type_, wanted.get(key, "dyn")):
                message = f"{quoted(text)} is {type_}, but `{key}` of `{mapping.type}` is {wanted[key]}"
                self._error((index, "data", key), message)
        for key in schema.get("required", ()):
            if key not in mapping.data:
                self._error((index, "data"), f"`{key}` is missing: the schema of `{mapping.type}` requires it")
        return tuple(found)

    def _read(self, path: tuple[str | int, ...], text: str, types: tuple[str, ...]) -> tuple[str, Read]:
        try:
            parsed = parse(text, VARIABLES)
        except ExpressionError as error:
            where = f"line {error.line} column {error.column}: " if (error.line, error.column) != (1, 1) else ""
            self._error(path, where + error.message, error.nearest)
            return "dyn", lambda _: None
        if types and parsed.type not in types:
            self._error(path, f"{quoted(text)} is {parsed.type}, but must be {' or '.join(types[:-1])}")
        return parsed.type, _reader(parsed)

    def _error(self, path: tuple[str | int, ...], message: str, nearest: str | None = None) -> None:
        self.errors.append(PayloadError(self.source.source, ("payloads", *path), message, nearest))


def _reader(parsed: Expression) -> Read:
    function = parsed.function(tuple(VARIABLES))
    return lambda values: function(*values)


def _fits(found: str, wanted: str) -> bool:
    if "dyn" in (found, wanted) or found == wanted:
        return True
    if found == "timestamp":
        return wanted == "string"
    return (found, wanted) == ("int", "double") or _head(found) == _head(wanted) != ""


def _head(type_: str) -> str:
    return type_.partition("(")[0] if "(" in type_ else ""


def _time_text(value: object) -> object:
    """RFC 3339 for milliseconds; everything else stays what it is, for the check to name."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return format_time(int(value))
    except (ValueError, OverflowError, OSError):
        return f"{value} ms"


def _id_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
