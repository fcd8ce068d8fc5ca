"""The values of an expression at work: tagged integers, what callers may hand in, equality and order.

Callers see timestamps, durations and unsigned integers as plain `int`; inside, a subclass keeps the kinds apart,
so that what CEL only knows at run time (the type of a map's value) is decided as CEL decides it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from .errors import EvaluationError

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
TIMESTAMP_MIN, TIMESTAMP_MAX = -62_135_596_800_000, 253_402_300_799_999  # years 1 to 9999, the range of CEL
COMPUTED_MAX = (2**63 - 1) // 10**6  # milliseconds that fit 64 bits as nanoseconds
DURATION_MAX = 315_576_000_000_000  # 10,000 years, the range of google.protobuf.Duration


class Uint(int):
    """An unsigned integer of 64 bits."""


class Timestamp(int):
    """Milliseconds since 1970-01-01 UTC."""


class Duration(int):
    """Milliseconds."""


Tagged = TypeVar("Tagged", Uint, Timestamp, Duration)

TYPE_NAMES: dict[type, str] = {
    bool: "bool", int: "int", float: "double", str: "string", Uint: "uint", Timestamp: "timestamp",
    Duration: "duration", list: "list", dict: "map", type(None): "null",
}  # fmt: skip


def kind(value: object) -> str:
    """Return the name of a value's type as CEL has it."""
    return TYPE_NAMES.get(type(value), type(value).__name__)


def i64(value: int) -> int:
    """Return the value; raises EvaluationError when it does not fit a signed integer of 64 bits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def u64(value: int) -> Uint:
    """Return the value as unsigned; raises EvaluationError when it does not fit 64 bits."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


def timestamp(value: int) -> Timestamp:
    """Return milliseconds as a timestamp; raises EvaluationError outside the years 1 to 9999."""
    if TIMESTAMP_MIN <= value <= TIMESTAMP_MAX:
        return Timestamp(value)
    raise EvaluationError("timestamp outside the years 1 to 9999")


def duration(value: int) -> Duration:
    """Return milliseconds as a duration; raises EvaluationError beyond 10,000 years."""
    if -DURATION_MAX <= value <= DURATION_MAX:
        return Duration(value)
    raise EvaluationError("duration beyond 10,000 years")


def between(value: int) -> Duration:
    """Return a computed duration; raises EvaluationError beyond 292 years, where nanoseconds leave 64 bits."""
    if -COMPUTED_MAX <= value <= COMPUTED_MAX:
        return Duration(value)
    raise EvaluationError("duration beyond 292 years")


def boolean(value: object) -> bool:
    """Return a truth value; raises EvaluationError for anything else, as CEL does."""
    if value is True or value is False:
        return value
    raise EvaluationError(f"expected bool, got {kind(value)}")


def inner(value: object) -> object:
    """Return a value found inside a caller's list or map, made fit for CEL; None is CEL's null here."""
    cls = type(value)
    if cls is int:
        return i64(value)  # type: ignore[arg-type]
    if cls is tuple:
        return list(value)  # type: ignore[call-overload]
    if cls in TYPE_NAMES:
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise EvaluationError(f"a value of type `{cls.__name__}` has no place in an expression")


def take_bool(value: object) -> object:
    if type(value) is bool:
        return value
    raise EvaluationError(f"expected bool, got {kind(value)}")


def take_int(value: object) -> object:
    if type(value) is int:
        return i64(value)
    raise EvaluationError(f"expected int, got {kind(value)}")


def take_double(value: object) -> object:
    """Accept a whole number too: JSON writes 5.0 as 5."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(i64(value))
    raise EvaluationError(f"expected double, got {kind(value)}")


def take_string(value: object) -> object:
    if type(value) is str:
        return value
    raise EvaluationError(f"expected string, got {kind(value)}")


def take_timestamp(value: object) -> object:
    if type(value) is int or type(value) is Timestamp:
        return timestamp(value)
    raise EvaluationError(f"expected timestamp in milliseconds, got {kind(value)}")


def take_duration(value: object) -> object:
    if type(value) is int or type(value) is Duration:
        return duration(value)
    raise EvaluationError(f"expected duration in milliseconds, got {kind(value)}")


def take_map(value: object) -> object:
    if type(value) is dict:
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise EvaluationError(f"expected map, got {kind(value)}")


def take_list_of(take: Callable[[object], object]) -> Callable[[object], object]:
    def take_list(value: object) -> object:
        if type(value) is list or type(value) is tuple:
            return [take(item) for item in value]
        raise EvaluationError(f"expected list, got {kind(value)}")

    return take_list


TAKE: dict[str, Callable[[object], object]] = {
    "bool": take_bool,
    "int": take_int,
    "double": take_double,
    "string": take_string,
    "timestamp": take_timestamp,
    "duration": take_duration,
    "dyn": inner,
    "map(string,dyn)": take_map,
    "list(string)": take_list_of(take_string),
    "list(int)": take_list_of(take_int),
    "list(double)": take_list_of(take_double),
}


def take(type_: str, name: str, value: object) -> object:
    """Return a caller's value of the declared type; raises EvaluationError naming the variable otherwise."""
    try:
        return TAKE[type_](value)
    except EvaluationError as error:
        raise EvaluationError(f"`{name}`: {error}") from None


def plain(value: object) -> object:
    """Return the value without the inner tags, as callers see it."""
    if isinstance(value, Uint | Timestamp | Duration):
        return int(value)
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    return value


NUMBERS = (int, float, Uint)


def equal(left: object, right: object) -> bool:
    """Compare as CEL does: numbers across their types, everything else only within one type."""
    a, b = type(left), type(right)
    if a is list and b is list:
        return len(left) == len(right) and all(map(equal, left, right))  # type: ignore[arg-type,call-overload]
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    if a is tuple or b is tuple:
        return equal(list(left) if a is tuple else left, list(right) if b is tuple else right)  # type: ignore[call-overload]
    if a is b:
        return bool(left == right)
    if a in NUMBERS and b in NUMBERS:
        one, other = alike(left, right)
        return bool(one == other)
    return False


def alike(left: object, right: object) -> tuple[object, object]:
    """Bring two numbers to one type: next to a double, an integer counts as the double nearest to it."""
    if type(left) is float or type(right) is float:
        return float(left), float(right)  # type: ignore[arg-type]
    return left, right


def order(left: object, right: object) -> tuple[object, object]:
    """Return the pair when CEL puts the two in order; raises EvaluationError when it does not."""
    a, b = type(left), type(right)
    if a is b and a in (bool, int, float, str, Uint, Timestamp, Duration):
        return left, right
    if a in NUMBERS and b in NUMBERS:
        return alike(left, right)
    raise EvaluationError(f"{kind(left)} and {kind(right)} have no order")
