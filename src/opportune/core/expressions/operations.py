"""What each operator and function of the language does with its values, under its CEL name.

Source: cel-spec `doc/langdef.md`, List of standard definitions. All arguments are values; `&&`, `||` and `?:`,
which may leave one unread, are in `evaluate`.
"""

import math
import operator
import re
from collections.abc import Callable

from . import times
from .errors import EvaluationError
from .patterns import matches
from .values import (
    Duration,
    Timestamp,
    Uint,
    between,
    boolean,
    equal,
    i64,
    inner,
    kind,
    order,
    timestamp,
    u64,
)

INT_TEXT = re.compile(r"\s*[+-]?\d+\s*\Z", re.ASCII)
DOUBLE_TEXT = re.compile(
    r"\s*[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)\s*\Z", re.ASCII | re.IGNORECASE
)
BOOL_TEXT = {
    "1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip


def refuse(function: str, *args: object) -> EvaluationError:
    return EvaluationError(f"`{function}` does not apply to {', '.join(map(kind, args))}")


def add(a: object, b: object) -> object:
    match a, b:
        case Timestamp(), Duration():
            return timestamp(int(a) + int(b))
        case Duration(), Timestamp():
            return timestamp(int(a) + int(b))
        case Duration(), Duration():
            return between(int(a) + int(b))
        case Uint(), Uint():
            return u64(int(a) + int(b))
        case str(), str():
            return a + b
        case float(), float():
            return a + b
        case list(), list():
            return a + b
    if type(a) is int and type(b) is int:
        return i64(a + b)
    raise refuse("+", a, b)


def subtract(a: object, b: object) -> object:
    match a, b:
        case Timestamp(), Timestamp():
            return between(int(a) - int(b))
        case Timestamp(), Duration():
            return timestamp(int(a) - int(b))
        case Duration(), Duration():
            return between(int(a) - int(b))
        case Uint(), Uint():
            return u64(int(a) - int(b))
        case float(), float():
            return a - b
    if type(a) is int and type(b) is int:
        return i64(a - b)
    raise refuse("-", a, b)


def multiply(a: object, b: object) -> object:
    if type(a) is float and type(b) is float:
        return a * b
    if type(a) is int and type(b) is int:
        return i64(a * b)
    if type(a) is Uint and type(b) is Uint:
        return u64(int(a) * int(b))
    raise refuse("*", a, b)


def divide(a: object, b: object) -> object:
    """Integers truncate towards zero; doubles follow IEEE 754, so that dividing by 0.0 has an answer."""
    if type(a) is float and type(b) is float:
        if b != 0.0:
            return a / b
        if a == 0.0 or math.isnan(a):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    if type(a) is int and type(b) is int:
        return i64(truncated(a, b))
    if type(a) is Uint and type(b) is Uint:
        return u64(truncated(int(a), int(b)))
    raise refuse("/", a, b)


def truncated(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("division by zero")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def modulo(a: object, b: object) -> object:
    """The remainder has the sign of the dividend."""
    if not ((type(a) is int and type(b) is int) or (type(a) is Uint and type(b) is Uint)):
        raise refuse("%", a, b)
    if b == 0:
        raise EvaluationError("modulus by zero")
    i64(truncated(int(a), int(b))) if type(a) is int else None
    rest = abs(int(a)) % abs(int(b))
    return Uint(rest) if type(a) is Uint else (-rest if a < 0 else rest)


def negate(a: object) -> object:
    if type(a) is float:
        return -a
    if type(a) is int:
        return i64(-a)
    raise refuse("-", a)


def compare(name: str, test: Callable[..., object]) -> Callable[[object, object], bool]:
    def compared(a: object, b: object) -> bool:
        left, right = order(a, b)
        return bool(test(left, right))

    compared.__name__ = name
    return compared


def index(container: object, key: object) -> object:
    """Return a list's item or a map's value; a whole double or uint counts as the int it equals."""
    if type(container) is list:
        if type(key) not in (int, Uint, float) or key != int(key):  # type: ignore[call-overload]
            raise refuse("[]", container, key)
        place = int(key)  # type: ignore[call-overload]
        if 0 <= place < len(container):
            return inner(container[place])
        raise EvaluationError(f"index {place} is outside the list")
    if type(container) is dict:
        if type(key) in (str, int, Uint, float) and key in container:
            return inner(container[key])
        raise EvaluationError(f"no such key `{key}`")
    raise refuse("[]", container, key)


def contains_item(item: object, container: object) -> bool:
    if type(container) is list:
        return any(equal(item, other) for other in container)
    if type(container) is dict:
        return type(item) in (str, int, Uint, float) and item in container
    raise refuse("in", item, container)


def size(value: object) -> int:
    """Return the number of characters, items or entries."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise refuse("size", value)


def to_int(value: object) -> int:
    if type(value) is Timestamp:
        return int(value) // 1000
    if type(value) in (int, Uint):
        return i64(int(value))  # type: ignore[call-overload]
    if type(value) is float:
        if -(2.0**63) < value < 2.0**63:
            return int(value)
        raise EvaluationError("double outside the range of int")
    if type(value) is str and INT_TEXT.match(value):
        return i64(int(value))
    raise refuse("int", value) if type(value) is not str else EvaluationError(f"`{value}` is not an int")


def to_uint(value: object) -> Uint:
    if type(value) in (int, Uint):
        return u64(int(value))  # type: ignore[call-overload]
    if type(value) is float:
        if 0.0 <= value < 2.0**64:
            return u64(int(value))
        raise EvaluationError("double outside the range of uint")
    if type(value) is str and INT_TEXT.match(value):
        return u64(int(value))
    raise refuse("uint", value)


def to_double(value: object) -> float:
    if type(value) in (int, Uint, float):
        return float(value)  # type: ignore[arg-type]
    if type(value) is str and DOUBLE_TEXT.match(value):
        return float(value)
    raise refuse("double", value) if type(value) is not str else EvaluationError(f"`{value}` is not a double")


def to_string(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Timestamp():
            return times.format_timestamp(value)
        case Duration():
            return times.format_duration(value)
        case int():
            return str(int(value))
        case float():
            return double_text(value)
    raise refuse("string", value)


def double_text(value: float) -> str:
    """Write a double as the reference does: the shortest digits that read back, an exponent from a million on."""
    if not math.isfinite(value):
        return repr(value)
    size_of = f"{value:.16e}" if value else "0e0"
    exponent = int(size_of.partition("e")[2])
    digits = repr(value).partition("e")[0].replace(".", "").replace("-", "").strip("0") or "0"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if not -4 <= exponent < 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return repr(value).removesuffix(".0")


def to_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in BOOL_TEXT:
        return BOOL_TEXT[value]
    raise refuse("bool", value)


def to_timestamp(value: object) -> Timestamp:
    """Read RFC 3339, or whole seconds since 1970-01-01 UTC."""
    if type(value) is Timestamp:
        return value
    if type(value) is int:
        return timestamp(value * 1000)
    if type(value) is str:
        return times.parse_timestamp(value)
    raise refuse("timestamp", value)


def to_duration(value: object) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        return times.parse_duration(value)
    raise refuse("duration", value)


def of_strings(name: str, test: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    def tested(a: object, b: object) -> bool:
        if type(a) is str and type(b) is str:
            return test(a, b)
        raise refuse(name, a, b)

    tested.__name__ = name
    return tested


# name -> (function, numbers of arguments it takes, a method's target included)
OPERATIONS: dict[str, tuple[Callable[..., object], frozenset[int]]] = {
    "_+_": (add, frozenset((2,))),
    "_-_": (subtract, frozenset((2,))),
    "_*_": (multiply, frozenset((2,))),
    "_/_": (divide, frozenset((2,))),
    "_%_": (modulo, frozenset((2,))),
    "-_": (negate, frozenset((1,))),
    "!_": (lambda a: not boolean(a), frozenset((1,))),
    "_==_": (equal, frozenset((2,))),
    "_!=_": (lambda a, b: not equal(a, b), frozenset((2,))),
    "_<_": (compare("<", operator.lt), frozenset((2,))),
    "_<=_": (compare("<=", operator.le), frozenset((2,))),
    "_>_": (compare(">", operator.gt), frozenset((2,))),
    "_>=_": (compare(">=", operator.ge), frozenset((2,))),
    "_[_]": (index, frozenset((2,))),
    "@in": (contains_item, frozenset((2,))),
    "size": (size, frozenset((1,))),
    "contains": (of_strings("contains", operator.contains), frozenset((2,))),
    "startsWith": (of_strings("startsWith", str.startswith), frozenset((2,))),
    "endsWith": (of_strings("endsWith", str.endswith), frozenset((2,))),
    "matches": (matches, frozenset((2,))),
    "int": (to_int, frozenset((1,))),
    "uint": (to_uint, frozenset((1,))),
    "double": (to_double, frozenset((1,))),
    "string": (to_string, frozenset((1,))),
    "bool": (to_bool, frozenset((1,))),
    "dyn": (lambda a: a, frozenset((1,))),
    "timestamp": (to_timestamp, frozenset((1,))),
    "duration": (to_duration, frozenset((1,))),
    **{name: (times.getter(name), frozenset((1, 2))) for name in times.PARTS},
}
LAZY = frozenset(("_&&_", "_||_", "_?_:_"))
