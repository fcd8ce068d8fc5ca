"""Reads CEL text: Google's parser and type checker, its complaints put into our words, and our own limits."""

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from . import checked, presence
from .errors import EvaluationError, ExpressionError
from .expression import Expression
from .nodes import Call, Const, Macro, MapOf, Node, children, depth, walk
from .operations import LAZY, OPERATIONS
from .patterns import compiled
from .times import PARTS, parse_duration, parse_timestamp, zone_of

TEXT_CHARS_MAX = 10_000
DEPTH_MAX = 60
NODES_MAX = 2_000
MACRO_DEPTH_MAX = 3
TYPES = (
    "bool", "int", "double", "string", "timestamp", "duration",
    "list(string)", "list(int)", "list(double)", "map(string,dyn)", "dyn",
)  # fmt: skip
COMPLAINT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
OVERLOAD = re.compile(r"found no matching overload for '([^']+)' applied to '?\(?([^']*?)\)?'$")
UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
MACROS = ("has", "all", "exists", "exists_one", "map", "filter")


def parse(text: str, variables: Mapping[str, str], *, expect: str | None = None) -> Expression:
    """Return the checked expression.

    variables: name (dots allowed) -> one of TYPES. expect: the type the answer must have.
    Raises ExpressionError with the place and, for an unknown name, the nearest known one.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise ExpressionError(f"an expression may have at most {TEXT_CHARS_MAX} characters")
    if not text.strip():
        raise ExpressionError("an expression may not be empty")
    rewritten, present = presence.rewrite(text, variables)
    declared = {**variables, **dict.fromkeys(present, "bool")}
    root = checked.read(compile_text(rewritten, declared, variables).serialize(), present)
    presence.check(rewritten, root)
    check_limits(root)
    for node in walk(root):
        check_support(node, text)
    if expect is not None and root.type != expect:
        raise ExpressionError(mismatch(expect, root.type, text))
    return Expression(text, root, root.type)


def compile_text(text: str, declared: Mapping[str, str], variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - Google's class has no types
    environment = environment_of(tuple(declared.items()))
    try:
        return environment.compile(text)
    except RuntimeError as error:
        raise translated(str(error), text, variables) from None
    except (UnicodeError, TypeError) as error:
        raise ExpressionError(f"the expression is not valid text: {error}") from None


@lru_cache(maxsize=64)
def environment_of(variables: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - Google's class has no types
    """Return Google's environment for the declarations; imported late: 58 MB that only compiling needs."""
    from cel_expr_python import cel

    plain = cel.Type
    types = {
        "bool": plain.BOOL,
        "int": plain.INT,
        "double": plain.DOUBLE,
        "string": plain.STRING,
        "timestamp": plain.TIMESTAMP,
        "duration": plain.DURATION,
        "dyn": plain.DYN,
        "list(string)": plain.List(plain.STRING),
        "list(int)": plain.List(plain.INT),
        "list(double)": plain.List(plain.DOUBLE),
        "map(string,dyn)": plain.Map(plain.STRING, plain.DYN),
    }
    for name, type_ in variables:
        if type_ not in types:
            raise ValueError(f"the variable `{name}` has the unknown type `{type_}`; use one of {', '.join(TYPES)}")
    return cel.NewEnv(variables={name: types[type_] for name, type_ in variables})


def translated(complaint: str, text: str, variables: Mapping[str, str]) -> ExpressionError:
    """Return Google's first complaint in our words."""
    found = COMPLAINT.search(complaint)
    if not found:
        return ExpressionError(complaint.splitlines()[0])
    line, column, message = int(found[1]), int(found[2]), found[3].removesuffix(" [INVALID_ARGUMENT]")
    if unknown := UNDECLARED.search(message):
        return unknown_name(unknown[1].lstrip("."), text, line, column, variables)
    if overload := OVERLOAD.search(message):
        return ExpressionError(no_overload(overload[1], overload[2], text, line, column), line, column)
    if message.startswith("Syntax error: "):
        return ExpressionError(
            "this is not a CEL expression: " + message.removeprefix("Syntax error: ").split(" expecting")[0],
            line,
            column,
        )
    return ExpressionError(message[:1].lower() + message[1:], line, column)


def unknown_name(name: str, text: str, line: int, column: int, variables: Mapping[str, str]) -> ExpressionError:
    line_text = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    start = column - 1 - name.rfind(".") if "." in name else column - 1
    if line_text[start : start + len(name)] == name:
        column = start + 1
    elif line_text[: column - 1].endswith(name):
        column -= len(name)
    called = re.match(r"\s*\(", line_text[column - 1 + len(name) :])
    if called and name not in variables:
        nearest = closest(name, [f for f in OPERATIONS if f.isalpha()] + list(MACROS))
        return ExpressionError(f"the function `{name}` is not supported", line, column, nearest)
    if any(known.startswith(f"{name}.") for known in variables):
        some = next(known for known in variables if known.startswith(f"{name}."))
        return ExpressionError(
            f"`{name}` is no variable itself: read one of its values, such as `{some}`", line, column
        )
    return ExpressionError(f"unknown name `{name}`", line, column, closest(name, variables))


def closest(name: str, known: Mapping[str, str] | list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), None)


def no_overload(function: str, types: str, text: str, line: int, column: int) -> str:
    """Say what to write instead where an operator meets types that do not go together."""
    sign = function.strip("_@")
    pair = [part.strip() for part in types.split(",")]
    pair = [part.removeprefix("google.protobuf.").lower() for part in pair]
    shown = " and ".join(pair)
    if sorted(pair) == ["double", "int"]:
        line_text = text.split("\n")[line - 1]
        literal = re.match(rf"{re.escape(sign)}\s*(-?\d+)(?![\w.])", line_text[column - 1 :])
        before = re.search(r"(?<![\w.])(-?\d+)\s*\Z", line_text[: column - 1])
        number = literal or before
        hint = (
            f"write `{number[1]}.0`" if number else "write a whole number as `1.0`, or convert with `double(...)`"
        )
        return f"`{sign}` cannot mix {shown}: {hint}"
    if len(pair) == 2 and "timestamp" in pair:
        return f'`{sign}` cannot mix {shown}: write `timestamp("2026-01-31T00:00:00Z")` or `duration("36h")`'
    return f"`{sign}` does not apply to {shown}"


def mismatch(expect: str, found: str, text: str) -> str:
    hints = {
        ("double", "int"): f": write `1.0` for `1`, or `double({text.strip()})`",
        ("bool", "dyn"): f": write `({text.strip()}) == true`",
    }
    return f"expected {expect}, got {found}" + hints.get((expect, found), "")


def check_limits(root: Node) -> None:
    if depth(root) > DEPTH_MAX:
        raise ExpressionError(f"an expression may be nested at most {DEPTH_MAX} deep")
    if sum(1 for _ in walk(root)) > NODES_MAX:
        raise ExpressionError(f"an expression may have at most {NODES_MAX} parts")
    if macro_depth(root) > MACRO_DEPTH_MAX:
        raise ExpressionError(f"macros may be nested at most {MACRO_DEPTH_MAX} deep")


def macro_depth(node: Node) -> int:
    """Return how many macros run inside each other; one that runs before another does not count."""
    if isinstance(node, Macro):
        inside = max((macro_depth(part) for part in (node.where, node.body) if part is not None), default=0)
        return max(1 + inside, macro_depth(node.over))
    return max((macro_depth(child) for child in children(node)), default=0)


def check_support(node: Node, text: str) -> None:
    """Raise ExpressionError for what the reference knows and we do not, and for literals that can only fail."""
    try:
        if isinstance(node, Const) and node.type == "bytes":
            raise EvaluationError("bytes literals are not supported")
        if node.type == "type":
            named = getattr(node, "function", None) or getattr(node, "name", "type")
            raise EvaluationError(f"`{named}` is not supported: types are no values here")
        if isinstance(node, MapOf):
            check_keys(node)
        if isinstance(node, Call):
            check_call(node)
    except EvaluationError as error:
        line, column = place(node.offset, text)
        raise ExpressionError(str(error), line, column) from None


def check_keys(node: MapOf) -> None:
    if any(key.type not in ("string", "int") for key, _ in node.entries):
        raise EvaluationError("a map's keys must all be strings or ints")


def check_call(node: Call) -> None:
    if node.function in LAZY:
        return
    if node.function not in OPERATIONS or len(node.args) not in OPERATIONS[node.function][1]:
        raise EvaluationError(f"the function `{node.function}` is not supported")
    literal = node.args[-1].value if isinstance(node.args[-1], Const) else None
    if node.function == "matches":
        if not isinstance(literal, str):
            raise EvaluationError("the pattern of `matches` must be written out as a literal")
        compiled(literal)
    elif node.function in PARTS and len(node.args) == 2 and isinstance(literal, str):
        zone_of(literal)
    elif node.function == "timestamp" and isinstance(literal, str):
        parse_timestamp(literal)
    elif node.function == "duration" and isinstance(literal, str):
        parse_duration(literal)


def place(offset: int, text: str) -> tuple[int, int]:
    """Return (line, column), both from 1, of a place in the text."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
