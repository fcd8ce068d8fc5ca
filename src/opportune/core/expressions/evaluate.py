"""The exact evaluator: CEL's semantics, node by node, with errors and missing values absorbed as CEL absorbs them.

`&&` and `||` are commutative: `false && error` and `error && false` are both false (cel-spec `doc/langdef.md`,
Logical Operators). A missing value is an error of its own kind that says which value.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

import msgspec

from .errors import EvaluationError, Missing
from .nodes import Call, Const, ListOf, Local, Macro, MapOf, Name, Node, Present, Select, children, rebuild
from .operations import OPERATIONS
from .values import Duration, Timestamp, Uint, boolean, inner, kind, take

Scope: TypeAlias = Mapping[str, object]
TAGS: dict[str, Callable[[int], object]] = {"uint": Uint, "timestamp": Timestamp, "duration": Duration}


def value_of(node: Node, values: Scope, scope: Scope) -> object:
    """Return the node's value (still tagged).

    values: variable -> caller's value, None or absent when missing. scope: macro variable -> value.
    Raises Missing or EvaluationError.
    """
    return EVALUATORS[type(node)](node, values, scope)


def of_const(node: Const, values: Scope, scope: Scope) -> object:
    return TAGS[node.type](cast(int, node.value)) if node.type in TAGS else node.value


def of_name(node: Name, values: Scope, scope: Scope) -> object:
    value = values.get(node.name)
    if value is None:
        raise Missing((node.name,))
    return take(node.type, node.name, value)


def of_present(node: Present, values: Scope, scope: Scope) -> object:
    return values.get(node.name) is not None


def of_local(node: Local, values: Scope, scope: Scope) -> object:
    return scope[node.name]


def of_select(node: Select, values: Scope, scope: Scope) -> object:
    operand = value_of(node.operand, values, scope)
    return select(operand, node.field, node.test, path(node))


def select(operand: object, field: str, test: bool, name: str | None) -> object:
    """Read a map's field; `name` is how a caller's value is called in Missing, None for a map made on the spot."""
    if type(operand) is not dict:
        raise EvaluationError(f"{kind(operand)} has no field `{field}`")
    value = operand.get(field)
    if test:
        return value is not None if name else field in operand
    if value is None:
        if name:
            raise Missing((name,))
        if field not in operand:
            raise EvaluationError(f"no such key `{field}`")
    return inner(value)


def path(node: Node) -> str | None:
    """Return the dotted way from a variable to the node, None when it does not start at one."""
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Select):
        start = path(node.operand)
        return f"{start}.{node.field}" if start else None
    if isinstance(node, Call) and node.function == "_[_]" and isinstance(node.args[1], Const):
        start = path(node.args[0])
        return f"{start}[{node.args[1].value!r}]" if start else None
    return None


def of_call(node: Call, values: Scope, scope: Scope) -> object:
    function = node.function
    if function == "_&&_":
        return joined((lambda a=a: value_of(a, values, scope) for a in node.args), decisive=False)  # type: ignore[misc]
    if function == "_||_":
        return joined((lambda a=a: value_of(a, values, scope) for a in node.args), decisive=True)  # type: ignore[misc]
    if function == "_?_:_":
        condition = boolean(value_of(node.args[0], values, scope))
        return value_of(node.args[1] if condition else node.args[2], values, scope)
    args = [value_of(arg, values, scope) for arg in node.args]
    if function == "_[_]" and type(args[0]) is dict and type(args[1]) is str:
        return select(args[0], args[1], False, path(node))
    return OPERATIONS[function][0](*args)


def joined(terms: Iterable[Callable[[], object]], *, decisive: bool) -> bool:
    """Return `decisive` when any term is it, else fail with the terms' failures, else the opposite."""
    missing: list[str] = []
    failed: EvaluationError | None = None
    for term in terms:
        try:
            if boolean(term()) is decisive:
                return decisive
        except Missing as absent:
            missing.extend(absent.names)
        except EvaluationError as error:
            failed = failed or error
    if failed:
        raise failed
    if missing:
        raise Missing(missing)
    return not decisive


def of_list(node: ListOf, values: Scope, scope: Scope) -> object:
    return [value_of(item, values, scope) for item in node.items]


def of_map(node: MapOf, values: Scope, scope: Scope) -> object:
    made: dict[object, object] = {}
    for key_node, item_node in node.entries:
        key = value_of(key_node, values, scope)
        if key in made:
            raise EvaluationError(f"the key `{key}` stands twice in a map")
        made[key] = value_of(item_node, values, scope)
    return made


def of_macro(node: Macro, values: Scope, scope: Scope) -> object:
    over = value_of(node.over, values, scope)
    if type(over) is not list and type(over) is not dict:
        raise EvaluationError(f"`{node.kind}` does not apply to {kind(over)}")
    scopes = [{**scope, node.variable: inner(item)} for item in over]
    body, where = node.body, node.where
    if node.kind in ("all", "exists") and body is not None:
        return joined(
            (lambda s=s: value_of(body, values, s) for s in scopes),  # type: ignore[misc]
            decisive=node.kind == "exists",
        )
    if where is not None:
        scopes = [inside for inside in scopes if boolean(value_of(where, values, inside))]
    found = [value_of(cast(Node, body), values, inside) for inside in scopes]
    return sum(map(boolean, found)) == 1 if node.kind == "exists_one" else found


EVALUATORS: dict[type, Callable[..., object]] = {
    Const: of_const,
    Name: of_name,
    Present: of_present,
    Local: of_local,
    Select: of_select,
    Call: of_call,
    ListOf: of_list,
    MapOf: of_map,
    Macro: of_macro,
}
SCALARS = (bool, int, float, str, Uint, Timestamp, Duration)


def substitute(node: Node, values: Scope) -> Node:
    """Return the node with the variables in `values` replaced by their values; a missing (None) one stays.

    Only scalars are put in; a value of the wrong type stays a variable, so that evaluating it still fails.
    """
    if isinstance(node, Name) and values.get(node.name) is not None:
        try:
            value = take(node.type, node.name, values[node.name])
        except EvaluationError:
            return node
        if type(value) in SCALARS and node.type != "dyn":
            return Const(value=value, type=node.type, offset=node.offset)
        return node
    if isinstance(node, Present) and node.name in values:
        return Const(value=values[node.name] is not None, type="bool", offset=node.offset)
    return rebuild(node, lambda child: substitute(child, values))


def fold_constants(node: Node, values: Scope | None = None) -> Node:
    """Return the node with its constant parts computed, after substituting `values`.

    A constant part that fails stays as it is: it must fail when evaluated. `&&` and `||` are decided by one
    deciding constant, and drop the terms that cannot matter.
    """
    return fold(substitute(node, values) if values else node)


def fold(node: Node) -> Node:
    if isinstance(node, Macro | Const):
        return node
    folded = rebuild(node, fold)
    if isinstance(folded, Call) and folded.function in ("_&&_", "_||_"):
        return fold_logic(folded)
    if isinstance(folded, Call) and folded.function == "_?_:_" and isinstance(folded.args[0], Const):
        return folded.args[1 if folded.args[0].value is True else 2]
    below = children(folded)
    if isinstance(folded, Call) and below and all(isinstance(child, Const) for child in below):
        try:
            value = value_of(folded, {}, {})
        except (Missing, EvaluationError):
            return folded
        if type(value) in SCALARS and node.type != "dyn":
            return msgspec.structs.replace(Const(value=value, type=node.type), offset=node.offset)
    return folded


def fold_logic(node: Call) -> Node:
    decisive = node.function == "_||_"
    terms = [term for term in node.args if not (isinstance(term, Const) and term.value is (not decisive))]
    if any(isinstance(term, Const) and term.value is decisive for term in terms):
        return Const(value=decisive, type="bool", offset=node.offset)
    if not terms:
        return Const(value=not decisive, type="bool", offset=node.offset)
    if len(terms) == 1 and terms[0].type == "bool":
        return terms[0]
    return msgspec.structs.replace(node, args=tuple(terms))
