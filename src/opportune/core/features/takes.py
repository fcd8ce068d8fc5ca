"""What one feature takes from a signal's payload: does the signal count (`where`), and with which value."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.features.cells import DOUBLE_SUM_MAX, INT_MAX, INT_MIN, TEXT_BYTES_MAX, scaled
from opportune.core.features.documents import FeatureError

Data = Mapping[str, Any]
Take = Callable[[Data], object]
"""Payload -> the value to fold; None when the signal does not count, or its value is missing or no such type."""

_PREFIX = "data."
_INFINITY = float("inf")


def take_bool(value: object) -> object:
    return value if type(value) is bool else None


def take_int(value: object) -> object:
    """A 64-bit int; 3.0 is an int in JSON Schema and is taken as 3."""
    if type(value) is int:
        return value if INT_MIN <= value <= INT_MAX else None
    if type(value) is float and value.is_integer():
        return take_int(int(value))
    return None


def take_double(value: object) -> object:
    """A finite double, ints included; adding 0.0 turns -0.0 into 0.0, so that order of arrival cannot show."""
    if type(value) is float:
        return value + 0.0 if -_INFINITY < value < _INFINITY else None
    return float(value) if type(value) is int and INT_MIN <= value <= INT_MAX else None


def take_summand(value: object) -> object:
    """A double that can be added up: at most 1e18 either way."""
    double: Any = take_double(value)
    return double if double is not None and -DOUBLE_SUM_MAX <= double <= DOUBLE_SUM_MAX else None


def take_string(value: object) -> object:
    """Text of up to 255 bytes: longer text is no feature, and would make the state grow."""
    if type(value) is not str or len(value) > TEXT_BYTES_MAX:
        return None
    return value if value.isascii() or len(value.encode("utf-8", "surrogatepass")) <= TEXT_BYTES_MAX else None


def take_any(value: object) -> object:
    """Any scalar of the four types (`distinct` over a field of type dyn); 3.0 is the same as 3."""
    if type(value) is float:
        return int(value) if value.is_integer() else take_double(value)
    return value if type(value) in (bool, int) else take_string(value)


TAKES: dict[str, Callable[[object], object]] = {
    "bool": take_bool,
    "int": take_int,
    "double": take_double,
    "string": take_string,
    "dyn": take_any,
}
ACCEPTED: dict[str, tuple[str, ...]] = {
    "bool": ("bool", "dyn"),
    "int": ("int", "dyn"),
    "double": ("double", "int", "dyn"),
    "string": ("string", "dyn"),
    "dyn": ("bool", "int", "double", "string", "dyn"),
}


class Payload:
    """Compiles `where` and `value` of one feature against the contract of one signal type."""

    def __init__(self, view: str, feature: str, signal_type: str, fields: Mapping[str, str]) -> None:
        self.view, self.feature, self.signal_type, self.fields = view, feature, signal_type, fields
        self.variables = {_PREFIX + name: type_ for name, type_ in fields.items()}
        self.reads: set[str] = set()

    def take(self, where: str | None, value: str | None, convert: Callable[[object], object], wanted: str) -> Take:
        """The take of a feature; `wanted` is the type its aggregate folds, dyn for any."""
        found = self.value(value, convert, wanted) if value is not None else None
        counts = self.where(where) if where is not None else None
        if counts is None:
            return found or _always
        if found is None:
            return lambda data: True if counts(data) else None
        return lambda data: found(data) if counts(data) else None

    def pair(self, where: str | None, parts: tuple[tuple[str, str | None, str], ...]) -> Take:
        """The take of a `ratio`: two ints, of `value` and of `over`, each given as (field, text, kind).

        Kinds: bool counts 1 where the condition holds, int as it is, double in millionths; no text counts 1. A
        signal without one of its numbers does not count.
        """
        part, whole = (self.summand(*each) for each in parts)
        counts = self.where(where) if where is not None else _always

        def take(data: Data) -> object:
            if not counts(data):
                return None
            first, second = part(data), whole(data)
            return None if first is None or second is None else (first, second)

        return take

    def summand(self, field: str, text: str | None, kind: str) -> Take:
        if text is None:
            return lambda data: 1
        if kind == "bool":
            holds = self.call(self.parsed(field, text, "bool"), False)
            return lambda data: 1 if holds(data) else 0
        if kind == "int":
            return self.value(text, take_int, "int", field)
        number = self.value(text, take_summand, "double", field)

        def millionths(data: Data) -> object:
            value = number(data)
            return None if value is None else scaled(value)

        return millionths

    def kind(self, field: str, text: str) -> str:
        """The type of an expression over the payload."""
        type_ = self.variables.get(text.strip())
        return self.parsed(field, text, None).type if type_ is None else type_

    def value(self, text: str, convert: Callable[[object], object], wanted: str, field: str = "value") -> Take:
        text = text.strip()
        type_ = self.variables.get(text)
        if type_ is None:
            expression = self.parsed(field, text, None)
            type_, get = expression.type, self.call(expression, None)
        else:
            self.reads.add(text.removeprefix(_PREFIX))
            get = field_getter(text.removeprefix(_PREFIX))
        if type_ not in ACCEPTED[wanted]:
            message = f"`{text}` is {type_} in `{self.signal_type}`, but the feature folds {wanted}"
            raise FeatureError(self.view, self.feature, field, f"{message}: change `type` or the expression")
        if wanted == "dyn":
            convert = TAKES[type_]
        return lambda data: convert(get(data))

    def where(self, text: str) -> Callable[[Data], object]:
        return self.call(self.parsed("where", text, "bool"), False)

    def parsed(self, field: str, text: str, expect: str | None) -> Expression:
        try:
            return parse(text, self.variables, expect=expect)
        except ExpressionError as error:
            message = f"{error} (in `{text}`, over the fields of `{self.signal_type}`)"
            raise FeatureError(self.view, self.feature, field, message) from error

    def call(self, expression: Expression, otherwise: object) -> Take:
        """The expression over a payload; a missing field or an evaluation error gives `otherwise`."""
        names = sorted(expression.names)
        self.reads.update(name.removeprefix(_PREFIX) for name in names)
        function = expression.function(names)
        getters = [field_getter(name.removeprefix(_PREFIX)) for name in names]

        def one(data: Data) -> object:
            try:
                return function(get(data))
            except (Missing, EvaluationError):
                return otherwise

        def several(data: Data) -> object:
            try:
                return function(*[each(data) for each in getters])
            except (Missing, EvaluationError):
                return otherwise

        if len(getters) != 1:
            return several
        get = getters[0]
        return one


def _always(data: Data) -> object:
    return True


def field_getter(path: str) -> Take:
    """A payload field, or a nested one by its dotted path; None when absent."""
    first, *rest = path.split(".")
    if not rest:
        return lambda data: data.get(first)

    def get(data: Data) -> object:
        value: object = data.get(first)
        for name in rest:
            if not isinstance(value, Mapping):
                return None
            value = value.get(name)
        return value

    return get


def nearest(name: str, known: Mapping[str, object]) -> str:
    """`; did you mean ...` for a name that is not known, or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
