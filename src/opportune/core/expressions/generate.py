"""Writes an expression as Python: native operators where the checked types allow it, exact operations elsewhere.

The generated code is only ever the fast path: it is right when every value it reads is present and of the declared
type, and it raises otherwise, upon which the caller asks the exact evaluator.
"""

import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence

from .errors import EvaluationError, Missing
from .evaluate import path, select, value_of
from .nodes import Call, Const, ListOf, Local, Macro, MapOf, Name, Node, Present, Select, free_names, walk
from .operations import OPERATIONS
from .values import (
    DURATION_MAX,
    INT_MAX,
    INT_MIN,
    TAKE,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    Duration,
    Timestamp,
    Uint,
    boolean,
    i64,
    inner,
    plain,
)

COMPARISONS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "_==_": "==", "_!=_": "!="}
ORDERED = frozenset(("int", "double", "string", "timestamp", "duration", "uint"))
ARITHMETIC = {"_+_": "+", "_-_": "-", "_*_": "*"}
TAGGED = frozenset(("timestamp", "duration", "uint"))
UNTAGGED = frozenset(("bool", "int", "double", "string", "list(bool)", "list(int)", "list(double)", "list(string)"))
RANGES = {"timestamp": (TIMESTAMP_MIN, TIMESTAMP_MAX), "duration": (-DURATION_MAX, DURATION_MAX)}
CLASSES = {"bool": "bool", "double": "float", "string": "str", "int": "int", "timestamp": "int", "duration": "int"}


def identifier(name: str, taken: Sequence[str] = ()) -> str:
    """Return a readable Python name for a variable, different from those taken."""
    plain_name = re.sub(r"\W", "_", name, flags=re.ASCII)
    if keyword.iskeyword(plain_name) or not plain_name.isidentifier() or plain_name.startswith("_"):
        plain_name = f"v{plain_name}"
    while plain_name in taken or plain_name in RESERVED:
        plain_name += "_"
    return plain_name


class Writer:
    """Turns nodes into Python expressions; `namespace` collects what the text refers to."""

    def __init__(self, names: Mapping[str, str], namespace: dict[str, object] | None = None) -> None:
        self.names = names
        self.namespace: dict[str, object] = dict(RUNTIME) if namespace is None else namespace
        self.locals: dict[str, str] = {}
        self.temporaries = 0
        self.in_macro = False

    def refer(self, stem: str, value: object) -> str:
        """Put a value into the namespace and return the name it has there."""
        for known, there in self.namespace.items():
            if there is value and known.startswith(stem):
                return known
        name = f"{stem}{len(self.namespace)}"
        self.namespace[name] = value
        return name

    def write(self, node: Node) -> str:
        """Return the node as Python text."""
        match node:
            case Const():
                return self.constant(node)
            case Name():
                return self.names[node.name]
            case Present():
                return f"({self.names[node.name]} is not None)"
            case Local():
                return self.locals[node.name]
            case Select():
                name = path(node)
                return f"_select({self.write(node.operand)}, {node.field!r}, {node.test}, {name!r})"
            case ListOf():
                return f"[{', '.join(map(self.write, node.items))}]"
            case MapOf() | Macro(kind="exists_one"):
                return self.exact(node)
            case Macro():
                return self.macro(node)
        return self.call(node)

    def constant(self, node: Const) -> str:
        if node.type in TAGGED:
            return self.refer("_c", value_of(node, {}, {}))
        if isinstance(node.value, float) and not math.isfinite(node.value):
            return self.refer("_c", node.value)
        return f"({node.value!r})" if isinstance(node.value, int | float) and node.value < 0 else repr(node.value)

    def exact(self, node: Node) -> str:
        """Leave a rare form to the exact evaluator, inside the generated code."""
        values = ", ".join(f"{name!r}: {self.names[name]}" for name in sorted(free_names(node)))
        scope = ", ".join(f"{name!r}: {there}" for name, there in self.locals.items())
        return f"_value_of({self.refer('_n', node)}, {{{values}}}, {{{scope}}})"

    def truth(self, node: Node) -> str:
        return self.write(node) if node.type == "bool" else f"_boolean({self.write(node)})"

    def call(self, node: Call) -> str:
        function, args = node.function, node.args
        if function == "_&&_":
            return "(" + " and ".join(map(self.truth, args)) + ")"
        if function == "_||_":
            return "(" + " or ".join(map(self.truth, args)) + ")"
        if function == "_?_:_":
            return f"({self.write(args[1])} if {self.truth(args[0])} else {self.write(args[2])})"
        if function == "!_":
            return f"(not {self.truth(args[0])})"
        native = self.native(function, args)
        if native is not None:
            return native
        name = path(node)
        if function == "_[_]" and name and isinstance(args[1], Const) and isinstance(args[1].value, str):
            return f"_item({self.write(args[0])}, {args[1].value!r}, {name!r})"
        operation = self.refer(
            f"_{function.strip('_@')}_" if function.strip("_@").isalpha() else "_op", OPERATIONS[function][0]
        )
        return f"{operation}({', '.join(map(self.write, args))})"

    def native(self, function: str, args: Sequence[Node]) -> str | None:
        """Return the call as a Python operator, None when only the exact operation will do."""
        types = {arg.type for arg in args}
        type_ = args[0].type if len(types) == 1 else ""
        first = args[0]
        if function in COMPARISONS and (type_ in ORDERED or (type_ == "bool" and function in ("_==_", "_!=_"))):
            return f"({self.write(first)} {COMPARISONS[function]} {self.write(args[1])})"
        if function in ARITHMETIC and type_ in ("int", "double"):
            text = f"{self.write(first)} {ARITHMETIC[function]} {self.write(args[1])}"
            return f"({text})" if type_ == "double" else self.within_64_bits(text)
        if function == "double" and type_ == "int":
            return f"float({self.write(first)})"
        if function == "_/_" and type_ == "double":
            return f"({self.write(first)} / {self.write(args[1])})"
        if function == "_+_" and type_ == "string":
            return f"({self.write(first)} + {self.write(args[1])})"
        if function == "-_" and type_ == "double":
            return f"(-{self.write(first)})"
        if function == "size" and (type_ == "string" or type_.startswith("list(")):
            return f"len({self.write(first)})"
        if function == "@in" and first.type == "string" and args[1].type == "list(string)":
            return f"({self.write(first)} in {self.write(args[1])})"
        if function == "contains" and type_ == "string":
            return f"({self.write(args[1])} in {self.write(first)})"
        if function in ("startsWith", "endsWith") and type_ == "string":
            return f"{self.write(first)}.{function.lower()}({self.write(args[1])})"
        return None

    def within_64_bits(self, text: str) -> str:
        """Return an int as it is where it fits; without a call, which would take longer than the arithmetic.

        Python allows no such assignment where a comprehension reads what it goes through.
        """
        if self.in_macro:
            return f"_i64({text})"
        self.temporaries += 1
        name = f"_t{self.temporaries}"
        return f"({name} if {INT_MIN} <= ({name} := {text}) <= {INT_MAX} else _i64({name}))"

    def macro(self, node: Macro) -> str:
        within, self.in_macro = self.in_macro, True
        over = self.write(node.over)
        local = f"x{len(self.locals)}_{identifier(node.variable)}"
        shadowed = dict(self.locals)
        self.locals[node.variable] = local
        items = f"for {local} in map(_inner, {over})"
        if node.kind in ("all", "exists"):
            body = self.truth(node.body) if node.body else "True"
            text = f"{'all' if node.kind == 'all' else 'any'}([{body} {items}])"
        else:
            body = self.write(node.body) if node.body else local
            condition = f" if {self.truth(node.where)}" if node.where else ""
            text = f"[{body} {items}{condition}]"
        self.locals = shadowed
        self.in_macro = within
        return text


def item(container: object, key: str, name: str) -> object:
    """Read `map["key"]` of a caller's map; raises EvaluationError when it is no map."""
    return select(container, key, False, name)


RUNTIME: dict[str, object] = {
    "_value_of": value_of,
    "_select": select,
    "_item": item,
    "_boolean": boolean,
    "_inner": inner,
    "_plain": plain,
    "_i64": i64,
    "_T": Timestamp,
    "_D": Duration,
    "_U": Uint,
    "_take": TAKE,
    "Missing": Missing,
    "EvaluationError": EvaluationError,
}
RESERVED = frozenset((*RUNTIME, "len", "map", "all", "any", "int", "float", "str", "bool", "list", "dict", "plain"))


def unfit(type_: str, local: str) -> str:
    """Return the Python test that says a scalar is absent or not of its type, `` for the other types."""
    if type_ not in CLASSES:
        return ""
    test = f"{local}.__class__ is not {CLASSES[type_]}"
    if type_ == "int":
        return f"{test} or not {INT_MIN} <= {local} <= {INT_MAX}"
    if type_ in TAGGED:
        low, high = RANGES[type_]
        return f"{test} or not {low} <= {local} <= {high}"
    return test


def prepare(type_: str, local: str) -> str:
    """Return the statement that makes a present value ready, `` when it is so already."""
    if type_ in TAGGED:
        return f"{local} = {'_T' if type_ == 'timestamp' else '_D'}({local})"
    return "" if type_ in CLASSES else f"{local} = _take[{type_!r}]({local})"


def function(
    root: Node, parameters: Sequence[str], slow: Callable[..., object]
) -> tuple[Callable[..., object], str]:
    """Return (a Python function of the parameters, its text); `slow` takes the same and is always right."""
    read = free_names(root)
    if not read <= set(parameters):
        return slow, ""
    locals_: dict[str, str] = {}
    for name in parameters:
        locals_[name] = identifier(name, tuple(locals_.values()))
    writer = Writer(locals_)
    value = writer.write(root)
    result = value if root.type in UNTAGGED else f"_plain({value})"
    types = {node.name: node.type for node in walk(root) if isinstance(node, Name)}
    needed = [name for name in parameters if name in types]
    tests = [unfit(types[name], locals_[name]) for name in needed if types[name] in CLASSES]
    absent = [f"{locals_[name]} is None" for name in needed if types[name] not in CLASSES]
    steps = [step for name in needed if (step := prepare(types[name], locals_[name]))]
    arguments = ", ".join(locals_.values())
    raw = [f"    raw = ({arguments}{',' if len(locals_) == 1 else ''})"] if steps else []
    again = "*raw" if steps else arguments
    guard = (
        [f"    if {' or '.join(tests + absent)}:", f"        return _slow({arguments})"] if tests + absent else []
    )
    lines = [f"def expression({arguments}):", *guard, *raw, "    try:", *(f"        {step}" for step in steps)]
    lines += [f"        return {result}", "    except Exception:", f"        return _slow({again})", ""]
    text = "\n".join(lines)
    writer.namespace["_slow"] = slow
    exec(compile(text, "<expression>", "exec"), writer.namespace)  # noqa: S102 - text of our own making, from a checked tree
    return writer.namespace["expression"], text  # type: ignore[return-value]
