"""Signals: immutable facts from source systems, checked against their contract before anything trusts them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from opportune.core.catalog import Document

MAX_DATA_BYTES = 65_536
MAX_DEPTH = 8
FUTURE_MS_MAX = 5 * 60 * 1000
MAX_ID_CHARS = 256
_INT64 = 2**63


FieldClass = Literal["public", "internal", "personal", "sensitive"]
"""How carefully a field is handled, from least to most: who sees it in clear, and how long it is kept."""


class Repair(msgspec.Struct, frozen=True, array_like=True):
    """What a quality rule changed: the field, and its value before and after."""

    rule: str
    field: str
    before: Any
    after: Any


class Signal(msgspec.Struct, frozen=True):
    """One accepted fact. `customer` and `account` are ids in the company's own systems.

    `flags` are the quality rules it broke and was accepted all the same; `repairs` what was put right at the door.
    """

    source: str
    id: str
    type: str
    version: int
    at_ms: int
    received_ms: int
    customer: str | None
    account: str | None
    data: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """Why something was not accepted: the field, what is wrong with it, and what to do."""

    code: str
    field: str
    message: str


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one signal: accepted, duplicate (same id, same content), quarantined or rejected with reasons.

    What is rejected is kept nowhere. `flags` are quality rules it broke and was accepted all the same, `repaired` the
    fields that were put right.
    """

    source: str
    id: str
    status: Literal["accepted", "duplicate", "quarantined", "rejected"]
    seq: int | None = None
    problems: tuple[Problem, ...] = ()
    flags: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


Remedy = Literal["reject", "repair", "quarantine", "accept_and_flag"]


class QualityRule(Document, frozen=True, kw_only=True):
    """What must hold of a signal beyond its schema, and what happens when it does not.

    `kind`: `range` (`min`, `max`), `set` (`values`), `freshness` (not older than `within`, such as 7d), `uniqueness`
    (`fields` together occur once per signal type), `referential` (`field` names a known customer, account or offer,
    as `refers` says). `repair` clamps a range, or puts `otherwise` (null leaves the field out); a value of a set is
    also repaired when only case and blanks differ.
    """

    rule: str
    kind: Literal["range", "set", "freshness", "uniqueness", "referential"]
    remedy: Remedy
    field: str = ""
    fields: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    values: tuple[str | int | float | bool, ...] = ()
    within: str | None = None
    refers: Literal["customer", "account", "offer"] | None = None
    otherwise: str | int | float | bool | None = None


class SignalContract(Document, frozen=True, kw_only=True):
    """One version of a signal type: a JSON Schema 2020-12 for `data` and who answers for it.

    `about` says which envelope ids the signal must carry. `identifiers` names data fields that identify a
    person: `email`, `phone`, `external` or `external:<system>`; they are stored only keyed-hashed and sealed.
    `class` and `purposes` hold for every field that says nothing else in its own schema (`class: personal`,
    `purposes: [service]`); a field nobody declared is personal. No purposes at all means every purpose.
    `quality` are rules for accepted values, `upcast` says how data of an older version becomes this one's: version ->
    field -> expression over `data`.
    """

    signal: str
    version: int = 1
    owner: str
    about: Literal["person", "account", "both", "either"] = "either"
    schema: Mapping[str, Any] = msgspec.field(name="schema")
    identifiers: Mapping[str, str] = {}
    class_: FieldClass = msgspec.field(name="class", default="internal")
    purposes: tuple[str, ...] = ()
    quality: tuple[QualityRule, ...] = ()
    upcast: Mapping[str, Mapping[str, str]] = {}


Validator = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Compiled schema: yields (field path, what is wrong) for each violation."""


class CompiledRule(msgspec.Struct, frozen=True):
    """A quality rule made ready: `paths` are its fields as names on the way, `within_ms` its duration."""

    rule: QualityRule
    paths: tuple[tuple[str, ...], ...]
    within_ms: int = 0


class Onward(msgspec.Struct, frozen=True):
    """How data of one version becomes data of a newer one: the data it makes, and what could not be worked out."""

    version: int
    upcast: Callable[[Mapping[str, Any]], tuple[dict[str, Any], tuple[Problem, ...]]]


class CompiledContract(msgspec.Struct, frozen=True):
    """A contract with its schema and rules compiled; made once per release.

    `onward` is how its data goes on to a newer version; without it the data is kept as this version's.
    """

    contract: SignalContract
    validate: Validator
    rules: tuple[CompiledRule, ...] = ()
    onward: Onward | None = None


class Draft(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signal as a door parsed it, before anyone trusts it: every field may be wrong.

    `skew_ms` is what the sender's clock lags behind ours, added to `time`, or to our time without one. `problems`
    were found on the way here: such a draft is for quarantine. `region` is where the sender says its customer lives.
    """

    source: object
    id: object
    type: object
    time: object = None
    subject: object = None
    account: object = None
    version: object = None
    data: object = None
    skew_ms: int = 0
    problems: tuple[Problem, ...] = ()
    region: object = None


class Checked(msgspec.Struct, frozen=True):
    """Either a signal or the problems that keep it out; `said_ms` is the time as sent, 0 when none was.

    `sent` is the signal in the version it was sent in, where an upcaster made it a newer one's.
    """

    signal: Signal | None
    problems: tuple[Problem, ...] = ()
    said_ms: int = 0
    sent: Signal | None = None


def parse_time_ms(text: str) -> int:
    """RFC 3339 date-time (or plain date, read as midnight UTC) to milliseconds; ValueError says what is wrong."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"`{text[:40]}` is not an RFC 3339 date-time such as 2026-11-24T10:00:00Z") from None
    if moment.tzinfo is None:
        if len(text) > 10:
            raise ValueError(f"`{text[:40]}` has no time zone: add Z or an offset")
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def format_time(at_ms: int) -> str:
    """Milliseconds to RFC 3339 in UTC with a Z."""
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


OWN_SOURCE = "opportune"
"""Under this name, and names that begin with it and a dot, nobody else can send."""


def check(
    draft: Draft, contracts: Mapping[tuple[str, int], CompiledContract], received_ms: int
) -> Checked:
    """Envelope, size, depth, time and schema; all problems are named at once, and nothing is half accepted."""
    problems: list[Problem] = list(draft.problems)
    source = _text(draft.source, "source", problems)
    if source == OWN_SOURCE or source.startswith(f"{OWN_SOURCE}."):
        # INVARIANT: what stands in the log under this name was written here: outcomes, answers, calls to rank.
        message = f"`{source[:64]}` is the source of what Opportune itself writes: name your own system"
        problems.append(Problem("reserved", "source", message))
    id_ = _text(draft.id, "id", problems)
    type_ = _text(draft.type, "type", problems)
    customer = _optional_text(draft.subject, "subject", problems)
    account = _optional_text(draft.account, "account", problems)
    at_ms = _time(draft.time, received_ms, draft.skew_ms, problems)
    said_ms = 0 if draft.time is None else at_ms - draft.skew_ms
    data = _data(draft.data, problems)
    # A draft that is for quarantine already is not held against a contract it may not be meant for.
    known = type_ and not draft.problems
    contract = _contract(type_, draft.version, contracts, problems) if known else None
    if contract is not None:
        _about(contract.contract, customer, account, data or {}, problems)
        if data is not None and not problems:
            problems.extend(
                Problem("schema", f"data{path}", message) for path, message in contract.validate(data)
            )
    if problems or contract is None or data is None:
        return Checked(None, tuple(problems))
    version = contract.contract.version
    signal = Signal(source, id_, type_, version, at_ms, received_ms, customer, account, data)
    if contract.onward is None:
        return Checked(signal, (), said_ms)
    newer = _upcast(signal, contracts, problems)
    return Checked(None, tuple(problems)) if problems else Checked(newer, (), said_ms, signal)


def happened_ms(signal: Signal) -> int:
    """A sender's clock may run a little ahead: what it says happened no later than it was received."""
    return min(signal.at_ms, signal.received_ms)


def upcast(signal: Signal, contracts: Mapping[tuple[str, int], CompiledContract]) -> Signal:
    """The signal as the newest version its upcasters lead to; what cannot be worked out is left out.

    For signals read back from the log, which were checked when they came.
    """
    contract = contracts.get((signal.type, signal.version))
    while contract is not None and contract.onward is not None:
        data, _ = contract.onward.upcast(signal.data)
        signal = msgspec.structs.replace(signal, version=contract.onward.version, data=data)
        contract = contracts.get((signal.type, signal.version))
    return signal


def _upcast(
    signal: Signal, contracts: Mapping[tuple[str, int], CompiledContract], problems: list[Problem]
) -> Signal:
    """As `upcast`, held against the contract of each version on the way."""
    contract = contracts[signal.type, signal.version]
    while contract.onward is not None:
        onward, before = contract.onward, signal.version
        data, found = onward.upcast(signal.data)
        contract = contracts[signal.type, onward.version]
        signal = msgspec.structs.replace(signal, version=onward.version, data=data)
        problems.extend(found)
        problems.extend(
            Problem("upcast", f"data{path}", f"{message} (made from version {before} by `upcast`)")
            for path, message in contract.validate(data)
        )
        _about(contract.contract, signal.customer, signal.account, data, problems)
        if problems:
            break
    return signal


def content_hash(signal: Signal, said_ms: int | None = None) -> bytes:
    """16 bytes over everything the sender said: two deliveries are the same fact only when this is equal.

    `said_ms` is the time as sent, which differs from the signal's where a clock was corrected or none was given.
    """
    at_ms = signal.at_ms if said_ms is None else said_ms
    said = (signal.type, signal.version, at_ms, signal.customer, signal.account, signal.data)
    return hashlib.blake2b(msgspec.msgpack.encode(said, order="sorted"), digest_size=16).digest()


def _text(value: object, field: str, problems: list[Problem]) -> str:
    if value is None or value == "":
        problems.append(Problem("missing", field, f"`{field}` is missing: every signal needs one"))
    elif not isinstance(value, str):
        problems.append(Problem("type", field, f"`{field}` must be a string, not {_name(value)}"))
    elif len(value) > MAX_ID_CHARS:
        problems.append(Problem("size", field, f"`{field}` is longer than {MAX_ID_CHARS} characters"))
    elif not value.isprintable():
        problems.append(Problem("text", field, f"`{field}` holds characters that cannot be printed"))
    else:
        return value
    return ""


def _optional_text(value: object, field: str, problems: list[Problem]) -> str | None:
    return None if value is None else _text(value, field, problems) or None


def _time(value: object, received_ms: int, skew_ms: int, problems: list[Problem]) -> int:
    if value is None:
        return received_ms + skew_ms
    if not isinstance(value, str):
        problems.append(Problem("type", "time", f"`time` must be an RFC 3339 string, not {_name(value)}"))
        return received_ms
    try:
        at_ms = parse_time_ms(value) + skew_ms
    except (ValueError, OverflowError) as error:
        problems.append(Problem("time", "time", str(error)))
        return received_ms
    if at_ms > received_ms + FUTURE_MS_MAX:
        problems.append(Problem("future", "time", f"`{value}` lies in the future: check the sender's clock"))
    if at_ms < 0:
        problems.append(Problem("time", "time", f"`{value}` lies before 1970"))
    return at_ms


def _data(value: object, problems: list[Problem]) -> Mapping[str, Any] | None:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(Problem("type", "data", f"`data` must be an object, not {_name(value)}"))
        return None
    found = _oddity(value, "data", 1)
    if found is None and len(msgspec.json.encode(value)) > MAX_DATA_BYTES:
        found = Problem("size", "data", f"`data` is larger than {MAX_DATA_BYTES} bytes: send less")
    if found is not None:
        problems.append(found)
        return None
    return value


def _oddity(value: object, path: str, depth: int) -> Problem | None:
    """The first thing in a JSON value that the stores could not keep exactly."""
    if depth > MAX_DEPTH:
        return Problem("depth", path, f"`{path}` is nested deeper than {MAX_DEPTH} levels: flatten it")
    if isinstance(value, dict):
        items: Iterable[tuple[str, object]] = ((f"{path}.{key}", item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, bool) or value is None:
        return None
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        return Problem("range", path, f"`{path}` does not fit in 64 bits: send it as a string")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return Problem("range", path, f"`{path}` is not a finite number")
    else:
        return None
    for item_path, item in items:
        found = _oddity(item, item_path, depth + 1)
        if found is not None:
            return found
    return None


def _contract(
    type_: str,
    version: object,
    contracts: Mapping[tuple[str, int], CompiledContract],
    problems: list[Problem],
) -> CompiledContract | None:
    known = sorted(v for name, v in contracts if name == type_)
    if not known:
        message = f"no schema for signal type `{type_}`: add schemas/{type_}.yaml to the playbook"
        problems.append(Problem("unknown_type", "type", message))
        return None
    if version is None:
        return contracts[type_, known[-1]]
    if isinstance(version, str) and version.isdecimal():
        version = int(version)
    if not isinstance(version, int) or version not in known:
        message = f"version `{version}` of `{type_}` is not known: the playbook has {known}"
        problems.append(Problem("unknown_version", "schemaversion", message))
        return None
    return contracts[type_, version]


def _about(
    contract: SignalContract,
    customer: str | None,
    account: str | None,
    data: Mapping[str, Any],
    problems: list[Problem],
) -> None:
    """An identifier in the data names the customer as well as the envelope does."""
    known = customer is not None or any(data.get(field) for field in contract.identifiers)
    if contract.about in ("person", "both") and not known:
        fields = "".join(f", or send `data.{field}`" for field in contract.identifiers)
        message = f"`{contract.signal}` must name its customer in `subject`{fields}"
        problems.append(Problem("missing", "subject", message))
    if contract.about in ("account", "both") and account is None:
        problems.append(Problem("missing", "account", f"`{contract.signal}` must name its `account`"))
    if contract.about == "either" and not known and account is None:
        message = f"`{contract.signal}` must name a customer in `subject` or an `account`"
        problems.append(Problem("missing", "subject", message))


def _name(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", int: "a number", float: "a number", str: "a string", dict: "an object"}.get(
        type(value), "a list"
    )
