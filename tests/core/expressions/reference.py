"""Google's CEL as the oracle: the same text and values, the answer in our representation."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VARIABLES = {
    "a": "int", "b": "int", "x": "double", "y": "double", "s": "string", "offer.kind": "string", "p": "bool",
    "q": "bool", "now": "timestamp", "since": "timestamp", "d": "duration", "tags": "list(string)",
    "counts": "list(int)", "shares": "list(double)", "m": "map(string,dyn)", "z": "dyn",
}  # fmt: skip
TYPES: dict[str, Any] = {
    "int": cel.Type.INT, "double": cel.Type.DOUBLE, "string": cel.Type.STRING, "bool": cel.Type.BOOL,
    "timestamp": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION, "list(string)": cel.Type.List(cel.Type.STRING),
    "list(int)": cel.Type.List(cel.Type.INT), "list(double)": cel.Type.List(cel.Type.DOUBLE),
    "map(string,dyn)": cel.Type.Map(cel.Type.STRING, cel.Type.DYN), "dyn": cel.Type.DYN,
}  # fmt: skip
FAILED = "failed"


@lru_cache(maxsize=1)
def environment() -> Any:
    return cel.NewEnv(variables={name: TYPES[type_] for name, type_ in VARIABLES.items()})


def answer(text: str, values: Mapping[str, object]) -> object:
    """Return the reference's answer, FAILED when it has none."""
    data = {name: theirs(VARIABLES[name], value) for name, value in values.items() if value is not None}
    result = environment().compile(text).eval(data=data)
    return FAILED if result.type() == cel.Type.ERROR else ours(result)


def answerer(text: str) -> Callable[[Mapping[str, object]], object]:
    """`answer` for many rows: the text is compiled once."""
    program = environment().compile(text)

    def run(values: Mapping[str, object]) -> object:
        data = {name: theirs(VARIABLES[name], value) for name, value in values.items() if value is not None}
        result = program.eval(data=data)
        return FAILED if result.type() == cel.Type.ERROR else ours(result)

    return run


def theirs(type_: str, value: Any) -> object:
    if type_ == "timestamp":
        return EPOCH + timedelta(milliseconds=value)
    return timedelta(milliseconds=value) if type_ == "duration" else value


def ours(value: Any) -> object:
    plain = value.value() if hasattr(value, "value") else value
    if isinstance(plain, datetime):
        return (plain - EPOCH) // timedelta(milliseconds=1)
    if isinstance(plain, timedelta):
        return plain // timedelta(milliseconds=1)
    if type(plain) in (bool, int, float, str, type(None)):
        return plain
    if hasattr(plain, "keys") or isinstance(plain, dict):
        return {ours(key): ours(plain[key]) for key in plain}
    return [ours(plain[place]) for place in range(len(plain))]
