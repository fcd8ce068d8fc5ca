"""A condition in plain words, as far as they go; what they cannot say stays as it is written."""

from __future__ import annotations

from collections.abc import Sequence

from opportune.core.expressions.nodes import Call, Const, ListOf, Name, Node, Present
from opportune.core.expressions.written import written

from .analysis import conjuncts
from .documents import HARD_CLASSES, Policy
from .explain import plainly, span, time
from .worlds import SWAPPED

RELATIONS = {
    "_<_": "is less than", "_<=_": "is at most", "_>_": "is more than", "_>=_": "is at least", "_==_": "is",
    "_!=_": "is not",
}  # fmt: skip
OF_TIMES = {"_<_": "is before", "_<=_": "is not after", "_>_": "is after", "_>=_": "is not before"}
OF_TEXTS = {"contains": "contains", "startsWith": "begins with", "endsWith": "ends with"}
CONTRARY = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_", "_==_": "_!=_", "_!=_": "_==_"}


def parts_in_words(node: Node) -> tuple[str, ...]:
    """Each part that must hold, as a sentence without a full stop; none when the condition always holds."""
    if isinstance(node, Const):
        return () if node.value is True else ("never",)
    return tuple(in_words(part) for part in conjuncts(node))


def in_words(node: Node) -> str:
    if isinstance(node, Name):
        return f"{node.name} is true"
    if isinstance(node, Present):
        return f"{node.name} is known"
    if not isinstance(node, Call):
        return f"`{written(node)}`"
    if node.function in ("_&&_", "_||_"):
        return _joined([in_words(arg) for arg in node.args], "and" if node.function == "_&&_" else "or")
    if node.function == "!_":
        return _not(node.args[0])
    if node.function == "_?_:_":
        condition, then, otherwise = (in_words(arg) for arg in node.args)
        return f"(if {condition}: {then}; if not: {otherwise})"
    return _compared(node) or f"`{written(node)}`"


def _not(node: Node) -> str:
    if isinstance(node, Name):
        return f"{node.name} is not true"
    if isinstance(node, Present):
        return f"{node.name} is not known"
    if isinstance(node, Call) and node.function == "@in" and (text := _compared(node)):
        return text.replace(" is one of ", " is none of ", 1).replace(" is in ", " is not in ", 1)
    if isinstance(node, Call) and node.function in ("_==_", "_!=_") and (text := _compared(node, CONTRARY)):
        return text
    return f"it is not so that {in_words(node)}"


def _joined(texts: Sequence[str], word: str) -> str:
    return f"({f' {word} '.join(texts)})"


def _compared(node: Call, turned: dict[str, str] | None = None) -> str:
    """A comparison in words; empty when it is none."""
    if len(node.args) != 2:
        return ""
    function = (turned or {}).get(node.function, node.function)
    left, right = node.args
    if isinstance(left, Const) and function in SWAPPED:
        left, right, function = right, left, SWAPPED[function]
    one, other = _operand(left), _operand(right)
    if function == "@in":
        return f"{one} is {'one of' if isinstance(right, ListOf) else 'in'} {other}"
    if function in OF_TEXTS:
        return f"{one} {OF_TEXTS[function]} {other}"
    if function not in RELATIONS:
        return ""
    words = OF_TIMES.get(function) if left.type == "timestamp" else None
    return f"{one} {words or RELATIONS[function]} {other}"


def _operand(node: Node) -> str:
    if isinstance(node, Name):
        return node.name
    if isinstance(node, ListOf):
        return ", ".join(_operand(item) for item in node.items) or "nothing"
    if isinstance(node, Const):
        if node.type == "timestamp":
            return time(node.value)
        if node.type == "duration":
            return span(node.value)
        return f"“{node.value}”" if isinstance(node.value, str) else plainly(node.value)
    return f"`{written(node)}`"


EFFECTS = {
    "forbid": "holds back what it hits",
    "permit": "lets through what it hits, unless something forbids it",
    "require_review": "sends what it hits to a person first",
    "adjust": "changes the value of what it hits",
    "force": "chooses what it hits, over all forbids but those of law and consent",
}


def without_an_answer(policy: Policy) -> str:
    """What becomes of the policy where a value it needs is missing."""
    if policy.class_ in HARD_CLASSES:
        return "Where a value it needs is missing, it holds back: that is so for law and consent."
    return "Where a value it needs is missing, it is skipped, and the answer says so."
